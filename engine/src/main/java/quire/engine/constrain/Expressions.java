package quire.engine.constrain;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;

/**
 * Expressions over bytes, and their derivatives. An expression describes the texts that may still come. Its derivative
 * by a byte describes the rest of those that begin with this byte (Brzozowski, <i>Derivatives of Regular
 * Expressions</i>, 1964). So an expression is a state of the answer, and derivatives are the transitions.
 *
 * <p>Equal expressions have one number: 0 is {@link #NONE}, which no text matches. Every other expression matches at
 * least one text. So a byte is allowed exactly if the derivative is not 0, and an answer never runs into a dead end.
 *
 * <p>References to {@linkplain #newRule rules} make expressions recursive. The derivative of a reference is the
 * derivative of its rule, so what follows the reference acts as a stack:
 *
 * <pre>
 *   value = "[" (value ("," value)*)? "]" | digit
 *   value          by "["    ((value ("," value)*)? "]")
 *                  by "["    (value ("," value)*)? "]" ("," value)* "]"        one level deeper
 *                  by "1"    ("," value)* "]" ("," value)* "]"
 *                  by "]"    ("," value)* "]"
 * </pre>
 *
 * <p>A rule must not refer to itself before it has matched a byte. Intersections, complements and multiples contain no
 * references.
 *
 * <p>Pairs of an object that may come in any order, {@link #members}, are expressions that know which pairs have been written.
 * What may follow them is found when it is first needed, because there are as many such expressions as sets of pairs.
 *
 * <p>There are two forms of sequences. {@link #seq} joins parts of a lexeme, such as a string with its quotes. {@link
 * #cat} joins a lexeme and what follows it. Both mean the same; {@link Automaton} computes the tokens within a lexeme
 * once for everything that may follow it.
 *
 * <p>Derivatives are computed when they are first needed, and kept. Bytes that no expression distinguishes share a
 * class. Not thread-safe.
 */
final class Expressions {
    /** Matches no text. */
    static final int NONE = 0;

    /** Matches the empty text only. */
    static final int EMPTY = 1;

    /** Matches every sequence of bytes. */
    static final int ANYTHING = 2;

    /** For {@link #rep}: no upper limit. */
    static final int UNLIMITED = Integer.MAX_VALUE;

    private static final int MAX_DEPTH = 2000;

    private static final int MAX_SIGNATURE = 1 << 14;

    private static final byte CONSTANT = 0;
    private static final byte BYTES = 1; // a: number of the set
    private static final byte SEQ = 2; // a, then b; a is no sequence
    private static final byte CAT = 3; // the same
    private static final byte ALT = 4; // a: offset in lists, b: count
    private static final byte AND = 5; // the same
    private static final byte NOT = 6; // a
    private static final byte REP = 7; // a; b to c times
    private static final byte RULE = 8; // a: number of the rule
    private static final byte MULTIPLE = 9; // a: divisor, b: remainder, c: digits behind the point
    private static final byte MEMBERS =
            10; // between pairs; a: number of the pairs, b: of the state, c: 1 before the first
    private static final byte NAMES = 11; // within a name; a, b: the same, c: first name and bytes written
    private static final byte DISTINCT =
            12; // between distinct elements; a: number of the list, b: of the state, c as above
    private static final byte ELEMENT =
            13; // within one; a: rest of it, not empty, b: number of the state, c: of the list

    private static final byte NULLABLE = 1;
    private static final byte LEXEME = 2; // without cat and rules
    private static final byte PLAIN = 4; // without intersections, complements, multiples and rules: matches something

    private static final byte UNKNOWN = 0;
    private static final byte IS_EMPTY = 1;
    private static final byte IS_NOT_EMPTY = 2;

    private final int limit;
    private int size;
    private byte[] kinds;
    private byte[] flags;
    private int[] as;
    private int[] bs;
    private int[] cs;
    private byte[] emptiness;
    private int[][] rows; // derivatives by class of byte, plus 1; 0: not computed
    private long rowNumbers;
    private int[] table; // expression + 1 by hash
    private int[] lists;
    private int listsSize;
    private long[][] sets = new long[16][];
    private int setCount;
    private final int[] singles; // the expression for a byte; 0: not made yet
    private final Map<List<Long>, Integer> setNumbers;
    private int[] rules; // expressions
    private boolean[] nullableRules;
    private int ruleCount;
    private final List<Members> members;
    private final List<Members.State> memberStates;
    private final Map<List<Object>, Integer> memberStateNumbers; // by number of the pairs and state
    private final List<Distinct> distinct;
    private final List<Distinct.State> distinctStates;
    private final Map<Distinct.State, Integer> distinctStateNumbers;
    private final Map<Class<?>, Object> shared = new HashMap<>();
    private final Map<Integer, BitSet> following = new HashMap<>(); // by number of the state
    private final Map<Integer, Integer> expanded = new HashMap<>(); // by expression
    private int universal = -1;
    private boolean hasMultiples;
    private byte[] classes = {}; // by byte; empty before freeze
    private byte[] samples = {}; // a byte of each class
    private int[] classSizes = {};
    private int depth;

