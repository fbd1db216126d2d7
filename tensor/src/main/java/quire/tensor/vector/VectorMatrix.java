package quire.tensor.vector;

import static quire.tensor.vector.Lanes.F;
import static quire.tensor.vector.Lanes.I;
import static quire.tensor.vector.Lanes.LANES;
import static quire.tensor.vector.Lanes.ORDER;
import static quire.tensor.vector.Lanes.S;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorOperators;
import quire.tensor.Activations;
import quire.tensor.ElementType;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.WeightMatrix;
import quire.tensor.Workers;
import quire.tensor.block.FileNumbers;

/**
 * A weight matrix packed for the Vector API, and its products.
 *
 * <p>Two vectors of output rows make a <b>panel</b>, with one row in each lane. So an output's sum stays in its lane
 * and has the order of {@link Kernels}. With 16 lanes a panel has 32 rows. A word has 32 bits and belongs to one row:
 *
 * <pre>
 *   F32         [panel][k]          [2][LANES] words: w[k]
 *   F16, BF16   [panel][k / 2]      [2][LANES] words: w[k] low, w[k + 1] high (0 past the end)
 *   Q8_0        [panel][block][8]   [2][LANES] words: 4 consecutive inputs, lowest first
 *   Q4_0        [panel][block][4]   [2][LANES] words: 8 nibbles, unsigned
 *               word w:  bits  0..3   4..7   8..11  12..15 | 16..19 20..23 24..27 28..31
 *                       input 8w+0   8w+2   8w+4   8w+6   | 8w+1   8w+3   8w+5   8w+7
 *   scales      [panel][block]      [LANES] words: f16 of the first vector's row low, of the second's high
 * </pre>
 *
 * <p>A Q4_0 word, shifted by 0, 4, 8 or 12 bits within its 16-bit halves and masked, is a pair of consecutive inputs.
 * One instruction multiplies 2 × LANES such numbers with int16 activations. The sums are int16 and exact: 16 products
 * are at most 16 × 15 × 127 = 30480. At the end of the block, the two halves are added in int32. The sums of Q8_0
 * products are f32 and exact too, in any order: 32 × 128 × 127 &lt; 2²⁴.
 */
final class VectorMatrix extends WeightMatrix {
    private static final int BLOCK = Activations.BLOCK;
    static final int PAIRS = BLOCK / 2;
    /** Rows of activations (tokens) whose sums are in registers together. */
    static final int TILE = 6;

    static final int PANEL = 2 * LANES;
    static final int PANEL_BYTES = PANEL * Integer.BYTES;
    /** Inputs expanded at a time. With the sums of 96 tokens they fit the first-level cache. */
    static final int CHUNK = 128;
    /** Blocks of a panel computed at a time for a single token. */
    static final int ONE_BLOCKS = 16;
    /** Tiles of tokens that share one expansion of a panel's chunk. */
    static final int GROUP_TILES = 16;

    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT;
    private static final ValueLayout.OfInt FILE_INT = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfLong FILE_LONG =
            ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private static final ThreadLocal<Scratch> SCRATCH = ThreadLocal.withInitial(Scratch::new);

    /** The types that this class packs. {@link VectorBlocks} packs the others. */
    private enum Form {
        F32,
        F16,
        BF16,
        Q4_0,
        Q8_0
    }

    /** Whether this class packs this type. */
    static boolean takes(ElementType type) {
        return switch (type) {
            case F32, F16, BF16, Q4_0, Q8_0 -> true;
            default -> false;
        };
    }

    private final Form form;
    private final MemorySegment words;
    private final MemorySegment scales;
    private final long wordBytesPerPanel;
    private final long scaleBytesPerPanel;

    private VectorMatrix(ElementType type, int rows, int columns, Arena arena) {
        super(type, rows, columns);
        long panels = panels(rows);
        form = Form.valueOf(type.name());
        wordBytesPerPanel = PANEL_BYTES * wordsPerRow(form, columns);
        scaleBytesPerPanel = scaleBytesPerPanel(type, columns);
        words = arena.allocate(panels * wordBytesPerPanel, 64);
        scales = arena.allocate(panels * scaleBytesPerPanel, 64);
    }

    private static long panels(int rows) {
        return (rows + (long) PANEL - 1) / PANEL;
    }

    private static long scaleBytesPerPanel(ElementType type, int columns) {
        return type.isQuantized() ? (long) columns / BLOCK * LANES * Integer.BYTES : 0;
    }

    static long packedBytes(ElementType type, int rows, int columns) {
        return panels(rows)
                * (PANEL_BYTES * wordsPerRow(Form.valueOf(type.name()), columns) + scaleBytesPerPanel(type, columns));
    }

    private static long wordsPerRow(Form form, int columns) {
        return switch (form) {
            case F32 -> columns;
            case F16, BF16 -> (columns + 1) / 2;
            case Q8_0 -> columns / 4;
            case Q4_0 -> columns / 8;
        };
    }

    @Override
    public long packedBytes() {
        return words.byteSize() + scales.byteSize();
    }

    /** A worker's working memory. It grows to the size that the widest matrix needs. */
    static final class Scratch {
        /** Expanded weights of a chunk: [k][2][LANES]. */
        final float[] weights = new float[CHUNK * PANEL];
        /** Expanded weights of a chunk of Q4_0: [pair][2][2 × LANES]. */
        final short[] pairWeights = new short[CHUNK * PANEL];

