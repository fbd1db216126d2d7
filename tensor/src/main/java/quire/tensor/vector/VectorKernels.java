package quire.tensor.vector;

import static quire.tensor.vector.Lanes.F;
import static quire.tensor.vector.Lanes.I;
import static quire.tensor.vector.Lanes.LANES;
import static quire.tensor.vector.Lanes.ORDER;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import quire.tensor.Activation;
import quire.tensor.Activations;
import quire.tensor.AttentionCall;
import quire.tensor.ElementType;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.KvLayout;
import quire.tensor.StateCall;
import quire.tensor.WeightMatrix;
import quire.tensor.Workers;
import quire.tensor.scalar.FloatMath;
import quire.tensor.scalar.ScalarKernels;
import quire.tensor.scalar.SegmentMerge;
import quire.tensor.scalar.Shapes;

/**
 * The kernels on the Vector API, equal to {@link ScalarKernels} to the last bit. Matrix products are in {@link
 * VectorMatrix} and {@link VectorBlocks}, attention in {@link VectorAttention}, the other methods here.
 *
 * <p><b>Limits.</b> One token reads every weight once, so memory bandwidth limits it: at 23 GB/s, Q4_0 (0.56 bytes a
 * weight) could reach 41 GMAC/s and F32 5.8. Arithmetic limits many tokens: one f32 fused multiply-add of 16 lanes for
 * each cycle on the machine below. Products and sums of int16 have twice the lanes.
 *
 * <p><b>Cost</b> of 2048 × 2048 on one thread of a Zen 4 (512 bits, shared and busy), in GMAC/s; the ceilings in the
 * same minutes were 23 GB/s read, 59 f32 and 105 int16:
 *
 * <pre>
 *                                                          1 token       64 tokens
 *   a block and its scaling in one method, beyond C2's
 *   node limit: its helpers are not inlined and box        5.2 Q4_0      3.4 Q4_0
 *   sums given to a small scaling method through L1       13.7 Q4_0     65.7 Q4_0 (int16), 111 % of f32
 *   the same with f32 products                             8.3 Q8_0     40.0 Q8_0,          68 %
 *   no scaling                                             2.9 F32      45.3 F32,           77 %
 * </pre>
 *
 * <p>On the idle machine, 8192 × 2048 with 1 token reached 25.1 (Q4_0). Small batches compute whole tiles of 6 rows and
 * expand all weights: Q4_0 with 4 and 16 tokens reaches 28 and 48.
 *
 * <p><b>Rules for code that C2 compiles well</b>: species are {@code static final}. Vectors stay in one method; only
 * arrays and segments are passed. A hot method has about a dozen accumulators and calls none of our helpers after them
 * (C2's NodeCountInliningCutoff). No {@code reduceLanes} of floats and no transcendental {@code lanewise}: their last
 * bit may differ between interpreted and compiled code.
 */
public final class VectorKernels implements Kernels {
    private static final int BLOCK = Activations.BLOCK;
    private static final int TILE = VectorMatrix.TILE;
    private static final int PARTIALS = 16;
    private static final int ROUNDER_BITS = Float.floatToRawIntBits(FloatMath.ROUNDER);
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    private static final ThreadLocal<Scratch> SCRATCH = ThreadLocal.withInitial(Scratch::new);

    private final ScalarKernels scalar = new ScalarKernels("for operations that vectors do not make faster");
    private final String reason;

    /** @param reason why this set was chosen, see {@link #reason} */
    public VectorKernels(String reason) {
        this.reason = reason;
    }

    private static final class Scratch {
        final float[] partials = new float[PARTIALS];
        final int[] quants = new int[BLOCK];
    }

    @Override
    public String name() {
        return "vector";
    }

    @Override
    public String reason() {
        return reason;
    }

    @Override
    public WeightMatrix pack(
            ElementType type, int rows, int columns, MemorySegment source, Arena arena, Workers workers) {
        Shapes.checkPack(type, rows, columns, source);
        return VectorMatrix.takes(type)
                ? VectorMatrix.pack(type, rows, columns, source, arena, workers)
                : VectorBlocks.pack(type, rows, columns, source, arena, workers);
    }

