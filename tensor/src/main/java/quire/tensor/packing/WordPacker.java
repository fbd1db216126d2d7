package quire.tensor.packing;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import quire.tensor.Activations;
import quire.tensor.ElementType;
import quire.tensor.block.FileNumbers;
import quire.tensor.block.Grid;
import quire.tensor.block.UnpackedBlock;

/**
 * Packs panels as {@link PanelPacker#packSlowly}, in 32-bit words of four or eight quants. Not thread-safe: each worker
 * has its own.
 *
 * <p>A model is packed once, before the optimising compiler has compiled these loops. So the loops are long, call few
 * methods and work on arrays. The interpreter and the first compiler run such code well, but are slow on segments:
 *
 * <pre>
 *   file     row of lane 0   ──copy──▶  row (short[])  ──lane 0──▶ ┐
 *            row of lane 1   ──copy──▶  row            ──lane 1──▶ │ words, scales  ──copy──▶  panel
 *            …                                                     ┘ of {@value #CHUNK} columns, which stay in the cache
 * </pre>
 *
 * <p>Offsets in a file's block are in shorts. Only MXFP4's blocks have an odd number of bytes; its rows are copied as
 * bytes.
 */
final class WordPacker {
    /** Columns packed at a time; whole blocks of every type. */
    private static final int CHUNK = 2048;

    private static final int PANEL = PackedForm.PANEL;
    private static final int BLOCK = Activations.BLOCK;
    private static final int SUPER = PackedForm.SUPER;
    private static final int LOW_NIBBLES = 0x0F0F0F0F;
    private static final int MAGNITUDES = 0x77777777;
    private static final int TWO_BITS = 0x03030303;
    private static final int ONE_BIT = 0x01010101;
    private static final int EVEN_BYTES = 0x00FF00FF;
    private static final ValueLayout.OfInt WORD = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private final ElementType type;
    private final int rows;
    private final int columns;
    private final MemorySegment source;
    private final long rowBytes;
    /** Size of the file's block in shorts. */
    private final int stride;
    /** Number of words of a packed block of 32, or of a column of floats. */
    private final int perBlock;
    /** Number of words of upper bits, which are the first of a block. */
    private final int upper;

    private final int scaleBytes;
    /** Number of columns whose scales are in one group. */
    private final int groupColumns;

    private final boolean minimum;

    private final short[] row;
    /** The row, for a type whose blocks have an odd number of bytes. */
    private final byte[] oddRow;

    private final short[] halves;
    private final int[] words;
    private final byte[] scales;
    /** The codes of a block of 256: byte j of word w is the code of input 4w + j. */
    private final int[] codes = new int[SUPER * BLOCK / Integer.BYTES];

    WordPacker(ElementType type, int rows, int columns, MemorySegment source) {
        this.type = type;
        this.rows = rows;
        this.columns = columns;
        this.source = source;
        rowBytes = type.byteSize(columns);
        stride = type.blockBytes() / Short.BYTES;
        int most = Math.min(CHUNK, columns);
        boolean odd = type.blockBytes() % Short.BYTES != 0;
        row = new short[odd ? 0 : (int) (type.byteSize(most) / Short.BYTES)];
        oddRow = new byte[odd ? (int) type.byteSize(most) : 0];
        if (type.isQuantized()) {
            PackedForm form = PackedForm.of(type);
            perBlock = form.bits();
            upper = form.upperWords();
            scaleBytes = form.scaleBytes();
            groupColumns = form.groupBlocks() * BLOCK;
            minimum = form.minimum();
            halves = new short[0];
            words = new int[most / BLOCK * perBlock * PANEL];
            scales = new byte[most / BLOCK / form.groupBlocks() * scaleBytes];
        } else {
            perBlock = 1;
            upper = 0;
            scaleBytes = 0;
            groupColumns = 1;
            minimum = false;
            boolean wide = type == ElementType.F32;
            halves = new short[wide ? 0 : most * PANEL];
            words = new int[wide ? most * PANEL : 0];
            scales = new byte[0];
        }
    }

