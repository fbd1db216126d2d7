package quire.server.api;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BiConsumer;
import org.jspecify.annotations.Nullable;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;

/**
 * The fields of one JSON object in a request, each read with the type that it must have. A null field counts as absent.
 * A wrong field is a 400 that names it by its path: {@code messages[2].content}.
 */
public final class Fields {
    private static final int MAX_DIGITS_SHOWN = 20;

    private static final char BYTE_ORDER_MARK = '\uFEFF';

    private final JsonNode object;
    private final String path;
    private final Map<String, String> nameToSent;

    private Fields(JsonNode object, String path) {
        this(object, path, Map.of());
    }

    private Fields(JsonNode object, String path, Map<String, String> nameToSent) {
        this.object = object;
        this.path = path;
        this.nameToSent = nameToSent;
    }

    /** Parses a request's body. */
    public static Fields parse(byte[] body) {
        CharBuffer text;
        try {
            // Strictly UTF-8: the parser itself would also detect UTF-16 and accept overlong forms.
            text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(body));
        } catch (CharacterCodingException e) {
            throw HttpException.invalid(null, "invalid_json", "The body is not valid UTF-8: send JSON in UTF-8.");
        }
        JsonNode root;
        try {
            // Some programs begin every text with a byte order mark; RFC 8259 allows to ignore it.
            String json = text.length() > 0 && text.charAt(0) == BYTE_ORDER_MARK
                    ? text.toString().substring(1)
                    : text.toString();
            root = Json.parse(json);
        } catch (InvalidJsonException e) {
            throw HttpException.invalid(null, "invalid_json", "The body is not JSON: " + e.getMessage() + ".");
        }
        if (!root.isObject()) {
            throw HttpException.invalid(
                    null, "invalid_json", "The body must be a JSON object, but it is " + kind(root) + ".");
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

    /**
     * The same object, with fields that were sent under another name. {@link #get} and all typed methods find them, and
     * {@link #path} returns the name that was sent.
     *
     * @param nameToSent the field's name to the name that it was sent under
     */
    public Fields withSynonyms(Map<String, String> nameToSent) {
        return new Fields(object, path, Map.copyOf(nameToSent));
    }

    /** The path of a field, with the name that the client sent it under. */
    public String path(String name) {
        String sent = nameToSent.getOrDefault(name, name);
        return path.isEmpty() ? sent : path + "." + sent;
    }

    /** A field of any type; null when absent. */
    @Nullable
    public JsonNode get(String name) {
        JsonNode value = object.get(nameToSent.getOrDefault(name, name));
        return value == null || value.isNull() ? null : value;
    }

    /** A required field. */
    public JsonNode require(String name) {
        JsonNode value = get(name);
        if (value == null) {
            throw missing(name);
        }
        return value;
    }

    /** The error for a required field that is missing. */
    HttpException missing(String name) {
        return HttpException.invalid(
                path(name), "missing_required_parameter", "Missing required parameter: '" + path(name) + "'.");
    }

    /** A boolean; where false is the default, 0 is false as well. */
    public boolean bool(String name, boolean absent) {
        JsonNode value = get(name);
        if (value == null) {
            return absent;
        }
        if (!absent && value.isNumber() && real(value) == 0) {
            return false;
        }
        if (!value.isBoolean()) {
            throw wrongType(path(name), "a boolean", value);
        }
        return value.booleanValue();
    }

    /** Text; null when absent. */
    @Nullable
    public String string(String name) {
        JsonNode value = get(name);
        return value == null ? null : string(value, path(name));
    }

    /** A number without a fraction, {@code 16} or {@code 16.0}; null when absent. */
    @Nullable
    public Long integer(String name, long min, long max) {
        JsonNode value = get(name);
        return value == null ? null : integer(value, path(name), min, max);
    }

    /** A number without a fraction; {@code absent} if there is none. */
    public int integer(String name, int min, int max, int absent) {
        Long value = integer(name, min, max);
        return value == null ? absent : value.intValue();
    }

    /** A finite number; {@code absent} if there is none. */
    public double number(String name, double absent) {
        JsonNode value = get(name);
        return value == null ? absent : number(value, path(name));
    }

    /** A number without a fraction that may have more than 63 bits; null when absent. */
    @Nullable
    public BigInteger bigInteger(String name, BigInteger min, BigInteger max) {
        JsonNode value = get(name);
        return value == null ? null : bigInteger(value, path(name), min, max);
    }

    /**
     * Visits the elements of an array with their paths, without those that are null. A {@linkplain #isNeutral neutral}
     * value has none.
     *
     * @param wanted the type for the error: {@code an array of numbers}
     */
    public void forEach(String name, String wanted, BiConsumer<JsonNode, String> action) {
        JsonNode array = get(name);
        if (array == null || isNeutral(array)) {
            return;
        }
        if (!array.isArray()) {
            throw wrongType(path(name), wanted, array);
        }
        int index = 0;
        for (JsonNode element : array.values()) {
            if (!element.isNull()) {
                action.accept(element, path(name) + "[" + index + "]");
            }
            index++;
        }
    }

    /**
     * An object; null when absent or {@linkplain #isNeutral neutral}.
     *
     * @param wanted the type for the error: {@code an object}
     */
    @Nullable
    public Fields object(String name, String wanted) {
        JsonNode value = get(name);
        if (value == null || isNeutral(value)) {
            return null;
        }
        if (!value.isObject()) {
            throw wrongType(path(name), wanted, value);
        }
        return new Fields(value, path(name));
    }

    /** The names of all fields as they were sent, in order. */
    public Collection<String> names() {
        return object.propertyNames();
    }

    /** All fields as plain Java values, in order. */
    public Map<String, @Nullable Object> plain() {
        return plainObject(object, path);
    }

    /**
     * Whether a value is neutral: null, false, 0, an empty text, an empty array or object, or a list that contains only
     * null and empty texts. For a parameter whose values are texts, lists or objects, a neutral value counts as absent.
     * Clients send the empty value of their language: {@code []} for an empty object, {@code false} for an absent list.
     */
    public static boolean isNeutral(JsonNode value) {
        return switch (value.getNodeType()) {
            case ARRAY -> value.values().stream().allMatch(e -> e.isNull() || isEmptyText(e));
            case BOOLEAN -> !value.booleanValue();
            case NUMBER -> real(value) == 0;
            case OBJECT -> value.isEmpty();
            case STRING -> isEmptyText(value);
            case NULL, MISSING -> true;
            case BINARY, POJO -> false; // the parser never produces these
        };
    }

    private static boolean isEmptyText(JsonNode value) {
        return value.isString() && value.stringValue().isEmpty();
    }

    /** Text that can be written as UTF-8; a lone half of a surrogate pair cannot. */
    public static String string(JsonNode value, String path) {
        if (!value.isString()) {
            throw wrongType(path, "a string", value);
        }
        return checkText(value.stringValue(), path);
    }

    /** A number without a fraction, from {@code min} to {@code max}. */
    public static long integer(JsonNode value, String path, long min, long max) {
        if (value.isIntegralNumber() && value.canConvertToLong()) {
            long number = value.longValue();
            if (number >= min && number <= max) {
                return number; // without allocation: prompts are arrays of many token ids
            }
        }
        return bigInteger(value, path, BigInteger.valueOf(min), BigInteger.valueOf(max))
                .longValueExact();
    }

    private static BigInteger bigInteger(JsonNode value, String path, BigInteger min, BigInteger max) {
        if (!value.isNumber()) {
            throw wrongType(path, "an integer", value);
        }
        BigInteger number;
        if (value.isIntegralNumber()) {
            number = value.bigIntegerValue();
        } else {
            double real = real(value);
            if (real != Math.rint(real) || Math.abs(real) > 1L << 53) {
                throw wrongType(path, "an integer", value);
            }
            number = BigInteger.valueOf((long) real);
        }
        if (number.compareTo(min) < 0 || number.compareTo(max) > 0) {
            throw outOfRange(path, min, max, number);
        }
        return number;
    }

    /** A number of JSON, which may have any size: infinite beyond the range of {@code double}, where Jackson would throw. */
    public static double real(JsonNode number) {
        return number.isBigInteger() ? number.bigIntegerValue().doubleValue() : number.doubleValue();
    }

    /** A finite number. */
    public static double number(JsonNode value, String path) {
        if (!value.isNumber()) {
            throw wrongType(path, "a number", value);
        }
        double number = real(value);
        if (!Double.isFinite(number)) {
            throw HttpException.invalid(path, "invalid_value", "'" + path + "' is out of range for a number.");
        }
        return number;
    }

    /** A token id below {@code vocabularySize}. */
    public static int token(JsonNode value, String path, int vocabularySize) {
        return (int) integer(value, path, 0, vocabularySize - 1L);
    }

    /**
     * The error for a value of a wrong type.
     *
     * @param wanted the right type: {@code an array of numbers}
     */
    public static HttpException wrongType(String path, String wanted, JsonNode found) {
        return HttpException.invalid(
                path,
                "invalid_type",
                "Invalid type for '" + path + "': expected " + wanted + ", but got " + kind(found) + ".");
    }

    private static HttpException outOfRange(String path, BigInteger min, BigInteger max, BigInteger value) {
        int digits = new BigDecimal(value).precision();
        String shown = digits > MAX_DIGITS_SHOWN ? "a number of " + digits + " digits" : value.toString();
        return HttpException.invalid(
                path,
                "invalid_value",
                "Invalid value for '" + path + "': must be " + min + " to " + max + ", but is " + shown + ".");
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
                            "'" + path + "' contains half of a surrogate pair at character " + i
                                    + ", which is not valid text: send whole characters.");
                }
                i++;
            }
        }
        return text;
    }

    /** A value as plain Java values: maps, lists, texts, numbers, booleans and null. */
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
            case NULL, MISSING, BINARY, POJO -> null; // the parser never produces the last three
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
}
