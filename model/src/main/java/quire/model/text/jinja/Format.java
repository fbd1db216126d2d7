package quire.model.text.jinja;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.MathContext;
import java.math.RoundingMode;
import java.util.List;
import java.util.Map;
import quire.model.text.jinja.Values.*;

/** The two ways of formatting in Python: {@code "%s: %d" % (…)} and {@code "{}: {:>8}".format(…)}. */
final class Format {
    private static final int MAX_PRECISION = 400;

    private Format() {}

    static String fill(String fill, long count, Limits limits) {
        limits.chargeChars(Math.max(0, count));
        return fill.repeat((int) Math.max(0, count));
    }

    /**
     * {@code format % value}. With names, {@code %(name)s} reads from them.
     *
     * @param safe whether the format is marked safe; then values are escaped for HTML
     */
    static String percent(String format, Object value, Map<String, Object> names, boolean safe, Limits limits) {
        List<Object> values = value instanceof Tuple tuple ? tuple.items() : List.of(value);
        Map<?, ?> named = value instanceof Map<?, ?> map ? map : names;
        boolean usedName = false;
        int used = 0;
        StringBuilder out = new StringBuilder();
        int i = 0;
        while (i < format.length()) {
            char c = format.charAt(i++);
            if (c != '%') {
                out.append(c);
                continue;
            }
            String name = null;
            if (format.startsWith("(", i)) {
                int close = format.indexOf(')', i);
                name = close < 0 ? "" : format.substring(i + 1, close);
                i = close < 0 ? format.length() : close + 1;
            }
            Spec spec = new Spec(safe);
            i = spec.readFlags(format, i);
            i = spec.readWidth(format, i);
            if (i >= format.length()) {
                throw new JinjaError("the format ends within a '%' field");
            }
            spec.type = format.charAt(i++);
            if (spec.type == '%' && name == null) {
                out.append('%');
                continue;
            }
            Object item;
            if (name != null) {
                usedName = true;
                item = named.get(name);
                if (item == null) {
                    throw new JinjaError("the format asks for " + Text.quote(name) + ", which is not given");
                }
            } else {
                if (used >= values.size()) {
                    throw new JinjaError("the format asks for more values than the " + values.size() + " given");
                }
                item = values.get(used++);
            }
            Text.append(out, spec.percent(item, limits), limits);
        }
        boolean mapping = value instanceof Map || value instanceof List || usedName;
        if (used < values.size() && !mapping) {
            throw new JinjaError("the format asks for " + used + " values, given are " + values.size());
        }
        return out.toString();
    }

    /**
     * {@code format.format(…)}: {@code {}}, {@code {0}}, {@code {name}}, {@code !r}, {@code !s} and format specs.
     *
     * @param safe whether the format is marked safe; then values are escaped for HTML
     */
    static String braces(String format, Args args, boolean safe, Limits limits) {
        StringBuilder out = new StringBuilder();
        int automatic = 0;
        boolean manual = false;
        for (int i = 0; i < format.length(); i++) {
            char c = format.charAt(i);
            boolean doubled = i + 1 < format.length() && format.charAt(i + 1) == c;
            if (c != '{' && c != '}') {
                out.append(c);
            } else if (doubled) {
                out.append(c);
                i++;
            } else {
                int close = format.indexOf('}', i);
                if (c == '}' || close < 0) {
                    throw new JinjaError("str.format: a single '" + c + "' in the format");
                }
                String field = format.substring(i + 1, close);
                i = close;
                int colon = field.indexOf(':');
                String spec = colon < 0 ? "" : field.substring(colon + 1);
                String name = colon < 0 ? field : field.substring(0, colon);
                int bang = name.indexOf('!');
                String conversion = bang < 0 ? "" : name.substring(bang + 1);
                name = bang < 0 ? name : name.substring(0, bang);
                boolean number =
                        !name.isEmpty() && name.length() < 9 && name.chars().allMatch(d -> d >= '0' && d <= '9');
                if (number ? automatic > 0 : name.isEmpty() && manual) {
                    throw new JinjaError("str.format: '{}' and '{0}' in one format");
                }
                manual |= number;
                Object value = name.isEmpty() || number
                        ? positional(args, number ? Integer.parseInt(name) : automatic++)
                        : named(args, name);
                Object converted =
                        switch (conversion) {
                            case "" -> value;
                            case "r" -> Text.repr(value, limits);
                            case "s" -> Text.str(value, limits);
                            default -> throw new JinjaError("str.format: '!" + conversion + "' is not supported");
                        };
                Text.append(out, format(converted, spec, safe, limits), limits);
            }
        }
        return out.toString();
    }

    private static Object positional(Args args, int index) {
        if (index >= args.positional().size()) {
            throw new JinjaError("str.format: the format asks for more than the "
                    + args.positional().size() + " values given");
        }
        return args.positional().get(index);
    }

