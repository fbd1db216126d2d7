package quire.cli.option;

import java.util.List;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import java.util.concurrent.ThreadLocalRandom;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import quire.engine.SamplingParams;
import quire.model.SamplingDefaults;

/** The options for choosing tokens, for commands that make the requests themselves. */
public final class SamplingOptions extends SamplingDefaultsOptions {
    /** Somewhat more certain than the model's own probabilities. */
    private static final SamplingDefaults FALLBACK = new SamplingDefaults(
                    OptionalDouble.of(0.7),
                    OptionalInt.empty(),
                    OptionalDouble.empty(),
                    OptionalDouble.empty(),
                    OptionalDouble.empty())
            .orElse(SamplingDefaults.NEUTRAL);

    @Option(
            names = "--seed",
            paramLabel = "S",
            description = "The same seed gives the same answer (default: a new seed each time).")
    private @Nullable Long seed;

    @Option(
            names = "--stop",
            paramLabel = "S",
            description = "End the answer before this text; may be given several times.")
    private @Nullable List<String> stop;

    /**
     * Checks the ranges, before a model is loaded.
     *
     * @param maxTokens the value of {@code --max-tokens}, or null if it was not given
     * @throws ParameterException naming the option, its value and what is allowed
     */
    public void check(@Nullable Integer maxTokens) {
        check(params(maxTokens == null ? 1 : maxTokens, SamplingDefaults.NONE));
    }

    /**
     * Parameters for an answer of at most {@code maxTokens} tokens; {@code build()} checks the ranges.
     *
     * @param recommended by the model's file: the values of options that were not given
     */
    public SamplingParams.Builder params(int maxTokens, SamplingDefaults recommended) {
        return params(defaults().orElse(recommended).orElse(FALLBACK))
                .maxTokens(maxTokens)
                .seed(seed == null ? ThreadLocalRandom.current().nextLong() : seed)
                .stop(stop == null ? List.of() : stop);
    }

    @Override
    SamplingDefaults whenIgnored() {
        return FALLBACK;
    }
}
