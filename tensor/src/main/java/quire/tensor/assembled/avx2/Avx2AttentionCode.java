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
 * {@link AttentionCode} in AVX2: a query's scores are two registers, its sums are taken 16 numbers at a time.
 *
 * <pre>
 *                scores                weighing                  sums
 *   ymm0..11     s [query][half]       4 at a time, their temps  o [query][register]
 *   ymm12, 13    K [half]              the exponential's         V [register]
 *   ymm14        q everywhere          constants, 12 to 15       c, then p everywhere
 *   ymm15                                                        how a tail is turned
 * </pre>
 *
 * <p>The scale waits below the stack pointer, in what a function that calls none may use.
 */
final class Avx2AttentionCode extends AttentionCode {
    /** With 6 the registers are full. */
    static final int MOST_QUERIES = 6;

    private static final int LANES = 8;
    private static final int REGISTER_BYTES = LANES * Float.BYTES;
    private static final Vec[] KV = {ymm(12), ymm(13)};
    private static final Vec FACTOR = ymm(14);
    private static final Vec TURN = ymm(15);
    private static final Mem SCALE = at(RSP, -8);

    Avx2AttentionCode(KvLayout layout, int allHeads, int rows, int heads) {
        super(layout, allHeads, rows, heads, LANES);
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

    /** Whoever needs it looks at the number of positions. */
    @Override
    protected void see(boolean all) {}

    @Override
    protected void clearScores() {
        for (int i = 0; i < 2 * queries; i++) {
            clear(ymm(i));
        }
    }

    @Override
    protected void addKey(Mem key, int dimension) {
        load(KV[0], key);
        load(KV[1], key.plus(LANES * layout.type().bytes()));
        for (int b = 0; b < queries; b++) {
            a.vbroadcastss(FACTOR, query(b, dimension));
            a.vfmadd231ps(register(b, 0), KV[0], FACTOR);
            a.vfmadd231ps(register(b, 1), KV[1], FACTOR);
        }
    }

    /** Eight numbers of a page as f32. */
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

    /** Corrections come before the weights: what waits for them are the sums, and the weights' exponentials fill the time. */
    @Override
    protected void weigh(ExponentialCode exponential) {
        scaleScores();
        subtractMaxima();
        exponential.loadConstants();
        correct(exponential);
        boolean quantized = layout.type().isQuantized();
        for (int first = 0; first < 2 * queries; first += ExponentialCode.MOST) {
            int count = Math.min(ExponentialCode.MOST, 2 * queries - first);
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

    /** Scores × scale, −∞ where a position is not seen. */
    private void scaleScores() {
        Vec factor = ymm(12);
        a.vbroadcastss(factor, SCALE);
        for (int i = 0; i < 2 * queries; i++) {
            a.vmulps(ymm(i), ymm(i), factor);
            if (layout.type().isQuantized()) {
                a.vmulps(ymm(i), ymm(i), at(HERE, i % 2 * REGISTER_BYTES));
            }
        }
        Vec nothing = ymm(12);
        Vec positions = ymm(13);
        Vec[] seen = {ymm(14), ymm(15)};
        a.vmovd(positions.xmm(), POSITIONS);
        a.vpbroadcastd(positions, positions.xmm());
        for (int half = 0; half < 2; half++) {
            int first = half * LANES;
            a.vmovdqu(seen[half], constant(lane -> first + lane));
            a.vpsubd(seen[half], seen[half], positions); // negative where it is seen
        }
        a.vmovups(nothing, constant(lane -> Float.floatToRawIntBits(Float.NEGATIVE_INFINITY)));
        for (int i = 0; i < 2 * queries; i++) {
            a.vblendvps(ymm(i), nothing, ymm(i), seen[i % 2]);
        }
    }

    /** Scores less their new maximum to memory, the new maxima where the corrections will be. */
    private void subtractMaxima() {
        for (int b = 0; b < queries; b++) {
            Vec max = ymm(12 + b % 2 * 2);
            Vec temp = ymm(13 + b % 2 * 2);
            a.vmaxps(max, register(b, 0), register(b, 1));
            a.vextracti128(temp.xmm(), max, 1);
            a.vmaxps(max.xmm(), max.xmm(), temp.xmm());
            a.vpshufd(temp.xmm(), max.xmm(), 0x4E);
            a.vmaxps(max.xmm(), max.xmm(), temp.xmm());
            a.vpshufd(temp.xmm(), max.xmm(), 0xB1);
            // A NaN may be lost in a maximum, but its own exponential keeps it.
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

    /** Corrections, corrected totals and new maxima; lanes past the queries are other queries' and stay. */
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
            a.vmovdqu(TURN, constant(lane -> (lane + LANES - tailLanes()) % LANES));
        }
    }

    @Override
    protected void addValue(int word, int count) {
        for (int w = 0; w < count; w++) {
            if (word + w == words - 1 && tailLanes() < LANES) {
                // The last numbers of a row are read with those before them, never with what lies behind the page.
                load(KV[w], value(w * LANES + tailLanes() - LANES));
                a.vpermd(KV[w], TURN, KV[w]);
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