    @Override
    public boolean readsRows() {
        return false;
    }

    @Override
    public long packedBytes(ElementType type, int rows, int columns) {
        return VectorMatrix.takes(type)
                ? VectorMatrix.packedBytes(type, rows, columns)
                : VectorBlocks.packedBytes(type, rows, columns);
    }

    @Override
    public void multiply(WeightMatrix w, Activations x, int rows, FloatMatrix y, int from, int to, int parts) {
        Shapes.checkMultiply(w, x, rows, y, from, to, parts);
        switch (w) {
            case VectorMatrix matrix -> matrix.multiply(x, rows, y, from, to, parts);
            case VectorBlocks blocks -> blocks.multiply(x, rows, y, from, to, parts);
            default -> throw new IllegalArgumentException("this weight matrix was packed by another kernel set");
        }
    }

    /**
     * {@inheritDoc}
     *
     * <p>The quants are int16 in tiles of 6 rows, because the products broadcast pairs of inputs:
     *
     * <pre>
     *   quants  [rows / 6][columns / 2][6][2]  int16
     *   scales  [rows / 6][columns / 32][6]    f32
     * </pre>
     */
    @Override
    public void quantize(Activations x, int from, int to) {
        Shapes.checkQuantize(x, from, to);
        Scratch scratch = SCRATCH.get();
        int blocks = x.values().columns() / BLOCK;
        for (int row = from; row < to; row++) {
            for (int block = 0; block < blocks; block++) {
                quantizeBlock(x, row, block, scratch.quants);
            }
        }
    }

    private static void quantizeBlock(Activations x, int row, int block, int[] quants) {
        int columns = x.values().columns();
        long at = x.values().rowOffset(row) + block * (long) (BLOCK * Float.BYTES);
        float largest = largestFinite(x.values().segment(), at);
        boolean zero = largest < Activations.SMALLEST;
        roundBlock(x.values().segment(), at, zero ? 0f : 127f / largest, quants);
        long tile = row / TILE;
        int token = row % TILE;
        long target = ((tile * columns + block * (long) BLOCK) * TILE + token * 2L) * Short.BYTES;
        for (int i = 0; i < BLOCK / 2; i++) {
            int pair = (quants[2 * i] & 0xffff) | (quants[2 * i + 1] << 16);
            x.quants().set(INT, target + i * (long) (TILE * Integer.BYTES), pair);
        }
        long scale = (tile * (columns / BLOCK) + block) * TILE + token;
        x.scales().set(FLOAT, scale * Float.BYTES, zero ? 0f : largest / 127f);
    }

    private static float largestFinite(MemorySegment values, long at) {
        IntVector most = IntVector.zero(I);
        for (int i = 0; i < BLOCK; i += LANES) {
            IntVector magnitude = IntVector.fromMemorySegment(I, values, at + i * (long) Float.BYTES, ORDER)
                    .and(0x7fffffff); // as integers these have the order of the magnitudes, with NaN above all
            most = most.max(magnitude.blend(0, magnitude.compare(VectorOperators.GT, 0x7f800000)));
        }
        return Math.min(Float.intBitsToFloat(most.reduceLanes(VectorOperators.MAX)), Float.MAX_VALUE);
    }

    private static void roundBlock(MemorySegment values, long at, float inverse, int[] quants) {
        for (int i = 0; i < BLOCK; i += LANES) {
            FloatVector v = FloatVector.fromMemorySegment(F, values, at + i * (long) Float.BYTES, ORDER)
                    .mul(inverse);
            v = v.blend(0f, v.compare(VectorOperators.NE, v)); // NaN becomes 0
            v = v.blend(127f, v.compare(VectorOperators.GT, 127f));
            v = v.blend(-127f, v.compare(VectorOperators.LT, -127f));
            v.add(FloatMath.ROUNDER).reinterpretAsInts().sub(ROUNDER_BITS).intoArray(quants, i);
        }
    }

