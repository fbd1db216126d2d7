package quire.engine.schedule;

import java.util.Arrays;

/**
 * Which KV page is in which slot of the file, and which slot is reused first.
 *
 * <p>Slots are found like pages in memory, with a {@link PrefixIndex} of their own: by the slot of the page before and by
 * the tokens. The slot that was not used for longest is reused first, and a slot before that of the page before it.
 *
 * <pre>
 *   a list    oldest ⇄ … ⇄ newest           each slot is older than its parent's
 *   touch     a slot, then its parent, …, the first page: each becomes the newest
 *   add       just before its parent: no walk over all pages before it
 * </pre>
 *
 * <p>Engine thread only; allocates nothing.
 */
final class DiskIndex {
    static final int NONE = PrefixIndex.NONE;

    private final PrefixIndex index;
    private final long[] generations; // 0 for an empty slot
    // The list: a ring through a last, additional element.
    private final int[] older;
    private final int[] newer;
    private final int ends;
    private final int[] free; // a stack
    private int freeCount;
    private long lastGeneration;

    /**
     * Creates an empty index.
     *
     * @param slots of the file
     * @param seed and {@code hashMask} as for {@link PrefixIndex}
     */
    DiskIndex(int slots, int pageTokens, long seed, long hashMask) {
        index = new PrefixIndex(slots, pageTokens, seed, hashMask);
        generations = new long[slots];
        older = new int[slots + 1];
        newer = new int[slots + 1];
        ends = slots;
        older[ends] = ends;
        newer[ends] = ends;
        free = new int[slots];
        for (int i = 0; i < slots; i++) {
            free[i] = slots - 1 - i;
        }
        freeCount = slots;
    }

    /** Number of pages in the file. */
    int size() {
        return index.size();
    }

    /** The slot of the page with the tokens from {@code from} on, after the page in a slot; as {@link PrefixIndex#find}. */
    int find(int parent, int[] text, int from, CacheSalt salt) {
        return index.find(parent, text, from, salt);
    }

    /** The number of a slot's content, which is never used again; 0 for an empty slot. */
    long generation(int slot) {
        return generations[slot];
    }

    /**
     * Takes a slot for a page that is not in the file: a free one, or the one not used for longest.
     *
     * @return {@link #NONE} if that is the slot of the page before it
     */
    int add(int parent, int[] text, int from, CacheSalt salt) {
        if (freeCount == 0) {
            int oldest = newer[ends];
            if (oldest == parent) {
                return NONE;
            }
            remove(oldest);
        }
        int slot = free[--freeCount];
        insert(slot, ++lastGeneration, parent, text, from, salt);
        return slot;
    }

    /**
     * Adds a page that a file has already. Pages come in ascending order of generation, before any other call; {@link
     * #restored} follows.
     *
     * @param parentGeneration what the page before it must be
     * @return false if the page before it is not there, or if the same page is there already
     */
    boolean restore(int slot, long generation, int parent, long parentGeneration, int[] text, CacheSalt salt) {
        lastGeneration = Math.max(lastGeneration, generation);
        boolean follows = parent == NONE
                || (parent >= 0
                        && parent < generations.length
                        && parentGeneration != 0
                        && generations[parent] == parentGeneration);
        if (!follows || index.find(parent, text, 0, salt) != NONE) {
            return false;
        }
        insert(slot, generation, parent, text, 0, salt);
        return true;
    }

    /** Ends a series of {@link #restore}: the other slots are free. */
    void restored() {
        freeCount = 0;
        for (int slot = generations.length - 1; slot >= 0; slot--) {
            if (generations[slot] == 0) {
                free[freeCount++] = slot;
            }
        }
    }

    private void insert(int slot, long generation, int parent, int[] text, int from, CacheSalt salt) {
        generations[slot] = generation;
        index.add(slot, parent, text, from, salt);
        link(slot, parent == NONE ? ends : parent);
    }

    /** Puts a slot into the list, just older than another one. */
    private void link(int slot, int next) {
        int before = older[next];
        newer[before] = slot;
        older[slot] = before;
        newer[slot] = next;
        older[next] = slot;
    }

    private void unlink(int slot) {
        newer[older[slot]] = newer[slot];
        older[newer[slot]] = older[slot];
    }

    private void remove(int slot) {
        unlink(slot);
        index.remove(slot);
        generations[slot] = 0;
        free[freeCount++] = slot;
    }

    /** Makes a slot and those of all pages before it the most recently used ones. */
    void touch(int slot) {
        for (int at = slot; at != NONE; at = index.parent(at)) {
            unlink(at);
            link(at, ends);
        }
    }

    /**
     * Removes the page in a slot and all pages that follow it. O(slots), for rare failures.
     *
     * @return number of pages removed
     */
    int removeWithFollowers(int slot) {
        boolean[] doomed = new boolean[generations.length];
        doomed[slot] = true;
        // Followers are older. Parents are met before their followers.
        for (int at = older[slot]; at != ends; at = older[at]) {
            int parent = index.parent(at);
            doomed[at] = parent != NONE && doomed[parent];
        }
        int removed = 0;
        for (int at = newer[ends]; at != ends; ) {
            int next = newer[at];
            if (doomed[at]) {
                remove(at);
                removed++;
            }
            at = next;
        }
        return removed;
    }

    /**
     * Checks that each slot is free or in the list, and older than its parent's.
     *
     * @throws IllegalStateException naming the first fault
     */
    void checkIntegrity() {
        index.checkIntegrity();
        int[] place = new int[generations.length];
        int places = 0;
        for (int slot = newer[ends]; slot != ends; slot = newer[slot]) {
            require(
                    place[slot] == 0 && generations[slot] != 0 && index.contains(slot),
                    slot,
                    "is not in the list once");
            place[slot] = ++places;
        }
        for (int slot = 0; slot < place.length; slot++) {
            int parent = place[slot] == 0 ? NONE : index.parent(slot);
            require(parent == NONE || place[parent] > place[slot], slot, "is newer than the page before it");
        }
        for (int i = 0; i < freeCount; i++) {
            require(generations[free[i]] == 0 && !index.contains(free[i]), free[i], "is free, but in use");
        }
        if (places + freeCount != place.length || places != index.size()) {
            throw new IllegalStateException(places + " slots of the KV file are in use and " + freeCount + " free, of "
                    + place.length + "; the index has "
                    + Arrays.stream(place).filter(p -> p > 0).count());
        }
    }

    private static void require(boolean condition, int slot, String fault) {
        if (!condition) {
            throw new IllegalStateException("slot " + slot + " of the KV file " + fault);
        }
    }
}
