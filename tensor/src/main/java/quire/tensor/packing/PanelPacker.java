package quire.tensor.packing;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import quire.tensor.Activations;
import quire.tensor.ElementType;
import quire.tensor.block.FileNumbers;
import quire.tensor.block.UnpackedBlock;

/**
 * Packs the rows of a file's matrix into panels, in the forms of {@link PackedForm}. {@link WordPacker} does it; its
 * specification, which packs one number at a time, is also here. Not thread-safe: each worker has its own.
 */
public final class PanelPacker {
    private static final int PANEL = PackedForm.PANEL;
    private static final int BLOCK = Activations.BLOCK;
    private static final ValueLayout.OfInt WORD = ValueLayout.JAVA_INT.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfShort HALF = ValueLayout.JAVA_SHORT.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfInt FILE_INT = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private final ElementType type;
    private final int rows;
    private final int columns;
    private final MemorySegment source;
    private final long rowBytes;
    private final WordPacker fast;
    private final UnpackedBlock block = new UnpackedBlock();
    private final int[] quants = new int[BLOCK];
    private final byte[] valueToCode = new byte[256];

    /**
     * Creates a packer for one matrix.
     *
     * @param source the tensor's bytes, row-major
     */
    public PanelPacker(ElementType type, int rows, int columns, MemorySegment source) {
        this.type = type;
        this.rows = rows;
        this.columns = columns;
        this.source = source;
        this.rowBytes = type.byteSize(columns);
        fast = new WordPacker(type, rows, columns, source);
    }

    /** Packs panel {@code panel} into its words and scales. Both must be zero before; lanes without a row stay zero. */
    public void pack(int panel, MemorySegment words, MemorySegment scales) {
        fast.pack(panel, words, scales);
    }

    /** {@link #pack}, one number at a time. */
    void packSlowly(int panel, MemorySegment words, MemorySegment scales) {
        int lanes = Math.min(PANEL, rows - panel * PANEL);
        for (int lane = 0; lane < lanes; lane++) {
            long from = ((long) panel * PANEL + lane) * rowBytes;
            if (type.isQuantized()) {
                packBlocks(from, lane, words, scales);
            } else {
                packFloats(from, lane, words);
            }
        }
    }

    private void packFloats(long from, int lane, MemorySegment words) {
        int bytes = type.blockBytes();
        for (int k = 0; k < columns; k++) {
            long to = ((long) k * PANEL + lane) * bytes;
            if (bytes == Float.BYTES) {
                words.set(WORD, to, source.get(FILE_INT, from + (long) k * Float.BYTES));
            } else {
                words.set(HALF, to, source.get(FileNumbers.SHORT, from + (long) k * Short.BYTES));
            }
        }
    }

    /** Byte offset of a lane's part of a word, in blocks of {@code wordsPerBlock} words. */
    private static long word(int block, int wordsPerBlock, int word, int lane) {
        return (((long) block * wordsPerBlock + word) * PANEL + lane) * Integer.BYTES;
    }

    private void packBlocks(long from, int lane, MemorySegment words, MemorySegment scales) {
        PackedForm form = PackedForm.of(type);
        fillCodes(form);
        int elements = type.blockElements();
        for (int k = 0; k < columns; k += elements) {
            type.unpack(source, from + type.byteSize(k), block);
            for (int i = 0; i < elements; i += BLOCK) {
                if (i % (form.groupBlocks() * BLOCK) == 0) {
                    packScales(form, (k + i) / BLOCK / form.groupBlocks(), i / type.scaleElements(), lane, scales);
                }
                packQuants(form, (k + i) / BLOCK, i, lane, words);
            }
        }
    }

    private void fillCodes(PackedForm form) {
        byte[] table = form.codes().table();
        if (table != null) {
            for (int i = table.length - 1; i >= 0; i--) {
                valueToCode[table[i] & 0xFF] = (byte) i;
            }
        }
    }

