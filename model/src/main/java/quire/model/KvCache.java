package quire.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import quire.tensor.KvLayout;
import quire.tensor.memory.ReservedMemory;

/**
 * The memory for keys and values: one pool outside of the Java heap, divided into pages. The engine decides which
 * sequence uses which page; this class does not record it.
 *
 * <pre>
 *   pool    [layer 0][layer 1] …             layers × layerBytes
 *   layer   [page 0][page 1] … [page n−1]    a page has the same number in every layer
 *   page    see {@link KvLayout}
 * </pre>
 */
final class KvCache {
    private final KvLayout layout;
    private final int pageCount;
    private final MemorySegment[] layers;

    KvCache(KvLayout layout, int layerCount, int pageCount, Arena arena) {
        this.layout = layout;
        this.pageCount = pageCount;
        long layerBytes = Math.multiplyExact(layout.pageBytes(), (long) pageCount);
        MemorySegment pool = ReservedMemory.allocate(arena, Math.multiplyExact(layerBytes, (long) layerCount));
        layers = new MemorySegment[layerCount];
        for (int i = 0; i < layerCount; i++) {
            layers[i] = pool.asSlice(i * layerBytes, layerBytes);
        }
    }

    KvLayout layout() {
        return layout;
    }

    int pageCount() {
        return pageCount;
    }

    /** Copies a page to another one, in all layers. */
    void copy(int from, int to) {
        long bytes = layout.pageBytes();
        for (MemorySegment layer : layers) {
            MemorySegment.copy(layer, from * bytes, layer, to * bytes, bytes);
        }
    }

    /** Bytes of a page over all layers. */
    long pageBytes() {
        return layout.pageBytes() * layers.length;
    }

    /** Copies a page of all layers, one after another. */
    void exportPage(int page, MemorySegment to) {
        long bytes = layout.pageBytes();
        for (int i = 0; i < layers.length; i++) {
            MemorySegment.copy(layers[i], page * bytes, to, i * bytes, bytes);
        }
    }

    /** Fills a page of all layers with what {@link #exportPage} has written. */
    void importPage(int page, MemorySegment from) {
        long bytes = layout.pageBytes();
        for (int i = 0; i < layers.length; i++) {
            MemorySegment.copy(from, i * bytes, layers[i], page * bytes, bytes);
        }
    }

    /** The pages of one layer, one after another. */
    MemorySegment layer(int layer) {
        return layers[layer];
    }
}
