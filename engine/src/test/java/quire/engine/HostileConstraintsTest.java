package quire.engine;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.InvalidConstraintException;
import quire.engine.constrain.PropertyOrder;
import quire.engine.schedule.EngineLoop;

/**
 * Random schemas, expressions and grammars, most of them nonsense. Each is refused, or its answer ends; the engine goes on, and
 * a request without a constraint that runs beside them has the answer that it has alone.
 */
class HostileConstraintsTest {
    /** The nightly run has 100,000, in a small heap. */
    private static final int CONSTRAINTS = Integer.getInteger("quire.hostile", 3_000);

    private static final int TOGETHER = 7;

    private static final List<PropertyOrder> ORDERS = List.of(PropertyOrder.values());

    private static final List<String> KEYWORDS = List.of(
            "type",
            "enum",
            "const",
            "properties",
            "required",
            "additionalProperties",
            "patternProperties",
            "propertyNames",
            "minProperties",
            "maxProperties",
            "items",
            "prefixItems",
            "minItems",
            "maxItems",
            "uniqueItems",
            "contains",
            "minContains",
            "maxContains",
            "minLength",
            "maxLength",
            "pattern",
            "format",
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "multipleOf",
            "anyOf",
            "allOf",
            "oneOf",
            "not",
            "if",
            "then",
            "else",
            "dependentRequired",
            "dependentSchemas",
            "unevaluatedProperties",
            "unevaluatedItems",
            "$ref",
            "$defs",
            "$anchor",
            "title",
            "nonsense");

    private static final List<String> WORDS = List.of(
            "string",
            "integer",
            "number",
            "array",
            "object",
            "boolean",
            "null",
            "a",
            "b",
            "",
            "é\"\\",
            "date",
            "uuid",
            "email",
            "#",
            "#/$defs/a",
            "#/$defs/b",
            "#/properties/a",
            "#/anyOf/0");

    private static final String EXPRESSION = "ab.*+?|()[]{}^$\\dwsp-,019é(((***???{2,9}{1000}{,}(?=(?!(?:";
    private static final List<String> GRAMMAR = List.of(
            "root ::= ",
            "a ::= ",
            "b ::= ",
            "\n",
            "root",
            "a",
            "b",
            " ",
            " | ",
            "(",
            ")",
            "*",
            "+",
            "?",
            "{3}",
            "{2,}",
            "{0,900}",
            "\"x\"",
            "\"yy\"",
            "[a-z]",
            "[^x]",
            "[",
            "\"",
            ".",
            "# c\n",
            "\\",
            "<think>");

    @Test
    void answers_ofRandomConstraints_endAndLeaveOthersAlone() {
        int maxContext = 48;
        EngineConfig config =
                Requests.config(TOGETHER + 1, 64, 16).withSpeculation(new Speculation(4, true, null, null));
        FakeModel model = FakeModel.fitting(config, (TOGETHER + 1) * maxContext);
        EngineLoop loop = EngineLoop.builder(model, new FakeTokenizer(), config)
                .nanoClock(() -> 0)
                .build();
        Request usual = Requests.of("beside", 12);
        Answer expected = Answer.alone(usual, maxContext);
        SplittableRandom random = new SplittableRandom(29);
        int compiled = 0;
        int refused = 0;
        int stopped = 0;
        for (int i = 0; i < CONSTRAINTS; ) {
            List<TokenStream> streams = new ArrayList<>();
            for (int together = 0; together < TOGETHER; together++, i++) {
                Constraint constraint = constraint(random);
                if (constraint == null) {
                    refused++;
                    continue;
                }
                compiled++;
                SamplingParams params = SamplingParams.builder()
                        .maxTokens(1 + random.nextInt(24))
                        .seed(i)
                        .temperature(1)
                        .constraint(constraint)
                        .build();
                streams.add(loop.submit(new Request(new FakeTokenizer().encode("p", true, false), params)));
            }
            TokenStream beside = loop.submit(usual);
            while (loop.doWork() > 0) {
                // to the end of all answers
            }
            loop.checkIntegrity();
            for (TokenStream stream : streams) {
                FinishReason reason = end(stream).finish().reason();
                assertThat(reason).isIn(FinishReason.STOP, FinishReason.LENGTH, FinishReason.CONSTRAINT);
                stopped += reason == FinishReason.STOP ? 1 : 0;
            }
            assertThat(end(beside)).isEqualTo(expected);
        }
        model.close();
        assertThat(compiled).isGreaterThan(CONSTRAINTS / 10);
        assertThat(refused).isGreaterThan(CONSTRAINTS / 10);
        assertThat(stopped).isGreaterThan(CONSTRAINTS / 50);
    }

    private static Answer end(TokenStream stream) {
        Answer.Reader reader = new Answer.Reader();
        reader.poll(stream);
        return reader.end(stream.finish());
    }

