package quire.tensor.memory;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * A shared arena for a model's memory. Its memory is zeroed, committed when first written, and on huge pages ({@link
 * ReservedMemory}). Small matrices share a slab, because each of them alone would waste the rest of a huge page.
 *
 * <pre>
 *   slab      [words][scales][words][scales] … · · · ·     the unused rest is never written, so it takes no memory
 *   block     [words of the output matrix            ]     half a slab or more: reserved separately
 * </pre>
 *
 * <p>The operating system clears a page on the thread that first writes it. So when all workers pack weights, the
 * clearing is also divided among them.
 */
public final class Slabs implements Arena {
    private static final long SLAB_BYTES = 64L << 20;

    private final Arena arena;
    private MemorySegment slab = MemorySegment.NULL;
    private long used;

    /** Creates an arena that has no memory yet. */
    @SuppressWarnings("MustBeClosedChecker") // close() closes it
    public Slabs() {
        arena = Arena.ofShared();
    }

    @Override
    public synchronized MemorySegment allocate(long bytes, long alignment) {
        if (bytes < 0 || Long.bitCount(alignment) != 1 || alignment > ReservedMemory.CACHE_LINE_BYTES) {
            throw new IllegalArgumentException("cannot allocate " + bytes + " bytes on a boundary of " + alignment);
        }
        if (!arena.scope().isAlive()) {
            throw new IllegalStateException("the arena is closed");
        }
        if (bytes >= SLAB_BYTES / 2) {
            return ReservedMemory.allocate(arena, bytes);
        }
        if (bytes > slab.byteSize() - used) {
            slab = ReservedMemory.allocate(arena, SLAB_BYTES);
            used = 0;
        }
        MemorySegment cut = slab.asSlice(used, bytes);
        used += Math.ceilDiv(bytes, ReservedMemory.CACHE_LINE_BYTES) * ReservedMemory.CACHE_LINE_BYTES;
        return cut;
    }

    @Override
    public MemorySegment.Scope scope() {
        return arena.scope();
    }

    @Override
    public void close() {
        arena.close();
    }
}
