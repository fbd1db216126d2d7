package quire.tensor.vector;

import static quire.tensor.vector.Lanes.F;
import static quire.tensor.vector.Lanes.I;
import static quire.tensor.vector.Lanes.LANES;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import quire.tensor.Activations;
import quire.tensor.AttentionCall;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.KvLayout;
import quire.tensor.scalar.FloatMath;
import quire.tensor.scalar.ScalarKernels;

/**
 * Flash attention on the Vector API, with the working memory of one worker. The queries of a call are its rows × the
 * query heads that share the KV head. Each tile of 16 positions is converted to f32 once for all queries; four queries
 * are computed together. The integers of Q8_0 pages, queries and weights are floats too: their sums stay below 2²⁴, so they
 * are exact.
 *
 * <pre>
 *   query n = row × group + head in group        quad = 4 queries
 *
 *   q        [quad][headDim][4]     one number broadcast against K[d]: lane = position
 *   keys     [headDim][16]
 *   weights  [query][16]            scores, then exp(score − max), with Q8_0 pages then integers
 *   values   [16][width]            width = headDim, rounded up to two vectors
 *   sums     [query][width]         lane = dimension
 * </pre>
 *
 * <p>A query sees the first {@code position − tile + 1} positions of a tile. If the queries of a quad see different
 * numbers of positions (on the diagonal, unless the group is a multiple of 4), their sums are computed one by one, so
 * that no query reads the V of a later position.
 */
final class VectorAttention implements Kernels.AttentionScratch {
    /** Maximum number of rows of one call. */
    static final int ROWS = 32;

    private static final int TILE = KvLayout.TILE;
    private static final int QUAD = 4;
    private static final float[] ZEROS = new float[QUAD];
    private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT;

    private final int heads;
    private final int group;
    private final int width;
    private final float[] q;
    private final float[] keys;
    private final float[] keyScales = new float[TILE];
    private final float[] valueScales = new float[TILE];
    private final float[] values;
    private final float[] weights;
    private final float[] sums;
    /** With Q8_0 pages, the sums of a tile's products for a quad. */
    private final float[] integers;

    private final float[] max;
    private final float[] total;
    private final float[] correction;
    /** The factor of each query's scores. */
    private final float[] queryScale;
    /** With Q8_0 pages, the scale of each query's weights of a tile. */
    private final float[] weightScale;
    // Results of the segments before.
    private final float[] mergedSums;
    private final float[] mergedMax;
    private final float[] mergedTotal;

    VectorAttention(KvLayout layout, int heads) {
        this.heads = heads;
        group = heads / layout.kvHeads();
        width = (layout.headDim() + 2 * LANES - 1) / (2 * LANES) * (2 * LANES);
        int queries = (ROWS * group + QUAD - 1) / QUAD * QUAD;
        q = new float[queries * layout.headDim()];
        keys = new float[layout.width() * TILE];
        values = new float[TILE * width];
        weights = new float[queries * TILE];
        sums = new float[queries * width];
        integers = new float[QUAD * width];
        max = new float[queries];
        total = new float[queries];
        correction = new float[queries];
        queryScale = new float[queries];
        weightScale = new float[queries];
        mergedSums = new float[queries * width];
        mergedMax = new float[queries];
        mergedTotal = new float[queries];
    }

    int heads() {
        return heads;
    }

    @Override
    public long byteSize() {
        return (long) Float.BYTES
                * (q.length
                        + keys.length
                        + values.length
                        + keyScales.length
                        + valueScales.length
                        + weights.length
                        + 2 * sums.length
                        + integers.length
                        + 7 * max.length);
    }