        final float[] weightScales = new float[ONE_BLOCKS * PANEL];
        /** The scales of the upper halves of blocks whose scales are floats. */
        final float[] upperScales = new float[ONE_BLOCKS * PANEL];

        final float[] weightMins = new float[ONE_BLOCKS * PANEL];
        /** The two minimums of each block of a chunk: [block][2][2][LANES]. */
        final float[] minFactors = new float[CHUNK / BLOCK * 2 * PANEL];
        /** Sums of blocks before scaling: [token or block][2][2 × LANES]; as floats [block][2][LANES]. */
        final short[] pairSums = new short[ONE_BLOCKS * 2 * PANEL];

        final float[] blockSums = new float[ONE_BLOCKS * PANEL];
        final float[] minSums = new float[ONE_BLOCKS * PANEL];
        /** Sums of the two halves of blocks: [block][2][2][LANES]. */
        final float[] halfSums = new float[ONE_BLOCKS * 2 * PANEL];
        /** Results: [tile][token][2][LANES]. */
        final float[] sums = new float[GROUP_TILES * TILE * PANEL];
        /** Activations in the order in which the products use them. */
        float[] x = new float[0];

        int[] pairs = new int[0];
        float[] xScales = new float[0];
        /** 8 × the sum of the activations of each block. */
        int[] sums8 = new int[0];
        /** For each block: sum of the activations × their scale, and the sums of its two halves. */
        float[] scaledSums = new float[0];

        float[] lowerSums = new float[0];
        float[] upperSums = new float[0];

        void roomForFloats(int length) {
            if (x.length < length) {
                x = new float[length];
            }
        }

        void roomForQuants(int length) {
            if (pairs.length < length / 2) {
                pairs = new int[length / 2];
                xScales = new float[length / BLOCK];
                sums8 = new int[length / BLOCK];
                scaledSums = new float[length / BLOCK];
                lowerSums = new float[length / BLOCK];
                upperSums = new float[length / BLOCK];
            }
        }
    }

    /** The calling thread's working memory. */
    static Scratch scratch() {
        return SCRATCH.get();
    }

    // ---- packing

    static VectorMatrix pack(
            ElementType type, int rows, int columns, MemorySegment source, Arena arena, Workers workers) {
        VectorMatrix packed = new VectorMatrix(type, rows, columns, arena);
        workers.run(worker -> {
            int from = Workers.shareStart(rows, PANEL, worker, workers.count());
            int to = Workers.shareStart(rows, PANEL, worker + 1, workers.count());
            for (int row = from; row < to; row++) {
                packed.packRow(source, row);
            }
        });
        return packed;
    }

    private void packRow(MemorySegment source, int row) {
        long sourceRow = row * type().byteSize(columns());
        long lane = row % PANEL * (long) Integer.BYTES;
        long target = row / PANEL * wordBytesPerPanel + lane;
        switch (form) {
            case F32 -> packWords(source, sourceRow, target, columns());
            case F16, BF16 -> {
                packWords(source, sourceRow, target, columns() / 2);
                if (columns() % 2 == 1) {
                    int last = Short.toUnsignedInt(
                            source.get(FileNumbers.SHORT, sourceRow + (columns() - 1) * (long) Short.BYTES));
                    words.set(INT, target + columns() / 2 * (long) PANEL_BYTES, last);
                }
            }
            case Q8_0 -> {
                for (int block = 0; block < columns() / BLOCK; block++) {
                    long at = sourceRow + block * 34L;
                    packScale(source.get(FileNumbers.SHORT, at), row, block);
                    packWords(source, at + 2, target + block * 8L * PANEL_BYTES, 8);
                }
            }
            case Q4_0 -> {
                for (int block = 0; block < columns() / BLOCK; block++) {
                    long at = sourceRow + block * 18L;
                    packScale(source.get(FileNumbers.SHORT, at), row, block);
                    packNibbles(source, at + 2, target + block * 4L * PANEL_BYTES);
                }
            }
        }
    }

    private void packWords(MemorySegment source, long from, long target, int count) {
        for (long i = 0; i < count; i++) {
            words.set(INT, target + i * PANEL_BYTES, source.get(FILE_INT, from + i * Integer.BYTES));
        }
    }

    private void packNibbles(MemorySegment source, long from, long target) {
        long first = source.get(FILE_LONG, from);
        long second = source.get(FILE_LONG, from + 8);
        words.set(INT, target, interleaveNibbles(first));
        words.set(INT, target + PANEL_BYTES, interleaveNibbles(second));
        words.set(INT, target + 2L * PANEL_BYTES, interleaveNibbles(first >>> 4));
        words.set(INT, target + 3L * PANEL_BYTES, interleaveNibbles(second >>> 4));
    }

    /** Packs the low nibbles of 8 bytes: those of bytes 0, 2, 4, 6 into the low half, the others into the high half. */
    private static int interleaveNibbles(long bytes) {
        long even = Long.compress(bytes, 0x000f000f000f000fL);
        long odd = Long.compress(bytes, 0x0f000f000f000f00L);
        return (int) (even | odd << 16);
    }

