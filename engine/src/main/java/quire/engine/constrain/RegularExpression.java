package quire.engine.constrain;

import java.util.ArrayList;
import java.util.List;

/**
 * Reads regular expressions as JSON Schema and ECMAScript write them (with the flags {@code u} and no others), and
 * makes {@link Expressions} of them. Characters are code points. What cannot be computed as a regular language is
 * refused by name: look-behind, back-references, word boundaries, and anchors in the middle.
 *
 * <p>What stands behind a look-ahead must match to the end of the text and also begin as the look-ahead says. That is an
 * intersection. So an expression with look-aheads is built from its end, and each part knows what follows it:
 *
 * <pre>
 *   P(?!.*W)(\d+D)?        "P", then: all that (\d+D)? matches, and nothing that .*W begins
 * </pre>
 */
final class RegularExpression {
    private static final int MAX_LENGTH = 1 << 16;
    private static final int MAX_NESTING = 100;
    private static final int MAX_REPEATS = 100_000;
    /** Most alternatives that anchors within groups may be spread over. */
    private static final int MAX_SPREAD = 1000;

    private static final int[] DIGITS = {'0', '9'};
    private static final int[] WORD = {'0', '9', 'A', 'Z', '_', '_', 'a', 'z'};
    private static final int[] SPACE = {
        '\t', '\r', ' ', ' ', 0xA0, 0xA0, 0x1680, 0x1680, 0x2000, 0x200A, 0x2028, 0x2029, 0x202F, 0x202F, 0x205F,
        0x205F, 0x3000, 0x3000, 0xFEFF, 0xFEFF
    };
    private static final int[] LINE_ENDS = {'\n', '\n', '\r', '\r', 0x2028, 0x2029};

    private sealed interface Node {}

    @SuppressWarnings("ArrayRecordComponent") // not compared
    private record Chars(int[] ranges) implements Node {}

    private record Sequence(List<Node> parts) implements Node {}

    private record Choice(List<Node> parts) implements Node {}

    private record Repeat(Node part, int least, int most) implements Node {}

    /** @param atStart whether it is certain that it stands at the start of the text */
    private record LookAhead(Node part, boolean negated, boolean atStart) implements Node {}

    private enum Anchor implements Node {
        START,
        END
    }

    private final String source;
    private int at;
    private int nesting;

    private RegularExpression(String source) {
        this.source = source;
        if (source.length() > MAX_LENGTH) {
            throw refuse("more than " + MAX_LENGTH + " characters");
        }
    }

    /** An expression for the texts that match as a whole. Anchors at the ends are allowed and change nothing. */
    static int whole(String source, Expressions expressions, Characters characters) {
        RegularExpression reader = new RegularExpression(source);
        int[] alternatives = reader.spread(reader.read()).stream()
                .mapToInt(parts ->
                        reader.build(reader.body(parts, true), Expressions.EMPTY, new Output(expressions, characters)))
                .toArray();
        return expressions.alt(alternatives);
    }

    /** An expression for the texts that contain a match. */
    static int search(String source, Expressions expressions, Characters characters) {
        RegularExpression reader = new RegularExpression(source);
        Output output = new Output(expressions, characters);
        int[] alternatives = reader.spread(reader.read()).stream()
                .mapToInt(parts -> {
                    boolean atStart = parts.contains(Anchor.START);
                    int before = atStart ? Expressions.EMPTY : output.all();
                    int after = parts.contains(Anchor.END) ? Expressions.EMPTY : output.all();
                    return expressions.seq(before, reader.build(reader.body(parts, atStart), after, output));
                })
                .toArray();
        return expressions.alt(alternatives);
    }

    // Anchors.

    /** Turns the expression into alternatives that have anchors only at their ends. */
    private List<List<Node>> spread(Node node) {
        List<List<Node>> done = new ArrayList<>();
        spread(List.of(node), done);
        return done;
    }

    private void spread(List<Node> parts, List<List<Node>> done) {
        int first = 0;
        while (first < parts.size() && parts.get(first) == Anchor.START) {
            first++;
        }
        int last = parts.size() - 1;
        while (last > first && parts.get(last) == Anchor.END) {
            last--;
        }
        for (int i : first <= last ? new int[] {first, last} : new int[0]) {
            Node part = parts.get(i);
            if (!hasAnchor(part) || part instanceof Anchor) {
                continue;
            }
            List<? extends Node> alternatives =
                    switch (part) {
                        case Sequence sequence -> List.of(sequence);
                        case Choice choice -> choice.parts;
                        default -> throw refuse("an anchor (^ or $) inside of a repetition");
                    };
            for (Node alternative : alternatives) {
                List<Node> spread = new ArrayList<>(parts.subList(0, i));
                if (alternative instanceof Sequence sequence) {
                    spread.addAll(sequence.parts);
                } else {
                    spread.add(alternative);
                }
                spread.addAll(parts.subList(i + 1, parts.size()));
                spread(spread, done);
            }
            return;
        }
        if (done.size() == MAX_SPREAD) {
            throw refuse("anchors in more than " + MAX_SPREAD + " alternatives");
        }
        done.add(parts);
    }