    void attend(AttentionCall call) {
        begin(call);
        FloatMatrix out = call.out();
        int count = call.rowCount() * group;
        int first = call.firstSegment(call.firstPosition());
        int last = (call.firstPosition() + call.rowCount() - 1) / KvLayout.SEGMENT;
        for (int segment = first; segment <= last; segment++) {
            attendSegment(call, segment);
            for (int n = 0; n < count && last > first; n++) {
                int position = call.firstPosition() + n / group;
                if (segment == call.firstSegment(position)) {
                    System.arraycopy(sums, n * width, mergedSums, n * width, width);
                    mergedMax[n] = max[n];
                    mergedTotal[n] = total[n];
                } else if (segment > call.firstSegment(position) && segment <= position / KvLayout.SEGMENT) {
                    merge(n);
                }
            }
        }
        float[] results = last > first ? mergedSums : sums;
        float[] totals = last > first ? mergedTotal : total;
        int headDim = call.layout().headDim();
        int firstColumn = call.kvHead() * group * headDim;
        for (int n = 0; n < count; n++) {
            divide(results, n * width, width, totals[n]);
            long target = out.rowOffset(call.firstRow() + n / group)
                    + (firstColumn + n % group * headDim) * (long) Float.BYTES;
            MemorySegment.copy(results, n * width, out.segment(), FLOAT, target, headDim);
        }
    }

    void attendSegment(AttentionCall call, int segment, FloatMatrix partials, int at) {
        begin(call);
        attendSegment(call, segment);
        int headDim = call.layout().headDim();
        for (int n = 0; n < call.rowCount() * group; n++) {
            MemorySegment.copy(sums, n * width, partials.segment(), FLOAT, partials.rowOffset(at + n), headDim);
            partials.set(at + n, headDim, max[n]);
            partials.set(at + n, headDim + 1, total[n]);
        }
    }

    /** Adds the result of a segment to the result of those before. */
    private void merge(int n) {
        float m = Math.max(mergedMax[n], max[n]);
        float c1 = FloatMath.exp(mergedMax[n] - m);
        float c2 = FloatMath.exp(max[n] - m);
        FloatVector factor = FloatVector.broadcast(F, c2);
        for (int d = n * width; d < (n + 1) * width; d += LANES) {
            FloatVector before = FloatVector.fromArray(F, mergedSums, d).mul(c1);
            FloatVector.fromArray(F, sums, d).fma(factor, before).intoArray(mergedSums, d);
        }
        mergedMax[n] = m;
        mergedTotal[n] = Math.fma(total[n], c2, mergedTotal[n] * c1);
    }

    /** Copies the queries of a call. */
    private void begin(AttentionCall call) {
        KvLayout layout = call.layout();
        int headDim = layout.headDim();
        if (keys.length != layout.width() * TILE || heads != group * layout.kvHeads()) {
            throw new IllegalArgumentException("this working memory was made for another layout than " + layout);
        }
        gather(call.q(), call.firstRow(), call.rowCount(), call.kvHead() * group * headDim, headDim);
        Arrays.fill(queryScale, call.scale());
        if (layout.type().isQuantized()) {
            for (int n = 0; n < call.rowCount() * group; n++) {
                int column = (call.kvHead() * group + n % group) * headDim;
                float largest = ScalarKernels.largest(call.q(), call.firstRow() + n / group, column, headDim);
                float inverse = largest == 0f ? 0f : 127f / largest;
                queryScale[n] = largest / 127f * call.scale();
                int at = n / QUAD * QUAD * headDim + n % QUAD;
                for (int d = 0; d < headDim; d++) {
                    q[at + d * QUAD] = ScalarKernels.quantized(q[at + d * QUAD], inverse);
                }
            }
        }
    }

    /** Computes sums, maximums and totals of the queries for the positions of one segment. */
    private void attendSegment(AttentionCall call, int segment) {
        KvLayout layout = call.layout();
        MemorySegment pages = call.pages();
        int[] pageTable = call.pageTable();
        int rowCount = call.rowCount();
        int firstPosition = call.firstPosition();
        int kvHead = call.kvHead();
        int headDim = layout.headDim();
        int count = rowCount * group;
        Arrays.fill(sums, 0, count * width, 0f);
        for (int n = 0; n < count; n++) {
            FloatMatrix sinks = call.sinks(segment, firstPosition + n / group);
            max[n] = sinks == null ? Float.NEGATIVE_INFINITY : sinks.get(0, kvHead * group + n % group);
            total[n] = sinks == null ? 0f : 1f;
        }
        boolean quantized = layout.type().isQuantized();
        int lastPosition = Math.min(firstPosition + rowCount, (segment + 1) * KvLayout.SEGMENT) - 1;
        int start = Math.max(call.firstSeen(firstPosition) / TILE * TILE, segment * KvLayout.SEGMENT);
        for (int tile = start; tile <= lastPosition; tile += TILE) {
            int slot = tile % layout.pageTokens();
            long page = pageTable[tile / layout.pageTokens()] * layout.pageBytes();
            load(layout, pages, page, slot, kvHead, Math.min(TILE, lastPosition - tile + 1));
            int firstQuery = Math.max(0, tile - firstPosition) * group; // earlier queries end before this tile
            for (int quad = firstQuery / QUAD; quad * QUAD < count; quad++) {
                score(q, quad * QUAD * headDim, keys, headDim, queryScale, quad * QUAD, weights, quad * QUAD * TILE);
                if (quantized) {
                    scaleQuad(weights, quad * QUAD * TILE, keyScales);
                }
                if (call.softCap() > 0) {
                    capQuad(weights, quad * QUAD * TILE, call.softCap());
                }
                accumulate(quad * QUAD, count, tile, call, quantized);
            }
        }
    }

