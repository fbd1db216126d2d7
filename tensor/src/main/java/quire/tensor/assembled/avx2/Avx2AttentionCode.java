package quire.tensor.assembled.avx2;

import static quire.tensor.x86.Gp.RSP;
import static quire.tensor.x86.Mem.at;
import static quire.tensor.x86.Vec.xmm;
import static quire.tensor.x86.Vec.ymm;

import java.util.Arrays;
import java.util.function.IntUnaryOperator;
import quire.tensor.KvLayout;
import quire.tensor.assembled.common.AttentionCode;
import quire.tensor.assembled.common.ExponentialCode;
import quire.tensor.x86.Mem;
import quire.tensor.x86.Vec;

/**
 * {@link AttentionCode} in AVX2. The scores of a query are two registers; its sums are computed 16 numbers at a time.
 *
 * <pre>
 *                scores                weighing                  sums
 *   ymm0..11     s [query][half]       4 at a time, their temps  o [query][register]
 *   ymm12, 13    K [half]              the exponential's         V [register]
 *   ymm14        q in all lanes        constants, 12 to 15       c, then p in all lanes
 *   ymm15                                                        the permutation of a tail
 * </pre>
 *
 * <p>The scale and the mask of a tile's positions are below the stack pointer, in the area that a function without calls may use.
 */
final class Avx2AttentionCode extends AttentionCode {
    /** With 6 queries, all registers are used. */
    static final int MAX_QUERIES = 6;

    private static final int LANES = 8;
    private static final int REGISTER_BYTES = LANES * Float.BYTES;
    private static final Vec[] KV = {ymm(12), ymm(13)};
    private static final Vec FACTOR = ymm(14);
    private static final Vec TAIL_ORDER = ymm(15);
    private static final Mem SCALE = at(RSP, -8);
    private static final Mem MASK = at(RSP, -16);

    Avx2AttentionCode(KvLayout layout, int allHeads, int rows, int heads, float softCap) {
        super(layout, allHeads, rows, heads, softCap, LANES);
    }

    private static Vec register(int b, int half) {
        return ymm(2 * b + half);
    }

    private Mem constant(IntUnaryOperator laneToBits) {
        int[] bits = new int[LANES];
        Arrays.setAll(bits, laneToBits);
        return Mem.rip(a.constant(bits, 32));
    }

    @Override
    protected ExponentialCode begin() {
        a.vmovss(SCALE, xmm(0));
        return ExponentialCode.avx2(a);
    }

    /** Keeps the mask in memory for {@link #scaleScores}; no register is free until then. */
    @Override
    protected void selectPositions(boolean all) {
        if (all) {
            a.mov(COUNT, 0xFFFF);
            a.vmovd(xmm(0), COUNT);
        } else {
            a.vmovd(xmm(0), LAST_LANES);
        }
        a.vmovss(MASK, xmm(0));
    }

    @Override
    protected boolean pairs() {
        return false;
    }

    @Override
    protected void clearScores(int first) {
        for (int i = 0; i < 2 * queries; i++) {
            clear(ymm(i));
        }
    }

    @Override
    protected void addKey(int first, Mem key, int dimension) {
        load(KV[0], key);
        load(KV[1], key.plus(LANES * layout.type().bytes()));
        for (int b = 0; b < queries; b++) {
            a.vbroadcastss(FACTOR, query(b, dimension));
            a.vfmadd231ps(register(b, 0), KV[0], FACTOR);
            a.vfmadd231ps(register(b, 1), KV[1], FACTOR);
        }
    }

    /** Loads eight numbers of a page as f32. */
    private void load(Vec to, Mem from) {
        switch (layout.type()) {
            case F16 -> a.vcvtph2ps(to, from);
            case F32 -> a.vmovups(to, from);
            case Q8_0 -> {
                a.vpmovsxbd(to, from);
                a.vcvtdq2ps(to, to);
            }
        }
    }

