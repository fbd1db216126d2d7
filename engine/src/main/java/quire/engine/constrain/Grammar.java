package quire.engine.constrain;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Reads grammars in llama.cpp's notation (GBNF) and makes {@link Expressions} of them. The text is what the rule {@code
 * root} derives.
 *
 * <pre>
 *   root  ::= value                              a rule: name ::= alternatives, on one line or in parentheses
 *   value ::= "[" (value ("," value)*)? "]" |    literals, groups, references, ? * + {2} {2,} {2,5}
 *             [0-9]+ | .                         classes of characters, any character; # begins a comment
 * </pre>
 *
 * <p><b>Idea.</b> {@link Expressions} must not refer to a rule that can be empty. So each rule becomes the expression for its
 * texts without the empty one, and a reference to a rule that can be empty is optional. Rules that lead to no recursion are put
 * in place of their references, as lexemes.
 *
 * <p>A rule that refers to itself before its first character is refused by name, as llama.cpp does.
 */
final class Grammar {
    private static final int MAX_RULES = 5000;
    private static final int MAX_NESTING = 100;
    private static final int MAX_REPEATS = 100_000;

    private sealed interface Node {}

    @SuppressWarnings("ArrayRecordComponent") // not compared
    private record Chars(int[] ranges) implements Node {}

    private record Reference(String name) implements Node {}

    private record Sequence(List<Node> parts) implements Node {}

    private record Choice(List<Node> parts) implements Node {}

    private record Repeat(Node part, int least, int most) implements Node {}

    private final String source;
    private int at;
    private int nesting;
    private final Map<String, Node> rules = new LinkedHashMap<>();

    private final Set<String> nullable = new HashSet<>();
    private final Map<String, Boolean> recursive = new HashMap<>();
    private final Map<String, Integer> inPlace = new HashMap<>(); // expressions without the empty text
    private final Map<String, Integer> numbers = new HashMap<>();
    private final Deque<String> undefined = new ArrayDeque<>();
    private final Expressions expressions;
    private final Characters characters;

    private Grammar(String source, Expressions expressions) {
        this.source = source;
        this.expressions = expressions;
        characters = new Characters(expressions, false);
    }

    /**
     * An expression for the texts of the rule {@code root}.
     *
     * @throws InvalidConstraintException naming the line and what is malformed or not computed
     */
    static int compile(String source, Expressions expressions) {
        Grammar grammar = new Grammar(source, expressions);
        grammar.read();
        grammar.check();
        int start = grammar.full(new Reference("root"));
        while (!grammar.undefined.isEmpty()) {
            String name = grammar.undefined.removeFirst();
            expressions.define(grammar.number(name), grammar.some(grammar.rule(name)));
        }
        return start;
    }

    private Node rule(String name) {
        Node rule = rules.get(name);
        if (rule == null) {
            throw new InvalidConstraintException("", "the grammar has no rule '" + name + "'");
        }
        return rule;
    }

    // Checks.

    private void check() {
        rule("root");
        rules.values().forEach(this::checkReferences);
        boolean changed = true;
        while (changed) {
            changed = false;
            for (Map.Entry<String, Node> rule : rules.entrySet()) {
                if (!nullable.contains(rule.getKey()) && isNullable(rule.getValue())) {
                    changed = nullable.add(rule.getKey());
                }
            }
        }
        Map<String, Set<String>> firsts = new HashMap<>();
        Map<String, Set<String>> all = new HashMap<>();
        rules.forEach((name, node) -> {
            firsts.put(name, new HashSet<>());
            all.put(name, new HashSet<>());
            addFirsts(node, firsts.get(name));
            addReferences(node, all.get(name));
        });
        String left = onCycle(firsts);
        if (left != null) {
            throw new InvalidConstraintException(
                    "", "the rule '" + left + "' of the grammar refers to itself before its first character");
        }
        // A rule is recursive if a cycle can be reached from it: remove those that only reach removed ones.
        Map<String, Integer> open = new HashMap<>();
        Map<String, List<String>> users = new HashMap<>();
        Deque<String> plain = new ArrayDeque<>();
        all.forEach((name, used) -> {
            open.put(name, used.size());
            recursive.put(name, true);
            used.forEach(other ->
                    users.computeIfAbsent(other, k -> new ArrayList<>()).add(name));
            if (used.isEmpty()) {
                plain.add(name);
            }
        });
        while (!plain.isEmpty()) {
            String name = plain.removeFirst();
            recursive.put(name, false);
            for (String user : users.getOrDefault(name, List.of())) {
                if (open.merge(user, -1, Integer::sum) == 0) {
                    plain.add(user);
                }
            }
        }
    }

