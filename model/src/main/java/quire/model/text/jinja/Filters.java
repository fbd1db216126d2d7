package quire.model.text.jinja;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.RoundingMode;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import quire.model.text.jinja.Args.Bound;
import quire.model.text.jinja.Args.Signature;
import quire.model.text.jinja.Values.*;

/**
 * The filters, by name: Jinja's own filters and from_json. Four of Jinja's are missing or different: random is missing
 * because the same conversation must always give the same prompt; striptags and urlize are missing and tojson does not
 * escape HTML because these serve web pages.
 */
final class Filters {
    private interface Filter {
        Object apply(Interpreter in, Object value, Bound args);
    }

    private record Entry(Signature signature, Filter filter) {}

    private static final Map<String, Entry> FILTERS = new HashMap<>();

    static {
        // text
        filter("upper", "", (in, v, a) -> marked(v, Text.upper(str(in, v))));
        filter("lower", "", (in, v, a) -> marked(v, Text.lower(str(in, v))));
        filter("capitalize", "", (in, v, a) -> marked(v, Text.capitalize(str(in, v))));
        filter("title", "", (in, v, a) -> title(str(in, v)));
        filter("trim", "chars?", (in, v, a) -> marked(v, Text.strip(str(in, v), a.textOrNull(0), true, true)));
        filter(
                "replace",
                "old new count?",
                (in, v, a) -> Text.replace(
                        str(in, v),
                        str(in, a.get(0)),
                        str(in, a.get(1)),
                        a.some(2) ? a.integer(2, -1) : -1,
                        in.limits));
        filter("indent", "width? first? blank?", Filters::indent);
        filter("truncate", "length? killwords? end? leeway?", Filters::truncate);
        filter(
                "center",
                "width?",
                (in, v, a) -> marked(v, (String) in.call(in.attribute(str(in, v), "center"), Args.of(a.get(0, 80L)))));
        filter("wordcount", "", (in, v, a) -> wordCount(str(in, v)));
        filter(
                "wordwrap",
                "width? break_long_words? wrapstring? break_on_hyphens?",
                (in, v, a) -> WordWrap.wrap(
                        str(in, v),
                        a.integer(0, 79),
                        !a.has(1) || a.truth(1),
                        a.some(2) ? a.text(2) : "\n",
                        !a.has(3) || a.truth(3),
                        in.limits));
        filter(
                "format",
                "*",
                (in, v, a) -> marked(
                        v,
                        Format.percent(
                                str(in, v),
                                new Tuple(a.all().positional()),
                                a.all().named(),
                                v instanceof Markup,
                                in.limits)));
        filter("string", "", (in, v, a) -> v instanceof Markup ? v : str(in, v));
        filter("safe", "", (in, v, a) -> new Markup(str(in, v)));
        filter("escape", "", (in, v, a) -> new Markup(Text.escape(v, in.limits)));
        filter("e", "", (in, v, a) -> new Markup(Text.escape(v, in.limits)));
        filter("forceescape", "", (in, v, a) -> new Markup(Text.escape(str(in, v), in.limits)));
        filter("xmlattr", "autospace?", Filters::xmlAttributes);
        filter("urlencode", "", Filters::urlEncode);
        filter("tojson", "ensure_ascii? indent? separators? sort_keys?", Filters::toJson);
        filter("from_json", "", (in, v, a) -> {
            String json = Values.text(v);
            if (json == null) {
                throw v instanceof Undefined undefined
                        ? undefined.error()
                        : new JinjaError("filter 'from_json' takes a str, not " + Values.typeName(v));
            }
            return JsonReader.read(json, in.limits);
        });
        filter("pprint", "", (in, v, a) -> PrettyPrinter.format(v, in.limits));
        filter("filesizeformat", "binary?", Filters::fileSize);
        // numbers
        filter("int", "default? base?", Filters::toInt);
        filter("float", "default?", Filters::toFloat);
        filter(
                "abs",
                "",
                (in, v, a) -> Values.compare(v, 0L, in.limits) < 0 ? Values.unary('-', v) : Values.unary('+', v));
        filter("round", "precision? method?", Filters::round);
        // any value
        filter("default", "default_value? boolean?", Filters::defaulted);
        filter("d", "default_value? boolean?", Filters::defaulted);
        filter("attr", "name", (in, v, a) -> in.attributeOnly(v, a.text(0)));
        // collections
        filter("length", "", (in, v, a) -> (long) Values.length(v));
        filter("count", "", (in, v, a) -> (long) Values.length(v));
        filter("first", "", (in, v, a) -> first(Values.iterate(v)));
        filter("last", "", (in, v, a) -> {
            if (v instanceof Stream) {
                throw new JinjaError("filter 'last' of a generator: put '|list' before it");
            }
            Object last = first(reversed(in, v).iterator());
            return last instanceof String text ? marked(v, text) : last;
        });
        filter("list", "", (in, v, a) -> Values.toList(v, in.limits));
        filter("join", "d? attribute?", Filters::join);
        filter("reverse", "", (in, v, a) -> switch (v) {
            case String s -> new StringBuilder(s).reverse().toString();
            case Markup m -> new Markup(new StringBuilder(m.text()).reverse().toString());
            case Stream stream -> reversed(in, stream);
            default -> new Stream(reversed(in, v).iterator());
        });
        filter("items", "", (in, v, a) -> {
            if (!(v instanceof Map || v instanceof Undefined)) {
                throw new JinjaError("filter 'items' takes a dict, not " + Values.typeName(v));
            }
            return new Stream(
                    (v instanceof Map<?, ?> map ? Methods.items(map, in.limits) : List.<Object>of()).iterator());
        });
        filter("dictsort", "case_sensitive? by? reverse?", Filters::dictSort);
        filter(
                "sort",
                "reverse? case_sensitive? attribute?",
                (in, v, a) -> sorted(in, Values.toList(v, in.limits), sortKey(in, a), a.truth(0)));
        filter("groupby", "attribute default? case_sensitive?", Filters::groupBy);
        filter("unique", "case_sensitive? attribute?", Filters::unique);
        filter("min", "case_sensitive? attribute?", (in, v, a) -> extreme(in, v, a, false));
        filter("max", "case_sensitive? attribute?", (in, v, a) -> extreme(in, v, a, true));
        filter("sum", "attribute? start?", (in, v, a) -> {
            Object sum = a.get(1, 0L);
            Function<Object, Object> get = getter(in, a.get(0), null);
            for (Object item : Values.toList(v, in.limits)) {
                sum = Values.binary("+", sum, get.apply(item), in.limits);
            }
            return sum;
        });
        filter("map", "*", (in, v, a) -> map(in, v, a.all()));
        filter("select", "*", (in, v, a) -> select(in, v, a.all(), false, true));
        filter("reject", "*", (in, v, a) -> select(in, v, a.all(), false, false));
        filter("selectattr", "*", (in, v, a) -> select(in, v, a.all(), true, true));
        filter("rejectattr", "*", (in, v, a) -> select(in, v, a.all(), true, false));
        filter(
                "batch",
                "linecount fill_with?",
                (in, v, a) -> new Stream(batch(in, v, a).iterator()));
        filter(
                "slice",
                "slices fill_with?",
                (in, v, a) -> new Stream(slice(in, v, a).iterator()));
    }

