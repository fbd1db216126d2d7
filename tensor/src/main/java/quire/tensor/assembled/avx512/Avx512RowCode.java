package quire.tensor.assembled.avx512;

import static quire.tensor.x86.Gp.R10;
import static quire.tensor.x86.Gp.RAX;
import static quire.tensor.x86.Gp.RDI;
import static quire.tensor.x86.Gp.RDX;
import static quire.tensor.x86.Gp.RSI;
import static quire.tensor.x86.Mask.K1;
import static quire.tensor.x86.Mask.K2;
import static quire.tensor.x86.Mem.at;
import static quire.tensor.x86.Vec.xmm;
import static quire.tensor.x86.Vec.ymm;
import static quire.tensor.x86.Vec.zmm;

import quire.tensor.Activation;
import quire.tensor.assembled.common.ExponentialCode;
import quire.tensor.assembled.common.RowCode;
import quire.tensor.x86.Gp;
import quire.tensor.x86.Mem;
import quire.tensor.x86.Vec;

/** {@link RowCode} in AVX-512. A word is one register. */
final class Avx512RowCode extends RowCode {
    private static final int ODD_LANES = 0xAAAA;
    private static final Vec SIGN = zmm(28);
    private static final Vec ONE = zmm(29);
    private static final Vec CUBE = zmm(30);
    private static final Vec LINEAR = zmm(31);
    // Of the clamped SiLU, in place of those of GELU.
    private static final Vec HIGHEST = zmm(30);
    private static final Vec FACTOR = zmm(31);
    private static final Vec LOWEST = zmm(3);
    /** Of the exact GELU, the polynomial's first coefficient, in place of the signs of others. */
    private static final Vec TAIL = zmm(28);
    /** All bits but the sign. */
    private static final Vec MAGNITUDE = zmm(31);

    private static Vec load(int register, boolean isLast) {
        return isLast ? zmm(register).zero(K1) : zmm(register);
    }

    private static Vec store(int register, boolean isLast) {
        return isLast ? zmm(register).mask(K1) : zmm(register);
    }

    @Override
    protected void maskLast(Gp lanes) {
        a.kmovw(K1, lanes);
    }

    @Override
    protected void clearSquares() {
        a.vpxord(zmm(2), zmm(2), zmm(2));
    }

    @Override
    protected void addSquares(boolean isLast) {
        a.vmovups(load(3, isLast), at(RAX));
        a.vfmadd231ps(store(2, isLast), zmm(3), zmm(3));
    }

    @Override
    protected void foldSquares() {
        a.vextracti64x4(ymm(3), zmm(2), 1);
        a.vaddps(ymm(2), ymm(2), ymm(3));
    }

    @Override
    protected void spreadScale() {
        a.vbroadcastss(zmm(2), xmm(2));
    }

    @Override
    protected void normalize(boolean isLast) {
        a.vmovups(load(3, isLast), at(RDI));
        a.vmulps(zmm(3), zmm(3), zmm(2));
        a.vmulps(load(3, isLast), zmm(3), at(RSI));
        a.vmovups(at(RDX), store(3, isLast));
    }

    @Override
    protected void beginAdd() {
        a.vbroadcastss(zmm(2), xmm(0));
    }

    @Override
    protected void addWord(boolean isLast) {
        a.vmovups(load(0, isLast), at(RSI));
        a.vmovups(load(1, isLast), at(RDI));
        a.vfmadd231ps(zmm(0), zmm(1), zmm(2));
        a.vmovups(at(RSI), store(0, isLast));
    }

    @Override
    protected ExponentialCode beginActivate(Activation activation) {
        ExponentialCode exponential = ExponentialCode.avx512(a);
        a.vpbroadcastd(SIGN, constant(0x80000000));
        a.vbroadcastss(ONE, constant(Float.floatToRawIntBits(1f)));
        if (activation == Activation.GELU) {
            a.vbroadcastss(CUBE, constant(Float.floatToRawIntBits(Activation.GELU_CUBE)));
            a.vbroadcastss(LINEAR, constant(Float.floatToRawIntBits(Activation.GELU_LINEAR)));
        } else if (activation == Activation.EXACT_GELU) {
            a.vbroadcastss(TAIL, constant(Float.floatToRawIntBits(Activation.erfTail(0))));
            a.vbroadcastss(HIGHEST, constant(Float.floatToRawIntBits(Activation.ERF_HIGHEST)));
            a.vpbroadcastd(MAGNITUDE, constant(Integer.MAX_VALUE));
        } else if (activation == Activation.CLAMPED_SILU) {
            a.vbroadcastss(HIGHEST, constant(Float.floatToRawIntBits(Activation.CLAMP)));
            a.vbroadcastss(LOWEST, constant(Float.floatToRawIntBits(-Activation.CLAMP)));
            a.vbroadcastss(FACTOR, constant(Float.floatToRawIntBits(Activation.CLAMPED_FACTOR)));
        }
        return exponential;
    }

