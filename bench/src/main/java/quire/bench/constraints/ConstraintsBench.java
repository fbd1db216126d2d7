package quire.bench.constraints;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.IntFunction;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import quire.bench.measure.Quantiles;
import quire.bench.measure.TimedEngine;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.ConstraintCursor;
import quire.engine.constrain.Constraints;
import quire.engine.constrain.Mask;
import quire.engine.constrain.PropertyOrder;
import quire.model.text.Tokenizer;

/**
 * Measures what constraints cost: the time of a mask, and the speed of constrained answers beside free ones.
 *
 * <p>Masks are measured on this thread, without the model. A walk chooses the token with the highest of random numbers among
 * the allowed ones, and often one that ends a value, so it meets the same kinds of states as an answer. The first walk computes each mask; the later ones find
 * most of them again. The time to a first mask includes the compilation of a schema that is new.
 *
 * <p>Speeds are compared on one engine in turns, because two engines have different memory addresses. Only forced text needs
 * two, of which one takes no draft tokens.
 */
final class ConstraintsBench {
    private static final double MICRO = 1e-3;

    private static final int WALKS = 4;
    private static final int TOKENS = 200;
    /** New constraints of one kind, of which some are walked. */
    private static final int FRESH = 200;

    /** Every so many tokens a walk ends a string or a value if it may, because few of all tokens do. */
    private static final int ENDS = 5;

    private static final int WALKED = 5;

    private final Tokenizer tokenizer;
    private final Constraints constraints;
    private final SplittableRandom random = new SplittableRandom(17);
    private final float[] numbers;
    private final boolean[] endsValue; // by token

    ConstraintsBench(Tokenizer tokenizer) {
        this.tokenizer = tokenizer;
        constraints = new Constraints(tokenizer);
        numbers = new float[tokenizer.vocabularySize()];
        endsValue = new boolean[numbers.length];
        for (int token = 0; token < numbers.length; token++) {
            byte[] bytes = tokenizer.bytes(token);
            endsValue[token] = bytes.length > 0 && "\",}])".indexOf(bytes[0]) >= 0;
        }
    }

    /** Constraints of each kind, by name. Those of different numbers are different, and have the same masks. */
    static Map<String, IntFunction<Constraint>> kinds() {
        Map<String, IntFunction<Constraint>> kinds = new LinkedHashMap<>();
        kinds.put("json", i -> Constraint.jsonSchema(Map.of("type", "object", "description", "any " + i)));
        kinds.put("schema", i -> Constraint.jsonSchema(person("name" + i), PropertyOrder.SCHEMA));
        kinds.put("schema, any order", i -> Constraint.jsonSchema(person("name" + i), PropertyOrder.GUIDED));
        kinds.put("24 properties", i -> Constraint.jsonSchema(record("name" + i), PropertyOrder.SCHEMA));
        kinds.put("24 properties, any order", i -> Constraint.jsonSchema(record("name" + i), PropertyOrder.GUIDED));
        kinds.put(
                "24 properties, any order, and others",
                i -> Constraint.jsonSchema(open("name" + i), PropertyOrder.ANY));
        kinds.put("regex", i -> Constraint.regex("([A-Z][a-z]+ ){3,}\\d{4}-\\d{2}-\\d{2}|" + i));
        kinds.put(
                "grammar",
                i -> Constraint.grammar(
                        "root ::= term ([-+*/] term)*\nterm ::= [0-9]+ | \"(\" root \")\" | [a-z_]+ | \"#" + i + "\""));
        return kinds;
    }

    private static Map<String, Object> person(String name) {
        Map<String, Object> properties = new LinkedHashMap<>();
        properties.put(name, Map.of("type", "string"));
        properties.put("age", Map.of("type", "integer", "minimum", 0, "maximum", 150));
        properties.put("tags", Map.of("type", "array", "items", Map.of("type", "string")));
        return Map.of(
                "type",
                "object",
                "properties",
                properties,
                "required",
                List.of(name, "age", "tags"),
                "additionalProperties",
                false);
    }