    private void packScale(short scale, int row, int block) {
        long offset = row / PANEL * scaleBytesPerPanel
                + (block * (long) LANES + row % LANES) * Integer.BYTES
                + (row % PANEL / LANES) * (long) Short.BYTES;
        scales.set(FileNumbers.SHORT, offset, scale);
    }

    // ---- products

    void multiply(Activations x, int rows, FloatMatrix y, int firstPart, int endPart, int parts) {
        int from = Workers.shareStart(rows(), PANEL, firstPart, parts) / PANEL;
        int to = (Workers.shareStart(rows(), PANEL, endPart, parts) + PANEL - 1) / PANEL;
        if (from == to) {
            return;
        }
        Scratch scratch = scratch();
        if (rows == 1) {
            multiplyOne(x, y, from, to, scratch);
            scalePanels(this, y, 1, from, to);
            return;
        }
        for (int row = 0; row < rows; row += GROUP_TILES * TILE) {
            int count = Math.min(GROUP_TILES * TILE, rows - row);
            multiplyGroup(x, row, count, y, from, to, scratch);
        }
        scalePanels(this, y, rows, from, to);
    }

    /** Many tokens: a chunk of a panel is expanded once for all tiles of the group. */
    private void multiplyGroup(Activations x, int first, int count, FloatMatrix y, int from, int to, Scratch scratch) {
        int columns = columns();
        int tiles = (count + TILE - 1) / TILE;
        switch (form) {
            case Q4_0 -> copyQuants(x, first, tiles * TILE, scratch);
            case Q8_0 -> {
                copyQuants(x, first, tiles * TILE, scratch);
                widenPairs(scratch, tiles * TILE * columns / 2);
            }
            case F32, F16, BF16 -> interleave(x.values(), first, count, scratch);
        }
        for (int panel = from; panel < to; panel++) {
            Arrays.fill(scratch.sums, 0, tiles * TILE * PANEL, 0f);
            for (int k = 0; k < columns; k += CHUNK) {
                int width = Math.min(CHUNK, columns - k);
                expand(panel, k, width, scratch);
                for (int tile = 0; tile < tiles; tile++) {
                    int at = (tile * columns + k) * TILE;
                    switch (form) {
                        case Q4_0 -> tileQ4(scratch, width / BLOCK, at, tile * TILE * PANEL);
                        case Q8_0 -> tileQ8(scratch, width / BLOCK, at, tile * TILE * PANEL);
                        case F32, F16, BF16 -> tileFloat(scratch, width, at, tile * TILE * PANEL);
                    }
                }
            }
            for (int token = 0; token < count; token++) {
                storePanel(scratch.sums, token * PANEL, y, first + token, panel * PANEL);
            }
        }
    }

    /** Multiplies the outputs of some panels by the factor of the weights. */
    static void scalePanels(WeightMatrix weights, FloatMatrix y, int rows, int from, int to) {
        weights.multiplyByFactor(y, rows, from * PANEL, Math.min(to * PANEL, weights.rows()));
    }

    static void storePanel(float[] sums, int at, FloatMatrix y, int row, int output) {
        int count = Math.min(PANEL, y.columns() - output);
        MemorySegment.copy(sums, at, y.segment(), FLOAT, y.rowOffset(row) + output * (long) Float.BYTES, count);
    }

    /** Copies pairs [tile][columns / 2][token] and scales [tile][block][token] of whole tiles. */
    static void copyQuants(Activations x, int first, int count, Scratch scratch) {
        int columns = x.values().columns();
        scratch.roomForQuants(count * columns);
        MemorySegment.copy(
                x.quants(), INT, first * (long) columns * Short.BYTES, scratch.pairs, 0, count * columns / 2);
        MemorySegment.copy(
                x.scales(),
                FLOAT,
                first * (long) (columns / BLOCK) * Float.BYTES,
                scratch.xScales,
                0,
                count * (columns / BLOCK));
    }

    /** Converts {@code count} pairs of int16 to f32, in order: [tile][columns / 2][token][2]. */
    static void widenPairs(Scratch scratch, int count) {
        scratch.roomForFloats(2 * count);
        int[] pairs = scratch.pairs;
        float[] to = scratch.x;
        for (int i = 0; i < count; i++) {
            to[2 * i] = (short) pairs[i];
            to[2 * i + 1] = pairs[i] >> 16;
        }
    }

    /** Copies rows to [tile][k][token]; tokens after the last are zeros. */
    private static void interleave(FloatMatrix x, int first, int count, Scratch scratch) {
        int columns = x.columns();
        int tiles = (count + TILE - 1) / TILE;
        scratch.roomForFloats(tiles * TILE * columns);
        float[] to = scratch.x;
        for (int token = 0; token < tiles * TILE; token++) {
            int base = token / TILE * TILE * columns + token % TILE;
            if (token < count) {
                long from = x.rowOffset(first + token);
                for (int k = 0; k < columns; k++) {
                    to[base + k * TILE] = x.segment().get(FLOAT, from + k * (long) Float.BYTES);
                }
            } else {
                for (int k = 0; k < columns; k++) {
                    to[base + k * TILE] = 0f;
                }
            }
        }
    }

