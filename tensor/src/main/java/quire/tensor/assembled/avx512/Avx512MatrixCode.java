package quire.tensor.assembled.avx512;

import static quire.tensor.x86.Gp.R10;
import static quire.tensor.x86.Gp.R11;
import static quire.tensor.x86.Gp.R12;
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

import java.util.Arrays;
import quire.tensor.assembled.common.ActivationTile;
import quire.tensor.assembled.common.WeightPrefetch;
import quire.tensor.packing.PackedForm;
import quire.tensor.x86.Assembler;
import quire.tensor.x86.Gp;
import quire.tensor.x86.Label;
import quire.tensor.x86.MachineCode;
import quire.tensor.x86.Mem;
import quire.tensor.x86.Vec;

/**
 * Writes a product with quantised weights in AVX-512 VNNI: panels of 16 outputs in one {@link PackedForm} times {@code
 * n} rows of activations in the layout of {@link ActivationTile}.
 *
 * <pre>
 *   for each panel:
 *     y[0..n) = 0                                           n registers, lane = output
 *     for each block of 32 inputs:
 *       sum[0..n) = −zeroPoint × Σ x                         n registers of int32
 *       for each word w of 8:  sum[t] += word · x[t][4w..4w+3]   vpdpbusd, x broadcast from memory
 *       y[t] = fma(dw × dx[t], (float) sum[t], y[t])
 *       y[t] = fma(mw, sx[t], y[t])                          if blocks have minimums
 *     store y
 * </pre>
 *
 * <p>A weight word is loaded and unpacked once for n rows. The sums of integers are exact, and every lane adds its
 * blocks in ascending order for any n. So a row's result does not depend on the other rows.
 */
final class Avx512MatrixCode {
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

    private static final Vec WORD = zmm(24);
    private static final Vec WORD_HIGH = zmm(25);
    /** The mask of the lower bits of quants. */
    private static final Vec LOWER_MASK = zmm(26);

    private static final Vec SCALE = zmm(27);
    private static final Vec MINIMUM = zmm(28);
    private static final Vec TEMP = zmm(29);
    private static final Vec UPPER = zmm(30);
    /** The mask of the upper bits of quants, or the table. */
    private static final Vec UPPER_MASK = zmm(31);
    /** The mask of the third bit of quants of 3 bits, which have no minimum. */
    private static final Vec THIRD_MASK = MINIMUM;
    /** Ones, for scales that are exponents; such types have no minimum. */
    private static final Vec ONES = MINIMUM;
    // with two scales for each block: at most 6 rows, so 18 registers of sums
    private static final Vec SCALE_1 = zmm(23);
    private static final Vec MINIMUM_1 = zmm(22);
    private static final Vec TEMP_1 = zmm(21);
    private static final Vec UPPER_1 = zmm(20);
    private static final Vec D = zmm(19);

    private final Assembler a = new Assembler();
    private final PackedForm form;
    /** Whether tables are looked up by {@code vpermb}, which ignores the upper bits of an index. */
    private final boolean looksUpBytes;

    private final int n;
    private final int first;
    private final boolean halves;

    private Avx512MatrixCode(PackedForm form, boolean looksUpBytes, int first, int n) {
        this.form = form;
        this.looksUpBytes = looksUpBytes && form.codes() != PackedForm.Codes.PLAIN;
        this.first = first;
        this.n = n;
        this.halves = form.scales().perBlock() == 2;
    }

    /** Maximum number of rows of activations of one call. */
    static int maxRows(PackedForm form) {
        return form.scales().perBlock() == 2 ? ActivationTile.ROWS / 2 : ActivationTile.ROWS;
    }

    /**
     * Assembles the product; its arguments are those of {@code KernelWriter.product}.
     *
     * @param looksUpBytes whether the processor has AVX512VBMI
     * @param first index of the first row in its tile
     * @param n number of rows, at most {@link #maxRows}
     */
    static MachineCode assemble(PackedForm form, boolean looksUpBytes, int first, int n) {
        return new Avx512MatrixCode(form, looksUpBytes, first, n).assemble();
    }

