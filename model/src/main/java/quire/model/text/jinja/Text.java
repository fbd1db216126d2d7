package quire.model.text.jinja;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.function.IntPredicate;
import org.jspecify.annotations.Nullable;
import quire.model.text.jinja.Values.*;

/**
 * The str of Python: which characters are spaces, comparing and searching by code point, str() and repr() of all
 * values.
 */
final class Text {
    private Text() {}

    /** Whether str.isspace, str.strip and {@code \s} treat a character as a space. */
    static boolean isSpace(int c) {
        return c == ' '
                || (c >= 9 && c <= 13)
                || (c >= 0x1c && c <= 0x1f)
                || c == 0x85
                || c == 0xa0
                || c == 0x1680
                || (c >= 0x2000 && c <= 0x200a)
                || c == 0x2028
                || c == 0x2029
                || c == 0x202f
                || c == 0x205f
                || c == 0x3000;
    }

    /** Removes characters of {@code chars}, or spaces if it is null, from the given sides. */
    static String strip(String text, @Nullable String chars, boolean left, boolean right) {
        IntPredicate strips = chars == null ? Text::isSpace : set(chars)::get;
        int from = 0;
        int to = text.length();
        while (left && from < to && strips.test(text.codePointAt(from))) {
            from += Character.charCount(text.codePointAt(from));
        }
        while (right && to > from && strips.test(text.codePointBefore(to))) {
            to -= Character.charCount(text.codePointBefore(to));
        }
        return text.substring(from, to);
    }

    private static BitSet set(String chars) {
        BitSet set = new BitSet();
        chars.codePoints().forEach(set::set);
        return set;
    }

    /** Compares by code point; Java's own order is by UTF-16 unit. */
    static int compare(String left, String right) {
        int length = Math.min(left.length(), right.length());
        for (int i = 0; i < length; i++) {
            char l = left.charAt(i);
            char r = right.charAt(i);
            if (l != r) {
                boolean surrogates = Character.isSurrogate(l) != Character.isSurrogate(r);
                return surrogates ? (Character.isSurrogate(l) ? 1 : -1) : Character.compare(l, r);
            }
        }
        return Integer.compare(left.length(), right.length());
    }

    /**
     * As String.indexOf, but linear for long search texts too (Knuth, Morris and Pratt), which a template can create.
     */
    static int indexOf(String text, String part, int from) {
        if (part.length() < 64) {
            return text.indexOf(part, from);
        }
        int[] fallback = new int[part.length() + 1];
        fallback[0] = -1;
        for (int i = 0, k = -1; i < part.length(); ) {
            while (k >= 0 && part.charAt(i) != part.charAt(k)) {
                k = fallback[k];
            }
            fallback[++i] = ++k;
        }
        for (int i = from, k = 0; i < text.length(); i++) {
            while (k >= 0 && text.charAt(i) != part.charAt(k)) {
                k = fallback[k];
            }
            if (++k == part.length()) {
                return i + 1 - k;
            }
        }
        return -1;
    }

    static String replace(String text, String old, String replacement, long count, Limits limits) {
        if (count == 0) {
            return text;
        }
        StringBuilder out = new StringBuilder();
        int at = 0;
        if (old.isEmpty()) {
            for (long done = 0; done != count; done++) {
                append(out, replacement, limits);
                if (at == text.length()) {
                    break;
                }
                int next = text.offsetByCodePoints(at, 1);
                out.append(text, at, next);
                at = next;
            }
            return out.append(text, at, text.length()).toString();
        }
        for (long done = 0; done != count; done++) {
            int found = indexOf(text, old, at);
            if (found < 0) {
                break;
            }
            limits.charge(1);
            out.append(text, at, found);
            append(out, replacement, limits);
            at = found + old.length();
        }
        return at == 0 ? text : out.append(text, at, text.length()).toString();
    }

    static void append(StringBuilder out, String text, Limits limits) {
        limits.chargeChars(text.length());
        out.append(text);
    }

