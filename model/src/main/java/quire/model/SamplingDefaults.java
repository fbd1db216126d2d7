package quire.model;

import java.math.BigInteger;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import java.util.Set;
import java.util.function.DoublePredicate;
import java.util.stream.Collectors;
import quire.model.format.Gguf;
import quire.model.format.GgufValueType;

/**
 * How tokens are chosen where a request does not say it. The makers of a model may recommend this in the model's file;
 * converters take it from {@code generation_config.json}.
 *
 * @param temperature logits are divided by it; [0, 100]
 * @param topK keep the k likeliest tokens; 0 keeps all
 * @param topP keep the smallest set of likeliest tokens whose total probability reaches this; (0, 1]
 * @param minP keep tokens whose probability is at least this fraction of the likeliest token's; [0, 1]
 * @param repetitionPenalty divides the positive logits of tokens that occurred, and multiplies the negative ones; (0,
 *     100]
 */
public record SamplingDefaults(
        OptionalDouble temperature,
        OptionalInt topK,
        OptionalDouble topP,
        OptionalDouble minP,
        OptionalDouble repetitionPenalty) {

    /** No value at all. */
    public static final SamplingDefaults NONE = new SamplingDefaults(
            OptionalDouble.empty(),
            OptionalInt.empty(),
            OptionalDouble.empty(),
            OptionalDouble.empty(),
            OptionalDouble.empty());

    /** Temperature 1 and no filter and no penalty: tokens are drawn as the model gives their probabilities. */
    public static final SamplingDefaults NEUTRAL = new SamplingDefaults(
            OptionalDouble.of(1), OptionalInt.of(0), OptionalDouble.of(1), OptionalDouble.of(0), OptionalDouble.of(1));

    private static final String PREFIX = "general.sampling.";
    private static final String TEMPERATURE = PREFIX + "temp";
    private static final String TOP_K = PREFIX + "top_k";
    private static final String TOP_P = PREFIX + "top_p";
    private static final String MIN_P = PREFIX + "min_p";
    private static final String PENALTY = PREFIX + "penalty_repeat";
    private static final Set<String> KNOWN = Set.of(TEMPERATURE, TOP_K, TOP_P, MIN_P, PENALTY);

    /**
     * What a file recommends, and what of it cannot be used.
     *
     * @param values the recommendation
     * @param warnings one sentence for each value that is wrong, and one for all keys that are not supported
     */
    public record Recommendation(SamplingDefaults values, List<String> warnings) {
        /** Copies the list. */
        public Recommendation {
            warnings = List.copyOf(warnings);
        }
    }

    /**
     * Reads {@code general.sampling.*}. The values may have any numeric type. A value that is out of range counts as
     * absent.
     */
    public static Recommendation from(Gguf file) {
        List<String> warnings = new ArrayList<>();
        OptionalDouble topK = number(file, TOP_K, k -> k == Math.rint(k) && Math.abs(k) <= Integer.MAX_VALUE, warnings);
        SamplingDefaults values = new SamplingDefaults(
                number(file, TEMPERATURE, t -> t >= 0 && t <= 100, warnings),
                // A negative number keeps all tokens, as in llama.cpp.
                topK.isPresent() ? OptionalInt.of((int) Math.max(0, topK.getAsDouble())) : OptionalInt.empty(),
                number(file, TOP_P, p -> p > 0 && p <= 1, warnings),
                number(file, MIN_P, p -> p >= 0 && p <= 1, warnings),
                number(file, PENALTY, x -> x > 0 && x <= 100, warnings));
        String others = file.keys().stream()
                .filter(key -> key.startsWith(PREFIX) && !KNOWN.contains(key))
                .sorted()
                .collect(Collectors.joining(", "));
        if (!others.isEmpty()) {
            warnings.add(file.file() + ": recommended sampling that is not supported is ignored: " + others);
        }
        return new Recommendation(values, warnings);
    }

    private static OptionalDouble number(Gguf file, String key, DoublePredicate allowed, List<String> warnings) {
        if (!file.has(key)) {
            return OptionalDouble.empty();
        }
        Object value = file.type(key) == GgufValueType.ARRAY ? "an array" : file.scalar(key);
        OptionalDouble number =
                switch (value) {
                    // By its decimal form, so that 0.6 as f32 equals a request's 0.6.
                    case Float f -> OptionalDouble.of(Double.parseDouble(f.toString()));
                    case Double d -> OptionalDouble.of(d);
                    case Long l -> OptionalDouble.of(l);
                    case BigInteger i -> OptionalDouble.of(i.doubleValue());
                    default -> OptionalDouble.empty();
                };
        if (number.isPresent() && allowed.test(number.getAsDouble())) {
            return number;
        }
        warnings.add(file.file() + ": key " + key + " is " + file.describe(key, 40)
                + ", which is no usable value; it is" + " ignored");
        return OptionalDouble.empty();
    }

    /** These values, and those of {@code other} where there is none here. */
    public SamplingDefaults orElse(SamplingDefaults other) {
        return new SamplingDefaults(
                temperature.isPresent() ? temperature : other.temperature,
                topK.isPresent() ? topK : other.topK,
                topP.isPresent() ? topP : other.topP,
                minP.isPresent() ? minP : other.minP,
                repetitionPenalty.isPresent() ? repetitionPenalty : other.repetitionPenalty);
    }

    /** The values that are there, by the names that requests have for them, in a fixed order. */
    public Map<String, Number> values() {
        Map<String, Number> values = new LinkedHashMap<>();
        temperature.ifPresent(value -> values.put("temperature", value));
        topK.ifPresent(value -> values.put("top_k", value));
        topP.ifPresent(value -> values.put("top_p", value));
        minP.ifPresent(value -> values.put("min_p", value));
        repetitionPenalty.ifPresent(value -> values.put("repetition_penalty", value));
        return values;
    }

    /** For people: {@code temperature 0.6, top_k 20}, or {@code none}. */
    public String describe() {
        return values().isEmpty()
                ? "none"
                : values().entrySet().stream()
                        .map(entry -> entry.getKey() + " " + entry.getValue())
                        .collect(Collectors.joining(", "));
    }
}