    @Override
    public void rmsNorm(FloatMatrix x, FloatMatrix weight, float epsilon, FloatMatrix y, int from, int to) {
        Shapes.checkSame(x, y, from, to);
        Shapes.checkOneRow(weight, y);
        float[] partials = SCRATCH.get().partials;
        int columns = x.columns();
        for (int row = from; row < to; row++) {
            long at = x.rowOffset(row);
            float scale = 1f / (float) Math.sqrt(sumOfSquares(x.segment(), at, columns, partials) / columns + epsilon);
            scaleRow(x.segment(), at, scale, weight.segment(), y.segment(), y.rowOffset(row), columns);
        }
    }

    private static float sumOfSquares(MemorySegment x, long at, int columns, float[] partials) {
        int whole = columns - columns % PARTIALS;
        for (int lane = 0; lane < PARTIALS; lane += LANES) {
            FloatVector sum = FloatVector.zero(F);
            for (int i = lane; i < whole; i += PARTIALS) {
                FloatVector v = FloatVector.fromMemorySegment(F, x, at + i * (long) Float.BYTES, ORDER);
                sum = v.fma(v, sum);
            }
            sum.intoArray(partials, lane);
        }
        for (int i = whole; i < columns; i++) {
            float v = x.get(FLOAT, at + i * (long) Float.BYTES);
            partials[i - whole] = Math.fma(v, v, partials[i - whole]);
        }
        return fold(partials);
    }

    private static void scaleRow(
            MemorySegment x, long at, float scale, MemorySegment weight, MemorySegment y, long to, int columns) {
        int whole = columns - columns % LANES;
        for (int i = 0; i < whole; i += LANES) {
            long offset = i * (long) Float.BYTES;
            FloatVector.fromMemorySegment(F, x, at + offset, ORDER)
                    .mul(scale)
                    .mul(FloatVector.fromMemorySegment(F, weight, offset, ORDER))
                    .intoMemorySegment(y, to + offset, ORDER);
        }
        for (int i = whole; i < columns; i++) {
            long offset = i * (long) Float.BYTES;
            y.set(FLOAT, to + offset, x.get(FLOAT, at + offset) * scale * weight.get(FLOAT, offset));
        }
    }

    @Override
    public void layerNorm(FloatMatrix x, FloatMatrix weight, float epsilon, FloatMatrix y, int from, int to) {
        Shapes.checkSame(x, y, from, to);
        Shapes.checkOneRow(weight, y);
        float[] partials = SCRATCH.get().partials;
        int columns = x.columns();
        for (int row = from; row < to; row++) {
            long at = x.rowOffset(row);
            float mean = sum(x.segment(), at, columns, partials) / columns;
            centre(x.segment(), at, mean, y.segment(), y.rowOffset(row), columns);
            float squares = sumOfSquares(y.segment(), y.rowOffset(row), columns, partials);
            float scale = 1f / (float) Math.sqrt(squares / columns + epsilon);
            scaleRow(y.segment(), y.rowOffset(row), scale, weight.segment(), y.segment(), y.rowOffset(row), columns);
        }
    }

    private static float sum(MemorySegment x, long at, int columns, float[] partials) {
        int whole = columns - columns % PARTIALS;
        for (int lane = 0; lane < PARTIALS; lane += LANES) {
            FloatVector sum = FloatVector.zero(F);
            for (int i = lane; i < whole; i += PARTIALS) {
                sum = sum.add(FloatVector.fromMemorySegment(F, x, at + i * (long) Float.BYTES, ORDER));
            }
            sum.intoArray(partials, lane);
        }
        for (int i = whole; i < columns; i++) {
            partials[i - whole] += x.get(FLOAT, at + i * (long) Float.BYTES);
        }
        return fold(partials);
    }

    private static void centre(MemorySegment x, long at, float mean, MemorySegment y, long to, int columns) {
        int whole = columns - columns % LANES;
        for (int i = 0; i < whole; i += LANES) {
            long offset = i * (long) Float.BYTES;
            FloatVector.fromMemorySegment(F, x, at + offset, ORDER).sub(mean).intoMemorySegment(y, to + offset, ORDER);
        }
        for (int i = whole; i < columns; i++) {
            long offset = i * (long) Float.BYTES;
            y.set(FLOAT, to + offset, x.get(FLOAT, at + offset) - mean);
        }
    }

