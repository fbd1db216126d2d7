package quire.engine.constrain;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.engine.constrain.Profiles.Profile;

/**
 * A constraint over a vocabulary. States are {@link Expressions}; a token leads from one to the next by its bytes. The
 * mask of a state is found by walking the tree of the vocabulary.
 *
 * <p>Most of the work is saved by one observation. Inside of a string nearly all tokens are allowed, and which ones
 * does not depend on what follows the string. So the tokens that stay within such a lexeme are found once, together with
 * the nodes of the tree where the lexeme may end. For a state with another continuation only the parts of the tree below
 * these nodes are walked.
 *
 * <pre>
 *   state      lexeme: rest of a string        continuation: , "b": …
 *   tokens     abc   the   "   ",   ","   "}
 *   inside     abc   the   "                          the same for every continuation
 *   ends       at the node of "   and below it:  ,   ,"   }      walked with the continuation
 * </pre>
 *
 * <p>Thread-safe: its methods hold its lock. What they return depends on the constraint, the vocabulary and their
 * arguments only. Beyond {@value #STATES} states they throw {@link ConstraintException}.
 */
final class Automaton {
    /** Most states beside those of the compiled constraint. */
    static final int STATES = 60_000;

    /** A lexeme with at least as many possible next bytes gets a {@link Profile}. */
    private static final int MANY_BYTES = 64;

    /** Most numbers in masks, and most profiles, until all are dropped. */
    private static final int MAX_MASK_NUMBERS = 1 << 19;

    private static final int MAX_PROFILES = 128;

    /** What a mask without any tokens counts. */
    private static final int MASK_NUMBERS = 8;

    private static final long[] NO_BITS = {};

    private static final Profile NOTHING = new Profile(NO_BITS, new int[0]);

    private final Constraint constraint;
    private final Vocabulary vocabulary;
    private final Profiles shared;
    private final Expressions expressions;
    private final int start;
    private final int firstSize;
    private @Nullable Mask[] masks = new Mask[64]; // by state
    private int maskNumbers;
    private final Map<Integer, Profile> profiles = new HashMap<>();
    private final int[] path; // states by depth of the walk
    private final int[] basePath; // the same for a similar lexeme
    private final int[] nameFrom; // ranges of names by depth of the walk
    private final int[] nameTo;
    private final long[] bits;
    private final byte[] forcedBytes = new byte[64];
    private boolean full;

    Automaton(Constraint constraint, Vocabulary vocabulary, Profiles shared) {
        this.constraint = constraint;
        this.vocabulary = vocabulary;
        this.shared = shared;
        expressions = constraint.expressions(STATES);
        start = constraint.start();
        firstSize = expressions.size();
        path = new int[vocabulary.maxDepth() + 1];
        basePath = new int[vocabulary.maxDepth() + 1];
        nameFrom = new int[vocabulary.maxDepth() + 1];
        nameTo = new int[vocabulary.maxDepth() + 1];
        bits = new long[(vocabulary.size() + Long.SIZE - 1) / Long.SIZE];
    }

    /** Another automaton for the same constraint, without any states. */
    Automaton fresh() {
        return new Automaton(constraint, vocabulary, shared);
    }

    int start() {
        return start;
    }

    /** The limit for the first part of the answer; null for none. */
    @Nullable
    TextLimit limit() {
        return constraint.limit();
    }

    /** The vocabulary. */
    Vocabulary vocabulary() {
        return vocabulary;
    }

    /** Whether a token ends an answer. */
    boolean isEnd(int token) {
        return Arrays.binarySearch(vocabulary.endTokens(), token) >= 0;
    }

    /** Whether a method has failed because of the limit. */
    synchronized boolean isFull() {
        return full;
    }

    /** Number of states found so far. */
    synchronized int size() {
        return expressions.size() - firstSize;
    }

    /** Whether the text may end in a state. */
    synchronized boolean mayEnd(int state) {
        return expressions.isNullable(state);
    }

