package quire.tensor.assembled;

import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.Locale;
import quire.tensor.Activations;
import quire.tensor.ElementType;
import quire.tensor.FloatMatrix;
import quire.tensor.assembled.common.ActivationTile;
import quire.tensor.assembled.common.KernelWriter;
import quire.tensor.x86.CodeMemory;
import quire.tensor.x86.MachineCode;

/** The assembled products of one element type, one function for each number of rows. */
final class AssembledCode {
    /** Calls take no transition: a call lasts microseconds, as its caller cuts the work into chunks. */
    private static final MethodHandle PRODUCT =
            Linker.nativeLinker().downcallHandle(KernelWriter.PRODUCT, Linker.Option.critical(false));

    private static final MethodHandle QUANTIZE =
            Linker.nativeLinker().downcallHandle(KernelWriter.QUANTIZE, Linker.Option.critical(false));

    /** How far ahead of the words in use the next are asked for. */
    private static final int PREFETCH_BYTES = 4096;

    private final int mostRows;
    /** {@code [first row of the tile / mostRows][rows − 1]}. */
    private final MemorySegment[][] functions;

    private AssembledCode(int mostRows, MemorySegment[][] functions) {
        this.mostRows = mostRows;
        this.functions = functions;
    }

    static AssembledCode assemble(ElementType type, KernelWriter writer, CodeMemory memory) {
        int most = writer.mostRows(type);
        boolean wholeTile = !type.isQuantized(); // floats are read row by row, wherever a tile begins
        MemorySegment[][] functions = new MemorySegment[wholeTile ? 1 : ActivationTile.ROWS / most][most];
        for (int i = 0; i < functions.length; i++) {
            for (int n = 1; n <= most; n++) {
                MachineCode code = writer.product(type, i * most, n, PREFETCH_BYTES);
                functions[i][n - 1] = memory.install(name(type, i * most, n), code);
            }
        }
        return new AssembledCode(most, functions);
    }

    private static String name(ElementType type, int first, int n) {
        return type.name().toLowerCase(Locale.ROOT) + "-x" + n + (first == 0 ? "" : "-from-" + first);
    }

    /** Most rows of one call. */
    int mostRows() {
        return mostRows;
    }

    /** See {@link KernelWriter#PRODUCT}. */
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

    /** Quantises rows into their tiles, with the code whose descriptor is {@link KernelWriter#QUANTIZE}. */
    static void quantize(MemorySegment code, Activations x, int from, int to) {
        long blocks = x.values().columns() / Activations.BLOCK;
        long values = address(x.values());
        long quants = address(x.quants());
        for (int row = from; row < to; row++) {
            int inTile = row % ActivationTile.ROWS;
            long tile = quants + row / ActivationTile.ROWS * blocks * ActivationTile.BLOCK_BYTES;
            try {
                QUANTIZE.invokeExact(
                        code,
                        values + x.values().rowOffset(row),
                        tile + ActivationTile.quantsAt(inTile, 0),
                        tile + ActivationTile.numberAt(0, inTile),
                        blocks);
            } catch (Throwable e) {
                throw new AssertionError("machine code throws nothing", e);
            }
        }
    }

    /** Where a matrix lies, after a look whether all of it is there. */
    static long address(FloatMatrix x) {
        MemorySegment segment = x.segment();
        if (!segment.isNative() || segment.byteSize() < x.rowOffset(x.rows())) {
            throw new IllegalArgumentException("a matrix of " + x.rows() + " × " + x.columns()
                    + " floats needs as much native memory, not " + segment);
        }
        return address(segment);
    }

    /** Where memory begins, after a look whether it is still there: machine code would not ask. */
    static long address(MemorySegment segment) {
        if (!segment.scope().isAlive()) {
            throw new IllegalStateException("the arena of this memory is closed");
        }
        return segment.address();
    }
}
