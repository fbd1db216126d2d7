package quire.tensor.assembled.avx2;

import static quire.tensor.x86.Gp.R10;
import static quire.tensor.x86.Gp.RAX;
import static quire.tensor.x86.Gp.RDI;
import static quire.tensor.x86.Gp.RDX;
import static quire.tensor.x86.Gp.RSI;
import static quire.tensor.x86.Mem.at;
import static quire.tensor.x86.Vec.xmm;
import static quire.tensor.x86.Vec.ymm;

import java.util.Arrays;
import quire.tensor.Activation;
import quire.tensor.assembled.common.ExponentialCode;
import quire.tensor.assembled.common.RowCode;
import quire.tensor.x86.Gp;
import quire.tensor.x86.Mem;
import quire.tensor.x86.Vec;

/** {@link RowCode} in AVX2. A word is two halves of 8 lanes, one after the other. */
final class Avx2RowCode extends RowCode {
    private static final int LANES = 8;
    private static final int HALF_BYTES = LANES * Float.BYTES;
    /** Masks of the last word's halves, as sign bits. No function uses these registers for anything else. */
    private static final Vec[] SIGNS = {ymm(10), ymm(11)};

    private static final Vec[] SQUARES = {ymm(2), ymm(4)};

    private Mem inAllLanes(int bits) {
        int[] lanes = new int[LANES];
        Arrays.fill(lanes, bits);
        return Mem.rip(a.constant(lanes, 32));
    }

    private void load(Vec to, Gp from, int half, boolean isLast) {
        Mem place = at(from, half * HALF_BYTES);
        if (isLast) {
            a.vmaskmovps(to, SIGNS[half], place);
        } else {
            a.vmovups(to, place);
        }
    }

    private void store(Gp to, Vec from, int half, boolean isLast) {
        Mem place = at(to, half * HALF_BYTES);
        if (isLast) {
            a.vmaskmovps(place, SIGNS[half], from);
        } else {
            a.vmovups(place, from);
        }
    }

    @Override
    protected void maskLast(Gp lanes) {
        a.vmovd(SIGNS[0].xmm(), lanes);
        a.vpbroadcastd(SIGNS[0], SIGNS[0].xmm());
        for (int half = 1; half >= 0; half--) {
            // moves each lane's bit to its sign bit
            int highest = 31 - half * LANES;
            int[] shifts = new int[LANES];
            Arrays.setAll(shifts, lane -> highest - lane);
            a.vpsllvd(SIGNS[half], SIGNS[0], Mem.rip(a.constant(shifts, 32)));
        }
    }

    @Override
    protected void clearSquares() {
        for (Vec squares : SQUARES) {
            a.vpxor(squares, squares, squares);
        }
    }

    @Override
    protected void addSquares(boolean isLast) {
        for (int half = 0; half < 2; half++) {
            load(ymm(3), RAX, half, isLast);
            a.vfmadd231ps(SQUARES[half], ymm(3), ymm(3));
        }
    }

    @Override
    protected void foldSquares() {
        a.vaddps(ymm(2), SQUARES[0], SQUARES[1]);
    }

    @Override
    protected void spreadScale() {
        a.vbroadcastss(ymm(2), xmm(2));
    }

    @Override
    protected void normalize(boolean isLast) {
        for (int half = 0; half < 2; half++) {
            load(ymm(3), RDI, half, isLast);
            load(ymm(4), RSI, half, isLast);
            a.vmulps(ymm(3), ymm(3), ymm(2));
            a.vmulps(ymm(3), ymm(3), ymm(4));
            store(RDX, ymm(3), half, isLast);
        }
    }

    @Override
    protected void beginAdd() {
        a.vbroadcastss(ymm(2), xmm(0));
    }

    @Override
    protected void addWord(boolean isLast) {
        for (int half = 0; half < 2; half++) {
            load(ymm(0), RSI, half, isLast);
            load(ymm(1), RDI, half, isLast);
            a.vfmadd231ps(ymm(0), ymm(1), ymm(2));
            store(RSI, ymm(0), half, isLast);
        }
    }

    @Override
    protected ExponentialCode beginActivate(Activation activation) {
        ExponentialCode exponential = ExponentialCode.avx2(a);
        exponential.loadConstants();
        return exponential;
    }