    private void expand(int panel, int k, int width, Scratch scratch) {
        long at = panel * wordBytesPerPanel;
        switch (form) {
            case F32 ->
                MemorySegment.copy(words, FLOAT, at + k * (long) PANEL_BYTES, scratch.weights, 0, width * PANEL);
            case F16 -> expandF16(words, at + k / 2 * (long) PANEL_BYTES, (width + 1) / 2, scratch.weights);
            case BF16 -> expandBf16(words, at + k / 2 * (long) PANEL_BYTES, (width + 1) / 2, scratch.weights);
            case Q8_0 -> {
                expandQ8(words, at + k / 4 * (long) PANEL_BYTES, width / 4, scratch.weights);
                expandScales(panel, k / BLOCK, width / BLOCK, scratch);
            }
            case Q4_0 -> {
                expandQ4(words, at + k / 8 * (long) PANEL_BYTES, width / 8, (short) 8, scratch.pairWeights);
                expandScales(panel, k / BLOCK, width / BLOCK, scratch);
            }
        }
    }

    private void expandScales(int panel, int block, int blocks, Scratch scratch) {
        long at = panel * scaleBytesPerPanel + block * (long) LANES * Integer.BYTES;
        for (int b = 0; b < blocks; b++) {
            IntVector both = IntVector.fromMemorySegment(I, scales, at + b * (long) LANES * Integer.BYTES, ORDER);
            Lanes.lowHalves(both).intoArray(scratch.weightScales, b * PANEL);
            Lanes.highHalves(both).intoArray(scratch.weightScales, b * PANEL + LANES);
        }
    }

    private static void expandF16(MemorySegment words, long at, int count, float[] to) {
        for (int i = 0; i < 2 * count; i++) { // odd i is the second vector of the panel
            IntVector w = IntVector.fromMemorySegment(I, words, at + i * (PANEL_BYTES / 2L), ORDER);
            int base = i / 2 * 2 * PANEL + i % 2 * LANES;
            Lanes.lowHalves(w).intoArray(to, base);
            Lanes.highHalves(w).intoArray(to, base + PANEL);
        }
    }

    private static void expandBf16(MemorySegment words, long at, int count, float[] to) {
        for (int i = 0; i < 2 * count; i++) {
            IntVector w = IntVector.fromMemorySegment(I, words, at + i * (PANEL_BYTES / 2L), ORDER);
            int base = i / 2 * 2 * PANEL + i % 2 * LANES;
            lowBf16(w).intoArray(to, base);
            highBf16(w).intoArray(to, base + PANEL);
        }
    }

    private static FloatVector lowBf16(IntVector v) {
        return v.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats();
    }

    private static FloatVector highBf16(IntVector v) {
        return v.and(0xffff0000).reinterpretAsFloats();
    }

    static void expandQ8(MemorySegment words, long at, int count, float[] to) {
        for (int i = 0; i < 2 * count; i++) {
            IntVector w = IntVector.fromMemorySegment(I, words, at + i * (PANEL_BYTES / 2L), ORDER);
            int base = i / 2 * 4 * PANEL + i % 2 * LANES;
            byte0(w).intoArray(to, base);
            byte1(w).intoArray(to, base + PANEL);
            byte2(w).intoArray(to, base + 2 * PANEL);
            byte3(w).intoArray(to, base + 3 * PANEL);
        }
    }

    static FloatVector byte0(IntVector w) {
        return Lanes.toFloat(w.lanewise(VectorOperators.LSHL, 24).lanewise(VectorOperators.ASHR, 24));
    }

    static FloatVector byte1(IntVector w) {
        return Lanes.toFloat(w.lanewise(VectorOperators.LSHL, 16).lanewise(VectorOperators.ASHR, 24));
    }

    static FloatVector byte2(IntVector w) {
        return Lanes.toFloat(w.lanewise(VectorOperators.LSHL, 8).lanewise(VectorOperators.ASHR, 24));
    }

    static FloatVector byte3(IntVector w) {
        return Lanes.toFloat(w.lanewise(VectorOperators.ASHR, 24));
    }

    static void expandQ4(MemorySegment words, long at, int count, short zero, short[] to) {
        for (int i = 0; i < 2 * count; i++) {
            ShortVector w = IntVector.fromMemorySegment(I, words, at + i * (PANEL_BYTES / 2L), ORDER)
                    .reinterpretAsShorts();
            int base = i / 2 * 8 * PANEL + i % 2 * PANEL;
            w.and((short) 15).sub(zero).intoArray(to, base);
            w.lanewise(VectorOperators.LSHR, 4).and((short) 15).sub(zero).intoArray(to, base + 2 * PANEL);
            w.lanewise(VectorOperators.LSHR, 8).and((short) 15).sub(zero).intoArray(to, base + 4 * PANEL);
            w.lanewise(VectorOperators.LSHR, 12).sub(zero).intoArray(to, base + 6 * PANEL);
        }
    }

    /** Multiplies six tokens with a panel, block by block: sums products of pairs in int16, then scales them. */
    private static void tileQ4(Scratch scratch, int blocks, int xAt, int sumAt) {
        for (int block = 0; block < blocks; block++) {
            dotQ4(
                    scratch.pairWeights,
                    block * PAIRS * 2 * PANEL,
                    scratch.pairs,
                    xAt / 2 + block * PAIRS * TILE,
                    scratch.pairSums);
            scaleQ4(
                    scratch.pairSums,
                    scratch.weightScales,
                    block * PANEL,
                    scratch.xScales,
                    xAt / BLOCK + block * TILE,
                    scratch.sums,
                    sumAt);
        }
    }