    private MachineCode assemble() {
        a.push(RBX);
        a.push(RBP);
        a.push(R12);
        int stackArguments = 8 + 3 * 8;
        a.mov(PANELS, at(RSP, stackArguments));
        a.mov(LAST_LANES, at(RSP, stackArguments + 8));
        a.mov(RAX, 0xFFFF);
        a.kmovw(K1, RAX);
        constants();
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
        a.lea(X_BLOCK, at(X, ActivationTile.BIAS));
        a.mov(GROUP_COUNT, GROUPS);
        Label group = a.label();
        a.align(32);
        a.bind(group);
        WeightPrefetch.scales(a, SCALES, form, n);
        if (form.scales().grouped()) {
            group();
        } else {
            plainScales();
            block();
        }
        a.add(SCALES, form.scaleBytes());
        a.dec(GROUP_COUNT);
        a.jnz(group);
        a.mov(GROUP_COUNT, Y);
        for (int t = 0; t < n; t++) {
            a.vmovups(at(GROUP_COUNT), y(t).mask(K1));
            if (t + 1 < n) {
                a.add(GROUP_COUNT, Y_STRIDE);
            }
        }
        a.add(Y, PackedForm.WORD_BYTES);
        a.dec(PANELS);
        a.jnz(panel);
        a.pop(R12);
        a.pop(RBP);
        a.pop(RBX);
        a.vzeroupper();
        a.ret();
        return a.finish();
    }

    private void constants() {
        switch (form.bits()) {
            case 2 -> broadcast(LOWER_MASK, 0x03030303);
            case 3 -> {
                broadcast(LOWER_MASK, 0x03030303);
                broadcast(THIRD_MASK, 0x04040404);
            }
            case 4, 5, 6 -> broadcast(LOWER_MASK, 0x0F0F0F0F);
            default -> {}
        }
        byte[] table = form.codes().table();
        if (form.scales() == PackedForm.Scales.EXPONENTS) {
            broadcast(ONES, Float.floatToRawIntBits(1f));
        }
        if (table != null) {
            // a table of 8 values is repeated, because vpermb does not ignore the fourth bit of an index
            byte[] whole = Arrays.copyOf(table, 16);
            System.arraycopy(table, 0, whole, 16 - table.length, table.length);
            a.vbroadcasti32x4(UPPER_MASK, Mem.rip(a.constant(whole, 16)));
        } else {
            switch (form.bits()) {
                case 1 -> broadcast(UPPER_MASK, 0x02020202);
                case 5 -> broadcast(UPPER_MASK, 0x10101010);
                case 6 -> broadcast(UPPER_MASK, 0x30303030);
                default -> {}
            }
        }
    }

    private void broadcast(Vec to, int value) {
        a.vpbroadcastd(to, Mem.rip(a.constant(new int[] {value}, 4)));
    }

