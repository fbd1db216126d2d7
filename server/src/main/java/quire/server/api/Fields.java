package quire.server.api;

import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.server.http.HttpException;
import tools.jackson.core.JacksonException;
import tools.jackson.core.TokenStreamLocation;
import tools.jackson.databind.JsonNode;

/**
 * The fields of one JSON object in a request, each read with the type it must have. A field that is absent and one that
 * is null are the same. Every mistake is a 400 that names the field by its path: {@code messages[2].content}.
 */
public final class Fields {
    private final JsonNode object;
    private final String path;

    private Fields(JsonNode object, String path) {
        this.object = object;
        this.path = path;
    }

    /** Parses a request's body. */
    public static Fields parse(byte[] body) {
        CharBuffer text;
        try {
            // Strictly UTF-8: the parser itself would also guess UTF-16 and let overlong forms pass.
            text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(body));
        } catch (CharacterCodingException e) {
            throw HttpException.invalid(null, "invalid_json", "The body is not valid UTF-8: send JSON in UTF-8.");
        }
        JsonNode root;
        try {
            root = Json.read(text.toString());
        } catch (JacksonException e) {
            TokenStreamLocation at = e.getLocation();
            String where = at == null ? "" : " (line " + at.getLineNr() + ", column " + at.getColumnNr() + ")";
            throw HttpException.invalid(
                    null,
                    "invalid_json",
                    "The body is not valid JSON: " + oneLine(e.getOriginalMessage()) + where + ".");
        }
        if (!root.isObject()) {
            throw HttpException.invalid(null, "invalid_json", "The body must be a JSON object.");
        }
        return new Fields(root, "");
    }

    /** An element of an array as an object. */
    public static Fields of(JsonNode node, String path) {
        if (!node.isObject()) {
            throw wrongType(path, "an object", node);
        }
        return new Fields(node, path);
    }

    /** The path of a field. */
    public String path(String name) {
        return path.isEmpty() ? name : path + "." + name;
    }

    /** A field as it is; null when absent or null. */
    @Nullable
    public JsonNode get(String name) {
        JsonNode value = object.get(name);
        return value == null || value.isNull() ? null : value;
    }

    /** A field that must be there. */
    public JsonNode require(String name) {
        JsonNode value = get(name);
        if (value == null) {
            throw HttpException.invalid(
                    path(name), "missing_required_parameter", "Missing required parameter: '" + path(name) + "'.");
        }
        return value;
    }

    public boolean bool(String name, boolean absent) {
        JsonNode value = get(name);
        if (value == null) {
            return absent;
        }
        if (!value.isBoolean()) {
            throw wrongType(path(name), "a boolean", value);
        }
        return value.booleanValue();
    }

    @Nullable
    public String string(String name) {
        JsonNode value = get(name);
        return value == null ? null : string(value, path(name));
    }

    /** A number without a fraction: {@code 16} or {@code 16.0}. */
    @Nullable
    public Long integer(String name, long min, long max) {
        JsonNode value = get(name);
        return value == null ? null : integer(value, path(name), min, max);
    }

    public int integer(String name, int min, int max, int absent) {
        Long value = integer(name, min, max);
        return value == null ? absent : value.intValue();
    }

    public double number(String name, double absent) {
        JsonNode value = get(name);
        return value == null ? absent : number(value, path(name));
    }

    /** An array; null when absent. */
    @Nullable
    public JsonNode array(String name) {
        JsonNode value = get(name);
        if (value != null && !value.isArray()) {
            throw wrongType(path(name), "an array", value);
        }
        return value;
    }

    /** An object; null when absent. */
    @Nullable
    public Fields object(String name) {
        JsonNode value = get(name);
        return value == null ? null : of(value, path(name));
    }

    /** All fields as plain Java values, in order. */
    public Map<String, @Nullable Object> plain() {
        return plainObject(object, path);
    }

    /** Text that can be written as UTF-8; a lone half of a surrogate pair cannot. */
    public static String string(JsonNode value, String path) {
        if (!value.isString()) {
            throw wrongType(path, "a string", value);
        }
        return checkText(value.stringValue(), path);
    }

    public static long integer(JsonNode value, String path, long min, long max) {
        if (!value.isNumber()) {
            throw wrongType(path, "an integer", value);
        }
        long number;
        if (value.isIntegralNumber()) {
            if (!value.canConvertToLong()) {
                throw outOfRange(path, min, max, value);
            }
            number = value.longValue();
        } else {
            double real = value.doubleValue();
            if (real != Math.rint(real) || Math.abs(real) > 1L << 53) {
                throw wrongType(path, "an integer", value);
            }
            number = (long) real;
        }
        if (number < min || number > max) {
            throw outOfRange(path, min, max, value);
        }
        return number;
    }

    public static double number(JsonNode value, String path) {
        if (!value.isNumber()) {
            throw wrongType(path, "a number", value);
        }
        double number = value.doubleValue();
        if (!Double.isFinite(number)) {
            throw HttpException.invalid(path, "invalid_value", "'" + path + "' is out of range for a number.");
        }
        return number;
    }

    /** A token id. */
    public static int token(JsonNode value, String path, int vocabularySize) {
        return (int) integer(value, path, 0, vocabularySize - 1L);
    }

    public static HttpException wrongType(String path, String wanted, JsonNode found) {
        return HttpException.invalid(
                path,
                "invalid_type",
                "Invalid type for '" + path + "': expected " + wanted + ", but got " + kind(found) + ".");
    }

    private static HttpException outOfRange(String path, long min, long max, JsonNode value) {
        String shown = value.isIntegralNumber() && !value.canConvertToLong()
                ? "a number of " + new BigDecimal(value.bigIntegerValue()).precision() + " digits"
                : String.valueOf(value.longValue());
        String range = max == Integer.MAX_VALUE || max == Long.MAX_VALUE ? "at least " + min : min + " to " + max;
        return HttpException.invalid(
                path,
                "invalid_value",
                "Invalid value for '" + path + "': must be " + range + ", but is " + shown + ".");
    }

    private static String kind(JsonNode value) {
        return switch (value.getNodeType()) {
            case ARRAY -> "an array";
            case BOOLEAN -> "a boolean";
            case NULL -> "null";
            case NUMBER -> value.isIntegralNumber() ? "an integer" : "a number";
            case OBJECT -> "an object";
            case STRING -> "a string";
            case BINARY, MISSING, POJO -> "something else";
        };
    }

    private static String checkText(String text, String path) {
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (Character.isSurrogate(c)) {
                boolean whole = Character.isHighSurrogate(c)
                        && i + 1 < text.length()
                        && Character.isLowSurrogate(text.charAt(i + 1));
                if (!whole) {
                    throw HttpException.invalid(
                            path,
                            "invalid_value",
                            "'" + path + "' holds half a surrogate pair at character " + i
                                    + ", which is no text: send whole characters.");
                }
                i++;
            }
        }
        return text;
    }

    public static @Nullable Object plain(JsonNode value, String path) {
        return switch (value.getNodeType()) {
            case ARRAY -> {
                List<@Nullable Object> list = new ArrayList<>(value.size());
                int index = 0;
                for (JsonNode element : value.values()) {
                    list.add(plain(element, path + "[" + index++ + "]"));
                }
                yield list;
            }
            case BOOLEAN -> value.booleanValue();
            case NUMBER -> value.isIntegralNumber() ? value.numberValue() : (Number) number(value, path);
            case OBJECT -> plainObject(value, path);
            case STRING -> string(value, path);
            case NULL, MISSING, BINARY, POJO -> null; // the parser makes none of the last three
        };
    }

    private static Map<String, @Nullable Object> plainObject(JsonNode object, String path) {
        Map<String, @Nullable Object> map = new LinkedHashMap<>();
        for (Map.Entry<String, JsonNode> field : object.properties()) {
            String name = checkText(field.getKey(), path.isEmpty() ? "a field's name" : path);
            map.put(name, plain(field.getValue(), path.isEmpty() ? name : path + "." + name));
        }
        return map;
    }

    private static String oneLine(@Nullable String message) {
        String line = message == null
                ? "unreadable"
                : message.strip().lines().findFirst().orElse("unreadable");
        return line.length() > 200 ? line.substring(0, 200) + "…" : line;
    }
}
