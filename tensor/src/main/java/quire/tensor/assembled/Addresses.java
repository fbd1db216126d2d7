package quire.tensor.assembled;

import java.lang.foreign.MemorySegment;
import quire.tensor.FloatMatrix;

/** Addresses for machine code, which itself checks nothing. */
final class Addresses {
    private Addresses() {}

    /**
     * The address of a matrix.
     *
     * @throws IllegalArgumentException if its memory is not native or too small
     * @throws IllegalStateException if its arena is closed
     */
    static long of(FloatMatrix x) {
        MemorySegment segment = x.segment();
        if (!segment.isNative() || segment.byteSize() < x.rowOffset(x.rows())) {
            throw new IllegalArgumentException("a matrix of " + x.rows() + " × " + x.columns()
                    + " floats needs native memory of that size, not " + segment);
        }
        return of(segment);
    }

    /**
     * The address of native memory.
     *
     * @throws IllegalStateException if its arena is closed
     */
    static long of(MemorySegment segment) {
        if (!segment.scope().isAlive()) {
            throw new IllegalStateException("the arena of this memory is closed");
        }
        return segment.address();
    }
}