    /** Computes eight blocks that share the floats d and dmin. */
    private void group() {
        int quantsAt = (form.minimum() ? 4 : 2) * PackedForm.PANEL;
        a.lea(BLOCK_SCALES, at(SCALES, quantsAt));
        a.mov(BLOCK_COUNT, PackedForm.SUPER);
        Label next = a.label();
        a.align(32);
        a.bind(next);
        int minimums = PackedForm.SUPER * form.scales().perBlock() * PackedForm.PANEL;
        if (halves) {
            a.vcvtph2ps(D, at(SCALES));
            multiplyByFactor(D);
            a.vpmovsxbd(SCALE, at(BLOCK_SCALES));
            a.vpmovsxbd(SCALE_1, at(BLOCK_SCALES, PackedForm.PANEL));
            if (form.minimum()) {
                a.vpmovzxbd(MINIMUM, at(BLOCK_SCALES, minimums));
                a.vpmovzxbd(MINIMUM_1, at(BLOCK_SCALES, minimums + PackedForm.PANEL));
            }
        } else {
            a.vpmovsxbd(SCALE, at(BLOCK_SCALES));
            a.vcvtph2ps(TEMP, at(SCALES));
            a.vcvtdq2ps(SCALE, SCALE);
            a.vmulps(SCALE, SCALE, TEMP);
            multiplyByFactor(SCALE);
            if (form.minimum()) {
                a.vpmovzxbd(MINIMUM, at(BLOCK_SCALES, minimums));
                a.vcvtph2ps(TEMP, at(SCALES, 2 * PackedForm.PANEL));
                a.vcvtdq2ps(MINIMUM, MINIMUM);
                a.vmulps(MINIMUM, MINIMUM, TEMP);
            }
        }
        block();
        a.add(BLOCK_SCALES, form.scales().perBlock() * PackedForm.PANEL);
        a.dec(BLOCK_COUNT);
        a.jnz(next);
    }

    private void multiplyByFactor(Vec scale) {
        if (form.factor() != 1) {
            a.vmulps(scale, scale, constant(form.factor()));
        }
    }

    private Mem constant(float value) {
        return Mem.rip(a.constant(new int[] {Float.floatToRawIntBits(value)}, 4))
                .bcast();
    }

    private void plainScales() {
        if (form.scales() == PackedForm.Scales.HALF_BLOCK_FLOATS) {
            smallFloats(SCALE, 0);
            smallFloats(SCALE_1, PackedForm.PANEL);
        } else if (form.scales() == PackedForm.Scales.EXPONENTS) {
            a.vpmovsxbd(SCALE, at(SCALES));
            a.vcvtdq2ps(SCALE, SCALE);
            a.vscalefps(SCALE, ONES, SCALE);
        } else {
            a.vcvtph2ps(SCALE, at(SCALES));
        }
        if (form.minimum()) {
            a.vcvtph2ps(MINIMUM, at(SCALES, 2 * PackedForm.PANEL));
        }
    }

    /** Loads half of the scales that are small floats, which twice the values of FP4 are multiplied with. */
    private void smallFloats(Vec scale, int at) {
        a.vpmovzxbd(scale, at(SCALES, at));
        a.vpslld(scale, scale, 20); // the exponent's bias in an f32 is 127, not 7
        a.vmulps(scale, scale, constant(0x1p119f));
    }

    /** Computes one block: exact sums, which are scaled and added to y. */
    private void block() {
        WeightPrefetch.words(a, WORDS, form.wordBytes(), n);
        for (int t = 0; t < n; t++) {
            startSum(sum(t), halves ? ActivationTile.NEGATIVE_HALF_0 : ActivationTile.NEGATIVE_SUM, t);
            if (halves) {
                startSum(sum1(t), ActivationTile.NEGATIVE_HALF_1, t);
            }
        }
        switch (form.bits()) {
            case 1 -> words1();
            case 2, 3 -> words2();
            case 8 -> words8();
            default -> wordsNibbles();
        }
        for (int t = 0; t < n; t++) {
            if (form.scales() == PackedForm.Scales.HALF_BLOCK_FLOATS) {
                scaleHalf(t, sum(t), SCALE);
                scaleHalf(t, sum1(t), SCALE_1);
            } else if (halves) {
                scaleHalves(t);
            } else {
                scale(t);
            }
        }
        a.add(WORDS, form.wordBytes());
        a.add(X_BLOCK, ActivationTile.BLOCK_BYTES);
    }

    private void startSum(Vec sum, int kind, int t) {
        switch (form.zeroPoint()) {
            case 0 -> a.vpxord(sum, sum, sum);
            case 8 -> a.vpbroadcastd(sum, number(kind, t));
            default -> {
                a.vpbroadcastd(sum, number(kind, t));
                int shift = Integer.numberOfTrailingZeros(form.zeroPoint()) - 3;
                if (shift > 0) {
                    a.vpslld(sum, sum, shift);
                } else {
                    a.vpsrad(sum, sum, -shift); // −8 × Σ: the lost bits are zeros
                }
            }
        }
    }

