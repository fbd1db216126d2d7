package quire.model.text.jinja;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import quire.model.text.jinja.Values.*;

/**
 * The filter pprint: pprint.pformat of Python with its defaults, 80 columns and sorted dicts. If the repr() of a value
 * fits into the rest of the line, it is written there. Otherwise each item starts a new line, and a long string is
 * split between words.
 */
final class PrettyPrinter {
    private static final int WIDTH = 80;
    private static final Pattern WORD_AND_SPACE = Pattern.compile("(?U)\\S*\\s*");

    private final Limits limits;
    private final StringBuilder out = new StringBuilder();

    private PrettyPrinter(Limits limits) {
        this.limits = limits;
    }

    static String format(Object value, Limits limits) {
        PrettyPrinter printer = new PrettyPrinter(limits);
        printer.write(sorted(value, limits, 0), 0, 0, 1);
        return printer.out.toString();
    }

    /** A copy with sorted keys in all dicts: by value, or by type if the values cannot be compared. */
    private static Object sorted(Object value, Limits limits, int depth) {
        limits.charge(1);
        return switch (value) {
            case Map<?, ?> map -> {
                int inner = Limits.deeper(depth);
                List<Map.Entry<?, ?>> entries = new ArrayList<>(map.entrySet());
                Comparator<Object> order = (a, b) -> compare(a, b, limits);
                entries.sort((a, b) -> order.compare(a.getKey(), b.getKey()));
                Map<Object, Object> copy = new LinkedHashMap<>();
                entries.forEach(entry ->
                        copy.put(sorted(entry.getKey(), limits, inner), sorted(entry.getValue(), limits, inner)));
                yield copy;
            }
            case List<?> list -> sortedItems(list, limits, Limits.deeper(depth));
            case Tuple tuple
            when tuple.names().isEmpty() -> new Tuple(sortedItems(tuple.items(), limits, Limits.deeper(depth)));
            default -> value;
        };
    }

    private static List<Object> sortedItems(List<?> items, Limits limits, int depth) {
        List<Object> copy = new ArrayList<>();
        items.forEach(item -> copy.add(sorted(item, limits, depth)));
        return copy;
    }

    private static int compare(Object left, Object right, Limits limits) {
        boolean ordered = (Values.isNumber(left) && Values.isNumber(right))
                || (left instanceof String && right instanceof String);
        String leftType = left instanceof None ? "NoneType" : Values.typeName(left);
        String rightType = right instanceof None ? "NoneType" : Values.typeName(right);
        return ordered || leftType.equals(rightType)
                ? Values.compare(left, right, limits)
                : Text.compare(leftType, rightType);
    }

    /**
     * @param indent the column where the value starts
     * @param behind number of characters after the value on its last line
     * @param level 1 for the outermost value
     */
    private void write(Object value, int indent, int behind, int level) {
        String plain = Text.repr(value, limits);
        if (Values.length(plain) <= WIDTH - indent - behind) {
            Text.append(out, plain, limits);
            return;
        }
        switch (value) {
            case Map<?, ?> map -> writeMap(map, indent + 1, behind + 1, level + 1);
            case List<?> list -> writeItems("[", list, "]", indent + 1, behind, level + 1);
            case Tuple tuple
            when tuple.names().isEmpty() ->
                writeItems("(", tuple.items(), tuple.items().size() == 1 ? ",)" : ")", indent + 1, behind, level + 1);
            case String text -> writeString(text, indent, behind, level);
            default -> Text.append(out, plain, limits);
        }
    }

    private void writeMap(Map<?, ?> map, int indent, int behind, int level) {
        out.append('{');
        int left = map.size();
        for (Map.Entry<?, ?> entry : map.entrySet()) {
            String key = Text.repr(entry.getKey(), limits);
            Text.append(out, key + ": ", limits);
            left--;
            write(entry.getValue(), indent + Values.length(key) + 2, left == 0 ? behind : 1, level);
            if (left > 0) {
                out.append(',');
                nextLine(indent);
            }
        }
        out.append('}');
    }

    private void writeItems(String open, List<?> items, String close, int indent, int behind, int level) {
        out.append(open);
        for (int i = 0; i < items.size(); i++) {
            boolean last = i == items.size() - 1;
            write(items.get(i), indent, last ? behind + close.length() : 1, level);
            if (!last) {
                out.append(',');
                nextLine(indent);
            }
        }
        out.append(close);
    }

    private void nextLine(int indent) {
        out.append('\n').append(Format.fill(" ", indent, limits));
    }

    /** Writes a string as several literals, which Python joins: one for each line, and more if a line is too long. */
    private void writeString(String text, int column, int behindIt, int level) {
        boolean outermost = level == 1;
        int indent = outermost ? column + 1 : column;
        int behind = outermost ? behindIt + 1 : behindIt;
        int width = WIDTH - indent;
        List<String> parts = new ArrayList<>();
        List<Object> lines = Text.lines(text, true, limits);
        for (int i = 0; i < lines.size(); i++) {
            boolean lastLine = i == lines.size() - 1;
            String line = (String) lines.get(i);
            String whole = Text.repr(line, limits);
            if (Values.length(whole) <= (lastLine ? width - behind : width)) {
                parts.add(whole);
            } else {
                cut(line, width, lastLine ? behind : 0, parts);
            }
        }
        boolean bracketed = outermost && parts.size() > 1;
        out.append(bracketed ? "(" : "");
        for (int i = 0; i < parts.size(); i++) {
            if (i > 0) {
                nextLine(indent);
            }
            Text.append(out, parts.get(i), limits);
        }
        out.append(bracketed ? ")" : "");
    }

    private void cut(String line, int width, int behind, List<String> parts) {
        Matcher words = WORD_AND_SPACE.matcher(line);
        String current = "";
        while (words.find() && words.end() > words.start()) {
            limits.chargeChars(current.length());
            String candidate = current + words.group();
            int room = words.end() == line.length() ? width - behind : width;
            if (Values.length(Text.repr(candidate, limits)) > room) {
                if (!current.isEmpty()) {
                    parts.add(Text.repr(current, limits));
                }
                current = words.group();
            } else {
                current = candidate;
            }
        }
        if (!current.isEmpty()) {
            parts.add(Text.repr(current, limits));
        }
    }
}
