package quire.tensor;

import static quire.tensor.x86.Gp.R10;
import static quire.tensor.x86.Gp.R11;
import static quire.tensor.x86.Gp.R8;
import static quire.tensor.x86.Gp.R9;
import static quire.tensor.x86.Gp.RAX;
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

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.ValueLayout;
import quire.tensor.x86.Assembler;
import quire.tensor.x86.Gp;
import quire.tensor.x86.Label;
import quire.tensor.x86.Mem;
import quire.tensor.x86.Vec;

/**
 * Writes the AVX-512 code of what is done to one row at a time, in the formulas of {@link Kernels}. A row is some whole
 * words of 16 floats and a last one of which a mask says what belongs to it.
 */
final class RowCode {
    /** {@code (x, weight, y, whole words, lanes of the last, columns, epsilon)}. */
    static final FunctionDescriptor RMS_NORM = FunctionDescriptor.ofVoid(
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_FLOAT,
            ValueLayout.JAVA_FLOAT);

    /** {@code (x, y, whole words, lanes of the last)}. */
    static final FunctionDescriptor ADD = FunctionDescriptor.ofVoid(
            ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG);

    /** {@code (gate, up, out, whole words, lanes of the last)}. */
    static final FunctionDescriptor SWIGLU = FunctionDescriptor.ofVoid(
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG);

    /** {@code (x, cosines and sines, heads, bytes of a head, whole words, lanes of the last)}. */
    static final FunctionDescriptor ROPE = FunctionDescriptor.ofVoid(
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG);

    private static final int WORD_BYTES = 64;
    private static final int ODD_LANES = 0xAAAA;

    private final Assembler a = new Assembler();

    private RowCode() {}

    /** One word of a row; the mask is that of the register in the last one, where lanes past it load as 0. */
    private interface Word {
        void write(boolean isLast);
    }

    private Vec load(int register, boolean isLast) {
        return isLast ? zmm(register).zero(K1) : zmm(register);
    }

    private Vec store(int register, boolean isLast) {
        return isLast ? zmm(register).mask(K1) : zmm(register);
    }

    private Mem constant(int bits) {
        return Mem.rip(a.constant(new int[] {bits}, 4));
    }

    /** All words of a row: {@code count} is used up, {@code pointers} move; needs the last lanes in {@code lanes}. */
    private void words(Gp count, Gp lanes, Word word, Gp... pointers) {
        Label next = a.label();
        Label last = a.label();
        Label end = a.label();
        a.kmovw(K1, lanes);
        a.test(count, count);
        a.jz(last);
        a.align(16);
        a.bind(next);
        word.write(false);
        for (Gp pointer : pointers) {
            a.add(pointer, WORD_BYTES);
        }
        a.dec(count);
        a.jnz(next);
        a.bind(last);
        a.test(lanes, lanes);
        a.jz(end);
        word.write(true);
        a.bind(end);
    }

    private byte[] end() {
        a.vzeroupper();
        a.ret();
        return a.finish();
    }

    static byte[] rmsNorm() {
        RowCode code = new RowCode();
        Assembler a = code.a;
        a.mov(RAX, RDI);
        a.mov(R9, RCX);
        a.vpxord(zmm(2), zmm(2), zmm(2));
        code.words(
                R9,
                R8,
                isLast -> {
                    a.vmovups(code.load(3, isLast), at(RAX));
                    a.vfmadd231ps(code.store(2, isLast), zmm(3), zmm(3));
                },
                RAX);
        a.vextracti64x4(ymm(3), zmm(2), 1);
        a.vaddps(ymm(2), ymm(2), ymm(3));
        a.vextracti128(xmm(3), ymm(2), 1);
        a.vaddps(xmm(2), xmm(2), xmm(3));
        a.vpshufd(xmm(3), xmm(2), 0x4E);
        a.vaddps(xmm(2), xmm(2), xmm(3));
        a.vpshufd(xmm(3), xmm(2), 0xB1);
        a.vaddps(xmm(2), xmm(2), xmm(3));
        a.vdivps(xmm(2), xmm(2), xmm(0));
        a.vaddps(xmm(2), xmm(2), xmm(1));
        a.vsqrtps(xmm(2), xmm(2));
        a.vbroadcastss(xmm(3), code.constant(Float.floatToRawIntBits(1f)));
        a.vdivps(xmm(2), xmm(3), xmm(2));
        a.vbroadcastss(zmm(2), xmm(2));
        code.words(
                RCX,
                R8,
                isLast -> {
                    a.vmovups(code.load(3, isLast), at(RDI));
                    a.vmulps(zmm(3), zmm(3), zmm(2));
                    a.vmulps(code.load(3, isLast), zmm(3), at(RSI));
                    a.vmovups(at(RDX), code.store(3, isLast));
                },
                RDI,
                RSI,
                RDX);
        return code.end();
    }

