package quire.tensor.assembled.avx512;

import static quire.tensor.x86.Gp.R10;
import static quire.tensor.x86.Gp.R11;
import static quire.tensor.x86.Gp.R12;
import static quire.tensor.x86.Gp.R13;
import static quire.tensor.x86.Gp.R8;
import static quire.tensor.x86.Gp.R9;
import static quire.tensor.x86.Gp.RAX;
import static quire.tensor.x86.Gp.RBP;
import static quire.tensor.x86.Gp.RBX;
import static quire.tensor.x86.Gp.RCX;
import static quire.tensor.x86.Gp.RDI;
import static quire.tensor.x86.Gp.RDX;
import static quire.tensor.x86.Gp.RSI;
import static quire.tensor.x86.Gp.RSP;
import static quire.tensor.x86.Mask.K1;
import static quire.tensor.x86.Mem.at;
import static quire.tensor.x86.Vec.zmm;

import quire.tensor.ElementType;
import quire.tensor.assembled.common.KernelWriter;
import quire.tensor.assembled.common.WeightPrefetch;
import quire.tensor.packing.PackedForm;
import quire.tensor.x86.Assembler;
import quire.tensor.x86.Gp;
import quire.tensor.x86.Label;
import quire.tensor.x86.MachineCode;
import quire.tensor.x86.Mem;
import quire.tensor.x86.Vec;

/**
 * Writes a product with float weights in AVX-512: panels of 16 outputs, {@code [panel][k][16]} numbers in the file's
 * type, times {@code n} row-major rows: {@code y[t] = fma(w[k], x[t][k], y[t])} for k ascending.
 */
final class Avx512FloatMatrixCode {
    private static final int UNROLL = 8;
    private static final Gp WORDS = RDI;
    private static final Gp X_STRIDE = RSI;
    private static final Gp X = RDX;
    private static final Gp Y = RCX;
    private static final Gp Y_STRIDE = R8;
    private static final Gp COLUMNS = R9;
    private static final Gp PANELS = R10;
    private static final Gp LAST_LANES = R11;
    private static final Gp COUNT = RBX;
    /** Pointers to rows 0, 3, 6 and 9; the next two rows of each are one and two strides away. */
    private static final Gp[] X_ROWS = {RAX, RBP, R12, R13};

    private static final Vec WORD = zmm(24);

    private final Assembler a = new Assembler();
    private final ElementType type;
    private final int n;

    private Avx512FloatMatrixCode(ElementType type, int n) {
        this.type = type;
        this.n = n;
    }

    /** Its arguments are those of {@link KernelWriter#product}. */
    static MachineCode assemble(ElementType type, int n) {
        return new Avx512FloatMatrixCode(type, n).assemble();
    }

    private MachineCode assemble() {
        a.push(RBX);
        a.push(RBP);
        a.push(R12);
        a.push(R13);
        int stackArguments = 8 + 4 * 8;
        a.mov(PANELS, at(RSP, stackArguments));
        a.mov(LAST_LANES, at(RSP, stackArguments + 8));
        a.mov(RAX, 0xFFFF);
        a.kmovw(K1, RAX);
        Label panel = a.label();
        Label whole = a.label();
        a.bind(panel);
        a.cmp(PANELS, 1);
        a.jnz(whole);
        a.kmovw(K1, LAST_LANES);
        a.bind(whole);
        for (int t = 0; t < n; t++) {
            a.vpxord(y(t), y(t), y(t));
        }
        a.mov(X_ROWS[0], X);
        for (int i = 1; i * 3 < n; i++) {
            a.lea(X_ROWS[i], at(X_ROWS[i - 1], X_STRIDE, 2));
            a.add(X_ROWS[i], X_STRIDE);
        }
        a.mov(COUNT, COLUMNS);
        Label many = a.label();
        Label few = a.label();
        Label done = a.label();
        a.bind(many);
        a.cmp(COUNT, UNROLL);
        a.jl(few);
        step(UNROLL);
        a.jmp(many);
        a.bind(few);
        a.cmp(COUNT, 0);
        a.jz(done);
        step(1);
        a.jmp(few);
        a.bind(done);
        a.mov(COUNT, Y);
        for (int t = 0; t < n; t++) {
            a.vmovups(at(COUNT), y(t).mask(K1));
            if (t + 1 < n) {
                a.add(COUNT, Y_STRIDE);
            }
        }
        a.add(Y, PackedForm.WORD_BYTES);
        a.dec(PANELS);
        a.jnz(panel);
        a.pop(R13);
        a.pop(R12);
        a.pop(RBP);
        a.pop(RBX);
        a.vzeroupper();
        a.ret();
        return a.finish();
    }

    private void step(int inputs) {
        int wordBytes = PackedForm.PANEL * type.blockBytes();
        WeightPrefetch.words(a, WORDS, inputs * wordBytes, n);
        for (int i = 0; i < inputs; i++) {
            Mem word = at(WORDS, i * wordBytes);
            switch (type) {
                case F32 -> a.vmovups(WORD, word);
                case F16 -> a.vcvtph2ps(WORD, word);
                default -> {
                    a.vpmovzxwd(WORD, word);
                    a.vpslld(WORD, WORD, 16);
                }
            }
            for (int t = 0; t < n; t++) {
                a.vfmadd231ps(y(t), WORD, x(t, 4 * i).bcast());
            }
        }
        a.add(WORDS, inputs * wordBytes);
        for (int i = 0; i * 3 < n; i++) {
            a.add(X_ROWS[i], inputs * Float.BYTES);
        }
        a.sub(COUNT, inputs);
    }

    private Mem x(int t, int byteOffset) {
        Gp base = X_ROWS[t / 3];
        return t % 3 == 0 ? at(base, byteOffset) : at(base, X_STRIDE, t % 3, byteOffset);
    }

    private static Vec y(int t) {
        return zmm(t);
    }
}