    private void checkReferences(Node node) {
        switch (node) {
            case Chars chars -> {}
            case Reference reference -> rule(reference.name);
            case Sequence sequence -> sequence.parts.forEach(this::checkReferences);
            case Choice choice -> choice.parts.forEach(this::checkReferences);
            case Repeat repeat -> checkReferences(repeat.part);
        }
    }

    private boolean isNullable(Node node) {
        return switch (node) {
            case Chars chars -> false;
            case Reference reference -> nullable.contains(reference.name);
            case Sequence sequence -> sequence.parts.stream().allMatch(this::isNullable);
            case Choice choice -> choice.parts.stream().anyMatch(this::isNullable);
            case Repeat repeat -> repeat.least == 0 || isNullable(repeat.part);
        };
    }

    /** Adds the rules that may begin at the beginning of a node. */
    private void addFirsts(Node node, Set<String> found) {
        switch (node) {
            case Chars chars -> {}
            case Reference reference -> found.add(reference.name);
            case Sequence sequence -> {
                for (Node part : sequence.parts) {
                    addFirsts(part, found);
                    if (!isNullable(part)) {
                        break;
                    }
                }
            }
            case Choice choice -> choice.parts.forEach(part -> addFirsts(part, found));
            case Repeat repeat -> addFirsts(repeat.part, found);
        }
    }

    private void addReferences(Node node, Set<String> found) {
        switch (node) {
            case Chars chars -> {}
            case Reference reference -> found.add(reference.name);
            case Sequence sequence -> sequence.parts.forEach(part -> addReferences(part, found));
            case Choice choice -> choice.parts.forEach(part -> addReferences(part, found));
            case Repeat repeat -> addReferences(repeat.part, found);
        }
    }

    /** A name on a cycle; null if there is no cycle. */
    private static @Nullable String onCycle(Map<String, Set<String>> edges) {
        Map<String, Integer> incoming = new HashMap<>();
        edges.values().forEach(targets -> targets.forEach(target -> incoming.merge(target, 1, Integer::sum)));
        Deque<String> free = new ArrayDeque<>();
        edges.keySet().stream().filter(name -> !incoming.containsKey(name)).forEach(free::add);
        Set<String> left = new HashSet<>(edges.keySet());
        while (!free.isEmpty()) {
            String name = free.removeFirst();
            left.remove(name);
            for (String target : edges.getOrDefault(name, Set.of())) {
                if (incoming.merge(target, -1, Integer::sum) == 0) {
                    free.add(target);
                }
            }
        }
        // Each name that is left has one before it that is left, so a walk backwards ends on a cycle.
        Map<String, String> before = new HashMap<>();
        for (String name : left) {
            edges.getOrDefault(name, Set.of()).stream().filter(left::contains).forEach(to -> before.put(to, name));
        }
        Set<String> met = new HashSet<>();
        String name = left.isEmpty() ? null : left.iterator().next();
        while (name != null && met.add(name)) {
            name = before.get(name);
        }
        return name;
    }

    // Expressions.

    /** All texts of a node. */
    private int full(Node node) {
        return isNullable(node) ? expressions.optional(some(node)) : some(node);
    }

    /** The texts of a node without the empty one. */
    private int some(Node node) {
        return switch (node) {
            case Chars chars -> characters.one(chars.ranges);
            case Reference reference -> reference(reference.name);
            case Sequence sequence -> {
                // By the first part that is not empty: those before it must be able to be empty.
                List<Integer> ways = new ArrayList<>();
                int[] rests = rests(sequence.parts);
                for (int i = 0; i < sequence.parts.size(); i++) {
                    ways.add(join(some(sequence.parts.get(i)), rests[i + 1]));
                    if (!isNullable(sequence.parts.get(i))) {
                        break;
                    }
                }
                yield expressions.alt(ways.stream().mapToInt(Integer::intValue).toArray());
            }
            case Choice choice ->
                expressions.alt(choice.parts.stream().mapToInt(this::some).toArray());
            case Repeat repeat -> {
                if (repeat.most == 0) {
                    yield Expressions.NONE;
                }
                int part = some(repeat.part);
                int least = isNullable(repeat.part) ? 0 : Math.max(repeat.least - 1, 0);
                int most = repeat.most == Expressions.UNLIMITED ? Expressions.UNLIMITED : repeat.most - 1;
                yield join(part, expressions.rep(part, least, most));
            }
        };
    }

