package quire.tensor.scalar;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
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
import quire.tensor.block.FileNumbers;
import quire.tensor.block.UnpackedBlock;

/**
 * The specification: every formula of {@link Kernels} as a plain loop. It is slow and runs on every machine. Tests
 * compare the other sets with it for equality to the last bit.
 */
public final class ScalarKernels implements Kernels {
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
    private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED;
    private static final int TILE = KvLayout.TILE;
    private static final int ATTENTION_ROWS = 16;
    /** The largest finite f16. */
    public static final float F16_MAX = 65504f;

    private static final ThreadLocal<float[]> PARTIALS = ThreadLocal.withInitial(() -> new float[16]);

    private final String reason;

    /** @param reason why this set was chosen, see {@link #reason} */
    public ScalarKernels(String reason) {
        this.reason = reason;
    }

    @Override
    public String name() {
        return "scalar";
    }

    @Override
    public String reason() {
        return reason;
    }

    /** The rows in the order and form of the file. */
    private static final class RowMajor extends WeightMatrix {
        private final MemorySegment bytes;
        private final long rowBytes;

        RowMajor(ElementType type, int rows, int columns, MemorySegment bytes) {
            super(type, rows, columns);
            this.bytes = bytes;
            this.rowBytes = type.byteSize(columns);
        }

        @Override
        public void readRow(int row, MemorySegment target, long targetElement) {
            type().decode(bytes, row * rowBytes, target, targetElement, columns());
        }

        @Override
        public long packedBytes() {
            return bytes.byteSize();
        }
    }

    @Override
    public WeightMatrix pack(
            ElementType type, int rows, int columns, MemorySegment source, Arena arena, Workers workers) {
        Shapes.checkPack(type, rows, columns, source);
        MemorySegment bytes = arena.allocate(source.byteSize(), 64);
        long rowBytes = type.byteSize(columns);
        workers.run(worker -> {
            long from = Workers.shareStart(rows, 1, worker, workers.count()) * rowBytes;
            long to = Workers.shareStart(rows, 1, worker + 1, workers.count()) * rowBytes;
            MemorySegment.copy(source, from, bytes, from, to - from);
        });
        return new RowMajor(type, rows, columns, bytes);
    }

    @Override
    public boolean readsRows() {
        return true;
    }

    @Override
    public long packedBytes(ElementType type, int rows, int columns) {
        return rows * type.byteSize(columns);
    }

    @Override
    public void quantize(Activations x, int from, int to) {
        Shapes.checkQuantize(x, from, to);
        int blocks = x.values().columns() / Activations.BLOCK;
        for (int row = from; row < to; row++) {
            for (int block = 0; block < blocks; block++) {
                quantizeBlock(x, row, block);
            }
        }
    }

    private static void quantizeBlock(Activations x, int row, int block) {
        FloatMatrix values = x.values();
        int first = block * Activations.BLOCK;
        float largest = 0f;
        for (int i = first; i < first + Activations.BLOCK; i++) {
            float magnitude = Math.min(Math.abs(values.get(row, i)), Float.MAX_VALUE);
            if (magnitude > largest) { // false for NaN
                largest = magnitude;
            }
        }
        boolean zero = largest < Activations.SMALLEST;
        float inverse = zero ? 0f : 127f / largest;
        for (int i = first; i < first + Activations.BLOCK; i++) {
            float scaled = values.get(row, i) * inverse;
            float saturated = Math.max(-127f, Math.min(127f, scaled));
            x.quants().set(JAVA_BYTE, (long) row * values.columns() + i, (byte) Math.rint(saturated)); // NaN becomes 0
        }
        long scale = (long) row * (values.columns() / Activations.BLOCK) + block;
        x.scales().set(FLOAT, scale * Float.BYTES, zero ? 0f : largest / 127f);
    }

    @Override
    public void multiply(WeightMatrix w, Activations x, int rows, FloatMatrix y, int from, int to, int parts) {
        Shapes.checkMultiply(w, x, rows, y, from, to, parts);
        if (!(w instanceof RowMajor matrix)) {
            throw new IllegalArgumentException("this weight matrix was packed by another kernel set");
        }
        int begin = Workers.shareStart(w.rows(), 1, from, parts);
        int end = Workers.shareStart(w.rows(), 1, to, parts);
        UnpackedBlock block = UnpackedBlock.own();
        for (int output = begin; output < end; output++) {
            if (w.type().isQuantized()) {
                blockwise(matrix, output, x, rows, y, block);
            } else {
                for (int row = 0; row < rows; row++) {
                    y.set(row, output, plain(matrix, output, x, row));
                }
            }
        }
        w.multiplyByFactor(y, rows, begin, end);
    }