    /** The state after a token; {@link Expressions#NONE} if the token is not allowed. */
    synchronized int advance(int state, int token) {
        byte[] bytes = vocabulary.bytes();
        int from = vocabulary.offset(token);
        int to = vocabulary.offset(token + 1);
        if (from == to) {
            return Expressions.NONE;
        }
        int next = state;
        try {
            for (int i = from; i < to && next != Expressions.NONE; i++) {
                next = expressions.next(next, bytes[i]);
            }
        } catch (ConstraintException e) {
            full = true;
            throw e;
        }
        return next;
    }

    /**
     * Follows bytes that are the only possible ones, and splits them into the longest tokens.
     *
     * @return how many tokens were written
     */
    synchronized int forced(int state, int[] tokens, int at, int most) {
        byte[] text = forcedBytes;
        int size = 0;
        int next = state;
        try {
            while (size < text.length && !expressions.isNullable(next)) {
                int only = expressions.onlyByte(next);
                if (only < 0) {
                    break;
                }
                text[size++] = (byte) only;
                next = expressions.next(next, (byte) only);
            }
        } catch (ConstraintException e) {
            full = true;
            return 0;
        }
        int count = 0;
        int done = 0;
        while (done < size && count < most) {
            int longest = -1;
            int end = done;
            int from = 0;
            int to = vocabulary.nodes();
            for (int i = done; i < size; i++) {
                int node = from;
                while (node < to && vocabulary.nodeByte(node) != text[i]) {
                    node = vocabulary.end(node);
                }
                if (node >= to) {
                    break;
                }
                if (vocabulary.token(node) >= 0) {
                    longest = vocabulary.token(node);
                    end = i + 1;
                }
                from = node + 1;
                to = vocabulary.end(node);
            }
            if (longest < 0) {
                break;
            }
            tokens[at + count++] = longest;
            done = end;
        }
        return count;
    }

    /** The tokens that are allowed in a state, end tokens included. */
    synchronized Mask mask(int state) {
        Mask known = state < masks.length ? masks[state] : null;
        if (known != null) {
            return known;
        }
        try {
            Mask mask = compute(state);
            int size = MASK_NUMBERS + mask.ownSize();
            maskNumbers += size;
            if (maskNumbers > MAX_MASK_NUMBERS) {
                Arrays.fill(masks, null);
                maskNumbers = size;
            }
            if (state >= masks.length) {
                masks = Arrays.copyOf(masks, Math.max(state + 1, 2 * masks.length));
            }
            masks[state] = mask;
            return mask;
        } catch (ConstraintException e) {
            full = true;
            throw e;
        } finally {
            Arrays.fill(bits, 0);
        }
    }

    private Mask compute(int state) {
        List<long[]> inside = new ArrayList<>();
        List<Integer> narrow = new ArrayList<>();
        Deque<Integer> open = new ArrayDeque<>();
        open.add(state);
        while (!open.isEmpty()) {
            int e = open.removeLast();
            if (expressions.isAlt(e) && !expressions.isLexeme(e)) {
                for (int part : expressions.parts(e)) {
                    open.add(part);
                }
                continue;
            }
            int lexeme = expressions.isCat(e) ? expressions.head(e) : e;
            int behind = expressions.isCat(e) ? expressions.tail(e) : Expressions.EMPTY;
            if (expressions.isBetween(lexeme)) {
                open.add(expressions.cat(expressions.expand(lexeme), behind));
                continue;
            }
            if (expressions.isElement(lexeme)) {
                Profile profile = profile(expressions.clamp(expressions.restOfElement(lexeme), vocabulary.maxDepth()));
                if (!inside.contains(profile.inside())) {
                    inside.add(profile.inside());
                }
                walkBehindElement(e, lexeme, behind, profile.exits());
                continue;
            }
            if (expressions.isNames(lexeme)) {
                walkNames(lexeme, behind);
                continue;
            }
            if (!expressions.isLexeme(lexeme) || expressions.allowedBytes(lexeme) < MANY_BYTES) {
                narrow.add(e);
                continue;
            }
            Profile profile = profile(expressions.clamp(lexeme, vocabulary.maxDepth()));
            if (!inside.contains(profile.inside())) {
                inside.add(profile.inside());
            }
            if (expressions.isCat(e)) {
                int tail = expressions.tail(e);
                for (int node : profile.exits()) {
                    path[vocabulary.depth(node)] = tail;
                    walk(node + 1, vocabulary.end(node));
                }
                if (expressions.isNullable(lexeme)) {
                    open.add(tail);
                }
            }
        }
        if (!narrow.isEmpty()) {
            path[0] =
                    expressions.alt(narrow.stream().mapToInt(Integer::intValue).toArray());
            walk(0, vocabulary.nodes());
        }
        if (expressions.isNullable(state)) {
            for (int token : vocabulary.endTokens()) {
                bits[token >> 6] |= 1L << token;
            }
        }
        return mask(inside);
    }