    /**
     * Computes the corrections before the weights, because the sums need them first. The exponentials hide the delay.
     */
    @Override
    protected void weigh(ExponentialCode exponential) {
        scaleScores();
        subtractMaximums();
        exponential.loadConstants();
        correct(exponential);
        boolean quantized = layout.type().isQuantized();
        for (int first = 0; first < 2 * queries; first += ExponentialCode.MAX_REGISTERS) {
            int count = Math.min(ExponentialCode.MAX_REGISTERS, 2 * queries - first);
            for (int i = 0; i < count; i++) {
                a.vmovups(ymm(i), at(WEIGHTS, (first + i) * REGISTER_BYTES));
            }
            exponential.write(0, count);
            for (int i = 0; i < count; i++) {
                a.vmovups(at(WEIGHTS, (first + i) * REGISTER_BYTES), ymm(i));
                if (quantized) {
                    a.vmulps(ymm(i), ymm(i), at(HERE, valueScalesOffset() + (first + i) % 2 * REGISTER_BYTES));
                    a.vmovups(at(WEIGHTS, VALUE_WEIGHTS + (first + i) * REGISTER_BYTES), ymm(i));
                }
            }
        }
    }

    /** Multiplies the scores by the scale; positions that are not seen get −∞. */
    private void scaleScores() {
        Vec factor = ymm(12);
        a.vbroadcastss(factor, SCALE);
        for (int i = 0; i < 2 * queries; i++) {
            a.vmulps(ymm(i), ymm(i), factor);
            if (layout.type().isQuantized()) {
                a.vmulps(ymm(i), ymm(i), at(HERE, i % 2 * REGISTER_BYTES));
            }
        }
        if (softCap > 0) {
            limitScores();
        }
        Vec nothing = ymm(12);
        Vec positions = ymm(13);
        Vec[] seen = {ymm(14), ymm(15)};
        a.vbroadcastss(positions, MASK);
        for (int half = 0; half < 2; half++) {
            int highest = 31 - half * LANES;
            a.vpsllvd(seen[half], positions, constant(lane -> highest - lane)); // negative if the position is seen
        }
        a.vmovups(nothing, constant(lane -> Float.floatToRawIntBits(Float.NEGATIVE_INFINITY)));
        for (int i = 0; i < 2 * queries; i++) {
            a.vblendvps(ymm(i), nothing, ymm(i), seen[i % 2]);
        }
    }

    /** Computes {@code cap − 2 cap / (exp(s × (2 / cap)) + 1)} of all scores, by way of the memory of the weights. */
    private void limitScores() {
        for (int i = 0; i < 2 * queries; i++) {
            a.vmovups(at(WEIGHTS, i * REGISTER_BYTES), ymm(i));
        }
        ExponentialCode exponential = ExponentialCode.avx2(a);
        exponential.loadConstants();
        for (int first = 0; first < 2 * queries; first += ExponentialCode.MAX_REGISTERS) {
            int count = Math.min(ExponentialCode.MAX_REGISTERS, 2 * queries - first);
            for (int i = 0; i < count; i++) {
                a.vmovups(ymm(i), at(WEIGHTS, (first + i) * REGISTER_BYTES));
                a.vmulps(ymm(i), ymm(i), number(2f / softCap));
            }
            exponential.write(0, count);
            a.vmovups(ymm(4), number(2f * softCap));
            a.vmovups(ymm(5), number(softCap));
            for (int i = 0; i < count; i++) {
                a.vaddps(ymm(i), ymm(i), number(1f));
                a.vdivps(ymm(i), ymm(4), ymm(i));
                a.vsubps(ymm(i), ymm(5), ymm(i));
                a.vmovups(at(WEIGHTS, (first + i) * REGISTER_BYTES), ymm(i));
            }
        }
        for (int i = 0; i < 2 * queries; i++) {
            a.vmovups(ymm(i), at(WEIGHTS, i * REGISTER_BYTES));
        }
    }

    private Mem number(float value) {
        return constant(lane -> Float.floatToRawIntBits(value));
    }