    private static Object named(Args args, String name) {
        Object value = args.named().get(name);
        if (value == null) {
            boolean nested = name.indexOf('.') >= 0 || name.indexOf('[') >= 0 || name.indexOf('{') >= 0;
            throw new JinjaError(
                    "str.format: the field " + Text.quote(name) + (nested ? " is not supported" : " is not given"));
        }
        return value;
    }

    private static String format(Object value, String text, boolean safe, Limits limits) {
        if (text.isEmpty()) {
            return safe ? Text.escape(value, limits) : Text.str(value, limits);
        }
        if (safe && value instanceof Markup) {
            throw new JinjaError("str.format: text marked safe takes no format spec");
        }
        if (safe) {
            return Text.escape(format(value, text, false, limits), limits);
        }
        Spec spec = new Spec(false);
        int i = spec.readAlignment(text);
        i = spec.readFlags(text, i);
        i = spec.readWidth(text, i);
        if (i < text.length()) {
            spec.type = text.charAt(i++);
        }
        if (i < text.length()) {
            throw new JinjaError("str.format: the format spec " + Text.quote(text) + " is not supported");
        }
        return spec.braces(value, limits);
    }

    /** The format spec of a field: {@code [[fill]align][flags][width][grouping][.precision][type]}. */
    private static final class Spec {
        private final boolean safe;
        private String fill = " ";
        private char align;
        private boolean zero;
        private boolean alternate;
        private char sign = '-';
        private boolean left;
        private long width;
        private char grouping;
        private int precision = -1;
        private char type;

        Spec(boolean safe) {
            this.safe = safe;
        }

        private int readAlignment(String text) {
            int first = text.offsetByCodePoints(0, 1);
            if (first < text.length() && "<>^=".indexOf(text.charAt(first)) >= 0) {
                fill = text.substring(0, first);
                align = text.charAt(first);
                return first + 1;
            }
            if ("<>^=".indexOf(text.charAt(0)) >= 0) {
                align = text.charAt(0);
                return 1;
            }
            return 0;
        }

        private int readFlags(String text, int from) {
            int i = from;
            for (; i < text.length(); i++) {
                switch (text.charAt(i)) {
                    case '0' -> zero = true;
                    case '#' -> alternate = true;
                    case '-' -> left = true;
                    case '+' -> sign = '+';
                    case ' ' -> sign = sign == '+' ? '+' : ' ';
                    default -> {
                        return i;
                    }
                }
            }
            return i;
        }

        private int readWidth(String text, int from) {
            int i = from;
            for (; i < text.length() && Character.isDigit(text.charAt(i)); i++) {
                width = Math.min(Integer.MAX_VALUE, width * 10 + Character.digit(text.charAt(i), 10));
            }
            if (i < text.length() && (text.charAt(i) == ',' || text.charAt(i) == '_')) {
                grouping = text.charAt(i++);
            }
            if (i < text.length() && text.charAt(i) == '.') {
                precision = 0;
                for (i++; i < text.length() && Character.isDigit(text.charAt(i)); i++) {
                    precision = Math.min(MAX_PRECISION + 1, precision * 10 + Character.digit(text.charAt(i), 10));
                }
            }
            return i;
        }

        private String percent(Object value, Limits limits) {
            align = left ? '<' : '>';
            if (grouping != 0 || alternate) {
                throw new JinjaError("the format field's '" + (alternate ? '#' : grouping) + "' is not supported");
            }
            return switch (type) {
                case 's' -> pad("", cut(safe ? Text.escape(value, limits) : Text.str(value, limits)), false, limits);
                case 'r' -> {
                    String text = Text.repr(value, limits);
                    yield pad("", cut(safe ? Text.escape(text, limits) : text), false, limits);
                }
                case 'c' -> pad("", character(value), false, limits);
                case 'd', 'i', 'u' -> {
                    if (!Values.isNumber(value)) {
                        throw new JinjaError("'%" + type + "' needs a number, not " + Values.typeName(value));
                    }
                    type = 'd';
                    yield number(truncated(value), limits);
                }
                case 'x', 'X', 'o', 'e', 'E', 'f', 'F' -> number(value, limits);
                default -> throw new JinjaError("the format field '%" + type + "' is not supported");
            };
        }

        private static Object truncated(Object value) {
            if (value instanceof Double d && (d.isNaN() || d.isInfinite())) {
                throw new JinjaError(d + " is not an integer");
            }
            return value instanceof Double d ? Values.whole(d) : value;
        }

        private static String character(Object value) {
            if (value instanceof Long code && Character.isValidCodePoint(Math.clamp(code, -1, Integer.MAX_VALUE))) {
                return Character.toString(code.intValue());
            }
            String text = Values.text(value);
            if (text != null && Values.length(text) == 1) {
                return text;
            }
            throw new JinjaError("the format field 'c' needs one character");
        }

        private String cut(String text) {
            return precision < 0 || Values.length(text) <= precision
                    ? text
                    : text.substring(0, text.offsetByCodePoints(0, precision));
        }