    private static float fold(float[] partials) {
        for (int half = PARTIALS / 2; half > 0; half /= 2) {
            for (int i = 0; i < half; i++) {
                partials[i] += partials[i + half];
            }
        }
        return partials[0];
    }

    @Override
    public void addRow(FloatMatrix x, int from, float factor, FloatMatrix y, int to) {
        Shapes.checkAddRow(x, from, y, to);
        long at = x.rowOffset(from);
        long target = y.rowOffset(to);
        int columns = y.columns();
        int whole = columns - columns % LANES;
        FloatVector factors = FloatVector.broadcast(F, factor);
        for (int i = 0; i < whole; i += LANES) {
            long offset = i * (long) Float.BYTES;
            FloatVector sum = FloatVector.fromMemorySegment(F, y.segment(), target + offset, ORDER);
            FloatVector.fromMemorySegment(F, x.segment(), at + offset, ORDER)
                    .fma(factors, sum)
                    .intoMemorySegment(y.segment(), target + offset, ORDER);
        }
        for (int i = whole; i < columns; i++) {
            y.set(to, i, Math.fma(factor, x.get(from, i), y.get(to, i)));
        }
    }

    @Override
    public void multiplyRow(FloatMatrix a, int rowA, FloatMatrix b, int rowB, FloatMatrix y, int to) {
        Shapes.checkThreeRows(a, rowA, b, rowB, y, to);
        int columns = y.columns();
        int whole = columns - columns % LANES;
        for (int i = 0; i < whole; i += LANES) {
            long offset = i * (long) Float.BYTES;
            FloatVector.fromMemorySegment(F, a.segment(), a.rowOffset(rowA) + offset, ORDER)
                    .mul(FloatVector.fromMemorySegment(F, b.segment(), b.rowOffset(rowB) + offset, ORDER))
                    .intoMemorySegment(y.segment(), y.rowOffset(to) + offset, ORDER);
        }
        for (int i = whole; i < columns; i++) {
            y.set(to, i, a.get(rowA, i) * b.get(rowB, i));
        }
    }

    @Override
    public void addProduct(FloatMatrix a, int rowA, FloatMatrix b, int rowB, FloatMatrix y, int to) {
        Shapes.checkThreeRows(a, rowA, b, rowB, y, to);
        int columns = y.columns();
        int whole = columns - columns % LANES;
        for (int i = 0; i < whole; i += LANES) {
            long offset = i * (long) Float.BYTES;
            FloatVector sum = FloatVector.fromMemorySegment(F, y.segment(), y.rowOffset(to) + offset, ORDER);
            FloatVector.fromMemorySegment(F, a.segment(), a.rowOffset(rowA) + offset, ORDER)
                    .fma(FloatVector.fromMemorySegment(F, b.segment(), b.rowOffset(rowB) + offset, ORDER), sum)
                    .intoMemorySegment(y.segment(), y.rowOffset(to) + offset, ORDER);
        }
        for (int i = whole; i < columns; i++) {
            y.set(to, i, Math.fma(a.get(rowA, i), b.get(rowB, i), y.get(to, i)));
        }
    }

    @Override
    public void advance(StateCall call) {
        Shapes.checkAdvance(call);
        int values = call.state().columns();
        int whole = values - values % LANES;
        for (int p = 0; p < whole; p += LANES) {
            advanceLanes(call, p);
        }
        ScalarKernels.advance(call, whole);
    }

