package quire.tensor.assembled.avx512;

import static quire.tensor.x86.Gp.RAX;
import static quire.tensor.x86.Gp.RBX;
import static quire.tensor.x86.Mask.K1;
import static quire.tensor.x86.Mask.K3;
import static quire.tensor.x86.Mask.K4;
import static quire.tensor.x86.Mem.at;
import static quire.tensor.x86.Vec.xmm;
import static quire.tensor.x86.Vec.ymm;
import static quire.tensor.x86.Vec.zmm;

import quire.tensor.KvLayout;
import quire.tensor.assembled.common.AttentionCode;
import quire.tensor.assembled.common.ExponentialCode;
import quire.tensor.x86.Mem;
import quire.tensor.x86.Vec;

/**
 * {@link AttentionCode} in AVX-512. The scores of a query are one register; its sums are computed 32 numbers at a time.
 *
 * <p>Cost: with 12 queries of 64 numbers, a tile takes 1536 multiply-adds of whole registers and about 700 other
 * instructions; 300 of these are the exponentials.
 */
final class Avx512AttentionCode extends AttentionCode {
    /** With 12 queries, all registers are used. */
    static final int MAX_QUERIES = 12;

    private static final int LANES = 16;

    private static final Vec WORD_0 = zmm(28);
    private static final Vec WORD_1 = zmm(29);
    private static final Vec NOTHING = zmm(30);
    private static final Vec SCALE = zmm(31);

    Avx512AttentionCode(KvLayout layout, int allHeads, int rows, int heads, float softCap) {
        super(layout, allHeads, rows, heads, softCap, LANES);
    }

    @Override
    protected ExponentialCode begin() {
        a.vbroadcastss(SCALE, xmm(0));
        a.vbroadcastss(NOTHING, Mem.rip(a.constant(new float[] {Float.NEGATIVE_INFINITY}, 4)));
        ExponentialCode exponential = ExponentialCode.avx512(a);
        a.mov(RBX, (1 << queries) - 1);
        a.kmovw(K3, RBX);
        a.mov(RBX, 0xFFFF >>> (LANES - tailLanes()));
        a.kmovw(K4, RBX);
        return exponential;
    }

    @Override
    protected void selectPositions(boolean all) {
        if (all) {
            a.mov(COUNT, 0xFFFF);
            a.kmovw(K1, COUNT);
        } else {
            a.kmovw(K1, LAST_LANES);
        }
    }

    @Override
    protected void clearScores() {
        for (int b = 0; b < queries; b++) {
            clear(zmm(b));
        }
    }

    @Override
    protected void addKey(Mem key, int dimension) {
        Vec word = dimension % 2 == 0 ? WORD_0 : WORD_1;
        load(word, key, false);
        for (int b = 0; b < queries; b++) {
            a.vfmadd231ps(zmm(b), word, query(b, dimension).bcast());
        }
    }

    /** Loads sixteen numbers of a page as f32. */
    private void load(Vec to, Mem from, boolean isTail) {
        Vec target = isTail ? to.zero(K4) : to;
        switch (layout.type()) {
            case F16 -> a.vcvtph2ps(target, from);
            case F32 -> a.vmovups(target, from);
            case Q8_0 -> {
                a.vpmovsxbd(target, from);
                a.vcvtdq2ps(to, to);
            }
        }
    }