    private void packScales(PackedForm form, int group, int first, int lane, MemorySegment scales) {
        long at = (long) group * form.scaleBytes();
        long half = lane * 2L;
        long bytes = 2L * PANEL;
        switch (form.scales()) {
            case EXPONENTS -> // of a double, because the smallest ones are denormal as floats
                scales.set(ValueLayout.JAVA_BYTE, at + lane, (byte) Math.getExponent((double) block.d));
            case HALF -> {
                scales.set(HALF, at + half, Float.floatToFloat16(block.d));
                if (form.minimum()) {
                    scales.set(HALF, at + bytes + half, Float.floatToFloat16(-block.dmin));
                }
            }
            case HALF_BLOCK_FLOATS -> {
                scales.set(ValueLayout.JAVA_BYTE, at + lane, block.scales[first]);
                scales.set(ValueLayout.JAVA_BYTE, at + PANEL + lane, block.scales[first + 1]);
            }
            case BYTES, HALF_BLOCK_BYTES -> {
                scales.set(HALF, at + half, Float.floatToFloat16(block.d / form.factor()));
                if (form.minimum()) {
                    scales.set(HALF, at + bytes + half, Float.floatToFloat16(block.dmin));
                    bytes *= 2;
                }
                int count = PackedForm.SUPER * form.scales().perBlock();
                for (int i = 0; i < count; i++) {
                    long to = at + bytes + (long) i * PANEL + lane;
                    scales.set(ValueLayout.JAVA_BYTE, to, block.scales[i]);
                    if (form.minimum()) {
                        scales.set(ValueLayout.JAVA_BYTE, to + (long) count * PANEL, block.mins[i]);
                    }
                }
            }
        }
    }

    private void packQuants(PackedForm form, int b, int first, int lane, MemorySegment words) {
        for (int i = 0; i < BLOCK; i++) {
            int quant = (block.quants[first + i] + form.zeroPoint()) & 0xFF;
            quants[i] = form.codes() == PackedForm.Codes.PLAIN ? quant : valueToCode[quant];
        }
        int count = form.bits();
        int upper = form.upperWords();
        switch (form.bits()) {
            case 1 -> words.set(WORD, word(b, count, 0, lane), oneBits(1));
            case 2, 3 -> {
                words.set(WORD, word(b, count, upper, lane), twoBits(0, 0));
                words.set(WORD, word(b, count, upper + 1, lane), twoBits(16, 0));
                if (form.bits() == 3) {
                    words.set(WORD, word(b, count, 0, lane), oneBits(2));
                }
            }
            case 8 -> {
                for (int w = 0; w < 8; w++) {
                    words.set(WORD, word(b, count, w, lane), bytes(4 * w));
                }
            }
            default -> {
                for (int w = 0; w < 4; w++) {
                    int low = bytes(4 * w) & 0x0F0F0F0F;
                    int high = bytes(16 + 4 * w) & 0x0F0F0F0F;
                    words.set(WORD, word(b, count, upper + w, lane), low | high << 4);
                }
                if (form.bits() == 5) {
                    words.set(WORD, word(b, count, 0, lane), oneBits(4));
                } else if (form.bits() == 6) {
                    words.set(WORD, word(b, count, 0, lane), twoBits(0, 4));
                    words.set(WORD, word(b, count, 1, lane), twoBits(16, 4));
                }
            }
        }
    }

    /** Four quants, lowest first. */
    private int bytes(int first) {
        return quants[first] | quants[first + 1] << 8 | quants[first + 2] << 16 | quants[first + 3] << 24;
    }

    /** Two bits of each of sixteen quants, from bit {@code shift} on. */
    private int twoBits(int first, int shift) {
        int word = 0;
        for (int w = 0; w < 4; w++) {
            word |= ((bytes(first + 4 * w) >>> shift) & 0x03030303) << (2 * w);
        }
        return word;
    }

    /** Bit {@code shift} of each of 32 quants. */
    private int oneBits(int shift) {
        int word = 0;
        for (int w = 0; w < 8; w++) {
            word |= ((bytes(4 * w) >>> shift) & 0x01010101) << w;
        }
        return word;
    }
}