    private void words8() {
        for (int w = 0; w < 8; w++) {
            Vec word = w % 2 == 0 ? WORD : WORD_HIGH;
            a.vmovdqu32(word, stored(w));
            multiply(word, w);
        }
    }

    private void words1() {
        a.vmovdqu32(UPPER, at(WORDS));
        for (int w = 0; w < 8; w++) {
            shift(WORD, UPPER, 1 - w);
            a.vpandd(WORD, WORD, UPPER_MASK);
            multiply(WORD, w);
        }
    }

    /** Words of 2 or 3 bits. */
    private void words2() {
        boolean three = form.bits() == 3;
        if (three) {
            a.vmovdqu32(UPPER, at(WORDS));
        }
        for (int w = 0; w < 8; w++) {
            if (w % 4 == 0) {
                a.vmovdqu32(WORD_HIGH, stored(w / 4));
            }
            if (looksUpBytes) {
                shift(WORD, WORD_HIGH, -(w % 4 * 2));
                if (three) {
                    shift(TEMP, UPPER, 2 - w);
                    a.vpternlogd(WORD, TEMP, THIRD_MASK, 0xD8); // the mask's bits of TEMP, the others of WORD
                }
                a.vpermb(WORD, WORD, UPPER_MASK);
                multiply(WORD, w);
                continue;
            }
            if (w % 4 == 0) {
                a.vpandd(WORD, WORD_HIGH, LOWER_MASK);
            } else {
                a.vpsrld(WORD, WORD_HIGH, w % 4 * 2);
                a.vpandd(WORD, WORD, LOWER_MASK);
            }
            if (three) {
                shift(TEMP, UPPER, 2 - w);
                a.vpternlogd(WORD, TEMP, THIRD_MASK, 0xF8); // WORD | (TEMP & mask)
            }
            if (form.codes() != PackedForm.Codes.PLAIN) {
                a.vpshufb(WORD, UPPER_MASK, WORD);
            }
            multiply(WORD, w);
        }
    }

    private void shift(Vec to, Vec from, int left) {
        if (left > 0) {
            a.vpslld(to, from, left);
        } else if (left < 0) {
            a.vpsrld(to, from, -left);
        } else {
            a.vmovdqu32(to, from);
        }
    }

    private void wordsNibbles() {
        switch (form.bits()) {
            case 5 -> a.vmovdqu32(UPPER, at(WORDS));
            case 6 -> {
                a.vmovdqu32(UPPER, at(WORDS));
                a.vmovdqu32(UPPER_1, at(WORDS, PackedForm.WORD_BYTES));
            }
            default -> {}
        }
        for (int i = 0; i < 4; i++) {
            a.vmovdqu32(WORD_HIGH, stored(i));
            if (looksUpBytes) {
                a.vpermb(WORD, WORD_HIGH, UPPER_MASK);
                multiply(WORD, i);
                a.vpsrld(WORD_HIGH, WORD_HIGH, 4);
                a.vpermb(WORD_HIGH, WORD_HIGH, UPPER_MASK);
                multiply(WORD_HIGH, 4 + i);
                continue;
            }
            a.vpandd(WORD, WORD_HIGH, LOWER_MASK);
            complete(WORD, i);
            multiply(WORD, i);
            a.vpsrld(WORD_HIGH, WORD_HIGH, 4);
            a.vpandd(WORD_HIGH, WORD_HIGH, LOWER_MASK);
            complete(WORD_HIGH, 4 + i);
            multiply(WORD_HIGH, 4 + i);
        }
    }