    @Override
    protected void activate(Activation activation, ExponentialCode exponential, boolean isLast) {
        a.vmovups(load(1, isLast), at(RDI));
        if (activation == Activation.SQUARED_RELU) {
            a.vpxord(zmm(0), zmm(0), zmm(0));
            a.vmaxps(zmm(0), zmm(0), zmm(1)); // a NaN stays
            a.vmulps(zmm(0), zmm(0), zmm(0));
            a.vmulps(load(0, isLast), zmm(0), at(RSI));
            a.vmovups(at(RDX), store(0, isLast));
            return;
        }
        if (activation == Activation.EXACT_GELU) {
            exactGelu(exponential);
            a.vmulps(load(0, isLast), zmm(0), at(RSI));
            a.vmovups(at(RDX), store(0, isLast));
            return;
        }
        if (activation == Activation.GELU) {
            a.vmulps(zmm(0), zmm(1), zmm(1));
            a.vfmadd213ps(zmm(0), CUBE, LINEAR);
            a.vmulps(zmm(0), zmm(0), zmm(1));
        } else if (activation == Activation.CLAMPED_SILU) {
            a.vminps(zmm(1), HIGHEST, zmm(1)); // a NaN stays
            a.vmulps(zmm(0), zmm(1), FACTOR);
        } else {
            a.vpxord(zmm(0), zmm(1), SIGN);
        }
        exponential.write(0, 1);
        a.vaddps(zmm(0), zmm(0), ONE);
        if (activation == Activation.SIGMOID) {
            a.vmovups(load(1, isLast), at(RSI));
        }
        a.vdivps(zmm(0), zmm(1), zmm(0));
        if (activation == Activation.CLAMPED_SILU) {
            a.vmovups(load(2, isLast), at(RSI));
            a.vminps(zmm(2), HIGHEST, zmm(2));
            a.vmaxps(zmm(2), LOWEST, zmm(2));
            a.vaddps(zmm(2), zmm(2), ONE);
            a.vmulps(zmm(0), zmm(0), zmm(2));
        } else if (activation != Activation.SIGMOID) {
            a.vmulps(load(0, isLast), zmm(0), at(RSI));
        }
        a.vmovups(at(RDX), store(0, isLast));
    }

    /** Replaces register 1 by its exact GELU in register 0. */
    private void exactGelu(ExponentialCode exponential) {
        a.vpandd(zmm(2), zmm(1), MAGNITUDE);
        a.vminps(zmm(2), HIGHEST, zmm(2)); // a NaN stays
        a.vmulps(zmm(0), zmm(2), zmm(2));
        a.vmulps(zmm(0), zmm(0), inAllLanes(-0.5f));
        exponential.write(0, 1);
        a.vmovups(zmm(3), ONE);
        a.vfmadd231ps(zmm(3), zmm(2), inAllLanes(Activation.ERF_STEP));
        a.vdivps(zmm(3), ONE, zmm(3));
        a.vmovups(zmm(4), TAIL);
        for (int i = 1; i < Activation.erfTails(); i++) {
            a.vfmadd213ps(zmm(4), zmm(3), inAllLanes(Activation.erfTail(i)));
        }
        a.vmulps(zmm(4), zmm(4), zmm(3));
        a.vmulps(zmm(0), zmm(4), zmm(0));
        a.vpxord(zmm(4), zmm(4), zmm(4));
        a.vmaxps(zmm(4), zmm(1), zmm(4)); // +0 for -0 and for a NaN
        a.vfmadd213ps(zmm(0), zmm(2), zmm(4));
    }

    private Mem inAllLanes(float value) {
        return constant(Float.floatToRawIntBits(value)).bcast();
    }

    @Override
    protected void beginRotate() {
        a.mov(RAX, ODD_LANES);
        a.kmovw(K2, RAX);
    }

    /**
     * Computes both numbers of every pair together:
     *
     * <pre>
     *   x        a            b            x[i], y its partner
     *   even     fma(x, cos, −(y × sin))
     *   odd                   fma(y, sin, x × cos)
     * </pre>
     */
    @Override
    protected void rotate(boolean isLast) {
        a.vmovups(load(0, isLast), at(RAX));
        a.vmovups(load(1, isLast), at(R10));
        a.vpermilps(zmm(2), zmm(1), 0xA0); // cosines
        a.vpermilps(zmm(3), zmm(1), 0xF5); // sines
        a.vpermilps(zmm(4), zmm(0), 0xB1); // partners
        a.vmulps(zmm(5), zmm(4), zmm(3));
        a.vfmsub231ps(zmm(5), zmm(0), zmm(2));
        a.vmulps(zmm(6), zmm(0), zmm(2));
        a.vfmadd231ps(zmm(6), zmm(4), zmm(3));
        a.vblendmps(zmm(5).mask(K2), zmm(5), zmm(6));
        a.vmovups(at(RAX), store(5, isLast));
    }
}
