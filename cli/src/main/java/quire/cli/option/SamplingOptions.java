package quire.cli.option;

import java.math.BigInteger;
import java.util.List;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import java.util.concurrent.ThreadLocalRandom;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.TypeConversionException;
import quire.engine.SamplingParams;
import quire.model.SamplingDefaults;

/** The options for choosing tokens, for commands that make the requests themselves. */
public final class SamplingOptions extends SamplingDefaultsOptions {
    /** The {@code --max-tokens} of an answer up to the end of the context, as in requests to a server. */
    public static final int NO_LIMIT = -1;

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
            converter = Seed.class,
            description = "The same seed gives the same answer; −1 means none (default: a new seed each time).")
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
        check(params(maxTokens == null || maxTokens == NO_LIMIT ? 1 : maxTokens, SamplingDefaults.NONE));
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

    /** Reads a seed of 64 bits, signed or unsigned. As in requests to a server, −1 and 4294967295 mean no seed. */
    static final class Seed implements ITypeConverter<@Nullable Long> {
        private static final BigInteger MIN = BigInteger.valueOf(Long.MIN_VALUE);
        private static final BigInteger MAX =
                BigInteger.ONE.shiftLeft(Long.SIZE).subtract(BigInteger.ONE);
        private static final List<BigInteger> NONE = List.of(BigInteger.ONE.negate(), BigInteger.valueOf(0xFFFF_FFFFL));

        @Override
        public @Nullable Long convert(String text) {
            try {
                BigInteger value = new BigInteger(text.strip());
                if (value.compareTo(MIN) >= 0 && value.compareTo(MAX) <= 0) {
                    return NONE.contains(value) ? null : value.longValue();
                }
            } catch (NumberFormatException e) {
                // the exception below says what is allowed
            }
            throw new TypeConversionException(
                    "'" + text + "' is not a seed: write a whole number from " + MIN + " to " + MAX);
        }
    }

    @Override
    SamplingDefaults whenIgnored() {
        return FALLBACK;
    }
}
