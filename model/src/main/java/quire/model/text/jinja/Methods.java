package quire.model.text.jinja;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.function.IntPredicate;
import org.jspecify.annotations.Nullable;
import quire.model.text.jinja.Args.Bound;
import quire.model.text.jinja.Args.Signature;
import quire.model.text.jinja.Values.*;

/**
 * The methods of Python's str, dict, list and tuple, by name. Methods that change a list or dict are refused, but
 * for those that some templates keep a queue with: {@code append} and {@code pop} of a list that the template itself wrote.
 */
final class Methods {
    /** Methods of Python that are not supported. */
    static final Set<String> UNSUPPORTED = Set.of(
            "encode", "format_map", "maketrans", "translate", "fromkeys", "bit_length", "is_integer", "to_bytes");

    private static final Set<String> CHANGING_LIST =
            Set.of("append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove");
    private static final Set<String> CHANGING_DICT = Set.of("clear", "pop", "popitem", "setdefault", "update");

    private interface Method<T> {
        Object apply(T self, Bound args, Limits limits);
    }

    private record Entry<T>(Signature signature, Method<T> method) {}

    private static final Map<String, Entry<String>> STR = new HashMap<>();
    private static final Map<String, Entry<Map<?, ?>>> DICT = new HashMap<>();
    /** The methods of list. All except copy are methods of tuple too. */
    private static final Map<String, Entry<List<?>>> LIST = new HashMap<>();

    /** The methods that change a list. */
    private static final Map<String, Entry<WrittenList>> WRITTEN_LIST = Map.of(
            "append",
            new Entry<>(Signature.of("item /"), (list, a, l) -> append(list, a.get(0), l)),
            "pop",
            new Entry<>(Signature.of("index? /"), (list, a, l) -> pop(list, a.integer(0, -1))));