    /** Packs panel {@code panel} into its words and scales; lanes without a row become zero. */
    void pack(int panel, MemorySegment toWords, MemorySegment toScales) {
        int lanes = Math.min(PANEL, rows - panel * PANEL);
        if (lanes < PANEL) {
            Arrays.fill(halves, (short) 0);
            Arrays.fill(words, 0);
            Arrays.fill(scales, (byte) 0);
        }
        for (int k = 0; k < columns; k += CHUNK) {
            int count = Math.min(CHUNK, columns - k);
            int shorts = count / type.blockElements() * stride;
            for (int lane = 0; lane < lanes; lane++) {
                long from = ((long) panel * PANEL + lane) * rowBytes + type.byteSize(k);
                if (oddRow.length > 0) {
                    MemorySegment.copy(source, ValueLayout.JAVA_BYTE, from, oddRow, 0, (int) type.byteSize(count));
                } else {
                    MemorySegment.copy(source, FileNumbers.SHORT, from, row, 0, shorts);
                }
                packRow(count, lane);
            }
            write(k, count, toWords, toScales);
        }
    }

    private void write(int k, int count, MemorySegment toWords, MemorySegment toScales) {
        if (halves.length > 0) {
            MemorySegment.copy(halves, 0, toWords, FileNumbers.SHORT, (long) k * PANEL * Short.BYTES, count * PANEL);
            return;
        }
        int columnsPerBlock = type.isQuantized() ? BLOCK : 1;
        int columnWords = perBlock * PANEL;
        MemorySegment.copy(
                words,
                0,
                toWords,
                WORD,
                (long) k / columnsPerBlock * columnWords * Integer.BYTES,
                count / columnsPerBlock * columnWords);
        if (scales.length > 0) {
            MemorySegment.copy(
                    scales,
                    0,
                    toScales,
                    ValueLayout.JAVA_BYTE,
                    (long) k / groupColumns * scaleBytes,
                    count / groupColumns * scaleBytes);
        }
    }

    private void packRow(int count, int lane) {
        int blocks = count / type.blockElements();
        switch (type) {
            case F32 -> packFloats(count, lane);
            case F16, BF16 -> packHalves(count, lane);
            case Q4_0, IQ4_NL -> {
                packHalfScales(blocks, lane);
                copyWords(blocks, 1, 4, 0, lane);
            }
            case Q4_1 -> {
                packHalfScales(blocks, lane);
                copyWords(blocks, 2, 4, 0, lane);
            }
            case Q5_0 -> {
                packHalfScales(blocks, lane);
                packSingleBits(blocks, 1, lane);
                copyWords(blocks, 3, 4, 0, lane);
            }
            case Q5_1 -> {
                packHalfScales(blocks, lane);
                packSingleBits(blocks, 2, lane);
                copyWords(blocks, 4, 4, 0, lane);
            }
            case Q8_0 -> {
                packHalfScales(blocks, lane);
                copyWords(blocks, 1, 8, 0x80808080, lane); // adds 128 to each byte
            }
            case Q2_K -> packQ2K(blocks, lane);
            case Q3_K -> packQ3K(blocks, lane);
            case Q4_K -> packQ4K(blocks, lane);
            case Q5_K -> packQ5K(blocks, lane);
            case Q6_K -> packQ6K(blocks, lane);
            case IQ4_XS -> packIq4Xs(blocks, lane);
            case MXFP4 -> packMxfp4(blocks, lane);
            case NVFP4 -> packNvfp4(blocks, lane);
            case IQ3_S -> packIq3S(blocks, lane);
            case IQ3_XXS -> packIq3Xxs(blocks, lane);
            case IQ2_S -> packIq2S(blocks, lane);
            case IQ2_XS -> packIq2Xs(blocks, lane);
            case IQ2_XXS -> packIq2Xxs(blocks, lane);
            case IQ1_M -> packIq1M(blocks, lane);
            case IQ1_S -> packIq1S(blocks, lane);
            case TQ1_0 -> packTq10(blocks, lane);
            case TQ2_0 -> {
                for (int s = 0; s < blocks; s++) {
                    packOnlyScale(s, row[s * stride + 32], lane);
                    packTwoBits(s * stride, s, lane);
                }
            }
            case Q1_0 -> packQ10(blocks, lane);
            case Q2_0 -> packQ20(blocks, lane);
        }
    }