    private static float plain(RowMajor w, int output, Activations x, int row) {
        long offset = output * w.rowBytes;
        float sum = 0f;
        for (int k = 0; k < w.columns(); k++) {
            float weight =
                    switch (w.type()) {
                        case F32 -> w.bytes.get(FileNumbers.FLOAT, offset + 4L * k);
                        case F16 -> Float.float16ToFloat(w.bytes.get(FileNumbers.SHORT, offset + 2L * k));
                        case BF16 -> FileNumbers.bf16ToFloat(w.bytes.get(FileNumbers.SHORT, offset + 2L * k));
                        default -> throw new AssertionError(w.type());
                    };
            sum = Math.fma(weight, x.values().get(row, k), sum);
        }
        return sum;
    }

    /** Computes one output of all rows: adds 32 inputs at a time to each row's element of y. */
    private static void blockwise(RowMajor w, int output, Activations x, int rows, FloatMatrix y, UnpackedBlock block) {
        ElementType type = w.type();
        for (int row = 0; row < rows; row++) {
            y.set(row, output, 0f);
        }
        for (int first = 0; first < w.columns(); first += type.blockElements()) {
            type.unpack(w.bytes, output * w.rowBytes + type.byteSize(first), block);
            for (int row = 0; row < rows; row++) {
                float sum = y.get(row, output);
                for (int i = 0; i < type.blockElements(); i += Activations.BLOCK) {
                    sum = type.hasFloatScales()
                            ? addTwoFloatScales(block, i, x, row, first + i, sum)
                            : type.scaleElements() == Activations.BLOCK
                                    ? addOneScale(block, i, type.hasMinimum(), x, row, first + i, sum)
                                    : addTwoScales(block, i, type.hasMinimum(), x, row, first + i, sum);
                }
                y.set(row, output, sum);
            }
        }
    }

    /**
     * Adds 32 products: weights of a block from {@code first} on, activations of the row from {@code k} on. One scale.
     */
    private static float addOneScale(
            UnpackedBlock block, int first, boolean hasMinimum, Activations x, int row, int k, float before) {
        int group = first / Activations.BLOCK;
        float dx = scaleOf(x, row, k);
        long at = (long) row * x.values().columns() + k;
        int dot = block.dot(first, 32, x.quants(), at);
        float sum = Math.fma(block.scale(group) * dx, (float) dot, before);
        if (hasMinimum) {
            sum = Math.fma(block.minimum(group), dx * (float) sumOf(x.quants(), at, 32), sum);
        }
        return sum;
    }

    /** Adds 32 products of a format that has one scale for each 16. */
    private static float addTwoScales(
            UnpackedBlock block, int first, boolean hasMinimum, Activations x, int row, int k, float before) {
        int group = first / 16;
        float dx = scaleOf(x, row, k);
        long at = (long) row * x.values().columns() + k;
        int dot = block.scales[group] * block.dot(first, 16, x.quants(), at)
                + block.scales[group + 1] * block.dot(first + 16, 16, x.quants(), at + 16);
        float sum = Math.fma(block.d * dx, (float) dot, before);
        if (hasMinimum) {
            int minimum = block.mins[group] * sumOf(x.quants(), at, 16)
                    + block.mins[group + 1] * sumOf(x.quants(), at + 16, 16);
            sum = Math.fma(-(block.dmin * dx), (float) minimum, sum);
        }
        return sum;
    }

    /** Adds 32 products of a format that has one float as the scale of each 16. */
    private static float addTwoFloatScales(
            UnpackedBlock block, int first, Activations x, int row, int k, float before) {
        float dx = scaleOf(x, row, k);
        float sum = before;
        for (int i = 0; i < Activations.BLOCK; i += 16) {
            int dot =
                    block.dot(first + i, 16, x.quants(), (long) row * x.values().columns() + k + i);
            sum = Math.fma(block.scale((first + i) / 16) * dx, (float) dot, sum);
        }
        return sum;
    }

    private static float scaleOf(Activations x, int row, int k) {
        int blocks = x.values().columns() / Activations.BLOCK;
        return x.scales().get(FLOAT, ((long) row * blocks + k / Activations.BLOCK) * Float.BYTES);
    }