    private static boolean hasAnchor(Node node) {
        return switch (node) {
            case Chars chars -> false;
            case Anchor anchor -> true;
            case Sequence sequence -> sequence.parts.stream().anyMatch(RegularExpression::hasAnchor);
            case Choice choice -> choice.parts.stream().anyMatch(RegularExpression::hasAnchor);
            case Repeat repeat -> hasAnchor(repeat.part);
            case LookAhead ahead -> false; // its own
        };
    }

    private static boolean hasLookAhead(Node node) {
        return switch (node) {
            case Chars chars -> false;
            case Anchor anchor -> false;
            case Sequence sequence -> sequence.parts.stream().anyMatch(RegularExpression::hasLookAhead);
            case Choice choice -> choice.parts.stream().anyMatch(RegularExpression::hasLookAhead);
            case Repeat repeat -> hasLookAhead(repeat.part);
            case LookAhead ahead -> true;
        };
    }

    /**
     * The parts without the anchors at their ends.
     *
     * @param atStart whether they stand at the start of the text
     */
    private Node body(List<Node> parts, boolean atStart) {
        int first = 0;
        while (first < parts.size() && parts.get(first) == Anchor.START) {
            first++;
        }
        int last = parts.size();
        while (last > first && parts.get(last - 1) == Anchor.END) {
            last--;
        }
        List<Node> inner = new ArrayList<>(parts.subList(first, last));
        for (int i = 0; atStart && i < inner.size() && inner.get(i) instanceof LookAhead ahead; i++) {
            inner.set(i, new LookAhead(ahead.part, ahead.negated, true)); // look-aheads take no text
        }
        Sequence body = new Sequence(inner);
        if (hasAnchor(body)) {
            throw refuse("an anchor (^ or $) in the middle");
        }
        return body;
    }

    /** Where expressions go. */
    private record Output(Expressions expressions, Characters characters) {
        /** Any text. */
        int all() {
            return expressions.rep(characters.any(), 0, Expressions.UNLIMITED);
        }
    }

    /** A node and what follows it, up to the end of the text. */
    private int build(Node node, int after, Output output) {
        Expressions expressions = output.expressions;
        if (!hasLookAhead(node)) {
            return expressions.seq(build(node, expressions, output.characters), after);
        }
        return switch (node) {
            case Sequence sequence -> {
                int result = after;
                for (int i = sequence.parts.size() - 1; i >= 0; i--) {
                    result = build(sequence.parts.get(i), result, output);
                }
                yield result;
            }
            case Choice choice ->
                expressions.alt(choice.parts.stream()
                        .mapToInt(part -> build(part, after, output))
                        .toArray());
            case Repeat repeat -> {
                if (repeat.most > 1) {
                    throw refuse("a look-ahead inside of a repetition");
                }
                int once = repeat.most == 0 ? Expressions.NONE : build(repeat.part, after, output);
                yield repeat.least == 0 ? expressions.alt(once, after) : once;
            }
            case LookAhead ahead -> {
                int begins = expressions.alt(spread(ahead.part).stream()
                        .mapToInt(parts -> {
                            if (parts.contains(Anchor.START) && !ahead.atStart) {
                                throw refuse("an anchor (^) inside of a look-ahead");
                            }
                            int rest = parts.contains(Anchor.END) ? Expressions.EMPTY : output.all();
                            return build(body(parts, ahead.atStart), rest, output);
                        })
                        .toArray());
                yield expressions.and(after, ahead.negated ? expressions.not(begins) : begins);
            }
            case Chars chars -> throw new IllegalStateException("characters do not look ahead");
            case Anchor anchor -> throw new IllegalStateException("an anchor is left");
        };
    }

    private int build(Node node, Expressions expressions, Characters characters) {
        return switch (node) {
            case Chars chars -> characters.one(chars.ranges);
            case Sequence sequence -> {
                int result = Expressions.EMPTY;
                for (int i = sequence.parts.size() - 1; i >= 0; i--) {
                    result = expressions.seq(build(sequence.parts.get(i), expressions, characters), result);
                }
                yield result;
            }
            case Choice choice ->
                expressions.alt(choice.parts.stream()
                        .mapToInt(part -> build(part, expressions, characters))
                        .toArray());
            case Repeat repeat ->
                expressions.rep(build(repeat.part, expressions, characters), repeat.least, repeat.most);
            case Anchor anchor -> throw new IllegalStateException("an anchor is left");
            case LookAhead ahead -> throw new IllegalStateException("a look-ahead is left");
        };
    }

