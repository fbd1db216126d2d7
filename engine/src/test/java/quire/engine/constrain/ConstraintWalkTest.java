package quire.engine.constrain;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.networknt.schema.InputFormat;
import com.networknt.schema.Schema;
import com.networknt.schema.SchemaRegistry;
import com.networknt.schema.SpecificationVersion;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.SplittableRandom;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import quire.engine.FakeTokenizer;
import quire.model.BuiltInModel;
import quire.model.format.Gguf;
import quire.model.text.Tokenizer;
import quire.model.text.Tokenizers;

/** Random tokens under the mask of random schemas. Another validator judges every text that was finished. */
class ConstraintWalkTest {
    private static final SchemaRegistry REGISTRY =
            SchemaRegistry.withDefaultDialect(SpecificationVersion.DRAFT_2020_12);

    /** Numbers for which the validator fails beside {@code maximum}. */
    private static final Pattern BEYOND_64_BITS = Pattern.compile("[0-9][eE]\\+?[1-9][0-9]|[0-9]{18}");

    /** The nightly run has 15,000, of which more than 10,000 are computed. */
    private static final int SCHEMAS = Integer.getInteger("quire.walks", 2000);

    private static final List<PropertyOrder> ORDERS = List.of(PropertyOrder.values());

    private static Tokenizer builtIn() {
        try (Gguf file = Gguf.open(BuiltInModel.QUIRE_TINY.path())) {
            return Tokenizers.of(file);
        }
    }

    @Test
    void walk_randomSchemas_givesValidDocuments() {
        Tokenizer tokenizer = builtIn();
        SplittableRandom random = new SplittableRandom(11);
        int finished = 0;
        int refused = 0;
        for (int i = 0; i < SCHEMAS; i++) {
            Object schema = schema(random, 3);
            PropertyOrder order = ORDERS.get(i % ORDERS.size());
            Constraint constraint;
            try {
                constraint = Constraint.jsonSchema(schema, order);
            } catch (InvalidConstraintException e) {
                refused++;
                continue;
            }
            Schema validator = REGISTRY.getSchema(Schemas.JSON.writeValueAsString(schema), InputFormat.JSON);
            Constraints constraints = new Constraints(tokenizer);
            for (int j = 0; j < 5; j++) {
                String text = walk(constraints.begin(constraint), tokenizer, random, 300);
                boolean hasMark = text.indexOf(Part.CONTROL_MARK) >= 0; // no text that a constraint is asked for has it
                if (!text.isEmpty() && !hasMark && !BEYOND_64_BITS.matcher(text).find()) {
                    finished++;
                    assertThat(validator.validate(text, InputFormat.JSON))
                            .as("%s for %s", text, Schemas.JSON.writeValueAsString(schema))
                            .isEmpty();
                    String other = Schemas.text(Schemas.parse(text), random);
                    assertThat(order == PropertyOrder.ANY ? constraint.matches(other) : constraint.matches(text))
                            .as("%s for %s", other, Schemas.JSON.writeValueAsString(schema))
                            .isTrue();
                }
            }
        }
        assertThat(SCHEMAS - refused).isGreaterThan(SCHEMAS * 7 / 10);
        assertThat(finished).isGreaterThan(2 * SCHEMAS);
    }

    /**
     * The text of random tokens, chosen so that short ones and ends are likely; empty if it did not end.
     *
     * <p>On the way some tokens are taken back and chosen again, as verification of draft tokens does.
     */
    private static String walk(ConstraintCursor cursor, Tokenizer tokenizer, SplittableRandom random, int most) {
        List<Integer> tokens = new ArrayList<>();
        while (tokens.size() < most) {
            Mask mask = cursor.mask();
            int token = choose(mask, tokenizer, random);
            cursor.append(token);
            if (random.nextInt(8) == 0) {
                cursor.undo();
                continue;
            }
            if (tokenizer.isEndOfGeneration(token)) {
                assertThat(cursor.mask().isEmpty()).isTrue();
                return tokenizer.decode(
                        tokens.stream().mapToInt(Integer::intValue).toArray());
            }
            tokens.add(token);
        }
        return "";
    }

    private static int choose(Mask mask, Tokenizer tokenizer, SplittableRandom random) {
        List<Integer> allowed = new ArrayList<>();
        for (int token = 0; token < tokenizer.vocabularySize(); token++) {
            if (mask.allows(token)) {
                if (tokenizer.isEndOfGeneration(token) && random.nextBoolean()) {
                    return token;
                }
                allowed.add(token);
            }
        }
        assertThat(allowed).as("allowed tokens").isNotEmpty();
        for (int token : allowed) {
            byte[] bytes = tokenizer.bytes(token);
            if (bytes.length > 0 && "\"}]".indexOf(bytes[0]) >= 0 && random.nextInt(6) == 0) {
                return token;
            }
        }
        return allowed.get(random.nextInt(allowed.size()));
    }

