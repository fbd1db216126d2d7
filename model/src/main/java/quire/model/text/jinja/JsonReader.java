package quire.model.text.jinja;

import java.math.BigInteger;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import quire.model.text.jinja.Values.None;

/**
 * The filter from_json: json.loads of Python. Like Python it also accepts {@code NaN}, {@code Infinity} and {@code
 * -Infinity}. If an object has a key twice, the last value counts.
 */
final class JsonReader {
    private static final Pattern NUMBER = Pattern.compile("-?(?:0|[1-9][0-9]*+)(\\.[0-9]++)?([eE][+-]?[0-9]++)?");

    private final String text;
    private final Limits limits;
    private int at;

    private JsonReader(String text, Limits limits) {
        this.text = text;
        this.limits = limits;
    }

    /**
     * Parses a JSON text.
     *
     * @throws JinjaError if the text is not JSON; the message names the position
     */
    static Object read(String text, Limits limits) {
        limits.chargeChars(text.length());
        JsonReader reader = new JsonReader(text, limits);
        Object value = reader.value(0);
        reader.skipSpace();
        if (reader.at < text.length()) {
            throw reader.expected("the end of the text");
        }
        return value;
    }

    private JinjaError expected(String what) {
        String found =
                at < text.length() ? Text.quote(Character.toString(text.codePointAt(at))) : "the end of the text";
        return new JinjaError(
                "filter 'from_json': expected " + what + " at character " + (at + 1) + ", found " + found);
    }

    private void skipSpace() {
        while (at < text.length() && " \t\n\r".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    private boolean skip(String word) {
        boolean found = text.startsWith(word, at);
        at += found ? word.length() : 0;
        return found;
    }

    private Object value(int depth) {
        limits.charge(1);
        skipSpace();
        char first = at < text.length() ? text.charAt(at) : 0;
        if (first == '{') {
            return object(Limits.deeper(depth));
        } else if (first == '[') {
            return array(Limits.deeper(depth));
        } else if (first == '"') {
            return string();
        } else if (skip("null")) {
            return None.NONE;
        } else if (skip("true")) {
            return true;
        } else if (skip("false")) {
            return false;
        } else if (skip("NaN")) {
            return Double.NaN;
        } else if (skip("Infinity")) {
            return Double.POSITIVE_INFINITY;
        } else if (skip("-Infinity")) {
            return Double.NEGATIVE_INFINITY;
        }
        return number();
    }

    private List<Object> array(int depth) {
        List<Object> items = new ArrayList<>();
        at++;
        skipSpace();
        if (skip("]")) {
            return items;
        }
        do {
            items.add(value(depth));
            skipSpace();
        } while (skip(","));
        if (!skip("]")) {
            throw expected("',' or ']'");
        }
        return items;
    }

    private Map<Object, Object> object(int depth) {
        Map<Object, Object> map = new LinkedHashMap<>();
        at++;
        skipSpace();
        if (skip("}")) {
            return map;
        }
        do {
            skipSpace();
            if (at >= text.length() || text.charAt(at) != '"') {
                throw expected("a key in double quotes");
            }
            String key = string();
            skipSpace();
            if (!skip(":")) {
                throw expected("':'");
            }
            map.put(key, value(depth));
            skipSpace();
        } while (skip(","));
        if (!skip("}")) {
            throw expected("',' or '}'");
        }
        return map;
    }

    private String string() {
        StringBuilder out = new StringBuilder();
        for (at++; at < text.length(); at++) {
            char c = text.charAt(at);
            if (c == '"') {
                at++;
                return out.toString();
            } else if (c == '\\') {
                at++;
                out.append(escaped());
            } else if (c < 0x20) {
                throw expected("no control character in a string");
            } else {
                out.append(c);
            }
        }
        throw expected("'\"'");
    }

    /** The character for an escape sequence. Afterwards the reader is at the last character of the sequence. */
    private char escaped() {
        int simple = at < text.length() ? "\"\\/bfnrt".indexOf(text.charAt(at)) : -1;
        if (simple >= 0) {
            return "\"\\/\b\f\n\r\t".charAt(simple);
        }
        if (at >= text.length() || text.charAt(at) != 'u') {
            throw expected("an escape sequence");
        }
        int value = 0;
        for (int i = 0; i < 4; i++) {
            at++;
            int digit = at < text.length() && text.charAt(at) < 0x80 ? Character.digit(text.charAt(at), 16) : -1;
            if (digit < 0) {
                throw expected("four hexadecimal digits");
            }
            value = value * 16 + digit;
        }
        return (char) value;
    }

    private Object number() {
        Matcher number = NUMBER.matcher(text).region(at, text.length());
        if (!number.lookingAt()) {
            throw expected("a value");
        }
        at = number.end();
        if (number.group(1) != null || number.group(2) != null) {
            return Double.parseDouble(number.group());
        }
        if (number.group().length() > Limits.INTEGER_DIGITS) {
            throw new JinjaError("filter 'from_json': an int of more than " + Limits.INTEGER_DIGITS + " digits");
        }
        return Values.whole(new BigInteger(number.group()));
    }
}