    static {
        str("upper", "", (s, a, l) -> Text.upper(s));
        str("lower", "", (s, a, l) -> Text.lower(s));
        str("casefold", "", (s, a, l) -> Text.lower(Text.upper(s)));
        str("capitalize", "", (s, a, l) -> Text.capitalize(s));
        str("title", "", (s, a, l) -> title(s));
        str("swapcase", "", (s, a, l) -> perCharacter(s, c -> Character.isUpperCase(c)));
        str("strip", "chars? /", (s, a, l) -> Text.strip(s, a.textOrNull(0), true, true));
        str("lstrip", "chars? /", (s, a, l) -> Text.strip(s, a.textOrNull(0), true, false));
        str("rstrip", "chars? /", (s, a, l) -> Text.strip(s, a.textOrNull(0), false, true));
        str(
                "removeprefix",
                "prefix /",
                (s, a, l) -> s.startsWith(a.text(0)) ? s.substring(a.text(0).length()) : s);
        str(
                "removesuffix",
                "suffix /",
                (s, a, l) -> s.endsWith(a.text(0))
                        ? s.substring(0, s.length() - a.text(0).length())
                        : s);
        str("startswith", "prefix start? end? /", (s, a, l) -> beginsOrEnds(s, a, l, true));
        str("endswith", "suffix start? end? /", (s, a, l) -> beginsOrEnds(s, a, l, false));
        str("find", "sub start? end? /", (s, a, l) -> find(s, a, l, false));
        str("rfind", "sub start? end? /", (s, a, l) -> find(s, a, l, true));
        str("index", "sub start? end? /", (s, a, l) -> found(find(s, a, l, false)));
        str("rindex", "sub start? end? /", (s, a, l) -> found(find(s, a, l, true)));
        str("count", "sub start? end? /", (s, a, l) -> count(s, a, l));
        str("replace", "old new count? /", (s, a, l) -> Text.replace(s, a.text(0), a.text(1), a.integer(2, -1), l));
        str("split", "sep? maxsplit?", (s, a, l) -> split(s, a.textOrNull(0), a.integer(1, -1), l));
        str("rsplit", "sep? maxsplit?", (s, a, l) -> rsplit(s, a.textOrNull(0), a.integer(1, -1), l));
        str("splitlines", "keepends?", (s, a, l) -> Text.lines(s, a.truth(0), l));
        str("partition", "sep /", (s, a, l) -> partition(s, a.text(0), false));
        str("rpartition", "sep /", (s, a, l) -> partition(s, a.text(0), true));
        str("join", "iterable /", (s, a, l) -> join(s, a.get(0), l));
        str("format", "*", (s, a, l) -> Format.braces(s, a.all(), false, l));
        str("zfill", "width /", (s, a, l) -> zfill(s, a.integer(0, 0), l));
        str("ljust", "width fill? /", (s, a, l) -> pad(s, a, l, 0));
        str("rjust", "width fill? /", (s, a, l) -> pad(s, a, l, 2));
        str("center", "width fill? /", (s, a, l) -> pad(s, a, l, 1));
        str("expandtabs", "tabsize?", (s, a, l) -> expandTabs(s, a.integer(0, 8), l));
        str("isalpha", "", (s, a, l) -> all(s, Character::isLetter));
        str("isalnum", "", (s, a, l) -> all(s, c -> Character.isLetter(c) || isNumeric(c)));
        str("isdigit", "", (s, a, l) -> all(s, Character::isDigit));
        str("isdecimal", "", (s, a, l) -> all(s, Character::isDigit));
        str("isnumeric", "", (s, a, l) -> all(s, Methods::isNumeric));
        str("isspace", "", (s, a, l) -> all(s, Text::isSpace));
        str("isascii", "", (s, a, l) -> s.chars().allMatch(c -> c < 0x80));
        str("isprintable", "", (s, a, l) -> s.codePoints().allMatch(Text::isPrintable));
        str("isupper", "", (s, a, l) -> isCased(s, true));
        str("islower", "", (s, a, l) -> isCased(s, false));
        str("istitle", "", (s, a, l) -> s.equals(title(s)) && s.chars().anyMatch(Character::isLetter));
        str("isidentifier", "", (s, a, l) -> isIdentifier(s));

        dict("items", "", (d, a, l) -> new View("dict_items", items(d, l)));
        dict("keys", "", (d, a, l) -> new View("dict_keys", Values.toList(d, l)));
        dict("values", "", (d, a, l) -> new View("dict_values", values(d, l)));
        dict("copy", "", (d, a, l) -> {
            l.charge(d.size());
            return new LinkedHashMap<Object, Object>(d);
        });
        dict("get", "key default? /", (d, a, l) -> {
            Object value = d.get(Values.key(a.get(0), l));
            return value == null ? a.get(1) : value;
        });

        list("copy", "", (list, a, l) -> Values.toList(list, l));
        list("count", "value /", (list, a, l) -> list.stream()
                .filter(item -> Values.equal(item, a.get(0), l))
                .count());
        list("index", "value /", (list, a, l) -> {
            for (int i = 0; i < list.size(); i++) {
                if (Values.equal(list.get(i), a.get(0), l)) {
                    return (long) i;
                }
            }
            throw new JinjaError("list.index: " + Text.repr(a.get(0), l) + " is not in the list");
        });
    }

    private Methods() {}

    private static void str(String name, String parameters, Method<String> method) {
        STR.put(name, new Entry<>(Signature.of(parameters), method));
    }

    private static void dict(String name, String parameters, Method<Map<?, ?>> method) {
        DICT.put(name, new Entry<>(Signature.of(parameters), method));
    }

    private static void list(String name, String parameters, Method<List<?>> method) {
        LIST.put(name, new Entry<>(Signature.of(parameters), method));
    }

    /**
     * The method of this name, bound to its object; null if there is none. For a method that changes the object, a
     * value that is an error when it is called.
     */
    static @Nullable Object find(Object object, String name, Limits limits) {
        return switch (object) {
            case String s -> {
                limits.chargeChars(s.length());
                yield UNSUPPORTED.contains(name) ? unsupported(name) : bind(STR.get(name), s, "str." + name, limits);
            }
            case Map<?, ?> map when CHANGING_DICT.contains(name) -> changing(name, "dict");
            case Map<?, ?> map -> bind(DICT.get(name), map, "dict." + name, limits);
            case WrittenList list
            when WRITTEN_LIST.containsKey(name) -> bind(WRITTEN_LIST.get(name), list, "list." + name, limits);
            case List<?> list when CHANGING_LIST.contains(name) -> changing(name, "list");
            case List<?> list -> bind(LIST.get(name), list, "list." + name, limits);
            case Tuple tuple when !name.equals("copy") -> bind(LIST.get(name), tuple.items(), "tuple." + name, limits);
            case Markup markup -> markupMethod(markup, name, limits);
            default -> null;
        };
    }