    /** Copies queries to [quad][headDim][4]; missing queries of the last quad are zeros. */
    private void gather(FloatMatrix queries, int firstRow, int rowCount, int firstColumn, int headDim) {
        int count = rowCount * group;
        for (int n = 0; n < (count + QUAD - 1) / QUAD * QUAD; n++) {
            int to = n / QUAD * QUAD * headDim + n % QUAD;
            if (n < count) {
                long from = queries.rowOffset(firstRow + n / group)
                        + (firstColumn + n % group * headDim) * (long) Float.BYTES;
                for (int d = 0; d < headDim; d++) {
                    q[to + d * QUAD] = queries.segment().get(FLOAT, from + d * (long) Float.BYTES);
                }
            } else {
                for (int d = 0; d < headDim; d++) {
                    q[to + d * QUAD] = 0f;
                }
            }
        }
    }

    /** Converts a tile of K and V to f32; of V only the first {@code rows} positions, which are stored. */
    private void load(KvLayout layout, MemorySegment pages, long page, int slot, int kvHead, int rows) {
        int headDim = layout.headDim();
        long keysAt = page + layout.keyTileOffset(slot, kvHead);
        long valuesAt = page + layout.valueTileOffset(slot, kvHead);
        switch (layout.type()) {
            case F16 -> {
                widen(pages, keysAt, keys, 0, headDim * TILE);
                for (int j = 0; j < rows; j++) {
                    widen(pages, valuesAt + j * (long) headDim * Short.BYTES, values, j * width, headDim);
                }
            }
            case F32 -> {
                MemorySegment.copy(pages, FLOAT, keysAt, keys, 0, headDim * TILE);
                for (int j = 0; j < rows; j++) {
                    MemorySegment.copy(
                            pages, FLOAT, valuesAt + j * (long) headDim * Float.BYTES, values, j * width, headDim);
                }
            }
            case Q8_0 -> {
                for (int d = 0; d < headDim; d += KvLayout.SIDE_BY_SIDE) {
                    widenFour(pages, keysAt + layout.keyOffset(0, d), TILE, keys, d * TILE, TILE);
                }
                for (int j = 0; j < rows; j += KvLayout.SIDE_BY_SIDE) {
                    widenFour(pages, valuesAt + layout.valueOffset(j, 0), headDim, values, j * width, width);
                }
                MemorySegment.copy(pages, FLOAT, page + layout.keyScalesOffset(slot, kvHead), keyScales, 0, TILE);
                MemorySegment.copy(pages, FLOAT, page + layout.valueScalesOffset(slot, kvHead), valueScales, 0, TILE);
            }
        }
    }

    /** Multiplies a quad's scores by the scales of their positions. */
    private static void scaleQuad(float[] scores, int at, float[] scales) {
        for (int lane = 0; lane < TILE; lane += LANES) {
            FloatVector scale = FloatVector.fromArray(F, scales, lane);
            for (int i = at + lane; i < at + QUAD * TILE; i += TILE) {
                FloatVector.fromArray(F, scores, i).mul(scale).intoArray(scores, i);
            }
        }
    }

