package quire.model.text;

import java.util.Arrays;

/** A growing list of ints. */
final class IntList {
    private int[] items;
    private int size;

    IntList(int capacity) {
        items = new int[Math.max(8, capacity)];
    }

    void add(int item) {
        if (size == items.length) {
            items = Arrays.copyOf(items, items.length + (items.length >> 1));
        }
        items[size++] = item;
    }

    int get(int index) {
        return items[index];
    }

    int size() {
        return size;
    }

    /** Removes all items but the first {@code count}. */
    void truncate(int count) {
        size = count;
    }

    int[] toArray() {
        return Arrays.copyOf(items, size);
    }
}