    /** @param limit most expressions; beyond it every method may throw {@link ConstraintException} */
    Expressions(int limit) {
        this.limit = limit;
        int room = 256;
        kinds = new byte[room];
        flags = new byte[room];
        as = new int[room];
        bs = new int[room];
        cs = new int[room];
        emptiness = new byte[room];
        rows = new int[room][];
        table = new int[4 * room];
        lists = new int[room];
        rules = new int[16];
        nullableRules = new boolean[16];
        singles = new int[256];
        setNumbers = new HashMap<>();
        members = new ArrayList<>();
        memberStates = new ArrayList<>();
        memberStateNumbers = new HashMap<>();
        distinct = new ArrayList<>();
        distinctStates = new ArrayList<>();
        distinctStateNumbers = new HashMap<>();
        add(CONSTANT, 0, 0, 0, LEXEME);
        add(CONSTANT, 1, 0, 0, NULLABLE | LEXEME | PLAIN);
        add(CONSTANT, 2, 0, 0, NULLABLE | LEXEME | PLAIN);
        emptiness[NONE] = IS_EMPTY;
        emptiness[EMPTY] = IS_NOT_EMPTY;
        emptiness[ANYTHING] = IS_NOT_EMPTY;
    }

    /** A copy with another limit. It has all expressions under the same numbers. */
    Expressions(Expressions from, int limit) {
        this.limit = limit;
        size = from.size;
        kinds = from.kinds.clone();
        flags = from.flags.clone();
        as = from.as.clone();
        bs = from.bs.clone();
        cs = from.cs.clone();
        emptiness = from.emptiness.clone();
        rows = new int[kinds.length][];
        table = from.table.clone();
        lists = from.lists.clone();
        listsSize = from.listsSize;
        sets = from.sets.clone();
        setCount = from.setCount;
        singles = from.singles.clone();
        setNumbers = new HashMap<>(from.setNumbers);
        rules = from.rules.clone();
        nullableRules = from.nullableRules.clone();
        ruleCount = from.ruleCount;
        members = new ArrayList<>(from.members);
        memberStates = new ArrayList<>(from.memberStates);
        memberStateNumbers = new HashMap<>(from.memberStateNumbers);
        distinct = new ArrayList<>(from.distinct);
        distinctStates = new ArrayList<>(from.distinctStates);
        distinctStateNumbers = new HashMap<>(from.distinctStateNumbers);
        universal = from.universal;
        hasMultiples = from.hasMultiples;
        classes = from.classes;
        samples = from.samples;
        classSizes = from.classSizes;
    }

    /** What was made of these expressions for all who add to them: made once, and not copied with the expressions. */
    <T> T shared(Class<T> kind, Supplier<T> make) {
        return kind.cast(shared.computeIfAbsent(kind, k -> make.get()));
    }

    /** Number of expressions. */
    int size() {
        return size;
    }

    // Constructors.

    /** One byte of a set. */
    int bytes(long[] set) {
        if ((set[0] | set[1] | set[2] | set[3]) == 0) {
            return NONE;
        }
        List<Long> key = List.of(set[0], set[1], set[2], set[3]);
        Integer number = setNumbers.get(key);
        if (number == null) {
            number = setCount++;
            if (number == sets.length) {
                sets = Arrays.copyOf(sets, 2 * number);
            }
            sets[number] = set.clone();
            setNumbers.put(key, number);
        }
        return intern(BYTES, number, 0, 0, LEXEME | PLAIN);
    }

    /** One byte from {@code low} to {@code high}. */
    int range(int low, int high) {
        if (low == high) {
            return single(low);
        }
        long[] set = new long[4];
        for (int b = low; b <= high; b++) {
            set[b >> 6] |= 1L << b;
        }
        return bytes(set);
    }

    private int single(int b) {
        if (singles[b] == 0) {
            long[] set = new long[4];
            set[b >> 6] = 1L << b;
            singles[b] = bytes(set);
        }
        return singles[b];
    }

    /** These bytes, one after the other. */
    int literal(byte[] bytes) {
        int result = EMPTY;
        for (int i = bytes.length - 1; i >= 0; i--) {
            result = seq(single(bytes[i] & 0xFF), result);
        }
        return result;
    }

    /** {@code a}, then {@code b}, as parts of one lexeme. */
    int seq(int a, int b) {
        if (a == NONE || b == NONE) {
            return NONE;
        }
        if (a == EMPTY) {
            return b;
        }
        if (b == EMPTY) {
            return a;
        }
        return chain(SEQ, a, b, NULLABLE | LEXEME | PLAIN);
    }

    /** {@code a}, then {@code b}, which is the continuation. */
    int cat(int a, int b) {
        if (a == NONE || b == NONE) {
            return NONE;
        }
        if (a == EMPTY) {
            return b;
        }
        if (b == EMPTY) {
            return a;
        }
        if (kinds[a] == ALT && (flags[a] & LEXEME) == 0) {
            int[] parts = children(a);
            for (int i = 0; i < parts.length; i++) {
                parts[i] = cat(parts[i], b);
            }
            return alt(parts);
        }
        return chain(CAT, a, b, NULLABLE | PLAIN);
    }

    /** Joins two expressions so that the first part of every sequence is no sequence of the same form. */
    private int chain(byte kind, int a, int b, int inherited) {
        if (kinds[a] != kind) {
            return intern(kind, a, b, 0, flags[a] & flags[b] & inherited);
        }
        int length = 1;
        for (int e = a; kinds[e] == kind; e = bs[e]) {
            length++;
        }
        int[] parts = new int[length];
        int e = a;
        for (int i = 0; i < length - 1; i++, e = bs[e]) {
            parts[i] = as[e];
        }
        parts[length - 1] = e;
        int result = b;
        for (int i = length - 1; i >= 0; i--) {
            result = intern(kind, parts[i], result, 0, flags[parts[i]] & flags[result] & inherited);
        }
        return result;
    }