    /** Divides a text into lines, without or with the line ends. Line ends are those of Python. */
    static List<Object> lines(String text, boolean keepEnds, Limits limits) {
        List<Object> lines = new ArrayList<>();
        int start = 0;
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if ((c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029) {
                int end = i;
                if (c == '\r' && i + 1 < text.length() && text.charAt(i + 1) == '\n') {
                    i++;
                }
                limits.charge(1);
                lines.add(text.substring(start, keepEnds ? i + 1 : end));
                start = i + 1;
            }
        }
        if (start < text.length()) {
            lines.add(text.substring(start));
        }
        return lines;
    }

    static String upper(String text) {
        return text.toUpperCase(java.util.Locale.ROOT);
    }

    static String lower(String text) {
        return text.toLowerCase(java.util.Locale.ROOT);
    }

    static String capitalize(String text) {
        int first = text.isEmpty() ? 0 : text.offsetByCodePoints(0, 1);
        return titleCase(text.substring(0, first)) + lower(text.substring(first));
    }

    /** The first character of a word in title case: upper case except for digraphs, and {@code Ss} for ß. */
    static String titleCase(String first) {
        String upper = upper(first);
        int point = upper.isEmpty() ? 0 : upper.offsetByCodePoints(0, 1);
        return point < upper.length()
                ? upper.substring(0, point) + lower(upper.substring(point))
                : first.isEmpty() ? "" : Character.toString(Character.toTitleCase(first.codePointAt(0)));
    }

    /** The text of a value for text that is marked safe: escaped for HTML, unless the value is marked safe too. */
    static String escape(Object value, Limits limits) {
        if (value instanceof Markup markup) {
            return markup.text();
        }
        String text = str(value, limits);
        long more = text.chars()
                .map(c -> switch (c) {
                    case '&', '\'', '"' -> 4;
                    case '<', '>' -> 3;
                    default -> 0;
                })
                .sum();
        if (more == 0) {
            return text;
        }
        limits.chargeChars(text.length() + more);
        return text.replace("&", "&amp;")
                .replace(">", "&gt;")
                .replace("<", "&lt;")
                .replace("'", "&#39;")
                .replace("\"", "&#34;");
    }

    // ---- str() and repr()

    /** The digits of an int. As in Python, more than 4300 digits are refused. */
    static String decimal(BigInteger value) {
        // A number of 4300 digits has at most 14,285 bits. Larger numbers are refused without computing their digits.
        String digits = value.bitLength() > 14_285 ? "" : value.abs().toString();
        if (digits.isEmpty() || digits.length() > Limits.INTEGER_DIGITS) {
            throw new JinjaError("an int of more than " + Limits.INTEGER_DIGITS + " digits cannot be written");
        }
        return value.signum() < 0 ? "-" + digits : digits;
    }

    /** str() of Python. */
    static String str(Object value, Limits limits) {
        return switch (value) {
            case String s -> s;
            case Markup m -> m.text();
            case Undefined u -> "";
            default -> {
                StringBuilder out = new StringBuilder();
                repr(value, out, limits, 0);
                yield out.toString();
            }
        };
    }

    static String repr(Object value, Limits limits) {
        StringBuilder out = new StringBuilder();
        repr(value, out, limits, 0);
        return out.toString();
    }

    private static void repr(Object value, StringBuilder out, Limits limits, int depth) {
        limits.charge(1);
        switch (value) {
            case String s -> repr(s, out, limits);
            case Markup m -> {
                out.append("Markup(");
                repr(m.text(), out, limits);
                out.append(')');
            }
            case Boolean b -> out.append(b ? "True" : "False");
            case None n -> out.append("None");
            case Long l -> out.append(l.longValue());
            case BigInteger i -> append(out, decimal(i), limits);
            case Double d -> out.append(repr(d.doubleValue()));
            case Undefined u -> out.append("Undefined");
            case List<?> l -> reprItems("[", l.iterator(), "]", out, limits, depth);
            case Tuple t ->
                reprItems("(", t.items().iterator(), t.items().size() == 1 ? ",)" : ")", out, limits, depth);
            case View v -> reprItems(v.type() + "([", v.items().iterator(), "])", out, limits, depth);
            case Range r ->
                out.append("range(")
                        .append(r.start())
                        .append(", ")
                        .append(r.stop())
                        .append(r.step() == 1 ? "" : ", " + r.step())
                        .append(')');
            case Map<?, ?> m -> {
                String separator = "{";
                for (Map.Entry<?, ?> entry : m.entrySet()) {
                    out.append(separator);
                    repr(entry.getKey(), out, limits, Limits.deeper(depth));
                    out.append(": ");
                    repr(entry.getValue(), out, limits, Limits.deeper(depth));
                    separator = ", ";
                }
                out.append(m.isEmpty() ? "{}" : "}");
            }
            case Namespace n -> {
                out.append("<Namespace ");
                repr(n.attributes(), out, limits, Limits.deeper(depth));
                out.append('>');
            }
            default ->
                throw new JinjaError("a " + Values.typeName(value) + " cannot be printed"
                        + (value instanceof Stream ? ": put '|list' behind it" : ""));
        }
    }

