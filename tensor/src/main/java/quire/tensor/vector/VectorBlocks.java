package quire.tensor.vector;

import static quire.tensor.vector.Lanes.F;
import static quire.tensor.vector.Lanes.I;
import static quire.tensor.vector.Lanes.LANES;
import static quire.tensor.vector.Lanes.ORDER;
import static quire.tensor.vector.Lanes.S;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import quire.tensor.Activations;
import quire.tensor.ElementType;
import quire.tensor.FloatMatrix;
import quire.tensor.WeightMatrix;
import quire.tensor.Workers;
import quire.tensor.block.UnpackedBlock;
import quire.tensor.vector.VectorMatrix.Scratch;

/**
 * A weight matrix of the block formats that {@link VectorMatrix} does not pack, in one of three forms, and its
 * products. No form loses a bit of what {@link UnpackedBlock} reads. Panels, words and integer products are those of
 * {@link VectorMatrix}; this class adds the other kinds of scales, and minimums.
 *
 * <pre>
 *                         nibbles      bytes                                 bytes, two scales
 *   formats               Q4_1 Q4_K    Q5_0 Q5_1 Q5_K IQ4_NL IQ4_XS MXFP4    Q2_K Q3_K Q6_K IQ1_M
 *                                      IQ1_S IQ2_XXS IQ3_XXS IQ3_S           IQ2_XS IQ2_S NVFP4
 *                                      TQ1_0 TQ2_0 Q1_0 Q2_0
 *   words [panel][block]  [4]          [8]                                   [8]        [2][LANES], as Q4_0 and Q8_0
 *   scales                [block]      [block]                               [block/8]  [2][LANES] f32: dw, or d
 *   mins                  [block]      [block] if there are minimums         [block/8]  [2][LANES] f32: mw, or −dmin
 *   factors                                                                  [block]    [2][LANES] bytes s₀ s₁ m₀ m₁
 *   bytes a weight        0.75         1.13 or 1.25                          1.14, Q2_K 1.16
 * </pre>
 *
 * <p>A block here is 32 inputs for every format. A word of bytes holds four consecutive inputs; with two scales it
 * holds two inputs of each half of the block: 2w, 2w + 1, 2w + 16, 2w + 17. For many tokens, the expansion multiplies
 * each weight with its integer scale, so the sums are {@code s₀ × I₀ + s₁ × I₁}. These are integers below 2²⁴, exact in
 * f32. The two scales of NVFP4 are floats, so its halves are scaled one after the other: {@code scales} has those of the
 * lower halves for each block, and {@code factors} those of the upper halves.
 *
 * <p>A sum of integers starts at +0 and never becomes −0, because an int has no −0 and the next product could show the
 * difference.
 *
 * <p>Cost: measured as in {@link VectorKernels}, 2048 × 2048 on one thread, GMAC/s with 1 and with 64 tokens: Q4_K 17.5
 * and 58.8 (Q4_0 in the same minutes 59.9 with 64), IQ4_XS 9.1 and 38.6 (Q8_0 9.3 and 39.2), Q5_K 6.8 and 35, Q6_K 4.4
 * and 37, Q2_K 3.8 and 33. Packing takes one second for 0.25 to 0.5 G weights on one thread. With words of bytes, one
 * token uses far less than the memory bandwidth, because 15 instructions convert a word of four weights to floats;
 * integer instructions would be faster.
 */
final class VectorBlocks extends WeightMatrix {
    private static final int BLOCK = Activations.BLOCK;
    private static final int PAIRS = VectorMatrix.PAIRS;
    private static final int TILE = VectorMatrix.TILE;
    private static final int PANEL = VectorMatrix.PANEL;
    private static final int PANEL_BYTES = VectorMatrix.PANEL_BYTES;
    private static final int CHUNK = VectorMatrix.CHUNK;
    private static final int GROUP_TILES = VectorMatrix.GROUP_TILES;
    private static final int ONE_BLOCKS = VectorMatrix.ONE_BLOCKS;
    private static final int NIBBLE_WORDS = 4;
    private static final int BYTE_WORDS = 8;

    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT;

