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

import java.util.Arrays;
import quire.tensor.assembled.common.ActivationTile;
import quire.tensor.assembled.common.Instructions;
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
 * Writes a product with quantised weights in AVX2. Arguments, layout and results equal those of {@code
 * Avx512MatrixCode}, but the registers are half as wide and half as many. A panel of 16 outputs is two halves of 8
 * lanes, and each input is broadcast once for both. With 16 registers, loads limit the speed, not multiplications. So y
 * is on the stack while the integers of a block are summed.
 *
 * <pre>
 *   for each panel:
 *     y[half][row] = 0                                                     stack
 *     for each block of 32 inputs:
 *       for each word w of 8:   run[half][row] += word[half] · x[row][w]   ymm0..11, x broadcast once for both halves
 *         before 16 bits can overflow: sum[half][row] += run, in 32 bits             stack, if more than one run
 *       y[half][row] = fma(dw × dx, (float) (sum − zero point × Σ x), y[half][row])
 *     store y
 *
 *   ymm12, ymm13    the word's halves, then scales
 *   ymm14, ymm15    input, temporary
 * </pre>
 *
 * <p>{@code vpmaddubsw} saturates at 16 bits. So a run has only as many words as cannot reach that limit (see {@link
 * #wordsOfRun}). For quants of 8 bits, the magnitude is multiplied and the input's sign is changed instead: 128 × 127 ×
 * 2 fits. {@code vpmaddwd} widens a run to 32 bits; it also multiplies by the integer scale of a half block if there is
 * one.
 */
final class Avx2MatrixCode {
    private static final int LANES = 8;
    private static final int HALVES = 2;
    private static final int HALF_WORD = PackedForm.WORD_BYTES / 2;
    private static final int WORDS_OF_BLOCK = 8;
    private static final int MAX_INPUT = 127;
    private static final int REGISTER_BYTES = 32;
    /**
     * Distance of the input prefetch. Long rows do not fit the first-level cache, and the processor does not predict
     * the distance of their blocks. 512 rows of 8192 inputs on two threads of a Zen 3: 102 G multiply-adds/s without,
     * 139 with 2, 130 with 4, 112 with 8.
     */
    private static final int INPUT_BLOCKS_AHEAD = 2;

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
    private static final Gp CALLER_STACK = R13;

    private static final Vec[] WORD = {ymm(12), ymm(13)};
    private static final Vec INPUT = ymm(14);
    private static final Vec TEMP = ymm(15);
    /** If {@link #signed}: the words' magnitudes, in registers that no row uses then. */
    private static final Vec[] MAGNITUDE = {ymm(10), ymm(11)};

    private static final Vec ONES = ymm(9);

    private final Assembler a = new Assembler();
    private final PackedForm form;
    private final Instructions instructions;
    private final boolean vnni;
    private final int n;
    private final int first;
    /** Whether a block has two scales, one for each 16 inputs. */
    private final boolean twoScales;
    /** Whether these two scales are floats. */
    private final boolean floatScales;

    private final boolean signed;
    /** Number of words that are summed before the sum is widened to 32 bits or multiplied by its scale. */
    private final int run;

    private final Mem nibbles;
    private final Mem upperMask;
    private final Mem thirdMask;
    private final Mem factor;
    private final Mem table;
    private final Mem flip;
    private final Mem ones;
    private final Mem twice;
    private final Mem low16;

    // indexes of registers on the stack
    private final int sumSlot;
    private final int scaleSlot;
    private final int zeroSlot;
    private final int minimumSlot;
    private final int minimumScaleSlot;
    private final int slots;

    private Avx2MatrixCode(PackedForm form, Instructions instructions, int first, int n) {
        this.form = form;
        this.instructions = instructions;
        vnni = hasVnni(instructions);
        this.first = first;
        this.n = n;
        twoScales = form.scales().perBlock() == 2;
        floatScales = form.scales() == PackedForm.Scales.HALF_BLOCK_FLOATS;
        signed = isSigned(form, instructions);
        int most = twoScales ? WORDS_OF_BLOCK / 2 : WORDS_OF_BLOCK;
        run = vnni ? most : signed ? 1 : Math.min(most, wordsOfRun(form));
        nibbles = inAllLanes(0x0F0F0F0F);
        upperMask = inAllLanes(
                switch (form.bits()) {
                    case 1 -> 0x02020202;
                    case 2, 3 -> 0x03030303;
                    case 5 -> 0x10101010;
                    default -> 0x30303030;
                });
        byte[] values = form.codes().table();
        table = values == null
                ? nibbles
                : Mem.rip(a.constant(twice(Arrays.copyOf(values, REGISTER_BYTES / 2)), REGISTER_BYTES));
        thirdMask = inAllLanes(0x04040404);
        factor = inAllLanes(Float.floatToRawIntBits(floatScales ? 0x1p119f : form.factor()));
        flip = inAllLanes(0x80808080);
        ones = inAllLanes(0x00010001);
        low16 = inAllLanes(0x0000FFFF);
        byte[] pairs = new byte[REGISTER_BYTES / 2];
        for (int i = 0; i < pairs.length; i++) {
            pairs[i] = (byte) (i / Integer.BYTES * Integer.BYTES + i % Short.BYTES);
        }
        twice = Mem.rip(a.constant(twice(pairs), REGISTER_BYTES));
        sumSlot = HALVES * n;
        scaleSlot = sumSlot + HALVES * n;
        zeroSlot = scaleSlot + 2 * HALVES;
        minimumSlot = zeroSlot + HALVES;
        minimumScaleSlot = minimumSlot + HALVES;
        slots = minimumScaleSlot + HALVES;
    }

    /**
     * Assembles the product; its arguments are those of {@link KernelWriter#product}.
     *
     * @param instructions one of the AVX2 sets
     * @param first index of the first row in its tile
     * @param n number of rows, at most {@link #maxRows}
     */
    static MachineCode assemble(PackedForm form, Instructions instructions, int first, int n) {
        return new Avx2MatrixCode(form, instructions, first, n).assemble();
    }

    /** Maximum number of rows of activations that one call takes; divides a tile. */
    static int maxRows(PackedForm form, Instructions instructions) {
        return isSigned(form, instructions) ? 4 : 6;
    }

    private static boolean hasVnni(Instructions instructions) {
        return instructions != Instructions.AVX2;
    }

    private static boolean isSigned(PackedForm form, Instructions instructions) {
        return !hasVnni(instructions) && wordsOfRun(form) == 0;
    }

    /**
     * Number of words whose products, added in pairs, fit a signed 16-bit integer: 8, 4, 2 or 1. It is 0 if the
     * products of a single word do not fit.
     */
    static int wordsOfRun(PackedForm form) {
        int most =
                switch (form.codes()) {
                    case PLAIN -> form.bits() == 1 ? 2 : (1 << form.bits()) - 1;
                    default -> 2 * form.zeroPoint() - 1;
                };
        int words = Short.MAX_VALUE / (2 * MAX_INPUT * most);
        return Math.min(WORDS_OF_BLOCK, Integer.highestOneBit(words));
    }

    private Mem inAllLanes(int value) {
        int[] lanes = new int[LANES];
        Arrays.fill(lanes, value);
        return Mem.rip(a.constant(lanes, REGISTER_BYTES));
    }

    private static byte[] twice(byte[] half) {
        byte[] both = Arrays.copyOf(half, 2 * half.length);
        System.arraycopy(half, 0, both, half.length, half.length);
        return both;
    }

    private MachineCode assemble() {
        Gp[] saved = {RBX, RBP, R12, R13};
        for (Gp register : saved) {
            a.push(register);
        }
        int stackArguments = Long.BYTES * (1 + saved.length);
        a.mov(PANELS, at(RSP, stackArguments));
        a.mov(LAST_LANES, at(RSP, stackArguments + Long.BYTES));
        a.mov(CALLER_STACK, RSP);
        a.sub(RSP, slots * REGISTER_BYTES);
        a.and(RSP, -REGISTER_BYTES);
        Label panel = a.label();
        a.bind(panel);
        panel();
        a.add(Y, PackedForm.WORD_BYTES);
        a.dec(PANELS);
        a.jnz(panel);
        a.mov(RSP, CALLER_STACK);
        for (Gp register : Arrays.asList(saved).reversed()) {
            a.pop(register);
        }
        a.vzeroupper();
        a.ret();
        return a.finish();
    }

    private void panel() {
        a.vpxor(TEMP, TEMP, TEMP);
        for (int i = 0; i < HALVES * n; i++) {
            a.vmovups(slot(i), TEMP);
        }
        if (signed) {
            a.vmovdqu(ONES, ones);
        }
        a.lea(X_BLOCK, at(X, ActivationTile.BIAS));
        a.mov(GROUP_COUNT, GROUPS);
        Label group = a.label();
        a.align(32);
        a.bind(group);
        WeightPrefetch.scales(a, SCALES, form, n);
        if (form.scales().grouped()) {
            a.lea(BLOCK_SCALES, at(SCALES, (form.minimum() ? 4 : 2) * PackedForm.PANEL));
            a.mov(BLOCK_COUNT, PackedForm.SUPER);
            Label next = a.label();
            a.align(32);
            a.bind(next);
            block();
            a.add(BLOCK_SCALES, form.scales().perBlock() * PackedForm.PANEL);
            a.dec(BLOCK_COUNT);
            a.jnz(next);
        } else {
            block();
        }
        a.add(SCALES, form.scaleBytes());
        a.dec(GROUP_COUNT);
        a.jnz(group);
        for (int half = 0; half < HALVES; half++) {
            store(half);
        }
    }

    private void store(int half) {
        Label whole = a.label();
        Label done = a.label();
        a.mov(GROUP_COUNT, Y);
        a.cmp(PANELS, 1);
        a.jnz(whole);
        // moves each lane's bit to its sign bit
        a.vmovd(TEMP.xmm(), LAST_LANES);
        a.vpbroadcastd(TEMP, TEMP.xmm());
        int[] shifts = new int[LANES];
        Arrays.setAll(shifts, lane -> 31 - half * LANES - lane);
        a.vpsllvd(TEMP, TEMP, Mem.rip(a.constant(shifts, REGISTER_BYTES)));
        for (int t = 0; t < n; t++) {
            a.vmovups(INPUT, y(half, t));
            a.vmaskmovps(at(GROUP_COUNT, half * HALF_WORD), TEMP, INPUT);
            a.add(GROUP_COUNT, Y_STRIDE);
        }
        a.jmp(done);
        a.bind(whole);
        for (int t = 0; t < n; t++) {
            a.vmovups(INPUT, y(half, t));
            a.vmovups(at(GROUP_COUNT, half * HALF_WORD), INPUT);
            a.add(GROUP_COUNT, Y_STRIDE);
        }
        a.bind(done);
    }

    private void block() {
        WeightPrefetch.words(a, WORDS, form.wordBytes(), n);
        if (!WeightPrefetch.memoryBinds(n)) {
            prefetchInputs();
        }
        if (floatScales) {
            loadFloatScales();
        } else if (twoScales) {
            spreadScales();
        }
        for (int w = 0; w < WORDS_OF_BLOCK; w++) {
            for (int half = 0; half < HALVES; half++) {
                word(half, w);
            }
            for (int t = 0; t < n; t++) {
                product(t, w);
            }
            if (floatScales) {
                if (w % (WORDS_OF_BLOCK / 2) == run - 1) {
                    endHalf(w / (WORDS_OF_BLOCK / 2));
                }
            } else if (!signed && (w + 1) % run == 0) {
                endRun(w);
            }
        }
        if (!floatScales) {
            subtractZeroPoint();
            scale();
        }
        a.add(WORDS, form.wordBytes());
        a.add(X_BLOCK, ActivationTile.BLOCK_BYTES);
    }

    /** Prefetches the inputs of a later block. */
    private void prefetchInputs() {
        int ahead = INPUT_BLOCKS_AHEAD * ActivationTile.BLOCK_BYTES - ActivationTile.BIAS;
        for (int t = 0; t < n; t++) {
            a.prefetcht0(at(X_BLOCK, ahead + ActivationTile.quantsAt(first + t, 0)));
        }
    }

    /** Multiplies a word with a row's inputs. Only this method differs between the AVX2 sets. */
    private void product(int t, int w) {
        boolean begins = w % run == 0;
        if (vnni && begins) {
            for (int half = 0; half < HALVES; half++) {
                a.vpxor(sum(half, t), sum(half, t), sum(half, t));
            }
        }
        a.vpbroadcastd(INPUT, input(t, w));
        for (int half = 0; half < HALVES; half++) {
            Vec sum = sum(half, t);
            switch (instructions) {
                case AVX2_VNNI -> a.vpdpbusdVex(sum, WORD[half], INPUT);
                case AVX2_VNNI_EVEX -> a.vpdpbusd(sum, WORD[half], INPUT);
                default -> {
                    if (signed) {
                        a.vpsignb(TEMP, INPUT, WORD[half]);
                        a.vpmaddubsw(TEMP, MAGNITUDE[half], TEMP);
                        a.vpmaddwd(w == 0 ? sum : TEMP, TEMP, ONES);
                        if (w > 0) {
                            a.vpaddd(sum, sum, TEMP);
                        }
                    } else {
                        a.vpmaddubsw(begins ? sum : TEMP, WORD[half], INPUT);
                        if (!begins) {
                            a.vpaddw(sum, sum, TEMP);
                        }
                    }
                }
            }
        }
    }

    /** Widens a run to 32 bits, multiplies it by its scale if half blocks have scales, and adds the earlier runs. */
    private void endRun(int w) {
        if (vnni && !twoScales) {
            return;
        }
        for (int half = 0; half < HALVES; half++) {
            Vec factor = WORD[half]; // the word is no longer needed
            a.vmovdqu(factor, twoScales ? halfBlockScale(half, w / 4) : ones);
            for (int t = 0; t < n; t++) {
                Vec sum = sum(half, t);
                if (vnni) {
                    a.vpmulld(sum, sum, factor);
                } else {
                    a.vpmaddwd(sum, sum, factor);
                }
                Mem before = slot(sumSlot + HALVES * t + half);
                if (w >= run) {
                    a.vpaddd(sum, sum, before);
                }
                if (w < WORDS_OF_BLOCK - 1) {
                    a.vmovdqu(before, sum);
                }
            }
        }
    }

    /** Stores the scales of both halves of a block that are small floats, and the factors of {@link #endHalf}. */
    private void loadFloatScales() {
        for (int half = 0; half < HALVES; half++) {
            for (int inputs = 0; inputs < 2; inputs++) {
                Vec scale = WORD[0];
                a.vpmovzxbd(scale, at(SCALES, inputs * PackedForm.PANEL + half * LANES));
                a.vpslld(scale, scale, 20); // the exponent's bias in an f32 is 127, not 7
                a.vmulps(scale, scale, factor);
                a.vmovups(halfBlockScale(half, inputs), scale);
            }
        }
    }

    /** Subtracts the zero point from the sums of 16 inputs, and adds the sums times their float scale to y. */
    private void endHalf(int inputs) {
        int zeroPoint = form.zeroPoint();
        Mem zeroPoints = inAllLanes(inputs == 0 ? zeroPoint : zeroPoint << Short.SIZE);
        for (int t = 0; t < n; t++) {
            a.vpbroadcastd(INPUT, number(ActivationTile.HALF_SUMS, t));
            a.vpmaddwd(INPUT, INPUT, zeroPoints);
            a.vbroadcastss(WORD[0], number(ActivationTile.SCALE, t));
            for (int half = 0; half < HALVES; half++) {
                Vec sum = sum(half, t);
                if (!vnni) {
                    a.vpmaddwd(sum, sum, ones);
                }
                a.vpsubd(sum, sum, INPUT);
                a.vcvtdq2ps(sum, sum);
                a.vmulps(TEMP, WORD[0], halfBlockScale(half, inputs));
                a.vfmadd213ps(sum, TEMP, y(half, t));
                a.vmovups(y(half, t), sum);
            }
        }
    }

    /**
     * Stores the integer scales of both halves of a block for {@link #endRun}, {@link #subtractZeroPoint} and {@link
     * #addMinimums}.
     */
    private void spreadScales() {
        for (int half = 0; half < HALVES; half++) {
            for (int inputs = 0; inputs < 2; inputs++) {
                Vec scale = WORD[inputs];
                a.vpmovsxbd(scale, at(BLOCK_SCALES, inputs * PackedForm.PANEL + half * LANES));
                if (vnni) {
                    a.vmovdqu(halfBlockScale(half, inputs), scale);
                } else {
                    a.vpshufb(TEMP, scale, twice);
                    a.vmovdqu(halfBlockScale(half, inputs), TEMP);
                }
            }
            if (form.zeroPoint() > 0) {
                pair(zeroSlot + half, Integer.numberOfTrailingZeros(form.zeroPoint()));
            }
            if (form.minimum()) {
                int minimums = 2 * PackedForm.SUPER * PackedForm.PANEL + half * LANES;
                a.vpmovzxbd(WORD[0], at(BLOCK_SCALES, minimums));
                a.vpmovzxbd(WORD[1], at(BLOCK_SCALES, minimums + PackedForm.PANEL));
                pair(minimumSlot + half, 0);
                a.vcvtph2ps(TEMP, scales(half).plus(PackedForm.PANEL * Short.BYTES));
                a.vmovups(slot(minimumScaleSlot + half), TEMP);
            }
        }
    }

    /** Stores the two integers of each lane in 16 bits each, shifted to the left. */
    private void pair(int slot, int shift) {
        if (shift > 0) {
            a.vpslld(WORD[0], WORD[0], shift);
        }
        a.vpand(WORD[0], WORD[0], low16);
        a.vpslld(WORD[1], WORD[1], 16 + shift);
        a.vpor(WORD[0], WORD[0], WORD[1]);
        a.vmovdqu(slot(slot), WORD[0]);
    }

    /** Subtracts the zero point times the sum of the inputs, because stored quants are unsigned. */
    private void subtractZeroPoint() {
        if (signed || form.zeroPoint() == 0) {
            return;
        }
        int shift = Integer.numberOfTrailingZeros(form.zeroPoint()) - 3; // the tile has −8 × Σ
        for (int half = 0; half < HALVES && twoScales; half++) {
            a.vmovdqu(WORD[half], slot(zeroSlot + half));
        }
        for (int t = 0; t < n; t++) {
            if (twoScales) {
                a.vpbroadcastd(INPUT, number(ActivationTile.HALF_SUMS, t));
                for (int half = 0; half < HALVES; half++) {
                    a.vpmaddwd(TEMP, INPUT, WORD[half]);
                    a.vpsubd(sum(half, t), sum(half, t), TEMP);
                }
                continue;
            }
            a.vpbroadcastd(INPUT, number(ActivationTile.NEGATIVE_SUM, t));
            if (shift > 0) {
                a.vpslld(INPUT, INPUT, shift);
            } else if (shift < 0) {
                a.vpsrad(INPUT, INPUT, -shift); // the lost bits are zeros
            }
            for (int half = 0; half < HALVES; half++) {
                a.vpaddd(sum(half, t), sum(half, t), INPUT);
            }
        }
    }

    /** Loads the quants of inputs 4w to 4w + 3: unsigned, or if {@link #signed} signed and their magnitudes. */
    private void word(int half, int w) {
        Vec word = WORD[half];
        switch (form.bits()) {
            case 8 -> {
                a.vmovdqu(word, stored(half, w));
            }
            case 1 -> {
                a.vmovdqu(word, stored(half, 0));
                shift(word, 1 - w);
                a.vpand(word, word, upperMask);
            }
            case 2, 3 -> {
                shiftedRight(word, stored(half, w / 4), w % 4 * 2);
                a.vpand(word, word, upperMask);
                complete(half, w);
            }
            default -> {
                shiftedRight(word, stored(half, w % 4), w / 4 * 4);
                a.vpand(word, word, nibbles);
                complete(half, w);
            }
        }
        if (signed) {
            a.vpxor(word, word, flip);
            a.vpabsb(MAGNITUDE[half], word);
        }
    }

    private void shiftedRight(Vec to, Mem from, int bits) {
        a.vmovdqu(to, from);
        if (bits > 0) {
            a.vpsrld(to, to, bits);
        }
    }

    /** Adds the upper bits of quants, and looks them up in the table if there is one. */
    private void complete(int half, int w) {
        Vec word = WORD[half];
        switch (form.bits()) {
            case 3 -> addBits(word, upper(half, 0), 2 - w, thirdMask);
            case 5 -> addBits(word, upper(half, 0), 4 - w, upperMask);
            case 6 -> addBits(word, upper(half, w / 4), 4 - 2 * (w % 4), upperMask);
            default -> {}
        }
        if (form.codes() != PackedForm.Codes.PLAIN) {
            a.vmovdqu(TEMP, table);
            a.vpshufb(word, TEMP, word);
        }
    }

    private void addBits(Vec word, Mem stored, int left, Mem mask) {
        a.vmovdqu(TEMP, stored);
        shift(TEMP, left);
        a.vpand(TEMP, TEMP, mask);
        a.vpor(word, word, TEMP);
    }

    private void shift(Vec word, int left) {
        if (left > 0) {
            a.vpslld(word, word, left);
        } else if (left < 0) {
            a.vpsrld(word, word, -left);
        }
    }

    private void scale() {
        for (int half = 0; half < HALVES; half++) {
            Vec scale = WORD[half];
            switch (form.scales()) {
                case HALF -> a.vcvtph2ps(scale, scales(half));
                case HALF_BLOCK_BYTES -> {
                    a.vcvtph2ps(scale, scales(half));
                    multiplyByFactor(scale);
                }
                case EXPONENTS -> {
                    // 2^e has the bits (e + 127) << 23, or (e + 129) << 21 where that is more: it is denormal there
                    a.vpmovsxbd(scale, at(SCALES, half * LANES));
                    a.vpaddd(scale, scale, inAllLanes(129));
                    a.vpslld(scale, scale, 21);
                    a.vpslld(TEMP, scale, 2);
                    a.vpsubd(TEMP, TEMP, inAllLanes(2 << 23));
                    a.vpmaxsd(scale, scale, TEMP);
                }
                case BYTES -> {
                    a.vpmovsxbd(scale, at(BLOCK_SCALES, half * LANES));
                    a.vcvtdq2ps(scale, scale);
                    a.vcvtph2ps(TEMP, scales(half));
                    a.vmulps(scale, scale, TEMP);
                    multiplyByFactor(scale);
                }
                case HALF_BLOCK_FLOATS -> throw new AssertionError(form);
            }
            if (form.minimum() && !twoScales) {
                minimum(half);
            }
        }
        for (int t = 0; t < n; t++) {
            a.vbroadcastss(INPUT, number(ActivationTile.SCALE, t));
            for (int half = 0; half < HALVES; half++) {
                Vec sum = sum(half, t);
                a.vmulps(TEMP, WORD[half], INPUT);
                a.vcvtdq2ps(sum, sum);
                a.vfmadd213ps(sum, TEMP, y(half, t));
            }
            if (form.minimum()) {
                addMinimums(t);
            }
            for (int half = 0; half < HALVES; half++) {
                a.vmovups(y(half, t), sum(half, t));
            }
        }
    }

    private void multiplyByFactor(Vec scale) {
        if (form.factor() != 1) {
            a.vmulps(scale, scale, factor);
        }
    }

    /** Stores the minimums of a block as floats. */
    private void minimum(int half) {
        Mem minimums = scales(half).plus(PackedForm.PANEL * Short.BYTES);
        a.vcvtph2ps(TEMP, minimums);
        if (form.scales().grouped()) {
            a.vpmovzxbd(INPUT, at(BLOCK_SCALES, PackedForm.SUPER * PackedForm.PANEL + half * LANES));
            a.vcvtdq2ps(INPUT, INPUT);
            a.vmulps(TEMP, INPUT, TEMP);
        }
        a.vmovups(slot(minimumSlot + half), TEMP);
    }

    /** Adds the minimums times the sum of a row's inputs to the row's y, which is in the register of its sum. */
    private void addMinimums(int t) {
        if (!twoScales) {
            a.vbroadcastss(INPUT, number(ActivationTile.SCALED_SUM, t));
        }
        for (int half = 0; half < HALVES; half++) {
            if (twoScales) {
                a.vpbroadcastd(TEMP, number(ActivationTile.HALF_SUMS, t));
                a.vpmaddwd(TEMP, TEMP, slot(minimumSlot + half));
                a.vcvtdq2ps(TEMP, TEMP);
                a.vbroadcastss(INPUT, number(ActivationTile.SCALE, t));
                a.vmulps(INPUT, INPUT, slot(minimumScaleSlot + half));
                a.vfnmadd231ps(sum(half, t), INPUT, TEMP);
            } else if (form.scales().grouped()) {
                a.vfnmadd231ps(sum(half, t), INPUT, slot(minimumSlot + half));
            } else {
                a.vfmadd231ps(sum(half, t), INPUT, slot(minimumSlot + half));
            }
        }
    }

    /** A word of upper bits. */
    private static Mem upper(int half, int index) {
        return at(WORDS, index * PackedForm.WORD_BYTES + half * HALF_WORD);
    }

    /** A word behind those of the upper bits. */
    private Mem stored(int half, int index) {
        return upper(half, form.upperWords() + index);
    }

    private static Mem scales(int half) {
        return at(SCALES, half * LANES * Short.BYTES);
    }

    private Mem input(int t, int w) {
        return at(X_BLOCK, ActivationTile.quantsAt(first + t, 4 * w) - ActivationTile.BIAS);
    }

    private Mem number(int kind, int t) {
        return at(X_BLOCK, ActivationTile.numberAt(kind, first + t) - ActivationTile.BIAS);
    }

    private static Mem slot(int index) {
        return at(RSP, index * REGISTER_BYTES);
    }

    private Mem y(int half, int t) {
        return slot(HALVES * t + half);
    }

    private Mem halfBlockScale(int half, int inputs) {
        return slot(scaleSlot + HALVES * half + inputs);
    }

    /** The register of a run, then of the sum of a block, then of y. */
    private Vec sum(int half, int t) {
        return ymm(HALVES * t + half);
    }
}