    /** As many properties as large tools have; half of them required, some with an object of their own. */
    private static Map<String, Object> record(String name) {
        Map<String, Object> properties = new LinkedHashMap<>();
        List<String> required = new ArrayList<>();
        for (int i = 0; i < 24; i++) {
            String property = (i % 3 == 0 ? name : i % 3 == 1 ? "value_of_" : "is_") + i;
            properties.put(
                    property,
                    switch (i % 4) {
                        case 0 -> Map.of("type", "string");
                        case 1 -> Map.of("type", "number");
                        case 2 -> Map.of("enum", List.of("red", "green", "blue"));
                        default -> person(name);
                    });
            if (i % 2 == 0) {
                required.add(property);
            }
        }
        return Map.of("type", "object", "properties", properties, "required", required, "additionalProperties", false);
    }

    private static Map<String, Object> open(String name) {
        Map<String, Object> schema = new LinkedHashMap<>(record(name));
        schema.remove("additionalProperties");
        return schema;
    }

    /**
     * Reads the vocabulary, as the first constrained request does.
     *
     * @return milliseconds
     */
    double readVocabulary() {
        long begin = System.nanoTime();
        constraints.begin(Constraint.choice(List.of("a")));
        return (System.nanoTime() - begin) * 1e-6;
    }

    /**
     * Measures the masks of a kind of constraint.
     *
     * @return columns with units in their names
     */
    Map<String, Object> masks(String name, IntFunction<Constraint> constraints) {
        List<Double> first = new ArrayList<>();
        List<Double> cold = new ArrayList<>();
        List<Double> warm = new ArrayList<>();
        for (int i = 0; i < FRESH; i++) {
            first.add(firstMask(constraints, i));
        }
        for (int i = 0; i < WALKED; i++) {
            Constraint constraint = constraints.apply(FRESH + i);
            for (int walk = 0; walk < WALKS; walk++) {
                walk(constraint, walk == 0 ? cold : warm);
            }
        }
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("constraint", name);
        row.put("first_ever_micros", first.getFirst());
        row.put("first_p50_micros", Quantiles.quantile(first, 0.5));
        row.put("first_p99_micros", Quantiles.quantile(first, 0.99));
        row.put("cold_p50_micros", Quantiles.quantile(cold, 0.5));
        row.put("cold_p99_micros", Quantiles.quantile(cold, 0.99));
        row.put("warm_p50_micros", Quantiles.quantile(warm, 0.5));
        row.put("warm_p99_micros", Quantiles.quantile(warm, 0.99));
        row.put("masks", cold.size() + warm.size());
        return row;
    }

    /** From a schema that no request had before to its first mask. */
    private double firstMask(IntFunction<Constraint> fresh, int number) {
        long begin = System.nanoTime();
        constraints.begin(fresh.apply(number)).mask();
        return (System.nanoTime() - begin) * MICRO;
    }

    private void walk(Constraint constraint, List<Double> micros) {
        ConstraintCursor cursor = constraints.begin(constraint);
        for (int i = 0; i < TOKENS; i++) {
            long begin = System.nanoTime();
            Mask mask = cursor.mask();
            micros.add((System.nanoTime() - begin) * MICRO);
            if (mask.isEmpty()) {
                return;
            }
            for (int token = 0; token < numbers.length; token++) {
                boolean isWanted = i % ENDS == 0 && endsValue[token];
                numbers[token] =
                        tokenizer.isEndOfGeneration(token) ? -1 : (float) random.nextDouble() + (isWanted ? 1 : 0);
            }
            mask.apply(numbers);
            int best = 0;
            for (int token = 1; token < numbers.length; token++) {
                best = numbers[token] > numbers[best] ? token : best;
            }
            if (tokenizer.isEndOfGeneration(best)) {
                return;
            }
            cursor.append(best);
        }
    }