    /** Limits a quad's scores. */
    private static void capQuad(float[] scores, int at, float cap) {
        for (int i = at; i < at + QUAD * TILE; i += LANES) {
            Lanes.softCap(FloatVector.fromArray(F, scores, i), cap).intoArray(scores, i);
        }
    }

    /**
     * Converts {@code count} groups of four bytes, rounded up to a register; the four come {@code step} apart. What is read behind V
     * are its scales.
     */
    private static void widenFour(MemorySegment bytes, long from, int count, float[] to, int at, int step) {
        for (int i = 0; i < count; i += LANES) {
            IntVector four = IntVector.fromMemorySegment(I, bytes, from + i * (long) Integer.BYTES, Lanes.ORDER);
            for (int n = 0; n < KvLayout.SIDE_BY_SIDE; n++) {
                IntVector one = four.lanewise(VectorOperators.LSHL, Integer.SIZE - (n + 1) * Byte.SIZE)
                        .lanewise(VectorOperators.ASHR, Integer.SIZE - Byte.SIZE);
                Lanes.toFloat(one).intoArray(to, at + i + n * step);
            }
        }
    }

    private static void widen(MemorySegment halves, long from, float[] to, int at, int count) {
        for (int i = 0; i < count; i++) {
            to[at + i] = Float.float16ToFloat(halves.get(SHORT, from + i * (long) Short.BYTES));
        }
    }

    private static void score(
            float[] q,
            int qAt,
            float[] keys,
            int headDim,
            float[] scales,
            int firstQuery,
            float[] scores,
            int scoresAt) {
        for (int lane = 0; lane < TILE; lane += LANES) {
            FloatVector a = FloatVector.zero(F);
            FloatVector b = FloatVector.zero(F);
            FloatVector c = FloatVector.zero(F);
            FloatVector e = FloatVector.zero(F);
            for (int d = 0; d < headDim; d++) {
                FloatVector k = FloatVector.fromArray(F, keys, d * TILE + lane);
                int p = qAt + d * QUAD;
                a = k.fma(FloatVector.broadcast(F, q[p]), a);
                b = k.fma(FloatVector.broadcast(F, q[p + 1]), b);
                c = k.fma(FloatVector.broadcast(F, q[p + 2]), c);
                e = k.fma(FloatVector.broadcast(F, q[p + 3]), e);
            }
            a.mul(scales[firstQuery]).intoArray(scores, scoresAt + lane);
            b.mul(scales[firstQuery + 1]).intoArray(scores, scoresAt + TILE + lane);
            c.mul(scales[firstQuery + 2]).intoArray(scores, scoresAt + 2 * TILE + lane);
            e.mul(scales[firstQuery + 3]).intoArray(scores, scoresAt + 3 * TILE + lane);
        }
    }

    /** Adds the tile that begins at a position to the sums of a quad, for the positions that each query sees. */
    private void accumulate(int first, int count, int tile, AttentionCall call, boolean quantized) {
        int offset = call.firstPosition() - tile;
        int lastQuery = Math.min(first + QUAD, count);
        int least = Math.min(TILE, first / group + offset + 1);
        int most = Math.min(TILE, (lastQuery - 1) / group + offset + 1);
        for (int n = first; n < lastQuery; n++) {
            int end = n / group + offset + 1;
            int hidden = hidden(n, tile, call);
            if (end > 0 && hidden < TILE) {
                weigh(n, hidden, Math.min(TILE, end));
                if (quantized) {
                    quantizeWeights(n, hidden, Math.min(TILE, end));
                }
            }
        }
        if (quantized) {
            Arrays.fill(integers, 0f);
        }
        if (least == most && hidden(lastQuery - 1, tile, call) < TILE && lastQuery == first + QUAD) {
            for (int d = 0; d < width; d += 2 * LANES) {
                if (quantized) {
                    sumQuad(weights, first * TILE, most, values, d, width, ZEROS, 0, integers, d);
                } else {
                    sumQuad(weights, first * TILE, most, values, d, width, correction, first, sums, first * width + d);
                }
            }
            for (int n = first; n < lastQuery && quantized; n++) {
                addIntegers(n, (n - first) * width);
            }
        } else {
            for (int n = first; n < lastQuery; n++) {
                int seen = Math.min(TILE, n / group + offset + 1);
                boolean sees = seen > 0 && hidden(n, tile, call) < TILE;
                for (int d = 0; d < width && sees; d += 2 * LANES) {
                    if (quantized) {
                        sumOne(weights, n * TILE, seen, values, d, width, 0f, integers, d);
                    } else {
                        sumOne(weights, n * TILE, seen, values, d, width, correction[n], sums, n * width + d);
                    }
                }
                if (sees && quantized) {
                    addIntegers(n, 0);
                    Arrays.fill(integers, 0, width, 0f);
                }
            }
        }
    }