    /** Null if it is refused. */
    private static @Nullable Constraint constraint(SplittableRandom random) {
        try {
            return switch (random.nextInt(8)) {
                case 0 -> Constraint.regex(text(random, 14));
                case 1, 2 -> Constraint.grammar(grammar(random));
                default -> Constraint.jsonSchema(schema(random, 3), ORDERS.get(random.nextInt(ORDERS.size())));
            };
        } catch (InvalidConstraintException e) {
            assertThat(e.getMessage()).isNotBlank();
            return null;
        }
    }

    private static String text(SplittableRandom random, int most) {
        StringBuilder text = new StringBuilder();
        for (int i = random.nextInt(most); i >= 0; i--) {
            text.append(EXPRESSION.charAt(random.nextInt(EXPRESSION.length())));
        }
        return text.toString();
    }

    private static String grammar(SplittableRandom random) {
        StringBuilder grammar = new StringBuilder("root ::= ");
        for (int i = random.nextInt(12); i >= 0; i--) {
            grammar.append(GRAMMAR.get(random.nextInt(GRAMMAR.size())));
        }
        return grammar.append(random.nextBoolean() ? "\na ::= \"x\" b\nb ::= [a-c]* \"z\"" : "")
                .toString();
    }

    /** Keywords with values of the right kind in most cases, and of any kind in the others. */
    private static Object schema(SplittableRandom random, int depth) {
        if (depth == 0 || random.nextInt(12) == 0) {
            return random.nextInt(3) > 0 ? Map.of("type", WORDS.get(random.nextInt(7))) : (Object) random.nextBoolean();
        }
        Map<String, @Nullable Object> schema = new LinkedHashMap<>();
        for (int i = random.nextInt(5); i >= 0; i--) {
            String keyword = KEYWORDS.get(random.nextInt(KEYWORDS.size()));
            schema.put(keyword, random.nextInt(12) == 0 ? any(random, 2) : value(keyword, random, depth - 1));
        }
        return schema;
    }

    private static Object value(String keyword, SplittableRandom random, int depth) {
        return switch (keyword) {
            case "type" -> WORDS.get(random.nextInt(7));
            case "enum" -> list(1 + random.nextInt(4), () -> any(random, 1));
            case "required" -> list(random.nextInt(3), () -> WORDS.get(7 + random.nextInt(3)));
            case "properties", "patternProperties", "dependentSchemas", "$defs" -> {
                Map<String, Object> schemas = new LinkedHashMap<>();
                for (int i = random.nextInt(3); i >= 0; i--) {
                    String name = keyword.startsWith("pattern") ? text(random, 4) : WORDS.get(7 + random.nextInt(4));
                    schemas.put(name, schema(random, depth));
                }
                yield schemas;
            }
            case "dependentRequired" -> Map.of("a", List.of("b"));
            case "prefixItems", "anyOf", "allOf", "oneOf" -> list(1 + random.nextInt(3), () -> schema(random, depth));
            case "pattern" -> text(random, 8);
            case "format", "$ref", "$anchor", "title" -> WORDS.get(random.nextInt(WORDS.size()));
            case "uniqueItems" -> random.nextBoolean();
            case "minimum", "maximum", "exclusiveMinimum", "multipleOf", "const" -> number(random);
            case "items",
                    "additionalProperties",
                    "propertyNames",
                    "contains",
                    "not",
                    "if",
                    "then",
                    "else",
                    "unevaluatedProperties",
                    "unevaluatedItems" -> schema(random, depth);
            default -> random.nextInt(6) == 0 ? number(random) : (Object) random.nextInt(6);
        };
    }

    private static List<@Nullable Object> list(int size, Supplier<@Nullable Object> each) {
        List<@Nullable Object> list = new ArrayList<>();
        for (int i = 0; i < size; i++) {
            list.add(each.get());
        }
        return list;
    }

    private static Object number(SplittableRandom random) {
        return switch (random.nextInt(5)) {
            case 0 -> random.nextInt(-3, 10);
            case 1 -> random.nextInt(-40, 40) / 8.0;
            case 2 -> random.nextLong();
            case 3 -> Double.MAX_VALUE * (random.nextDouble() - 0.5);
            default -> 1 + random.nextInt(100_000);
        };
    }

    private static @Nullable Object any(SplittableRandom random, int depth) {
        return switch (random.nextInt(depth == 0 ? 4 : 6)) {
            case 0 -> null;
            case 1 -> random.nextBoolean();
            case 2 -> number(random);
            case 3 -> WORDS.get(random.nextInt(WORDS.size()));
            case 4 -> list(random.nextInt(3), () -> any(random, depth - 1));
            default -> {
                Map<String, @Nullable Object> map = new LinkedHashMap<>();
                map.put(KEYWORDS.get(random.nextInt(KEYWORDS.size())), any(random, depth - 1));
                yield map;
            }
        };
    }
}