    private final boolean nibbles;
    private final boolean twoScales;
    private final boolean floatScales;
    private final boolean hasMinimum;
    /** Number of words of a block of one row. */
    private final int blockWords;
    /** Number of blocks of 32 that share one float of scales and of mins. */
    private final int blocksPerScale;

    private final MemorySegment words;
    private final MemorySegment scales;
    private final MemorySegment mins;
    private final MemorySegment factors;

    private VectorBlocks(ElementType type, int rows, int columns, Arena arena) {
        super(type, rows, columns);
        nibbles = nibbles(type);
        twoScales = twoScales(type);
        floatScales = type.hasFloatScales();
        hasMinimum = type.hasMinimum();
        blockWords = blockWords(type);
        blocksPerScale = blocksPerScale(type);
        long perBlock = bytesPerBlockWord(rows, columns);
        words = arena.allocate(perBlock * blockWords, 64);
        scales = arena.allocate(perBlock / blocksPerScale, 64);
        mins = arena.allocate(hasMinimum ? perBlock / blocksPerScale : 0, 64);
        factors = arena.allocate(twoScales ? perBlock : 0, 64);
    }

    private static boolean nibbles(ElementType type) {
        return type == ElementType.Q4_1 || type == ElementType.Q4_K;
    }

    private static boolean twoScales(ElementType type) {
        return type.scaleElements() < BLOCK;
    }

    private static int blockWords(ElementType type) {
        return nibbles(type) ? NIBBLE_WORDS : BYTE_WORDS;
    }

    private static int blocksPerScale(ElementType type) {
        return twoScales(type) && !type.hasFloatScales() ? type.blockElements() / BLOCK : 1;
    }

    /** Bytes of one word of each block of each row. */
    private static long bytesPerBlockWord(int rows, int columns) {
        return (rows + (long) PANEL - 1) / PANEL * (columns / BLOCK) * PANEL_BYTES;
    }

    static long packedBytes(ElementType type, int rows, int columns) {
        long perBlock = bytesPerBlockWord(rows, columns);
        long floats = perBlock / blocksPerScale(type);
        return perBlock * blockWords(type)
                + (type.hasMinimum() ? 2 * floats : floats)
                + (twoScales(type) ? perBlock : 0);
    }

    @Override
    public long packedBytes() {
        return words.byteSize() + scales.byteSize() + mins.byteSize() + factors.byteSize();
    }

    // ---- packing

    static VectorBlocks pack(
            ElementType type, int rows, int columns, MemorySegment source, Arena arena, Workers workers) {
        VectorBlocks packed = new VectorBlocks(type, rows, columns, arena);
        workers.run(worker -> {
            UnpackedBlock block = UnpackedBlock.own();
            int from = Workers.shareStart(rows, PANEL, worker, workers.count());
            int to = Workers.shareStart(rows, PANEL, worker + 1, workers.count());
            for (int row = from; row < to; row++) {
                packed.packRow(source, row, block);
            }
        });
        return packed;
    }

    private void packRow(MemorySegment source, int row, UnpackedBlock block) {
        ElementType type = type();
        long lane = row % PANEL * (long) Integer.BYTES;
        for (int k = 0; k < columns(); k += type.blockElements()) {
            type.unpack(source, row * type.byteSize(columns()) + type.byteSize(k), block);
            for (int group = 0; group < type.blockElements() / BLOCK; group++) {
                long index = blockIndex(row / PANEL, k / BLOCK + group);
                long target = index * blockWords * PANEL_BYTES + lane;
                for (int i = 0; i < blockWords; i++) {
                    int word = nibbles
                            ? nibbleWord(block.quants, group * BLOCK + 8 * i)
                            : twoScales
                                    ? byteWord(block.quants, group * BLOCK + 2 * i, BLOCK / 2)
                                    : byteWord(block.quants, group * BLOCK + 4 * i, 2);
                    words.set(INT, target + i * (long) PANEL_BYTES, word);
                }
                packScales(block, group, index, lane);
            }
        }
    }