        private String braces(Object value, Limits limits) {
            if (alternate || left) {
                throw new JinjaError("str.format: '" + (left ? '-' : '#') + "' in a format spec is not supported");
            }
            if (Values.isNumber(value) && !(value instanceof Boolean && type == 's')) {
                align = align == 0 ? '>' : align;
                if (type == 0) {
                    type = value instanceof Double ? 'r' : 'd';
                }
                return number(value, limits);
            }
            String text = Values.text(value);
            if (text == null || (type != 's' && type != 0) || align == '=' || grouping != 0) {
                throw new JinjaError(
                        "str.format: a format spec of this kind for a " + Values.typeName(value) + " is not supported");
            }
            align = align == 0 ? '<' : align;
            fill = zero ? "0" : fill;
            return pad("", cut(text), false, limits);
        }

        private String number(Object value, Limits limits) {
            if (!Values.isNumber(value)) {
                throw new JinjaError("the format field '" + type + "' needs a number, not " + Values.typeName(value));
            }
            if (precision > MAX_PRECISION) {
                throw new JinjaError("a format's precision is at most " + MAX_PRECISION);
            }
            Object plain = value instanceof Boolean b ? (Object) (b ? 1L : 0L) : value;
            boolean integer = "dxXo".indexOf(type) >= 0;
            if (integer && (plain instanceof Double || (precision >= 0 && type != 'd'))) {
                throw new JinjaError("the format field '" + type + "' needs an int");
            }
            String digits;
            if (integer) {
                BigInteger whole = plain instanceof BigInteger i ? i : BigInteger.valueOf((Long) plain);
                String text =
                        type == 'd' ? Text.decimal(whole.abs()) : whole.abs().toString(type == 'o' ? 8 : 16);
                digits = type == 'X' ? text.toUpperCase(java.util.Locale.ROOT) : text;
                digits = "0".repeat(Math.max(0, precision - digits.length())) + digits;
            } else {
                double d = ((Number) plain).doubleValue();
                if (Double.isNaN(d) || Double.isInfinite(d)) {
                    throw new JinjaError("formatting " + d + " is not supported");
                }
                digits = digits(new BigDecimal(d).abs(), d);
            }
            boolean negative = plain instanceof Double d
                    ? Double.doubleToRawLongBits(d) < 0
                    : Values.compare(plain, 0L, limits) < 0;
            String prefix = negative ? "-" : sign == '-' ? "" : String.valueOf(sign);
            return pad(prefix, grouping == 0 ? digits : grouped(digits), true, limits);
        }

        private String digits(BigDecimal exact, double value) {
            int places = precision < 0 ? 6 : precision;
            return switch (type) {
                case 'f', 'F' -> exact.setScale(places, RoundingMode.HALF_EVEN).toPlainString();
                case '%' ->
                    exact.scaleByPowerOfTen(2)
                                    .setScale(places, RoundingMode.HALF_EVEN)
                                    .toPlainString() + "%";
                case 'e', 'E' -> {
                    BigDecimal rounded = exact.round(new MathContext(places + 1, RoundingMode.HALF_EVEN));
                    int exponent = rounded.signum() == 0 ? 0 : rounded.precision() - rounded.scale() - 1;
                    String all = rounded.unscaledValue().toString();
                    String mantissa = all.length() > places + 1
                            ? all.substring(0, places + 1)
                            : all + "0".repeat(places + 1 - all.length());
                    String text = mantissa.charAt(0) + (places > 0 ? "." + mantissa.substring(1) : "") + "e"
                            + (exponent < 0 ? "-" : "+") + (Math.abs(exponent) < 10 ? "0" : "") + Math.abs(exponent);
                    yield type == 'E' ? text.toUpperCase(java.util.Locale.ROOT) : text;
                }
                case 'r' -> {
                    if (precision >= 0) {
                        throw new JinjaError("str.format: a precision without 'f' is not supported");
                    }
                    yield Text.repr(Math.abs(value));
                }
                default -> throw new JinjaError("the format field '" + type + "' is not supported");
            };
        }

        private String grouped(String digits) {
            if (zero || (grouping == '_' && type != 'd')) {
                throw new JinjaError("str.format: '" + grouping + "' with this format is not supported");
            }
            int point = digits.indexOf('.');
            int end = point < 0 ? digits.length() : point;
            StringBuilder out = new StringBuilder(digits);
            for (int i = end - 3; i > 0; i -= 3) {
                out.insert(i, grouping);
            }
            return out.toString();
        }

        private String pad(String prefix, String text, boolean number, Limits limits) {
            long missing = width - Values.length(prefix) - Values.length(text);
            if ((number && zero && align != '<') || align == '=') {
                return prefix + Format.fill(zero ? "0" : fill, missing, limits) + text;
            }
            long before = align == '>' ? missing : align == '^' ? Math.max(0, missing) / 2 : 0;
            return Format.fill(fill, before, limits) + prefix + text + Format.fill(fill, missing - before, limits);
        }
    }
}