    static void dotQ4(short[] weights, int w, int[] x, int xAt, short[] sums) {
        ShortVector a0 = ShortVector.zero(S);
        ShortVector a1 = ShortVector.zero(S);
        ShortVector b0 = ShortVector.zero(S);
        ShortVector b1 = ShortVector.zero(S);
        ShortVector c0 = ShortVector.zero(S);
        ShortVector c1 = ShortVector.zero(S);
        ShortVector d0 = ShortVector.zero(S);
        ShortVector d1 = ShortVector.zero(S);
        ShortVector e0 = ShortVector.zero(S);
        ShortVector e1 = ShortVector.zero(S);
        ShortVector f0 = ShortVector.zero(S);
        ShortVector f1 = ShortVector.zero(S);
        for (int pair = 0; pair < PAIRS; pair++) {
            ShortVector w0 = ShortVector.fromArray(S, weights, w + pair * 2 * PANEL);
            ShortVector w1 = ShortVector.fromArray(S, weights, w + pair * 2 * PANEL + PANEL);
            int p = xAt + pair * TILE;
            ShortVector v = IntVector.broadcast(I, x[p]).reinterpretAsShorts();
            a0 = a0.add(w0.mul(v));
            a1 = a1.add(w1.mul(v));
            v = IntVector.broadcast(I, x[p + 1]).reinterpretAsShorts();
            b0 = b0.add(w0.mul(v));
            b1 = b1.add(w1.mul(v));
            v = IntVector.broadcast(I, x[p + 2]).reinterpretAsShorts();
            c0 = c0.add(w0.mul(v));
            c1 = c1.add(w1.mul(v));
            v = IntVector.broadcast(I, x[p + 3]).reinterpretAsShorts();
            d0 = d0.add(w0.mul(v));
            d1 = d1.add(w1.mul(v));
            v = IntVector.broadcast(I, x[p + 4]).reinterpretAsShorts();
            e0 = e0.add(w0.mul(v));
            e1 = e1.add(w1.mul(v));
            v = IntVector.broadcast(I, x[p + 5]).reinterpretAsShorts();
            f0 = f0.add(w0.mul(v));
            f1 = f1.add(w1.mul(v));
        }
        a0.intoArray(sums, 0 * PANEL);
        a1.intoArray(sums, 1 * PANEL);
        b0.intoArray(sums, 2 * PANEL);
        b1.intoArray(sums, 3 * PANEL);
        c0.intoArray(sums, 4 * PANEL);
        c1.intoArray(sums, 5 * PANEL);
        d0.intoArray(sums, 6 * PANEL);
        d1.intoArray(sums, 7 * PANEL);
        e0.intoArray(sums, 8 * PANEL);
        e1.intoArray(sums, 9 * PANEL);
        f0.intoArray(sums, 10 * PANEL);
        f1.intoArray(sums, 11 * PANEL);
    }

    static void scaleQ4(short[] pairSums, float[] dw, int dwAt, float[] dx, int dxAt, float[] sums, int sumAt) {
        FloatVector dw0 = FloatVector.fromArray(F, dw, dwAt);
        FloatVector dw1 = FloatVector.fromArray(F, dw, dwAt + LANES);
        for (int token = 0; token < TILE; token++) {
            int at = sumAt + token * PANEL;
            ShortVector s0 = ShortVector.fromArray(S, pairSums, token * 2 * PANEL);
            ShortVector s1 = ShortVector.fromArray(S, pairSums, token * 2 * PANEL + PANEL);
            FloatVector y0 = FloatVector.fromArray(F, sums, at);
            FloatVector y1 = FloatVector.fromArray(F, sums, at + LANES);
            float scale = dx[dxAt + token];
            dw0.mul(scale).fma(Lanes.toFloat(Lanes.addPairs(s0)), y0).intoArray(sums, at);
            dw1.mul(scale).fma(Lanes.toFloat(Lanes.addPairs(s1)), y1).intoArray(sums, at + LANES);
        }
    }

    private static void tileQ8(Scratch scratch, int blocks, int xAt, int sumAt) {
        for (int block = 0; block < blocks; block++) {
            dotQ8(scratch.weights, block * BLOCK * PANEL, scratch.x, xAt + block * BLOCK * TILE, scratch.blockSums);
            scaleQ8(
                    scratch.blockSums,
                    scratch.weightScales,
                    block * PANEL,
                    scratch.xScales,
                    xAt / BLOCK + block * TILE,
                    scratch.sums,
                    sumAt);
        }
    }