    private void packScales(UnpackedBlock block, int group, long index, long lane) {
        long at = index / blocksPerScale * PANEL_BYTES + lane;
        if (floatScales) {
            scales.set(FLOAT, at, block.scale(2 * group));
            factors.set(FLOAT, at, block.scale(2 * group + 1));
            return;
        }
        if (twoScales) {
            int bytes = (block.scales[2 * group] & 0xff) | (block.scales[2 * group + 1] & 0xff) << 8;
            if (hasMinimum) {
                bytes |= (block.mins[2 * group] & 0xff) << 16 | block.mins[2 * group + 1] << 24;
            }
            factors.set(INT, index * PANEL_BYTES + lane, bytes);
        }
        scales.set(FLOAT, at, twoScales ? block.d : block.scale(group));
        if (hasMinimum) {
            mins.set(FLOAT, at, twoScales ? -block.dmin : block.minimum(group));
        }
    }

    /** Two consecutive quants in the low half, and two quants {@code apart} further in the high half. */
    private static int byteWord(byte[] quants, int at, int apart) {
        return (quants[at] & 0xff)
                | (quants[at + 1] & 0xff) << 8
                | (quants[at + apart] & 0xff) << 16
                | quants[at + apart + 1] << 24;
    }

    /** Eight consecutive quants below 16: even indexes in the low half, odd indexes in the high half. */
    private static int nibbleWord(byte[] quants, int at) {
        int word = 0;
        for (int i = 0; i < 4; i++) {
            word |= quants[at + 2 * i] << (4 * i) | quants[at + 2 * i + 1] << (4 * i + 16);
        }
        return word;
    }

    /** Index of a block among the blocks of all panels. */
    private long blockIndex(int panel, int block) {
        return panel * (long) (columns() / BLOCK) + block;
    }

    // ---- products

    void multiply(Activations x, int rows, FloatMatrix y, int firstPart, int endPart, int parts) {
        int from = Workers.shareStart(rows(), PANEL, firstPart, parts) / PANEL;
        int to = (Workers.shareStart(rows(), PANEL, endPart, parts) + PANEL - 1) / PANEL;
        if (from == to) {
            return;
        }
        Scratch scratch = VectorMatrix.scratch();
        if (rows == 1) {
            multiplyOne(x, y, from, to, scratch);
            VectorMatrix.scalePanels(this, y, 1, from, to);
            return;
        }
        for (int row = 0; row < rows; row += GROUP_TILES * TILE) {
            int count = Math.min(GROUP_TILES * TILE, rows - row);
            multiplyGroup(x, row, count, y, from, to, scratch);
        }
        VectorMatrix.scalePanels(this, y, rows, from, to);
    }

    /** Many tokens: a chunk of a panel is expanded once for all tiles of the group. */
    private void multiplyGroup(Activations x, int first, int count, FloatMatrix y, int from, int to, Scratch scratch) {
        int columns = columns();
        int tiles = (count + TILE - 1) / TILE;
        VectorMatrix.copyQuants(x, first, tiles * TILE, scratch);
        if (!nibbles) {
            VectorMatrix.widenPairs(scratch, tiles * TILE * columns / 2);
        }
        if (hasMinimum) {
            sumTokens(scratch, tiles * columns / BLOCK);
        }
        for (int panel = from; panel < to; panel++) {
            Arrays.fill(scratch.sums, 0, tiles * TILE * PANEL, 0f);
            for (int k = 0; k < columns; k += CHUNK) {
                int blocks = Math.min(CHUNK, columns - k) / BLOCK;
                expand(panel, k / BLOCK, blocks, scratch);
                for (int tile = 0; tile < tiles; tile++) {
                    multiplyTile(scratch, blocks, (tile * columns + k) * TILE, tile * TILE * PANEL);
                }
            }
            for (int token = 0; token < count; token++) {
                VectorMatrix.storePanel(scratch.sums, token * PANEL, y, first + token, panel * PANEL);
            }
        }
    }