    /**
     * A method of text that is marked safe. It works as the method of str, but escapes text that it inserts, and marks
     * its result safe.
     */
    private static @Nullable Callable markupMethod(Markup markup, String name, Limits limits) {
        limits.chargeChars(markup.text().length());
        if (name.equals("escape")) {
            return args -> new Markup(
                    Text.escape(Signature.of("s").bind("Markup.escape", args).get(0), limits));
        }
        Entry<String> entry = STR.get(name);
        if (entry == null) {
            return null;
        }
        Callable method = Objects.requireNonNull(bind(entry, markup.text(), "Markup." + name, limits));
        return switch (name) {
            case "join" ->
                args -> {
                    Object items = entry.signature.bind("Markup.join", args).get(0);
                    List<Object> escaped = Values.toList(items, limits);
                    escaped.replaceAll(item -> Text.escape(item, limits));
                    return safe(method.call(Args.of(escaped)));
                };
            case "replace", "ljust", "rjust", "center" ->
                args -> {
                    // The second argument is the text that is inserted.
                    List<Object> positional = new ArrayList<>(args.positional());
                    if (positional.size() > 1) {
                        positional.set(1, Text.escape(positional.get(1), limits));
                    }
                    return safe(method.call(new Args(positional, args.named())));
                };
            case "format" -> args -> new Markup(Format.braces(markup.text(), args, true, limits));
            default -> args -> safe(method.call(args));
        };
    }

    private static Object safe(Object result) {
        return switch (result) {
            case String text -> new Markup(text);
            case List<?> parts -> parts.stream().map(Methods::safe).toList();
            case Tuple parts ->
                new Tuple(parts.items().stream().map(Methods::safe).toList());
            default -> result;
        };
    }

    private static Undefined unsupported(String name) {
        return new Undefined("method '" + name + "' is not supported");
    }

    private static Object append(List<Object> list, Object item, Limits limits) {
        boolean isPlain =
                item instanceof String || Values.isNumber(item) || item instanceof Boolean || item == None.NONE;
        if (!isPlain) {
            // A list could otherwise contain itself.
            throw new JinjaError("list.append takes texts, numbers, booleans and none, not " + Values.typeName(item));
        }
        limits.charge(4);
        list.add(item);
        return None.NONE;
    }

    private static Object pop(List<Object> list, long index) {
        long at = index < 0 ? index + list.size() : index;
        if (at < 0 || at >= list.size()) {
            throw new JinjaError("list.pop: the list has " + list.size() + " elements, not one at " + index);
        }
        return list.remove((int) at);
    }

    private static Undefined changing(String name, String type) {
        return new Undefined("'" + name + "' would change a " + type + ", which templates must not");
    }

    private static <T> @Nullable Callable bind(@Nullable Entry<T> entry, T self, String what, Limits limits) {
        return entry == null
                ? null
                : args -> {
                    args.charge(limits);
                    Object result = entry.method.apply(self, entry.signature.bind(what, args), limits);
                    if (result instanceof String text) {
                        limits.chargeChars(text.length());
                    }
                    return result;
                };
    }

    // ---- str

    private static String title(String s) {
        StringBuilder out = new StringBuilder();
        boolean inWord = false;
        for (int i = 0; i < s.length(); ) {
            String c = Character.toString(s.codePointAt(i));
            boolean letter = isCasedLetter(c.codePointAt(0));
            out.append(letter ? inWord ? Text.lower(c) : Text.titleCase(c) : c);
            inWord = letter;
            i += c.length();
        }
        return out.toString();
    }

    private static boolean isCasedLetter(int c) {
        return Character.isUpperCase(c) || Character.isLowerCase(c) || Character.isTitleCase(c);
    }