    private static void advanceLanes(StateCall call, int first) {
        MemorySegment state = call.state().segment();
        MemorySegment in = call.inputs().segment();
        long rowBytes = call.state().columns() * (long) Float.BYTES;
        long at = call.state().rowOffset(call.stateRow()) + first * (long) Float.BYTES;
        long input = call.inputs().rowOffset(call.row());
        long key = input + call.keyColumn() * (long) Float.BYTES;
        long query = input + call.queryColumn() * (long) Float.BYTES;
        FloatVector value =
                FloatVector.fromMemorySegment(F, in, input + (call.valueColumn() + first) * (long) Float.BYTES, ORDER);
        FloatVector added = value.mul(call.step());
        FloatVector decay = FloatVector.broadcast(F, call.decay());
        FloatVector sum = FloatVector.zero(F);
        for (int n = 0; n < call.keys(); n++) {
            long offset = n * (long) Float.BYTES;
            FloatVector next = FloatVector.broadcast(F, in.get(FLOAT, key + offset))
                    .fma(
                            added,
                            FloatVector.fromMemorySegment(F, state, at, ORDER).mul(decay));
            next.intoMemorySegment(state, at, ORDER);
            sum = next.fma(FloatVector.broadcast(F, in.get(FLOAT, query + offset)), sum);
            at += rowBytes;
        }
        long target = call.out().rowOffset(call.outRow()) + (call.outColumn() + first) * (long) Float.BYTES;
        value.fma(FloatVector.broadcast(F, call.skip()), sum)
                .intoMemorySegment(call.out().segment(), target, ORDER);
    }

    @Override
    public void advanceSelective(StateCall call) {
        Shapes.checkAdvanceSelective(call);
        int values = call.state().columns();
        int whole = values - values % LANES;
        for (int p = 0; p < whole; p += LANES) {
            advanceSelectiveLanes(call, p);
        }
        ScalarKernels.advanceSelective(call, whole);
    }

    private static void advanceSelectiveLanes(StateCall call, int first) {
        MemorySegment state = call.state().segment();
        MemorySegment in = call.inputs().segment();
        MemorySegment rates = call.rates().segment();
        long rowBytes = call.state().columns() * (long) Float.BYTES;
        long rateBytes = call.rates().columns() * (long) Float.BYTES;
        long at = call.state().rowOffset(call.stateRow()) + first * (long) Float.BYTES;
        long column = (call.valueColumn() + first) * (long) Float.BYTES;
        long rate = call.rates().rowOffset(0) + column;
        long input = call.inputs().rowOffset(call.row());
        long key = input + call.keyColumn() * (long) Float.BYTES;
        long query = input + call.queryColumn() * (long) Float.BYTES;
        FloatVector value = FloatVector.fromMemorySegment(F, in, input + column, ORDER);
        FloatVector step = FloatVector.fromMemorySegment(
                F, call.steps().segment(), call.steps().rowOffset(call.stepRow()) + column, ORDER);
        FloatVector added = step.mul(value);
        FloatVector sum = FloatVector.zero(F);
        for (int n = 0; n < call.keys(); n++) {
            long offset = n * (long) Float.BYTES;
            FloatVector decay = Lanes.exp(step.mul(FloatVector.fromMemorySegment(F, rates, rate, ORDER)));
            FloatVector next = FloatVector.broadcast(F, in.get(FLOAT, key + offset))
                    .fma(
                            added,
                            FloatVector.fromMemorySegment(F, state, at, ORDER).mul(decay));
            next.intoMemorySegment(state, at, ORDER);
            sum = next.fma(FloatVector.broadcast(F, in.get(FLOAT, query + offset)), sum);
            at += rowBytes;
            rate += rateBytes;
        }
        long target = call.out().rowOffset(call.outRow()) + (call.outColumn() + first) * (long) Float.BYTES;
        FloatVector skip = FloatVector.fromMemorySegment(
                F, call.skips().segment(), call.skips().rowOffset(0) + column, ORDER);
        value.fma(skip, sum).intoMemorySegment(call.out().segment(), target, ORDER);
    }

    @Override
    public void advanceDelta(StateCall call) {
        Shapes.checkAdvance(call);
        int values = call.state().columns();
        int whole = values - values % LANES;
        for (int p = 0; p < whole; p += LANES) {
            advanceDeltaLanes(call, p);
        }
        ScalarKernels.advanceDelta(call, whole);
    }