    /** Computes the factors of minimums, [tile][block][token]: dx × Σ qx, or Σ qx of each half. */
    private void sumTokens(Scratch scratch, int tileBlocks) {
        for (int block = 0; block < tileBlocks; block++) {
            for (int token = 0; token < TILE; token++) {
                int at = block * PAIRS * TILE + token;
                int lower = sumOfPairs(scratch.pairs, at, TILE);
                int upper = sumOfPairs(scratch.pairs, at + PAIRS / 2 * TILE, TILE);
                setSums(scratch, block * TILE + token, lower, upper);
            }
        }
    }

    private void setSums(Scratch scratch, int index, int lower, int upper) {
        if (twoScales) {
            scratch.lowerSums[index] = lower;
            scratch.upperSums[index] = upper;
        } else {
            scratch.scaledSums[index] = scratch.xScales[index] * (float) (lower + upper);
        }
    }

    /** Sum of 8 pairs of int16, {@code stride} apart. */
    private static int sumOfPairs(int[] pairs, int at, int stride) {
        int sum = 0;
        for (int i = at; i < at + PAIRS / 2 * stride; i += stride) {
            sum += (short) pairs[i] + (pairs[i] >> 16);
        }
        return sum;
    }

    private void expand(int panel, int block, int blocks, Scratch scratch) {
        long index = blockIndex(panel, block);
        long at = index * blockWords * PANEL_BYTES;
        if (nibbles) {
            VectorMatrix.expandQ4(words, at, blocks * NIBBLE_WORDS, (short) 0, scratch.pairWeights);
        } else if (floatScales) {
            for (int b = 0; b < blocks; b++) {
                expandHalves(words, at + b * (long) BYTE_WORDS * PANEL_BYTES, b * BLOCK * PANEL, scratch.weights);
            }
            expandFloats(factors, index, blocks, scratch.upperScales);
        } else if (twoScales) {
            for (int b = 0; b < blocks; b++) {
                expandTwoScales(
                        words,
                        at + b * (long) BYTE_WORDS * PANEL_BYTES,
                        b * BLOCK * PANEL,
                        scratch.weights,
                        factors,
                        (index + b) * PANEL_BYTES,
                        b * 2 * PANEL,
                        scratch.minFactors);
            }
        } else {
            VectorMatrix.expandQ8(words, at, blocks * BYTE_WORDS, scratch.weights);
        }
        expandFloats(scales, index, blocks, scratch.weightScales);
        if (hasMinimum) {
            expandFloats(mins, index, blocks, scratch.weightMins);
        }
    }

    /** Copies the float of each block to [block][2][LANES]. */
    private void expandFloats(MemorySegment from, long index, int blocks, float[] to) {
        for (int b = 0; b < blocks; b++) {
            MemorySegment.copy(from, FLOAT, (index + b) / blocksPerScale * PANEL_BYTES, to, b * PANEL, PANEL);
        }
    }

