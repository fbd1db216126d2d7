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
 *   layer   [page 0][page 1] … [page n−1]    a page has the same number in every layer
 *   page    see {@link KvLayout}
 * </pre>
 */
final class KvCache {
    private final int pageCount;
    private final MemorySegment[] layers;
    /** By layer. */
    private final long[] pageBytes;

    private final long allPageBytes;

    /** @param layouts the layout of a page in each layer */
    KvCache(List<KvLayout> layouts, int pageCount, Arena arena) {
        this.pageCount = pageCount;
        pageBytes = layouts.stream().mapToLong(KvLayout::pageBytes).toArray();
        long sum = 0;
        for (long bytes : pageBytes) {
            sum = Math.addExact(sum, bytes);
        }
        allPageBytes = sum;
        MemorySegment pool = ReservedMemory.allocate(arena, Math.multiplyExact(sum, (long) pageCount));
        layers = new MemorySegment[pageBytes.length];
        long first = 0;
        for (int i = 0; i < layers.length; i++) {
            layers[i] = pool.asSlice(first, pageBytes[i] * pageCount);
            first += layers[i].byteSize();
        }
    }

    int pageCount() {
        return pageCount;
    }

    /** Copies a page to another one, in all layers. */
    void copy(int from, int to) {
        for (int i = 0; i < layers.length; i++) {
            long bytes = pageBytes[i];
            MemorySegment.copy(layers[i], from * bytes, layers[i], to * bytes, bytes);
        }
    }

    /** Bytes of a page over all layers. */
    long pageBytes() {
        return allPageBytes;
    }

    /** Copies a page of all layers, one after another. */
    void exportPage(int page, MemorySegment to) {
        long at = 0;
        for (int i = 0; i < layers.length; i++) {
            long bytes = pageBytes[i];
            MemorySegment.copy(layers[i], page * bytes, to, at, bytes);
            at += bytes;
        }
    }

    /** Fills a page of all layers with what {@link #exportPage} has written. */
    void importPage(int page, MemorySegment from) {
        long at = 0;
        for (int i = 0; i < layers.length; i++) {
            long bytes = pageBytes[i];
            MemorySegment.copy(from, at, layers[i], page * bytes, bytes);
            at += bytes;
        }
    }

    /** The pages of one layer, one after another. */
    MemorySegment layer(int layer) {
        return layers[layer];
    }
}
