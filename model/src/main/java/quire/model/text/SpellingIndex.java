package quire.model.text;

import java.util.Arrays;
import java.util.function.IntPredicate;
import org.jspecify.annotations.Nullable;
import quire.model.format.ByteStrings;

/**
 * Finds strings by their bytes. A hash table with open addressing whose slots are indexes of the strings: no objects. Equal
 * strings are in a chain, the lowest index first.
 */
final class SpellingIndex {
    /** No string. */
    static final int NONE = -1;

    private final ByteStrings strings;
    /** Index + 1 of the first of equal strings; 0 for an empty slot. */
    private final int[] slots;

    private final int shift;
    /** By index: index + 1 of the next equal string; null if no strings are equal. */
    private int @Nullable [] next;

    private int repeated;

    /** @param included the indexes that can be found */
    SpellingIndex(ByteStrings strings, IntPredicate included) {
        this.strings = strings;
        int bits = Math.max(3, Integer.SIZE - Integer.numberOfLeadingZeros(2 * strings.size()));
        slots = new int[1 << bits];
        shift = Long.SIZE - bits;
        for (int i = strings.size() - 1; i >= 0; i--) { // so each one comes before those that are there already
            if (!included.test(i)) {
                continue;
            }
            int slot = slot(strings.bytes(), strings.start(i), strings.end(i));
            if (slots[slot] != 0) {
                next = next == null ? new int[strings.size()] : next;
                next[i] = slots[slot];
                repeated++;
            }
            slots[slot] = i + 1;
        }
    }

    /** The lowest index of a string that has these bytes, or {@link #NONE}. */
    int find(byte[] bytes, int from, int to) {
        return slots[slot(bytes, from, to)] - 1;
    }

    /** The next index of a string that has the same bytes as this one, or {@link #NONE}. */
    int next(int index) {
        return next == null ? NONE : next[index] - 1;
    }

    /** The number of strings that are equal to one with a lower index. */
    int repeated() {
        return repeated;
    }

    /** The slot of a string, or the empty one where it would be. */
    private int slot(byte[] bytes, int from, int to) {
        long hash = (long) to - from;
        for (int i = from; i < to; i++) {
            hash = (hash ^ bytes[i]) * PairTable.MULTIPLIER;
        }
        int slot = (int) (hash >>> shift);
        while (slots[slot] != 0) {
            int index = slots[slot] - 1;
            if (Arrays.equals(bytes, from, to, strings.bytes(), strings.start(index), strings.end(index))) {
                return slot;
            }
            slot = (slot + 1) & (slots.length - 1);
        }
        return slot;
    }
}
