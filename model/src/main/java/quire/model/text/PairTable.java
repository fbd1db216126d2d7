package quire.model.text;

import java.util.Arrays;

/**
 * A hash table from pairs of ints to numbers that are not negative. No objects: entries are in one array, in the order in
 * which they were added, and a table with open addressing finds them.
 *
 * <pre>
 *   slots     [0][2][0][1] …             number of the entry, from 1; 0 is an empty slot
 *   entries   [left right high low] …    high and low are the halves of the value
 * </pre>
 */
final class PairTable {
    /** No entry. */
    static final long NONE = -1;

    /**
     * Hashes are products of this odd number. Each process has another one, so nobody can write a file whose entries all
     * want the same slot. Nothing but the order of slots depends on it.
     */
    static final long MULTIPLIER = 0x9E3779B97F4A7C15L * (2 * System.nanoTime() + 1);

    private static final int ENTRY = 4;

    private int[] slots;
    private int[] entries;
    private int shift;
    private int size;

    /** Room for {@code pairs} pairs. It grows if there are more. */
    PairTable(int pairs) {
        entries = new int[ENTRY * Math.max(8, pairs)];
        slots = newSlots();
    }

    /** Adds an entry. If a pair is added twice, the first entry counts. */
    void put(int left, int right, long value) {
        int slot = slot(left, right);
        if (slots[slot] != 0) {
            return;
        }
        if (ENTRY * size == entries.length) {
            entries = Arrays.copyOf(entries, 2 * entries.length);
            slots = newSlots();
            for (int i = 0; i < size; i++) {
                slots[slot(entries[ENTRY * i], entries[ENTRY * i + 1])] = i + 1;
            }
            slot = slot(left, right);
        }
        int at = ENTRY * size;
        entries[at] = left;
        entries[at + 1] = right;
        entries[at + 2] = (int) (value >>> 32);
        entries[at + 3] = (int) value;
        slots[slot] = ++size;
    }

    /** Empty slots for as many entries as their array has room for: at most two thirds are filled. */
    private int[] newSlots() {
        int bits = Integer.SIZE - Integer.numberOfLeadingZeros(entries.length / ENTRY / 2 * 3);
        shift = Long.SIZE - bits;
        return new int[1 << bits];
    }

    /** Gives back the room of entries that were not added. */
    void trim() {
        entries = Arrays.copyOf(entries, ENTRY * Math.max(1, size));
    }

    /** The value of a pair, or {@link #NONE}. */
    long get(int left, int right) {
        int entry = slots[slot(left, right)] - 1;
        return entry < 0
                ? NONE
                : ((long) entries[ENTRY * entry + 2] << 32) | (entries[ENTRY * entry + 3] & 0xFFFF_FFFFL);
    }

    /** The slot of a pair, or the empty one where it would be. */
    private int slot(int left, int right) {
        long key = ((long) left << 32) | (right & 0xFFFF_FFFFL);
        long mixed = key * MULTIPLIER;
        int slot = (int) (((mixed ^ (mixed >>> 32)) * MULTIPLIER) >>> shift);
        while (slots[slot] != 0) {
            int at = ENTRY * (slots[slot] - 1);
            if (entries[at] == left && entries[at + 1] == right) {
                return slot;
            }
            slot = (slot + 1) & (slots.length - 1);
        }
        return slot;
    }
}