    /** Any of these. Changes the array. */
    int alt(int... parts) {
        int count = flatten(parts, ALT);
        int[] list = count == parts.length && isFlat(parts, ALT) ? parts : flattened(parts, count, ALT);
        Arrays.sort(list);
        long[] union = null;
        int unionOf = 0;
        int kept = 0;
        boolean lexemes = true;
        boolean hasUniversal = false;
        for (int i = 0; i < list.length; i++) {
            int part = list[i];
            if (part == NONE || (i > 0 && part == list[i - 1])) {
                continue;
            }
            if (part == ANYTHING) {
                return ANYTHING;
            }
            if (kinds[part] == BYTES) {
                union = union == null ? new long[4] : union;
                for (int k = 0; k < 4; k++) {
                    union[k] |= sets[as[part]][k];
                }
                unionOf++;
                if (unionOf > 1) {
                    continue;
                }
            }
            hasUniversal |= part == universal;
            lexemes &= (flags[part] & LEXEME) != 0;
            list[kept++] = part;
        }
        if (hasUniversal && lexemes) {
            return universal;
        }
        if (union != null && unionOf > 1) {
            int joined = bytes(union);
            for (int i = 0; i < kept; i++) {
                if (kinds[list[i]] == BYTES) {
                    list[i] = joined;
                }
            }
            Arrays.sort(list, 0, kept);
        }
        if (kept == 0) {
            return NONE;
        }
        if (kept == 1) {
            return list[0];
        }
        int flag = LEXEME | PLAIN;
        for (int i = 0; i < kept; i++) {
            flag |= flags[list[i]] & NULLABLE;
            flag &= flags[list[i]] | NULLABLE;
        }
        return internList(ALT, list, kept, flag);
    }

    /** All of these. Lexemes only. Changes the array. Does not find out whether any text matches all. */
    int and(int... parts) {
        int count = flatten(parts, AND);
        int[] list = count == parts.length && isFlat(parts, AND) ? parts : flattened(parts, count, AND);
        Arrays.sort(list);
        int kept = 0;
        boolean hadUniversal = false;
        for (int i = 0; i < list.length; i++) {
            int part = list[i];
            if (part == NONE) {
                return NONE;
            }
            if (part == universal) {
                hadUniversal = true;
            } else if (part != ANYTHING && (i == 0 || part != list[i - 1])) {
                list[kept++] = part;
            }
        }
        if (hadUniversal) {
            boolean positive = false;
            for (int i = 0; i < kept; i++) {
                positive |= kinds[list[i]] != NOT;
            }
            if (!positive) { // complements alone match more than strings
                list = Arrays.copyOf(list, kept + 1);
                list[kept++] = universal;
                Arrays.sort(list, 0, kept);
            }
        }
        if (kept == 0) {
            return ANYTHING;
        }
        if (kept == 1) {
            return list[0];
        }
        int flag = NULLABLE | LEXEME;
        for (int i = 0; i < kept; i++) {
            flag &= flags[list[i]];
        }
        return internList(AND, list, kept, flag);
    }

    /** Everything else. A lexeme only. */
    int not(int a) {
        if (a == NONE) {
            return ANYTHING;
        }
        if (a == ANYTHING) {
            return NONE;
        }
        if (kinds[a] == NOT) {
            return as[a];
        }
        return intern(NOT, a, 0, 0, LEXEME | ((flags[a] & NULLABLE) ^ NULLABLE));
    }

    /**
     * {@code a}, repeated.
     *
     * @param least at least 0
     * @param most at least {@code least}, or the result is {@link #NONE}; {@link #UNLIMITED} for no limit
     */
    int rep(int a, int least, int most) {
        if (least > most) {
            return NONE;
        }
        if (most == 0 || a == EMPTY) {
            return EMPTY;
        }
        if (a == NONE) {
            return least == 0 ? EMPTY : NONE;
        }
        boolean empty = least == 0 || isNullable(a);
        if (least == 1 && most == 1) {
            return a;
        }
        return intern(REP, a, empty ? 0 : least, most, (flags[a] & (LEXEME | PLAIN)) | (empty ? NULLABLE : 0));
    }

    /** {@code a} or nothing. */
    int optional(int a) {
        return alt(a, EMPTY);
    }

    /**
     * Digits whose number is a multiple of {@code divisor}/10<sup>{@code decimals}</sup>; a sign may stand anywhere.
     * Intersect it with the form of a number.
     *
     * @param divisor 1 to 100,000,000
     */
    int multiple(int divisor, int decimals) {
        hasMultiples = true;
        return multiple(divisor, 0, decimals);
    }

    /** @param places digits that may follow the point; −1 − digits that may still follow, behind the point */
    private int multiple(int divisor, int remainder, int places) {
        int left = places < 0 ? -1 - places : places;
        long scaled = remainder;
        for (int i = 0; i < left; i++) {
            scaled = scaled * 10 % divisor;
        }
        return intern(MULTIPLE, divisor, remainder, places, LEXEME | (scaled == 0 ? NULLABLE : 0));
    }

    /** Pairs in any order, and what is behind the last one. */
    int members(Members pairs) {
        for (int i = 0; i < pairs.size(); i++) {
            for (byte b : pairs.name(i)) {
                range(b & 0xFF, b & 0xFF); // so that bytes of names have classes of their own
            }
        }
        members.add(pairs);
        return afterPair(members.size() - 1, pairs.start(), true);
    }

    private int afterPair(int number, Members.State state, boolean isFirst) {
        Members pairs = members.get(number);
        List<Object> key = List.of(number, state);
        Integer stateNumber = memberStateNumbers.get(key);
        if (stateNumber == null) {
            stateNumber = memberStates.size();
            memberStates.add(state);
            memberStateNumbers.put(key, stateNumber);
        }
        int flag = pairs.mayEnd(state) && isNullable(pairs.close()) ? NULLABLE : 0;
        return intern(MEMBERS, number, stateNumber, isFirst ? 1 : 0, flag);
    }