    /** Turns nibbles into quants: looks them up in the table, or adds their upper bits. */
    private void complete(Vec word, int w) {
        if (form.codes() != PackedForm.Codes.PLAIN) {
            a.vpshufb(word, UPPER_MASK, word);
            return;
        }
        int left;
        Vec plane;
        switch (form.bits()) {
            case 5 -> {
                left = 4 - w;
                plane = UPPER;
            }
            case 6 -> {
                left = 4 - 2 * (w % 4);
                plane = w < 4 ? UPPER : UPPER_1;
            }
            default -> {
                return;
            }
        }
        Vec shifted = halves ? TEMP_1 : TEMP;
        if (left > 0) {
            a.vpslld(shifted, plane, left);
        } else if (left < 0) {
            a.vpsrld(shifted, plane, -left);
        } else {
            shifted = plane;
        }
        a.vpternlogd(word, shifted, UPPER_MASK, 0xF8); // word | (shifted & mask)
    }

    private void multiply(Vec word, int w) {
        for (int t = 0; t < n; t++) {
            Vec sum = halves && w >= 4 ? sum1(t) : sum(t);
            a.vpdpbusd(
                    sum,
                    word,
                    at(X_BLOCK, ActivationTile.quantsAt(first + t, 4 * w) - ActivationTile.BIAS)
                            .bcast());
        }
    }

    private void scale(int t) {
        a.vmulps(TEMP, SCALE, number(ActivationTile.SCALE, t).bcast());
        a.vcvtdq2ps(sum(t), sum(t));
        a.vfmadd231ps(y(t), TEMP, sum(t));
        if (form.minimum()) {
            Mem scaledSum = number(ActivationTile.SCALED_SUM, t).bcast();
            if (form.scales().grouped()) {
                a.vfnmadd231ps(y(t), MINIMUM, scaledSum);
            } else {
                a.vfmadd231ps(y(t), MINIMUM, scaledSum);
            }
        }
    }

    /** Adds half of a block, whose scale is a float. */
    private void scaleHalf(int t, Vec sum, Vec scale) {
        a.vmulps(TEMP, scale, number(ActivationTile.SCALE, t).bcast());
        a.vcvtdq2ps(sum, sum);
        a.vfmadd231ps(y(t), TEMP, sum);
    }

    private void scaleHalves(int t) {
        a.vpmulld(sum(t), sum(t), SCALE);
        a.vpmulld(sum1(t), sum1(t), SCALE_1);
        a.vmulps(TEMP, D, number(ActivationTile.SCALE, t).bcast());
        a.vpaddd(sum(t), sum(t), sum1(t));
        a.vcvtdq2ps(sum(t), sum(t));
        a.vfmadd231ps(y(t), TEMP, sum(t));
        if (form.minimum()) {
            a.vcvtph2ps(TEMP, at(SCALES, 2 * PackedForm.PANEL));
            a.vmulps(TEMP, TEMP, number(ActivationTile.SCALE, t).bcast());
            a.vpmulld(sum(t), MINIMUM, number(ActivationTile.HALF_0, t).bcast());
            a.vpmulld(sum1(t), MINIMUM_1, number(ActivationTile.HALF_1, t).bcast());
            a.vpaddd(sum(t), sum(t), sum1(t));
            a.vcvtdq2ps(sum(t), sum(t));
            a.vfnmadd231ps(y(t), TEMP, sum(t));
        }
    }

    /** A word behind those of the upper bits. */
    private Mem stored(int index) {
        return at(WORDS, (form.upperWords() + index) * PackedForm.WORD_BYTES);
    }

    private Mem number(int kind, int t) {
        return at(X_BLOCK, ActivationTile.numberAt(kind, first + t) - ActivationTile.BIAS);
    }

    private Vec sum(int t) {
        return zmm(t);
    }

    private Vec sum1(int t) {
        return zmm(ActivationTile.ROWS / 2 + t);
    }

    private Vec y(int t) {
        return zmm(ActivationTile.ROWS + t);
    }
}
