package quire.tensor.assembled.common;

import java.util.Arrays;
import quire.tensor.scalar.FloatMath;
import quire.tensor.x86.Assembler;
import quire.tensor.x86.Mem;
import quire.tensor.x86.Vec;

/**
 * Writes {@link FloatMath#exp} for AVX-512 or AVX2, with the same bits in each lane. Each step is written for several
 * registers, so that the processor computes one while another waits.
 *
 * <pre>
 *             x      overwritten   constants
 *   AVX-512   0-15   16-23         24-27       kept for the whole function
 *   AVX2      0-3     4-11         12-15       loaded again after other code has used them
 * </pre>
 */
public final class ExponentialCode {
    /** Maximum number of registers of one {@link #write}. */
    public static final int MAX_REGISTERS = 4;

    private static final int AVX2_LANES = 8;
    /** Twice the bias of an f32 exponent. After this is added to n, two halves of the sum are biased exponents. */
    private static final int TWO_BIASES = 2 * 127;

    private final Assembler a;
    private final int bits;
    /** Index of the first of 2 × {@link #MAX_REGISTERS} registers that are overwritten. */
    private final int temps;

    private final Vec lowest;
    private final Vec highest;
    private final Vec rounder;
    private final Vec c7;

    private ExponentialCode(Assembler a, int bits, int temps) {
        this.a = a;
        this.bits = bits;
        this.temps = temps;
        int constants = temps + 2 * MAX_REGISTERS;
        lowest = vec(constants);
        highest = vec(constants + 1);
        rounder = vec(constants + 2);
        c7 = vec(constants + 3);
    }

    /** For 512-bit registers. Loads constants into registers 24 to 27, which must not be changed. */
    public static ExponentialCode avx512(Assembler a) {
        ExponentialCode code = new ExponentialCode(a, 512, 16);
        code.loadConstants();
        return code;
    }

    /** For 256-bit registers. {@link #loadConstants} must be called before {@link #write}. */
    public static ExponentialCode avx2(Assembler a) {
        return new ExponentialCode(a, 256, 4);
    }

    /** Loads the constants that are kept in registers. */
    public void loadConstants() {
        a.vbroadcastss(lowest, single(FloatMath.EXP_LOWEST));
        a.vbroadcastss(highest, single(FloatMath.EXP_HIGHEST));
        a.vbroadcastss(rounder, single(FloatMath.ROUNDER));
        a.vbroadcastss(c7, single(FloatMath.C7));
    }

    /**
     * Replaces registers {@code [first, first + count)} by their exponentials. AVX-512 multiplies by 2ⁿ in one step
     * and AVX2 in two; both round the product once.
     *
     * @param count at most {@link #MAX_REGISTERS}
     */
    public void write(int first, int count) {
        for (int i = 0; i < count; i++) {
            a.vmaxps(
                    vec(first + i),
                    lowest,
                    vec(first + i)); // a NaN stays, because the result is the second operand then
        }
        for (int i = 0; i < count; i++) {
            a.vminps(vec(first + i), highest, vec(first + i));
            a.vmovups(whole(i), rounder);
        }
        for (int i = 0; i < count; i++) {
            a.vfmadd231ps(whole(i), vec(first + i), inAllLanes(FloatMath.INVERSE_LN2));
            a.vmovups(sum(i), c7);
        }
        for (int i = 0; i < count; i++) {
            a.vsubps(whole(i), whole(i), rounder);
        }
        for (int i = 0; i < count; i++) {
            a.vfmadd231ps(vec(first + i), whole(i), inAllLanes(-FloatMath.LN2_HIGH));
        }
        for (int i = 0; i < count; i++) {
            a.vfmadd231ps(vec(first + i), whole(i), inAllLanes(-FloatMath.LN2_LOW));
        }
        float[] coefficients = {FloatMath.C6, FloatMath.C5, FloatMath.C4, FloatMath.C3, FloatMath.C2, 1f, 1f};
        for (float coefficient : coefficients) {
            for (int i = 0; i < count; i++) {
                a.vfmadd213ps(sum(i), vec(first + i), inAllLanes(coefficient));
            }
        }
        for (int i = 0; i < count; i++) {
            scale(vec(first + i), sum(i), whole(i));
        }
    }

    /** Computes {@code to = sum × 2^whole}; overwrites whole. */
    private void scale(Vec to, Vec sum, Vec whole) {
        if (bits == 512) {
            a.vscalefps(to, sum, whole);
            return;
        }
        a.vcvtps2dq(whole, whole);
        a.vpaddd(whole, whole, bitsInAllLanes(TWO_BIASES));
        a.vpsrad(to, whole, 1);
        a.vpsubd(whole, whole, to);
        a.vpslld(to, to, 23);
        a.vpslld(whole, whole, 23);
        a.vmulps(to, sum, to);
        a.vmulps(to, to, whole);
    }

    private Mem single(float value) {
        return Mem.rip(a.constant(new float[] {value}, 4));
    }

    private Mem inAllLanes(float value) {
        return bits == 512 ? single(value).bcast() : bitsInAllLanes(Float.floatToRawIntBits(value));
    }

    private Mem bitsInAllLanes(int value) {
        int[] lanes = new int[AVX2_LANES];
        Arrays.fill(lanes, value);
        return Mem.rip(a.constant(lanes, 32));
    }

    private Vec vec(int index) {
        return bits == 512 ? Vec.zmm(index) : Vec.ymm(index);
    }

    private Vec whole(int i) {
        return vec(temps + 2 * i);
    }

    private Vec sum(int i) {
        return vec(temps + 2 * i + 1);
    }
}
