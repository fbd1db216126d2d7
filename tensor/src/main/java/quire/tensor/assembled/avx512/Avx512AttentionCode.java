package quire.tensor.assembled.avx512;

import static quire.tensor.x86.Gp.RAX;
import static quire.tensor.x86.Gp.RBX;
import static quire.tensor.x86.Mask.K1;
import static quire.tensor.x86.Mask.K2;
import static quire.tensor.x86.Mask.K3;
import static quire.tensor.x86.Mask.K4;
import static quire.tensor.x86.Mem.at;
import static quire.tensor.x86.Vec.xmm;
import static quire.tensor.x86.Vec.zmm;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.tensor.Activations;
import quire.tensor.KvLayout;
import quire.tensor.assembled.common.AttentionCode;
import quire.tensor.assembled.common.ExponentialCode;
import quire.tensor.x86.Gp;
import quire.tensor.x86.Mask;
import quire.tensor.x86.Mem;
import quire.tensor.x86.Vec;

/**
 * {@link AttentionCode} in AVX-512. The scores of a query are one register; its sums are computed 32 numbers at a time.
 *
 * <p>Cost: with 12 queries of 64 numbers, a tile takes 1536 multiply-adds of whole registers and about 700 other
 * instructions; 300 of these are the exponentials. With int8 pages, the products are 384 instructions.
 */
final class Avx512AttentionCode extends AttentionCode {
    /** With 12 queries, all registers are used. */
    static final int MAX_QUERIES = 12;

    private static final int LANES = 16;

    /** Queries whose maximums, corrections and totals are in one register. */
    private static final int GROUP = 4;

    private static final int GROUP_BYTES = GROUP * Float.BYTES;

    /** 128 in all bytes, while scores are computed. */
    private static final Vec PLUS_128 = zmm(15);

    private static final Vec WORD_0 = zmm(28);
    private static final Vec WORD_1 = zmm(29);
    private static final Vec NOTHING = zmm(30);
    /** The scale of scores; with int8 pages, which have it in the record of each query, weights of four positions. */
    private static final Vec SCALE = zmm(31);

    private static final int NOT_LESS = 5; // vcmpps: not less than, or unordered

    /** The first of each four lanes. */
    private static final int[] FIRST_LANES = {0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12};

