package quire.tensor;

import static quire.tensor.x86.Vec.zmm;

import quire.tensor.x86.Assembler;
import quire.tensor.x86.Mem;
import quire.tensor.x86.Vec;

/**
 * Writes {@link FloatMath#exp} for AVX-512, lane by lane the same bits. Several registers are taken at a time, step by
 * step, so that one's waiting is another's work.
 */
final class ExponentialCode {
    /** Registers that one {@link #write} takes at most. */
    static final int MOST = 4;

    // kept for the life of a function
    private static final Vec LOWEST = zmm(24);
    private static final Vec HIGHEST = zmm(25);
    private static final Vec ROUNDER = zmm(26);
    private static final Vec C7 = zmm(27);
    /** The first of 2 × {@link #MOST} registers that are overwritten. */
    private static final int TEMPS = 16;

    private final Assembler a;

    /** Writes the loading of constants to registers 24 to 27, which must stay. */
    ExponentialCode(Assembler a) {
        this.a = a;
        a.vbroadcastss(LOWEST, constant(FloatMath.EXP_LOWEST));
        a.vbroadcastss(HIGHEST, constant(FloatMath.EXP_HIGHEST));
        a.vbroadcastss(ROUNDER, constant(FloatMath.ROUNDER));
        a.vbroadcastss(C7, constant(FloatMath.C7));
    }

    private Mem constant(float value) {
        return Mem.rip(a.constant(new float[] {value}, 4));
    }

    /**
     * Registers {@code [first, first + count)}, all below 16, become their exponentials; 16 to 23 are overwritten. Multiplying
     * by 2ⁿ rounds once, in one step as in two halves.
     *
     * @param count at most {@link #MOST}
     */
    void write(int first, int count) {
        for (int i = 0; i < count; i++) {
            a.vmaxps(zmm(first + i), LOWEST, zmm(first + i)); // the second operand is the result when it is NaN
        }
        for (int i = 0; i < count; i++) {
            a.vminps(zmm(first + i), HIGHEST, zmm(first + i));
            a.vmovups(whole(i), ROUNDER);
        }
        for (int i = 0; i < count; i++) {
            a.vfmadd231ps(
                    whole(i), zmm(first + i), constant(FloatMath.INVERSE_LN2).bcast());
            a.vmovups(sum(i), C7);
        }
        for (int i = 0; i < count; i++) {
            a.vsubps(whole(i), whole(i), ROUNDER);
        }
        for (int i = 0; i < count; i++) {
            a.vfmadd231ps(
                    zmm(first + i), whole(i), constant(-FloatMath.LN2_HIGH).bcast());
        }
        for (int i = 0; i < count; i++) {
            a.vfmadd231ps(zmm(first + i), whole(i), constant(-FloatMath.LN2_LOW).bcast());
        }
        float[] coefficients = {FloatMath.C6, FloatMath.C5, FloatMath.C4, FloatMath.C3, FloatMath.C2, 1f, 1f};
        for (float coefficient : coefficients) {
            for (int i = 0; i < count; i++) {
                a.vfmadd213ps(sum(i), zmm(first + i), constant(coefficient).bcast());
            }
        }
        for (int i = 0; i < count; i++) {
            a.vscalefps(zmm(first + i), sum(i), whole(i));
        }
    }

    private static Vec whole(int i) {
        return zmm(TEMPS + 2 * i);
    }

    private static Vec sum(int i) {
        return zmm(TEMPS + 2 * i + 1);
    }
}