    private void packFloats(int count, int lane) {
        for (int k = 0; k < count; k++) {
            words[k * PANEL + lane] = word(2 * k);
        }
    }

    private void packHalves(int count, int lane) {
        for (int k = 0; k < count; k++) {
            halves[k * PANEL + lane] = row[k];
        }
    }

    /** Four bytes of the row; {@code at} counts shorts. */
    private int word(int at) {
        return (row[at] & 0xFFFF) | row[at + 1] << 16;
    }

    /** An unsigned byte of the row; {@code at} counts bytes. */
    private int byteAt(int at) {
        return row[at >> 1] >>> ((at & 1) * Byte.SIZE) & 0xFF;
    }

    private void setHalf(int at, short half) {
        scales[at] = (byte) half;
        scales[at + 1] = (byte) (half >>> Byte.SIZE);
    }

    // ── blocks of 32 ────────────────────────────────────────────────────────────────────────────────────────────────

    /** Packs the f16 scale at the start of each block, and the minimum after it if there is one. */
    private void packHalfScales(int blocks, int lane) {
        for (int b = 0; b < blocks; b++) {
            setHalf(b * scaleBytes + 2 * lane, row[b * stride]);
            if (minimum) {
                setHalf(b * scaleBytes + 2 * (PANEL + lane), row[b * stride + 1]);
            }
        }
    }

    /** Copies quants whose layout in the file is the packed layout, and inverts the bits {@code change}. */
    private void copyWords(int blocks, int from, int count, int change, int lane) {
        for (int b = 0; b < blocks; b++) {
            int at = b * stride + from;
            int to = (b * perBlock + upper) * PANEL + lane;
            for (int w = 0; w < count; w++) {
                words[to + w * PANEL] = word(at + 2 * w) ^ change;
            }
        }
    }

    /**
     * Packs an exponent and nibbles. The nibbles have the packed layout, but −0 becomes 0, as in {@link
     * PanelPacker#packSlowly}.
     */
    private void packMxfp4(int blocks, int lane) {
        int at = 0;
        for (int b = 0; b < blocks; b++) {
            scales[b * scaleBytes + lane] = (byte) (oddRow[at++] - 128);
            int to = b * perBlock * PANEL + lane;
            for (int w = 0; w < 4; w++, at += Integer.BYTES) {
                int word = (oddRow[at] & 0xFF)
                        | (oddRow[at + 1] & 0xFF) << 8
                        | (oddRow[at + 2] & 0xFF) << 16
                        | oddRow[at + 3] << 24;
                words[to + w * PANEL] = withoutMinusZeros(word);
            }
        }
    }

    private static int withoutMinusZeros(int floats) {
        // a magnitude of 1 to 7 plus 7 sets the mask's sign bit, so the sign is kept; a magnitude of 0 clears the sign
        return floats & (((floats & MAGNITUDES) + MAGNITUDES) | MAGNITUDES);
    }

    private void packSingleBits(int blocks, int from, int lane) {
        for (int b = 0; b < blocks; b++) {
            words[b * perBlock * PANEL + lane] = singleBits(word(b * stride + from));
        }
    }

    /** Moves bit 4w + j of the file's word to bit w of byte j. */
    private static int singleBits(int file) {
        int packed = 0;
        for (int w = 0; w < 8; w++) {
            packed |= spread(file >>> (4 * w)) << w;
        }
        return packed;
    }

    /** Copies bit j of four bits to bit 8j. */
    private static int spread(int bits) {
        // the product copies it there; the mask removes the other copies
        return (bits & 15) * 0x00204081 & ONE_BIT;
    }

    // ── blocks of 64 and 128 ────────────────────────────────────────────────────────────────────────────────────────

    private void packNvfp4(int blocks, int lane) {
        for (int s = 0; s < blocks; s++) {
            int at = s * stride;
            for (int b = 0; b < 2; b++) {
                int block = 2 * s + b;
                int lower = at + 2 + 8 * b;
                int upper = lower + 4;
                int to = block * perBlock * PANEL + lane;
                for (int i = 0; i < 2; i++) {
                    int scale = byteAt(2 * at + 2 * b + i);
                    scales[block * scaleBytes + i * PANEL + lane] = UnpackedBlock.smallFloatBits((byte) scale);
                    int first = word(lower + 2 * i);
                    int second = word(upper + 2 * i);
                    words[to + i * PANEL] = withoutMinusZeros((first & LOW_NIBBLES) | (second & LOW_NIBBLES) << 4);
                    words[to + (2 + i) * PANEL] =
                            withoutMinusZeros((first >>> 4 & LOW_NIBBLES) | (second & ~LOW_NIBBLES));
                }
            }
        }
    }