    // Reading.

    private Node read() {
        Node node = choice();
        if (at < source.length()) {
            throw malformed("a ')' without '('");
        }
        return node;
    }

    private Node choice() {
        if (++nesting > MAX_NESTING) {
            throw refuse("groups nested more than " + MAX_NESTING + " deep");
        }
        List<Node> parts = new ArrayList<>();
        parts.add(sequence());
        while (accept('|')) {
            parts.add(sequence());
        }
        nesting--;
        return parts.size() == 1 ? parts.getFirst() : new Choice(parts);
    }

    private Node sequence() {
        List<Node> parts = new ArrayList<>();
        while (at < source.length() && source.charAt(at) != '|' && source.charAt(at) != ')') {
            parts.add(repeated());
        }
        return parts.size() == 1 ? parts.getFirst() : new Sequence(parts);
    }

    private Node repeated() {
        int start = at;
        Node node = atom();
        if (at == source.length()) {
            return node;
        }
        int least;
        int most;
        if (accept('*')) {
            least = 0;
            most = Expressions.UNLIMITED;
        } else if (accept('+')) {
            least = 1;
            most = Expressions.UNLIMITED;
        } else if (accept('?')) {
            least = 0;
            most = 1;
        } else if (isCount()) {
            at++;
            least = number();
            most = accept(',') ? (source.charAt(at) == '}' ? Expressions.UNLIMITED : number()) : least;
            at++;
            if (most < least) {
                throw malformed("a repetition with its limits in the wrong order");
            }
        } else {
            return node;
        }
        if (node instanceof Anchor) {
            throw refuse("a repeated anchor");
        }
        if (node instanceof LookAhead) {
            throw refuse("a repeated look-ahead");
        }
        accept('?'); // a lazy repetition matches the same texts
        if (at < source.length() && ("*+?".indexOf(source.charAt(at)) >= 0 || isCount())) {
            throw malformed("nothing to repeat at '" + source.substring(start, at + 1) + "'");
        }
        return new Repeat(node, least, most);
    }

    /** Whether {n}, {n,} or {n,m} follows; another brace stands for itself. */
    private boolean isCount() {
        int end = at;
        if (end >= source.length() || source.charAt(end++) != '{') {
            return false;
        }
        int digits = end;
        while (end < source.length() && isDigit(source.charAt(end))) {
            end++;
        }
        if (end == digits) {
            return false;
        }
        if (end < source.length() && source.charAt(end) == ',') {
            end++;
            while (end < source.length() && isDigit(source.charAt(end))) {
                end++;
            }
        }
        return end < source.length() && source.charAt(end) == '}';
    }

    private static boolean isDigit(char c) {
        return c >= '0' && c <= '9';
    }

    private int number() {
        long number = 0;
        while (isDigit(source.charAt(at))) {
            number = number * 10 + source.charAt(at++) - '0';
            if (number > MAX_REPEATS) {
                throw refuse("a repetition of more than " + MAX_REPEATS + " times");
            }
        }
        return (int) number;
    }

    private Node atom() {
        int c = source.codePointAt(at);
        at += Character.charCount(c);
        return switch (c) {
            case '^' -> Anchor.START;
            case '$' -> Anchor.END;
            case '.' -> new Chars(Characters.complement(LINE_ENDS));
            case '[' -> new Chars(charClass());
            case '(' -> group();
            case '\\' -> new Chars(escape(false));
            case '*', '+', '?' -> throw malformed("nothing to repeat before '" + Character.toString(c) + "'");
            default -> new Chars(single(c));
        };
    }

    private Node group() {
        if (accept('?')) {
            if (source.startsWith("P<", at)) {
                at++; // as Python writes names
            }
            if (source.startsWith("<=", at) || source.startsWith("<!", at)) {
                throw refuse("look-behind");
            }
            if (source.startsWith("=", at) || source.startsWith("!", at)) {
                boolean negated = source.charAt(at++) == '!';
                return new LookAhead(closed(choice()), negated, false);
            }
            if (accept('<')) {
                int end = source.indexOf('>', at);
                if (end < 0) {
                    throw malformed("the name of a group has no end");
                }
                at = end + 1;
            } else if (!accept(':')) {
                throw refuse("the group '(?" + (at < source.length() ? source.substring(at, at + 1) : "") + "'");
            }
        }
        return closed(choice());
    }

    private Node closed(Node node) {
        if (!accept(')')) {
            throw malformed("a '(' without ')'");
        }
        return node;
    }