    @Override
    protected void weigh(ExponentialCode exponential) {
        boolean quantized = layout.type().isQuantized();
        for (int b = 0; b < queries; b++) {
            a.vmulps(zmm(b), zmm(b), SCALE);
            if (quantized) {
                a.vmulps(zmm(b), zmm(b), at(HERE));
            }
        }
        if (softCap > 0) {
            limitScores(exponential);
        }
        for (int b = 0; b < queries; b++) {
            a.vblendmps(zmm(b).mask(K1), NOTHING, zmm(b));
        }
        for (int b = 0; b < queries; b++) {
            int temp = 16 + b % 4 * 2;
            a.vextracti64x4(ymm(temp), zmm(b), 1);
            a.vmaxps(ymm(temp), ymm(temp), ymm(b));
            a.vextracti32x4(xmm(temp + 1), ymm(temp), 1);
            a.vmaxps(xmm(temp), xmm(temp), xmm(temp + 1));
            a.vpshufd(xmm(temp + 1), xmm(temp), 0x4E);
            a.vmaxps(xmm(temp), xmm(temp), xmm(temp + 1));
            a.vpshufd(xmm(temp + 1), xmm(temp), 0xB1);
            // a NaN may be ignored in the maximum, but its exponential is NaN
            a.vmaxps(xmm(temp), xmm(temp), xmm(temp + 1));
            a.vmaxps(xmm(temp), xmm(temp), at(STATS, MAX + b * Float.BYTES).bcast());
            a.vmovss(at(STATS, CORRECTION + b * Float.BYTES), xmm(temp));
            a.vbroadcastss(zmm(temp), xmm(temp));
            a.vsubps(zmm(b), zmm(b), zmm(temp));
        }
        for (int b = 0; b < queries; b += ExponentialCode.MAX_REGISTERS) {
            exponential.write(b, Math.min(ExponentialCode.MAX_REGISTERS, queries - b));
        }
        for (int b = 0; b < queries; b++) {
            a.vmovups(at(WEIGHTS, b * WORD_BYTES), zmm(b));
            if (quantized) {
                a.vmulps(zmm(b), zmm(b), at(HERE, valueScalesOffset()));
                a.vmovups(at(WEIGHTS, VALUE_WEIGHTS + b * WORD_BYTES), zmm(b));
            }
        }
        a.vmovups(zmm(1), at(STATS, CORRECTION));
        a.vmovups(zmm(0), at(STATS, MAX));
        a.vsubps(zmm(0), zmm(0), zmm(1));
        a.vmovups(at(STATS, MAX), zmm(1).mask(K3));
        exponential.write(0, 1);
        a.vmovups(at(STATS, CORRECTION), zmm(0).mask(K3));
        a.vmulps(zmm(0), zmm(0), at(STATS, TOTAL));
        a.vmovups(at(STATS, TOTAL), zmm(0).mask(K3));
    }

    /** Computes {@code cap − 2 cap / (exp(s × (2 / cap)) + 1)} of all scores. */
    private void limitScores(ExponentialCode exponential) {
        for (int first = 0; first < queries; first += ExponentialCode.MAX_REGISTERS) {
            int end = Math.min(queries, first + ExponentialCode.MAX_REGISTERS);
            for (int b = first; b < end; b++) {
                a.vmulps(zmm(b), zmm(b), number(2f / softCap).bcast());
            }
            exponential.write(first, end - first);
            a.vbroadcastss(zmm(16), number(2f * softCap));
            a.vbroadcastss(zmm(17), number(softCap));
            for (int b = first; b < end; b++) {
                a.vaddps(zmm(b), zmm(b), number(1f).bcast());
                a.vdivps(zmm(b), zmm(16), zmm(b));
                a.vsubps(zmm(b), zmm(17), zmm(b));
            }
        }
    }

    private Mem number(float value) {
        return Mem.rip(a.constant(new float[] {value}, 4));
    }

    @Override
    protected void loadSums(int word, int count) {
        for (int b = 0; b < queries; b++) {
            for (int w = 0; w < count; w++) {
                a.vmovups(zmm(b * 2 + w), sum(b, word + w));
                a.vmulps(
                        zmm(b * 2 + w),
                        zmm(b * 2 + w),
                        at(STATS, CORRECTION + b * Float.BYTES).bcast());
            }
        }
    }

    @Override
    protected void addValue(int word, int count) {
        for (int w = 0; w < count; w++) {
            load(w == 0 ? WORD_0 : WORD_1, value(w * LANES), word + w == words - 1);
        }
        for (int b = 0; b < queries; b++) {
            for (int w = 0; w < count; w++) {
                a.vfmadd231ps(
                        zmm(b * 2 + w), w == 0 ? WORD_0 : WORD_1, weight(b).bcast());
            }
        }
    }

    @Override
    protected Vec vec(int index) {
        return zmm(index);
    }

    @Override
    protected void clear(Vec register) {
        a.vpxord(register, register, register);
    }

    @Override
    protected void beginTail() {
        a.mov(RAX, 0xFFFF >>> (LANES - tailLanes()));
        a.kmovw(K4, RAX);
    }

    @Override
    protected void storeTail(Mem to, Vec from) {
        a.vmovups(to, from.mask(K4));
    }
}