    private void packQ10(int blocks, int lane) {
        for (int b = 0; b < 4 * blocks; b++) {
            int at = b / 4 * stride;
            setHalf(b * scaleBytes + 2 * lane, row[at]);
            words[b * PANEL + lane] = singleBits(word(at + 1 + b % 4 * 2));
        }
    }

    private void packQ20(int blocks, int lane) {
        for (int b = 0; b < 2 * blocks; b++) {
            int at = b / 2 * stride;
            setHalf(b * scaleBytes + 2 * lane, row[at]);
            for (int half = 0; half < 2; half++) {
                int file = word(at + 1 + b % 2 * 4 + 2 * half);
                int packed = 0;
                for (int i = 0; i < 4; i++) { // byte i of the file has inputs 4i to 4i + 3
                    int four = file >>> (Byte.SIZE * i);
                    packed |= ((four & 3) | (four & 12) << 6 | (four & 48) << 12 | (four & 192) << 18) << (2 * i);
                }
                words[(b * perBlock + half) * PANEL + lane] = packed;
            }
        }
    }

    // ── blocks of 256 ───────────────────────────────────────────────────────────────────────────────────────────────

    private void packQ4K(int blocks, int lane) {
        for (int s = 0; s < blocks; s++) {
            int at = s * stride;
            packSixBitPairs(s, at, lane);
            for (int i = 0; i < 4; i++) {
                packNibbles(at + 8 + 16 * i, s * SUPER + 2 * i, s * SUPER + 2 * i + 1, lane);
            }
        }
    }

    private void packQ5K(int blocks, int lane) {
        for (int s = 0; s < blocks; s++) {
            int at = s * stride;
            packSixBitPairs(s, at, lane);
            for (int i = 0; i < 4; i++) {
                packNibbles(at + 24 + 16 * i, s * SUPER + 2 * i, s * SUPER + 2 * i + 1, lane);
            }
            for (int b = 0; b < SUPER; b++) {
                int packed = 0;
                for (int w = 0; w < 8; w++) {
                    packed |= (word(at + 8 + 2 * w) >>> b & ONE_BIT) << w;
                }
                words[(s * SUPER + b) * perBlock * PANEL + lane] = packed;
            }
        }
    }

    private void packQ6K(int blocks, int lane) {
        for (int s = 0; s < blocks; s++) {
            int at = s * stride;
            setHalf(s * scaleBytes + 2 * lane, row[at + 104]);
            int to = s * scaleBytes + 2 * PANEL + lane;
            for (int i = 0; i < 16; i++) {
                scales[to + i * PANEL] = (byte) byteAt(2 * at + 192 + i);
            }
            for (int i = 0; i < 2; i++) {
                int block = s * SUPER + 4 * i;
                packNibbles(at + 32 * i, block, block + 2, lane);
                packNibbles(at + 32 * i + 16, block + 1, block + 3, lane);
            }
            packTwoBits(at + 64, s, lane);
        }
    }

    private void packQ2K(int blocks, int lane) {
        for (int s = 0; s < blocks; s++) {
            int at = s * stride;
            setHalf(s * scaleBytes + 2 * lane, row[at + 40]);
            setHalf(s * scaleBytes + 2 * (PANEL + lane), row[at + 41]);
            int to = s * scaleBytes + 4 * PANEL + lane;
            for (int i = 0; i < 16; i++) {
                int pair = byteAt(2 * at + i);
                scales[to + i * PANEL] = (byte) (pair & 15);
                scales[to + (16 + i) * PANEL] = (byte) (pair >>> 4);
            }
            packTwoBits(at + 8, s, lane);
        }
    }

