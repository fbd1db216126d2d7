package quire.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import quire.tensor.KvLayout;
import quire.tensor.memory.ReservedMemory;

/**
 * The memory for keys and values: one pool outside of the Java heap, divided into pages. The engine decides which
 * sequence uses which page; this class does not record it.
 *
 * <pre>
 *   pool    [layer 0][layer 1] …             layers may have heads of different sizes
 *   layer   [page 0][page 1] … [page n−1]    a page has the same number in every layer, or in every layer with a
 *   page    see {@link KvLayout}             window and in every other layer
 * </pre>
 */
final class KvCache {
    private final int pageCount;
    private final MemorySegment[] layers;
    /** By layer. */
    private final long[] pageBytes;
    /** By layer: whether its pages are those of layers with a window alone. */
    private final boolean[] apart;

    private final long allPageBytes;

    /**
     * @param layouts the layout of a page in each layer
     * @param windowed for each layer, whether it has a window
     * @param windowPages pages of layers with a window; 0 if these have the same pages as the others
     */
    KvCache(List<KvLayout> layouts, List<Boolean> windowed, int pageCount, int windowPages, Arena arena) {
        this.pageCount = pageCount;
        pageBytes = layouts.stream().mapToLong(KvLayout::pageBytes).toArray();
        apart = new boolean[pageBytes.length];
        long all = 0;
        long ofPage = 0;
        for (int i = 0; i < pageBytes.length; i++) {
            apart[i] = windowPages > 0 && windowed.get(i);
            ofPage = Math.addExact(ofPage, pageBytes[i]);
            all = Math.addExact(all, Math.multiplyExact(pageBytes[i], (long) (apart[i] ? windowPages : pageCount)));
        }
        allPageBytes = ofPage;
        MemorySegment pool = ReservedMemory.allocate(arena, all);
        layers = new MemorySegment[pageBytes.length];
        long first = 0;
        for (int i = 0; i < layers.length; i++) {
            layers[i] = pool.asSlice(first, pageBytes[i] * (apart[i] ? windowPages : pageCount));
            first += layers[i].byteSize();
        }
    }

    int pageCount() {
        return pageCount;
    }

    /** Copies a page to another one, in all layers whose pages these are. */
    void copy(int from, int to) {
        copy(from, to, false);
    }

    /** The same for a page of layers with a window alone. */
    void copyWindow(int from, int to) {
        copy(from, to, true);
    }

    private void copy(int from, int to, boolean windows) {
        for (int i = 0; i < layers.length; i++) {
            if (apart[i] == windows) {
                long bytes = pageBytes[i];
                MemorySegment.copy(layers[i], from * bytes, layers[i], to * bytes, bytes);
            }
        }
    }

    /** Bytes of a page over all layers. */
    long pageBytes() {
        return allPageBytes;
    }

    /**
     * Copies a page of all layers, one after another.
     *
     * @param windowPage its number in layers with a window, if they have pages of their own
     */
    void exportPage(int page, int windowPage, MemorySegment to) {
        long at = 0;
        for (int i = 0; i < layers.length; i++) {
            long bytes = pageBytes[i];
            MemorySegment.copy(layers[i], (apart[i] ? windowPage : page) * bytes, to, at, bytes);
            at += bytes;
        }
    }

    /** Fills a page of all layers with what {@link #exportPage} has written. */
    void importPage(int page, int windowPage, MemorySegment from) {
        long at = 0;
        for (int i = 0; i < layers.length; i++) {
            long bytes = pageBytes[i];
            MemorySegment.copy(from, at, layers[i], (apart[i] ? windowPage : page) * bytes, bytes);
            at += bytes;
        }
    }

    /** The pages of one layer, one after another. */
    MemorySegment layer(int layer) {
        return layers[layer];
    }
}