    /** How many positions of a tile, or of it and further ones, are before the first that query n sees. */
    private int hidden(int n, int tile, AttentionCall call) {
        return Math.max(0, call.firstSeen(call.firstPosition() + n / group) - tile);
    }

    /** Turns scores into weights, and updates the maximum, the total and the correction of the earlier sums. */
    private void weigh(int n, int hidden, int seen) {
        float before = max[n];
        for (int j = 0; j < hidden; j++) {
            weights[n * TILE + j] = Float.NEGATIVE_INFINITY;
        }
        for (int j = seen; j < TILE; j++) {
            weights[n * TILE + j] = Float.NEGATIVE_INFINITY;
        }
        float now = Math.max(before, largest(weights, n * TILE));
        exponentials(weights, n * TILE, now);
        float c = now == before ? 1f : FloatMath.exp(before - now);
        max[n] = now;
        total[n] = Math.fma(total[n], c, sum(weights, n * TILE));
        correction[n] = c;
    }

    /** The sum of a tile's weights, halved again and again. */
    private static float sum(float[] weights, int at) {
        float s0 = weights[at] + weights[at + 8] + (weights[at + 4] + weights[at + 12]);
        float s1 = weights[at + 1] + weights[at + 9] + (weights[at + 5] + weights[at + 13]);
        float s2 = weights[at + 2] + weights[at + 10] + (weights[at + 6] + weights[at + 14]);
        float s3 = weights[at + 3] + weights[at + 11] + (weights[at + 7] + weights[at + 15]);
        return s0 + s2 + (s1 + s3);
    }

    /** Multiplies the weights of a query by V's scales and quantises them; positions that it does not see get 0. */
    private void quantizeWeights(int n, int hidden, int seen) {
        int at = n * TILE;
        Arrays.fill(weights, at, at + hidden, 0f);
        for (int j = hidden; j < seen; j++) {
            weights[at + j] *= valueScales[j];
        }
        Arrays.fill(weights, at + seen, at + TILE, 0f);
        IntVector most = IntVector.zero(I);
        for (int lane = 0; lane < TILE; lane += LANES) {
            // as integers, magnitudes have the order of floats, with NaN above all
            most = most.max(FloatVector.fromArray(F, weights, at + lane)
                    .reinterpretAsInts()
                    .and(0x7fffffff));
        }
        float largest = Float.intBitsToFloat(most.reduceLanes(VectorOperators.MAX));
        largest = largest < Activations.SMALLEST ? 0f : largest;
        float inverse = largest == 0f ? 0f : 127f / largest;
        for (int lane = 0; lane < TILE; lane += LANES) {
            FloatVector weight = FloatVector.fromArray(F, weights, at + lane).mul(inverse);
            weight.add(FloatMath.ROUNDER).sub(FloatMath.ROUNDER).intoArray(weights, at + lane);
        }
        weightScale[n] = largest / 127f;
    }

    private static float largest(float[] scores, int at) {
        IntVector most = IntVector.broadcast(I, Integer.MIN_VALUE);
        for (int lane = 0; lane < TILE; lane += LANES) {
            IntVector bits = FloatVector.fromArray(F, scores, at + lane).reinterpretAsInts();
            // as integers these have the order of the floats; a NaN may be ignored here, but its exponential is NaN
            IntVector flip = bits.lanewise(VectorOperators.ASHR, 31).and(0x7fffffff);
            most = most.max(bits.lanewise(VectorOperators.XOR, flip));
        }
        int largest = most.reduceLanes(VectorOperators.MAX);
        return Float.intBitsToFloat(largest ^ (largest >> 31 & 0x7fffffff));
    }