    /** Stores the scores minus their new maximum, and the new maximums in place of the corrections. */
    private void subtractMaximums() {
        for (int b = 0; b < queries; b++) {
            Vec max = ymm(12 + b % 2 * 2);
            Vec temp = ymm(13 + b % 2 * 2);
            a.vmaxps(max, register(b, 0), register(b, 1));
            a.vextracti128(temp.xmm(), max, 1);
            a.vmaxps(max.xmm(), max.xmm(), temp.xmm());
            a.vpshufd(temp.xmm(), max.xmm(), 0x4E);
            a.vmaxps(max.xmm(), max.xmm(), temp.xmm());
            a.vpshufd(temp.xmm(), max.xmm(), 0xB1);
            // a NaN may be ignored in the maximum, but its exponential is NaN
            a.vmaxps(max.xmm(), max.xmm(), temp.xmm());
            a.vbroadcastss(temp.xmm(), at(STATS, MAX + b * Float.BYTES));
            a.vmaxps(max.xmm(), max.xmm(), temp.xmm());
            a.vmovss(at(STATS, CORRECTION + b * Float.BYTES), max.xmm());
            a.vbroadcastss(max, max.xmm());
            for (int half = 0; half < 2; half++) {
                a.vsubps(register(b, half), register(b, half), max);
                a.vmovups(at(WEIGHTS, b * WORD_BYTES + half * REGISTER_BYTES), register(b, half));
            }
        }
    }

    /**
     * Computes corrections, corrected totals and new maximums. Lanes after the queries belong to other queries and do
     * not change.
     */
    private void correct(ExponentialCode exponential) {
        Vec c = ymm(0);
        Vec now = ymm(1);
        Vec own = ymm(2);
        Vec before = ymm(3);
        a.vmovups(own, constant(lane -> lane < queries ? -1 : 0));
        a.vmovups(now, at(STATS, CORRECTION));
        a.vmovups(before, at(STATS, MAX));
        a.vsubps(c, before, now);
        a.vblendvps(before, before, now, own);
        a.vmovups(at(STATS, MAX), before);
        exponential.write(c.index(), 1);
        a.vmovups(before, at(STATS, TOTAL));
        a.vmulps(now, c, before);
        a.vblendvps(before, before, now, own);
        a.vmovups(at(STATS, TOTAL), before);
        a.vmovups(at(STATS, CORRECTION), c);
    }

    @Override
    protected void loadSums(int word, int count) {
        for (int b = 0; b < queries; b++) {
            a.vbroadcastss(FACTOR, at(STATS, CORRECTION + b * Float.BYTES));
            for (int w = 0; w < count; w++) {
                a.vmulps(register(b, w), FACTOR, sum(b, word + w));
            }
        }
        if (word + count == words && tailLanes() < LANES) {
            a.vmovdqu(TAIL_ORDER, constant(lane -> (lane + LANES - tailLanes()) % LANES));
        }
    }

    @Override
    protected void addValue(int word, int count) {
        for (int w = 0; w < count; w++) {
            if (word + w == words - 1 && tailLanes() < LANES) {
                // reads the last numbers of a row together with the numbers before them, so that nothing after the page
                // is read
                load(KV[w], value(w * LANES + tailLanes() - LANES));
                a.vpermd(KV[w], TAIL_ORDER, KV[w]);
            } else {
                load(KV[w], value(w * LANES));
            }
        }
        for (int b = 0; b < queries; b++) {
            a.vbroadcastss(FACTOR, weight(b));
            for (int w = 0; w < count; w++) {
                a.vfmadd231ps(register(b, w), KV[w], FACTOR);
            }
        }
    }

    @Override
    protected Vec vec(int index) {
        return ymm(index);
    }

    @Override
    protected void clear(Vec register) {
        a.vpxor(register, register, register);
    }

    @Override
    protected void beginTail() {
        if (tailLanes() < LANES) {
            a.vmovdqu(ymm(2), constant(lane -> lane < tailLanes() ? -1 : 0));
        }
    }

    @Override
    protected void storeTail(Mem to, Vec from) {
        if (tailLanes() < LANES) {
            a.vmaskmovps(to, ymm(2), from);
        } else {
            a.vmovups(to, from);
        }
    }
}