    private static int sumOf(MemorySegment quants, long at, int count) {
        int sum = 0;
        for (int i = 0; i < count; i++) {
            sum += quants.get(JAVA_BYTE, at + i);
        }
        return sum;
    }

    @Override
    public void rmsNorm(FloatMatrix x, FloatMatrix weight, float epsilon, FloatMatrix y, int from, int to) {
        Shapes.checkSame(x, y, from, to);
        Shapes.checkOneRow(weight, y);
        float[] partial = PARTIALS.get();
        for (int row = from; row < to; row++) {
            Arrays.fill(partial, 0f);
            for (int i = 0; i < x.columns(); i++) {
                partial[i % 16] = Math.fma(x.get(row, i), x.get(row, i), partial[i % 16]);
            }
            float scale = 1f / (float) Math.sqrt(fold(partial) / x.columns() + epsilon);
            for (int i = 0; i < x.columns(); i++) {
                y.set(row, i, x.get(row, i) * scale * weight.get(0, i));
            }
        }
    }

    @Override
    public void layerNorm(FloatMatrix x, FloatMatrix weight, float epsilon, FloatMatrix y, int from, int to) {
        Shapes.checkSame(x, y, from, to);
        Shapes.checkOneRow(weight, y);
        float[] partial = PARTIALS.get();
        for (int row = from; row < to; row++) {
            Arrays.fill(partial, 0f);
            for (int i = 0; i < x.columns(); i++) {
                partial[i % 16] += x.get(row, i);
            }
            float mean = fold(partial) / x.columns();
            Arrays.fill(partial, 0f);
            for (int i = 0; i < x.columns(); i++) {
                float centred = x.get(row, i) - mean;
                partial[i % 16] = Math.fma(centred, centred, partial[i % 16]);
            }
            float scale = 1f / (float) Math.sqrt(fold(partial) / x.columns() + epsilon);
            for (int i = 0; i < x.columns(); i++) {
                y.set(row, i, (x.get(row, i) - mean) * scale * weight.get(0, i));
            }
        }
    }

    /** Adds sixteen partial sums; the result is the first of them. */
    private static float fold(float[] partial) {
        for (int half = 8; half > 0; half /= 2) {
            for (int i = 0; i < half; i++) {
                partial[i] += partial[i + half];
            }
        }
        return partial[0];
    }

    @Override
    public void addRow(FloatMatrix x, int from, float factor, FloatMatrix y, int to) {
        Shapes.checkAddRow(x, from, y, to);
        for (int i = 0; i < y.columns(); i++) {
            y.set(to, i, Math.fma(factor, x.get(from, i), y.get(to, i)));
        }
    }

    @Override
    public void multiplyRow(FloatMatrix a, int rowA, FloatMatrix b, int rowB, FloatMatrix y, int to) {
        Shapes.checkThreeRows(a, rowA, b, rowB, y, to);
        for (int i = 0; i < y.columns(); i++) {
            y.set(to, i, a.get(rowA, i) * b.get(rowB, i));
        }
    }

    @Override
    public void addProduct(FloatMatrix a, int rowA, FloatMatrix b, int rowB, FloatMatrix y, int to) {
        Shapes.checkThreeRows(a, rowA, b, rowB, y, to);
        for (int i = 0; i < y.columns(); i++) {
            y.set(to, i, Math.fma(a.get(rowA, i), b.get(rowB, i), y.get(to, i)));
        }
    }

    @Override
    public void advance(StateCall call) {
        Shapes.checkAdvance(call);
        advance(call, 0);
    }

    /** Computes {@link #advance} for the numbers of the value from {@code from} on; the arguments are checked. */
    public static void advance(StateCall call, int from) {
        FloatMatrix state = call.state();
        FloatMatrix in = call.inputs();
        int row = call.row();
        for (int p = from; p < state.columns(); p++) {
            float value = in.get(row, call.valueColumn() + p);
            float added = call.step() * value;
            float sum = 0f;
            for (int n = 0; n < call.keys(); n++) {
                float decayed = call.decay() * state.get(call.stateRow() + n, p);
                float next = Math.fma(in.get(row, call.keyColumn() + n), added, decayed);
                state.set(call.stateRow() + n, p, next);
                sum = Math.fma(in.get(row, call.queryColumn() + n), next, sum);
            }
            call.out().set(call.outRow(), call.outColumn() + p, Math.fma(call.skip(), value, sum));
        }
    }