    private static void advanceDeltaLanes(StateCall call, int first) {
        MemorySegment state = call.state().segment();
        MemorySegment in = call.inputs().segment();
        long rowBytes = call.state().columns() * (long) Float.BYTES;
        long begin = call.state().rowOffset(call.stateRow()) + first * (long) Float.BYTES;
        long input = call.inputs().rowOffset(call.row());
        long key = input + call.keyColumn() * (long) Float.BYTES;
        long query = input + call.queryColumn() * (long) Float.BYTES;
        FloatVector decay = FloatVector.broadcast(F, call.decay());
        FloatVector predicted = FloatVector.zero(F);
        long at = begin;
        for (int n = 0; n < call.keys(); n++) {
            FloatVector decayed =
                    FloatVector.fromMemorySegment(F, state, at, ORDER).mul(decay);
            decayed.intoMemorySegment(state, at, ORDER);
            predicted = decayed.fma(FloatVector.broadcast(F, in.get(FLOAT, key + n * (long) Float.BYTES)), predicted);
            at += rowBytes;
        }
        FloatVector added = FloatVector.fromMemorySegment(
                        F, in, input + (call.valueColumn() + first) * (long) Float.BYTES, ORDER)
                .sub(predicted)
                .mul(call.step());
        FloatVector sum = FloatVector.zero(F);
        at = begin;
        for (int n = 0; n < call.keys(); n++) {
            long offset = n * (long) Float.BYTES;
            FloatVector next = FloatVector.broadcast(F, in.get(FLOAT, key + offset))
                    .fma(added, FloatVector.fromMemorySegment(F, state, at, ORDER));
            next.intoMemorySegment(state, at, ORDER);
            sum = next.fma(FloatVector.broadcast(F, in.get(FLOAT, query + offset)), sum);
            at += rowBytes;
        }
        long target = call.out().rowOffset(call.outRow()) + (call.outColumn() + first) * (long) Float.BYTES;
        sum.intoMemorySegment(call.out().segment(), target, ORDER);
    }

    @Override
    public void softCap(FloatMatrix x, float cap, int from, int to) {
        Shapes.checkSoftCap(x, cap, from, to);
        int whole = x.columns() - x.columns() % LANES;
        for (int row = from; row < to; row++) {
            for (int i = 0; i < whole; i += LANES) {
                long at = x.rowOffset(row) + i * (long) Float.BYTES;
                Lanes.softCap(FloatVector.fromMemorySegment(F, x.segment(), at, ORDER), cap)
                        .intoMemorySegment(x.segment(), at, ORDER);
            }
            for (int i = whole; i < x.columns(); i++) {
                x.set(row, i, FloatMath.softCap(x.get(row, i), cap));
            }
        }
    }

    @Override
    public void add(FloatMatrix x, FloatMatrix y, int from, int to) {
        Shapes.checkSame(x, y, from, to);
        for (int row = from; row < to; row++) {
            addRow(x.segment(), x.rowOffset(row), y.segment(), y.rowOffset(row), y.columns());
        }
    }

    @Override
    public void addBias(FloatMatrix bias, FloatMatrix y, int from, int to) {
        Shapes.checkOneRow(bias, y);
        Shapes.checkRows(y, from, to);
        for (int row = from; row < to; row++) {
            addRow(bias.segment(), 0, y.segment(), y.rowOffset(row), y.columns());
        }
    }

    private static void addRow(MemorySegment x, long at, MemorySegment y, long to, int columns) {
        int whole = columns - columns % LANES;
        for (int i = 0; i < whole; i += LANES) {
            long offset = i * (long) Float.BYTES;
            FloatVector.fromMemorySegment(F, y, to + offset, ORDER)
                    .add(FloatVector.fromMemorySegment(F, x, at + offset, ORDER))
                    .intoMemorySegment(y, to + offset, ORDER);
        }
        for (int i = whole; i < columns; i++) {
            long offset = i * (long) Float.BYTES;
            y.set(FLOAT, to + offset, y.get(FLOAT, to + offset) + x.get(FLOAT, at + offset));
        }
    }

