package quire.cli.option;

import java.util.Map;
import java.util.Objects;
import java.util.regex.Pattern;

/** The names of options in messages of the engine, which knows only its own settings. */
public final class OptionNames {
    private static final Map<String, String> SETTING_TO_OPTION = Map.ofEntries(
            Map.entry("maxSequences", "--max-sequences"),
            Map.entry("maxBatchedTokens", "--max-batched-tokens"),
            Map.entry("maxContext", "--max-context"),
            Map.entry("ropeScale", "--rope-scale"),
            Map.entry("maxQueuedRequests", "--max-queued"),
            Map.entry("maxQueuedTokens", "--max-queued-tokens"),
            Map.entry("maxQueueWait", "--max-queue-wait"),
            Map.entry("kvCacheBytes", "--kv-cache"),
            Map.entry("pageTokens", "--page-tokens"),
            Map.entry("kvType", "--kv-type"),
            Map.entry("targetTokenGap", "--target-itl"),
            Map.entry("prefixCache", "--prefix-cache"),
            Map.entry("savedStates", "--saved-states"),
            Map.entry("packedCache", "--packed-cache"),
            Map.entry("kvDisk", "--kv-disk"),
            Map.entry("kvDiskBytes", "--kv-disk-size"));

    private static final Pattern SETTING =
            Pattern.compile("\\b(" + String.join("|", SETTING_TO_OPTION.keySet()) + ")\\b");

    private OptionNames() {}

    /** A text in which the engine's settings have the names of their options. */
    public static String in(String text) {
        return SETTING.matcher(text)
                .replaceAll(setting -> Objects.requireNonNull(SETTING_TO_OPTION.get(setting.group())));
    }
}