    /**
     * Expands the weights of a block, times their integer scales, to [k][2][LANES], and the two minimums to
     * [2][2][LANES].
     */
    private static void expandTwoScales(
            MemorySegment words,
            long at,
            int to,
            float[] weights,
            MemorySegment factors,
            long factorsAt,
            int minsTo,
            float[] minFactors) {
        for (int half = 0; half < 2; half++) {
            long panelHalf = half * (PANEL_BYTES / 2L);
            IntVector bytes = IntVector.fromMemorySegment(I, factors, factorsAt + panelHalf, ORDER);
            FloatVector lower = VectorMatrix.byte0(bytes);
            FloatVector upper = VectorMatrix.byte1(bytes);
            VectorMatrix.byte2(bytes).intoArray(minFactors, minsTo + half * LANES);
            VectorMatrix.byte3(bytes).intoArray(minFactors, minsTo + PANEL + half * LANES);
            for (int i = 0; i < BYTE_WORDS; i++) {
                IntVector w = IntVector.fromMemorySegment(I, words, at + i * (long) PANEL_BYTES + panelHalf, ORDER);
                int base = to + i * 2 * PANEL + half * LANES;
                VectorMatrix.byte0(w).mul(lower).intoArray(weights, base);
                VectorMatrix.byte1(w).mul(lower).intoArray(weights, base + PANEL);
                VectorMatrix.byte2(w).mul(upper).intoArray(weights, base + BLOCK / 2 * PANEL);
                VectorMatrix.byte3(w).mul(upper).intoArray(weights, base + (BLOCK / 2 + 1) * PANEL);
            }
        }
    }

    /** Expands the weights of a block to [k][2][LANES], without their scales. */
    private static void expandHalves(MemorySegment words, long at, int to, float[] weights) {
        for (int half = 0; half < 2; half++) {
            for (int i = 0; i < BYTE_WORDS; i++) {
                long from = at + i * (long) PANEL_BYTES + half * (PANEL_BYTES / 2L);
                IntVector w = IntVector.fromMemorySegment(I, words, from, ORDER);
                int base = to + i * 2 * PANEL + half * LANES;
                VectorMatrix.byte0(w).intoArray(weights, base);
                VectorMatrix.byte1(w).intoArray(weights, base + PANEL);
                VectorMatrix.byte2(w).intoArray(weights, base + BLOCK / 2 * PANEL);
                VectorMatrix.byte3(w).intoArray(weights, base + (BLOCK / 2 + 1) * PANEL);
            }
        }
    }

    /** Multiplies half of a block, 16 inputs, with six tokens, and adds the scaled sums. */
    private static void multiplyHalf(
            Scratch scratch, int weightsAt, int xAt, float[] dw, int dwAt, int dxAt, int sumAt) {
        for (int token = 0; token < TILE; token++) {
            FloatVector sum0 = FloatVector.zero(F);
            FloatVector sum1 = FloatVector.zero(F);
            for (int i = 0; i < BLOCK / 2; i++) {
                // pairs of inputs: [pair][token][2]
                FloatVector v = FloatVector.broadcast(F, scratch.x[xAt + i / 2 * 2 * TILE + 2 * token + i % 2]);
                sum0 = FloatVector.fromArray(F, scratch.weights, weightsAt + i * PANEL)
                        .fma(v, sum0);
                sum1 = FloatVector.fromArray(F, scratch.weights, weightsAt + i * PANEL + LANES)
                        .fma(v, sum1);
            }
            sum0.intoArray(scratch.blockSums, token * PANEL);
            sum1.intoArray(scratch.blockSums, token * PANEL + LANES);
        }
        VectorMatrix.scaleQ8(scratch.blockSums, dw, dwAt, scratch.xScales, dxAt, scratch.sums, sumAt);
    }

