package quire.tensor.assembled.avx2;

import static quire.tensor.x86.Gp.RSP;
import static quire.tensor.x86.Mem.at;
import static quire.tensor.x86.Vec.xmm;
import static quire.tensor.x86.Vec.ymm;

import java.util.Arrays;
import java.util.function.IntUnaryOperator;
import quire.tensor.Activations;
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
 *
 *   int8:
 *   ymm12        half of K                                       V
 *   ymm13        its magnitudes                                  p in all lanes
 *   ymm14        products                                        products
 *   ymm15        ones                                            ones
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
    // Of int8.
    private static final Vec PRODUCTS = ymm(14);
    private static final Vec ONES = ymm(15);

    private static final int NOT_LESS = 5; // vcmpps: not less than, or unordered
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
        if (quantized) {
            a.vmovdqu(ONES, constant(lane -> 0x00010001));
        }
        for (int i = 0; i < 2 * queries; i++) {
            clear(ymm(i));
        }
    }

    @Override
    protected void addKey(int first, Mem key, int step) {
        if (quantized) {
            addIntegerKeys(key, step);
            return;
        }
        load(KV[0], key);
        load(KV[1], key.plus(LANES * layout.type().bytes()));
        for (int b = 0; b < queries; b++) {
            a.vbroadcastss(FACTOR, query(b, step));
            a.vfmadd231ps(register(b, 0), KV[0], FACTOR);
            a.vfmadd231ps(register(b, 1), KV[1], FACTOR);
        }
    }

    /**
     * Multiplies the magnitudes of K by q with K's signs, because one factor has to be unsigned. Two products are at most 2 × 127²,
     * so 16 bits hold them.
     */
    private void addIntegerKeys(Mem key, int step) {
        Vec keys = ymm(12);
        Vec magnitudes = ymm(13);
        for (int half = 0; half < 2; half++) {
            a.vmovdqu(keys, key.plus(half * REGISTER_BYTES));
            a.vpabsb(magnitudes, keys);
            for (int b = 0; b < queries; b++) {
                a.vpbroadcastd(PRODUCTS, query(b, step));
                a.vpsignb(PRODUCTS, PRODUCTS, keys);
                a.vpmaddubsw(PRODUCTS, magnitudes, PRODUCTS);
                a.vpmaddwd(PRODUCTS, PRODUCTS, ONES);
                a.vpaddd(register(b, half), register(b, half), PRODUCTS);
            }
        }
    }

    /** Loads eight numbers of a page as f32. */
    private void load(Vec to, Mem from) {
        if (layout.type() == KvLayout.KvType.F16) {
            a.vcvtph2ps(to, from);
        } else {
            a.vmovups(to, from);
        }
    }

    /**
     * Computes the corrections before the weights, because the sums need them first. The exponentials hide the delay.
     */
    @Override
    protected void weigh(ExponentialCode exponential, boolean two) {
        scaleScores();
        subtractMaximums();
        exponential.loadConstants();
        correct(exponential);
        for (int first = 0; first < 2 * queries; first += ExponentialCode.MAX_REGISTERS) {
            int count = Math.min(ExponentialCode.MAX_REGISTERS, 2 * queries - first);
            for (int i = 0; i < count; i++) {
                a.vmovups(ymm(i), at(WEIGHTS, (first + i) * REGISTER_BYTES));
            }
            exponential.write(0, count);
            for (int i = 0; i < count; i += 2) {
                int b = (first + i) / 2;
                addTotal(b, ymm(i), ymm(i + 1));
                if (quantized) {
                    quantizeWeights(b, ymm(i), ymm(i + 1));
                } else {
                    a.vmovups(at(WEIGHTS, b * WORD_BYTES), ymm(i));
                    a.vmovups(at(WEIGHTS, b * WORD_BYTES + REGISTER_BYTES), ymm(i + 1));
                }
            }
        }
    }

    /** An instruction with three operands. */
    private interface Operation {
        void write(Vec to, Vec a, Vec b);
    }

    /** Reduces 16 lanes to those of xmm4, which are equal then: lanes i and i + 8, then i and i + 4, 2, 1. */
    private void reduce(Vec low, Vec high, Operation operation) {
        Vec all = ymm(4);
        Vec to = xmm(4);
        Vec temp = xmm(5);
        operation.write(all, low, high);
        a.vextracti128(temp, all, 1);
        operation.write(to, to, temp);
        a.vpshufd(temp, to, 0x4E);
        operation.write(to, to, temp);
        a.vpshufd(temp, to, 0xB1);
        operation.write(to, to, temp);
    }

    /** Corrects the total of query b and adds its weights. */
    private void addTotal(int b, Vec low, Vec high) {
        reduce(low, high, a::vaddps);
        a.vmovss(xmm(5), at(STATS, TOTAL + b * Float.BYTES));
        a.vmovss(xmm(6), at(STATS, CORRECTION + b * Float.BYTES));
        a.vfmadd213ps(xmm(5), xmm(6), xmm(4));
        a.vmovss(at(STATS, TOTAL + b * Float.BYTES), xmm(5));
    }

    /** Multiplies the weights of query b by V's scales and quantises them; see {@link #weight(int, int)}. */
    private void quantizeWeights(int b, Vec low, Vec high) {
        Vec[] halves = {low, high};
        for (int half = 0; half < 2; half++) {
            a.vmulps(halves[half], halves[half], at(HERE, valueScalesOffset() + half * REGISTER_BYTES));
            a.vandps(halves[half], halves[half], at(WEIGHTS, WEIGHTS_WORD + half * REGISTER_BYTES));
        }
        reduce(low, high, a::vpmaxud); // as integers, weights have the order of floats, with NaN above all
        Vec largest = xmm(4);
        Vec isEnough = xmm(5);
        Vec most = xmm(6);
        Vec inverse = xmm(7);
        a.vcmpps(isEnough, largest, number(Activations.SMALLEST), NOT_LESS);
        a.vmovups(most, number(127f));
        a.vdivps(inverse, most, largest);
        a.vandps(inverse, inverse, isEnough);
        a.vdivps(largest, largest, most);
        a.vandps(largest, largest, isEnough);
        a.vmovss(at(STATS, VALUE_SCALE + b * Float.BYTES), largest);
        a.vbroadcastss(ymm(7), inverse);
        for (Vec half : halves) {
            a.vmulps(half, half, ymm(7));
            a.vcvtps2dq(half, half); // to nearest even
        }
        a.vpackssdw(low, low, high);
        a.vpacksswb(low, low, low);
        a.vextracti128(xmm(4), low, 1);
        a.vmovq(at(WEIGHTS, INTEGER_WEIGHTS + b * TILE), low);
        a.vmovq(at(WEIGHTS, INTEGER_WEIGHTS + b * TILE + Long.BYTES), xmm(4));
    }

    /** The weights of query b for four positions. Narrowing has left these in the order 0, 2, 1, 3. */
    private static Mem weight(int b, int four) {
        return at(WEIGHTS, INTEGER_WEIGHTS + b * TILE + four % 2 * Long.BYTES + four / 2 * Integer.BYTES);
    }

    /** Multiplies the scores by the scale; positions that are not seen get −∞. */
    private void scaleScores() {
        Vec factor = ymm(12);
        for (int b = 0; b < queries; b++) {
            if (quantized || b == 0) {
                a.vbroadcastss(factor, quantized ? queryRecord(b, QUERY_SCALE) : SCALE);
            }
            for (int half = 0; half < 2; half++) {
                Vec scores = register(b, half);
                if (quantized) {
                    a.vcvtdq2ps(scores, scores);
                }
                a.vmulps(scores, scores, factor);
                if (quantized) {
                    a.vmulps(scores, scores, at(HERE, half * REGISTER_BYTES));
                }
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
            if (quantized) {
                a.vpsrad(seen[half], seen[half], 31);
                a.vmovups(at(WEIGHTS, WEIGHTS_WORD + half * REGISTER_BYTES), seen[half]);
            }
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
     * Computes corrections and new maximums. Maximums after those of the queries belong to other queries and do not change.
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
    protected void addIntegers(int count, boolean two) {
        Vec values = ymm(12);
        Vec weights = ymm(13);
        a.vmovdqu(ONES, constant(lane -> 0x00010001));
        for (int b = 0; b < queries; b++) {
            for (int w = 0; w < count; w++) {
                clear(register(b, w));
            }
        }
        for (int four = 0; four < TILE / KvLayout.SIDE_BY_SIDE; four++) {
            for (int w = 0; w < count; w++) {
                a.vmovdqu(values, integerValue(0, w, four));
                for (int b = 0; b < queries; b++) {
                    a.vpbroadcastd(weights, weight(b, four));
                    a.vpmaddubsw(PRODUCTS, weights, values);
                    a.vpmaddwd(PRODUCTS, PRODUCTS, ONES);
                    a.vpaddd(register(b, w), register(b, w), PRODUCTS);
                }
            }
        }
        for (int b = 0; b < queries; b++) {
            a.vbroadcastss(ymm(12), at(STATS, CORRECTION + b * Float.BYTES));
            a.vbroadcastss(ymm(13), at(STATS, VALUE_SCALE + b * Float.BYTES));
            for (int w = 0; w < count; w++) {
                a.vcvtdq2ps(register(b, w), register(b, w));
                a.vmulps(PRODUCTS, ymm(12), integerSum(b, w));
                a.vfmadd231ps(PRODUCTS, register(b, w), ymm(13));
                a.vmovups(integerSum(b, w), PRODUCTS);
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
