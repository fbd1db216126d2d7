package quire.tensor.vector;

import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;
import quire.tensor.scalar.FloatMath;

/** The vector shape of this machine, and the conversions that the vector kernels share. */
public final class Lanes {
    /** The preferred shape of this machine, as floats, ints and shorts. */
    static final VectorSpecies<Float> F = FloatVector.SPECIES_PREFERRED;

    static final VectorShape SHAPE = F.vectorShape();
    static final VectorSpecies<Integer> I = VectorSpecies.of(int.class, SHAPE);
    static final VectorSpecies<Short> S = VectorSpecies.of(short.class, SHAPE);

    /** Floats in a register: 4, 8 or 16. */
    public static final int LANES = F.length();

    static final ByteOrder ORDER = ByteOrder.nativeOrder();

    private static final float HALF_SCALE = 0x1p112f;

    private Lanes() {}

    /** Converts the f16 in the low 16 bits of each lane to f32, exactly for every value. */
    static FloatVector lowHalves(IntVector v) {
        return highHalves(v.lanewise(VectorOperators.LSHL, 16));
    }

    /**
     * Converts the f16 in the high 16 bits of each lane to f32, exactly for every value. Exponent and fraction are
     * shifted to their positions in f32. The exponent is then 112 too small, and a multiplication corrects it, also for
     * denormals. An exponent of all ones stays all ones.
     */
    static FloatVector highHalves(IntVector v) {
        IntVector moved = v.lanewise(VectorOperators.ASHR, 3).and(0x8fffe000);
        FloatVector finite = moved.reinterpretAsFloats().mul(HALF_SCALE);
        VectorMask<Integer> special = moved.and(0x0f800000).compare(VectorOperators.EQ, 0x0f800000);
        return finite.reinterpretAsInts()
                .lanewise(VectorOperators.OR, 0x7f800000, special)
                .reinterpretAsFloats();
    }

    static FloatVector toFloat(IntVector v) {
        return (FloatVector) v.convertShape(VectorOperators.I2F, F, 0);
    }

    /** The sum of the two int16 of each 32-bit lane. */
    static IntVector addPairs(ShortVector v) {
        IntVector pairs = v.reinterpretAsInts();
        return pairs.lanewise(VectorOperators.LSHL, 16)
                .lanewise(VectorOperators.ASHR, 16)
                .add(pairs.lanewise(VectorOperators.ASHR, 16));
    }

    /** {@link FloatMath#softCap} of each lane, with the same bits. */
    static FloatVector softCap(FloatVector x, float cap) {
        FloatVector quotient =
                FloatVector.broadcast(F, 2f * cap).div(exp(x.mul(2f / cap)).add(1f));
        return FloatVector.broadcast(F, cap).sub(quotient);
    }

    /** {@link FloatMath#exp} of each lane, with the same bits. */
    static FloatVector exp(FloatVector x) {
        FloatVector z = x.blend(FloatMath.EXP_LOWEST, x.compare(VectorOperators.LT, FloatMath.EXP_LOWEST));
        z = z.blend(FloatMath.EXP_HIGHEST, z.compare(VectorOperators.GT, FloatMath.EXP_HIGHEST));
        FloatVector shifted =
                z.fma(FloatVector.broadcast(F, FloatMath.INVERSE_LN2), FloatVector.broadcast(F, FloatMath.ROUNDER));
        FloatVector n = shifted.sub(FloatMath.ROUNDER);
        FloatVector r = n.fma(FloatVector.broadcast(F, -FloatMath.LN2_HIGH), z);
        r = n.fma(FloatVector.broadcast(F, -FloatMath.LN2_LOW), r);
        FloatVector p = r.fma(FloatVector.broadcast(F, FloatMath.C7), FloatVector.broadcast(F, FloatMath.C6));
        p = p.fma(r, FloatVector.broadcast(F, FloatMath.C5));
        p = p.fma(r, FloatVector.broadcast(F, FloatMath.C4));
        p = p.fma(r, FloatVector.broadcast(F, FloatMath.C3));
        p = p.fma(r, FloatVector.broadcast(F, FloatMath.C2));
        p = p.fma(r, FloatVector.broadcast(F, 1f));
        p = p.fma(r, FloatVector.broadcast(F, 1f));
        IntVector whole = shifted.reinterpretAsInts().sub(Float.floatToRawIntBits(FloatMath.ROUNDER));
        IntVector half = whole.lanewise(VectorOperators.ASHR, 1);
        IntVector power1 = half.add(127).lanewise(VectorOperators.LSHL, 23);
        IntVector power2 = whole.sub(half).add(127).lanewise(VectorOperators.LSHL, 23);
        return p.mul(power1.reinterpretAsFloats()).mul(power2.reinterpretAsFloats());
    }
}