    /** Multiplies six tokens with a panel, block by block: products, then scales, then minimums. */
    private void multiplyTile(Scratch scratch, int blocks, int xAt, int sumAt) {
        for (int block = 0; block < blocks; block++) {
            int dxAt = xAt / BLOCK + block * TILE;
            if (nibbles) {
                VectorMatrix.dotQ4(
                        scratch.pairWeights,
                        block * PAIRS * 2 * PANEL,
                        scratch.pairs,
                        xAt / 2 + block * PAIRS * TILE,
                        scratch.pairSums);
                VectorMatrix.scaleQ4(
                        scratch.pairSums,
                        scratch.weightScales,
                        block * PANEL,
                        scratch.xScales,
                        dxAt,
                        scratch.sums,
                        sumAt);
            } else if (floatScales) {
                int weightsAt = block * BLOCK * PANEL;
                int from = xAt + block * BLOCK * TILE;
                multiplyHalf(scratch, weightsAt, from, scratch.weightScales, block * PANEL, dxAt, sumAt);
                multiplyHalf(
                        scratch,
                        weightsAt + BLOCK / 2 * PANEL,
                        from + BLOCK / 2 * TILE,
                        scratch.upperScales,
                        block * PANEL,
                        dxAt,
                        sumAt);
            } else {
                VectorMatrix.dotQ8(
                        scratch.weights,
                        block * BLOCK * PANEL,
                        scratch.x,
                        xAt + block * BLOCK * TILE,
                        scratch.blockSums);
                VectorMatrix.scaleQ8(
                        scratch.blockSums,
                        scratch.weightScales,
                        block * PANEL,
                        scratch.xScales,
                        dxAt,
                        scratch.sums,
                        sumAt);
            }
            if (hasMinimum && twoScales) {
                addTwoMinimums(scratch, block, dxAt, sumAt);
            } else if (hasMinimum) {
                addMinimums(scratch.weightMins, block * PANEL, scratch.scaledSums, dxAt, scratch.sums, sumAt);
            }
        }
    }

    private static void addMinimums(float[] mw, int mwAt, float[] scaledSums, int dxAt, float[] sums, int sumAt) {
        FloatVector mw0 = FloatVector.fromArray(F, mw, mwAt);
        FloatVector mw1 = FloatVector.fromArray(F, mw, mwAt + LANES);
        for (int token = 0; token < TILE; token++) {
            int at = sumAt + token * PANEL;
            FloatVector v = FloatVector.broadcast(F, scaledSums[dxAt + token]);
            mw0.fma(v, FloatVector.fromArray(F, sums, at)).intoArray(sums, at);
            mw1.fma(v, FloatVector.fromArray(F, sums, at + LANES)).intoArray(sums, at + LANES);
        }
    }

    private static void addTwoMinimums(Scratch scratch, int block, int dxAt, int sumAt) {
        float[] sums = scratch.sums;
        for (int half = 0; half < PANEL; half += LANES) {
            FloatVector mw = FloatVector.fromArray(F, scratch.weightMins, block * PANEL + half);
            FloatVector m0 = FloatVector.fromArray(F, scratch.minFactors, block * 2 * PANEL + half);
            FloatVector m1 = FloatVector.fromArray(F, scratch.minFactors, block * 2 * PANEL + PANEL + half);
            for (int token = 0; token < TILE; token++) {
                int at = sumAt + token * PANEL + half;
                FloatVector sum =
                        m0.fma(FloatVector.broadcast(F, scratch.lowerSums[dxAt + token]), FloatVector.zero(F));
                sum = m1.fma(FloatVector.broadcast(F, scratch.upperSums[dxAt + token]), sum);
                mw.mul(scratch.xScales[dxAt + token])
                        .fma(sum, FloatVector.fromArray(F, sums, at))
                        .intoArray(sums, at);
            }
        }
    }

    // ---- one token: weights are expanded in registers, because each is used only once

    private void multiplyOne(Activations x, FloatMatrix y, int from, int to, Scratch scratch) {
        int columns = columns();
        VectorMatrix.gatherOne(x, columns, scratch);
        for (int block = 0; block < columns / BLOCK && hasMinimum; block++) {
            int lower = sumOfPairs(scratch.pairs, block * PAIRS, 1);
            setSums(scratch, block, lower, sumOfPairs(scratch.pairs, block * PAIRS + PAIRS / 2, 1));
        }
        if (!nibbles) {
            VectorMatrix.widenPairs(scratch, columns / 2);
        }
        for (int panel = from; panel < to; panel++) {
            Arrays.fill(scratch.sums, 0, PANEL, 0f);
            for (int block = 0; block < columns / BLOCK; block += ONE_BLOCKS) {
                multiplyOnePart(panel, block, Math.min(ONE_BLOCKS, columns / BLOCK - block), scratch);
            }
            VectorMatrix.storePanel(scratch.sums, 0, y, 0, panel * PANEL);
        }
    }

