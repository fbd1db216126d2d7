package quire.tensor.assembled.avx512;

import static quire.tensor.x86.Gp.RCX;
import static quire.tensor.x86.Gp.RDI;
import static quire.tensor.x86.Gp.RDX;
import static quire.tensor.x86.Gp.RSI;
import static quire.tensor.x86.Mask.K1;
import static quire.tensor.x86.Mask.K2;
import static quire.tensor.x86.Mem.at;
import static quire.tensor.x86.Vec.xmm;
import static quire.tensor.x86.Vec.ymm;
import static quire.tensor.x86.Vec.zmm;

import quire.tensor.Activations;
import quire.tensor.assembled.common.ActivationTile;
import quire.tensor.x86.Assembler;
import quire.tensor.x86.Gp;
import quire.tensor.x86.Label;
import quire.tensor.x86.MachineCode;
import quire.tensor.x86.Mem;
import quire.tensor.x86.Vec;

/**
 * Writes the function that quantises one row into its {@link ActivationTile}s, as {@link Activations} defines it, in
 * AVX-512. It also stores the sums that zero points and minimums need.
 */
final class Avx512QuantizeCode {
    private static final Gp X = RDI;
    private static final Gp QUANTS = RSI;
    private static final Gp NUMBERS = RDX;
    private static final Gp BLOCKS = RCX;

    private static final int NOT_LESS = 5; // vcmpps: not less than, or unordered; there is no NaN here
    private static final int ORDERED = 7;

    private static final Vec MAGNITUDE = zmm(16);
    private static final Vec PLUS_127 = zmm(17);
    private static final Vec MINUS_127 = zmm(18);
    private static final Vec LARGEST_FINITE = xmm(19);
    private static final Vec SMALLEST = xmm(20);
    private static final Vec ONES = ymm(21);
    private static final Vec ZERO = zmm(22);

    private final Assembler a = new Assembler();

    private Avx512QuantizeCode() {}

    static MachineCode assemble() {
        return new Avx512QuantizeCode().write();
    }

    private MachineCode write() {
        a.vpbroadcastd(MAGNITUDE, constant(0x7FFFFFFF));
        a.vpbroadcastd(PLUS_127, constant(Float.floatToRawIntBits(127f)));
        a.vpbroadcastd(MINUS_127, constant(Float.floatToRawIntBits(-127f)));
        a.vpbroadcastd(LARGEST_FINITE, constant(Float.floatToRawIntBits(Float.MAX_VALUE)));
        a.vpbroadcastd(SMALLEST, constant(Float.floatToRawIntBits(Activations.SMALLEST)));
        a.vpbroadcastd(ONES, constant(0x01010101));
        a.vpxord(ZERO, ZERO, ZERO);
        Label block = a.label();
        a.align(32);
        a.bind(block);
        largest();
        // xmm2 = largest magnitude → xmm3 = 127 / xmm2, xmm4 = xmm2 / 127, both 0 if it is too small
        a.vcmpps(K1, xmm(2), SMALLEST, NOT_LESS);
        a.vdivps(xmm(3).zero(K1), PLUS_127.xmm(), xmm(2));
        a.vdivps(xmm(4).zero(K1), xmm(2), PLUS_127.xmm());
        a.vbroadcastss(zmm(5), xmm(3));
        quants(zmm(0), xmm(6));
        quants(zmm(1), xmm(7));
        a.vmovdqu(at(QUANTS), xmm(6));
        a.vmovdqu(at(QUANTS, 16), xmm(7));
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

    private Mem constant(int value) {
        return Mem.rip(a.constant(new int[] {value}, 4));
    }

    /**
     * Loads x into zmm0 and zmm1 and its largest finite magnitude into xmm2. The order of a maximum does not matter.
     */
    private void largest() {
        a.vmovups(zmm(0), at(X));
        a.vmovups(zmm(1), at(X, 64));
        a.vpandd(zmm(2), zmm(0), MAGNITUDE);
        a.vpandd(zmm(3), zmm(1), MAGNITUDE);
        // the result is the second operand if the first is NaN
        a.vmaxps(zmm(2), zmm(2), ZERO);
        a.vmaxps(zmm(3), zmm(3), ZERO);
        a.vmaxps(zmm(2), zmm(2), zmm(3));
        a.vextracti64x4(ymm(3), zmm(2), 1);
        a.vmaxps(ymm(2), ymm(2), ymm(3));
        a.vextracti128(xmm(3), ymm(2), 1);
        a.vmaxps(xmm(2), xmm(2), xmm(3));
        a.vpshufd(xmm(3), xmm(2), 0x4E);
        a.vmaxps(xmm(2), xmm(2), xmm(3));
        a.vpshufd(xmm(3), xmm(2), 0xB1);
        a.vmaxps(xmm(2), xmm(2), xmm(3));
        a.vminps(xmm(2), xmm(2), LARGEST_FINITE);
    }

    private void quants(Vec x, Vec to) {
        a.vcmpps(K2, x, x, ORDERED);
        a.vmulps(x, x, zmm(5));
        a.vminps(x, x, PLUS_127);
        a.vmaxps(x, x, MINUS_127);
        a.vcvtps2dq(x.zero(K2), x); // to nearest even
        a.vpmovsdb(to, x);
    }

    private void sums() {
        a.vinserti128(ymm(6), ymm(6), xmm(7), 1);
        a.vpxor(ymm(8), ymm(8), ymm(8));
        a.vpdpbusd(ymm(8), ONES, ymm(6));
        a.vpshufd(ymm(9), ymm(8), 0x4E);
        a.vpaddd(ymm(8), ymm(8), ymm(9));
        a.vpshufd(ymm(9), ymm(8), 0xB1);
        a.vpaddd(ymm(8), ymm(8), ymm(9));
        a.vextracti128(xmm(9), ymm(8), 1);
        a.vpaddd(xmm(10), xmm(8), xmm(9));
        a.vcvtdq2ps(xmm(11), xmm(10));
        a.vmulps(xmm(11), xmm(4), xmm(11));
        store(ActivationTile.SCALE, xmm(4));
        store(ActivationTile.SCALED_SUM, xmm(11));
        store(ActivationTile.HALF_0, xmm(8));
        store(ActivationTile.HALF_1, xmm(9));
        storeNegative(ActivationTile.NEGATIVE_SUM, xmm(10));
        storeNegative(ActivationTile.NEGATIVE_HALF_0, xmm(8));
        storeNegative(ActivationTile.NEGATIVE_HALF_1, xmm(9));
    }

    private void storeNegative(int kind, Vec sum) {
        a.vpslld(xmm(12), sum, 3);
        a.vpsubd(xmm(12), ZERO.xmm(), xmm(12));
        store(kind, xmm(12));
    }

    private void store(int kind, Vec value) {
        a.vmovss(at(NUMBERS, ActivationTile.numberAt(kind, 0) - ActivationTile.numberAt(0, 0)), value);
    }
}