    /** Adds the tokens of the nodes from {@code from} to {@code to}. The states above them are in {@link #path}. */
    private void walk(int from, int to) {
        for (int node = from; node < to; ) {
            int depth = vocabulary.depth(node);
            int state = expressions.next(path[depth - 1], vocabulary.nodeByte(node));
            if (state == Expressions.NONE) {
                node = vocabulary.end(node);
            } else {
                path[depth] = state;
                vocabulary.addTokens(node, bits);
                node++;
            }
        }
    }

    /**
     * Adds the tokens that begin or continue one of the names of pairs. Only what follows a whole name becomes states.
     *
     * @param behind what follows all pairs
     */
    private void walkNames(int names, int behind) {
        Members pairs = expressions.pairs(names);
        int written = expressions.nameBytes(names);
        nameFrom[0] = expressions.firstName(names);
        nameTo[0] = pairs.end(nameFrom[0], written);
        for (int node = 0; node < vocabulary.nodes(); ) {
            int depth = vocabulary.depth(node);
            int bytes = written + depth - 1;
            byte b = vocabulary.nodeByte(node);
            int first = pairs.firstWith(nameFrom[depth - 1], nameTo[depth - 1], bytes, b);
            int to = pairs.endWith(first, nameTo[depth - 1], bytes, b);
            int end = vocabulary.end(node);
            if (first == to || !expressions.mayBeNamed(names, first, to)) {
                node = end;
                continue;
            }
            vocabulary.addTokens(node, bits);
            boolean isWhole = pairs.isWhole(first, bytes + 1);
            if (isWhole && end > node + 1 && expressions.mayBeNamed(names, first, first + 1)) {
                path[depth] = expressions.cat(expressions.afterName(names, first), behind);
                walk(node + 1, end);
            }
            nameFrom[depth] = first;
            nameTo[depth] = to;
            node = expressions.mayBeNamed(names, isWhole ? first + 1 : first, to) ? node + 1 : end;
        }
    }

    /**
     * Adds the tokens that end one of several distinct elements and go on. What follows hardly depends on the element's text, so
     * it is left open, which saves a state for each text. A token that has more than the first byte of a further element, or
     * elements of which there may be few, are followed with their own text.
     *
     * @param e the whole state
     * @param behind what follows all elements
     * @param exits where the element may end
     */
    private void walkBehindElement(int e, int element, int behind, int[] exits) {
        int after = expressions.cat(expressions.afterUnknownElement(element), behind);
        boolean isPlain = expressions.isPlainElement(element);
        for (int exit : exits) {
            path[vocabulary.depth(exit)] = after;
            nameFrom[vocabulary.depth(exit)] = 0; // the depth where the further element begins; 0: it has not begun
            for (int node = exit + 1; node < vocabulary.end(exit); ) {
                int depth = vocabulary.depth(node);
                int state = expressions.next(path[depth - 1], vocabulary.nodeByte(node));
                if (state == Expressions.NONE) {
                    node = vocabulary.end(node);
                    continue;
                }
                path[depth] = state;
                int begun = nameFrom[depth - 1];
                begun = begun == 0 && expressions.isBegunElement(state) ? depth : begun;
                nameFrom[depth] = begun;
                int token = vocabulary.token(node);
                boolean isSure = isPlain && (begun == 0 || depth == begun);
                if (isSure || (token >= 0 && advance(e, token) != Expressions.NONE)) {
                    vocabulary.addTokens(node, bits);
                }
                node++;
            }
        }
    }