    /** Elements of which no two are the same, and what is behind the last one. */
    int distinct(Distinct elements) {
        for (int b = 0; b < 256; b++) {
            range(b, b); // any byte may be one by which two elements differ
        }
        distinct.add(elements);
        return intern(DISTINCT, distinct.size() - 1, number(Distinct.State.START), 1, 0);
    }

    private int number(Distinct.State state) {
        Integer known = distinctStateNumbers.get(state);
        if (known == null) {
            known = distinctStates.size();
            distinctStates.add(state);
            distinctStateNumbers.put(state, known);
        }
        return known;
    }

    private int expandDistinct(int e) {
        Distinct all = distinct.get(as[e]);
        Distinct.State state = distinctStates.get(bs[e]);
        int count = state.elements().size();
        int element = count < all.most() ? element(all, state.elements()) : NONE;
        int next = element == NONE ? NONE : intern(ELEMENT, element, bs[e], as[e], 0);
        return alt(count >= all.least() ? all.close() : NONE, cs[e] == 1 ? next : cat(all.separator(), next));
    }

    /** An element that is none of these; the quotes are outside of the complement, as in other strings. */
    private int element(Distinct all, List<String> written) {
        int[] strings = written.stream()
                .filter(text -> text.startsWith("\""))
                .mapToInt(text -> literal(text.substring(1, text.length() - 1).getBytes(StandardCharsets.ISO_8859_1)))
                .toArray();
        int[] others = written.stream()
                .filter(text -> !text.startsWith("\"") && !text.equals(Distinct.UNKNOWN))
                .mapToInt(text -> literal(text.getBytes(StandardCharsets.ISO_8859_1)))
                .toArray();
        int quote = range('"', '"');
        return alt(seq(quote, seq(without(all.string(), strings), quote)), without(all.other(), others));
    }

    private int without(int lexeme, int[] texts) {
        int rest = and(lexeme, not(alt(texts)));
        return isEmpty(rest) ? NONE : rest;
    }

    private int deriveElement(int e, int byteClass) {
        int rest = derive(as[e], byteClass);
        if (rest == NONE) {
            return NONE;
        }
        Distinct.State state = distinctStates.get(bs[e]).with(samples[byteClass]);
        int whole = isNullable(rest) ? afterElement(e, state.begun()) : NONE;
        boolean goesOn = !isNullable(rest) || allowedBytes(rest) > 0;
        return alt(whole, goesOn ? intern(ELEMENT, rest, number(state), cs[e], 0) : NONE);
    }

    private int afterElement(int e, String text) {
        return intern(DISTINCT, cs[e], number(distinctStates.get(bs[e]).after(text)), 0, 0);
    }

    /** Whether this is a place within one of several distinct elements. */
    boolean isElement(int expression) {
        return kinds[expression] == ELEMENT;
    }

    /** Whether the head of an expression is a place within one of several distinct elements, behind its first byte. */
    boolean isBegunElement(int expression) {
        for (int part : parts(expression)) {
            int head = kinds[part] == CAT ? as[part] : part;
            if (kinds[head] == ELEMENT && !distinctStates.get(bs[head]).begun().isEmpty()) {
                return true;
            }
        }
        return false;
    }

    /** The rest of an element, as a lexeme. */
    int restOfElement(int element) {
        return as[element];
    }

    /** What follows an element whose text is not known. */
    int afterUnknownElement(int element) {
        return afterElement(element, Distinct.UNKNOWN);
    }

    /** Whether elements are strings that may have any characters. */
    boolean isPlainElement(int element) {
        return distinct.get(cs[element]).isPlain();
    }

    /** The number of texts of a lexeme, or {@code enough} if there are more. */
    private int texts(int lexeme, int enough, int nesting) {
        if (lexeme == NONE) {
            return 0;
        }
        if (nesting > MAX_DEPTH) {
            throw new ConstraintException("the elements of a list with uniqueItems are too long");
        }
        long sure = isNullable(lexeme) ? 1 : 0; // every other derivative has at least one text
        for (int c = 0; c < samples.length; c++) {
            sure += derive(lexeme, c) != NONE ? classSizes[c] : 0;
        }
        if (sure >= enough) {
            return enough;
        }
        long count = isNullable(lexeme) ? 1 : 0;
        for (int c = 0; c < samples.length && count < enough; c++) {
            count += (long) classSizes[c] * texts(derive(lexeme, c), enough, nesting + 1);
        }
        return (int) Math.min(count, enough);
    }

    /** A new rule; {@link #define} it before {@link #freeze}. */
    int newRule() {
        if (ruleCount == rules.length) {
            rules = Arrays.copyOf(rules, 2 * ruleCount);
            nullableRules = Arrays.copyOf(nullableRules, 2 * ruleCount);
        }
        rules[ruleCount] = NONE;
        return ruleCount++;
    }

    /** A reference to a rule. Rules never match the empty text. */
    int reference(int rule) {
        return intern(RULE, rule, 0, 0, 0);
    }

    /** Says what a rule is. It must not match the empty text. */
    void define(int rule, int expression) {
        if (isNullable(expression)) {
            throw new IllegalArgumentException("a rule matches the empty text");
        }
        rules[rule] = expression;
    }

    /**
     * Says that every lexeme of an alternative or intersection with this expression matches part of its texts. So the
     * alternative is this expression, and the intersection is the rest.
     */
    void setUniversal(int expression) {
        universal = expression;
    }

    // Structure.

    boolean isNullable(int expression) {
        return (flags[expression] & NULLABLE) != 0;
    }

    boolean isCat(int expression) {
        return kinds[expression] == CAT;
    }

    boolean isAlt(int expression) {
        return kinds[expression] == ALT;
    }

    boolean isLexeme(int expression) {
        return (flags[expression] & LEXEME) != 0;
    }