    private void packQ3K(int blocks, int lane) {
        for (int s = 0; s < blocks; s++) {
            int at = s * stride;
            setHalf(s * scaleBytes + 2 * lane, row[at + 54]);
            int to = s * scaleBytes + 2 * PANEL + lane;
            for (int i = 0; i < 16; i++) {
                int low = byteAt(2 * at + 96 + i % 8) >>> (i / 8 * 4) & 15;
                int high = byteAt(2 * at + 104 + i % 4) >>> (i / 4 * 2) & 3;
                scales[to + i * PANEL] = (byte) ((low | high << 4) - 32);
            }
            for (int b = 0; b < SUPER; b++) {
                for (int w = 0; w < 8; w++) {
                    int lower = word(at + 16 + b / 4 * 16 + 2 * w) >>> (2 * (b % 4)) & TWO_BITS;
                    codes[8 * b + w] = lower | (word(at + 2 * w) >>> b & ONE_BIT) << 2;
                }
            }
            packCodes(s, lane);
        }
    }

    private void packIq4Xs(int blocks, int lane) {
        for (int s = 0; s < blocks; s++) {
            int at = s * stride;
            setHalf(s * scaleBytes + 2 * lane, row[at]);
            int to = s * scaleBytes + 2 * PANEL + lane;
            for (int b = 0; b < SUPER; b++) {
                int low = byteAt(2 * at + 4 + b / 2) >>> (b % 2 * 4) & 15;
                int high = row[at + 1] >>> (2 * b) & 3;
                scales[to + b * PANEL] = (byte) ((low | high << 4) - 32);
                for (int w = 0; w < 4; w++) {
                    words[((s * SUPER + b) * perBlock + w) * PANEL + lane] = word(at + 4 + 8 * b + 2 * w);
                }
            }
        }
    }

    /** Packs the 6-bit scales and minimums of Q4_K and Q5_K; {@link UnpackedBlock} shows their layout. */
    private void packSixBitPairs(int group, int at, int lane) {
        setHalf(group * scaleBytes + 2 * lane, row[at]);
        setHalf(group * scaleBytes + 2 * (PANEL + lane), row[at + 1]);
        int to = group * scaleBytes + 4 * PANEL + lane;
        for (int i = 0; i < 4; i++) {
            int scale = byteAt(2 * at + 4 + i);
            int least = byteAt(2 * at + 8 + i);
            int lower = byteAt(2 * at + 12 + i);
            scales[to + i * PANEL] = (byte) (scale & 63);
            scales[to + (4 + i) * PANEL] = (byte) ((lower & 15) | (scale >>> 2 & 0x30));
            scales[to + (8 + i) * PANEL] = (byte) (least & 63);
            scales[to + (12 + i) * PANEL] = (byte) (lower >>> 4 | (least >>> 2 & 0x30));
        }
    }

    /** Packs 32 bytes with one block in the low nibbles and another block in the high nibbles. */
    private void packNibbles(int at, int lowBlock, int highBlock, int lane) {
        int toLow = (lowBlock * perBlock + upper) * PANEL + lane;
        int toHigh = (highBlock * perBlock + upper) * PANEL + lane;
        for (int w = 0; w < 4; w++) {
            int first = word(at + 2 * w);
            int second = word(at + 2 * w + 8);
            words[toLow + w * PANEL] = (first & LOW_NIBBLES) | (second & LOW_NIBBLES) << 4;
            words[toHigh + w * PANEL] = (first >>> 4 & LOW_NIBBLES) | (second & ~LOW_NIBBLES);
        }
    }

    /** Packs two bits of each of 256 quants from 64 bytes, to the beginning of each packed block. */
    private void packTwoBits(int at, int group, int lane) {
        for (int b = 0; b < SUPER; b++) {
            int to = (group * SUPER + b) * perBlock * PANEL + lane;
            for (int half = 0; half < 2; half++) {
                int packed = 0;
                for (int w = 0; w < 4; w++) {
                    packed |= (word(at + b / 4 * 16 + 8 * half + 2 * w) >>> (2 * (b % 4)) & TWO_BITS) << (2 * w);
                }
                words[to + half * PANEL] = packed;
            }
        }
    }

    // ── IQ and TQ types: first the codes of a block, then its words ─────────────────────────────────────────────────

