package quire.tensor.packing;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import quire.tensor.Activations;
import quire.tensor.ElementType;
import quire.tensor.block.FileNumbers;
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

    private final int scaleBytes;
    private final boolean minimum;

    private final short[] row;
    /** The row, for a type whose blocks have an odd number of bytes. */
    private final byte[] oddRow;

    private final short[] halves;
    private final int[] words;
    private final byte[] scales;

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
            scaleBytes = form.scaleBytes();
            minimum = form.minimum();
            halves = new short[0];
            words = new int[most / BLOCK * perBlock * PANEL];
            scales = new byte[most / BLOCK / form.groupBlocks() * scaleBytes];
        } else {
            perBlock = 1;
            scaleBytes = 0;
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
            int group = Math.max(BLOCK, type.blockElements());
            MemorySegment.copy(
                    scales,
                    0,
                    toScales,
                    ValueLayout.JAVA_BYTE,
                    (long) k / group * scaleBytes,
                    count / group * scaleBytes);
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
                packFifthBits(blocks, 1, lane);
                copyWords(blocks, 3, 4, 0, lane);
            }
            case Q5_1 -> {
                packHalfScales(blocks, lane);
                packFifthBits(blocks, 2, lane);
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
            int to = b * perBlock * PANEL + lane;
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
            float scale = UnpackedBlock.halfPower(oddRow[at++] & 0xFF);
            setHalf(b * scaleBytes + 2 * lane, (short) (Float.floatToRawIntBits(scale) >>> 16));
            int to = b * perBlock * PANEL + lane;
            for (int w = 0; w < 4; w++, at += Integer.BYTES) {
                int word = (oddRow[at] & 0xFF)
                        | (oddRow[at + 1] & 0xFF) << 8
                        | (oddRow[at + 2] & 0xFF) << 16
                        | oddRow[at + 3] << 24;
                // a magnitude of 1 to 7 plus 7 sets the mask's sign bit, so the sign is kept; a magnitude of 0 clears
                // the sign
                words[to + w * PANEL] = word & (((word & MAGNITUDES) + MAGNITUDES) | MAGNITUDES);
            }
        }
    }

    /** Bit 4w + j of the file's word becomes bit w of byte j. */
    private void packFifthBits(int blocks, int from, int lane) {
        for (int b = 0; b < blocks; b++) {
            int file = word(b * stride + from);
            int packed = 0;
            for (int w = 0; w < 8; w++) {
                // the product copies bit j of the four bits to bit 8j; the mask removes the other copies
                packed |= ((file >>> (4 * w) & 15) * 0x00204081 & ONE_BIT) << w;
            }
            words[(b * perBlock + 4) * PANEL + lane] = packed;
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
                words[((s * SUPER + b) * perBlock + 4) * PANEL + lane] = packed;
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
                for (int w = 0; w < 4; w++) {
                    int low = threeBits(at, b, w);
                    int high = threeBits(at, b, w + 4);
                    words[((s * SUPER + b) * perBlock + w) * PANEL + lane] = low | high << 4;
                }
            }
        }
    }

    private int threeBits(int at, int block, int w) {
        int lower = word(at + 16 + block / 4 * 16 + 2 * w) >>> (2 * (block % 4)) & TWO_BITS;
        return lower | (word(at + 2 * w) >>> block & ONE_BIT) << 2;
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
        int toLow = lowBlock * perBlock * PANEL + lane;
        int toHigh = highBlock * perBlock * PANEL + lane;
        for (int w = 0; w < 4; w++) {
            int first = word(at + 2 * w);
            int second = word(at + 2 * w + 8);
            words[toLow + w * PANEL] = (first & LOW_NIBBLES) | (second & LOW_NIBBLES) << 4;
            words[toHigh + w * PANEL] = (first >>> 4 & LOW_NIBBLES) | (second & ~LOW_NIBBLES);
        }
    }

    /** Packs two bits of each of 256 quants from 64 bytes, to the end of each packed block. */
    private void packTwoBits(int at, int group, int lane) {
        for (int b = 0; b < SUPER; b++) {
            int to = ((group * SUPER + b + 1) * perBlock - 2) * PANEL + lane;
            for (int half = 0; half < 2; half++) {
                int packed = 0;
                for (int w = 0; w < 4; w++) {
                    packed |= (word(at + b / 4 * 16 + 8 * half + 2 * w) >>> (2 * (b % 4)) & TWO_BITS) << (2 * w);
                }
                words[to + half * PANEL] = packed;
            }
        }
    }
}