    /** Whether this is a place between two pairs or two distinct elements, which {@link #expand} resolves. */
    boolean isBetween(int expression) {
        return kinds[expression] == MEMBERS || kinds[expression] == DISTINCT;
    }

    /** Whether this is a place within the names of pairs. */
    boolean isNames(int expression) {
        return kinds[expression] == NAMES;
    }

    /** The pairs of a place within names. */
    Members pairs(int names) {
        return members.get(as[names]);
    }

    /** The first name of the range at a place within names. */
    int firstName(int names) {
        return cs[names] >>> 16;
    }

    /** The bytes of the names before a place within names. */
    int nameBytes(int names) {
        return cs[names] & Members.MAX_NAME;
    }

    /** Whether one of a range of names may be written. */
    boolean mayBeNamed(int names, int from, int to) {
        int next = following(as[names], bs[names]).nextSetBit(from);
        return next >= 0 && next < to;
    }

    /** What follows the name of a pair: the rest of it, and further pairs. */
    int afterName(int names, int pair) {
        Members pairs = members.get(as[names]);
        Members.State next = pairs.after(memberStates.get(bs[names]), pair);
        return cat(pairs.rest(pair), afterPair(as[names], next, false));
    }

    private BitSet following(int number, int state) {
        return following.computeIfAbsent(state, s -> members.get(number).following(memberStates.get(s)));
    }

    /** What a place between two pairs or elements stands for: the end, and further ones. */
    int expand(int e) {
        Integer known = expanded.get(e);
        if (known == null) {
            known = kinds[e] == DISTINCT ? expandDistinct(e) : expandMembers(e);
            expanded.put(e, known);
        }
        return known;
    }

    private int expandMembers(int e) {
        Members pairs = members.get(as[e]);
        Members.State state = memberStates.get(bs[e]);
        int named = following(as[e], bs[e]).isEmpty() ? NONE : intern(NAMES, as[e], bs[e], 0, 0);
        int other =
                pairs.mayBeOther(state) ? cat(pairs.others(), afterPair(as[e], pairs.after(state, -1), false)) : NONE;
        int further = alt(named, other);
        return alt(pairs.mayEnd(state) ? pairs.close() : NONE, cs[e] == 1 ? further : cat(pairs.separator(), further));
    }

    int head(int cat) {
        return as[cat];
    }

    int tail(int cat) {
        return bs[cat];
    }

    /** The parts of an alternative, or the expression alone. */
    int[] parts(int expression) {
        return kinds[expression] == ALT ? children(expression) : new int[] {expression};
    }

    /**
     * The number of times that a repetition at the beginning of a lexeme may still be repeated; 0 if it begins with
     * none or there is no limit.
     */
    int repeatsLeft(int lexeme) {
        int first = kinds[lexeme] == SEQ ? as[lexeme] : lexeme;
        return kinds[first] == REP && cs[first] != UNLIMITED ? cs[first] : 0;
    }

    /** Raises the limits of the repetition at the beginning of a lexeme: what lies beyond {@code horizon} is the same. */
    int clamp(int lexeme, int horizon) {
        int first = kinds[lexeme] == SEQ ? as[lexeme] : lexeme;
        if (kinds[first] != REP || (bs[first] <= horizon && cs[first] <= horizon) || isNullable(as[first])) {
            return lexeme;
        }
        int least = Math.min(bs[first], horizon + 1);
        int same = rep(as[first], least, cs[first] > horizon ? UNLIMITED : cs[first]);
        return kinds[lexeme] == SEQ ? seq(same, bs[lexeme]) : same;
    }

    /**
     * The lexeme without the complements at its beginning, such as any string for any string but these names; {@link
     * #NONE} if it begins with none.
     */
    int withoutComplements(int lexeme) {
        int first = kinds[lexeme] == SEQ ? as[lexeme] : lexeme;
        if (kinds[first] != AND) {
            return NONE;
        }
        for (int i = 0; i < bs[first]; i++) {
            int part = lists[as[first] + i];
            if (kinds[part] != NOT && part != universal) {
                return NONE;
            }
        }
        return kinds[lexeme] == SEQ ? seq(universal, bs[lexeme]) : universal;
    }

    /** A text that is the same for the same lexeme of other constraints; empty if it would be very long. */
    String signature(int lexeme) {
        StringBuilder out = new StringBuilder();
        return sign(lexeme, out) ? out.toString() : "";
    }

    private boolean sign(int e, StringBuilder out) {
        out.append(kinds[e]).append(':');
        switch (kinds[e]) {
            case BYTES -> {
                for (long word : sets[as[e]]) {
                    out.append(word == 0 ? "" : Long.toHexString(word)).append('.');
                }
            }
            case SEQ, CAT -> {
                return sign(as[e], out) && sign(bs[e], out);
            }
            case ALT, AND -> {
                out.append(bs[e]).append('(');
                for (int i = 0; i < bs[e]; i++) {
                    if (!sign(lists[as[e] + i], out)) {
                        return false;
                    }
                }
            }
            case NOT -> {
                return sign(as[e], out);
            }
            case REP -> {
                out.append(bs[e]).append('-').append(cs[e]).append(':');
                return sign(as[e], out);
            }
            default ->
                out.append(as[e])
                        .append('.')
                        .append(bs[e])
                        .append('.')
                        .append(cs[e])
                        .append(';');
        }
        return out.length() < MAX_SIGNATURE;
    }

    // Derivatives.