    @Override
    public void advanceDelta(StateCall call) {
        Shapes.checkAdvance(call);
        advanceDelta(call, 0);
    }

    /** Computes {@link #advanceDelta} for the numbers of the value from {@code from} on; the arguments are checked. */
    public static void advanceDelta(StateCall call, int from) {
        FloatMatrix state = call.state();
        FloatMatrix in = call.inputs();
        int row = call.row();
        for (int p = from; p < state.columns(); p++) {
            float predicted = 0f;
            for (int n = 0; n < call.keys(); n++) {
                float decayed = call.decay() * state.get(call.stateRow() + n, p);
                state.set(call.stateRow() + n, p, decayed);
                predicted = Math.fma(in.get(row, call.keyColumn() + n), decayed, predicted);
            }
            float added = call.step() * (in.get(row, call.valueColumn() + p) - predicted);
            float sum = 0f;
            for (int n = 0; n < call.keys(); n++) {
                float next = Math.fma(in.get(row, call.keyColumn() + n), added, state.get(call.stateRow() + n, p));
                state.set(call.stateRow() + n, p, next);
                sum = Math.fma(in.get(row, call.queryColumn() + n), next, sum);
            }
            call.out().set(call.outRow(), call.outColumn() + p, sum);
        }
    }

    @Override
    public void advanceSelective(StateCall call) {
        Shapes.checkAdvanceSelective(call);
        advanceSelective(call, 0);
    }

    /** Computes {@link #advanceSelective} for the numbers of the value from {@code from} on; the arguments are checked. */
    public static void advanceSelective(StateCall call, int from) {
        FloatMatrix state = call.state();
        FloatMatrix in = call.inputs();
        int row = call.row();
        for (int p = from; p < state.columns(); p++) {
            int column = call.valueColumn() + p;
            float value = in.get(row, column);
            float step = call.steps().get(call.stepRow(), column);
            float added = step * value;
            float sum = 0f;
            for (int n = 0; n < call.keys(); n++) {
                float decayed = FloatMath.exp(step * call.rates().get(n, column)) * state.get(call.stateRow() + n, p);
                float next = Math.fma(in.get(row, call.keyColumn() + n), added, decayed);
                state.set(call.stateRow() + n, p, next);
                sum = Math.fma(in.get(row, call.queryColumn() + n), next, sum);
            }
            call.out()
                    .set(
                            call.outRow(),
                            call.outColumn() + p,
                            Math.fma(call.skips().get(0, column), value, sum));
        }
    }

    @Override
    public void softCap(FloatMatrix x, float cap, int from, int to) {
        Shapes.checkSoftCap(x, cap, from, to);
        for (int row = from; row < to; row++) {
            for (int i = 0; i < x.columns(); i++) {
                x.set(row, i, FloatMath.softCap(x.get(row, i), cap));
            }
        }
    }

    @Override
    public void add(FloatMatrix x, FloatMatrix y, int from, int to) {
        Shapes.checkSame(x, y, from, to);
        for (int row = from; row < to; row++) {
            for (int i = 0; i < y.columns(); i++) {
                y.set(row, i, y.get(row, i) + x.get(row, i));
            }
        }
    }

    @Override
    public void addBias(FloatMatrix bias, FloatMatrix y, int from, int to) {
        Shapes.checkOneRow(bias, y);
        Shapes.checkRows(y, from, to);
        for (int row = from; row < to; row++) {
            for (int i = 0; i < y.columns(); i++) {
                y.set(row, i, y.get(row, i) + bias.get(0, i));
            }
        }
    }

    @Override
    public void activate(Activation activation, FloatMatrix gate, FloatMatrix up, FloatMatrix out, int from, int to) {
        Shapes.checkSame(gate, up, from, to);
        Shapes.checkSame(gate, out, from, to);
        for (int row = from; row < to; row++) {
            for (int i = 0; i < gate.columns(); i++) {
                out.set(row, i, FloatMath.activate(activation, gate.get(row, i), up.get(row, i)));
            }
        }
    }