    private static Object schema(SplittableRandom random, int depth) {
        Map<String, Object> schema = new LinkedHashMap<>();
        switch (random.nextInt(depth == 0 ? 5 : 9)) {
            case 0 -> schema.put("type", random.nextBoolean() ? "boolean" : "null");
            case 1 -> {
                schema.put("type", "integer");
                int low = random.nextInt(-50, 50);
                if (random.nextBoolean()) {
                    schema.put(random.nextBoolean() ? "minimum" : "exclusiveMinimum", low);
                }
                if (random.nextBoolean()) {
                    schema.put(random.nextBoolean() ? "maximum" : "exclusiveMaximum", low + random.nextInt(1, 200));
                }
                if (random.nextInt(3) == 0) {
                    schema.put("multipleOf", random.nextInt(1, 9));
                }
            }
            case 2 -> {
                schema.put("type", "number");
                BigDecimal low = BigDecimal.valueOf(random.nextInt(-5000, 5000), random.nextInt(4));
                if (random.nextBoolean()) {
                    schema.put("minimum", low);
                }
                if (random.nextBoolean()) {
                    schema.put("exclusiveMaximum", low.add(BigDecimal.valueOf(random.nextInt(1, 90), 2)));
                }
            }
            case 3 -> {
                schema.put("type", "string");
                if (random.nextBoolean()) {
                    schema.put("minLength", random.nextInt(3));
                    schema.put("maxLength", random.nextInt(2, 6));
                }
                String[] patterns = {"^[a-z]*$", "a", "^\\d{1,3}(-\\d+)?$", "[^x]$", ".x|b", "^é?\\W"};
                if (random.nextInt(3) == 0) {
                    schema.put("pattern", patterns[random.nextInt(patterns.length)]);
                }
            }
            case 4 -> schema.put("enum", List.of("x", 3, true, "a\"b", new BigDecimal("1.5")));
            case 5 -> {
                schema.put("type", "array");
                if (random.nextBoolean()) {
                    schema.put("prefixItems", List.of(schema(random, depth - 1), schema(random, depth - 1)));
                }
                schema.put("items", random.nextInt(4) == 0 ? (Object) false : schema(random, depth - 1));
                if (random.nextBoolean()) {
                    schema.put("minItems", random.nextInt(3));
                    schema.put("maxItems", random.nextInt(2, 5));
                }
                if (random.nextInt(3) == 0) {
                    schema.put("uniqueItems", true);
                }
            }
            case 6 -> {
                schema.put("anyOf", List.of(schema(random, depth - 1), schema(random, depth - 1)));
                if (random.nextInt(3) == 0) {
                    schema.put("minimum", 0);
                }
            }
            case 7 -> schema.put("allOf", List.of(object(random, depth), object(random, depth)));
            default -> schema.putAll(object(random, depth));
        }
        return schema;
    }

    private static Map<String, Object> object(SplittableRandom random, int depth) {
        Map<String, Object> schema = new LinkedHashMap<>();
        schema.put("type", "object");
        Map<String, Object> properties = new LinkedHashMap<>();
        List<String> required = new ArrayList<>();
        for (int i = random.nextInt(4); i > 0; i--) {
            String name = "" + "abcd\"é".charAt(random.nextInt(6)) + (random.nextBoolean() ? "b" : "");
            properties.put(name, schema(random, depth - 1));
            if (random.nextBoolean()) {
                required.add(name);
            }
        }
        schema.put("properties", properties);
        if (!required.isEmpty()) {
            schema.put("required", required.stream().distinct().toList());
        }
        switch (random.nextInt(5)) {
            case 0 -> schema.put("additionalProperties", schema(random, 0));
            case 1 -> schema.put("patternProperties", Map.of("^[a-b]", schema(random, 0)));
            case 2 -> schema.put("maxProperties", 2);
            default -> schema.put("additionalProperties", false);
        }
        return schema;
    }