    private Profile profile(int lexeme) {
        Profile known = profiles.get(lexeme);
        if (known != null) {
            return known;
        }
        String signature = expressions.signature(lexeme);
        Profile profile = signature.isEmpty() ? null : shared.get(signature);
        if (profile == null) {
            int base = expressions.withoutComplements(lexeme);
            profile = walkThrough(lexeme, base, base == Expressions.NONE ? NOTHING : profile(base));
            if (!signature.isEmpty()) {
                shared.put(signature, profile);
            }
        }
        if (profiles.size() == MAX_PROFILES) {
            profiles.clear();
        }
        profiles.put(lexeme, profile);
        return profile;
    }

    /**
     * @param base a similar lexeme; where both are in the same state, the result is the same. {@link Expressions#NONE}
     *     for none
     */
    private Profile walkThrough(int lexeme, int base, Profile known) {
        long[] inside = base == Expressions.NONE
                ? new long[bits.length]
                : known.inside().clone();
        int[] exits = new int[known.exits().length + 64];
        int count = 0;
        int copied = 0; // exits of the base that are behind
        path[0] = lexeme;
        basePath[0] = base;
        for (int node = 0; node < vocabulary.nodes(); ) {
            int depth = vocabulary.depth(node);
            byte b = vocabulary.nodeByte(node);
            int state = expressions.next(path[depth - 1], b);
            int same = expressions.next(basePath[depth - 1], b);
            int end = vocabulary.end(node);
            if (state == same) {
                for (; copied < known.exits().length && known.exits()[copied] < end; copied++) {
                    exits = count == exits.length ? Arrays.copyOf(exits, 2 * count) : exits;
                    exits[count++] = known.exits()[copied];
                }
                node = end;
                continue;
            }
            if (copied < known.exits().length && known.exits()[copied] == node) {
                copied++;
            }
            path[depth] = state;
            basePath[depth] = same;
            if (state == Expressions.NONE) {
                vocabulary.removeTokens(node, inside);
            } else {
                vocabulary.addTokens(node, inside);
                if (expressions.isNullable(state) && end > node + 1) {
                    exits = count == exits.length ? Arrays.copyOf(exits, 2 * count) : exits;
                    exits[count++] = node;
                }
            }
            node++;
        }
        return new Profile(inside, Arrays.copyOf(exits, count));
    }

    /** The mask of some shared sets and the tokens in {@link #bits}. */
    private Mask mask(List<long[]> inside) {
        long[] common = NO_BITS;
        if (inside.size() == 1) {
            common = inside.getFirst();
        } else if (!inside.isEmpty()) {
            common = new long[bits.length];
            for (long[] set : inside) {
                for (int i = 0; i < common.length; i++) {
                    common[i] |= set[i];
                }
            }
        }
        int count = 0;
        for (int i = 0; i < bits.length; i++) {
            count += Long.bitCount(common.length == 0 ? bits[i] : bits[i] & ~common[i]);
        }
        int[] others = new int[count];
        int at = 0;
        for (int i = 0; i < bits.length; i++) {
            long left = common.length == 0 ? bits[i] : bits[i] & ~common[i];
            for (; left != 0; left &= left - 1) {
                others[at++] = Long.SIZE * i + Long.numberOfTrailingZeros(left);
            }
        }
        return new Mask(common, others, inside.size() > 1);
    }
}