    /** Element i: all texts of the parts from i on. */
    private int[] rests(List<Node> parts) {
        int[] rests = new int[parts.size() + 1];
        rests[parts.size()] = Expressions.EMPTY;
        for (int i = parts.size() - 1; i > 0; i--) {
            rests[i] = join(full(parts.get(i)), rests[i + 1]);
        }
        return rests;
    }

    private int join(int a, int b) {
        return expressions.isLexeme(a) && expressions.isLexeme(b) ? expressions.seq(a, b) : expressions.cat(a, b);
    }

    private int reference(String name) {
        if (!recursive.getOrDefault(name, true)) {
            Integer known = inPlace.get(name);
            if (known == null && nesting < MAX_NESTING) {
                nesting++;
                known = some(rule(name));
                nesting--;
                inPlace.put(name, known);
            }
            if (known != null && expressions.isLexeme(known)) {
                return known;
            }
        }
        return expressions.reference(number(name));
    }

    private int number(String name) {
        return numbers.computeIfAbsent(name, n -> {
            undefined.add(n);
            return expressions.newRule();
        });
    }

    // Reading.

    private void read() {
        skip(true);
        while (at < source.length()) {
            String name = name();
            skip(false);
            if (!source.startsWith("::=", at)) {
                throw malformed("'::=' is missing behind the name '" + name + "'");
            }
            at += 3;
            skip(true);
            rules.put(name, choice(false)); // of several rules with one name the last counts, as in llama.cpp
            if (rules.size() > MAX_RULES) {
                throw malformed("it has more than " + MAX_RULES + " rules");
            }
            skip(false);
            if (at < source.length() && !isLineEnd()) {
                throw malformed("a rule goes on with '" + Character.toString(source.codePointAt(at)) + "'");
            }
            skip(true);
        }
    }

    private String name() {
        int start = at;
        while (at < source.length() && isNamePart(source.charAt(at))) {
            at++;
        }
        if (start == at) {
            throw malformed("the name of a rule is missing");
        }
        return source.substring(start, at);
    }

    /** As in llama.cpp, and {@code _}, which other readers of this notation allow. */
    private static boolean isNamePart(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    }

    /** @param inGroup whether line breaks may stand between the parts */
    private Node choice(boolean inGroup) {
        if (++nesting > MAX_NESTING) {
            throw malformed("groups are nested more than " + MAX_NESTING + " deep");
        }
        List<Node> parts = new ArrayList<>();
        parts.add(sequence(inGroup));
        while (accept('|')) {
            skip(true);
            parts.add(sequence(inGroup));
        }
        nesting--;
        return parts.size() == 1 ? parts.getFirst() : new Choice(parts);
    }

    private Node sequence(boolean inGroup) {
        List<Node> parts = new ArrayList<>();
        while (at < source.length()) {
            Node part = part();
            if (part == null) {
                break;
            }
            skip(inGroup);
            parts.add(repeated(part, inGroup));
        }
        return parts.size() == 1 ? parts.getFirst() : new Sequence(parts);
    }

    /** The next literal, class, reference or group; null if none follows. */
    private @Nullable Node part() {
        char c = source.charAt(at);
        if (c == '"') {
            return literal();
        }
        if (c == '[') {
            return charClass();
        }
        if (c == '.') {
            at++;
            return new Chars(new int[] {0, Characters.MAX});
        }
        if (c == '(') {
            at++;
            skip(true);
            Node group = choice(true);
            if (!accept(')')) {
                throw malformed("a '(' has no ')'");
            }
            return group;
        }
        if (c == '<' || c == '!') {
            throw malformed("it names a token ('" + c + "'), which is not supported");
        }
        return isNamePart(c) ? new Reference(name()) : null;
    }

