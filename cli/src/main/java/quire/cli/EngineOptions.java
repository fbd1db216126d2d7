package quire.cli;

import java.nio.file.Path;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import quire.engine.EngineConfig;
import quire.engine.Speculation;
import quire.model.BuiltInModel;
import quire.tensor.KvLayout.KvType;

/** The options that shape an engine. */
final class EngineOptions {
    @Option(
            names = "--max-sequences",
            paramLabel = "N",
            defaultValue = "64",
            description = "Most sequences running at once (default ${DEFAULT-VALUE}).")
    private int maxSequences;

    @Option(
            names = "--max-batched-tokens",
            paramLabel = "N",
            defaultValue = "512",
            description = "Tokens computed in one step, over all sequences (default ${DEFAULT-VALUE}).")
    private int maxBatchedTokens;

    @Option(
            names = "--max-context",
            paramLabel = "N",
            defaultValue = "0",
            description = "Positions of one sequence, prompt and answer (default: what the model was trained for).")
    private int maxContext;

    @Option(
            names = "--max-queued",
            paramLabel = "N",
            defaultValue = "1024",
            description = "Requests that may wait before further ones are refused (default ${DEFAULT-VALUE}).")
    private int maxQueued;

    @Option(
            names = "--max-queued-tokens",
            paramLabel = "N",
            defaultValue = "1048576",
            description = "Prompt tokens that may wait, over all requests (default ${DEFAULT-VALUE}).")
    private long maxQueuedTokens;

    @Option(
            names = "--kv-cache",
            paramLabel = "SIZE",
            converter = ByteSize.class,
            defaultValue = "0",
            description = "Memory for the KV cache, like 4GiB (default: what the memory plan finds room for).")
    private long kvCacheBytes;

    @Option(
            names = "--kv-type",
            paramLabel = "TYPE",
            defaultValue = "f16",
            description =
                    "How keys and values are stored: f16, f32, or q8_0 for half the memory of f16 (default ${DEFAULT-VALUE}).")
    private KvType kvType;

    @Option(
            names = "--page-tokens",
            paramLabel = "N",
            defaultValue = "16",
            description = "Tokens of a KV page, a multiple of 16 (default ${DEFAULT-VALUE}).")
    private int pageTokens;

    @Option(
            names = "--threads",
            paramLabel = "N",
            defaultValue = "0",
            description = "Worker threads (default: one a core).")
    private int threads;

    @Option(
            names = "--speculation",
            paramLabel = "auto|off|N",
            defaultValue = "auto",
            description =
                    "Guess tokens ahead, which changes nothing but the speed: as far as it pays by measurement, not"
                            + " at all, or N tokens a step (default ${DEFAULT-VALUE}).")
    private String speculation;

    @Option(
            names = "--draft",
            paramLabel = "FILE",
            description = "A small GGUF model with the same tokens that guesses where looking up repetitions finds"
                    + " nothing (default: none; the model in the box has its own).")
    private @Nullable Path draft;

    @Mixin
    @SuppressWarnings("UnusedVariable") // it acts while the line is parsed
    private KernelsOption kernels;

    EngineConfig config() {
        return config(maxSequences);
    }

    /** The same for a model that may be the one in the box, which brings its draft model along. */
    EngineConfig config(ModelOption model) {
        return config(model, maxSequences);
    }

    /** The same for a command that never has more than {@code sequences} requests. */
    EngineConfig config(ModelOption model, int sequences) {
        EngineConfig config = config(sequences);
        Speculation asked = config.speculation();
        return asked.draft() == null && asked.draftTokens() != Speculation.OFF && model.isBuiltIn()
                ? config.withSpeculation(new Speculation(
                        asked.draftTokens(), asked.lookup(), BuiltInModel.QUIRE_TINY_DRAFT.path(), null))
                : config;
    }

    /** The same for a command that never has more than {@code sequences} requests. */
    EngineConfig config(int sequences) {
        int draftTokens = draftTokens();
        if (draftTokens == Speculation.OFF && draft != null) {
            throw new IllegalArgumentException(
                    "--draft " + draft + " has nothing to do with --speculation off: leave one of them out");
        }
        return EngineConfig.builder()
                .maxSequences(sequences)
                .maxBatchedTokens(maxBatchedTokens)
                .maxContext(maxContext)
                .maxQueuedRequests(maxQueued)
                .maxQueuedTokens(maxQueuedTokens)
                .kvCacheBytes(kvCacheBytes)
                .pageTokens(pageTokens)
                .kvType(kvType)
                .threads(threads)
                .speculation(new Speculation(draftTokens, true, draft, null))
                .build();
    }

    private int draftTokens() {
        return switch (speculation.toLowerCase(Locale.ROOT)) {
            case "auto" -> Speculation.AUTO;
            case "off" -> Speculation.OFF;
            default -> {
                try {
                    int tokens = Integer.parseInt(speculation);
                    if (tokens >= 1 && tokens <= Speculation.MAX_DRAFT_TOKENS) {
                        yield tokens;
                    }
                } catch (NumberFormatException e) {
                    // said below
                }
                throw new IllegalArgumentException(
                        "--speculation takes auto, off or a number of draft tokens from 1 to "
                                + Speculation.MAX_DRAFT_TOKENS + ", not " + speculation);
            }
        };
    }
}
