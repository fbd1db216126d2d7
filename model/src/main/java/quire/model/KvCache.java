package quire.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import quire.tensor.KvLayout;
import quire.tensor.memory.ReservedMemory;

/**
 * Storage for keys and values: one pool off heap, cut into pages. Knows no owners; who holds which page is the engine's
 * affair.
 *
 * <pre>
 *   pool    [layer 0][layer 1] …             layers × layerBytes
 *   layer   [page 0][page 1] … [page n−1]    the same page number in every layer belongs together
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

    /** The pages of one layer, back to back. */
    MemorySegment layer(int layer) {
        return layers[layer];
    }
}