    /**
     * Fixes the classes of bytes, removes what no text matches, and allows {@link #next}.
     *
     * @return the same expression without those parts
     */
    int freeze(int start) {
        classify();
        boolean[] productive = new boolean[ruleCount];
        boolean changed = true;
        while (changed) {
            changed = false;
            for (int rule = ruleCount - 1; rule >= 0; rule--) { // rules mostly refer to later ones
                if (!productive[rule] && isProductive(rules[rule], productive)) {
                    productive[rule] = true;
                    changed = true;
                }
            }
        }
        int[] pruned = new int[size]; // by expression, plus 1; 0: not known
        for (int rule = 0; rule < ruleCount; rule++) {
            rules[rule] = prune(rules[rule], productive, pruned);
        }
        members.replaceAll(pairs -> pairs.map(e -> prune(e, productive, pruned)));
        return prune(start, productive, pruned);
    }

    private void classify() {
        if (hasMultiples) {
            for (int b = '0'; b <= '9'; b++) {
                range(b, b);
            }
            range('.', '.');
            range('-', '-');
        }
        int[] numbers = new int[256]; // of classes, by byte
        int[] sizes = new int[256];
        sizes[0] = 256;
        int count = 1;
        for (int set = 0; set < setCount; set++) { // splits each class that it cuts
            int[] cut = new int[256]; // by class: its bytes in the set
            int[] within = new int[256]; // by class: the class that these bytes have then, plus 1
            for (int b = nextByte(set, 0); b < 256; b = nextByte(set, b + 1)) {
                cut[numbers[b]]++;
            }
            for (int b = nextByte(set, 0); b < 256; b = nextByte(set, b + 1)) {
                int number = numbers[b];
                if (within[number] == 0 && cut[number] == sizes[number]) {
                    within[number] = number + 1;
                } else if (within[number] == 0) {
                    sizes[count] = cut[number];
                    sizes[number] -= cut[number];
                    within[number] = ++count;
                }
                numbers[b] = within[number] - 1;
            }
        }
        classes = new byte[256];
        samples = new byte[count];
        classSizes = new int[count];
        int[] inOrder = new int[count]; // classes by their first bytes, plus 1
        int found = 0;
        for (int b = 0; b < 256; b++) {
            if (inOrder[numbers[b]] == 0) {
                samples[found] = (byte) b;
                inOrder[numbers[b]] = ++found;
            }
            int number = inOrder[numbers[b]] - 1;
            classes[b] = (byte) number;
            classSizes[number]++;
        }
    }

    /** The first byte of a set from a byte on; 256 if there is none. */
    private int nextByte(int set, int from) {
        for (int word = from >> 6; word < 4; word++) {
            long rest = sets[set][word] & (word == from >> 6 ? -1L << from : -1L);
            if (rest != 0) {
                return (word << 6) + Long.numberOfTrailingZeros(rest);
            }
        }
        return 256;
    }

    private boolean isProductive(int e, boolean[] productive) {
        if ((flags[e] & PLAIN) != 0) {
            return true;
        }
        int last = e;
        while (isChain(last)) { // not by recursion: sequences are long
            if (!isProductive(as[last], productive)) {
                return false;
            }
            last = bs[last];
        }
        if (last != e) {
            return isProductive(last, productive);
        }
        deeper();
        boolean result =
                switch (kinds[e]) {
                    case ALT -> {
                        boolean any = false;
                        for (int i = 0; i < bs[e] && !any; i++) {
                            any = isProductive(lists[as[e] + i], productive);
                        }
                        yield any;
                    }
                    case REP -> bs[e] == 0 || isProductive(as[e], productive);
                    case RULE -> productive[as[e]];
                    case AND, NOT, MULTIPLE -> !isEmpty(e);
                    case MEMBERS -> isProductive(members.get(as[e]), productive);
                    case DISTINCT -> isProductive(distinct.get(as[e]));
                    default -> e != NONE;
                };
        depth--;
        return result;
    }

    private boolean isChain(int e) {
        return (flags[e] & PLAIN) == 0 && (kinds[e] == SEQ || kinds[e] == CAT);
    }

    private void deeper() {
        if (++depth > MAX_DEPTH) {
            depth = 0;
            throw new ConstraintException("the constraint nests its alternatives too deeply");
        }
    }

    private boolean isProductive(Distinct elements) {
        return elements.least() <= elements.most()
                && (elements.isPlain() || texts(element(elements, List.of()), elements.least(), 0) >= elements.least());
    }

    private boolean isProductive(Members pairs, boolean[] productive) {
        int possible = 0;
        int required = 0;
        for (int i = 0; i < pairs.size(); i++) {
            boolean isPossible = isProductive(pairs.rest(i), productive);
            if (pairs.isRequired(i) && !isPossible) {
                return false;
            }
            possible += isPossible ? 1 : 0;
            required += pairs.isRequired(i) ? 1 : 0;
        }
        return required <= pairs.most()
                && pairs.least() <= pairs.most()
                && (possible >= pairs.least() || isProductive(pairs.others(), productive));
    }

    private int prune(int e, boolean[] productive, int[] pruned) {
        if ((flags[e] & PLAIN) != 0) {
            return e;
        }
        if (pruned[e] != 0) {
            return pruned[e] - 1;
        }
        if (isChain(e)) {
            return pruneChain(e, productive, pruned);
        }
        deeper();
        int result =
                switch (kinds[e]) {
                    case ALT -> {
                        int[] parts = children(e);
                        for (int i = 0; i < parts.length; i++) {
                            parts[i] = prune(parts[i], productive, pruned);
                        }
                        yield alt(parts);
                    }
                    case REP -> rep(prune(as[e], productive, pruned), bs[e], cs[e]);
                    case RULE -> productive[as[e]] ? e : NONE;
                    case AND, NOT, MULTIPLE -> isEmpty(e) ? NONE : e;
                    case MEMBERS, DISTINCT -> isProductive(e, productive) ? e : NONE;
                    default -> e;
                };
        depth--;
        pruned[e] = result + 1;
        return result;
    }

