package quire.tensor;

import static quire.tensor.x86.Gp.R10;
import static quire.tensor.x86.Gp.R11;
import static quire.tensor.x86.Gp.R12;
import static quire.tensor.x86.Gp.R13;
import static quire.tensor.x86.Gp.R14;
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
import quire.tensor.x86.Assembler;
import quire.tensor.x86.Gp;
import quire.tensor.x86.Label;
import quire.tensor.x86.Mem;
import quire.tensor.x86.Vec;

/**
 * Writes the AVX2 code of one product: {@link MatrixCode}'s, with its arguments, layout and bits, on registers half as wide and
 * half as many. A panel of 16 outputs is two halves of 8 lanes.
 *
 * <pre>
 *   1 or 2 rows     both halves of a block, then the next block       weights stream once, as few rows wait for memory
 *   3 or 4 rows     one half of all blocks, then the other            the second pass finds its lines in a cache
 *
 *   ymm0..3    y [half][row]
 *   ymm4..7    products of a few words: pairs summed to 16 bits, or to 32 with VNNI
 *   ymm8..11   sums of the block
 *   ymm12..15  word, temporary, upper bits or magnitudes, scale
 * </pre>
 *
 * <p>{@code vpmaddubsw} saturates at 16 bits. So only as many words are added up there as can never reach that (see
 * {@link #wordsOfRun}), and quants of 8 bits are multiplied by their magnitude with the input's sign changed: 128 × 127 × 2 fits.
 */
final class Avx2MatrixCode {
    /** Most rows of activations that one call takes; divides a tile. */
    static final int MOST_ROWS = 4;

    private static final int LANES = 8;
    private static final int HALF_WORD = PackedForm.WORD_BYTES / 2;
    private static final int WORDS_OF_BLOCK = 8;
    private static final int MOST_INPUT = 127;

    private static final Gp WORDS = RDI;
    private static final Gp SCALES = RSI;
    private static final Gp X = RDX;
    private static final Gp Y = RCX;
    private static final Gp Y_STRIDE = R8;
    private static final Gp GROUPS = R9;
    private static final Gp PANELS = R10;
    private static final Gp LAST_LANES = R11;
    private static final Gp X_BLOCK = RAX;
    private static final Gp GROUP_COUNT = RBX;
    private static final Gp BLOCK_COUNT = RBP;
    private static final Gp BLOCK_SCALES = R12;
    private static final Gp PANEL_WORDS = R13;
    private static final Gp PANEL_SCALES = R14;

    private static final Vec WORD = ymm(12);
    private static final Vec TEMP = ymm(13);
    /** Upper bits of the quants; or their magnitudes where {@link #word} is signed. */
    private static final Vec UPPER = ymm(14);

    private static final Vec SCALE = ymm(15);

    private final Assembler a = new Assembler();
    private final PackedForm form;
    private final AssembledCode.Instructions instructions;
    private final boolean vnni;
    private final int n;
    private final int first;
    private final int prefetchBytes;
    private final boolean halves;
    private final boolean signed;
    private final Mem nibbles;
    private final Mem upperMask;
    private final Mem table;
    private final Mem flip;
    private final Mem ones;

    private Avx2MatrixCode(
            PackedForm form, AssembledCode.Instructions instructions, int first, int n, int prefetchBytes) {
        this.form = form;
        this.instructions = instructions;
        vnni = instructions != AssembledCode.Instructions.AVX2;
        this.first = first;
        this.n = n;
        this.prefetchBytes = prefetchBytes;
        halves = form.scales().perBlock() == 2;
        signed = !vnni && wordsOfRun(form) == 0;
        nibbles = everywhere(0x0F0F0F0F);
        upperMask = everywhere(
                switch (form.bits()) {
                    case 2 -> 0x03030303;
                    case 5 -> 0x10101010;
                    default -> 0x30303030;
                });
        byte[] values = form.nibbles().table();
        table = values == null ? nibbles : Mem.rip(a.constant(twice(values), 32));
        flip = everywhere(0x80808080);
        ones = everywhere(0x00010001);
    }

    /**
     * Assembles the product; its descriptor is {@link MatrixCode#DESCRIPTOR}.
     *
     * @param instructions one of the AVX2 ones
     * @param first first row, within its tile
     * @param n rows, at most {@link #MOST_ROWS}
     * @param prefetchBytes how far ahead weights are asked for
     */
    static byte[] assemble(
            PackedForm form, AssembledCode.Instructions instructions, int first, int n, int prefetchBytes) {
        return new Avx2MatrixCode(form, instructions, first, n, prefetchBytes).assemble();
    }

