package quire.tensor.assembled.avx2;

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
import static quire.tensor.x86.Mem.at;
import static quire.tensor.x86.Vec.ymm;

import quire.tensor.Activations;
import quire.tensor.Kernels;
import quire.tensor.KvLayout;
import quire.tensor.assembled.common.AttentionCode;
import quire.tensor.scalar.ScalarKernels;
import quire.tensor.x86.Assembler;
import quire.tensor.x86.Gp;
import quire.tensor.x86.Label;
import quire.tensor.x86.MachineCode;
import quire.tensor.x86.Mem;
import quire.tensor.x86.Operand;
import quire.tensor.x86.Vec;

/**
 * Writes the function that stores K and V of one token, as {@link Kernels#storeKv} defines it, for pages of one type
 * and any shape. AVX-512 would not be faster, so both sets use it. Eight numbers at a time are converted to the page's
 * type. The numbers of V are stored side by side, those of K a word of 16 positions apart; in int8 pages, four of K are side by
 * side, and those of V are four bytes apart:
 *
 * <pre>
 *   numbers of a head x0 x1 x2 …
 *   K                ..x0..............  ..x1..............  ..x2..  …      [headDim][16], this position's lane
 *   V                x0 x1 x2 …                                             [16][headDim], this position's row
 *
 *   int8 K           ..x0 x1 x2 x3....…  ..x4 x5 x6 x7....…                 [headDim / 4][16][4]
 *   int8 V           .x0.. .x1.. .x2..                                      [16 / 4][headDim][4]
 * </pre>
 *
 * <p>A second function quantises queries in the same way, for attention over int8 pages.
 */
public final class Avx2StoreCode {
    private static final int LANES = 8;
    private static final int NOT_LESS = 5; // vcmpps: not less than, or unordered
    private static final int ORDERED = 7;

    private static final Gp HEADS = RBX;
    /** Number of whole registers of a head, and of the numbers after them. */
    private static final Gp WORDS = RBP;

    private static final Gp REST = R12;
    private static final Gp HEAD_BYTES = R13;
    private static final Gp TARGET = R10;
    private static final Gp SCAN = R11;
    private static final Gp COUNT = RAX;

    private static final Vec X = ymm(0);
    private static final Vec TEMP = ymm(1);
    private static final Vec LARGEST = ymm(2);
    private static final Vec INVERSE = ymm(3);
    private static final Vec MAX = ymm(4);
    private static final Vec MIN = ymm(5);
    private static final Vec MAGNITUDE = ymm(6);
    private static final Vec LARGEST_FINITE = ymm(7);
    private static final Vec SMALLEST = ymm(8);
    // Of queries.
    private static final Vec SUM = ymm(9);
    private static final Vec SCORE_SCALE = ymm(10);

    /**
     * K or V of a token, or queries: pointers to the numbers, and to the places for the scale and the numbers. They advance with
     * each head.
     *
     * @param sideBySide how many numbers are stored side by side
     * @param step bytes from these numbers to the next ones
     */
    private record Side(Gp numbers, Gp scale, Gp target, int sideBySide, int step) {}

    private final Assembler a = new Assembler();
    private final KvLayout.KvType type;
    private final boolean ofQueries;

    private Avx2StoreCode(KvLayout.KvType type, boolean ofQueries) {
        this.type = type;
        this.ofQueries = ofQueries;
    }

    /**
     * The function for pages of {@code type}. Its arguments are {@code (k, v, K's scale, V's scale, K's lane, V's row, heads, head
     * dim, bytes between two heads)}.
     */
    public static MachineCode assemble(KvLayout.KvType type) {
        return new Avx2StoreCode(type, false).assemble();
    }

    /**
     * The function that quantises the queries of one row. Its arguments are {@code (q, records, heads, head dim, bytes of a record,
     * scale of the scores)}; the scale is a float. The records are those of {@link AttentionCode#QUERY_SCALE}.
     */
    public static MachineCode assembleQueries() {
        return new Avx2StoreCode(KvLayout.KvType.Q8_0, true).assemble();
    }