    /** Prunes the parts of a sequence from its end on. */
    private int pruneChain(int e, boolean[] productive, int[] pruned) {
        List<Integer> chain = new ArrayList<>();
        int last = e;
        while (isChain(last) && pruned[last] == 0) {
            chain.add(last);
            last = bs[last];
        }
        int result = prune(last, productive, pruned);
        for (int each : chain.reversed()) {
            int first = prune(as[each], productive, pruned);
            result = kinds[each] == SEQ ? seq(first, result) : cat(first, result);
            pruned[each] = result + 1;
        }
        return result;
    }

    /** The derivative by a byte; {@link #NONE} if no text begins with it. */
    int next(int expression, byte b) {
        return derive(expression, classes[b & 0xFF] & 0xFF);
    }

    /** Number of bytes that may come next. */
    int allowedBytes(int expression) {
        int count = 0;
        for (int c = 0; c < samples.length; c++) {
            count += derive(expression, c) != NONE ? classSizes[c] : 0;
        }
        return count;
    }

    /** The byte that must come next; −1 if several may. */
    int onlyByte(int expression) {
        int only = -1;
        for (int c = 0; c < samples.length; c++) {
            if (derive(expression, c) != NONE) {
                if (only >= 0 || classSizes[c] > 1) {
                    return -1;
                }
                only = samples[c] & 0xFF;
            }
        }
        return only;
    }

    /** Whether the whole text matches. */
    boolean matches(int expression, byte[] text) {
        int state = expression;
        for (int i = 0; i < text.length && state != NONE; i++) {
            state = next(state, text[i]);
        }
        return isNullable(state);
    }

    private int derive(int e, int byteClass) {
        int[] row = rows[e];
        if (row != null && row[byteClass] != 0) {
            return row[byteClass] - 1;
        }
        deeper();
        int result = compute(e, byteClass);
        depth--;
        if (rows[e] == null) {
            rowNumbers += samples.length;
            if (rowNumbers > 40L * limit) {
                throw tooMany();
            }
            rows[e] = new int[samples.length];
        }
        rows[e][byteClass] = result + 1;
        return result;
    }

    private int compute(int e, int byteClass) {
        int a = as[e];
        return switch (kinds[e]) {
            case BYTES -> {
                int b = samples[byteClass] & 0xFF;
                yield (sets[a][b >> 6] >>> b & 1) != 0 ? EMPTY : NONE;
            }
            case SEQ -> {
                int first = seq(derive(a, byteClass), bs[e]);
                yield isNullable(a) ? alt(first, derive(bs[e], byteClass)) : first;
            }
            case CAT -> {
                int first = cat(derive(a, byteClass), bs[e]);
                yield isNullable(a) ? alt(first, derive(bs[e], byteClass)) : first;
            }
            case ALT -> alt(deriveAll(e, byteClass));
            case AND -> {
                int result = and(deriveAll(e, byteClass));
                yield isEmpty(result) ? NONE : result;
            }
            case NOT -> not(derive(a, byteClass));
            case REP -> {
                int first = derive(a, byteClass);
                int rest = rep(a, Math.max(bs[e] - 1, 0), cs[e] == UNLIMITED ? UNLIMITED : cs[e] - 1);
                yield (flags[a] & LEXEME) != 0 ? seq(first, rest) : cat(first, rest);
            }
            case RULE -> derive(rules[a], byteClass);
            case MULTIPLE -> deriveMultiple(e, samples[byteClass]);
            case MEMBERS, DISTINCT -> derive(expand(e), byteClass);
            case ELEMENT -> deriveElement(e, byteClass);
            case NAMES -> deriveNames(e, samples[byteClass]);
            default -> e == ANYTHING ? ANYTHING : NONE;
        };
    }

    private int[] deriveAll(int e, int byteClass) {
        int[] parts = children(e);
        for (int i = 0; i < parts.length; i++) {
            parts[i] = derive(parts[i], byteClass);
        }
        return parts;
    }

    private int deriveMultiple(int e, byte b) {
        int divisor = as[e];
        int places = cs[e];
        if (b == '-') {
            return e;
        }
        if (b == '.') {
            return places >= 0 ? multiple(divisor, bs[e], -1 - places) : NONE;
        }
        if (b < '0' || b > '9') {
            return NONE;
        }
        if (places == -1) { // no digit but 0 may follow
            return b == '0' ? e : NONE;
        }
        return multiple(divisor, (int) ((bs[e] * 10L + b - '0') % divisor), places < 0 ? places + 1 : places);
    }

    private int deriveNames(int e, byte b) {
        Members pairs = members.get(as[e]);
        int bytes = nameBytes(e);
        int to = pairs.end(firstName(e), bytes);
        int first = pairs.firstWith(firstName(e), to, bytes, b);
        int end = pairs.endWith(first, to, bytes, b);
        if (first == end) {
            return NONE;
        }
        boolean isWhole = pairs.isWhole(first, bytes + 1);
        int whole = isWhole && mayBeNamed(e, first, first + 1) ? afterName(e, first) : NONE;
        int within = mayBeNamed(e, isWhole ? first + 1 : first, end)
                ? intern(NAMES, as[e], bs[e], first << 16 | bytes + 1, 0)
                : NONE;
        return alt(whole, within);
    }

    /** Whether no text matches a lexeme. Searches its derivatives for one that matches the empty text. */
    boolean isEmpty(int lexeme) {
        if (isSure(lexeme)) {
            return lexeme == NONE;
        }
        if (emptiness[lexeme] != UNKNOWN) {
            return emptiness[lexeme] == IS_EMPTY;
        }
        return search(lexeme);
    }

