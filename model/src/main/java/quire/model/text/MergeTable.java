package quire.model.text;

import java.util.Arrays;

/**
 * The merge loop of byte pair encoding. Of all neighbouring symbols that can merge, the pair with the lowest rank
 * merges first, and of several such pairs the leftmost one. This repeats until no pair can merge.
 *
 * <p>Both kinds of vocabulary use this table. Byte-level BPE ranks a pair by its line in the list of merges (Sennrich
 * et al., 2016). SentencePiece ranks it by the score of the token that it makes (Kudo and Richardson, 2018). There,
 * several pairs and even several tokens can have the same rank, and then only the position decides.
 *
 * <p>A symbol is an int: a token id, or a negative number that the caller chose for a symbol without a token.
 * Candidates are in a binary heap of {@code rank << 32 | position}. A merge leaves outdated candidates in the heap. A
 * candidate is outdated if its rank is no longer the rank of the pair at its position. n symbols need O(n log n) steps.
 *
 * <pre>
 *     position   0    1    2    3            0    1    2    3
 *     symbol     l    o    w    e   ──▶      l    ow   ✝    e      the candidates (0,1), (1,2), (2,3) are outdated,
 *     next       1    2    3    −            1    3         −      (0,1) and (1,3) are looked up again
 * </pre>
 */
final class MergeTable {
    private static final int END = -1;
    private static final int GONE = -2;

    /** (left, right) → rank << 32 | result. */
    private final PairTable pairs;

    /** Room for about {@code pairs} pairs. It grows if there are more. */
    MergeTable(int pairs) {
        this.pairs = new PairTable(pairs);
    }

    /**
     * Adds the merge of {@code left} and {@code right} to {@code result}. If a pair is added twice, the first entry
     * counts.
     */
    void put(int left, int right, int rank, int result) {
        pairs.put(left, right, ((long) rank << 32) | result);
    }

    /** Gives back the room of merges that were not added. */
    void trim() {
        pairs.trim();
    }

    /** Merges the first {@code count} symbols in place and returns how many symbols are left. */
    int merge(int[] symbols, int count) {
        if (count < 2) {
            return count;
        }
        int[] previous = new int[count];
        int[] next = new int[count];
        Heap candidates = new Heap(count);
        for (int i = 0; i < count; i++) {
            previous[i] = i - 1;
            next[i] = i + 1 < count ? i + 1 : END;
        }
        for (int i = 0; i + 1 < count; i++) {
            offer(candidates, symbols, i, i + 1);
        }
        while (candidates.size > 0) {
            long candidate = candidates.take();
            int left = (int) candidate;
            int right = next[left];
            if (right < 0) {
                continue;
            }
            long merge = pairs.get(symbols[left], symbols[right]);
            if (merge == PairTable.NONE || merge >>> 32 != candidate >>> 32) {
                continue;
            }
            symbols[left] = (int) merge;
            int after = next[right];
            next[left] = after;
            next[right] = GONE;
            if (after != END) {
                previous[after] = left;
                offer(candidates, symbols, left, after);
            }
            if (previous[left] != END) {
                offer(candidates, symbols, previous[left], left);
            }
        }
        int kept = 0;
        for (int i = 0; i != END; i = next[i]) {
            symbols[kept++] = symbols[i];
        }
        return kept;
    }

    private void offer(Heap candidates, int[] symbols, int left, int right) {
        long merge = pairs.get(symbols[left], symbols[right]);
        if (merge != PairTable.NONE) {
            candidates.add((merge >>> 32 << 32) | left);
        }
    }

    /** A binary heap of longs, smallest first. */
    private static final class Heap {
        long[] items;
        int size;

        Heap(int capacity) {
            items = new long[capacity];
        }

        void add(long item) {
            if (size == items.length) {
                items = Arrays.copyOf(items, items.length + (items.length >> 1) + 1);
            }
            int hole = size++;
            while (hole > 0 && items[(hole - 1) >> 1] > item) {
                items[hole] = items[(hole - 1) >> 1];
                hole = (hole - 1) >> 1;
            }
            items[hole] = item;
        }

        long take() {
            long least = items[0];
            long last = items[--size];
            int hole = 0;
            for (int child = 1; child < size; child = 2 * hole + 1) {
                if (child + 1 < size && items[child + 1] < items[child]) {
                    child++;
                }
                if (items[child] >= last) {
                    break;
                }
                items[hole] = items[child];
                hole = child;
            }
            items[hole] = last;
            return least;
        }
    }
}
