package quire.tensor.packing;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.EnumMap;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import quire.tensor.Activations;
import quire.tensor.ElementType;
import quire.tensor.block.FileNumbers;

/**
 * Reads rows back from panels, as {@link PanelPacker} has packed them. The numbers are those of {@link ElementType#decode}, to
 * the last bit. One object serves all threads and allocates nothing.
 */
public final class PanelReader {
    private static final int PANEL = PackedForm.PANEL;
    private static final int BLOCK = Activations.BLOCK;
    private static final int BYTES_OF_WORD = Integer.BYTES;
    private static final int LOW_NIBBLES = 0x0F0F0F0F;
    private static final int TWO_BITS = 0x03030303;
    private static final int ONE_BIT = 0x01010101;
    private static final ValueLayout.OfInt WORD = ValueLayout.JAVA_INT.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfShort HALF = ValueLayout.JAVA_SHORT.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT;

    private static final Map<ElementType, PanelReader> TYPE_TO_READER = new EnumMap<>(ElementType.class);

    static {
        for (ElementType type : ElementType.values()) {
            TYPE_TO_READER.put(type, new PanelReader(type));
        }
    }

    private final ElementType type;
    private final @Nullable PackedForm form;
    /** The values of codes plus the zero point; null if codes are integers. */
    private final byte @Nullable [] table;

    private PanelReader(ElementType type) {
        this.type = type;
        form = type.isQuantized() ? PackedForm.of(type) : null;
        table = form == null ? null : form.codes().table();
    }

    /** The reader of panels of one type. */
    public static PanelReader of(ElementType type) {
        return Objects.requireNonNull(TYPE_TO_READER.get(type));
    }

    /**
     * Reads one lane of a panel, which is a row of the matrix.
     *
     * @param words the words of all panels
     * @param wordsAt where those of the panel begin, in bytes
     * @param scales the scales of all panels
     * @param scalesAt where those of the panel begin, in bytes
     * @param lane 0 to 15
     * @param columns numbers of the row
     * @param target receives them as f32
     * @param targetElement index of the first one in the target
     */
    public void read(
            MemorySegment words,
            long wordsAt,
            MemorySegment scales,
            long scalesAt,
            int lane,
            int columns,
            MemorySegment target,
            long targetElement) {
        long to = targetElement * Float.BYTES;
        PackedForm packed = form;
        if (packed == null) {
            for (int k = 0; k < columns; k++) {
                long at = wordsAt + ((long) k * PANEL + lane) * type.blockBytes();
                target.set(FLOAT, to + (long) k * Float.BYTES, number(words, at));
            }
            return;
        }
        for (int block = 0; block < columns / BLOCK; block++) {
            long ofBlock = wordsAt + (long) block * packed.wordBytes() + (long) lane * BYTES_OF_WORD;
            long ofScales = scalesAt + (long) (block / packed.groupBlocks()) * packed.scaleBytes();
            for (int half = 0; half < 2; half++) {
                int scaleIndex = block % packed.groupBlocks() * packed.scales().perBlock()
                        + half * (packed.scales().perBlock() - 1);
                float scale = scale(packed, scales, ofScales, scaleIndex, lane);
                float minimum = packed.minimum() ? minimum(packed, scales, ofScales, scaleIndex, lane) : 0;
                for (int word = 4 * half; word < 4 * half + 4; word++) {
                    int codes = codes(packed, words, ofBlock, word);
                    for (int i = 0; i < BYTES_OF_WORD; i++) {
                        int code = codes >>> (Byte.SIZE * i) & 0xFF;
                        int quant = (table == null ? code : table[code] & 0xFF) - packed.zeroPoint();
                        float number = scale * quant;
                        target.set(FLOAT, to, packed.minimum() ? number + minimum : number);
                        to += Float.BYTES;
                    }
                }
            }
        }
    }

    private float number(MemorySegment words, long at) {
        return switch (type) {
            case F32 -> Float.intBitsToFloat(words.get(WORD, at));
            case F16 -> Float.float16ToFloat(words.get(HALF, at));
            case BF16 -> FileNumbers.bf16ToFloat(words.get(HALF, at));
            default -> throw new AssertionError(type);
        };
    }

    /** The codes of inputs 4w to 4w + 3, a byte each; {@link PackedForm} shows where their bits are. */
    private static int codes(PackedForm form, MemorySegment words, long at, int w) {
        int upper = form.upperWords();
        return switch (form.bits()) {
            case 1 -> singleBits(words, at, w) << 1;
            case 2 -> pairs(words, at, 0, w);
            case 3 -> pairs(words, at, upper, w) | singleBits(words, at, w) << 2;
            case 4 -> nibbles(words, at, 0, w);
            case 5 -> nibbles(words, at, upper, w) | singleBits(words, at, w) << 4;
            case 6 -> nibbles(words, at, upper, w) | pairs(words, at, 0, w) << 4;
            case 8 -> stored(words, at, w);
            default -> throw new AssertionError(form);
        };
    }

    private static int nibbles(MemorySegment words, long at, int first, int w) {
        return stored(words, at, first + w % 4) >>> (w / 4 * 4) & LOW_NIBBLES;
    }

    private static int pairs(MemorySegment words, long at, int first, int w) {
        return stored(words, at, first + w / 4) >>> (2 * (w % 4)) & TWO_BITS;
    }

    private static int singleBits(MemorySegment words, long at, int w) {
        return stored(words, at, 0) >>> w & ONE_BIT;
    }

    private static int stored(MemorySegment words, long at, int word) {
        return words.get(WORD, at + (long) word * PackedForm.WORD_BYTES);
    }

    /** One of the scales of a group. */
    private static float scale(PackedForm form, MemorySegment scales, long at, int index, int lane) {
        return switch (form.scales()) {
            case HALF -> half(scales, at, lane);
            case EXPONENTS -> Math.scalb(1f, (int) scales.get(ValueLayout.JAVA_BYTE, at + lane));
            case HALF_BLOCK_FLOATS -> {
                int bits = scales.get(ValueLayout.JAVA_BYTE, at + (long) index * PANEL + lane) & 0xFF;
                yield Float.intBitsToFloat(bits << 20) * 0x1p119f; // the exponent's bias in an f32 is 127, not 7
            }
            case BYTES, HALF_BLOCK_BYTES ->
                half(scales, at, lane)
                        * form.factor()
                        * scales.get(ValueLayout.JAVA_BYTE, ofBytes(form, at, index) + lane);
        };
    }

    /** What a group adds to each number. */
    private static float minimum(PackedForm form, MemorySegment scales, long at, int index, int lane) {
        float minimum = half(scales, at + (long) PANEL * Short.BYTES, lane);
        if (!form.scales().grouped()) {
            return minimum;
        }
        long count = (long) PackedForm.SUPER * form.scales().perBlock();
        long place = ofBytes(form, at, index) + count * PANEL + lane;
        return -(minimum * (scales.get(ValueLayout.JAVA_BYTE, place) & 0xFF));
    }

    private static float half(MemorySegment scales, long at, int lane) {
        return Float.float16ToFloat(scales.get(HALF, at + (long) lane * Short.BYTES));
    }

    /** Where the bytes of a scale of 8 blocks begin, which are behind the floats d and dmin. */
    private static long ofBytes(PackedForm form, long at, int index) {
        return at + (form.minimum() ? 2L : 1L) * PANEL * Short.BYTES + (long) index * PANEL;
    }
}