    /**
     * How many words' products, two at a time, fit 16 bits with their sign: 8, 4, 2 or 1; 0 if not even one word's.
     */
    static int wordsOfRun(PackedForm form) {
        int most =
                switch (form.nibbles()) {
                    case PLAIN -> (1 << form.bits()) - 1;
                    case IQ4, FP4 -> 2 * form.zeroPoint() - 1;
                };
        int words = Short.MAX_VALUE / (2 * MOST_INPUT * most);
        return Math.min(
                form.scales().perBlock() == 2 ? WORDS_OF_BLOCK / 2 : WORDS_OF_BLOCK, Integer.highestOneBit(words));
    }

    private Mem everywhere(int value) {
        int[] lanes = new int[LANES];
        Arrays.fill(lanes, value);
        return Mem.rip(a.constant(lanes, 32));
    }

    private static byte[] twice(byte[] half) {
        byte[] both = Arrays.copyOf(half, 2 * half.length);
        System.arraycopy(half, 0, both, half.length, half.length);
        return both;
    }

    private byte[] assemble() {
        Gp[] saved = {RBX, RBP, R12, R13, R14};
        for (Gp register : saved) {
            a.push(register);
        }
        int stackArguments = Long.BYTES * (1 + saved.length);
        a.mov(PANELS, at(RSP, stackArguments));
        a.mov(LAST_LANES, at(RSP, stackArguments + Long.BYTES));
        Label panel = a.label();
        a.bind(panel);
        if (2 * n <= MOST_ROWS) {
            pass(0, 1);
        } else {
            a.mov(PANEL_WORDS, WORDS);
            a.mov(PANEL_SCALES, SCALES);
            pass(0);
            a.mov(WORDS, PANEL_WORDS);
            a.mov(SCALES, PANEL_SCALES);
            pass(1);
        }
        a.add(Y, PackedForm.WORD_BYTES);
        a.dec(PANELS);
        a.jnz(panel);
        for (Gp register : Arrays.asList(saved).reversed()) {
            a.pop(register);
        }
        a.vzeroupper();
        a.ret();
        return a.finish();
    }

    /** Some of a panel's halves, over all blocks. */
    private void pass(int... panelHalves) {
        for (int half : panelHalves) {
            for (int t = 0; t < n; t++) {
                a.vpxor(y(half, t), y(half, t), y(half, t));
            }
        }
        a.lea(X_BLOCK, at(X, ActivationTile.BIAS));
        a.mov(GROUP_COUNT, GROUPS);
        Label group = a.label();
        a.align(32);
        a.bind(group);
        if (form.scales().grouped()) {
            a.lea(BLOCK_SCALES, at(SCALES, (form.minimum() ? 4 : 2) * PackedForm.PANEL));
            a.mov(BLOCK_COUNT, PackedForm.SUPER);
            Label next = a.label();
            a.align(32);
            a.bind(next);
            block(panelHalves);
            a.add(BLOCK_SCALES, form.scales().perBlock() * PackedForm.PANEL);
            a.dec(BLOCK_COUNT);
            a.jnz(next);
        } else {
            block(panelHalves);
        }
        a.add(SCALES, form.scaleBytes());
        a.dec(GROUP_COUNT);
        a.jnz(group);
        for (int half : panelHalves) {
            store(half);
        }
    }

    private void store(int half) {
        Label whole = a.label();
        Label done = a.label();
        a.mov(GROUP_COUNT, Y);
        a.cmp(PANELS, 1);
        a.jnz(whole);
        // a lane's bit, as its sign
        a.vmovd(TEMP.xmm(), LAST_LANES);
        a.vpbroadcastd(TEMP, TEMP.xmm());
        int[] shifts = new int[LANES];
        Arrays.setAll(shifts, lane -> 31 - half * LANES - lane);
        a.vpsllvd(TEMP, TEMP, Mem.rip(a.constant(shifts, 32)));
        for (int t = 0; t < n; t++) {
            a.vmaskmovps(at(GROUP_COUNT, half * HALF_WORD), TEMP, y(half, t));
            a.add(GROUP_COUNT, Y_STRIDE);
        }
        a.jmp(done);
        a.bind(whole);
        for (int t = 0; t < n; t++) {
            a.vmovups(at(GROUP_COUNT, half * HALF_WORD), y(half, t));
            a.add(GROUP_COUNT, Y_STRIDE);
        }
        a.bind(done);
    }

    private void block(int... panelHalves) {
        if (panelHalves[0] == 0) {
            for (int at = 0; at < form.wordBytes(); at += 64) {
                a.prefetcht0(at(WORDS, prefetchBytes + at));
            }
        }
        for (int half : panelHalves) {
            sums(half);
            if (halves) {
                scaleHalves(half);
            } else {
                scale(half);
            }
        }
        a.add(WORDS, form.wordBytes());
        a.add(X_BLOCK, ActivationTile.BLOCK_BYTES);
    }

