package quire.tensor.assembled.avx2;

import static quire.tensor.x86.Gp.RCX;
import static quire.tensor.x86.Gp.RDI;
import static quire.tensor.x86.Gp.RDX;
import static quire.tensor.x86.Gp.RSI;
import static quire.tensor.x86.Mem.at;
import static quire.tensor.x86.Vec.xmm;
import static quire.tensor.x86.Vec.ymm;

import java.util.Arrays;
import quire.tensor.Activations;
import quire.tensor.assembled.common.ActivationTile;
import quire.tensor.assembled.common.KernelWriter;
import quire.tensor.x86.Assembler;
import quire.tensor.x86.Gp;
import quire.tensor.x86.Label;
import quire.tensor.x86.MachineCode;
import quire.tensor.x86.Mem;
import quire.tensor.x86.Vec;

/**
 * Writes the function that quantises one row, in AVX2. Arguments and results equal those of {@code Avx512QuantizeCode}.
 */
final class Avx2QuantizeCode {
    private static final Gp X = RDI;
    private static final Gp QUANTS = RSI;
    private static final Gp NUMBERS = RDX;
    private static final Gp BLOCKS = RCX;

    private static final int NOT_LESS = 5; // vcmpps: not less than, or unordered; there is no NaN here
    private static final int ORDERED = 7;
    private static final int LANES = 8;
    private static final int VECTORS = Activations.BLOCK / LANES;

    // ymm0..3: x, then quants
    private static final Vec LARGEST = ymm(4);
    private static final Vec TEMP = ymm(5);
    private static final Vec INVERSE = ymm(6);
    private static final Vec SCALE = xmm(7);
    private static final Vec SUMS = ymm(8);
    private static final Vec NUMBER = xmm(9);
    private static final Vec ZERO = ymm(10);

    private final Assembler a = new Assembler();
    private final Mem magnitude = inAllLanes(0x7FFFFFFF);
    private final Mem plus127 = inAllLanes(Float.floatToRawIntBits(127f));
    private final Mem minus127 = inAllLanes(Float.floatToRawIntBits(-127f));
    private final Mem largestFinite = inAllLanes(Float.floatToRawIntBits(Float.MAX_VALUE));
    private final Mem smallest = inAllLanes(Float.floatToRawIntBits(Activations.SMALLEST));
    private final Mem ones8 = inAllLanes(0x01010101);
    private final Mem ones16 = inAllLanes(0x00010001);
    private final Mem low16 = inAllLanes(0x0000FFFF);

    private Avx2QuantizeCode() {}

    /** Its arguments are those of {@link KernelWriter#quantize}. */
    static MachineCode assemble() {
        return new Avx2QuantizeCode().write();
    }

    private Mem inAllLanes(int value) {
        int[] lanes = new int[LANES];
        Arrays.fill(lanes, value);
        return Mem.rip(a.constant(lanes, 32));
    }

    private MachineCode write() {
        a.vpxor(ZERO, ZERO, ZERO);
        Label block = a.label();
        a.align(32);
        a.bind(block);
        largest();
        // 127 / largest magnitude and largest magnitude / 127, both 0 if it is too small
        a.vcmpps(TEMP.xmm(), LARGEST.xmm(), smallest, NOT_LESS);
        a.vmovups(INVERSE.xmm(), plus127);
        a.vdivps(INVERSE.xmm(), INVERSE.xmm(), LARGEST.xmm());
        a.vandps(INVERSE.xmm(), INVERSE.xmm(), TEMP.xmm());
        a.vdivps(SCALE, LARGEST.xmm(), plus127);
        a.vandps(SCALE, SCALE, TEMP.xmm());
        a.vbroadcastss(INVERSE, INVERSE.xmm());
        for (int i = 0; i < VECTORS; i++) {
            Vec x = ymm(i);
            a.vcmpps(TEMP, x, x, ORDERED);
            a.vmulps(x, x, INVERSE);
            a.vminps(x, x, plus127);
            a.vmaxps(x, x, minus127);
            a.vcvtps2dq(x, x); // to nearest even
            a.vpand(x, x, TEMP); // NaN becomes 0
        }
        // packing works within 128 bits, so lanes 0 and 4 have inputs 0 to 7
        a.vpackssdw(ymm(0), ymm(0), ymm(1));
        a.vpackssdw(ymm(2), ymm(2), ymm(3));
        a.vpacksswb(ymm(0), ymm(0), ymm(2));
        a.vmovdqu(TEMP, Mem.rip(a.constant(new int[] {0, 4, 1, 5, 2, 6, 3, 7}, 32)));
        a.vpermd(ymm(0), TEMP, ymm(0));
        a.vmovdqu(at(QUANTS), ymm(0));
        sums();
        a.add(X, Activations.BLOCK * Float.BYTES);
        a.add(QUANTS, ActivationTile.BLOCK_BYTES);
        a.add(NUMBERS, ActivationTile.BLOCK_BYTES);
        a.dec(BLOCKS);
        a.jnz(block);
        a.vzeroupper();
        a.ret();
        return a.finish();
    }

    /** The largest finite magnitude. The order of a maximum does not matter. */
    private void largest() {
        for (int i = 0; i < VECTORS; i++) {
            a.vmovups(ymm(i), at(X, i * LANES * Float.BYTES));
            Vec to = i == 0 ? LARGEST : TEMP;
            a.vpand(to, ymm(i), magnitude);
            // the result is the second operand if the first is NaN
            a.vmaxps(to, to, ZERO);
            if (i > 0) {
                a.vmaxps(LARGEST, LARGEST, TEMP);
            }
        }
        Vec largest = LARGEST.xmm();
        Vec temp = TEMP.xmm();
        a.vextracti128(temp, LARGEST, 1);
        a.vmaxps(largest, largest, temp);
        a.vpshufd(temp, largest, 0x4E);
        a.vmaxps(largest, largest, temp);
        a.vpshufd(temp, largest, 0xB1);
        a.vmaxps(largest, largest, temp);
        a.vminps(largest, largest, largestFinite);
    }

    /** Computes and stores the sums of the quants in ymm0. */
    private void sums() {
        a.vmovdqu(TEMP, ones8);
        a.vpmaddubsw(SUMS, TEMP, ymm(0));
        a.vpmaddwd(SUMS, SUMS, ones16);
        a.vpshufd(TEMP, SUMS, 0x4E);
        a.vpaddd(SUMS, SUMS, TEMP);
        a.vpshufd(TEMP, SUMS, 0xB1);
        a.vpaddd(SUMS, SUMS, TEMP);
        Vec half0 = SUMS.xmm();
        Vec half1 = xmm(1);
        Vec whole = xmm(2);
        a.vextracti128(half1, SUMS, 1);
        a.vpaddd(whole, half0, half1);
        a.vcvtdq2ps(NUMBER, whole);
        a.vmulps(NUMBER, SCALE, NUMBER);
        store(ActivationTile.SCALE, SCALE);
        store(ActivationTile.SCALED_SUM, NUMBER);
        a.vpslld(NUMBER, whole, 3);
        a.vpsubd(NUMBER, ZERO.xmm(), NUMBER);
        store(ActivationTile.NEGATIVE_SUM, NUMBER);
        // both fit 16 bits: at most 16 × 127
        a.vpslld(half1, half1, 16);
        a.vpand(half0, half0, low16);
        a.vpor(half0, half0, half1);
        store(ActivationTile.HALF_SUMS, half0);
    }

    private void store(int kind, Vec value) {
        a.vmovss(at(NUMBERS, ActivationTile.numberAt(kind, 0) - ActivationTile.numberAt(0, 0)), value);
    }
}
