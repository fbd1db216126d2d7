package quire.tensor;

import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.Locale;
import quire.tensor.x86.CodeMemory;
import quire.tensor.x86.MachineCode;

/** The assembled products of one element type, one function for each number of rows. */
final class AssembledCode {
    /** Calls take no transition: a call lasts microseconds, as its caller cuts the work into chunks. */
    private static final MethodHandle PRODUCT =
            Linker.nativeLinker().downcallHandle(MatrixCode.DESCRIPTOR, Linker.Option.critical(false));

    private static final MethodHandle QUANTIZE =
            Linker.nativeLinker().downcallHandle(QuantizeCode.DESCRIPTOR, Linker.Option.critical(false));

    /** How far ahead of the words in use the next are asked for. */
    private static final int PREFETCH_BYTES = 4096;

    /** What the products are written in. */
    enum Instructions {
        AVX512_VNNI,
        AVX2,
        /** AVX2 with dot products of bytes. */
        AVX2_VNNI,
        /** The same as processors spell it that have them as a part of AVX-512 only. */
        AVX2_VNNI_EVEX
    }

    private final int mostRows;
    /** {@code [first row of the tile / mostRows][rows − 1]}. */
    private final MemorySegment[][] functions;

    private AssembledCode(int mostRows, MemorySegment[][] functions) {
        this.mostRows = mostRows;
        this.functions = functions;
    }

    static AssembledCode assemble(ElementType type, Instructions instructions, CodeMemory memory) {
        int most = mostRows(type, instructions);
        boolean wholeTile = !type.isQuantized(); // floats are read row by row, wherever a tile begins
        MemorySegment[][] functions = new MemorySegment[wholeTile ? 1 : ActivationTile.ROWS / most][most];
        for (int i = 0; i < functions.length; i++) {
            for (int n = 1; n <= most; n++) {
                MachineCode code = product(type, instructions, i * most, n);
                functions[i][n - 1] = memory.install(name(type, i * most, n), code);
            }
        }
        return new AssembledCode(most, functions);
    }

    private static int mostRows(ElementType type, Instructions instructions) {
        if (instructions == Instructions.AVX512_VNNI) {
            return type.isQuantized() ? MatrixCode.mostRows(PackedForm.of(type)) : ActivationTile.ROWS;
        }
        return type.isQuantized()
                ? Avx2MatrixCode.mostRows(PackedForm.of(type), instructions)
                : Avx2FloatMatrixCode.MOST_ROWS;
    }

    private static MachineCode product(ElementType type, Instructions instructions, int first, int n) {
        if (!type.isQuantized()) {
            return instructions == Instructions.AVX512_VNNI
                    ? FloatMatrixCode.assemble(type, n, PREFETCH_BYTES)
                    : Avx2FloatMatrixCode.assemble(type, n, PREFETCH_BYTES);
        }
        PackedForm form = PackedForm.of(type);
        return switch (instructions) {
            case AVX512_VNNI -> MatrixCode.assemble(form, first, n, PREFETCH_BYTES);
            default -> Avx2MatrixCode.assemble(form, instructions, first, n, PREFETCH_BYTES);
        };
    }

    private static String name(ElementType type, int first, int n) {
        return type.name().toLowerCase(Locale.ROOT) + "-x" + n + (first == 0 ? "" : "-from-" + first);
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

    /** Quantises rows into their tiles, with the code whose descriptor is {@link QuantizeCode#DESCRIPTOR}. */
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