    @Override
    public void activate(Activation activation, FloatMatrix gate, FloatMatrix up, FloatMatrix out, int from, int to) {
        Shapes.checkSame(gate, up, from, to);
        Shapes.checkSame(gate, out, from, to);
        for (int row = from; row < to; row++) {
            long at = gate.rowOffset(row);
            switch (activation) {
                case SILU -> siluRow(gate.segment(), up.segment(), out.segment(), at, gate.columns());
                case GELU -> geluRow(gate.segment(), up.segment(), out.segment(), at, gate.columns());
                case EXACT_GELU -> exactGegluRow(gate.segment(), up.segment(), out.segment(), at, gate.columns());
                case CLAMPED_SILU -> clampedRow(gate.segment(), up.segment(), out.segment(), at, gate.columns());
                case SIGMOID -> sigmoidRow(gate.segment(), up.segment(), out.segment(), at, gate.columns());
                case SQUARED_RELU -> squaredReluRow(gate.segment(), up.segment(), out.segment(), at, gate.columns());
            }
        }
    }

    private static void geluRow(MemorySegment gate, MemorySegment up, MemorySegment out, long at, int columns) {
        int whole = columns - columns % LANES;
        FloatVector cube = FloatVector.broadcast(F, Activation.GELU_CUBE);
        FloatVector linear = FloatVector.broadcast(F, Activation.GELU_LINEAR);
        for (int i = 0; i < whole; i += LANES) {
            long offset = at + i * (long) Float.BYTES;
            FloatVector g = FloatVector.fromMemorySegment(F, gate, offset, ORDER);
            g.div(Lanes.exp(g.mul(g).fma(cube, linear).mul(g)).add(1f))
                    .mul(FloatVector.fromMemorySegment(F, up, offset, ORDER))
                    .intoMemorySegment(out, offset, ORDER);
        }
        activateRest(Activation.GELU, gate, up, out, at, whole, columns);
    }

    private static void exactGegluRow(MemorySegment gate, MemorySegment up, MemorySegment out, long at, int columns) {
        int whole = columns - columns % LANES;
        FloatVector one = FloatVector.broadcast(F, 1f);
        for (int i = 0; i < whole; i += LANES) {
            long offset = at + i * (long) Float.BYTES;
            FloatVector x = FloatVector.fromMemorySegment(F, gate, offset, ORDER);
            FloatVector m = x.abs().min(Activation.ERF_HIGHEST);
            FloatVector e = Lanes.exp(m.mul(m).mul(-0.5f));
            FloatVector t = one.div(m.fma(FloatVector.broadcast(F, Activation.ERF_STEP), one));
            FloatVector p = FloatVector.broadcast(F, Activation.erfTail(0));
            for (int c = 1; c < Activation.erfTails(); c++) {
                p = p.fma(t, FloatVector.broadcast(F, Activation.erfTail(c)));
            }
            m.fma(p.mul(t).mul(e), x.max(0f))
                    .mul(FloatVector.fromMemorySegment(F, up, offset, ORDER))
                    .intoMemorySegment(out, offset, ORDER);
        }
        activateRest(Activation.EXACT_GELU, gate, up, out, at, whole, columns);
    }

    private static void clampedRow(MemorySegment gate, MemorySegment up, MemorySegment out, long at, int columns) {
        int whole = columns - columns % LANES;
        for (int i = 0; i < whole; i += LANES) {
            long offset = at + i * (long) Float.BYTES;
            FloatVector g =
                    FloatVector.fromMemorySegment(F, gate, offset, ORDER).min(Activation.CLAMP);
            FloatVector u = FloatVector.fromMemorySegment(F, up, offset, ORDER)
                    .min(Activation.CLAMP)
                    .max(-Activation.CLAMP);
            g.div(Lanes.exp(g.mul(Activation.CLAMPED_FACTOR)).add(1f))
                    .mul(u.add(1f))
                    .intoMemorySegment(out, offset, ORDER);
        }
        activateRest(Activation.CLAMPED_SILU, gate, up, out, at, whole, columns);
    }