    private static void reprItems(
            String open, Iterator<?> items, String close, StringBuilder out, Limits limits, int depth) {
        out.append(open);
        int inner = Limits.deeper(depth);
        for (boolean first = true; items.hasNext(); first = false) {
            out.append(first ? "" : ", ");
            repr(items.next(), out, limits, inner);
        }
        out.append(close);
    }

    /** The beginning of a text, quoted for an error message. */
    static String quote(String text) {
        StringBuilder out = new StringBuilder();
        repr(text.length() <= 100 ? text : text.substring(0, 100) + "…", out, new Limits());
        return out.toString();
    }

    /** A string literal as Python writes it: in single quotes, or in double quotes if it contains only single ones. */
    private static void repr(String text, StringBuilder out, Limits limits) {
        limits.chargeChars(text.length());
        char quote = text.indexOf('\'') >= 0 && text.indexOf('"') < 0 ? '"' : '\'';
        out.append(quote);
        text.codePoints().forEach(c -> {
            if (c == quote || c == '\\') {
                out.append('\\').append((char) c);
            } else if (c == '\n') {
                out.append("\\n");
            } else if (c == '\r') {
                out.append("\\r");
            } else if (c == '\t') {
                out.append("\\t");
            } else if (isPrintable(c)) {
                out.appendCodePoint(c);
            } else {
                limits.charge(2);
                out.append(c < 0x100 ? hex("\\x", c, 2) : c < 0x10000 ? hex("\\u", c, 4) : hex("\\U", c, 8));
            }
        });
        out.append(quote);
    }

    static String hex(String prefix, int value, int digits) {
        String hex = Integer.toHexString(value);
        return prefix + "0".repeat(digits - hex.length()) + hex;
    }

    static boolean isPrintable(int c) {
        return c == ' '
                || switch (Character.getType(c)) {
                    case Character.CONTROL,
                            Character.FORMAT,
                            Character.SURROGATE,
                            Character.PRIVATE_USE,
                            Character.UNASSIGNED,
                            Character.LINE_SEPARATOR,
                            Character.PARAGRAPH_SEPARATOR,
                            Character.SPACE_SEPARATOR -> false;
                    default -> true;
                };
    }

    /** The shortest digits that identify the double, with an exponent below 1e-4 and from 1e16 on. */
    static String repr(double value) {
        if (Double.isNaN(value)) {
            return "nan";
        }
        if (Double.isInfinite(value)) {
            return value > 0 ? "inf" : "-inf";
        }
        if (value == 0) {
            return 1 / value < 0 ? "-0.0" : "0.0";
        }
        BigDecimal decimal = new BigDecimal(Double.toString(value)).stripTrailingZeros();
        int exponent = decimal.precision() - decimal.scale() - 1;
        if (exponent >= -4 && exponent < 16) {
            String plain = decimal.toPlainString();
            return plain.indexOf('.') < 0 ? plain + ".0" : plain;
        }
        String digits = decimal.unscaledValue().abs().toString();
        return (value < 0 ? "-" : "") + digits.charAt(0) + (digits.length() > 1 ? "." + digits.substring(1) : "") + "e"
                + (exponent < 0 ? "-" : "+") + (Math.abs(exponent) < 10 ? "0" : "") + Math.abs(exponent);
    }
}
