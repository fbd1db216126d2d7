package quire.cli.option;

import java.util.Locale;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import quire.engine.InvalidRequestException;
import quire.engine.SamplingParams;
import quire.model.SamplingDefaults;

/**
 * The options for choosing tokens that come before what the model's file recommends. For a server, requests come before
 * both.
 */
public class SamplingDefaultsOptions {
    @Spec(Spec.Target.MIXEE)
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Option(
            names = "--temperature",
            paramLabel = "T",
            description = "0 always chooses the most probable token; larger values choose more randomly (default: what"
                    + " the model's file recommends, else 0.7 for chat and generate, and 1 for requests to a server).")
    private @Nullable Double temperature;

    @Option(
            names = "--top-p",
            paramLabel = "P",
            description = "Choose among the most probable tokens with this probability together (default: what the"
                    + " model's file recommends, else 1: all).")
    private @Nullable Double topP;

    @Option(
            names = "--top-k",
            paramLabel = "K",
            description = "Choose among the K most probable tokens (default: what the model's file recommends, else 0:"
                    + " all).")
    private @Nullable Integer topK;

    @Option(
            names = "--min-p",
            paramLabel = "P",
            description = "Choose among tokens with at least P times the probability of the most probable one (default:"
                    + " what the model's file recommends, else 0: all).")
    private @Nullable Double minP;

    @Option(
            names = "--repetition-penalty",
            paramLabel = "X",
            description =
                    "Above 1: makes tokens that already occur in the text less probable (default: what the model's"
                            + " file recommends, else 1: none).")
    private @Nullable Double repetitionPenalty;

    @Option(
            names = "--ignore-recommended-sampling",
            description = "Do not use the sampling that the model's file recommends (general.sampling.*).")
    private boolean ignoreRecommended;

    /**
     * Checks the ranges, before a model is loaded.
     *
     * @throws ParameterException naming the option, its value and what is allowed
     */
    public final void check() {
        check(params(defaults()));
    }

    /** The values of the options that were given; of all of them if the model's file is to be ignored. */
    public final SamplingDefaults defaults() {
        SamplingDefaults given = new SamplingDefaults(
                optional(temperature),
                topK == null
                        ? OptionalInt.empty()
                        : OptionalInt.of(Math.max(0, topK)), // negative means all, as elsewhere
                optional(topP),
                optional(minP),
                optional(repetitionPenalty));
        return ignoreRecommended ? given.orElse(whenIgnored()) : given;
    }

    /** The values that stand for the file's if that is to be ignored. */
    SamplingDefaults whenIgnored() {
        return SamplingDefaults.NEUTRAL;
    }

    private static OptionalDouble optional(@Nullable Double value) {
        return value == null ? OptionalDouble.empty() : OptionalDouble.of(value);
    }

    /** A builder with these values, and neutral ones where there is none. */
    static SamplingParams.Builder params(SamplingDefaults values) {
        SamplingDefaults all = values.orElse(SamplingDefaults.NEUTRAL);
        return SamplingParams.builder()
                .maxTokens(1)
                .temperature(all.temperature().orElseThrow())
                .topP(all.topP().orElseThrow())
                .topK(all.topK().orElseThrow())
                .minP(all.minP().orElseThrow())
                .repetitionPenalty(all.repetitionPenalty().orElseThrow());
    }

    /** Builds, for the checks that this does, and names the option in the error. */
    final void check(SamplingParams.Builder params) {
        try {
            params.build();
        } catch (InvalidRequestException e) {
            // "topP is 2.0; it must be …" becomes "--top-p is 2.0; it must be …"
            String name = e.parameter();
            String option = "--" + name.replaceAll("([A-Z])", "-$1").toLowerCase(Locale.ROOT);
            throw new ParameterException(
                    command.commandLine(), String.valueOf(e.getMessage()).replaceFirst("^" + name + "\\b", option));
        }
    }
}