    private static void sigmoidRow(MemorySegment gate, MemorySegment up, MemorySegment out, long at, int columns) {
        int whole = columns - columns % LANES;
        for (int i = 0; i < whole; i += LANES) {
            long offset = at + i * (long) Float.BYTES;
            FloatVector g = FloatVector.fromMemorySegment(F, gate, offset, ORDER);
            FloatVector.fromMemorySegment(F, up, offset, ORDER)
                    .div(Lanes.exp(g.neg()).add(1f))
                    .intoMemorySegment(out, offset, ORDER);
        }
        activateRest(Activation.SIGMOID, gate, up, out, at, whole, columns);
    }

    private static void squaredReluRow(MemorySegment gate, MemorySegment up, MemorySegment out, long at, int columns) {
        int whole = columns - columns % LANES;
        for (int i = 0; i < whole; i += LANES) {
            long offset = at + i * (long) Float.BYTES;
            FloatVector positive =
                    FloatVector.fromMemorySegment(F, gate, offset, ORDER).max(0f);
            positive.mul(positive)
                    .mul(FloatVector.fromMemorySegment(F, up, offset, ORDER))
                    .intoMemorySegment(out, offset, ORDER);
        }
        activateRest(Activation.SQUARED_RELU, gate, up, out, at, whole, columns);
    }

    /** Computes the numbers of a row that fill no register. */
    private static void activateRest(
            Activation activation,
            MemorySegment gate,
            MemorySegment up,
            MemorySegment out,
            long at,
            int first,
            int columns) {
        for (int i = first; i < columns; i++) {
            long offset = at + i * (long) Float.BYTES;
            out.set(FLOAT, offset, FloatMath.activate(activation, gate.get(FLOAT, offset), up.get(FLOAT, offset)));
        }
    }

    private static void siluRow(MemorySegment gate, MemorySegment up, MemorySegment out, long at, int columns) {
        int whole = columns - columns % LANES;
        for (int i = 0; i < whole; i += LANES) {
            long offset = at + i * (long) Float.BYTES;
            FloatVector g = FloatVector.fromMemorySegment(F, gate, offset, ORDER);
            g.div(Lanes.exp(g.neg()).add(1f))
                    .mul(FloatVector.fromMemorySegment(F, up, offset, ORDER))
                    .intoMemorySegment(out, offset, ORDER);
        }
        activateRest(Activation.SILU, gate, up, out, at, whole, columns);
    }

    @Override
    public void rope(FloatMatrix x, int headDim, int[] positions, FloatMatrix cosSin, int from, int to) {
        scalar.rope(x, headDim, positions, cosSin, from, to);
    }

    @Override
    public void storeKv(
            KvLayout layout, MemorySegment pages, int page, int slot, FloatMatrix k, FloatMatrix v, int row) {
        scalar.storeKv(layout, pages, page, slot, k, v, row);
    }

    @Override
    public AttentionScratch attentionScratch(KvLayout layout, int heads, float softCap, Arena arena) {
        Shapes.checkHeads(layout, heads);
        return new VectorAttention(layout, heads);
    }

    @Override
    public int attentionRows() {
        return VectorAttention.ROWS;
    }

    @Override
    public void attend(AttentionCall call, AttentionScratch scratch) {
        VectorAttention attention = own(scratch);
        Shapes.checkAttend(call, attention.heads(), VectorAttention.ROWS);
        attention.attend(call);
    }

    @Override
    public void attendSegment(AttentionCall call, AttentionScratch scratch, int segment, FloatMatrix partials, int at) {
        VectorAttention attention = own(scratch);
        Shapes.checkAttend(call, attention.heads(), VectorAttention.ROWS);
        Shapes.checkPartials(call, attention.heads(), partials, at, 1);
        attention.attendSegment(call, segment, partials, at);
    }

    @Override
    public void mergeSegments(AttentionCall call, AttentionScratch scratch, FloatMatrix partials, int at) {
        VectorAttention attention = own(scratch);
        Shapes.checkPartials(call, attention.heads(), partials, at, Shapes.segments(call));
        SegmentMerge.merge(call, attention.heads(), partials, at);
    }

    private static VectorAttention own(AttentionScratch scratch) {
        if (scratch instanceof VectorAttention own) {
            return own;
        }
        throw new IllegalArgumentException("this working memory belongs to another kernel set");
    }
}