    static void dotQ8(float[] weights, int w, float[] x, int xAt, float[] sums) {
        FloatVector a0 = FloatVector.zero(F);
        FloatVector a1 = FloatVector.zero(F);
        FloatVector b0 = FloatVector.zero(F);
        FloatVector b1 = FloatVector.zero(F);
        FloatVector c0 = FloatVector.zero(F);
        FloatVector c1 = FloatVector.zero(F);
        FloatVector d0 = FloatVector.zero(F);
        FloatVector d1 = FloatVector.zero(F);
        FloatVector e0 = FloatVector.zero(F);
        FloatVector e1 = FloatVector.zero(F);
        FloatVector f0 = FloatVector.zero(F);
        FloatVector f1 = FloatVector.zero(F);
        for (int pair = 0; pair < PAIRS; pair++) {
            FloatVector w0 = FloatVector.fromArray(F, weights, w + pair * 2 * PANEL);
            FloatVector w1 = FloatVector.fromArray(F, weights, w + pair * 2 * PANEL + LANES);
            int p = xAt + pair * 2 * TILE;
            FloatVector v = FloatVector.broadcast(F, x[p]);
            a0 = w0.fma(v, a0);
            a1 = w1.fma(v, a1);
            v = FloatVector.broadcast(F, x[p + 2]);
            b0 = w0.fma(v, b0);
            b1 = w1.fma(v, b1);
            v = FloatVector.broadcast(F, x[p + 4]);
            c0 = w0.fma(v, c0);
            c1 = w1.fma(v, c1);
            v = FloatVector.broadcast(F, x[p + 6]);
            d0 = w0.fma(v, d0);
            d1 = w1.fma(v, d1);
            v = FloatVector.broadcast(F, x[p + 8]);
            e0 = w0.fma(v, e0);
            e1 = w1.fma(v, e1);
            v = FloatVector.broadcast(F, x[p + 10]);
            f0 = w0.fma(v, f0);
            f1 = w1.fma(v, f1);
            w0 = FloatVector.fromArray(F, weights, w + pair * 2 * PANEL + PANEL);
            w1 = FloatVector.fromArray(F, weights, w + pair * 2 * PANEL + PANEL + LANES);
            v = FloatVector.broadcast(F, x[p + 1]);
            a0 = w0.fma(v, a0);
            a1 = w1.fma(v, a1);
            v = FloatVector.broadcast(F, x[p + 3]);
            b0 = w0.fma(v, b0);
            b1 = w1.fma(v, b1);
            v = FloatVector.broadcast(F, x[p + 5]);
            c0 = w0.fma(v, c0);
            c1 = w1.fma(v, c1);
            v = FloatVector.broadcast(F, x[p + 7]);
            d0 = w0.fma(v, d0);
            d1 = w1.fma(v, d1);
            v = FloatVector.broadcast(F, x[p + 9]);
            e0 = w0.fma(v, e0);
            e1 = w1.fma(v, e1);
            v = FloatVector.broadcast(F, x[p + 11]);
            f0 = w0.fma(v, f0);
            f1 = w1.fma(v, f1);
        }
        a0.intoArray(sums, 0 * LANES);
        a1.intoArray(sums, 1 * LANES);
        b0.intoArray(sums, 2 * LANES);
        b1.intoArray(sums, 3 * LANES);
        c0.intoArray(sums, 4 * LANES);
        c1.intoArray(sums, 5 * LANES);
        d0.intoArray(sums, 6 * LANES);
        d1.intoArray(sums, 7 * LANES);
        e0.intoArray(sums, 8 * LANES);
        e1.intoArray(sums, 9 * LANES);
        f0.intoArray(sums, 10 * LANES);
        f1.intoArray(sums, 11 * LANES);
    }

    static void scaleQ8(float[] blockSums, float[] dw, int dwAt, float[] dx, int dxAt, float[] sums, int sumAt) {
        FloatVector dw0 = FloatVector.fromArray(F, dw, dwAt);
        FloatVector dw1 = FloatVector.fromArray(F, dw, dwAt + LANES);
        for (int token = 0; token < TILE; token++) {
            int at = sumAt + token * PANEL;
            FloatVector s0 = FloatVector.fromArray(F, blockSums, token * PANEL);
            FloatVector s1 = FloatVector.fromArray(F, blockSums, token * PANEL + LANES);
            float scale = dx[dxAt + token];
            dw0.mul(scale).fma(s0, FloatVector.fromArray(F, sums, at)).intoArray(sums, at);
            dw1.mul(scale).fma(s1, FloatVector.fromArray(F, sums, at + LANES)).intoArray(sums, at + LANES);
        }
    }