    private Filters() {}

    private static void filter(String name, String parameters, Filter filter) {
        FILTERS.put(name, new Entry(Signature.of(parameters), filter));
    }

    static boolean exists(String name) {
        return FILTERS.containsKey(name);
    }

    static Object apply(String name, Interpreter in, Object value, Args args) {
        Entry entry = FILTERS.get(name);
        if (entry == null) {
            throw new JinjaError("filter '" + name + "' is not supported");
        }
        String input = Values.text(value);
        if (input != null) {
            in.limits.chargeChars(input.length());
        }
        args.charge(in.limits);
        Object result = entry.filter.apply(in, value, entry.signature.bind("filter '" + name + "'", args));
        String output = Values.text(result);
        if (output != null) {
            in.limits.chargeChars(output.length());
        }
        return result;
    }

    private static String str(Interpreter in, Object value) {
        return Text.str(value, in.limits);
    }

    /** The result of a filter on a text: marked safe if the original was. */
    private static Object marked(Object original, String text) {
        return original instanceof Markup ? new Markup(text) : text;
    }

    // ---- text

    /** The title case of Jinja: words begin after spaces, hyphens and opening brackets. */
    private static String title(String text) {
        StringBuilder out = new StringBuilder();
        boolean begins = true;
        for (int i = 0; i < text.length(); ) {
            String c = Character.toString(text.codePointAt(i));
            out.append(begins ? Text.upper(c) : Text.lower(c));
            begins = "-({[<".contains(c) || Text.isSpace(c.codePointAt(0));
            i += c.length();
        }
        return out.toString();
    }

