package quire.engine.constrain;

import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.json.JsonMapper;

/** Reads JSON for tests, with exact numbers. */
final class Schemas {
    static final JsonMapper JSON = JsonMapper.builder()
            .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
            .build();

    private Schemas() {}

    static Object parse(String json) {
        return JSON.readValue(json, Object.class);
    }

    static Constraint constraint(String schema) {
        return Constraint.jsonSchema(parse(schema));
    }

    /** The text of a value in the form that {@link JsonSchema} describes, with its properties in a random order. */
    static String text(@Nullable Object value, SplittableRandom random) {
        return switch (value) {
            case null -> "null";
            case Number number -> number(number);
            case String text -> string(text);
            case List<?> list ->
                list.stream().map(element -> text(element, random)).collect(Collectors.joining(",", "[", "]"));
            case Map<?, ?> map -> {
                List<String> pairs = new ArrayList<>();
                map.forEach((name, member) -> pairs.add(
                        random.nextInt(pairs.size() + 1), string(String.valueOf(name)) + ": " + text(member, random)));
                yield "{" + String.join(", ", pairs) + "}";
            }
            default -> value.toString();
        };
    }

    /** The text of a number: no exponent, no zeros behind the point. */
    static String number(Number number) {
        BigDecimal decimal = new BigDecimal(number.toString());
        return decimal.signum() == 0 ? "0" : decimal.stripTrailingZeros().toPlainString();
    }

    /** The text of a string. */
    static String string(String text) {
        byte[] inside = new Characters(new Expressions(1000), true).bytes(text);
        return '"' + new String(inside, StandardCharsets.UTF_8) + '"';
    }
}
