package quire.engine.constrain;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static quire.engine.constrain.Schemas.constraint;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.core.JacksonException;

/** Texts inside and outside of each keyword's bounds. */
class JsonSchemaTest {
    @Test
    void matches_eachKeyword_insideAndOutsideOfItsBounds() throws IOException {
        List<String> faults = new ArrayList<>();
        int texts = 0;
        for (String row : rows("schemas.txt")) {
            String[] parts = row.split(" # ", -1);
            Constraint constraint = constraint(parts[0]);
            for (int side = 1; side <= 2; side++) {
                String cell = parts[side];
                for (String text : cell.split(" ~ ", -1)) {
                    String expanded = expand(text);
                    if (constraint.matches(expanded) != (side == 1)) {
                        faults.add(parts[0] + (side == 1 ? " rejects " : " accepts ") + text);
                    }
                    texts++;
                }
            }
        }
        assertThat(faults).isEmpty();
        assertThat(texts).isGreaterThan(300);
    }

    /** Each row: a schema, texts that it accepts, and texts that it does not. */
    private static List<String> rows(String file) throws IOException {
        try (InputStream in = requireNonNull(JsonSchemaTest.class.getResourceAsStream(file))) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8).lines().toList();
        }
    }

    /** {@code %3%} is three letters, {@code %1,3%} is {@code 1,1,1}. */
    private static String expand(String text) {
        if (text.matches(".*%[0-9]+%.*")) {
            String count = text.replaceAll(".*%([0-9]+)%.*", "$1");
            return text.replace("%" + count + "%", "x".repeat(Integer.parseInt(count)));
        }
        if (text.matches(".*%1,[0-9]+%.*")) {
            String count = text.replaceAll(".*%1,([0-9]+)%.*", "$1");
            String ones = IntStream.range(0, Integer.parseInt(count))
                    .mapToObj(i -> "1")
                    .collect(Collectors.joining(","));
            return text.replace("%1," + count + "%", ones);
        }
        return text;
    }

    /** Texts that a schema allows in each order of properties. */
    @ParameterizedTest
    @CsvSource(
            delimiter = '!',
            value = {
                "{\"a\":1,\"b\":2,\"c\":3}!ANY GUIDED SCHEMA",
                "{\"a\":1,\"c\":3}!ANY GUIDED SCHEMA",
                "{\"c\":3,\"b\":2,\"a\":1}!ANY GUIDED",
                "{\"c\":3,\"a\":1}!ANY GUIDED",
                "{\"c\":3,\"a\":1,\"ab\":0,\"b\":2}!ANY GUIDED",
                "{\"a\":1,\"b\":2,\"c\":3,\"x\":0}!ANY GUIDED SCHEMA",
                "{\"x\":0,\"a\":1,\"c\":3}!ANY",
                "{\"a\":1,\"ab\":0,\"c\":3}!ANY",
                "{\"x\":0,\"c\":3,\"a\":1,\"b\":2}!ANY",
                "{\"a\":1}!",
                "{\"x\":0,\"c\":3}!",
                "{\"a\":1,\"c\":3,\"a\":1}!",
                "{\"c\":3,\"a\":2}!",
                "{\"c\":3,\"a\":1,\"b\":2,\"x\":0,\"y\":0}!"
            })
    void matches_eachOrderOfProperties_itsTexts(String text, String orders) {
        Object schema = Schemas.parse("""
            {"type":"object","properties":{"a":{"const":1},"b":{"const":2},"c":{"const":3}},"required":["c","a"],
             "additionalProperties":{"const":0},"maxProperties":4}\
            """);
        for (PropertyOrder order : PropertyOrder.values()) {
            assertThat(Constraint.jsonSchema(schema, order).matches(text))
                    .as("%s %s", order, text)
                    .isEqualTo(orders != null && orders.contains(order.name()));
        }
    }

    /** Required properties keep their room: no answer runs into a dead end. */
    @Test
    void matches_roomForRequired_isKept() {
        Object schema = Schemas.parse("""
            {"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"},"c":{"type":"null"}},"required":["c"],
             "maxProperties":2,"minProperties":2,"additionalProperties":false}\
            """);
        Constraint constraint = Constraint.jsonSchema(schema, PropertyOrder.ANY);
        assertThat(constraint.matches("{\"b\":null,\"c\":null}")).isTrue();
        assertThat(constraint.matches("{\"c\":null,\"a\":null}")).isTrue();
        assertThat(constraint.matches("{\"c\":null}")).isFalse();
        Expressions expressions = constraint.expressions(10_000);
        int state = constraint.start();
        for (byte b : "{\"a\":null,\"".getBytes(StandardCharsets.UTF_8)) {
            state = expressions.next(state, b);
        }
        assertThat(expressions.onlyByte(state)).isEqualTo('c');
    }

    /** 50 times 50 items: as many as each count allows, and one more or less. */
    @Test
    void matches_countsWithinCounts_areTheirProduct() {
        Constraint constraint = constraint("""
            {"type":"array","minItems":50,"maxItems":50,
             "items":{"type":"array","minItems":50,"maxItems":50,"items":{"const":1}}}\
            """);
        String row = "[" + "1,".repeat(49) + "1]";
        String rows = (row + ",").repeat(48);
        assertThat(constraint.matches("[" + rows + row + "," + row + "]")).isTrue();
        assertThat(constraint.matches("[" + rows + row + "]")).isFalse();
        assertThat(constraint.matches("[" + rows + row + "," + row + "," + row + "]"))
                .isFalse();
        assertThat(constraint.matches("[" + rows + row + "," + row.replaceFirst("1,", "") + "]"))
                .isFalse();
        assertThat(constraint.matches("[" + rows + row + "," + row.replaceFirst("1", "1,1") + "]"))
                .isFalse();
    }

    /** Many properties, written backwards, need a number of states that grows with their number only. */
    @Test
    void matches_manyProperties_inAnyOrder() {
        String properties =
                IntStream.range(0, 1000).mapToObj(i -> "\"p" + i + "\":{}").collect(Collectors.joining(","));
        String names = IntStream.range(0, 1000).mapToObj(i -> "\"p" + i + "\"").collect(Collectors.joining(","));
        Constraint constraint = constraint("{\"type\":\"object\",\"properties\":{" + properties + "},\"required\":["
                + names + "],\"additionalProperties\":false}");
        String text = IntStream.range(0, 1000)
                .mapToObj(i -> "\"p" + (999 - i) + "\":" + i)
                .collect(Collectors.joining(",", "{", "}"));
        Expressions expressions = constraint.expressions(20_000);
        assertThat(expressions.matches(constraint.start(), text.getBytes(StandardCharsets.UTF_8)))
                .isTrue();
        assertThat(constraint.matches(text.replace("\"p3\"", "\"p4\""))).isFalse();
    }

    /** Schemas as well-known generators write them: pydantic, Zod, Jackson and others, with a value of each. */
    @Test
    void matches_schemasOfGenerators_theirValues() throws IOException {
        List<String> faults = new ArrayList<>();
        int schemas = 0;
        for (String row : rows("usual-schemas.txt")) {
            String[] parts = row.split("\t", -1);
            if (!constraint(parts[1]).matches(parts[2])) {
                faults.add(parts[0]);
            }
            schemas++;
        }
        assertThat(faults).isEmpty();
        assertThat(schemas).isGreaterThan(20);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '!',
            value = {
                "{\"not\":{\"multipleOf\":2}}!/not/multipleOf",
                "{\"not\":{\"type\":\"integer\"}}!/not/type",
                "{\"if\":{\"const\":[1]},\"then\":{}}!/if/const",
                "{\"not\":{\"$ref\":\"#\"}}!/not/$ref",
                "{\"dependencies\":{\"a\":[\"b\"]}}!/dependencies",
                "{\"~excluded\":[1]}!/~0excluded",
                "{\"properties\":{\"a/b\":{\"$dynamicRef\":\"x\"}},\"type\":\"object\"}!/properties/a~1b/$dynamicRef",
                "{\"type\":\"array\",\"uniqueItems\":true}!/uniqueItems",
                "{\"type\":\"array\",\"items\":{\"type\":\"number\"},\"uniqueItems\":true}!/uniqueItems",
                "{\"type\":\"array\",\"prefixItems\":[true],\"items\":{\"type\":\"string\"},\"uniqueItems\":true}!/uniqueItems",
                "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"pattern\":\"a\"},\"uniqueItems\":true,\"minItems\":1001}!/uniqueItems",
                "{\"not\":{\"unevaluatedProperties\":false}}!/not/unevaluatedProperties",
                "{\"contains\":{},\"unevaluatedItems\":false}!/contains",
                "{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"unevaluatedProperties\":false}!/unevaluatedProperties",
                "{\"$schema\":\"https://json-schema.org/draft/2019-09/schema\",\"unevaluatedItems\":false}!/unevaluatedItems",
                "{\"enum\":[{}],\"unevaluatedProperties\":false}!/unevaluatedProperties",
                "{\"dependentRequired\":{\"a\":\"b\"}}!/dependentRequired",
                "{\"nullable\":true}!/nullable",
                "{\"anyOf\":[{\"type\":\"integer\"},{\"$dynamicRef\":\"x\"}]}!/anyOf/1/$dynamicRef",
                "{\"enum\":[[1,1]],\"uniqueItems\":true}!/uniqueItems",
                "{\"type\":\"array\",\"items\":{\"enum\":[1,[1]]},\"uniqueItems\":true}!/uniqueItems",
                "{\"type\":\"array\",\"items\":{\"enum\":[1]},\"contains\":{},\"uniqueItems\":true}!/uniqueItems",
                "{\"type\":\"array\",\"contains\":{},\"minContains\":30000}!/contains",
                "{\"type\":\"array\",\"contains\":{\"const\":[1]},\"maxContains\":2}!/contains/const",
                "{\"not\":{\"contains\":{},\"minContains\":2}}!/not/contains",
                "{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"contains\":{},\"maxContains\":2}!/maxContains",
                "{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}!/oneOf",
                "{\"oneOf\":[{\"type\":\"object\",\"patternProperties\":{}},{\"type\":\"object\",\"required\":[\"b\"]}]}!/oneOf",
                "{\"oneOf\":[{\"multipleOf\":2},{\"multipleOf\":3}]}!/oneOf",
                "{\"$ref\":\"other.json\"}!/$ref",
                "{\"$ref\":\"#/$defs/none\"}!/$ref",
                "{\"type\":\"strin\"}!/type",
                "{\"type\":\"string\",\"pattern\":\"(?<=a)\"}!/pattern",
                "{\"type\":\"string\",\"minLength\":-1}!/minLength",
                "{\"type\":\"string\",\"minLength\":\"1\"}!/minLength",
                "{\"type\":\"number\",\"multipleOf\":0}!/multipleOf",
                "{\"type\":\"number\",\"minimum\":1e500}!/minimum",
                "{\"exclusiveMinimum\":true}!/exclusiveMinimum",
                "{\"type\":\"object\",\"minProperties\":2}!/minProperties",
                "{\"enum\":[[1]],\"minItems\":1}!/minItems",
                "{\"$schema\":\"http://json-schema.org/draft-03/schema#\"}!/$schema",
                "{\"properties\":{\"a\":{\"$id\":\"x\"}}}!/properties/a/$id",
                "{\"type\":\"array\",\"items\":[{}]}!/items",
                "{\"anyOf\":[]}!/anyOf",
                "{\"required\":\"a\"}!/required"
            })
    void jsonSchema_notComputed_isRefusedByPointer(String schema, String pointer) {
        assertThatThrownBy(() -> constraint(schema))
                .isInstanceOfSatisfying(InvalidConstraintException.class, e -> assertThat(e.where())
                        .isEqualTo(pointer))
                .hasMessageContaining("'" + pointer + "'");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '!',
            value = {
                "false",
                "{\"type\":\"integer\",\"minimum\":0.2,\"maximum\":0.7}",
                "{\"type\":\"string\",\"minLength\":3,\"maxLength\":2}",
                "{\"type\":\"string\",\"pattern\":\"^ab$\",\"minLength\":3}",
                "{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}",
                "{\"allOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}",
                "{\"type\":\"object\",\"properties\":{\"a\":false},\"required\":[\"a\"]}",
                "{\"type\":\"integer\",\"enum\":[\"a\"]}",
                "{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":3},\"uniqueItems\":true,\"minItems\":4}",
                "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"pattern\":\"^[ab]$\"},\"uniqueItems\":true,\"minItems\":3}"
            })
    void jsonSchema_thatNothingSatisfies_isRefused(String schema) {
        assertThatThrownBy(() -> constraint(schema)).hasMessageContaining("no text satisfies the constraint");
    }

    /** An unsatisfiable part is left out, so that no answer runs into it. */
    @Test
    void matches_unsatisfiableParts_areNeverBegun() {
        Constraint constraint = constraint("""
            {"type":"object","properties":{"a":{"type":"string","pattern":"^x$","minLength":2},"b":{"const":1}},
             "additionalProperties":false}\
            """);
        assertThat(constraint.matches("{\"b\":1}")).isTrue();
        Expressions expressions = constraint.expressions(10_000);
        int state = constraint.start();
        for (byte b : new byte[] {'{', '"'}) {
            state = expressions.next(state, b);
        }
        assertThat(expressions.next(state, (byte) 'a')).isEqualTo(Expressions.NONE);
        assertThat(expressions.next(state, (byte) 'b')).isNotEqualTo(Expressions.NONE);
    }

    @Test
    void jsonSchema_selfReferenceWithoutStep_isRefused() {
        assertThatThrownBy(() -> constraint("{\"$ref\":\"#\"}")).hasMessageContaining("refers to itself");
        assertThatThrownBy(() -> constraint("{\"anyOf\":[{\"type\":\"null\"},{\"$ref\":\"#\"}]}"))
                .hasMessageContaining("refers to itself");
        assertThatThrownBy(() -> constraint(
                        "{\"allOf\":[{\"$ref\":\"#/$defs/a\"}],\"$defs\":{\"a\":{\"allOf\":[{\"$ref\":\"#\"}]}}}"))
                .hasMessageContaining("refers to itself");
    }

    /** Every one of these ends quickly: it is compiled or refused. */
    @Test
    void jsonSchema_hostile_isBounded() {
        String deep = "{\"items\":".repeat(3000) + "{}" + "}".repeat(3000);
        assertThatThrownBy(() -> constraint(deep)).isInstanceOf(JacksonException.class);
        Object nested = Map.of();
        for (int i = 0; i < 5000; i++) {
            nested = Map.of("items", nested);
        }
        Object tooDeep = nested;
        assertThatThrownBy(() -> Constraint.jsonSchema(tooDeep)).hasMessageContaining("nested more than");
        String names =
                IntStream.range(0, 3000).mapToObj(i -> "\"p" + i + "\":{}").collect(Collectors.joining(","));
        assertThatThrownBy(() -> constraint("{\"type\":\"object\",\"properties\":{" + names + "}}"))
                .hasMessageContaining("too many properties");
        Object fewer = Schemas.parse(
                "{\"type\":[\"object\",\"null\"],\"minProperties\":2147483647,\"additionalProperties\":false}");
        for (PropertyOrder order : PropertyOrder.values()) {
            assertThat(Constraint.jsonSchema(fewer, order).matches("null")).isTrue();
        }
        String values = IntStream.range(0, 40_000)
                .mapToObj(i -> "\"value " + i * 7919 + "\"")
                .collect(Collectors.joining(","));
        assertThatThrownBy(() -> constraint("{\"enum\":[" + values + "]}")).hasMessageContaining("too large");
        String both = "{\"anyOf\":[{\"minLength\":1},{\"minLength\":2}]}";
        String all = IntStream.range(0, 12).mapToObj(i -> both).collect(Collectors.joining(","));
        assertThatThrownBy(() -> constraint("{\"type\":\"string\",\"allOf\":[" + all + "]}"))
                .hasMessageContaining("more than 1000 combinations");
        String dead = "{\"anyOf\":[" + "{\"allOf\":[false]},".repeat(9) + "false]}";
        String forks = IntStream.range(0, 11)
                .mapToObj(i -> "{\"anyOf\":[" + "{},".repeat(9) + "{}]}")
                .collect(Collectors.joining(","));
        assertThatThrownBy(() -> constraint("{\"allOf\":[" + forks + "," + dead + "]}"))
                .hasMessageContaining("too many combinations");
        String patterns = IntStream.range(0, 600)
                .mapToObj(i -> "{\"type\":\"string\",\"pattern\":\"^" + i + "$\"}")
                .collect(Collectors.joining(","));
        assertThatThrownBy(() -> constraint("{\"oneOf\":[" + patterns + "]}"))
                .hasMessageContaining("too many combinations");
        String many =
                IntStream.range(0, 100_000).mapToObj(i -> "\"" + i + "\":{}").collect(Collectors.joining(","));
        assertThatThrownBy(() -> constraint("{\"type\":\"object\",\"properties\":{" + many + "}}"))
                .isInstanceOf(InvalidConstraintException.class);
        assertThatThrownBy(() -> Constraint.regex("\\p{L}".repeat(20_000))).hasMessageContaining("characters");
        assertThatThrownBy(() -> Constraint.regex("x".repeat(2_000_000))).hasMessageContaining("longer than");
        assertThatThrownBy(() -> Constraint.regex("a?".repeat(5000))).hasMessageContaining("too deeply");
        Constraint nestedCounts = Constraint.regex("((a{1,1000}){1,1000}){1,1000}");
        assertThat(nestedCounts.matches("a".repeat(50))).isTrue();
        assertThatThrownBy(() -> nestedCounts.matches("a".repeat(5000))).isInstanceOf(ConstraintException.class);
    }
}