    private static String perCharacter(String s, IntPredicate upper) {
        StringBuilder out = new StringBuilder();
        s.codePoints().forEach(c -> {
            String one = Character.toString(c);
            out.append(upper.test(c) ? Text.lower(one) : Text.upper(one));
        });
        return out.toString();
    }

    private static boolean all(String s, IntPredicate test) {
        return !s.isEmpty() && s.codePoints().allMatch(test);
    }

    private static boolean isNumeric(int c) {
        return switch (Character.getType(c)) {
            case Character.DECIMAL_DIGIT_NUMBER, Character.LETTER_NUMBER, Character.OTHER_NUMBER -> true;
            default -> false;
        };
    }

    private static boolean isIdentifier(String s) {
        return !s.isEmpty()
                && (Character.isUnicodeIdentifierStart(s.codePointAt(0)) || s.charAt(0) == '_')
                && s.codePoints()
                        .allMatch(c -> Character.isUnicodeIdentifierPart(c) && !Character.isIdentifierIgnorable(c));
    }

    /** Whether the text has letters with case, and all of them have this case. */
    static boolean isCased(String s, boolean upper) {
        return s.codePoints().anyMatch(Methods::isCasedLetter)
                && s.codePoints()
                        .filter(Methods::isCasedLetter)
                        .allMatch(upper ? Character::isUpperCase : Character::isLowerCase);
    }

    /** The part of a string between start and end (parameters 1 and 2); null if start is beyond the end. */
    private static @Nullable String window(String s, Bound args, Limits limits) {
        if (!args.some(1) && !args.some(2)) {
            return s;
        }
        long size = Values.length(s);
        long start = args.some(1) ? args.integer(1, 0) : 0;
        if (start > size) {
            return null;
        }
        return (String) Values.slice(s, start, args.get(2), None.NONE, limits);
    }

    private static boolean beginsOrEnds(String s, Bound args, Limits limits, boolean begins) {
        List<?> options = args.get(0) instanceof Tuple tuple ? tuple.items() : List.of(args.text(0));
        String window = window(s, args, limits);
        for (Object option : options) {
            limits.charge(1);
            String part = Values.text(option);
            if (part == null) {
                throw new JinjaError("str." + (begins ? "startswith" : "endswith") + " takes a tuple of str only");
            }
            limits.chargeChars(part.length());
            if (window != null && (begins ? window.startsWith(part) : window.endsWith(part))) {
                return true;
            }
        }
        return false;
    }

    private static long find(String s, Bound args, Limits limits, boolean last) {
        String part = args.text(0);
        String window = window(s, args, limits);
        if (window == null) {
            return -1;
        }
        int at;
        if (last) {
            String reversed = new StringBuilder(window).reverse().toString();
            int behind =
                    Text.indexOf(reversed, new StringBuilder(part).reverse().toString(), 0);
            at = behind < 0 ? -1 : window.length() - behind - part.length();
        } else {
            at = Text.indexOf(window, part, 0);
        }
        if (at < 0) {
            return -1;
        }
        long start = args.some(1) ? args.integer(1, 0) : 0;
        long offset = start < 0 ? Math.max(0, start + Values.length(s)) : start;
        return offset + window.codePointCount(0, at);
    }

    private static long found(Object position) {
        if ((Long) position < 0) {
            throw new JinjaError("str.index: the substring is not there");
        }
        return (Long) position;
    }

    private static long count(String s, Bound args, Limits limits) {
        String part = args.text(0);
        String window = window(s, args, limits);
        if (window == null) {
            return 0;
        }
        if (part.isEmpty()) {
            return Values.length(window) + 1L;
        }
        long count = 0;
        for (int at = Text.indexOf(window, part, 0); at >= 0; at = Text.indexOf(window, part, at + part.length())) {
            limits.charge(1);
            count++;
        }
        return count;
    }

