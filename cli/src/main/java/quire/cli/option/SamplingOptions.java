package quire.cli.option;

import java.util.List;
import java.util.Locale;
import java.util.concurrent.ThreadLocalRandom;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import quire.engine.InvalidRequestException;
import quire.engine.SamplingParams;

/** The options for choosing tokens. */
public final class SamplingOptions {
    @Spec(Spec.Target.MIXEE)
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Option(
            names = "--temperature",
            paramLabel = "T",
            defaultValue = "0.7",
            description =
                    "0 always chooses the most probable token; larger values choose more randomly (default ${DEFAULT-VALUE}).")
    private double temperature;

    @Option(
            names = "--top-p",
            paramLabel = "P",
            defaultValue = "1",
            description =
                    "Choose among the most probable tokens with this probability together (default ${DEFAULT-VALUE}: all).")
    private double topP;

    @Option(
            names = "--top-k",
            paramLabel = "K",
            defaultValue = "0",
            description = "Choose among the K most probable tokens (default ${DEFAULT-VALUE}: all).")
    private int topK;

    @Option(
            names = "--min-p",
            paramLabel = "P",
            defaultValue = "0",
            description =
                    "Choose among tokens with at least P times the probability of the most probable one (default ${DEFAULT-VALUE}).")
    private double minP;

    @Option(
            names = "--repetition-penalty",
            paramLabel = "X",
            defaultValue = "1",
            description =
                    "Above 1: makes tokens that already occur in the text less probable (default ${DEFAULT-VALUE}).")
    private double repetitionPenalty;

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
        try {
            params(maxTokens == null ? 1 : maxTokens).build();
        } catch (InvalidRequestException e) {
            // "topP is 2.0; it must be …" becomes "--top-p is 2.0; it must be …"
            String name = e.parameter();
            String option = "--" + name.replaceAll("([A-Z])", "-$1").toLowerCase(Locale.ROOT);
            throw new ParameterException(
                    command.commandLine(), String.valueOf(e.getMessage()).replaceFirst("^" + name + "\\b", option));
        }
    }

    /** Parameters for an answer of at most {@code maxTokens} tokens; {@code build()} checks the ranges. */
    public SamplingParams.Builder params(int maxTokens) {
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
