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

    /** Queries whose maximums, corrections and totals are in one register. */
    private static final int GROUP = 4;

    private static final int GROUP_BYTES = GROUP * Float.BYTES;

    private static final Vec WORD_0 = zmm(28);
    private static final Vec WORD_1 = zmm(29);
    private static final Vec NOTHING = zmm(30);
    private static final Vec SCALE = zmm(31);

    private final int groups;

    Avx512AttentionCode(KvLayout layout, int allHeads, int rows, int heads, float softCap) {
        super(layout, allHeads, rows, heads, softCap, LANES);
        groups = Math.ceilDiv(queries, GROUP);
    }

    @Override
    protected ExponentialCode begin() {
        a.vbroadcastss(SCALE, xmm(0));
        a.vbroadcastss(NOTHING, Mem.rip(a.constant(new float[] {Float.NEGATIVE_INFINITY}, 4)));
        ExponentialCode exponential = ExponentialCode.avx512(a);
        a.mov(RBX, (1 << queries - (groups - 1) * GROUP) - 1);
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
    protected boolean pairs() {
        return SECOND_SCORES + queries <= MAX_QUERIES && 2 * queries <= SECOND_SCORES;
    }

    @Override
    protected void clearScores(int first) {
        for (int b = 0; b < queries; b++) {
            clear(zmm(first + b));
        }
    }

    @Override
    protected void addKey(int first, Mem key, int dimension) {
        Vec word = dimension % 2 == 0 ? WORD_0 : WORD_1;
        load(word, key, false);
        for (int b = 0; b < queries; b++) {
            a.vfmadd231ps(zmm(first + b), word, query(b, dimension).bcast());
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
        for (int group = 0; group < groups; group++) {
            subtractMaximums(group);
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
        for (int group = 0; group < groups; group++) {
            a.vmovups(xmm(group), at(STATS, MAX + group * GROUP_BYTES));
            a.vsubps(xmm(group), xmm(group), maximums(group));
            a.vmovups(at(STATS, MAX + group * GROUP_BYTES), ownLanes(maximums(group), group));
        }
        exponential.write(0, groups);
        for (int group = 0; group < groups; group++) {
            // not masked: lanes behind the last query are never read
            a.vmovups(at(STATS, CORRECTION + group * GROUP_BYTES), xmm(group));
            a.vmulps(xmm(group), xmm(group), at(STATS, TOTAL + group * GROUP_BYTES));
            a.vmovups(at(STATS, TOTAL + group * GROUP_BYTES), ownLanes(xmm(group), group));
        }
    }

    /**
     * Updates the maximums of four queries, in {@link #maximums}, and subtracts them from the scores. The maximums stay in
     * registers: loading a word that was just stored in parts would wait until the stores are in the cache.
     */
    private void subtractMaximums(int group) {
        int first = group * GROUP;
        int count = Math.min(GROUP, queries - first);
        for (int b = first; b < first + count; b++) {
            int temp = 16 + (b - first) * 2;
            a.vextracti64x4(ymm(temp), zmm(b), 1);
            a.vmaxps(ymm(temp), ymm(temp), ymm(b));
            a.vextracti32x4(xmm(temp + 1), ymm(temp), 1);
            a.vmaxps(xmm(temp), xmm(temp), xmm(temp + 1));
            a.vpshufd(xmm(temp + 1), xmm(temp), 0x4E);
            a.vmaxps(xmm(temp), xmm(temp), xmm(temp + 1));
            a.vpshufd(xmm(temp + 1), xmm(temp), 0xB1);
            // a NaN may be ignored in the maximum, but its exponential is NaN
            a.vmaxps(xmm(temp), xmm(temp), xmm(temp + 1)); // in all four lanes
        }
        Vec[] each = new Vec[GROUP];
        for (int i = 0; i < GROUP; i++) {
            each[i] = xmm(16 + Math.min(i, count - 1) * 2);
        }
        Vec all = maximums(group);
        a.vunpcklps(xmm(17), each[0], each[1]);
        a.vunpcklps(xmm(19), each[2], each[3]);
        a.vshufps(all, xmm(17), xmm(19), 0x44);
        a.vmaxps(all, all, at(STATS, MAX + group * GROUP_BYTES));
        for (int b = first; b < first + count; b++) {
            int temp = 16 + (b - first) * 2;
            a.vpshufd(xmm(temp), all, (b - first) * 0x55);
            a.vbroadcastss(zmm(temp), xmm(temp));
            a.vsubps(zmm(b), zmm(b), zmm(temp));
        }
    }

    /** The register of the new maximums of four queries. */
    private static Vec maximums(int group) {
        return xmm(MAX_QUERIES + group);
    }

    /** For storing the lanes of a group that belong to queries. */
    private Vec ownLanes(Vec register, int group) {
        return group < groups - 1 ? register : register.mask(K3);
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
