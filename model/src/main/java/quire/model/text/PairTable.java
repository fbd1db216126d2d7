package quire.model.text;

import java.util.Arrays;

/** A hash table from pairs of ints to numbers that are not negative. Open addressing with long keys: no objects. */
final class PairTable {
    /** No entry. */
    static final long NONE = -1;

    private long[] keys;
    private long[] values;
    private int mask;
    private int size;

    /** Room for about {@code pairs} pairs. It grows if there are more. */
    PairTable(int pairs) {
        int slots = Integer.highestOneBit(Math.max(8, pairs)) << 2;
        keys = new long[slots];
        values = new long[slots];
        Arrays.fill(values, NONE);
        mask = slots - 1;
    }

    /** Adds an entry. If a pair is added twice, the first entry counts. */
    void put(int left, int right, long value) {
        if (2 * size > mask) {
            grow();
        }
        put(key(left, right), value);
    }

    private void put(long key, long value) {
        int slot = slot(key);
        while (values[slot] != NONE) {
            if (keys[slot] == key) {
                return;
            }
            slot = (slot + 1) & mask;
        }
        keys[slot] = key;
        values[slot] = value;
        size++;
    }

    private void grow() {
        long[] oldKeys = keys;
        long[] oldValues = values;
        keys = new long[2 * oldKeys.length];
        values = new long[2 * oldKeys.length];
        Arrays.fill(values, NONE);
        mask = keys.length - 1;
        size = 0;
        for (int i = 0; i < oldKeys.length; i++) {
            if (oldValues[i] != NONE) {
                put(oldKeys[i], oldValues[i]);
            }
        }
    }

    /** The value of a pair, or {@link #NONE}. */
    long get(int left, int right) {
        long key = key(left, right);
        int slot = slot(key);
        while (values[slot] != NONE) {
            if (keys[slot] == key) {
                return values[slot];
            }
            slot = (slot + 1) & mask;
        }
        return NONE;
    }

    private static long key(int left, int right) {
        return ((long) left << 32) | (right & 0xFFFFFFFFL);
    }

    private int slot(long key) {
        long mixed = key * 0x9E3779B97F4A7C15L;
        return (int) (mixed ^ (mixed >>> 32)) & mask;
    }
}