    private static final Vec REDUCED = xmm(16);

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
        a.mov(RBX, (1 << (queries - (groups - 1) * GROUP)) - 1);
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
        if (quantized) {
            a.vpbroadcastd(PLUS_128, Mem.rip(a.constant(new int[] {0x80808080}, 4)));
        }
        for (int b = 0; b < queries; b++) {
            if (quantized) {
                a.vpbroadcastd(zmm(first + b), queryRecord(b, QUERY_START));
            } else {
                clear(zmm(first + b));
            }
        }
    }

    /** The instruction for int8 takes unsigned numbers too, so K + 128 is multiplied, and the scores began with the difference. */
    @Override
    protected void addKey(int first, Mem key, int step) {
        Vec word = step % 2 == 0 ? WORD_0 : WORD_1;
        if (quantized) {
            a.vpxord(word, PLUS_128, key);
        } else {
            load(word, key, false);
        }
        for (int b = 0; b < queries; b++) {
            if (quantized) {
                a.vpdpbusd(zmm(first + b), word, query(b, step).bcast());
            } else {
                a.vfmadd231ps(zmm(first + b), word, query(b, step).bcast());
            }
        }
    }

    /** Loads sixteen numbers of a page as f32. */
    private void load(Vec to, Mem from, boolean isTail) {
        Vec target = isTail ? to.zero(K4) : to;
        if (layout.type() == KvLayout.KvType.F16) {
            a.vcvtph2ps(target, from);
        } else {
            a.vmovups(target, from);
        }
    }

    /**
     * The queries whose scores are in four registers, from {@code first} on, and their statistics. All of them see one tile: that
     * at {@code tile}, as far as {@code mask} says.
     *
     * @param slot number of the four among those that are weighed together
     * @param group number of the queries' maximums and totals
     * @param count number of queries, at most four
     */
    private record Four(
            int slot,
            int group,
            int first,
            int count,
            Gp tile,
            @Nullable Mask mask) {
        /** The register of a query; one that is lacking is the last one. */
        Vec scores(int i) {
            return zmm(first + Math.min(i, count - 1));
        }

        /** The register of the corrections. */
        Vec correction() {
            return xmm(MAX_QUERIES + slot);
        }

        /** What is kept for the block. */
        Mem kept(int what) {
            return at(STATS, what + group * GROUP_BYTES);
        }

        /** What is needed for a tile only. */
        Mem passing(int what) {
            return at(STATS, what + slot * GROUP_BYTES);
        }

        Mem passing(int what, int i) {
            return at(STATS, what + slot * GROUP_BYTES + i * Float.BYTES);
        }
    }

    private List<Four> fours(boolean two) {
        List<Four> all = new ArrayList<>();
        if (two) {
            all.add(new Four(0, 0, 0, queries, HERE, null));
            all.add(new Four(1, 0, SECOND_SCORES, queries, SECOND, K1));
        } else {
            for (int group = 0; group < groups; group++) {
                int first = group * GROUP;
                all.add(new Four(group, group, first, Math.min(GROUP, queries - first), HERE, K1));
            }
        }
        return all;
    }

    @Override
    protected void weigh(ExponentialCode exponential, boolean two) {
        List<Four> fours = fours(two);
        for (Four four : fours) {
            for (int i = 0; i < four.count; i++) {
                Vec scores = four.scores(i);
                if (quantized) {
                    a.vcvtdq2ps(scores, scores);
                    a.vmulps(
                            scores,
                            scores,
                            queryRecord(four.group * GROUP + i, QUERY_SCALE).bcast());
                    a.vmulps(scores, scores, at(four.tile));
                } else {
                    a.vmulps(scores, scores, SCALE);
                }
            }
            if (softCap > 0) {
                limitScores(exponential, four.first, four.count);
            }
            for (int i = 0; i < four.count && four.mask != null; i++) {
                a.vblendmps(four.scores(i).mask(four.mask), NOTHING, four.scores(i));
            }
        }
        for (Four four : fours) {
            subtractMaximums(four);
        }
        exponential.write(MAX_QUERIES, fours.size());
        for (Four four : fours) {
            a.vmovups(four.passing(CORRECTION), four.correction());
        }
        for (Four four : fours) {
            exponential.write(four.first, four.count);
        }
        for (Four four : fours) {
            reduce(four, a::vaddps);
            a.vmovups(xmm(17), four.kept(TOTAL));
            a.vfmadd213ps(xmm(17), four.correction(), REDUCED);
            a.vmovups(four.kept(TOTAL), ownLanes(xmm(17), four));
        }
        for (Four four : fours) {
            if (quantized) {
                quantizeWeights(four);
            } else {
                for (int i = 0; i < four.count; i++) {
                    a.vmovups(at(WEIGHTS, (four.first + i) * WORD_BYTES), four.scores(i));
                }
            }
        }
    }

    /**
     * Updates the maximums of four queries and subtracts them from the scores. The register of the corrections gets the difference
     * of the maximums.
     */
    private void subtractMaximums(Four four) {
        // a NaN may be ignored in the maximum, but its exponential is NaN
        reduce(four, a::vmaxps);
        a.vmovups(four.correction(), four.kept(MAX));
        a.vmaxps(REDUCED, REDUCED, four.correction());
        // lanes behind the last query are never read in what is not masked
        a.vmovups(four.passing(TEMPORARY), REDUCED);
        a.vsubps(four.correction(), four.correction(), REDUCED);
        a.vmovups(four.kept(MAX), ownLanes(REDUCED, four));
        for (int i = 0; i < four.count; i++) {
            a.vsubps(four.scores(i), four.scores(i), four.passing(TEMPORARY, i).bcast());
        }
    }

    /**
     * Multiplies the weights of four queries by V's scales and quantises them. Four weights of a query are side by side, then those
     * of the next query: {@link #weight(int, int, int)}.
     */
    private void quantizeWeights(Four four) {
        for (int i = 0; i < four.count; i++) {
            Vec weights = four.scores(i);
            a.vmulps(
                    four.mask == null ? weights : weights.zero(four.mask), weights, at(four.tile, valueScalesOffset()));
        }
        reduce(four, a::vpmaxud); // as integers, weights have the order of floats, with NaN above all
        a.vcmpps(K2, REDUCED, number(Activations.SMALLEST).bcast(), NOT_LESS);
        a.vbroadcastss(xmm(17), number(127f));
        a.vdivps(xmm(18).zero(K2), xmm(17), REDUCED);
        a.vdivps(xmm(19).zero(K2), REDUCED, xmm(17));
        a.vmovups(four.passing(TEMPORARY), xmm(18));
        a.vmovups(four.passing(VALUE_SCALE), xmm(19));
        for (int i = 0; i < four.count; i++) {
            a.vmulps(four.scores(i), four.scores(i), four.passing(TEMPORARY, i).bcast());
            a.vcvtps2dq(four.scores(i), four.scores(i)); // to nearest even
        }
        a.vpackssdw(zmm(16), four.scores(0), four.scores(1));
        a.vpackssdw(zmm(17), four.scores(2), four.scores(3));
        a.vpacksswb(zmm(16), zmm(16), zmm(17));
        a.vmovups(at(WEIGHTS, INTEGER_WEIGHTS + four.slot * WORD_BYTES), zmm(16));
    }

    /** The weights of query b for four positions of a tile. */
    private Mem weight(int tile, int b, int positions) {
        return at(
                WEIGHTS,
                INTEGER_WEIGHTS + (tile + b / GROUP) * WORD_BYTES + positions * GROUP_BYTES + b % GROUP * Float.BYTES);
    }

    /** An instruction with three operands. */
    private interface Operation {
        void write(Vec to, Vec a, Vec b);
    }

    /**
     * Reduces 16 lanes of each of four queries to {@link #REDUCED}, where lane = query: lanes i and i + 8, then i and i + 4, 2, 1.
     */
    private void reduce(Four four, Operation operation) {
        Vec[] temp = {zmm(16), zmm(17), zmm(18), zmm(19)};
        a.vshuff32x4(temp[0], four.scores(0), four.scores(1), 0x44);
        a.vshuff32x4(temp[1], four.scores(0), four.scores(1), 0xEE);
        a.vshuff32x4(temp[2], four.scores(2), four.scores(3), 0x44);
        a.vshuff32x4(temp[3], four.scores(2), four.scores(3), 0xEE);
        operation.write(temp[0], temp[0], temp[1]);
        operation.write(temp[2], temp[2], temp[3]);
        a.vshuff32x4(temp[1], temp[0], temp[2], 0x88);
        a.vshuff32x4(temp[3], temp[0], temp[2], 0xDD);
        operation.write(temp[0], temp[1], temp[3]);
        a.vpshufd(temp[1], temp[0], 0x4E);
        operation.write(temp[0], temp[0], temp[1]);
        a.vpshufd(temp[1], temp[0], 0xB1);
        operation.write(temp[0], temp[0], temp[1]);
        a.vmovups(temp[1], Mem.rip(a.constant(FIRST_LANES, 64)));
        a.vpermd(temp[0], temp[1], temp[0]);
    }

    /** For storing the lanes that belong to queries. */
    private Vec ownLanes(Vec register, Four four) {
        return four.count == GROUP ? register : register.mask(K3);
    }

    /** Computes {@code cap − 2 cap / (exp(s × (2 / cap)) + 1)} of scores. */
    private void limitScores(ExponentialCode exponential, int first, int count) {
        for (int b = first; b < first + count; b++) {
            a.vmulps(zmm(b), zmm(b), number(2f / softCap).bcast());
        }
        exponential.write(first, count);
        a.vbroadcastss(zmm(16), number(2f * softCap));
        a.vbroadcastss(zmm(17), number(softCap));
        for (int b = first; b < first + count; b++) {
            a.vaddps(zmm(b), zmm(b), number(1f).bcast());
            a.vdivps(zmm(b), zmm(16), zmm(b));
            a.vsubps(zmm(b), zmm(17), zmm(b));
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
            load(word(w), value(w * LANES), word + w == words - 1);
        }
        for (int b = 0; b < queries; b++) {
            for (int w = 0; w < count; w++) {
                a.vfmadd231ps(zmm(b * 2 + w), word(w), weight(b).bcast());
            }
        }
    }

    @Override
    protected void addIntegers(int count, boolean two) {
        int tiles = two ? 2 : 1;
        for (int tile = 0; tile < tiles; tile++) {
            for (int b = 0; b < queries; b++) {
                for (int w = 0; w < count; w++) {
                    clear(integers(tile, b, w));
                }
            }
        }
        for (int four = 0; four < TILE / KvLayout.SIDE_BY_SIDE; four++) {
            for (int tile = 0; tile < tiles; tile++) {
                for (int w = 0; w < count; w++) {
                    a.vmovups(word(w), integerValue(tile, w, four));
                }
                for (int b = 0; b < queries; b++) {
                    a.vpbroadcastd(SCALE, weight(tile, b, four));
                    for (int w = 0; w < count; w++) {
                        a.vpdpbusd(integers(tile, b, w), SCALE, word(w));
                    }
                }
            }
        }
        for (int b = 0; b < queries; b++) {
            for (int w = 0; w < count; w++) {
                a.vmovups(word(w), integerSum(b, w));
            }
            for (int tile = 0; tile < tiles; tile++) {
                int at = tile * GROUP_BYTES + b * Float.BYTES;
                for (int w = 0; w < count; w++) {
                    Vec integers = integers(tile, b, w);
                    a.vmulps(word(w), word(w), at(STATS, CORRECTION + at).bcast());
                    a.vcvtdq2ps(integers, integers);
                    a.vfmadd231ps(word(w), integers, at(STATS, VALUE_SCALE + at).bcast());
                }
            }
            for (int w = 0; w < count; w++) {
                a.vmovups(integerSum(b, w), word(w));
            }
        }
    }

    /** The register for sums of integers. */
    private static Vec integers(int tile, int b, int w) {
        return zmm(tile * SECOND_SCORES + b * 2 + w);
    }

    private static Vec word(int w) {
        return w == 0 ? WORD_0 : WORD_1;
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