    private int[] charClass() {
        boolean negated = accept('^');
        List<int[]> sets = new ArrayList<>();
        while (!accept(']')) {
            int[] low = member();
            if (at + 1 < source.length() && source.charAt(at) == '-' && source.charAt(at + 1) != ']') {
                at++;
                int[] high = member();
                if (low.length != 2 || low[0] != low[1] || high.length != 2 || high[0] != high[1]) {
                    throw malformed("a range of a class begins or ends with a class");
                }
                if (low[0] > high[0]) {
                    throw malformed("a range of a class ends before it begins");
                }
                sets.add(new int[] {low[0], high[0]});
            } else {
                sets.add(low);
            }
        }
        int[] union = Characters.union(sets);
        return negated ? Characters.complement(union) : union;
    }

    private int[] member() {
        if (at == source.length()) {
            throw malformed("a '[' without ']'");
        }
        int c = source.codePointAt(at);
        at += Character.charCount(c);
        return c == '\\' ? escape(true) : single(c);
    }

    private int[] escape(boolean inClass) {
        if (at == source.length()) {
            throw malformed("a '\\' at the end");
        }
        int c = source.codePointAt(at);
        at += Character.charCount(c);
        return switch (c) {
            case 'd' -> DIGITS;
            case 'D' -> Characters.complement(DIGITS);
            case 'w' -> WORD;
            case 'W' -> Characters.complement(WORD);
            case 's' -> SPACE;
            case 'S' -> Characters.complement(SPACE);
            case 't' -> single('\t');
            case 'n' -> single('\n');
            case 'r' -> single('\r');
            case 'f' -> single('\f');
            case 'v' -> single(0x0B);
            case 'p', 'P' -> property(c == 'P');
            case 'x' -> single(hex(2));
            case 'u' -> single(unicode());
            case 'c' -> {
                if (at == source.length() || !Character.isLetter(source.charAt(at)) || source.charAt(at) > 'z') {
                    throw malformed("'\\c' without a letter");
                }
                yield single(source.charAt(at++) % 32);
            }
            case '0' -> {
                if (at < source.length() && isDigit(source.charAt(at))) {
                    throw refuse("an octal escape");
                }
                yield single(0);
            }
            case 'b' -> {
                if (!inClass) {
                    throw refuse("a word boundary (\\b)");
                }
                yield single('\b');
            }
            case 'B' -> throw refuse("a word boundary (\\B)");
            case 'k', '1', '2', '3', '4', '5', '6', '7', '8', '9' -> throw refuse("a back-reference");
            default -> {
                if (c < 128 && Character.isLetter(c)) {
                    throw malformed("the unknown escape '\\" + Character.toString(c) + "'");
                }
                yield single(c);
            }
        };
    }

    private static int[] single(int c) {
        return new int[] {c, c};
    }

    private int hex(int digits) {
        int end = at + digits;
        try {
            int value = Integer.parseUnsignedInt(source.substring(at, end), 16);
            at = end;
            return value;
        } catch (NumberFormatException | StringIndexOutOfBoundsException e) {
            throw malformed("an escape that needs " + digits + " hexadecimal digits");
        }
    }

    private int unicode() {
        if (accept('{')) {
            int end = source.indexOf('}', at);
            if (end < 0 || end == at || end > at + 6) {
                throw malformed("a '\\u{' without a code point and '}'");
            }
            int value = hex(end - at);
            at = end + 1;
            if (value > Characters.MAX) {
                throw malformed("a code point beyond 10FFFF");
            }
            return value;
        }
        int value = hex(4);
        if (Character.isHighSurrogate((char) value) && source.startsWith("\\u", at)) {
            int back = at;
            at += 2;
            int low = hex(4);
            if (Character.isLowSurrogate((char) low)) {
                return Character.toCodePoint((char) value, (char) low);
            }
            at = back;
        }
        return value;
    }

    /** General categories, with or without {@code General_Category=}. */
    private int[] property(boolean negated) {
        int end = accept('{') ? source.indexOf('}', at) : -1;
        if (end < 0) {
            throw malformed("a '\\p' without {…}");
        }
        String name = source.substring(at, end);
        at = end + 1;
        int[] ranges = GeneralCategories.ranges(name.replaceFirst("^(General_Category|gc)=", ""));
        if (ranges == null) {
            throw refuse("the character property '" + name + "'");
        }
        return negated ? Characters.complement(ranges) : ranges;
    }

    private boolean accept(char c) {
        if (at < source.length() && source.charAt(at) == c) {
            at++;
            return true;
        }
        return false;
    }

    private InvalidConstraintException refuse(String what) {
        return new InvalidConstraintException(
                "", "the regular expression " + shown() + " has " + what + ", which is not supported");
    }

    private InvalidConstraintException malformed(String what) {
        return new InvalidConstraintException("", "the regular expression " + shown() + " is malformed: " + what);
    }

    private String shown() {
        return '\'' + (source.length() > 80 ? source.substring(0, 80) + '…' : source) + '\'';
    }
}