    /** Computes the exponentials of both halves together. They do not change registers 2, 3 and 8 to 11. */
    @Override
    protected void activate(Activation activation, ExponentialCode exponential, boolean isLast) {
        if (activation == Activation.SQUARED_RELU) {
            for (int half = 0; half < 2; half++) {
                load(ymm(2), RDI, half, isLast);
                load(ymm(3), RSI, half, isLast);
                a.vxorps(ymm(0), ymm(0), ymm(0));
                a.vmaxps(ymm(0), ymm(0), ymm(2)); // a NaN stays
                a.vmulps(ymm(0), ymm(0), ymm(0));
                a.vmulps(ymm(0), ymm(0), ymm(3));
                store(RDX, ymm(0), half, isLast);
            }
            return;
        }
        if (activation == Activation.EXACT_GELU) {
            exactGelu(exponential, isLast);
            return;
        }
        for (int half = 0; half < 2; half++) {
            load(ymm(2 + half), RDI, half, isLast);
            if (activation == Activation.GELU) {
                a.vmovups(ymm(8), inAllLanes(Float.floatToRawIntBits(Activation.GELU_CUBE)));
                a.vmulps(ymm(half), ymm(2 + half), ymm(2 + half));
                a.vfmadd213ps(ymm(half), ymm(8), inAllLanes(Float.floatToRawIntBits(Activation.GELU_LINEAR)));
                a.vmulps(ymm(half), ymm(half), ymm(2 + half));
            } else if (activation == Activation.CLAMPED_SILU) {
                a.vmovups(ymm(8), inAllLanes(Float.floatToRawIntBits(Activation.CLAMP)));
                a.vminps(ymm(2 + half), ymm(8), ymm(2 + half)); // a NaN stays
                a.vmulps(ymm(half), ymm(2 + half), inAllLanes(Float.floatToRawIntBits(Activation.CLAMPED_FACTOR)));
            } else {
                a.vxorps(ymm(half), ymm(2 + half), inAllLanes(0x80000000));
            }
        }
        exponential.write(0, 2);
        for (int half = 0; half < 2; half++) {
            load(ymm(8), RSI, half, isLast);
            if (activation == Activation.CLAMPED_SILU) {
                a.vmovups(ymm(9), inAllLanes(Float.floatToRawIntBits(Activation.CLAMP)));
                a.vminps(ymm(8), ymm(9), ymm(8));
                a.vmovups(ymm(9), inAllLanes(Float.floatToRawIntBits(-Activation.CLAMP)));
                a.vmaxps(ymm(8), ymm(9), ymm(8));
                a.vaddps(ymm(8), ymm(8), inAllLanes(Float.floatToRawIntBits(1f)));
            }
            a.vaddps(ymm(half), ymm(half), inAllLanes(Float.floatToRawIntBits(1f)));
            if (activation == Activation.SIGMOID) {
                a.vdivps(ymm(half), ymm(8), ymm(half));
            } else {
                a.vdivps(ymm(half), ymm(2 + half), ymm(half));
                a.vmulps(ymm(half), ymm(half), ymm(8));
            }
            store(RDX, ymm(half), half, isLast);
        }
    }

    /** The same, where registers 8 and 9 hold the magnitudes meanwhile. */
    private void exactGelu(ExponentialCode exponential, boolean isLast) {
        for (int half = 0; half < 2; half++) {
            load(ymm(2 + half), RDI, half, isLast);
            a.vandps(ymm(8 + half), ymm(2 + half), inAllLanes(Integer.MAX_VALUE));
            a.vmovups(ymm(half), inAllLanes(Float.floatToRawIntBits(Activation.ERF_HIGHEST)));
            a.vminps(ymm(8 + half), ymm(half), ymm(8 + half)); // a NaN stays
            a.vmulps(ymm(half), ymm(8 + half), ymm(8 + half));
            a.vmulps(ymm(half), ymm(half), inAllLanes(Float.floatToRawIntBits(-0.5f)));
        }
        exponential.write(0, 2);
        for (int half = 0; half < 2; half++) {
            a.vmovups(ymm(5), inAllLanes(Float.floatToRawIntBits(1f)));
            a.vmovups(ymm(4), ymm(5));
            a.vfmadd231ps(ymm(4), ymm(8 + half), inAllLanes(Float.floatToRawIntBits(Activation.ERF_STEP)));
            a.vdivps(ymm(4), ymm(5), ymm(4));
            a.vmovups(ymm(5), inAllLanes(Float.floatToRawIntBits(Activation.erfTail(0))));
            for (int i = 1; i < Activation.erfTails(); i++) {
                a.vfmadd213ps(ymm(5), ymm(4), inAllLanes(Float.floatToRawIntBits(Activation.erfTail(i))));
            }
            a.vmulps(ymm(5), ymm(5), ymm(4));
            a.vmulps(ymm(half), ymm(5), ymm(half));
            a.vxorps(ymm(5), ymm(5), ymm(5));
            a.vmaxps(ymm(5), ymm(2 + half), ymm(5)); // +0 for -0 and for a NaN
            a.vfmadd213ps(ymm(half), ymm(8 + half), ymm(5));
            load(ymm(5), RSI, half, isLast);
            a.vmulps(ymm(half), ymm(half), ymm(5));
            store(RDX, ymm(half), half, isLast);
        }
    }

    @Override
    protected void beginRotate() {}

    /**
     * Computes both numbers of every pair together:
     *
     * <pre>
     *   lanes           even                     odd
     *   ymm0, ymm1      a, b                     a, b
     *   ymm2, ymm3      cos, sin                 sin, cos
     *                   fma(a, cos, −(b × sin))  fma(a, sin, b × cos)
     * </pre>
     */
    @Override
    protected void rotate(boolean isLast) {
        for (int half = 0; half < 2; half++) {
            load(ymm(1), RAX, half, isLast);
            load(ymm(2), R10, half, isLast);
            a.vpermilps(ymm(0), ymm(1), 0xA0);
            a.vpermilps(ymm(1), ymm(1), 0xF5);
            a.vpermilps(ymm(3), ymm(2), 0xB1);
            a.vmulps(ymm(1), ymm(1), ymm(3));
            a.vfmaddsub213ps(ymm(0), ymm(2), ymm(1));
            store(RAX, ymm(0), half, isLast);
        }
    }
}