    private MachineCode assemble() {
        Gp[] saved = {RBX, RBP, R12, R13};
        for (Gp register : saved) {
            a.push(register);
        }
        if (ofQueries) {
            a.mov(HEADS, RDX);
            a.mov(WORDS, RCX);
            a.mov(HEAD_BYTES, R8);
            a.vmovd(SCORE_SCALE.xmm(), R9);
            a.lea(R9, at(RSI, AttentionCode.QUERY_NUMBERS));
        } else {
            int stackArguments = Long.BYTES * (saved.length + 1);
            a.mov(HEADS, at(RSP, stackArguments));
            a.mov(WORDS, at(RSP, stackArguments + Long.BYTES));
            a.mov(HEAD_BYTES, at(RSP, stackArguments + 2 * Long.BYTES));
        }
        a.mov(REST, WORDS);
        a.and(REST, LANES - 1);
        a.shr(WORDS, Integer.numberOfTrailingZeros(LANES));
        limits();
        Label head = a.label();
        a.bind(head);
        if (ofQueries) {
            store(new Side(RDI, RSI, R9, LANES, LANES));
        } else if (type.isQuantized()) {
            int four = KvLayout.SIDE_BY_SIDE;
            store(new Side(RDI, RDX, R8, four, KvLayout.TILE * four));
            store(new Side(RSI, RCX, R9, 1, four));
        } else {
            store(new Side(RDI, RDX, R8, 1, KvLayout.TILE * type.bytes()));
            store(new Side(RSI, RCX, R9, LANES, LANES * type.bytes()));
        }
        a.dec(HEADS);
        a.jnz(head);
        a.vzeroupper();
        for (int i = saved.length - 1; i >= 0; i--) {
            a.pop(saved[i]);
        }
        a.ret();
        return a.finish();
    }

    private void limits() {
        float most = type.isQuantized() ? 127f : ScalarKernels.F16_MAX;
        inAllLanes(MAX, Float.floatToRawIntBits(most));
        inAllLanes(MIN, Float.floatToRawIntBits(-most));
        if (type.isQuantized()) {
            inAllLanes(MAGNITUDE, 0x7FFFFFFF);
            inAllLanes(LARGEST_FINITE, Float.floatToRawIntBits(Float.MAX_VALUE));
            inAllLanes(SMALLEST, Float.floatToRawIntBits(Activations.SMALLEST));
        }
    }

    private void inAllLanes(Vec to, int bits) {
        a.vpbroadcastd(to, Mem.rip(a.constant(new int[] {bits}, 4)));
    }

    private void store(Side side) {
        if (type.isQuantized()) {
            scale(side);
        }
        a.mov(TARGET, side.target);
        loop(WORDS, () -> {
            a.vmovups(X, at(side.numbers));
            convert(X);
            switch (side.sideBySide) {
                case LANES -> storeContiguous();
                case KvLayout.SIDE_BY_SIDE -> {
                    a.vpextrd(at(TARGET), X, 0);
                    a.vpextrd(at(TARGET, side.step), X, 1);
                }
                default -> storeStrided(side.step);
            }
            a.add(side.numbers, LANES * Float.BYTES);
            a.add(TARGET, LANES / side.sideBySide * side.step);
        });
        Label end = a.label();
        for (int i = 0; i < LANES - 1; i++) {
            a.cmp(REST, i);
            a.jz(end);
            a.vmovss(X, at(side.numbers, i * Float.BYTES));
            convert(X.xmm());
            int place = i / side.sideBySide * side.step + i % side.sideBySide * type.bytes();
            storeOne(at(TARGET, place), X, 0);
        }
        a.bind(end);
        a.lea(side.numbers, at(side.numbers, REST, Float.BYTES));
        if (ofQueries) {
            storeSum(side);
        }
        a.add(side.target, HEAD_BYTES);
        if (type.isQuantized()) {
            a.add(side.scale, HEAD_BYTES);
        }
    }

    /** Stores what 128 added to every number of K adds to a product with the query, times −1. */
    private void storeSum(Side side) {
        Vec sum = SUM.xmm();
        Vec temp = TEMP.xmm();
        combineLanes(SUM, a::vpaddd);
        a.vpslld(sum, sum, 7);
        a.vpxor(temp, temp, temp);
        a.vpsubd(sum, temp, sum);
        a.vmovss(at(side.scale, AttentionCode.QUERY_START), sum);
    }

    /** An instruction for two operands. */
    private interface Combination {
        void write(Vec to, Vec a, Operand b);
    }

    /** Combines all lanes of a register. The lower four lanes have the result. */
    private void combineLanes(Vec register, Combination combination) {
        Vec lower = register.xmm();
        Vec temp = TEMP.xmm();
        a.vextracti128(temp, register, 1);
        combination.write(lower, lower, temp);
        a.vpshufd(temp, lower, 0x4E);
        combination.write(lower, lower, temp);
        a.vpshufd(temp, lower, 0xB1);
        combination.write(lower, lower, temp);
    }

