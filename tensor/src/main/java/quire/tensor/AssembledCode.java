package quire.tensor;

import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import quire.tensor.x86.CodeMemory;

/** The assembled products of one element type, one function for each number of rows. */
final class AssembledCode {
    /** Calls take no transition: a call lasts microseconds, as its caller cuts the work into chunks. */
    private static final MethodHandle PRODUCT =
            Linker.nativeLinker().downcallHandle(MatrixCode.DESCRIPTOR, Linker.Option.critical(false));

    /** How far ahead of the words in use the next are asked for. */
    private static final int PREFETCH_BYTES = 4096;

    private final int mostRows;
    /** {@code [first row of the tile / mostRows][rows − 1]}. */
    private final MemorySegment[][] functions;

    private AssembledCode(int mostRows, MemorySegment[][] functions) {
        this.mostRows = mostRows;
        this.functions = functions;
    }

    static AssembledCode assemble(ElementType type, CodeMemory memory) {
        int most = type.isQuantized() ? MatrixCode.mostRows(PackedForm.of(type)) : ActivationTile.ROWS;
        MemorySegment[][] functions = new MemorySegment[ActivationTile.ROWS / most][most];
        for (int first = 0; first < ActivationTile.ROWS; first += most) {
            for (int n = 1; n <= most; n++) {
                byte[] code = type.isQuantized()
                        ? MatrixCode.assemble(PackedForm.of(type), first, n, PREFETCH_BYTES)
                        : FloatMatrixCode.assemble(type, n, PREFETCH_BYTES);
                functions[first / most][n - 1] = memory.install(code);
            }
        }
        return new AssembledCode(most, functions);
    }

    /** Most rows of one call. */
    int mostRows() {
        return mostRows;
    }

    /** See {@link MatrixCode#DESCRIPTOR}. */
    void product(
            int first,
            int n,
            long words,
            long scales,
            long x,
            long y,
            long yStride,
            long groups,
            long panels,
            long lastLanes) {
        try {
            PRODUCT.invokeExact(
                    functions[first / mostRows][n - 1], words, scales, x, y, yStride, groups, panels, lastLanes);
        } catch (Throwable e) {
            throw new AssertionError("machine code throws nothing", e);
        }
    }

    /** Where a matrix lies, after a look whether all of it is there. */
    static long address(FloatMatrix x) {
        MemorySegment segment = x.segment();
        if (!segment.isNative() || segment.byteSize() < x.rowOffset(x.rows())) {
            throw new IllegalArgumentException("a matrix of " + x.rows() + " × " + x.columns()
                    + " floats needs as much native memory, not " + segment);
        }
        return segment.address();
    }
}
