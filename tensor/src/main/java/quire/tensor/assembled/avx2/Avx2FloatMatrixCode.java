package quire.tensor.assembled.avx2;

import static quire.tensor.x86.Gp.R10;
import static quire.tensor.x86.Gp.R11;
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
import static quire.tensor.x86.Mem.at;
import static quire.tensor.x86.Vec.ymm;

import java.util.Arrays;
import quire.tensor.ElementType;
import quire.tensor.assembled.common.WeightPrefetch;
import quire.tensor.packing.PackedForm;
import quire.tensor.x86.Assembler;
import quire.tensor.x86.Gp;
import quire.tensor.x86.Label;
import quire.tensor.x86.MachineCode;
import quire.tensor.x86.Mem;
import quire.tensor.x86.Vec;

/**
 * Writes a product with float weights in AVX2. Arguments, layout and results equal those of {@code
 * Avx512FloatMatrixCode}. A panel of 16 outputs is two registers.
 *
 * <pre>
 *   ymm0..11   y [row][half]      ymm12, 13   16 weights      ymm14   one input in all lanes
 * </pre>
 */
final class Avx2FloatMatrixCode {
    /** Maximum number of rows of activations of one call. */
    static final int MAX_ROWS = 6;

    private static final int UNROLL = 8;
    private static final int LANES = 8;
    private static final int HALF_BYTES = LANES * Float.BYTES;
    private static final Gp WORDS = RDI;
    private static final Gp X_STRIDE = RSI;
    private static final Gp X = RDX;
    private static final Gp Y = RCX;
    private static final Gp Y_STRIDE = R8;
    private static final Gp COLUMNS = R9;
    private static final Gp PANELS = R10;
    private static final Gp LAST_LANES = R11;
    private static final Gp COUNT = RBX;
    /** Pointers to rows 0 and 3; the next two rows of each are one and two strides away. */
    private static final Gp[] X_ROWS = {RAX, RBP};

    private static final Vec INPUT = ymm(14);
    private static final Vec[] SIGNS = {ymm(12), ymm(13)};

    private final Assembler a = new Assembler();
    private final ElementType type;
    private final int n;

    private Avx2FloatMatrixCode(ElementType type, int n) {
        this.type = type;
        this.n = n;
    }

    /** Its arguments are those of {@code KernelWriter.product}. */
    static MachineCode assemble(ElementType type, int n) {
        return new Avx2FloatMatrixCode(type, n).assemble();
    }

    private MachineCode assemble() {
        a.push(RBX);
        a.push(RBP);
        int stackArguments = 8 + 2 * 8;
        a.mov(PANELS, at(RSP, stackArguments));
        a.mov(LAST_LANES, at(RSP, stackArguments + 8));
        Label panel = a.label();
        Label many = a.label();
        Label few = a.label();
        Label done = a.label();
        a.bind(panel);
        for (int i = 0; i < 2 * n; i++) {
            a.vpxor(ymm(i), ymm(i), ymm(i));
        }
        a.mov(X_ROWS[0], X);
        if (n > 3) {
            a.lea(X_ROWS[1], at(X_ROWS[0], X_STRIDE, 2));
            a.add(X_ROWS[1], X_STRIDE);
        }
        a.mov(COUNT, COLUMNS);
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
        store();
        a.add(Y, 2 * HALF_BYTES);
        a.dec(PANELS);
        a.jnz(panel);
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
            for (int half = 0; half < 2; half++) {
                Vec weights = ymm(12 + half);
                Mem word = at(WORDS, i * wordBytes + half * wordBytes / 2);
                switch (type) {
                    case F32 -> a.vmovups(weights, word);
                    case F16 -> a.vcvtph2ps(weights, word);
                    default -> {
                        a.vpmovzxwd(weights, word);
                        a.vpslld(weights, weights, 16);
                    }
                }
            }
            for (int t = 0; t < n; t++) {
                a.vbroadcastss(INPUT, x(t, Float.BYTES * i));
                a.vfmadd231ps(y(t, 0), ymm(12), INPUT);
                a.vfmadd231ps(y(t, 1), ymm(13), INPUT);
            }
        }
        a.add(WORDS, inputs * wordBytes);
        for (int i = 0; i * 3 < n; i++) {
            a.add(X_ROWS[i], inputs * Float.BYTES);
        }
        a.sub(COUNT, inputs);
    }

    private void store() {
        Label whole = a.label();
        Label stored = a.label();
        a.mov(COUNT, Y);
        a.cmp(PANELS, 1);
        a.jnz(whole);
        a.vmovd(INPUT.xmm(), LAST_LANES);
        a.vpbroadcastd(INPUT, INPUT.xmm());
        for (int half = 0; half < 2; half++) {
            // moves each lane's bit to its sign bit
            int highest = 31 - half * LANES;
            int[] shifts = new int[LANES];
            Arrays.setAll(shifts, lane -> highest - lane);
            a.vpsllvd(SIGNS[half], INPUT, Mem.rip(a.constant(shifts, 32)));
        }
        for (int t = 0; t < n; t++) {
            a.vmaskmovps(at(COUNT), SIGNS[0], y(t, 0));
            a.vmaskmovps(at(COUNT, HALF_BYTES), SIGNS[1], y(t, 1));
            a.add(COUNT, Y_STRIDE);
        }
        a.jmp(stored);
        a.bind(whole);
        for (int t = 0; t < n; t++) {
            a.vmovups(at(COUNT), y(t, 0));
            a.vmovups(at(COUNT, HALF_BYTES), y(t, 1));
            a.add(COUNT, Y_STRIDE);
        }
        a.bind(stored);
    }

    private Mem x(int t, int byteOffset) {
        Gp base = X_ROWS[t / 3];
        return t % 3 == 0 ? at(base, byteOffset) : at(base, X_STRIDE, t % 3, byteOffset);
    }

    private static Vec y(int t, int half) {
        return ymm(2 * t + half);
    }
}
