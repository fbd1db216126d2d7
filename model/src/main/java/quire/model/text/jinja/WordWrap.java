package quire.model.text.jinja;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The filter wordwrap: textwrap.wrap of Python for each line of a text. Lines are split between words and after
 * hyphens.
 */
final class WordWrap {
    private static final String WORD = "[\\p{L}\\p{N}_]";
    private static final String LETTER = "[\\p{L}\\p{Nl}\\p{No}_]";
    private static final String PUNCTUATED = "[\\p{L}\\p{N}_!\"'&.,?]";
    private static final String BLANK = "[\\t\\n\\x0b\\f\\r ]";
    private static final Pattern WORDS = Pattern.compile(BLANK + "+|[^\\t\\n\\x0b\\f\\r ]+");
    /** Whitespace, several hyphens between words, or a word. A word also ends after a hyphen between letters. */
    private static final Pattern PARTS = Pattern.compile(BLANK + "+|(?<=" + PUNCTUATED + ")-{2,}(?=" + WORD + ")"
            + "|[^\\t\\n\\x0b\\f\\r ]+?(?:-(?:(?<=" + LETTER + "{2}-)|(?<=" + LETTER + "-" + LETTER + "-))"
            + "(?=" + LETTER + "-?" + LETTER + ")|(?=" + BLANK + "|\\z)|(?<=" + PUNCTUATED + ")(?=-{2,}" + WORD + "))");

    private WordWrap() {}

    static String wrap(
            String text, long width, boolean breakWords, String separator, boolean atHyphens, Limits limits) {
        if (width <= 0) {
            throw new JinjaError("filter 'wordwrap': the width must be above 0");
        }
        StringBuilder out = new StringBuilder();
        boolean first = true;
        for (Object line : Text.lines(text, false, limits)) {
            if (!first) {
                Text.append(out, separator, limits);
            }
            first = false;
            List<String> wrapped = wrapLine((String) line, width, breakWords, atHyphens, limits);
            for (int i = 0; i < wrapped.size(); i++) {
                Text.append(out, i == 0 ? "" : separator, limits);
                Text.append(out, wrapped.get(i), limits);
            }
        }
        return out.toString();
    }

    private static List<String> wrapLine(
            String line, long width, boolean breakWords, boolean atHyphens, Limits limits) {
        Deque<String> parts = new ArrayDeque<>();
        Matcher matcher = (atHyphens ? PARTS : WORDS).matcher(line);
        while (matcher.find()) {
            limits.charge(4);
            parts.add(matcher.group());
        }
        List<String> lines = new ArrayList<>();
        while (!parts.isEmpty()) {
            limits.charge(1);
            if (isSpace(parts.getFirst()) && !lines.isEmpty()) {
                parts.removeFirst();
            }
            List<String> current = new ArrayList<>();
            long used = 0;
            while (!parts.isEmpty() && used + Values.length(parts.getFirst()) <= width) {
                used += Values.length(parts.getFirst());
                current.add(parts.removeFirst());
            }
            if (!parts.isEmpty() && Values.length(parts.getFirst()) > width) {
                if (breakWords) {
                    breakWord(parts, current, (int) (width - used), atHyphens, limits);
                } else if (current.isEmpty()) {
                    current.add(parts.removeFirst());
                }
            }
            if (!current.isEmpty() && isSpace(current.getLast())) {
                current.removeLast();
            }
            if (!current.isEmpty()) {
                lines.add(String.join("", current));
            }
        }
        return lines;
    }

    private static boolean isSpace(String part) {
        return Text.strip(part, null, true, true).isEmpty();
    }

    /**
     * Moves the part of a word that fits to the line, up to a hyphen if there is one. The word is longer than a line.
     */
    private static void breakWord(Deque<String> parts, List<String> line, int room, boolean atHyphens, Limits limits) {
        String word = parts.removeFirst();
        limits.chargeChars(word.length());
        int end = word.offsetByCodePoints(0, room);
        int hyphen = atHyphens ? word.lastIndexOf('-', end - 1) : -1;
        if (hyphen > 0 && word.substring(0, hyphen).chars().anyMatch(c -> c != '-')) {
            end = hyphen + 1;
        }
        line.add(word.substring(0, end));
        parts.addFirst(word.substring(end));
    }
}