    /** Whether only {@link #NONE} can be empty: an expression of this kind is made of parts that match something. */
    private boolean isSure(int lexeme) {
        byte kind = kinds[lexeme];
        return kind != AND && kind != NOT && kind != MULTIPLE;
    }

    /** A breadth-first search, so that the way to the end is short. All states that it meets get an answer or stay unknown. */
    private boolean search(int start) {
        int[] queue = new int[64];
        int[] from = new int[64];
        BitSet met = new BitSet();
        int count = 0;
        queue[count++] = start;
        from[0] = -1;
        met.set(start);
        for (int at = 0; at < count; at++) {
            int e = queue[at];
            if (isNullable(e) || isSure(e) || emptiness[e] == IS_NOT_EMPTY) {
                for (int back = at; back >= 0; back = from[back]) {
                    emptiness[queue[back]] = IS_NOT_EMPTY;
                }
                return false;
            }
            if (emptiness[e] == IS_EMPTY) {
                continue;
            }
            for (int c = 0; c < samples.length; c++) {
                int next = step(e, c);
                if (next != NONE && !met.get(next)) {
                    met.set(next);
                    if (count == queue.length) {
                        queue = Arrays.copyOf(queue, 2 * count);
                        from = Arrays.copyOf(from, 2 * count);
                    }
                    from[count] = at;
                    queue[count++] = next;
                }
            }
        }
        for (int i = 0; i < count; i++) {
            emptiness[queue[i]] = IS_EMPTY;
        }
        return true;
    }

    /** The derivative, but an intersection at the top is not examined: the search does that itself. */
    private int step(int e, int byteClass) {
        return kinds[e] == AND ? and(deriveAll(e, byteClass)) : derive(e, byteClass);
    }

    // Storage.

    private int[] children(int e) {
        return Arrays.copyOfRange(lists, as[e], as[e] + bs[e]);
    }

    private int flatten(int[] parts, byte kind) {
        int count = 0;
        for (int part : parts) {
            count += kinds[part] == kind ? bs[part] : 1;
        }
        return count;
    }

    private boolean isFlat(int[] parts, byte kind) {
        for (int part : parts) {
            if (kinds[part] == kind) {
                return false;
            }
        }
        return true;
    }

    private int[] flattened(int[] parts, int count, byte kind) {
        int[] list = new int[count];
        int at = 0;
        for (int part : parts) {
            if (kinds[part] == kind) {
                System.arraycopy(lists, as[part], list, at, bs[part]);
                at += bs[part];
            } else {
                list[at++] = part;
            }
        }
        return list;
    }

    private int intern(byte kind, int a, int b, int c, int flag) {
        int mask = table.length - 1;
        int slot = hash(((kind * 31 + a) * 0x9E3779B1 + b) * 0x85EBCA6B + c) & mask;
        while (table[slot] != 0) {
            int e = table[slot] - 1;
            if (kinds[e] == kind && as[e] == a && bs[e] == b && cs[e] == c) {
                return e;
            }
            slot = slot + 1 & mask;
        }
        int e = add(kind, a, b, c, flag);
        table[slot] = e + 1;
        growTable();
        return e;
    }

    private int internList(byte kind, int[] list, int count, int flag) {
        int code = kind;
        for (int i = 0; i < count; i++) {
            code = code * 0x9E3779B1 + list[i];
        }
        int mask = table.length - 1;
        int slot = hash(code) & mask;
        while (table[slot] != 0) {
            int e = table[slot] - 1;
            if (kinds[e] == kind && bs[e] == count && Arrays.equals(lists, as[e], as[e] + count, list, 0, count)) {
                return e;
            }
            slot = slot + 1 & mask;
        }
        if (listsSize + count > 16L * limit) {
            throw tooMany();
        }
        if (listsSize + count > lists.length) {
            lists = Arrays.copyOf(lists, Math.max(2 * lists.length, listsSize + count));
        }
        System.arraycopy(list, 0, lists, listsSize, count);
        int e = add(kind, listsSize, count, 0, flag);
        cs[e] = code;
        listsSize += count;
        table[slot] = e + 1;
        growTable();
        return e;
    }

    private static int hash(int code) {
        int mixed = (code ^ code >>> 15) * 0x2C1B3C6D;
        return mixed ^ mixed >>> 12;
    }

    private int add(byte kind, int a, int b, int c, int flag) {
        if (size == limit) {
            throw tooMany();
        }
        if (size == kinds.length) {
            int room = 2 * size;
            kinds = Arrays.copyOf(kinds, room);
            flags = Arrays.copyOf(flags, room);
            as = Arrays.copyOf(as, room);
            bs = Arrays.copyOf(bs, room);
            cs = Arrays.copyOf(cs, room);
            emptiness = Arrays.copyOf(emptiness, room);
            rows = Arrays.copyOf(rows, room);
        }
        kinds[size] = kind;
        as[size] = a;
        bs[size] = b;
        cs[size] = c;
        flags[size] = (byte) flag;
        return size++;
    }

    private ConstraintException tooMany() {
        depth = 0;
        return new ConstraintException("the constraint needs more than " + limit + " states");
    }

    private void growTable() {
        if (2 * size <= table.length) {
            return;
        }
        int[] larger = new int[2 * table.length];
        int mask = larger.length - 1;
        for (int e = 3; e < size; e++) {
            int code = kinds[e] == ALT || kinds[e] == AND
                    ? cs[e]
                    : ((kinds[e] * 31 + as[e]) * 0x9E3779B1 + bs[e]) * 0x85EBCA6B + cs[e];
            int slot = hash(code) & mask;
            while (larger[slot] != 0) {
                slot = slot + 1 & mask;
            }
            larger[slot] = e + 1;
        }
        table = larger;
    }
}
