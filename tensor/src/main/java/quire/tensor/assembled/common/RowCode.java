package quire.tensor.assembled.common;

import static quire.tensor.x86.Gp.R10;
import static quire.tensor.x86.Gp.R11;
import static quire.tensor.x86.Gp.R8;
import static quire.tensor.x86.Gp.R9;
import static quire.tensor.x86.Gp.RAX;
import static quire.tensor.x86.Gp.RCX;
import static quire.tensor.x86.Gp.RDI;
import static quire.tensor.x86.Gp.RDX;
import static quire.tensor.x86.Gp.RSI;
import static quire.tensor.x86.Gp.RSP;
import static quire.tensor.x86.Mem.at;
import static quire.tensor.x86.Vec.xmm;
import static quire.tensor.x86.Vec.ymm;

import quire.tensor.Activation;
import quire.tensor.Kernels;
import quire.tensor.x86.Assembler;
import quire.tensor.x86.Gp;
import quire.tensor.x86.Label;
import quire.tensor.x86.MachineCode;
import quire.tensor.x86.Mem;

/**
 * Writes functions that work on one row at a time, with the formulas of {@link Kernels}. A row is some whole words of
 * 16 floats and a last word with a mask of its lanes. The instruction sets differ in how they compute a word: in one
 * register of AVX-512 or in two of AVX2. An object writes one function.
 */
public abstract class RowCode {
    private static final int WORD_BYTES = 64;

    /** Receives the code. */
    protected final Assembler a = new Assembler();

    /** Writes the code of one word. In the last word, lanes after the row load as 0 and are not stored. */
    interface Word {
        void write(boolean isLast);
    }

    /** Creates the mask of the last word from the bits of {@code lanes}. */
    protected abstract void maskLast(Gp lanes);

    /** Loads the constants of {@link #activate}. */
    protected abstract ExponentialCode beginActivate(Activation activation);

    /** Loads the constants of {@link #rotate}. */
    protected abstract void beginRotate();

    /** Sets the sixteen partial sums to 0. */
    protected abstract void clearSquares();

    /** Adds the squares of the word at rax to the partial sums. */
    protected abstract void addSquares(boolean isLast);

    /** Adds the upper eight partial sums to the lower eight; the result is in ymm2. */
    protected abstract void foldSquares();

    /** Makes the first lane of register 2 the factor of {@link #normalize}. */
    protected abstract void spreadScale();

    /** Computes {@code [rdx] = [rdi] × scale × [rsi]}. */
    protected abstract void normalize(boolean isLast);

    /** Spreads the factor in xmm0 to all lanes for {@link #addWord}. */
    protected abstract void beginAdd();

    /** Computes {@code [rsi] = fma(factor, [rdi], [rsi])}. */
    protected abstract void addWord(boolean isLast);

    /** Computes {@code [rdx] = activation([rdi]) × [rsi]}, as {@link Activation} defines it. */
    protected abstract void activate(Activation activation, ExponentialCode exponential, boolean isLast);

    /** Rotates the pairs at rax by the cosines and sines at r10. */
    protected abstract void rotate(boolean isLast);

    /** A constant of 32 bits. */
    protected final Mem constant(int bits) {
        return Mem.rip(a.constant(new int[] {bits}, 4));
    }

    /**
     * Writes a loop over {@code count} whole words, and the last word with its {@code lanes}. It changes {@code count}
     * and advances {@code pointers}.
     */
    private void words(Gp count, Gp lanes, Word word, Gp... pointers) {
        Label next = a.label();
        Label last = a.label();
        Label end = a.label();
        maskLast(lanes);
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

    private MachineCode end() {
        a.vzeroupper();
        a.ret();
        return a.finish();
    }

    /** The function {@code (x, weight, y, whole words, lanes of the last word, columns, epsilon)}; the last two are floats. */
    public final MachineCode rmsNorm() {
        a.vmovd(xmm(0), R9);
        a.vmovss(xmm(1), at(RSP, Long.BYTES));
        a.mov(RAX, RDI);
        a.mov(R9, RCX);
        clearSquares();
        words(R9, R8, this::addSquares, RAX);
        foldSquares();
        a.vextracti128(xmm(3), ymm(2), 1);
        a.vaddps(xmm(2), xmm(2), xmm(3));
        a.vpshufd(xmm(3), xmm(2), 0x4E);
        a.vaddps(xmm(2), xmm(2), xmm(3));
        a.vpshufd(xmm(3), xmm(2), 0xB1);
        a.vaddps(xmm(2), xmm(2), xmm(3));
        a.vdivps(xmm(2), xmm(2), xmm(0));
        a.vaddps(xmm(2), xmm(2), xmm(1));
        a.vsqrtps(xmm(2), xmm(2));
        a.vbroadcastss(xmm(3), constant(Float.floatToRawIntBits(1f)));
        a.vdivps(xmm(2), xmm(3), xmm(2));
        spreadScale();
        words(RCX, R8, this::normalize, RDI, RSI, RDX);
        return end();
    }

    /** The function {@code (x, y, whole words, lanes of the last word, factor)}; the factor is a float. */
    public final MachineCode add() {
        a.vmovd(xmm(0), R8);
        beginAdd();
        words(RDX, RCX, this::addWord, RDI, RSI);
        return end();
    }

    /** The function {@code (gate, up, out, whole words, lanes of the last word)}. */
    public final MachineCode activate(Activation activation) {
        ExponentialCode exponential = beginActivate(activation);
        words(RCX, R8, isLast -> activate(activation, exponential, isLast), RDI, RSI, RDX);
        return end();
    }

    /** The function {@code (x, cosines and sines, heads, bytes of a head, whole words, lanes of the last word)}. */
    public final MachineCode rope() {
        beginRotate();
        Label head = a.label();
        a.bind(head);
        a.mov(RAX, RDI);
        a.mov(R10, RSI);
        a.mov(R11, R8);
        words(R11, R9, this::rotate, RAX, R10);
        a.add(RDI, RCX);
        a.dec(RDX);
        a.jnz(head);
        return end();
    }
}