    private Node literal() {
        at++;
        List<Node> parts = new ArrayList<>();
        while (!accept('"')) {
            int c = character("a '\"' has no end");
            parts.add(new Chars(new int[] {c, c}));
        }
        return parts.size() == 1 ? parts.getFirst() : new Sequence(parts);
    }

    private Node charClass() {
        at++;
        boolean negated = accept('^');
        List<int[]> sets = new ArrayList<>();
        while (!accept(']')) {
            int low = character("a '[' has no ']'");
            int high = low;
            if (at + 1 < source.length() && source.charAt(at) == '-' && source.charAt(at + 1) != ']') {
                at++;
                high = character("a '[' has no ']'");
            }
            if (high < low) {
                throw malformed("a range of a class ends before it begins");
            }
            sets.add(new int[] {low, high});
        }
        int[] union = Characters.union(sets);
        return new Chars(negated ? Characters.complement(union) : union);
    }

    private int character(String fault) {
        if (at >= source.length()) {
            throw malformed(fault);
        }
        int c = source.codePointAt(at);
        at += Character.charCount(c);
        if (c != '\\') {
            return c;
        }
        if (at >= source.length()) {
            throw malformed(fault);
        }
        char escape = source.charAt(at++);
        return switch (escape) {
            case 'n' -> '\n';
            case 'r' -> '\r';
            case 't' -> '\t';
            case '\\', '"', '[', ']' -> escape;
            case 'x' -> hex(2);
            case 'u' -> hex(4);
            case 'U' -> hex(8);
            default -> throw malformed("the escape '\\" + escape + "' is unknown");
        };
    }

    private int hex(int digits) {
        long value = 0;
        for (int i = 0; i < digits; i++) {
            int digit = at < source.length() ? Character.digit(source.charAt(at++), 16) : -1;
            if (digit < 0) {
                throw malformed("an escape needs " + digits + " hexadecimal digits");
            }
            value = 16 * value + digit;
        }
        if (value > Characters.MAX) {
            throw malformed("a character lies beyond 10FFFF");
        }
        return (int) value;
    }

    private Node repeated(Node part, boolean inGroup) {
        Node node = part;
        while (at < source.length()) {
            if (accept('*')) {
                node = new Repeat(node, 0, Expressions.UNLIMITED);
            } else if (accept('+')) {
                node = new Repeat(node, 1, Expressions.UNLIMITED);
            } else if (accept('?')) {
                node = new Repeat(node, 0, 1);
            } else if (accept('{')) {
                int least = count();
                int most = least;
                if (accept(',')) {
                    skip(false);
                    most = at < source.length() && source.charAt(at) == '}' ? Expressions.UNLIMITED : count();
                }
                if (!accept('}')) {
                    throw malformed("a '{' has no '}'");
                }
                if (most < least) {
                    throw malformed("a repetition has its limits in the wrong order");
                }
                node = new Repeat(node, least, most);
            } else {
                break;
            }
            skip(inGroup);
        }
        return node;
    }

    private int count() {
        skip(false);
        int start = at;
        long count = 0;
        while (at < source.length() && source.charAt(at) >= '0' && source.charAt(at) <= '9') {
            count = 10 * count + source.charAt(at++) - '0';
            if (count > MAX_REPEATS) {
                throw malformed("a repetition has more than " + MAX_REPEATS + " times");
            }
        }
        if (at == start) {
            throw malformed("a number is missing behind '{' or ','");
        }
        skip(false);
        return (int) count;
    }

    /** Skips blanks and comments, and line breaks if they are allowed. */
    private void skip(boolean lines) {
        while (at < source.length()) {
            char c = source.charAt(at);
            if (c == '#') {
                while (at < source.length() && !isLineEnd()) {
                    at++;
                }
            } else if (c == ' ' || c == '\t' || (lines && isLineEnd())) {
                at++;
            } else {
                return;
            }
        }
    }

    private boolean isLineEnd() {
        return source.charAt(at) == '\n' || source.charAt(at) == '\r';
    }

    private boolean accept(char c) {
        if (at < source.length() && source.charAt(at) == c) {
            at++;
            return true;
        }
        return false;
    }

    private InvalidConstraintException malformed(String what) {
        long line = 1
                + source.substring(0, Math.min(at, source.length()))
                        .chars()
                        .filter(c -> c == '\n')
                        .count();
        return new InvalidConstraintException("", "line " + line + " of the grammar is malformed: " + what);
    }
}