    @Override
    public void rope(FloatMatrix x, int headDim, int[] positions, FloatMatrix cosSin, int from, int to) {
        Shapes.checkRope(x, headDim, positions, cosSin, from, to);
        for (int row = from; row < to; row++) {
            for (int head = 0; head < x.columns(); head += headDim) {
                for (int i = 0; i < cosSin.columns(); i += 2) {
                    float cos = cosSin.get(positions[row], i);
                    float sin = cosSin.get(positions[row], i + 1);
                    float a = x.get(row, head + i);
                    float b = x.get(row, head + i + 1);
                    x.set(row, head + i, Math.fma(a, cos, -(b * sin)));
                    x.set(row, head + i + 1, Math.fma(a, sin, b * cos));
                }
            }
        }
    }

    @Override
    public void storeKv(
            KvLayout layout, MemorySegment pages, int page, int slot, FloatMatrix k, FloatMatrix v, int row) {
        Shapes.checkStoreKv(layout, page, slot, k, v, row);
        for (int head = 0; head < layout.kvHeads(); head++) {
            long keys = page * layout.pageBytes() + layout.keyTileOffset(slot, head);
            long values = page * layout.pageBytes() + layout.valueTileOffset(slot, head);
            int first = head * layout.headDim();
            float keyInverse = 0f;
            float valueInverse = 0f;
            if (layout.type().isQuantized()) {
                float keyMax = largest(k, row, first, layout.headDim());
                float valueMax = largest(v, row, first, layout.headDim());
                long scale = page * layout.pageBytes() + slot % TILE * (long) Float.BYTES;
                pages.set(FLOAT, scale + layout.keyScalesOffset(slot, head), keyMax / 127f);
                pages.set(FLOAT, scale + layout.valueScalesOffset(slot, head), valueMax / 127f);
                keyInverse = keyMax == 0f ? 0f : 127f / keyMax;
                valueInverse = valueMax == 0f ? 0f : 127f / valueMax;
            }
            for (int d = 0; d < layout.headDim(); d++) {
                storeNumber(layout, pages, keys + layout.keyOffset(slot, d), k.get(row, first + d), keyInverse);
                storeNumber(layout, pages, values + layout.valueOffset(slot, d), v.get(row, first + d), valueInverse);
            }
        }
    }

    /**
     * The largest magnitude, limited to the largest finite number; 0 if it is too small for a scale; NaN if any number
     * is NaN. The scale of int8 numbers is a 127th of it.
     */
    public static float largest(FloatMatrix x, int row, int first, int count) {
        float largest = 0f;
        for (int i = first; i < first + count; i++) {
            largest = Math.max(largest, Math.min(Math.abs(x.get(row, i)), Float.MAX_VALUE));
        }
        return largest < Activations.SMALLEST ? 0f : largest;
    }

    /** Rounds {@code value × inverse} to an integer in −127 … 127; NaN becomes 0. */
    public static byte quantized(float value, float inverse) {
        return (byte) Math.rint(Math.max(-127f, Math.min(127f, value * inverse)));
    }

    private static void storeNumber(KvLayout layout, MemorySegment pages, long at, float value, float inverse) {
        switch (layout.type()) {
            case F16 -> {
                float saturated = Math.max(-F16_MAX, Math.min(F16_MAX, value));
                pages.set(SHORT, at, Float.floatToFloat16(saturated));
            }
            case F32 -> pages.set(FLOAT, at, value);
            case Q8_0 -> pages.set(JAVA_BYTE, at, quantized(value, inverse));
        }
    }

    private static float loadNumber(KvLayout layout, MemorySegment pages, long at) {
        return layout.type() == KvLayout.KvType.F16 ? Float.float16ToFloat(pages.get(SHORT, at)) : pages.get(FLOAT, at);
    }

    /** Scores of one tile, and the results of a segment and of those before it. */
    private static final class Scratch implements AttentionScratch {
        private final int heads;
        /** Scores of a tile, then its weights. */
        private final float[] scores = new float[TILE];

        private final float[] partialSums = new float[TILE];
        private final FloatMatrix results;
        /** The query and the tile's weights as integers, for Q8_0. */
        private final byte[] query;

        private final byte[] weights = new byte[TILE];

        Scratch(int heads, FloatMatrix results) {
            this.heads = heads;
            this.results = results;
            query = new byte[results.columns()];
        }

        @Override
        public long byteSize() {
            return 2L * TILE * Float.BYTES + results.segment().byteSize() + query.length + TILE;
        }
    }

    @Override
    public AttentionScratch attentionScratch(KvLayout layout, int heads, float softCap, Arena arena) {
        Shapes.checkHeads(layout, heads);
        return new Scratch(heads, FloatMatrix.allocate(arena, 2, layout.headDim() + 2));
    }

