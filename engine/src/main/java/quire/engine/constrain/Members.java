package quire.engine.constrain;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Comparator;
import java.util.List;
import java.util.function.IntUnaryOperator;

/**
 * The pairs of an object, which may come in any order, each at most once. A pair is a name, and an expression for the rest of
 * it. Which names have been written is a {@link State}; {@link Expressions#members} makes expressions of it.
 *
 * <p>The names are sorted, so the names with a common beginning are neighbours. A place within names is therefore a range of
 * names and a number of bytes that have been written.
 *
 * <pre>
 *   names        age"   city"   code"
 *   after c             [ city  code ]      range 1 to 3, 1 byte
 *   after co                    [code]      range 2 to 3, 2 bytes
 * </pre>
 *
 * Immutable.
 */
final class Members {
    /** Most pairs. */
    static final int MAX = 1000;

    /** Most bytes of a name. */
    static final int MAX_NAME = 0xFFFF;

    /**
     * A pair.
     *
     * @param name its first characters, as {@link Part#bytes} reads them; at least one
     * @param rest what follows; {@link Expressions#NONE} if nothing can
     */
    record Pair(String name, int rest, boolean isRequired) {}

    /**
     * What has been written.
     *
     * @param written pairs by number; not changed
     * @param count of all pairs, also of others; not beyond the number from which on it does not matter
     */
    record State(BitSet written, int count) {}

    private final byte[][] names;
    private final int[] rests;
    private final BitSet required = new BitSet();
    private final int others;
    private final int separator;
    private final int close;
    private final int least;
    private final int most;
    private final boolean othersLast;

    /**
     * @param pairs at most {@value #MAX}, no two with the same name
     * @param others a pair that is none of these, any number of times; {@link Expressions#NONE} if there are none
     * @param separator between two pairs
     * @param close behind the last pair
     * @param least fewest pairs
     * @param most most pairs; {@link Expressions#UNLIMITED} for no limit
     * @param othersLast whether others come only when all required pairs are there
     */
    Members(List<Pair> pairs, int others, int separator, int close, int least, int most, boolean othersLast) {
        List<Pair> sorted = new ArrayList<>(pairs);
        sorted.sort(Comparator.comparing(pair -> Part.bytes(pair.name()), Arrays::compareUnsigned));
        names = sorted.stream().map(pair -> Part.bytes(pair.name())).toArray(byte[][]::new);
        rests = sorted.stream().mapToInt(Pair::rest).toArray();
        for (int i = 0; i < names.length; i++) {
            required.set(i, sorted.get(i).isRequired());
        }
        this.others = others;
        this.separator = separator;
        this.close = close;
        this.least = least;
        this.most = most;
        this.othersLast = othersLast;
    }

    private Members(Members from, int[] rests, int others) {
        names = from.names;
        this.rests = rests;
        required.or(from.required);
        this.others = others;
        separator = from.separator;
        close = from.close;
        least = from.least;
        most = from.most;
        othersLast = from.othersLast;
    }

    /** The same pairs with other expressions. */
    Members map(IntUnaryOperator change) {
        return new Members(this, Arrays.stream(rests).map(change).toArray(), change.applyAsInt(others));
    }

    int size() {
        return names.length;
    }

    byte[] name(int pair) {
        return names[pair];
    }

    int rest(int pair) {
        return rests[pair];
    }

    boolean isRequired(int pair) {
        return required.get(pair);
    }

    int others() {
        return others;
    }

    int separator() {
        return separator;
    }

    int close() {
        return close;
    }

    int least() {
        return least;
    }

    int most() {
        return most;
    }

    /** Nothing written. */
    State start() {
        return new State(new BitSet(), 0);
    }

    /** The state after a further pair; −1 for one of the others. */
    State after(State state, int pair) {
        BitSet written = state.written;
        if (pair >= 0) {
            written = (BitSet) written.clone();
            written.set(pair);
        }
        int matters = Math.max(1, most == Expressions.UNLIMITED ? least : most);
        return new State(written, Math.min(state.count + 1, matters));
    }

    /** Whether the last pair may have been written. */
    boolean mayEnd(State state) {
        return missing(state) == 0 && state.count >= least;
    }

    /** Whether one of the others may follow. */
    boolean mayBeOther(State state) {
        return others != Expressions.NONE && room(state) > missing(state) && (!othersLast || missing(state) == 0);
    }

    /** The pairs that may follow, so that there is room for those that must. */
    BitSet following(State state) {
        BitSet following = new BitSet();
        boolean onlyRequired = room(state) <= missing(state);
        for (int i = 0; i < names.length; i++) {
            following.set(
                    i, !state.written.get(i) && rests[i] != Expressions.NONE && (!onlyRequired || required.get(i)));
        }
        return following;
    }

    private int missing(State state) {
        BitSet missing = (BitSet) required.clone();
        missing.andNot(state.written);
        return missing.cardinality();
    }

    private int room(State state) {
        return most == Expressions.UNLIMITED ? Expressions.UNLIMITED : most - state.count;
    }

    // Places within names.

    /** The end of the names that share their first bytes with a name. */
    int end(int from, int bytes) {
        int to = from + 1;
        while (to < names.length
                && names[to].length >= bytes
                && Arrays.equals(names[from], 0, bytes, names[to], 0, bytes)) {
            to++;
        }
        return Math.min(to, names.length);
    }

    /** The first of a range of names that goes on with a byte; {@code to} if none does. */
    int firstWith(int from, int to, int bytes, byte next) {
        int first = from;
        while (first < to && (names[first].length <= bytes || names[first][bytes] != next)) {
            first++;
        }
        return first;
    }

    /** The end of the names that go on with a byte. */
    int endWith(int first, int to, int bytes, byte next) {
        int end = first;
        while (end < to && names[end][bytes] == next) {
            end++;
        }
        return end;
    }

    /** Whether a name has this many bytes. */
    boolean isWhole(int pair, int bytes) {
        return names[pair].length == bytes;
    }
}