    private static void tileFloat(Scratch scratch, int width, int xAt, int sumAt) {
        float[] weights = scratch.weights;
        float[] sums = scratch.sums;
        float[] x = scratch.x;
        FloatVector a0 = FloatVector.fromArray(F, sums, sumAt);
        FloatVector a1 = FloatVector.fromArray(F, sums, sumAt + LANES);
        FloatVector b0 = FloatVector.fromArray(F, sums, sumAt + PANEL);
        FloatVector b1 = FloatVector.fromArray(F, sums, sumAt + PANEL + LANES);
        FloatVector c0 = FloatVector.fromArray(F, sums, sumAt + 2 * PANEL);
        FloatVector c1 = FloatVector.fromArray(F, sums, sumAt + 2 * PANEL + LANES);
        FloatVector d0 = FloatVector.fromArray(F, sums, sumAt + 3 * PANEL);
        FloatVector d1 = FloatVector.fromArray(F, sums, sumAt + 3 * PANEL + LANES);
        FloatVector e0 = FloatVector.fromArray(F, sums, sumAt + 4 * PANEL);
        FloatVector e1 = FloatVector.fromArray(F, sums, sumAt + 4 * PANEL + LANES);
        FloatVector f0 = FloatVector.fromArray(F, sums, sumAt + 5 * PANEL);
        FloatVector f1 = FloatVector.fromArray(F, sums, sumAt + 5 * PANEL + LANES);
        for (int k = 0; k < width; k++) {
            FloatVector w0 = FloatVector.fromArray(F, weights, k * PANEL);
            FloatVector w1 = FloatVector.fromArray(F, weights, k * PANEL + LANES);
            int p = xAt + k * TILE;
            FloatVector v = FloatVector.broadcast(F, x[p]);
            a0 = w0.fma(v, a0);
            a1 = w1.fma(v, a1);
            v = FloatVector.broadcast(F, x[p + 1]);
            b0 = w0.fma(v, b0);
            b1 = w1.fma(v, b1);
            v = FloatVector.broadcast(F, x[p + 2]);
            c0 = w0.fma(v, c0);
            c1 = w1.fma(v, c1);
            v = FloatVector.broadcast(F, x[p + 3]);
            d0 = w0.fma(v, d0);
            d1 = w1.fma(v, d1);
            v = FloatVector.broadcast(F, x[p + 4]);
            e0 = w0.fma(v, e0);
            e1 = w1.fma(v, e1);
            v = FloatVector.broadcast(F, x[p + 5]);
            f0 = w0.fma(v, f0);
            f1 = w1.fma(v, f1);
        }
        a0.intoArray(sums, sumAt);
        a1.intoArray(sums, sumAt + LANES);
        b0.intoArray(sums, sumAt + PANEL);
        b1.intoArray(sums, sumAt + PANEL + LANES);
        c0.intoArray(sums, sumAt + 2 * PANEL);
        c1.intoArray(sums, sumAt + 2 * PANEL + LANES);
        d0.intoArray(sums, sumAt + 3 * PANEL);
        d1.intoArray(sums, sumAt + 3 * PANEL + LANES);
        e0.intoArray(sums, sumAt + 4 * PANEL);
        e1.intoArray(sums, sumAt + 4 * PANEL + LANES);
        f0.intoArray(sums, sumAt + 5 * PANEL);
        f1.intoArray(sums, sumAt + 5 * PANEL + LANES);
    }

    // ---- one token: quantised weights are expanded in registers, because each is used only once

    private void multiplyOne(Activations x, FloatMatrix y, int from, int to, Scratch scratch) {
        int columns = columns();
        switch (form) {
            case Q4_0 -> gatherOne(x, columns, scratch);
            case Q8_0 -> {
                gatherOne(x, columns, scratch);
                widenPairs(scratch, columns / 2);
            }
            case F32, F16, BF16 -> {
                scratch.roomForFloats(columns);
                MemorySegment.copy(x.values().segment(), FLOAT, 0, scratch.x, 0, columns);
            }
        }
        int step = type().isQuantized() ? ONE_BLOCKS * BLOCK : CHUNK;
        for (int panel = from; panel < to; panel++) {
            Arrays.fill(scratch.sums, 0, PANEL, 0f);
            for (int k = 0; k < columns; k += step) {
                multiplyOnePart(panel, k, Math.min(step, columns - k), scratch);
            }
            storePanel(scratch.sums, 0, y, 0, panel * PANEL);
        }
    }

    private void multiplyOnePart(int panel, int k, int width, Scratch scratch) {
        long at = panel * wordBytesPerPanel;
        int block = k / BLOCK;
        int blocks = width / BLOCK;
        switch (form) {
            case Q4_0 -> {
                oneQ4(words, at + block * 4L * PANEL_BYTES, blocks, scratch.pairs, k / 2, scratch.pairSums);
                blockSumsQ4(scratch.pairSums, scratch.sums8, block, blocks, scratch.blockSums);
                expandScales(panel, block, blocks, scratch);
                scaleOne(scratch, block, blocks);
            }
            case Q8_0 -> {
                oneQ8(words, at + block * 8L * PANEL_BYTES, blocks, scratch.x, k, scratch.blockSums);
                expandScales(panel, block, blocks, scratch);
                scaleOne(scratch, block, blocks);
            }
            case F32 -> oneF32(words, at + k * (long) PANEL_BYTES, width, scratch.x, k, scratch.sums);
            case F16, BF16 -> {
                expand(panel, k, width, scratch);
                oneFloat(scratch.weights, width, scratch.x, k, scratch.sums);
            }
        }
    }

    /** Copies row 0 of the quantised activations from its tile. */
    static void gatherOne(Activations x, int columns, Scratch scratch) {
        scratch.roomForQuants(columns);
        for (int block = 0; block < columns / BLOCK; block++) {
            int sum = 0;
            for (int i = block * PAIRS; i < (block + 1) * PAIRS; i++) {
                int pair = x.quants().get(INT, i * (long) (TILE * Integer.BYTES));
                scratch.pairs[i] = pair;
                sum += (short) pair + (pair >> 16);
            }
            scratch.sums8[block] = 8 * sum;
            scratch.xScales[block] = x.scales().get(FLOAT, block * (long) (TILE * Float.BYTES));
        }
    }