    @Override
    public int attentionRows() {
        return ATTENTION_ROWS;
    }

    @Override
    public void attend(AttentionCall call, AttentionScratch scratch) {
        Scratch memory = own(scratch);
        Shapes.checkAttend(call, memory.heads, ATTENTION_ROWS);
        int group = memory.heads / call.layout().kvHeads();
        for (int row = 0; row < call.rowCount(); row++) {
            for (int head = call.kvHead() * group; head < (call.kvHead() + 1) * group; head++) {
                attendOne(call, row, head, memory);
            }
        }
    }

    @Override
    public void attendSegment(AttentionCall call, AttentionScratch scratch, int segment, FloatMatrix partials, int at) {
        Scratch memory = own(scratch);
        Shapes.checkAttend(call, memory.heads, ATTENTION_ROWS);
        Shapes.checkPartials(call, memory.heads, partials, at, 1);
        int group = memory.heads / call.layout().kvHeads();
        for (int i = 0; i < call.rowCount() * group; i++) {
            attendSegment(call, i / group, call.kvHead() * group + i % group, segment, memory, partials, at + i);
        }
    }

    @Override
    public void mergeSegments(AttentionCall call, AttentionScratch scratch, FloatMatrix partials, int at) {
        Scratch memory = own(scratch);
        Shapes.checkPartials(call, memory.heads, partials, at, Shapes.segments(call));
        SegmentMerge.merge(call, memory.heads, partials, at);
    }

    private static Scratch own(AttentionScratch scratch) {
        if (scratch instanceof Scratch own) {
            return own;
        }
        throw new IllegalArgumentException("this working memory belongs to another kernel set");
    }

    /** Computes one query: one head of the call's row {@code i}. */
    private static void attendOne(AttentionCall call, int i, int head, Scratch memory) {
        FloatMatrix results = memory.results;
        int position = call.firstPosition() + i;
        int first = call.firstSegment(position);
        for (int segment = first; segment <= position / KvLayout.SEGMENT; segment++) {
            attendSegment(call, i, head, segment, memory, results, segment == first ? 0 : 1);
            if (segment > first) {
                SegmentMerge.add(results, 0, results, 1);
            }
        }
        int headDim = call.layout().headDim();
        for (int d = 0; d < headDim; d++) {
            call.out().set(call.firstRow() + i, head * headDim + d, results.get(0, d) / results.get(0, headDim + 1));
        }
    }

    /** Computes a segment of one query to a row of {@code out}, where the sum o accumulates. */
    private static void attendSegment(
            AttentionCall call, int i, int head, int segment, Scratch memory, FloatMatrix out, int outRow) {
        KvLayout layout = call.layout();
        int position = call.firstPosition() + i;
        int headDim = layout.headDim();
        boolean quantized = layout.type().isQuantized();
        float scale = quantized ? quantizeQuery(call, i, head, memory) : call.scale();
        for (int d = 0; d < headDim; d++) {
            out.set(outRow, d, 0f);
        }
        FloatMatrix sinks = call.sinks(segment, position);
        float max = sinks == null ? Float.NEGATIVE_INFINITY : sinks.get(0, head);
        float sum = sinks == null ? 0f : 1f;
        int seen = call.firstSeen(position);
        int start = Math.max(seen / TILE * TILE, segment * KvLayout.SEGMENT);
        int end = Math.min(position + 1, (segment + 1) * KvLayout.SEGMENT);
        for (int tile = start; tile < end; tile += TILE) {
            int slot = tile % layout.pageTokens();
            long page = call.pageTable()[tile / layout.pageTokens()] * layout.pageBytes();
            float newMax = max;
            for (int j = 0; j < TILE; j++) {
                boolean sees = tile + j >= seen && tile + j <= position;
                memory.scores[j] = sees ? score(call, i, head, page, slot + j, scale, memory) : Float.NEGATIVE_INFINITY;
                newMax = Math.max(newMax, memory.scores[j]);
            }
            float correction = FloatMath.exp(max - newMax);
            max = newMax;
            for (int j = 0; j < TILE; j++) {
                boolean sees = tile + j >= seen && tile + j <= position;
                memory.scores[j] = sees ? FloatMath.exp(memory.scores[j] - max) : 0f;
            }
            sum = Math.fma(sum, correction, sum(memory));
            int width = Math.min(TILE, position - tile + 1);
            if (quantized) {
                addIntegers(call, page, slot, Math.max(0, seen - tile), width, memory, correction, out, outRow);
            } else {
                addValues(call, page, slot, width, memory, correction, out, outRow);
            }
        }
        out.set(outRow, headDim, max);
        out.set(outRow, headDim + 1, sum);
    }