    private static Object indent(Interpreter in, Object value, Bound args) {
        Object width = args.get(0, 4L);
        String indention = width instanceof String s ? s : Format.fill(" ", args.integer(0, 4), in.limits);
        List<Object> lines = Text.lines(str(in, value) + "\n", false, in.limits);
        StringBuilder out = new StringBuilder();
        for (int i = 0; i < lines.size(); i++) {
            String line = (String) lines.get(i);
            boolean indented = i == 0 ? args.truth(1) : args.truth(2) || !line.isEmpty();
            Text.append(out, (i == 0 ? "" : "\n") + (indented ? indention : "") + line, in.limits);
        }
        return marked(value, out.toString());
    }

    private static Object truncate(Interpreter in, Object value, Bound args) {
        String text = str(in, value);
        String end = args.has(2) ? args.text(2) : "...";
        long length = args.integer(0, 255);
        long leeway = args.some(3) ? args.integer(3, 5) : 5;
        if (length < Values.length(end) || leeway < 0) {
            throw new JinjaError("filter 'truncate': the length is less than that of the end, or the leeway below 0");
        }
        if (Values.length(text) <= length + leeway) {
            return marked(value, text);
        }
        String cut = text.substring(0, text.offsetByCodePoints(0, (int) length - Values.length(end)));
        int blank = cut.lastIndexOf(' ');
        String kept = args.truth(1) || blank < 0 ? cut : cut.substring(0, blank);
        return value instanceof Markup ? new Markup(kept + Text.escape(args.get(2, end), in.limits)) : kept + end;
    }

    private static long wordCount(String text) {
        long count = 0;
        boolean inWord = false;
        for (int c : text.codePoints().toArray()) {
            boolean word = Character.isLetterOrDigit(c) || c == '_';
            count += word && !inWord ? 1 : 0;
            inWord = word;
        }
        return count;
    }

    /** A dict as {@code  key="value"} …, with values escaped. None and undefined values are left out. */
    private static Object xmlAttributes(Interpreter in, Object value, Bound args) {
        if (!(value instanceof Map<?, ?> map)) {
            throw new JinjaError("filter 'xmlattr' takes a dict, not " + Values.typeName(value));
        }
        StringBuilder out = new StringBuilder();
        for (Map.Entry<?, ?> entry : map.entrySet()) {
            if (entry.getValue() instanceof None || entry.getValue() instanceof Undefined) {
                continue;
            }
            if (!(entry.getKey() instanceof String key)
                    || key.codePoints().anyMatch(c -> Text.isSpace(c) || c == '/' || c == '>' || c == '=')) {
                throw new JinjaError("filter 'xmlattr': the key " + Text.repr(entry.getKey(), in.limits)
                        + " cannot be the name of an attribute");
            }
            boolean space = !out.isEmpty() || !args.has(0) || args.truth(0);
            Text.append(out, (space ? " " : "") + Text.escape(key, in.limits) + "=\"", in.limits);
            Text.append(out, Text.escape(entry.getValue(), in.limits) + "\"", in.limits);
        }
        return out.toString();
    }

    private static Object urlEncode(Interpreter in, Object value, Bound args) {
        boolean pairs = value instanceof Map
                || value instanceof List
                || value instanceof Tuple
                || value instanceof View
                || value instanceof Stream
                || value instanceof Undefined;
        if (!pairs) {
            return quoteForUrl(str(in, value), false, in.limits);
        }
        StringBuilder out = new StringBuilder();
        for (Object pair :
                value instanceof Map<?, ?> map ? Methods.items(map, in.limits) : Values.toList(value, in.limits)) {
            List<Object> items = Values.toList(pair, in.limits);
            if (items.size() != 2) {
                throw new JinjaError("filter 'urlencode' takes a str, a dict or a list of pairs");
            }
            Text.append(out, out.isEmpty() ? "" : "&", in.limits);
            Text.append(out, quoteForUrl(str(in, items.get(0)), true, in.limits), in.limits);
            Text.append(out, "=" + quoteForUrl(str(in, items.get(1)), true, in.limits), in.limits);
        }
        return out.toString();
    }