    /** The exact sums of a block, with the scales of its halves where it has two. */
    private void sums(int half) {
        int run = vnni ? (halves ? WORDS_OF_BLOCK / 2 : WORDS_OF_BLOCK) : Math.max(1, wordsOfRun(form));
        if (!halves) {
            for (int t = 0; t < n; t++) {
                start(sum(t), ActivationTile.NEGATIVE_SUM, t);
            }
        }
        for (int w = 0; w < WORDS_OF_BLOCK; w++) {
            if (halves && w % 4 == 0) {
                startHalf(half, w / 4);
            }
            word(half, w);
            for (int t = 0; t < n; t++) {
                a.vpbroadcastd(TEMP, input(t, w));
                product(t, w % run == 0);
            }
            if ((w + 1) % run == 0) {
                for (int t = 0; t < n; t++) {
                    addRun(t);
                }
            }
        }
    }

    /** What the zero point adds too much, negative. */
    private void start(Vec to, int kind, int t) {
        if (signed || form.zeroPoint() == 0) {
            a.vpxor(to, to, to);
            return;
        }
        a.vpbroadcastd(to, number(kind, t));
        int shift = Integer.numberOfTrailingZeros(form.zeroPoint()) - 3;
        if (shift > 0) {
            a.vpslld(to, to, shift);
        } else if (shift < 0) {
            a.vpsrad(to, to, -shift); // −8 × Σ: the bits that leave are zeros
        }
    }

    /** Begins the inputs 0 to 15, or 16 to 31, whose scale is an integer. */
    private void startHalf(int half, int inputs) {
        a.vpmovsxbd(SCALE, at(BLOCK_SCALES, inputs * PackedForm.PANEL + half * LANES));
        for (int t = 0; t < n; t++) {
            Vec to = inputs == 0 ? sum(t) : TEMP;
            start(to, inputs == 0 ? ActivationTile.NEGATIVE_HALF_0 : ActivationTile.NEGATIVE_HALF_1, t);
            a.vpmulld(to, to, SCALE);
            if (inputs == 1) {
                a.vpaddd(sum(t), sum(t), TEMP);
            }
        }
    }

    /** Input words of TEMP times the word, into the row's run of products: here the two instruction sets differ. */
    private void product(int t, boolean begins) {
        if (vnni) {
            if (begins) {
                a.vpxor(run(t), run(t), run(t));
            }
            if (instructions == AssembledCode.Instructions.AVX2_VNNI) {
                a.vpdpbusdVex(run(t), WORD, TEMP);
            } else {
                a.vpdpbusd(run(t), WORD, TEMP);
            }
            return;
        }
        Vec to = begins ? run(t) : TEMP;
        if (signed) {
            a.vpsignb(TEMP, TEMP, WORD);
            a.vpmaddubsw(to, UPPER, TEMP);
        } else {
            a.vpmaddubsw(to, WORD, TEMP);
        }
        if (!begins) {
            a.vpaddw(run(t), run(t), TEMP);
        }
    }

    private void addRun(int t) {
        if (!vnni) {
            a.vpmaddwd(run(t), run(t), ones);
        }
        if (halves) {
            a.vpmulld(run(t), run(t), SCALE);
        }
        a.vpaddd(sum(t), sum(t), run(t));
    }

    /** The quants of inputs 4w to 4w + 3: unsigned, or signed with their magnitudes beside them. */
    private void word(int half, int w) {
        switch (form.bits()) {
            case 8 -> a.vmovdqu(WORD, stored(half, w));
            case 2 -> {
                shiftedRight(WORD, stored(half, w / 4), w % 4 * 2);
                a.vpand(WORD, WORD, upperMask);
            }
            default -> {
                shiftedRight(WORD, stored(half, w % 4), w / 4 * 4);
                a.vpand(WORD, WORD, nibbles);
                complete(half, w);
            }
        }
        if (signed) {
            a.vpxor(WORD, WORD, flip);
            a.vpabsb(UPPER, WORD);
        }
    }

    private void shiftedRight(Vec to, Mem from, int bits) {
        a.vmovdqu(to, from);
        if (bits > 0) {
            a.vpsrld(to, to, bits);
        }
    }