    /** Packs {@link #codes} of 2, 3 or 4 bits. */
    private void packCodes(int group, int lane) {
        for (int b = 0; b < SUPER; b++) {
            int block = (group * SUPER + b) * perBlock * PANEL + lane;
            int to = block + upper * PANEL;
            int from = 8 * b;
            if (perBlock == 4) {
                for (int w = 0; w < 4; w++) {
                    words[to + w * PANEL] = codes[from + w] | codes[from + 4 + w] << 4;
                }
                continue;
            }
            int first = 0;
            int second = 0;
            int third = 0;
            for (int w = 0; w < 4; w++) {
                int low = codes[from + w];
                int high = codes[from + 4 + w];
                first |= (low & TWO_BITS) << (2 * w);
                second |= (high & TWO_BITS) << (2 * w);
                third |= (low >>> 2 & ONE_BIT) << w | (high >>> 2 & ONE_BIT) << (4 + w);
            }
            words[to] = first;
            words[to + PANEL] = second;
            if (perBlock == 3) {
                words[block] = third;
            }
        }
    }

    /** Sets the codes of a point of 8 numbers with 3 levels; {@code signs} are 8 bits. */
    private void setEight(int at, long point, int signs) {
        codes[at] = (int) point | spread(signs) << 2;
        codes[at + 1] = (int) (point >>> 32) | spread(signs >>> 4) << 2;
    }

    /** Packs d and the scale 1 of all blocks of 32. */
    private void packOnlyScale(int group, short d, int lane) {
        setHalf(group * scaleBytes + 2 * lane, d);
        int to = group * scaleBytes + 2 * PANEL + lane;
        for (int b = 0; b < SUPER; b++) {
            scales[to + b * PANEL] = 1;
        }
    }

    /** Packs d and nibbles s that mean the scales 2s + 1; {@code at} counts bytes. */
    private void packOddScales(int group, short d, int at, int count, int lane) {
        setHalf(group * scaleBytes + 2 * lane, d);
        int to = group * scaleBytes + 2 * PANEL + lane;
        for (int i = 0; i < count; i++) {
            scales[to + i * PANEL] = (byte) (2 * (byteAt(at + i / 2) >>> (i % 2 * 4) & 15) + 1);
        }
    }

    private void packIq3S(int blocks, int lane) {
        for (int s = 0; s < blocks; s++) {
            int at = 2 * s * stride;
            packOddScales(s, row[s * stride], at + 106, SUPER, lane);
            for (int i = 0; i < 64; i++) {
                int index = byteAt(at + 2 + i) | (byteAt(at + 66 + i / 8) >>> (i % 8) & 1) << 8;
                int signs = byteAt(at + 74 + i / 2) >>> (i % 2 * 4);
                codes[i] = (int) Grid.IQ3_S.point(index) | spread(signs) << 3;
            }
            packCodes(s, lane);
        }
    }

    private void packIq3Xxs(int blocks, int lane) {
        for (int s = 0; s < blocks; s++) {
            int at = s * stride;
            setHalf(s * scaleBytes + 2 * lane, row[at]);
            for (int b = 0; b < SUPER; b++) {
                int signs = word(at + 33 + 2 * b);
                scales[s * scaleBytes + (2 + b) * PANEL + lane] = (byte) (2 * (signs >>> 28) + 1);
                for (int i = 0; i < 8; i += 2) {
                    int from = 8 * b + i;
                    int eight = UnpackedBlock.allSigns(signs);
                    signs >>>= 7;
                    codes[from] = (int) Grid.IQ3_XXS.point(byteAt(2 * at + 2 + from)) | spread(eight) << 3;
                    codes[from + 1] = (int) Grid.IQ3_XXS.point(byteAt(2 * at + 3 + from)) | spread(eight >>> 4) << 3;
                }
            }
            packCodes(s, lane);
        }
    }

    private void packIq2S(int blocks, int lane) {
        for (int s = 0; s < blocks; s++) {
            int at = 2 * s * stride;
            packOddScales(s, row[s * stride], at + 74, 2 * SUPER, lane);
            for (int i = 0; i < 32; i++) {
                int index = byteAt(at + 2 + i) | (byteAt(at + 66 + i / 4) >>> (i % 4 * 2) & 3) << 8;
                setEight(2 * i, Grid.IQ2_S.point(index), byteAt(at + 34 + i));
            }
            packCodes(s, lane);
        }
    }