    private void multiplyOnePart(int panel, int block, int blocks, Scratch scratch) {
        long index = blockIndex(panel, block);
        long at = index * blockWords * PANEL_BYTES;
        if (nibbles) {
            VectorMatrix.oneQ4(words, at, blocks, scratch.pairs, block * PAIRS, scratch.pairSums);
            toBlockSums(scratch.pairSums, blocks, scratch.blockSums);
        } else if (floatScales) {
            oneHalves(words, at, blocks, scratch.x, block * BLOCK, scratch.halfSums);
            expandFloats(scales, index, blocks, scratch.weightScales);
            expandFloats(factors, index, blocks, scratch.upperScales);
            scaleOneHalves(scratch, block, blocks);
            return;
        } else if (twoScales) {
            oneHalves(words, at, blocks, scratch.x, block * BLOCK, scratch.halfSums);
            scaleHalves(factors, index * PANEL_BYTES, blocks, block, scratch);
        } else {
            VectorMatrix.oneQ8(words, at, blocks, scratch.x, block * BLOCK, scratch.blockSums);
        }
        expandFloats(scales, index, blocks, scratch.weightScales);
        if (!hasMinimum) {
            VectorMatrix.scaleOne(scratch, block, blocks);
            return;
        }
        expandFloats(mins, index, blocks, scratch.weightMins);
        if (twoScales) {
            scaleOneTwoMinimums(scratch, block, blocks);
        } else {
            scaleOneMinimum(scratch, block, blocks);
        }
    }

    /** Adds the two halves of sums of unsigned nibbles. */
    private static void toBlockSums(short[] pairSums, int blocks, float[] to) {
        for (int i = 0; i < 2 * blocks; i++) {
            ShortVector v = ShortVector.fromArray(S, pairSums, i * PANEL);
            Lanes.toFloat(Lanes.addPairs(v)).intoArray(to, i * LANES);
        }
    }

    /** Computes the sums of the two halves of each block: [block][2][2][LANES]. */
    private static void oneHalves(MemorySegment words, long at, int blocks, float[] x, int xAt, float[] sums) {
        for (int half = 0; half < 2; half++) {
            for (int block = 0; block < blocks; block++) {
                FloatVector a = FloatVector.zero(F);
                FloatVector b = FloatVector.zero(F);
                FloatVector c = FloatVector.zero(F);
                FloatVector d = FloatVector.zero(F);
                for (int i = 0; i < BYTE_WORDS; i++) {
                    long from = at + (block * (long) BYTE_WORDS + i) * PANEL_BYTES + half * (PANEL_BYTES / 2L);
                    IntVector w = IntVector.fromMemorySegment(I, words, from, ORDER);
                    int p = xAt + block * BLOCK + 2 * i;
                    a = VectorMatrix.byte0(w).fma(FloatVector.broadcast(F, x[p]), a);
                    b = VectorMatrix.byte1(w).fma(FloatVector.broadcast(F, x[p + 1]), b);
                    c = VectorMatrix.byte2(w).fma(FloatVector.broadcast(F, x[p + 16]), c);
                    d = VectorMatrix.byte3(w).fma(FloatVector.broadcast(F, x[p + 17]), d);
                }
                a.add(b).intoArray(sums, block * 2 * PANEL + half * LANES);
                c.add(d).intoArray(sums, block * 2 * PANEL + PANEL + half * LANES);
            }
        }
    }

