package quire.tensor.assembled;

import java.lang.foreign.MemorySegment;
import quire.tensor.Activation;
import quire.tensor.FloatMatrix;
import quire.tensor.assembled.common.KernelWriter;
import quire.tensor.assembled.common.RowCode;
import quire.tensor.x86.CodeMemory;
import quire.tensor.x86.MachineCall;

/** Operations on rows with the functions of {@link RowCode}. The caller has checked the arguments. */
final class AssembledRows {
    private static final int LANES = 16;

    private final MemorySegment rmsNorm;
    private final MemorySegment add;
    private final MemorySegment silu;
    private final MemorySegment gelu;
    private final MemorySegment exactGelu;
    private final MemorySegment clampedSilu;
    private final MemorySegment sigmoid;
    private final MemorySegment squaredRelu;
    private final MemorySegment rope;

    AssembledRows(KernelWriter writer, CodeMemory memory) {
        rmsNorm = memory.install("rms-norm", writer.rows().rmsNorm());
        add = memory.install("add", writer.rows().add());
        silu = memory.install("swiglu", writer.rows().activate(Activation.SILU));
        gelu = memory.install("geglu", writer.rows().activate(Activation.GELU));
        exactGelu = memory.install("exact-geglu", writer.rows().activate(Activation.EXACT_GELU));
        clampedSilu = memory.install("clamped-swiglu", writer.rows().activate(Activation.CLAMPED_SILU));
        sigmoid = memory.install("sigmoid-product", writer.rows().activate(Activation.SIGMOID));
        squaredRelu = memory.install("squared-relu", writer.rows().activate(Activation.SQUARED_RELU));
        rope = memory.install("rope", writer.rows().rope());
    }

    private static long wholeWords(int columns) {
        return columns / LANES;
    }

    private static long lastLanes(int columns) {
        return (1L << columns % LANES) - 1;
    }

    void rmsNorm(FloatMatrix x, FloatMatrix weight, float epsilon, FloatMatrix y, int from, int to) {
        int columns = x.columns();
        long source = Addresses.of(x);
        long factors = Addresses.of(weight);
        long target = Addresses.of(y);
        for (int row = from; row < to; row++) {
            MachineCall.call(
                    rmsNorm,
                    source + x.rowOffset(row),
                    factors,
                    target + y.rowOffset(row),
                    wholeWords(columns),
                    lastLanes(columns),
                    MachineCall.bits(columns),
                    MachineCall.bits(epsilon));
        }
    }

    void add(FloatMatrix x, FloatMatrix y, int from, int to) {
        long source = Addresses.of(x);
        long target = Addresses.of(y);
        for (int row = from; row < to; row++) {
            addRow(source + x.rowOffset(row), 1f, target + y.rowOffset(row), y.columns());
        }
    }

    void addBias(FloatMatrix bias, FloatMatrix y, int from, int to) {
        long source = Addresses.of(bias);
        long target = Addresses.of(y);
        for (int row = from; row < to; row++) {
            addRow(source, 1f, target + y.rowOffset(row), y.columns());
        }
    }

    void addRow(FloatMatrix x, int from, float factor, FloatMatrix y, int to) {
        addRow(Addresses.of(x) + x.rowOffset(from), factor, Addresses.of(y) + y.rowOffset(to), y.columns());
    }

    private void addRow(long x, float factor, long y, int columns) {
        MachineCall.call(add, x, y, wholeWords(columns), lastLanes(columns), MachineCall.bits(factor));
    }

    void activate(Activation activation, FloatMatrix gate, FloatMatrix up, FloatMatrix out, int from, int to) {
        int columns = gate.columns();
        MemorySegment function =
                switch (activation) {
                    case SILU -> silu;
                    case GELU -> gelu;
                    case EXACT_GELU -> exactGelu;
                    case CLAMPED_SILU -> clampedSilu;
                    case SIGMOID -> sigmoid;
                    case SQUARED_RELU -> squaredRelu;
                };
        long gates = Addresses.of(gate);
        long ups = Addresses.of(up);
        long outs = Addresses.of(out);
        for (int row = from; row < to; row++) {
            long offset = gate.rowOffset(row);
            MachineCall.call(
                    function, gates + offset, ups + offset, outs + offset, wholeWords(columns), lastLanes(columns));
        }
    }

    void rope(FloatMatrix x, int headDim, int[] positions, FloatMatrix cosSin, int from, int to) {
        int columns = cosSin.columns();
        long rows = Addresses.of(x);
        long table = Addresses.of(cosSin);
        for (int row = from; row < to; row++) {
            MachineCall.call(
                    rope,
                    rows + x.rowOffset(row),
                    table + cosSin.rowOffset(positions[row]),
                    (long) x.columns() / headDim,
                    (long) headDim * Float.BYTES,
                    wholeWords(columns),
                    lastLanes(columns));
        }
    }
}