    /** Percent-encodes UTF-8. In a query, slashes are encoded too, and a space becomes a plus sign. */
    private static String quoteForUrl(String text, boolean query, Limits limits) {
        limits.chargeChars(4L * text.length());
        StringBuilder out = new StringBuilder();
        for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
            char c = (char) (b & 0xFF);
            boolean plain =
                    c < 0x80 && (Character.isLetterOrDigit(c) || "_.-~".indexOf(c) >= 0 || (c == '/' && !query));
            if (plain) {
                out.append(c);
            } else if (c == ' ' && query) {
                out.append('+');
            } else {
                out.append('%').append(Text.hex("", c, 2).toUpperCase(Locale.ROOT));
            }
        }
        return out.toString();
    }

    private static Object fileSize(Interpreter in, Object value, Bound args) {
        Object number = toFloat(in, value, Signature.of("default?").bind("float", Args.of(None.NONE)));
        if (!(number instanceof Double bytes) || bytes.isNaN() || bytes.isInfinite()) {
            throw new JinjaError("filter 'filesizeformat' takes a number, not " + Text.repr(value, in.limits));
        }
        boolean binary = args.truth(0);
        double base = binary ? 1024 : 1000;
        if (bytes == 1) {
            return "1 Byte";
        }
        if (bytes < base) {
            return Text.decimal(new BigDecimal(bytes).toBigInteger()) + " Bytes";
        }
        String prefixes = "kMGTPEZY";
        int i = 0;
        double unit = base * base;
        for (; i < prefixes.length() - 1 && bytes >= unit; i++) {
            unit *= base;
        }
        String prefix = binary ? Character.toUpperCase(prefixes.charAt(i)) + "i" : prefixes.substring(i, i + 1);
        return new BigDecimal(base * bytes / unit)
                        .setScale(1, RoundingMode.HALF_EVEN)
                        .toPlainString() + " " + prefix + "B";
    }

    private static Object toJson(Interpreter in, Object value, Bound args) {
        String indent = null;
        if (args.some(1)) {
            indent = args.get(1) instanceof String s ? s : Format.fill(" ", args.integer(1, 0), in.limits);
        }
        String items = indent == null ? ", " : ",";
        String keys = ": ";
        if (args.some(2)) {
            List<Object> separators = Values.toList(args.get(2), in.limits);
            if (separators.size() != 2
                    || !(separators.get(0) instanceof String item)
                    || !(separators.get(1) instanceof String key)) {
                throw new JinjaError("filter 'tojson': 'separators' are two str");
            }
            items = item;
            keys = key;
        }
        return new Json(args.truth(0), indent, items, keys, args.truth(3), in.limits).write(value);
    }

    // ---- numbers

    private static Object toInt(Interpreter in, Object value, Bound args) {
        Object otherwise = args.get(0, 0L);
        return switch (value) {
            case Long l -> l;
            case BigInteger i -> i;
            case Boolean b -> b ? 1L : 0L;
            case Double d when d.isInfinite() -> throw new JinjaError("filter 'int' of an infinite float");
            case Double d -> d.isNaN() ? otherwise : Values.whole(d);
            case Markup m -> toInt(in, m.text(), args);
            case String s -> {
                in.limits.chargeChars(s.length());
                BigInteger integer = parseInteger(Text.strip(s, null, true, true), (int) args.integer(1, 10));
                Double number = integer == null ? parseFloat(s) : null;
                yield integer != null
                        ? Values.whole(integer)
                        : number == null || number.isNaN() || number.isInfinite() ? otherwise : Values.whole(number);
            }
            case Undefined undefined -> throw undefined.error();
            default -> otherwise;
        };
    }

    /** Parses a string as int() of Python does: a sign, a prefix of the base, single underscores between digits. */
    private static @Nullable BigInteger parseInteger(String text, int base) {
        boolean negative = text.startsWith("-");
        String digits = negative || text.startsWith("+") ? text.substring(1) : text;
        String prefix = base == 16 ? "0x" : base == 8 ? "0o" : base == 2 ? "0b" : "";
        if (!prefix.isEmpty() && digits.regionMatches(true, 0, prefix, 0, 2)) {
            digits = digits.substring(2);
            digits = digits.startsWith("_") ? digits.substring(1) : digits;
        }
        if (digits.length() > Limits.INTEGER_DIGITS
                || digits.startsWith("_")
                || digits.endsWith("_")
                || digits.contains("__")) {
            return null;
        }
        String plain = digits.replace("_", "");
        if (base < 2 || base > 36 || plain.isEmpty() || !plain.chars().allMatch(c -> Character.digit(c, base) >= 0)) {
            return null;
        }
        BigInteger value = new BigInteger(plain, base);
        return negative ? value.negate() : value;
    }

    private static @Nullable Double parseFloat(String text) {
        String stripped = Text.strip(text, null, true, true);
        String word =
                Text.lower(stripped.startsWith("-") || stripped.startsWith("+") ? stripped.substring(1) : stripped);
        double sign = stripped.startsWith("-") ? -1 : 1;
        if (word.equals("inf") || word.equals("infinity")) {
            return sign * Double.POSITIVE_INFINITY;
        }
        if (word.equals("nan")) {
            return Double.NaN;
        }
        String plain = stripped.replaceAll("(?<=[0-9])_(?=[0-9])", "");
        if (!plain.chars().allMatch(c -> c < 0x80 && "0123456789+-.eE".indexOf(c) >= 0)) {
            return null;
        }
        try {
            return Double.parseDouble(plain);
        } catch (NumberFormatException e) {
            return null;
        }
    }

    private static Object toFloat(Interpreter in, Object value, Bound args) {
        Object otherwise = args.get(0, 0.0);
        return switch (value) {
            case Double d -> d;
            case Long l -> (double) l;
            case BigInteger i -> Values.binary("+", i, 0.0, in.limits);
            case Boolean b -> b ? 1.0 : 0.0;
            case Markup m -> toFloat(in, m.text(), args);
            case String s -> Objects.requireNonNullElse(parseFloat(s), otherwise);
            case Undefined undefined -> throw undefined.error();
            default -> otherwise;
        };
    }

    private static Object round(Interpreter in, Object value, Bound args) {
        long precision = args.integer(0, 0);
        String method = args.has(1) ? args.text(1) : "common";
        if (!Values.isNumber(value) || Math.abs(precision) > 300) {
            throw new JinjaError("filter 'round' of a " + Values.typeName(value) + " or to " + precision + " places");
        }
        Object number = Values.unary('+', value);
        if (method.equals("common")) {
            if (!(number instanceof Double d)) {
                BigInteger whole = number instanceof BigInteger i ? i : BigInteger.valueOf((Long) number);
                in.limits.charge(whole.bitLength());
                return precision >= 0
                        ? number
                        : Values.whole(new BigDecimal(whole)
                                .setScale((int) precision, RoundingMode.HALF_EVEN)
                                .toBigInteger());
            }
            return Double.isNaN(d) || Double.isInfinite(d)
                    ? number
                    : withSign(
                            new BigDecimal(d)
                                    .setScale((int) precision, RoundingMode.HALF_EVEN)
                                    .doubleValue(),
                            d);
        }
        if (!method.equals("ceil") && !method.equals("floor")) {
            throw new JinjaError("filter 'round': the method is common, ceil or floor");
        }
        Object factor = Values.binary("**", 10L, precision, in.limits);
        Object scaled = Values.binary("*", number, factor, in.limits);
        if (scaled instanceof Double d && (d.isNaN() || d.isInfinite())) {
            throw new JinjaError("filter 'round': " + d + " is not an int");
        }
        Object whole = scaled instanceof Double d
                ? Values.whole(method.equals("ceil") ? Math.ceil(d) : Math.floor(d))
                : scaled;
        return Values.binary("/", whole, factor, in.limits);
    }

    private static Object withSign(double rounded, double sign) {
        return Math.copySign(rounded, sign);
    }

    // ---- any value

    private static Object defaulted(Interpreter in, Object value, Bound args) {
        boolean missing = value instanceof Undefined || (args.truth(1) && !Values.truth(value));
        return missing ? args.get(0, "") : value;
    }

    // ---- collections

    private static Object first(Iterator<Object> items) {
        return items.hasNext() ? items.next() : new Undefined("no first or last item, the sequence is empty");
    }

    private static List<Object> reversed(Interpreter in, Object value) {
        List<Object> list = Values.toList(value, in.limits);
        Collections.reverse(list);
        return list;
    }

    private static Object join(Interpreter in, Object value, Bound args) {
        String separator = Text.str(args.get(0, ""), in.limits);
        Function<Object, Object> get = getter(in, args.get(1), null);
        StringBuilder out = new StringBuilder();
        boolean first = true;
        for (Iterator<Object> items = Values.iterate(value); items.hasNext(); first = false) {
            in.limits.charge(1);
            Text.append(out, first ? "" : separator, in.limits);
            Text.append(out, Text.str(get.apply(items.next()), in.limits), in.limits);
        }
        return out.toString();
    }

    /** Looks up {@code a.b.0} in an item. If {@code otherwise} is given, it replaces each missing part. */
    private static Function<Object, Object> getter(Interpreter in, Object attribute, @Nullable Object otherwise) {
        if (attribute == None.NONE) {
            return item -> item;
        }
        List<Object> path = new ArrayList<>();
        String name = Values.text(attribute);
        if (name != null) {
            for (String part : name.split("\\.", -1)) {
                boolean index =
                        !part.isEmpty() && part.length() < 10 && part.chars().allMatch(c -> c >= '0' && c <= '9');
                path.add(index ? (Object) Long.parseLong(part) : part);
            }
        } else {
            path.add(attribute);
        }
        return item -> {
            Object value = item;
            for (Object part : path) {
                value = in.item(value, part);
                value = otherwise != null && value instanceof Undefined ? otherwise : value;
            }
            return value;
        };
    }

    private static Function<Object, Object> foldCase(Function<Object, Object> get, boolean caseSensitive) {
        return caseSensitive
                ? get
                : item -> {
                    Object key = get.apply(item);
                    String text = Values.text(key);
                    return text == null ? key : Text.lower(text);
                };
    }

    /** The key for sorting: the values of all given attributes, which are separated by commas. */
    private static Function<Object, Object> sortKey(Interpreter in, Bound args) {
        List<Function<Object, Object>> parts = new ArrayList<>();
        if (args.get(2) instanceof String names) {
            for (String name : names.split(",", -1)) {
                parts.add(foldCase(getter(in, name, null), args.truth(1)));
            }
        } else {
            parts.add(foldCase(getter(in, args.get(2), null), args.truth(1)));
        }
        return item -> {
            List<Object> key = new ArrayList<>();
            parts.forEach(part -> key.add(part.apply(item)));
            return key;
        };
    }

    private static List<Object> sorted(
            Interpreter in, List<Object> items, Function<Object, Object> key, boolean reverse) {
        record Keyed(Object item, Object key) {}
        List<Keyed> keyed = new ArrayList<>();
        items.forEach(item -> keyed.add(new Keyed(item, key.apply(item))));
        Comparator<Keyed> order = (a, b) -> Values.compare(a.key, b.key, in.limits);
        try {
            keyed.sort(reverse ? order.reversed() : order);
        } catch (IllegalArgumentException e) {
            throw new JinjaError("filter 'sort': the values have no order");
        }
        List<Object> sorted = new ArrayList<>();
        keyed.forEach(entry -> sorted.add(entry.item));
        return sorted;
    }

    private static Object dictSort(Interpreter in, Object value, Bound args) {
        if (!(value instanceof Map<?, ?> map)) {
            throw new JinjaError("filter 'dictsort' takes a dict, not " + Values.typeName(value));
        }
        String by = args.has(1) ? args.text(1) : "key";
        if (!by.equals("key") && !by.equals("value")) {
            throw new JinjaError("filter 'dictsort' sorts by 'key' or 'value'");
        }
        int part = by.equals("key") ? 0 : 1;
        Function<Object, Object> key = item -> ((Tuple) item).items().get(part);
        return sorted(in, Methods.items(map, in.limits), foldCase(key, args.truth(0)), args.truth(2));
    }

    /** Groups as named tuples (grouper, list), sorted by the attribute that is equal for all items of a group. */
    private static Object groupBy(Interpreter in, Object value, Bound args) {
        Function<Object, Object> attribute = getter(in, args.get(0), args.some(1) ? args.get(1) : null);
        Function<Object, Object> key = foldCase(attribute, args.truth(2));
        List<Object> groups = new ArrayList<>();
        List<Object> group = List.of();
        Object groupKey = None.NONE;
        for (Object item : sorted(in, Values.toList(value, in.limits), key, false)) {
            Object itemKey = key.apply(item);
            if (group.isEmpty() || !Values.equal(groupKey, itemKey, in.limits)) {
                group = new ArrayList<>();
                groupKey = itemKey;
                groups.add(new Tuple(List.of(attribute.apply(item), group), List.of("grouper", "list")));
            }
            group.add(item);
        }
        return groups;
    }

    private static Object unique(Interpreter in, Object value, Bound args) {
        Function<Object, Object> key = foldCase(getter(in, args.get(1), null), args.truth(0));
        Set<Object> seen = new HashSet<>();
        return new Stream(new Interpreter.Filtering(
                Values.iterate(value), item -> seen.add(Values.key(key.apply(item), in.limits))));
    }

    private static Object extreme(Interpreter in, Object value, Bound args, boolean largest) {
        Function<Object, Object> key = foldCase(getter(in, args.get(1), null), args.truth(0));
        Iterator<Object> items = Values.iterate(value);
        Object best = first(items);
        while (items.hasNext()) {
            Object item = items.next();
            if (Values.ordered(largest ? ">" : "<", key.apply(item), key.apply(best), in.limits)) {
                best = item;
            }
        }
        return best;
    }

    private static Object map(Interpreter in, Object value, Args args) {
        Function<Object, Object> each;
        if (args.positional().isEmpty()) {
            Bound bound = Signature.of("attribute default?").bind("filter 'map'", args);
            each = getter(in, bound.get(0), bound.some(1) ? bound.get(1) : null);
        } else {
            String name = Values.text(args.positional().getFirst());
            if (name == null) {
                throw new JinjaError("filter 'map' needs the name of a filter or attribute=…");
            }
            each = item -> in.filter(name, item, args.rest());
        }
        Iterator<Object> items = Values.truth(value) ? Values.iterate(value) : Collections.emptyIterator();
        return new Stream(new Iterator<>() {
            @Override
            public boolean hasNext() {
                return items.hasNext();
            }

            @Override
            public Object next() {
                in.limits.charge(1);
                return each.apply(items.next());
            }
        });
    }

    /**
     * The filters select and reject (by a test of the item), and selectattr and rejectattr (by a test of an attribute).
     */
    private static Object select(Interpreter in, Object value, Args args, boolean byAttribute, boolean keep) {
        if (byAttribute && args.positional().isEmpty()) {
            throw new JinjaError("filters 'selectattr' and 'rejectattr' need the name of an attribute");
        }
        Function<Object, Object> get =
                getter(in, byAttribute ? args.positional().getFirst() : None.NONE, null);
        Args rest = byAttribute ? args.rest() : args;
        Iterator<Object> items = Values.truth(value) ? Values.iterate(value) : Collections.emptyIterator();
        return new Stream(new Interpreter.Filtering(items, item -> {
            in.limits.charge(1);
            Object subject = get.apply(item);
            boolean holds = rest.positional().isEmpty()
                    ? Values.truth(subject)
                    : in.test(Text.str(rest.positional().getFirst(), in.limits), subject, rest.rest());
            return holds == keep;
        }));
    }

    private static List<Object> batch(Interpreter in, Object value, Bound args) {
        long size = args.integer(0, 0);
        List<Object> batches = new ArrayList<>();
        List<Object> batch = new ArrayList<>();
        for (Object item : Values.toList(value, in.limits)) {
            if (batch.size() == size) {
                batches.add(batch);
                batch = new ArrayList<>();
            }
            batch.add(item);
        }
        if (!batch.isEmpty()) {
            while (args.some(1) && batch.size() < size) {
                in.limits.charge(1);
                batch.add(args.get(1));
            }
            batches.add(batch);
        }
        return batches;
    }

    private static List<Object> slice(Interpreter in, Object value, Bound args) {
        List<Object> items = Values.toList(value, in.limits);
        long count = args.integer(0, 0);
        if (count <= 0) {
            throw new JinjaError("filter 'slice' into " + count + " parts");
        }
        in.limits.charge(count);
        List<Object> slices = new ArrayList<>();
        int start = 0;
        for (long i = 0; i < count; i++) {
            boolean extra = i < items.size() % count;
            int end = start + (int) (items.size() / count) + (extra ? 1 : 0);
            List<Object> slice = new ArrayList<>(items.subList(start, end));
            if (args.some(1) && !extra) {
                slice.add(args.get(1));
            }
            slices.add(slice);
            start = end;
        }
        return slices;
    }
}