    /** Quantises a query; returns the factor of its scores. */
    private static float quantizeQuery(AttentionCall call, int i, int head, Scratch memory) {
        int headDim = call.layout().headDim();
        int row = call.firstRow() + i;
        float largest = largest(call.q(), row, head * headDim, headDim);
        float inverse = largest == 0f ? 0f : 127f / largest;
        for (int d = 0; d < headDim; d++) {
            memory.query[d] = quantized(call.q().get(row, head * headDim + d), inverse);
        }
        return largest / 127f * call.scale();
    }

    private static float score(AttentionCall call, int i, int head, long page, int slot, float scale, Scratch memory) {
        KvLayout layout = call.layout();
        int headDim = layout.headDim();
        long keys = page + layout.keyTileOffset(slot, call.kvHead());
        float score;
        if (layout.type().isQuantized()) {
            int dot = 0;
            for (int d = 0; d < headDim; d++) {
                dot += memory.query[d] * call.pages().get(JAVA_BYTE, keys + layout.keyOffset(slot, d));
            }
            long scales = page + layout.keyScalesOffset(slot, call.kvHead());
            score = (float) dot * scale * call.pages().get(FLOAT, scales + slot % TILE * (long) Float.BYTES);
        } else {
            float dot = 0f;
            for (int d = 0; d < headDim; d++) {
                float key = loadNumber(layout, call.pages(), keys + layout.keyOffset(slot, d));
                dot = Math.fma(call.q().get(call.firstRow() + i, head * headDim + d), key, dot);
            }
            score = scale * dot;
        }
        return call.softCap() > 0 ? FloatMath.softCap(score, call.softCap()) : score;
    }

    /** The sum of the weights of a tile, halved again and again. */
    private static float sum(Scratch memory) {
        float[] sums = memory.partialSums;
        System.arraycopy(memory.scores, 0, sums, 0, TILE);
        for (int half = TILE / 2; half > 0; half /= 2) {
            for (int j = 0; j < half; j++) {
                sums[j] += sums[j + half];
            }
        }
        return sums[0];
    }

    /** Adds the first {@code width} values of a tile to the corrected sums. */
    private static void addValues(
            AttentionCall call,
            long page,
            int slot,
            int width,
            Scratch memory,
            float correction,
            FloatMatrix out,
            int outRow) {
        KvLayout layout = call.layout();
        long values = page + layout.valueTileOffset(slot, call.kvHead());
        for (int d = 0; d < layout.headDim(); d++) {
            float sum = out.get(outRow, d) * correction;
            for (int j = 0; j < width; j++) {
                float value = loadNumber(layout, call.pages(), values + layout.valueOffset(slot + j, d));
                sum = Math.fma(memory.scores[j], value, sum);
            }
            out.set(outRow, d, sum);
        }
    }

    /** The same in integers, for the values {@code [first, end)} of a tile. */
    private static void addIntegers(
            AttentionCall call,
            long page,
            int slot,
            int first,
            int end,
            Scratch memory,
            float correction,
            FloatMatrix out,
            int outRow) {
        KvLayout layout = call.layout();
        long scales = page + layout.valueScalesOffset(slot, call.kvHead());
        float largest = 0f;
        for (int j = first; j < end; j++) {
            memory.scores[j] *= call.pages().get(FLOAT, scales + j * (long) Float.BYTES);
            largest = Math.max(largest, memory.scores[j]);
        }
        largest = largest < Activations.SMALLEST ? 0f : largest;
        float inverse = largest == 0f ? 0f : 127f / largest;
        for (int j = first; j < end; j++) {
            memory.weights[j] = quantized(memory.scores[j], inverse);
        }
        long values = page + layout.valueTileOffset(slot, call.kvHead());
        for (int d = 0; d < layout.headDim(); d++) {
            int dot = 0;
            for (int j = first; j < end; j++) {
                dot += memory.weights[j] * call.pages().get(JAVA_BYTE, values + layout.valueOffset(slot + j, d));
            }
            out.set(outRow, d, Math.fma((float) dot, largest / 127f, out.get(outRow, d) * correction));
        }
    }
}
