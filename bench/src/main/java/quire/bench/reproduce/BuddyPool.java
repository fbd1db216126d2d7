package quire.bench.reproduce;

import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;

/**
 * Contiguous memory for sequences, in blocks whose sizes are powers of two (a buddy allocator, as vLLM's paper assumes
 * for servers that reserve). Sizes and places are in tokens.
 *
 * <pre>
 *   15,700 slots    [ 8192 | 4096 | 2048 | 1024 | 256 | 64 | 16 | 4 ]       allocate: split the smallest block that fits
 *                                                                          free: join with the other half while it is free
 * </pre>
 */
final class BuddyPool {
    private final List<TreeSet<Integer>> orderToFree = new ArrayList<>(); // begins of free blocks of 2^order slots

    /** A pool of {@code slots} slots, all free. */
    BuddyPool(int slots) {
        for (int order = 0; order < Integer.SIZE - 1; order++) {
            orderToFree.add(new TreeSet<>());
        }
        int begin = 0;
        for (int order = Integer.SIZE - 2; order >= 0; order--) {
            if ((slots & (1 << order)) != 0) {
                orderToFree.get(order).add(begin);
                begin += 1 << order;
            }
        }
    }

    /** The size of the block that holds {@code slots} slots: the next power of two. */
    static int blockSize(int slots) {
        return 1 << order(slots);
    }

    private static int order(int slots) {
        return Integer.SIZE - Integer.numberOfLeadingZeros(slots - 1);
    }

    /** Allocates a block for {@code slots} slots and returns its begin; −1 if no free block is large enough. */
    int allocate(int slots) {
        int wanted = order(slots);
        for (int order = wanted; order < orderToFree.size(); order++) {
            Integer begin = orderToFree.get(order).pollFirst();
            if (begin != null) {
                for (int half = order - 1; half >= wanted; half--) {
                    orderToFree.get(half).add(begin + (1 << half));
                }
                return begin;
            }
        }
        return -1;
    }

    /** Frees the block that {@link #allocate} gave for {@code slots} slots. */
    void free(int begin, int slots) {
        int order = order(slots);
        int at = begin;
        while (orderToFree.get(order).remove(at ^ (1 << order))) {
            at &= ~(1 << order);
            order++;
        }
        orderToFree.get(order).add(at);
    }
}