    /** A token is in the mask exactly if the state after it exists. */
    @Test
    void mask_eachToken_agreesWithItsBytes() {
        for (Tokenizer tokenizer : List.of(builtIn(), new FakeTokenizer())) {
            Vocabulary vocabulary = new Vocabulary(tokenizer);
            SplittableRandom random = new SplittableRandom(5);
            List<Constraint> all = new ArrayList<>(
                    List.of(
                            Constraint.json(),
                            Constraint.regex("(a|the|[0-9]{2,5} )*(end)?"),
                            Constraint.regex(".{3,9}\"x?"),
                            Constraint.choice(List.of("yes", "no", "not yet", "é")),
                            Schemas.constraint(
                                    "{\"type\":\"object\",\"properties\":{\"the\":{\"type\":\"null\"},\"th\":{\"type\":\"null\"}}}"),
                            Schemas.constraint(
                                    "{\"type\":\"object\",\"properties\":{\"a\":{},\"an\":{\"type\":\"null\"},\"\":{},\"be\":{},\"been\":{}},"
                                            + "\"required\":[\"an\",\"\"],\"maxProperties\":4,\"additionalProperties\":false}"),
                            Schemas.constraint(
                                    "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"maxLength\":2},\"uniqueItems\":true,\"maxItems\":4}"),
                            Schemas.constraint(
                                    "{\"type\":\"array\",\"items\":{\"type\":[\"integer\",\"boolean\"],\"minimum\":1,\"maximum\":2},\"uniqueItems\":true}"),
                            Constraint.of(Part.sequence(
                                    new Part.Text("("),
                                    new Part.Pairs(
                                            List.of(
                                                    new Part.Pair("a=", new Part.Text("the"), false),
                                                    new Part.Pair("a", new Part.Text("-"), true),
                                                    new Part.Pair("in", new Part.Regex("[a-z]{0,9}"), false)),
                                            " "),
                                    new Part.Text(")."))),
                            Schemas.constraint("{\"type\":\"array\",\"items\":{\"type\":\"string\",\"maxLength\":5}}"),
                            Schemas.constraint(
                                    "{\"anyOf\":[{\"type\":\"string\",\"pattern\":\"^a\"},{\"type\":\"array\"},{\"type\":\"string\"}]}")));
            for (Constraint constraint : all) {
                Automaton automaton = new Automaton(constraint, vocabulary, new Profiles());
                for (int walk = 0; walk < 6; walk++) {
                    int state = automaton.start();
                    for (int step = 0; step < 25; step++) {
                        Mask mask = automaton.mask(state);
                        float[] logits = new float[tokenizer.vocabularySize() + 3];
                        mask.apply(logits);
                        List<Integer> next = new ArrayList<>();
                        for (int token = 0; token < tokenizer.vocabularySize(); token++) {
                            boolean end = tokenizer.isEndOfGeneration(token);
                            boolean allowed =
                                    end ? automaton.mayEnd(state) : automaton.advance(state, token) != Expressions.NONE;
                            assertThat(mask.allows(token))
                                    .as("token %d of %s", token, constraint)
                                    .isEqualTo(allowed);
                            assertThat(logits[token] == 0).isEqualTo(allowed);
                            if (allowed && !end) {
                                next.add(token);
                            }
                        }
                        assertThat(logits[tokenizer.vocabularySize()]).isEqualTo(Float.NEGATIVE_INFINITY);
                        if (next.isEmpty()) {
                            break;
                        }
                        state = automaton.advance(state, next.get(random.nextInt(next.size())));
                    }
                }
            }
        }
    }

    /** Tokens that hold whole elements of a list, as few vocabularies have, are masked by their own texts. */
    @Test
    void mask_tokensWithWholeElements_areDistinct() {
        Vocabulary vocabulary = new Vocabulary(new Pieces(List.of(
                "\",\"", "a\",\"a", "\",\"a\"", "a\",\"a\"", "a\",\"b\"", "a\",\"ab", "1,1", ",1", "1,2]", "a\"]")));
        for (String items : List.of(
                "{\"type\":\"string\"}",
                "{\"type\":\"string\",\"maxLength\":1}",
                "{\"enum\":[1,2]}",
                "{\"type\":\"string\",\"pattern\":\"^ab?$\"}",
                "{\"type\":\"integer\"}")) {
            Automaton automaton = new Automaton(
                    Schemas.constraint("{\"type\":\"array\",\"items\":" + items + ",\"uniqueItems\":true}"),
                    vocabulary,
                    new Profiles());
            for (String text :
                    List.of("[", "[\"", "[\"a", "[\"b\",\"", "[\"b\",\"a", "[\"ab\",\"", "[1", "[1,", "[2,1", "[21,")) {
                int state = automaton.start();
                for (int token : new FakeTokenizer().encode(text, false, false)) {
                    state = state == Expressions.NONE ? state : automaton.advance(state, token);
                }
                if (state == Expressions.NONE) {
                    continue;
                }
                Mask mask = automaton.mask(state);
                for (int token = 0; token < vocabulary.size(); token++) {
                    boolean end = automaton.isEnd(token);
                    assertThat(mask.allows(token))
                            .as("token %d after %s of %s", token, text, items)
                            .isEqualTo(
                                    end
                                            ? automaton.mayEnd(state)
                                            : automaton.advance(state, token) != Expressions.NONE);
                }
            }
        }
    }

