package quire.model.text.jinja;

import java.math.BigInteger;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.model.text.jinja.Values.*;

/**
 * The filter tojson as transformers defines it: json.dumps of Python. Characters outside of ASCII are kept unless the
 * template asks otherwise, and nothing is escaped for HTML.
 */
final class Json {
    private final boolean ascii;
    private final @Nullable String indent;
    private final String itemSeparator;
    private final String keySeparator;
    private final boolean sortKeys;
    private final Limits limits;
    private final StringBuilder out = new StringBuilder();

    Json(
            boolean ascii,
            @Nullable String indent,
            String itemSeparator,
            String keySeparator,
            boolean sortKeys,
            Limits limits) {
        this.ascii = ascii;
        this.indent = indent;
        this.itemSeparator = itemSeparator;
        this.keySeparator = keySeparator;
        this.sortKeys = sortKeys;
        this.limits = limits;
    }

    String write(Object value) {
        write(value, 0);
        return out.toString();
    }

    private void write(Object value, int depth) {
        limits.charge(1);
        switch (value) {
            case None n -> out.append("null");
            case Boolean b -> out.append(b.booleanValue());
            case Long l -> out.append(l.longValue());
            case BigInteger i -> Text.append(out, Text.decimal(i), limits);
            case Double d -> out.append(number(d));
            case String s -> string(s);
            case Markup m -> string(m.text());
            case List<?> l -> array(l, depth);
            case Tuple t -> array(t.items(), depth);
            case Stream items -> array(Values.toList(items, limits), depth); // as with '|list' before it
            case Map<?, ?> m -> object(m, depth);
            default ->
                throw value instanceof Undefined undefined
                        ? undefined.error()
                        : new JinjaError("a value of type " + Values.typeName(value) + " cannot be written as JSON");
        }
    }

    private static String number(double value) {
        return Double.isNaN(value)
                ? "NaN"
                : Double.isInfinite(value) ? (value > 0 ? "Infinity" : "-Infinity") : Text.repr(value);
    }

    private void array(List<?> items, int depth) {
        out.append('[');
        int inner = Limits.deeper(depth);
        for (int i = 0; i < items.size(); i++) {
            out.append(i == 0 ? "" : itemSeparator);
            newline(inner);
            write(items.get(i), inner);
        }
        close(items.isEmpty(), depth, ']');
    }

    private void object(Map<?, ?> map, int depth) {
        List<Map.Entry<?, ?>> entries = new ArrayList<>(map.entrySet());
        if (sortKeys) {
            entries.sort((a, b) -> Values.compare(a.getKey(), b.getKey(), limits));
        }
        out.append('{');
        int inner = Limits.deeper(depth);
        for (int i = 0; i < entries.size(); i++) {
            out.append(i == 0 ? "" : itemSeparator);
            newline(inner);
            string(key(entries.get(i).getKey()));
            out.append(keySeparator);
            write(entries.get(i).getValue(), inner);
        }
        close(map.isEmpty(), depth, '}');
    }

    private static String key(Object key) {
        return switch (key) {
            case String s -> s;
            case Long l -> l.toString();
            case BigInteger i -> Text.decimal(i);
            case None n -> "null";
            default -> throw new JinjaError("a JSON key of type " + Values.typeName(key));
        };
    }

    private void newline(int depth) {
        if (indent != null) {
            limits.chargeChars((long) indent.length() * depth);
            out.append('\n').repeat(indent, depth);
        }
    }

    private void close(boolean empty, int depth, char bracket) {
        if (!empty) {
            newline(depth);
        }
        out.append(bracket);
    }

    private void string(String text) {
        limits.chargeChars(text.length());
        out.append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            switch (c) {
                case '"' -> out.append("\\\"");
                case '\\' -> out.append("\\\\");
                case '\n' -> out.append("\\n");
                case '\r' -> out.append("\\r");
                case '\t' -> out.append("\\t");
                case '\f' -> out.append("\\f");
                case '\b' -> out.append("\\b");
                default -> {
                    if (c < 0x20 || (ascii && c > 0x7e)) {
                        limits.charge(1);
                        out.append(Text.hex("\\u", c, 4));
                    } else {
                        out.append(c);
                    }
                }
            }
        }
        out.append('"');
    }
}
