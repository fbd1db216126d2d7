package quire.tensor.assembled;

import java.lang.foreign.MemorySegment;
import java.util.Locale;
import quire.tensor.ElementType;
import quire.tensor.assembled.common.ActivationTile;
import quire.tensor.assembled.common.KernelWriter;
import quire.tensor.x86.CodeMemory;
import quire.tensor.x86.MachineCall;
import quire.tensor.x86.MachineCode;

/** The assembled products of one element type: one function for each number of rows. */
final class ProductFunctions {
    private final int maxRows;
    /** {@code [first row of the tile / maxRows][rows − 1]}. */
    private final MemorySegment[][] functions;

    private ProductFunctions(int maxRows, MemorySegment[][] functions) {
        this.maxRows = maxRows;
        this.functions = functions;
    }

    static ProductFunctions assemble(ElementType type, KernelWriter writer, CodeMemory memory) {
        int most = writer.maxRows(type);
        boolean wholeTile = !type.isQuantized(); // float activations are row-major, without tiles
        MemorySegment[][] functions = new MemorySegment[wholeTile ? 1 : ActivationTile.ROWS / most][most];
        for (int i = 0; i < functions.length; i++) {
            for (int n = 1; n <= most; n++) {
                MachineCode code = writer.product(type, i * most, n);
                functions[i][n - 1] = memory.install(name(type, i * most, n), code);
            }
        }
        return new ProductFunctions(most, functions);
    }

    private static String name(ElementType type, int first, int n) {
        return type.name().toLowerCase(Locale.ROOT) + "-x" + n + (first == 0 ? "" : "-from-" + first);
    }

    /** Maximum number of rows of one call. */
    int maxRows() {
        return maxRows;
    }

    /**
     * Computes a product of n rows; the other arguments are those of {@link KernelWriter#product}. It takes only
     * microseconds, because its caller uses chunks.
     *
     * @param first index of the first row in its tile
     * @param n number of rows, at most {@link #maxRows}
     */
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
        MachineCall.call(functions[first / maxRows][n - 1], words, scales, x, y, yStride, groups, panels, lastLanes);
    }
}