    /** A {@link FakeTokenizer} with further tokens of several bytes. */
    private record Pieces(List<String> pieces) implements Tokenizer {
        private static final FakeTokenizer BYTES = new FakeTokenizer();

        @Override
        public int vocabularySize() {
            return BYTES.vocabularySize() + pieces.size();
        }

        @Override
        public int[] encode(String text, boolean addSpecial, boolean parseSpecial) {
            return BYTES.encode(text, addSpecial, parseSpecial);
        }

        @Override
        public byte[] bytes(int token) {
            return token < BYTES.vocabularySize()
                    ? BYTES.bytes(token)
                    : spelling(token).getBytes(StandardCharsets.UTF_8);
        }

        @Override
        public String spelling(int token) {
            return token < BYTES.vocabularySize() ? BYTES.spelling(token) : pieces.get(token - BYTES.vocabularySize());
        }

        @Override
        public boolean isControl(int token) {
            return token < BYTES.vocabularySize() && BYTES.isControl(token);
        }

        @Override
        public boolean isEndOfGeneration(int token) {
            return token < BYTES.vocabularySize() && BYTES.isEndOfGeneration(token);
        }

        @Override
        public OptionalInt bos() {
            return BYTES.bos();
        }

        @Override
        public OptionalInt eos() {
            return BYTES.eos();
        }
    }

    /** The order in which requests share an automaton does not change a mask. */
    @Test
    void mask_afterOtherWalks_isTheSame() {
        Tokenizer tokenizer = builtIn();
        Constraint constraint = Schemas.constraint(
                "{\"type\":\"object\",\"additionalProperties\":{\"type\":[\"string\",\"array\"],\"maxLength\":9}}");
        Constraints shared = new Constraints(tokenizer);
        SplittableRandom others = new SplittableRandom(2);
        for (int i = 0; i < 20; i++) {
            walk(shared.begin(constraint), tokenizer, others, 60);
            ConstraintCursor here = shared.begin(constraint);
            ConstraintCursor alone = new Constraints(tokenizer).begin(constraint);
            SplittableRandom random = new SplittableRandom(i);
            for (int step = 0; step < 40; step++) {
                Mask mask = here.mask();
                for (int token = 0; token < tokenizer.vocabularySize(); token++) {
                    assertThat(mask.allows(token)).isEqualTo(alone.mask().allows(token));
                }
                int token = choose(mask, tokenizer, random);
                here.append(token);
                alone.append(token);
                if (tokenizer.isEndOfGeneration(token)) {
                    break;
                }
            }
        }
    }

    /** One request that exceeds the limit ends; the others, which shared its automaton, go on. */
    @Test
    void mask_tooManyStates_endsThatAnswerOnly() {
        FakeTokenizer tokenizer = new FakeTokenizer();
        Constraints constraints = new Constraints(tokenizer);
        Constraint constraint = Constraint.json();
        ConstraintCursor modest = constraints.begin(constraint);
        ConstraintCursor greedy = constraints.begin(constraint);
        int[] open = tokenizer.encode("{\"a\":[", false, false);
        for (int i = 0; i < 5; i++) {
            greedy.append(open[i]);
            modest.append(open[i]);
        }
        assertThatThrownBy(() -> {
                    while (true) {
                        greedy.append(open[5]);
                    }
                })
                .isInstanceOf(ConstraintException.class)
                .hasMessageContaining("states");
        assertThat(modest.mask().allows(open[5])).isTrue();
        modest.append(open[5]);
        assertThat(modest.mask().allows(tokenizer.encode("]", false, false)[0])).isTrue();
        assertThat(constraints.begin(constraint).mask().allows(open[0])).isTrue();
    }

    @Test
    void forced_textWithoutChoice_isSplitIntoTokens() {
        Tokenizer tokenizer = builtIn();
        ConstraintCursor cursor = new Constraints(tokenizer)
                .begin(
                        Schemas.constraint(
                                "{\"type\":\"object\",\"properties\":{\"name\":{\"enum\":[\"x\",\"y\"]}},\"required\":[\"name\"],\"additionalProperties\":false}"));
        int[] draft = new int[20];
        int count = cursor.forced(draft, 0, 20);
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < count; i++) {
            text.append(new String(tokenizer.bytes(draft[i]), StandardCharsets.UTF_8));
        }
        assertThat(text).hasToString("{\"name\":");
        assertThat(cursor.allowed(draft, 0, count)).isEqualTo(count);
        draft[1] = draft[0];
        assertThat(cursor.allowed(draft, 0, count)).isEqualTo(1);
    }
}