    /** Writes a loop of {@code count} iterations, which may be 0. */
    private void loop(Gp count, Runnable body) {
        Label next = a.label();
        Label end = a.label();
        a.mov(COUNT, count);
        a.test(COUNT, COUNT);
        a.jz(end);
        a.bind(next);
        body.run();
        a.dec(COUNT);
        a.jnz(next);
        a.bind(end);
    }

    /**
     * Stores the head's scale and loads its inverse into all lanes. Both are 0 if the largest magnitude is too small.
     */
    private void scale(Side side) {
        a.vpxor(LARGEST, LARGEST, LARGEST);
        a.mov(SCAN, side.numbers);
        // as integers, magnitudes have the order of floats, with NaN above all
        loop(WORDS, () -> {
            a.vpand(X, MAGNITUDE, at(SCAN));
            a.vpmaxsd(LARGEST, LARGEST, X);
            a.add(SCAN, LANES * Float.BYTES);
        });
        loop(REST, () -> {
            a.vmovss(X, at(SCAN));
            a.vpand(X, MAGNITUDE, X);
            a.vpmaxsd(LARGEST, LARGEST, X);
            a.add(SCAN, Float.BYTES);
        });
        Vec largest = LARGEST.xmm();
        Vec temp = TEMP.xmm();
        Vec inverse = INVERSE.xmm();
        combineLanes(LARGEST, a::vpmaxsd);
        a.vminps(largest, LARGEST_FINITE.xmm(), largest); // a NaN stays, because the result is the second operand then
        a.vcmpps(temp, largest, SMALLEST.xmm(), NOT_LESS);
        a.vdivps(inverse, MAX.xmm(), largest);
        a.vandps(inverse, inverse, temp);
        a.vbroadcastss(INVERSE, inverse);
        a.vdivps(largest, largest, MAX.xmm());
        a.vandps(largest, largest, temp);
        if (ofQueries) {
            a.vmulps(largest, largest, SCORE_SCALE.xmm());
            a.vpxor(SUM, SUM, SUM);
        }
        a.vmovss(at(side.scale), largest);
    }

    /** Converts the numbers to the page's type, side by side from the start of the register. */
    private void convert(Vec x) {
        boolean whole = x.bits() == X.bits();
        Vec most = whole ? MAX : MAX.xmm();
        Vec least = whole ? MIN : MIN.xmm();
        switch (type) {
            case F16 -> {
                a.vminps(x, most, x);
                a.vmaxps(x, least, x);
                a.vcvtps2ph(x.xmm(), x, 0);
            }
            case F32 -> {}
            case Q8_0 -> {
                Vec temp = whole ? TEMP : TEMP.xmm();
                a.vmulps(x, x, whole ? INVERSE : INVERSE.xmm());
                a.vcmpps(temp, x, x, ORDERED);
                a.vminps(x, x, most);
                a.vmaxps(x, x, least);
                a.vcvtps2dq(x, x); // to nearest even
                a.vpand(x, x, temp); // NaN becomes 0
                if (ofQueries) {
                    a.vpaddd(SUM, SUM, X); // the lanes that x lacks are 0
                }
                if (whole) {
                    a.vextracti128(TEMP.xmm(), x, 1);
                }
                a.vpackssdw(x.xmm(), x.xmm(), TEMP.xmm());
                a.vpacksswb(x.xmm(), x.xmm(), x.xmm());
            }
        }
    }

    private void storeContiguous() {
        switch (type) {
            case F16 -> a.vmovdqu(at(TARGET), X.xmm());
            case F32 -> a.vmovups(at(TARGET), X);
            case Q8_0 -> a.vmovq(at(TARGET), X);
        }
    }

    private void storeStrided(int step) {
        if (type == KvLayout.KvType.F32) {
            a.vextracti128(TEMP.xmm(), X, 1);
        }
        for (int i = 0; i < LANES; i++) {
            Vec half = type == KvLayout.KvType.F32 && i >= 4 ? TEMP : X;
            storeOne(at(TARGET, i * step), half, i);
        }
    }

    private void storeOne(Mem to, Vec from, int index) {
        switch (type) {
            case F16 -> a.vpextrw(to, from, index);
            case F32 -> a.vpextrd(to, from, index % 4);
            case Q8_0 -> a.vpextrb(to, from, index);
        }
    }
}