    static byte[] add() {
        RowCode code = new RowCode();
        Assembler a = code.a;
        code.words(
                RDX,
                RCX,
                isLast -> {
                    a.vmovups(code.load(0, isLast), at(RSI));
                    a.vaddps(code.load(0, isLast), zmm(0), at(RDI));
                    a.vmovups(at(RSI), code.store(0, isLast));
                },
                RDI,
                RSI);
        return code.end();
    }

    static byte[] swiglu() {
        RowCode code = new RowCode();
        Assembler a = code.a;
        ExponentialCode exponential = new ExponentialCode(a);
        a.vpbroadcastd(zmm(28), code.constant(0x80000000));
        a.vbroadcastss(zmm(29), code.constant(Float.floatToRawIntBits(1f)));
        code.words(
                RCX,
                R8,
                isLast -> {
                    a.vmovups(code.load(1, isLast), at(RDI));
                    a.vpxord(zmm(0), zmm(1), zmm(28));
                    exponential.write(0, 1);
                    a.vaddps(zmm(0), zmm(0), zmm(29));
                    a.vdivps(zmm(0), zmm(1), zmm(0));
                    a.vmulps(code.load(0, isLast), zmm(0), at(RSI));
                    a.vmovups(at(RDX), code.store(0, isLast));
                },
                RDI,
                RSI,
                RDX);
        return code.end();
    }

    /**
     * Both numbers of every pair at once:
     *
     * <pre>
     *   x        a            b            x[i], y its neighbour
     *   even     fma(x, cos, −(y × sin))
     *   odd                   fma(y, sin, x × cos)
     * </pre>
     */
    static byte[] rope() {
        RowCode code = new RowCode();
        Assembler a = code.a;
        a.mov(RAX, ODD_LANES);
        a.kmovw(K2, RAX);
        Label head = a.label();
        a.bind(head);
        a.mov(RAX, RDI);
        a.mov(R10, RSI);
        a.mov(R11, R8);
        code.words(
                R11,
                R9,
                isLast -> {
                    a.vmovups(code.load(0, isLast), at(RAX));
                    a.vmovups(code.load(1, isLast), at(R10));
                    a.vpermilps(zmm(2), zmm(1), 0xA0); // cosines
                    a.vpermilps(zmm(3), zmm(1), 0xF5); // sines
                    a.vpermilps(zmm(4), zmm(0), 0xB1); // neighbours
                    a.vmulps(zmm(5), zmm(4), zmm(3));
                    a.vfmsub231ps(zmm(5), zmm(0), zmm(2));
                    a.vmulps(zmm(6), zmm(0), zmm(2));
                    a.vfmadd231ps(zmm(6), zmm(4), zmm(3));
                    a.vblendmps(zmm(5).mask(K2), zmm(5), zmm(6));
                    a.vmovups(at(RAX), code.store(5, isLast));
                },
                RAX,
                R10);
        a.add(RDI, RCX);
        a.dec(RDX);
        a.jnz(head);
        return code.end();
    }
}