    private static void exponentials(float[] scores, int at, float max) {
        for (int lane = 0; lane < TILE; lane += LANES) {
            Lanes.exp(FloatVector.fromArray(F, scores, at + lane).sub(max)).intoArray(scores, at + lane);
        }
    }

    private static void sumQuad(
            float[] weights,
            int weightsAt,
            int seen,
            float[] values,
            int valuesAt,
            int width,
            float[] correction,
            int first,
            float[] sums,
            int at) {
        FloatVector a0 = FloatVector.fromArray(F, sums, at).mul(correction[first]);
        FloatVector a1 = FloatVector.fromArray(F, sums, at + LANES).mul(correction[first]);
        FloatVector b0 = FloatVector.fromArray(F, sums, at + width).mul(correction[first + 1]);
        FloatVector b1 = FloatVector.fromArray(F, sums, at + width + LANES).mul(correction[first + 1]);
        FloatVector c0 = FloatVector.fromArray(F, sums, at + 2 * width).mul(correction[first + 2]);
        FloatVector c1 = FloatVector.fromArray(F, sums, at + 2 * width + LANES).mul(correction[first + 2]);
        FloatVector e0 = FloatVector.fromArray(F, sums, at + 3 * width).mul(correction[first + 3]);
        FloatVector e1 = FloatVector.fromArray(F, sums, at + 3 * width + LANES).mul(correction[first + 3]);
        for (int j = 0; j < seen; j++) {
            FloatVector v0 = FloatVector.fromArray(F, values, valuesAt + j * width);
            FloatVector v1 = FloatVector.fromArray(F, values, valuesAt + j * width + LANES);
            FloatVector p = FloatVector.broadcast(F, weights[weightsAt + j]);
            a0 = v0.fma(p, a0);
            a1 = v1.fma(p, a1);
            p = FloatVector.broadcast(F, weights[weightsAt + TILE + j]);
            b0 = v0.fma(p, b0);
            b1 = v1.fma(p, b1);
            p = FloatVector.broadcast(F, weights[weightsAt + 2 * TILE + j]);
            c0 = v0.fma(p, c0);
            c1 = v1.fma(p, c1);
            p = FloatVector.broadcast(F, weights[weightsAt + 3 * TILE + j]);
            e0 = v0.fma(p, e0);
            e1 = v1.fma(p, e1);
        }
        a0.intoArray(sums, at);
        a1.intoArray(sums, at + LANES);
        b0.intoArray(sums, at + width);
        b1.intoArray(sums, at + width + LANES);
        c0.intoArray(sums, at + 2 * width);
        c1.intoArray(sums, at + 2 * width + LANES);
        e0.intoArray(sums, at + 3 * width);
        e1.intoArray(sums, at + 3 * width + LANES);
    }

    private static void sumOne(
            float[] weights,
            int weightsAt,
            int seen,
            float[] values,
            int valuesAt,
            int width,
            float correction,
            float[] sums,
            int at) {
        FloatVector a0 = FloatVector.fromArray(F, sums, at).mul(correction);
        FloatVector a1 = FloatVector.fromArray(F, sums, at + LANES).mul(correction);
        for (int j = 0; j < seen; j++) {
            FloatVector p = FloatVector.broadcast(F, weights[weightsAt + j]);
            a0 = FloatVector.fromArray(F, values, valuesAt + j * width).fma(p, a0);
            a1 = FloatVector.fromArray(F, values, valuesAt + j * width + LANES).fma(p, a1);
        }
        a0.intoArray(sums, at);
        a1.intoArray(sums, at + LANES);
    }

    /** Corrects the sums of a query and adds its integers. */
    private void addIntegers(int n, int at) {
        FloatVector scale = FloatVector.broadcast(F, weightScale[n]);
        for (int d = 0; d < width; d += LANES) {
            FloatVector before = FloatVector.fromArray(F, sums, n * width + d).mul(correction[n]);
            FloatVector.fromArray(F, integers, at + d).fma(scale, before).intoArray(sums, n * width + d);
        }
    }

    private static void divide(float[] sums, int at, int width, float total) {
        for (int d = 0; d < width; d += LANES) {
            FloatVector.fromArray(F, sums, at + d).div(total).intoArray(sums, at + d);
        }
    }
}