    /** Makes quants of nibbles: looks them up, or adds their upper bits. */
    private void complete(int half, int w) {
        if (form.nibbles() != PackedForm.Nibbles.PLAIN) {
            a.vmovdqu(TEMP, table);
            a.vpshufb(WORD, TEMP, WORD);
            return;
        }
        if (form.bits() == 4) {
            return;
        }
        boolean five = form.bits() == 5;
        if (w == 0 || (!five && w == 4)) {
            a.vmovdqu(UPPER, stored(half, five ? 4 : 4 + w / 4));
        }
        int left = five ? 4 - w : 4 - 2 * (w % 4);
        if (left >= 0) {
            a.vpslld(TEMP, UPPER, left);
        } else {
            a.vpsrld(TEMP, UPPER, -left);
        }
        a.vpand(TEMP, TEMP, upperMask);
        a.vpor(WORD, WORD, TEMP);
    }

    private static Mem stored(int half, int index) {
        return at(WORDS, index * PackedForm.WORD_BYTES + half * HALF_WORD);
    }

    private void scale(int half) {
        Mem scales = at(SCALES, half * LANES * Short.BYTES);
        Mem minima = scales.plus(PackedForm.PANEL * Short.BYTES);
        switch (form.scales()) {
            case HALF -> a.vcvtph2ps(SCALE, scales);
            case BFLOAT -> {
                a.vpmovzxwd(SCALE, scales);
                a.vpslld(SCALE, SCALE, 16);
            }
            default -> {
                a.vpmovsxbd(SCALE, at(BLOCK_SCALES, half * LANES));
                a.vcvtdq2ps(SCALE, SCALE);
                a.vcvtph2ps(TEMP, scales);
                a.vmulps(SCALE, SCALE, TEMP);
            }
        }
        Vec minimum = WORD;
        if (form.minimum()) {
            if (form.scales().grouped()) {
                a.vpmovzxbd(minimum, at(BLOCK_SCALES, PackedForm.SUPER * PackedForm.PANEL + half * LANES));
                a.vcvtdq2ps(minimum, minimum);
                a.vcvtph2ps(TEMP, minima);
                a.vmulps(minimum, minimum, TEMP);
            } else {
                a.vcvtph2ps(minimum, minima);
            }
        }
        for (int t = 0; t < n; t++) {
            scaleSum(half, t);
            if (form.minimum()) {
                a.vbroadcastss(TEMP, number(ActivationTile.SCALED_SUM, t));
                if (form.scales().grouped()) {
                    a.vfnmadd231ps(y(half, t), minimum, TEMP);
                } else {
                    a.vfmadd231ps(y(half, t), minimum, TEMP);
                }
            }
        }
    }

    /** {@code y = fma(SCALE × dx, (float) sum, y)}. */
    private void scaleSum(int half, int t) {
        a.vbroadcastss(TEMP, number(ActivationTile.SCALE, t));
        a.vmulps(TEMP, SCALE, TEMP);
        a.vcvtdq2ps(sum(t), sum(t));
        a.vfmadd231ps(y(half, t), TEMP, sum(t));
    }

    private void scaleHalves(int half) {
        Mem scales = at(SCALES, half * LANES * Short.BYTES);
        a.vcvtph2ps(SCALE, scales);
        for (int t = 0; t < n; t++) {
            scaleSum(half, t);
        }
        if (!form.minimum()) {
            return;
        }
        int minima = 2 * PackedForm.SUPER * PackedForm.PANEL + half * LANES;
        a.vcvtph2ps(SCALE, scales.plus(PackedForm.PANEL * Short.BYTES));
        a.vpmovzxbd(WORD, at(BLOCK_SCALES, minima));
        a.vpmovzxbd(UPPER, at(BLOCK_SCALES, minima + PackedForm.PANEL));
        for (int t = 0; t < n; t++) {
            a.vpbroadcastd(sum(t), number(ActivationTile.HALF_0, t));
            a.vpbroadcastd(run(t), number(ActivationTile.HALF_1, t));
            a.vpmulld(sum(t), sum(t), WORD);
            a.vpmulld(run(t), run(t), UPPER);
            a.vpaddd(sum(t), sum(t), run(t));
            a.vcvtdq2ps(sum(t), sum(t));
            a.vbroadcastss(TEMP, number(ActivationTile.SCALE, t));
            a.vmulps(TEMP, SCALE, TEMP);
            a.vfnmadd231ps(y(half, t), TEMP, sum(t));
        }
    }

    private Mem input(int t, int w) {
        return at(X_BLOCK, ActivationTile.quantsAt(first + t, 4 * w) - ActivationTile.BIAS);
    }

    private Mem number(int kind, int t) {
        return at(X_BLOCK, ActivationTile.numberAt(kind, first + t) - ActivationTile.BIAS);
    }

    private Vec y(int half, int t) {
        return ymm(2 * n <= MOST_ROWS ? half * n + t : t);
    }

    private static Vec run(int t) {
        return ymm(MOST_ROWS + t);
    }

    private static Vec sum(int t) {
        return ymm(2 * MOST_ROWS + t);
    }
}