    /** Sums of products of pairs with unsigned nibbles. */
    static void oneQ4(MemorySegment words, long at, int blocks, int[] x, int xAt, short[] sums) {
        for (int block = 0; block < blocks; block++) {
            ShortVector a0 = ShortVector.zero(S);
            ShortVector a1 = ShortVector.zero(S);
            for (int i = 0; i < 4; i++) {
                long from = at + (block * 4L + i) * PANEL_BYTES;
                ShortVector w0 =
                        IntVector.fromMemorySegment(I, words, from, ORDER).reinterpretAsShorts();
                ShortVector w1 = IntVector.fromMemorySegment(I, words, from + PANEL_BYTES / 2, ORDER)
                        .reinterpretAsShorts();
                int p = xAt + block * PAIRS + 4 * i;
                ShortVector v = IntVector.broadcast(I, x[p]).reinterpretAsShorts();
                a0 = a0.add(w0.and((short) 15).mul(v));
                a1 = a1.add(w1.and((short) 15).mul(v));
                v = IntVector.broadcast(I, x[p + 1]).reinterpretAsShorts();
                a0 = a0.add(w0.lanewise(VectorOperators.LSHR, 4).and((short) 15).mul(v));
                a1 = a1.add(w1.lanewise(VectorOperators.LSHR, 4).and((short) 15).mul(v));
                v = IntVector.broadcast(I, x[p + 2]).reinterpretAsShorts();
                a0 = a0.add(w0.lanewise(VectorOperators.LSHR, 8).and((short) 15).mul(v));
                a1 = a1.add(w1.lanewise(VectorOperators.LSHR, 8).and((short) 15).mul(v));
                v = IntVector.broadcast(I, x[p + 3]).reinterpretAsShorts();
                a0 = a0.add(w0.lanewise(VectorOperators.LSHR, 12).mul(v));
                a1 = a1.add(w1.lanewise(VectorOperators.LSHR, 12).mul(v));
            }
            a0.intoArray(sums, block * 2 * PANEL);
            a1.intoArray(sums, block * 2 * PANEL + PANEL);
        }
    }

    /** Adds the two halves and subtracts the zero point times the sum of the activations. */
    private static void blockSumsQ4(short[] pairSums, int[] sums8, int first, int blocks, float[] to) {
        for (int i = 0; i < 2 * blocks; i++) {
            ShortVector v = ShortVector.fromArray(S, pairSums, i * PANEL);
            Lanes.toFloat(Lanes.addPairs(v).sub(sums8[first + i / 2])).intoArray(to, i * LANES);
        }
    }

    static void oneQ8(MemorySegment words, long at, int blocks, float[] x, int xAt, float[] sums) {
        for (int half = 0; half < 2; half++) {
            for (int block = 0; block < blocks; block++) {
                FloatVector a = FloatVector.zero(F);
                FloatVector b = FloatVector.zero(F);
                FloatVector c = FloatVector.zero(F);
                FloatVector d = FloatVector.zero(F);
                for (int i = 0; i < 8; i++) {
                    long from = at + (block * 8L + i) * PANEL_BYTES + half * (PANEL_BYTES / 2L);
                    IntVector w = IntVector.fromMemorySegment(I, words, from, ORDER);
                    int p = xAt + block * BLOCK + 4 * i;
                    a = byte0(w).fma(FloatVector.broadcast(F, x[p]), a);
                    b = byte1(w).fma(FloatVector.broadcast(F, x[p + 1]), b);
                    c = byte2(w).fma(FloatVector.broadcast(F, x[p + 2]), c);
                    d = byte3(w).fma(FloatVector.broadcast(F, x[p + 3]), d);
                }
                a.add(b).add(c.add(d)).intoArray(sums, block * PANEL + half * LANES);
            }
        }
    }

    static void scaleOne(Scratch scratch, int first, int blocks) {
        float[] sums = scratch.sums;
        float[] dw = scratch.weightScales;
        float[] blockSums = scratch.blockSums;
        for (int half = 0; half < PANEL; half += LANES) {
            FloatVector y = FloatVector.fromArray(F, sums, half);
            for (int block = 0; block < blocks; block++) {
                int at = block * PANEL + half;
                FloatVector scale = FloatVector.fromArray(F, dw, at).mul(scratch.xScales[first + block]);
                y = scale.fma(FloatVector.fromArray(F, blockSums, at), y);
            }
            y.intoArray(sums, half);
        }
    }

    private static void oneF32(MemorySegment words, long at, int width, float[] x, int xAt, float[] sums) {
        FloatVector y0 = FloatVector.fromArray(F, sums, 0);
        FloatVector y1 = FloatVector.fromArray(F, sums, LANES);
        for (int k = 0; k < width; k++) {
            long from = at + k * (long) PANEL_BYTES;
            FloatVector v = FloatVector.broadcast(F, x[xAt + k]);
            y0 = FloatVector.fromMemorySegment(F, words, from, ORDER).fma(v, y0);
            y1 = FloatVector.fromMemorySegment(F, words, from + PANEL_BYTES / 2, ORDER)
                    .fma(v, y1);
        }
        y0.intoArray(sums, 0);
        y1.intoArray(sums, LANES);
    }

    private static void oneFloat(float[] weights, int width, float[] x, int xAt, float[] sums) {
        FloatVector y0 = FloatVector.fromArray(F, sums, 0);
        FloatVector y1 = FloatVector.fromArray(F, sums, LANES);
        for (int k = 0; k < width; k++) {
            FloatVector v = FloatVector.broadcast(F, x[xAt + k]);
            y0 = FloatVector.fromArray(F, weights, k * PANEL).fma(v, y0);
            y1 = FloatVector.fromArray(F, weights, k * PANEL + LANES).fma(v, y1);
        }
        y0.intoArray(sums, 0);
        y1.intoArray(sums, LANES);
    }
}