    private void packIq2Xs(int blocks, int lane) {
        for (int s = 0; s < blocks; s++) {
            int at = s * stride;
            packOddScales(s, row[at], 2 * at + 66, 2 * SUPER, lane);
            for (int i = 0; i < 32; i++) {
                int word = row[at + 1 + i];
                setEight(2 * i, Grid.IQ2_XS.point(word & 511), UnpackedBlock.allSigns(word >>> 9));
            }
            packCodes(s, lane);
        }
    }

    private void packIq2Xxs(int blocks, int lane) {
        for (int s = 0; s < blocks; s++) {
            int at = s * stride;
            setHalf(s * scaleBytes + 2 * lane, row[at]);
            for (int b = 0; b < SUPER; b++) {
                int signs = word(at + 3 + 4 * b);
                scales[s * scaleBytes + (2 + b) * PANEL + lane] = (byte) (2 * (signs >>> 28) + 1);
                for (int i = 0; i < 4; i++) {
                    int index = byteAt(2 * at + 2 + 8 * b + i);
                    setEight(8 * b + 2 * i, Grid.IQ2_XXS.point(index), UnpackedBlock.allSigns(signs >>> (7 * i)));
                }
            }
            packCodes(s, lane);
        }
    }

    private void packIq1M(int blocks, int lane) {
        for (int s = 0; s < blocks; s++) {
            int at = s * stride;
            int d = 0;
            int to = s * scaleBytes + 2 * PANEL + lane;
            for (int i = 0; i < 4; i++) {
                int word = row[at + 24 + i];
                d |= (word >>> 12 & 15) << (4 * i);
                for (int j = 0; j < 4; j++) {
                    scales[to + (4 * i + j) * PANEL] = (byte) (2 * (word >>> (3 * j) & 7) + 1);
                }
            }
            setHalf(s * scaleBytes + 2 * lane, (short) d);
            for (int i = 0; i < 32; i++) {
                int nibble = byteAt(2 * at + 32 + i / 2) >>> (i % 2 * 4);
                int index = byteAt(2 * at + i) | (nibble & 7) << 8;
                setEight(2 * i, Grid.IQ1.point(index), (nibble & 8) == 0 ? 0 : 0xFF);
            }
            packCodes(s, lane);
        }
    }

    private void packIq1S(int blocks, int lane) {
        for (int s = 0; s < blocks; s++) {
            int at = s * stride;
            setHalf(s * scaleBytes + 2 * lane, row[at]);
            for (int b = 0; b < SUPER; b++) {
                int word = row[at + 17 + b];
                scales[s * scaleBytes + (2 + b) * PANEL + lane] = (byte) (2 * (word >>> 12 & 7) + 1);
                for (int i = 0; i < 4; i++) {
                    int index = byteAt(2 * at + 2 + 4 * b + i) | (word >>> (3 * i) & 7) << 8;
                    setEight(8 * b + 2 * i, Grid.IQ1.point(index), word < 0 ? 0xFF : 0);
                }
            }
            packCodes(s, lane);
        }
    }

    private void packTq10(int blocks, int lane) {
        for (int s = 0; s < blocks; s++) {
            int at = s * stride;
            packOnlyScale(s, row[at + 26], lane);
            setDigits(at, 8, 5, 0);
            setDigits(at + 16, 4, 5, 40);
            setDigits(at + 24, 1, 4, 60);
            packCodes(s, lane);
        }
    }

    /** Sets the codes of the digits in base 3 of {@code count} words of bytes; {@link UnpackedBlock#readTq10} explains them. */
    private void setDigits(int at, int count, int digits, int to) {
        for (int i = 0; i < count; i++) {
            int even = word(at + 2 * i) & EVEN_BYTES;
            int odd = word(at + 2 * i) >>> 8 & EVEN_BYTES;
            for (int digit = 0; digit < digits; digit++) {
                even *= 3; // each half of the word has a number below 768
                odd *= 3;
                codes[to + digit * count + i] = (even >>> 8 & EVEN_BYTES) | (odd & ~EVEN_BYTES);
                even &= EVEN_BYTES;
                odd &= EVEN_BYTES;
            }
        }
    }
}