    private static List<Object> split(String s, @Nullable String separator, long most, Limits limits) {
        List<Object> parts = new ArrayList<>();
        int at = 0;
        if (separator == null) {
            while (true) {
                while (at < s.length() && Text.isSpace(s.charAt(at))) {
                    at++;
                }
                if (at == s.length()) {
                    return parts;
                }
                if (parts.size() == most) {
                    parts.add(s.substring(at));
                    return parts;
                }
                int end = at;
                while (end < s.length() && !Text.isSpace(s.charAt(end))) {
                    end++;
                }
                limits.charge(1);
                parts.add(s.substring(at, end));
                at = end;
            }
        }
        requireSeparator(separator);
        while (parts.size() != most) {
            int found = Text.indexOf(s, separator, at);
            if (found < 0) {
                break;
            }
            limits.charge(1);
            parts.add(s.substring(at, found));
            at = found + separator.length();
        }
        parts.add(s.substring(at));
        return parts;
    }

    private static void requireSeparator(String separator) {
        if (separator.isEmpty()) {
            throw new JinjaError("the separator is empty");
        }
    }

    /** Splits from the right: splits the reversed string and reverses the parts. */
    private static List<Object> rsplit(String s, @Nullable String separator, long most, Limits limits) {
        String reversed = new StringBuilder(s).reverse().toString();
        String backwards = separator == null
                ? null
                : new StringBuilder(separator).reverse().toString();
        List<Object> parts = split(reversed, backwards, most, limits);
        Collections.reverse(parts);
        parts.replaceAll(part -> new StringBuilder((String) part).reverse().toString());
        return parts;
    }

    private static Tuple partition(String s, String separator, boolean last) {
        requireSeparator(separator);
        int at = Text.indexOf(s, separator, 0);
        if (last && at >= 0) {
            at = s.length()
                    - separator.length()
                    - Text.indexOf(
                            new StringBuilder(s).reverse().toString(),
                            new StringBuilder(separator).reverse().toString(),
                            0);
        }
        if (at < 0) {
            return new Tuple(last ? List.of("", "", s) : List.of(s, "", ""));
        }
        return new Tuple(List.of(s.substring(0, at), separator, s.substring(at + separator.length())));
    }

    private static String join(String separator, Object items, Limits limits) {
        StringBuilder out = new StringBuilder();
        boolean first = true;
        for (Object item : Values.toList(items, limits)) {
            if (!first) {
                Text.append(out, separator, limits);
            }
            String text = Values.text(item);
            if (text == null) {
                throw new JinjaError("str.join takes str only, not " + Values.typeName(item));
            }
            Text.append(out, text, limits);
            first = false;
        }
        return out.toString();
    }

    private static String zfill(String s, long width, Limits limits) {
        boolean signed = s.startsWith("-") || s.startsWith("+");
        String zeros = Format.fill("0", width - Values.length(s), limits);
        return signed ? s.charAt(0) + zeros + s.substring(1) : zeros + s;
    }

    /** @param side where the text is: 0 left, 1 in the middle, 2 right */
    private static String pad(String s, Bound args, Limits limits, int side) {
        String fill = args.some(1) ? args.text(1) : " ";
        if (Values.length(fill) != 1) {
            throw new JinjaError(args.what() + ": the fill is one character");
        }
        long width = args.integer(0, 0);
        long missing = Math.max(0, width - Values.length(s));
        // If the number of fill characters is odd, Python puts one more on the left if the width is odd.
        long left = side == 0 ? 0 : side == 2 ? missing : missing / 2 + (missing & width & 1);
        return Format.fill(fill, left, limits) + s + Format.fill(fill, missing - left, limits);
    }

    private static String expandTabs(String s, long size, Limits limits) {
        StringBuilder out = new StringBuilder();
        long column = 0;
        for (int i = 0; i < s.length(); i++) {
            char c = s.charAt(i);
            if (c == '\t') {
                long blanks = size > 0 ? size - column % size : 0;
                out.append(Format.fill(" ", blanks, limits));
                column += blanks;
            } else {
                out.append(c);
                column = c == '\n' || c == '\r' ? 0 : Character.isLowSurrogate(c) ? column : column + 1;
            }
        }
        return out.toString();
    }

    // ---- dict

    static List<Object> items(Map<?, ?> dict, Limits limits) {
        limits.charge(dict.size());
        List<Object> items = new ArrayList<>();
        dict.forEach((key, value) -> items.add(new Tuple(List.of(key, value))));
        return items;
    }

    private static List<Object> values(Map<?, ?> dict, Limits limits) {
        limits.charge(dict.size());
        return new ArrayList<>(dict.values());
    }
}