    /**
     * Compares answers with any JSON to free ones.
     *
     * @param sequences answers that run together
     * @param tokens most tokens of an answer
     * @return columns with units in their names
     */
    static Map<String, Object> speed(TimedEngine engine, int sequences, int tokens, int rounds)
            throws InterruptedException {
        List<Double> free = new ArrayList<>();
        List<Double> constrained = new ArrayList<>();
        Constraint text = Constraint.jsonSchema(Map.of("type", "string", "minLength", 20 * tokens));
        measure(engine, null, sequences, tokens);
        measure(engine, text, sequences, tokens);
        for (int round = 0; round < rounds; round++) {
            boolean first = round % 2 == 0;
            (first ? free : constrained).add(measure(engine, first ? null : text, sequences, tokens));
            (first ? constrained : free).add(measure(engine, first ? text : null, sequences, tokens));
        }
        List<Double> ratios = IntStream.range(0, rounds)
                .mapToObj(i -> constrained.get(i) / free.get(i))
                .toList();
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("sequences", sequences);
        row.put("free_tokens_per_second", Quantiles.median(free));
        row.put("constrained_tokens_per_second", Quantiles.median(constrained));
        putRatios(ratios, row);
        return row;
    }

    /** The rounds vary by what else the machine does, so the median alone says too little. */
    private static void putRatios(List<Double> ratios, Map<String, Object> row) {
        row.put("rounds", ratios.size());
        row.put("ratio", Quantiles.median(ratios));
        row.put("least_ratio", Quantiles.quantile(ratios, 0));
        row.put("greatest_ratio", Quantiles.quantile(ratios, 1));
    }

    /**
     * Compares answers whose text is forced in large part, with it as draft tokens and without: a list of records with long
     * names, as programs extract them from texts. Two engines with the same model, by turns.
     *
     * @param drafting an engine that drafts what a constraint forces
     * @return columns with units in their names
     */
    static Map<String, Object> forced(TimedEngine plain, TimedEngine drafting, int sequences, int tokens, int rounds)
            throws InterruptedException {
        Constraint records = Constraint.jsonSchema(
                Map.of("type", "array", "items", extracted(), "minItems", tokens), PropertyOrder.SCHEMA);
        List<Double> without = new ArrayList<>();
        List<Double> with = new ArrayList<>();
        measure(plain, records, sequences, tokens);
        measure(drafting, records, sequences, tokens);
        for (int round = 0; round < rounds; round++) {
            boolean first = round % 2 == 0;
            (first ? without : with).add(measure(first ? plain : drafting, records, sequences, tokens));
            (first ? with : without).add(measure(first ? drafting : plain, records, sequences, tokens));
        }
        List<Double> ratios = IntStream.range(0, rounds)
                .mapToObj(i -> with.get(i) / without.get(i))
                .toList();
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("sequences", sequences);
        row.put("without_tokens_per_second", Quantiles.median(without));
        row.put("with_tokens_per_second", Quantiles.median(with));
        putRatios(ratios, row);
        return row;
    }

    private static Map<String, Object> extracted() {
        Map<String, Object> properties = new LinkedHashMap<>();
        properties.put("customer_number", Map.of("type", "integer", "minimum", 1000, "maximum", 9999));
        properties.put("is_returning_customer", Map.of("type", "boolean"));
        properties.put(
                "reason_for_the_request",
                Map.of(
                        "enum",
                        List.of(
                                "question about an invoice",
                                "change of the postal address",
                                "complaint about a late delivery",
                                "something else")));
        properties.put("urgency", Map.of("enum", List.of("low", "medium", "high")));
        properties.put("needs_an_answer_by_telephone", Map.of("type", "boolean"));
        return Map.of(
                "type",
                "object",
                "properties",
                properties,
                "required",
                List.copyOf(properties.keySet()),
                "additionalProperties",
                false);
    }

    private static double measure(TimedEngine engine, @Nullable Constraint constraint, int sequences, int tokens)
            throws InterruptedException {
        List<Request> requests = new ArrayList<>();
        for (int i = 0; i < sequences; i++) {
            int[] prompt = new int[16];
            Arrays.setAll(prompt, k -> 100 + k);
            prompt[0] += i;
            SamplingParams params = SamplingParams.builder()
                    .maxTokens(tokens)
                    .seed(i)
                    .constraint(constraint)
                    .ignoreEndOfText(constraint == null)
                    .build();
            requests.add(new Request(prompt, params));
        }
        TimedEngine.Group group = engine.answer(requests);
        return group.tokens() / (group.nanos() * 1e-9);
    }
}
