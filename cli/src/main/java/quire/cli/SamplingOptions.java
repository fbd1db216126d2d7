package quire.cli;

import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;
import quire.engine.SamplingParams;

/** The options that say how tokens are chosen. */
final class SamplingOptions {
    @Option(
            names = "--temperature",
            paramLabel = "T",
            defaultValue = "0.7",
            description = "0 always takes the likeliest token (default ${DEFAULT-VALUE}).")
    private double temperature;

    @Option(
            names = "--top-p",
            paramLabel = "P",
            defaultValue = "1",
            description = "Keep the likeliest tokens up to this probability (default ${DEFAULT-VALUE}: all).")
    private double topP;

    @Option(
            names = "--top-k",
            paramLabel = "K",
            defaultValue = "0",
            description = "Keep the K likeliest tokens (default ${DEFAULT-VALUE}: all).")
    private int topK;

    @Option(
            names = "--min-p",
            paramLabel = "P",
            defaultValue = "0",
            description = "Keep tokens at least this fraction as likely as the likeliest (default ${DEFAULT-VALUE}).")
    private double minP;

    @Option(
            names = "--repetition-penalty",
            paramLabel = "X",
            defaultValue = "1",
            description = "Over 1 discourages what was said before (default ${DEFAULT-VALUE}).")
    private double repetitionPenalty;

    @Option(names = "--seed", paramLabel = "S", description = "Repeats a run exactly (default: a new one each time).")
    private @Nullable Long seed;

    @Option(names = "--stop", paramLabel = "S", description = "End before this text; may be given several times.")
    private @Nullable List<String> stop;

    SamplingParams.Builder params(int maxTokens) {
        return SamplingParams.builder()
                .maxTokens(maxTokens)
                .temperature(temperature)
                .topP(topP)
                .topK(topK)
                .minP(minP)
                .repetitionPenalty(repetitionPenalty)
                .seed(seed == null ? ThreadLocalRandom.current().nextLong() : seed)
                .stop(stop == null ? List.of() : stop);
    }
}