    /** Computes {@code s₀ × I₀ + s₁ × I₁} and {@code m₀ × X₀ + m₁ × X₁} for each block. */
    private static void scaleHalves(MemorySegment factors, long at, int blocks, int first, Scratch scratch) {
        float[] halfSums = scratch.halfSums;
        FloatVector zero = FloatVector.zero(F);
        for (int i = 0; i < 2 * blocks; i++) { // odd i is the second vector of the panel
            IntVector bytes = IntVector.fromMemorySegment(I, factors, at + i * (PANEL_BYTES / 2L), ORDER);
            int base = i / 2 * 2 * PANEL + i % 2 * LANES;
            FloatVector sum = FloatVector.fromArray(F, halfSums, base).fma(VectorMatrix.byte0(bytes), zero);
            FloatVector.fromArray(F, halfSums, base + PANEL)
                    .fma(VectorMatrix.byte1(bytes), sum)
                    .intoArray(scratch.blockSums, i * LANES);
            FloatVector lower = FloatVector.broadcast(F, scratch.lowerSums[first + i / 2]);
            FloatVector upper = FloatVector.broadcast(F, scratch.upperSums[first + i / 2]);
            FloatVector minimum = VectorMatrix.byte2(bytes).fma(lower, zero);
            VectorMatrix.byte3(bytes).fma(upper, minimum).intoArray(scratch.minSums, i * LANES);
        }
    }

    /** Scales the sums of both halves of each block, whose scales are floats, and adds them. */
    private static void scaleOneHalves(Scratch scratch, int first, int blocks) {
        for (int half = 0; half < PANEL; half += LANES) {
            FloatVector y = FloatVector.fromArray(F, scratch.sums, half);
            for (int block = 0; block < blocks; block++) {
                float dx = scratch.xScales[first + block];
                int sumsAt = block * 2 * PANEL + half;
                int at = block * PANEL + half;
                y = FloatVector.fromArray(F, scratch.weightScales, at)
                        .mul(dx)
                        .fma(FloatVector.fromArray(F, scratch.halfSums, sumsAt), y);
                y = FloatVector.fromArray(F, scratch.upperScales, at)
                        .mul(dx)
                        .fma(FloatVector.fromArray(F, scratch.halfSums, sumsAt + PANEL), y);
            }
            y.intoArray(scratch.sums, half);
        }
    }

    private static void scaleOneMinimum(Scratch scratch, int first, int blocks) {
        for (int half = 0; half < PANEL; half += LANES) {
            FloatVector y = FloatVector.fromArray(F, scratch.sums, half);
            for (int block = 0; block < blocks; block++) {
                int at = block * PANEL + half;
                FloatVector scale =
                        FloatVector.fromArray(F, scratch.weightScales, at).mul(scratch.xScales[first + block]);
                y = scale.fma(FloatVector.fromArray(F, scratch.blockSums, at), y);
                FloatVector v = FloatVector.broadcast(F, scratch.scaledSums[first + block]);
                y = FloatVector.fromArray(F, scratch.weightMins, at).fma(v, y);
            }
            y.intoArray(scratch.sums, half);
        }
    }

    private static void scaleOneTwoMinimums(Scratch scratch, int first, int blocks) {
        for (int half = 0; half < PANEL; half += LANES) {
            FloatVector y = FloatVector.fromArray(F, scratch.sums, half);
            for (int block = 0; block < blocks; block++) {
                int at = block * PANEL + half;
                float dx = scratch.xScales[first + block];
                FloatVector scale =
                        FloatVector.fromArray(F, scratch.weightScales, at).mul(dx);
                y = scale.fma(FloatVector.fromArray(F, scratch.blockSums, at), y);
                FloatVector minimum =
                        FloatVector.fromArray(F, scratch.weightMins, at).mul(dx);
                y = minimum.fma(FloatVector.fromArray(F, scratch.minSums, at), y);
            }
            y.intoArray(scratch.sums, half);
        }
    }
}
