package quire.tensor;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/**
 * How numbers are stored in a weight tensor: a row is cut into blocks of {@link #blockElements} numbers, each stored in
 * {@link #blockBytes} bytes, as GGUF defines them (little endian).
 */
public enum ElementType {
    /** IEEE 754 single precision. */
    F32(1, 4),
    /** IEEE 754 half precision. */
    F16(1, 2),
    /** The upper half of a single. */
    BF16(1, 2),
    /** 32 nibbles q and one f16 scale d: {@code d × (q − 8)}; byte i holds elements i (low) and i + 16 (high). */
    Q4_0(32, 2 + 16),
    /** 32 signed bytes q and one f16 scale d: {@code d × q}. */
    Q8_0(32, 2 + 32);

    /** A 16-bit number of a file: little endian, anywhere. */
    static final ValueLayout.OfShort FILE_SHORT = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    static final ValueLayout.OfFloat FILE_FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    private final int blockElements;
    private final int blockBytes;

    ElementType(int blockElements, int blockBytes) {
        this.blockElements = blockElements;
        this.blockBytes = blockBytes;
    }

    /** Numbers in a block. */
    public int blockElements() {
        return blockElements;
    }

    /** Bytes of a block. */
    public int blockBytes() {
        return blockBytes;
    }

    /** Whether a matrix of this type is multiplied with activations quantised to int8. */
    public boolean isQuantized() {
        return blockElements > 1;
    }

    /**
     * Bytes that {@code elements} numbers take.
     *
     * @throws IllegalArgumentException if {@code elements} is not a whole number of blocks
     * @throws ArithmeticException if the result does not fit a long
     */
    public long byteSize(long elements) {
        if (elements % blockElements != 0) {
            throw new IllegalArgumentException(
                    elements + " elements are not a whole number of " + name() + " blocks of " + blockElements);
        }
        return Math.multiplyExact(elements / blockElements, (long) blockBytes);
    }

    /**
     * Decodes numbers to f32 by the format's definition: exact for F32, F16 and BF16, one rounding (scale × integer) for
     * the quantised ones.
     *
     * @param source where the tensor's bytes lie
     * @param byteOffset where the first block begins in it
     * @param target receives {@code elements} floats
     * @param targetElement index of the first float to write, counted in floats from the segment's start
     * @param elements how many, a whole number of blocks
     * @throws IllegalArgumentException if {@code elements} is not a whole number of blocks
     * @throws IndexOutOfBoundsException if source or target is too short
     */
    public void decode(MemorySegment source, long byteOffset, MemorySegment target, long targetElement, int elements) {
        MemorySegment from = source.asSlice(byteOffset, byteSize(elements));
        MemorySegment to = target.asSlice(targetElement * Float.BYTES, (long) elements * Float.BYTES);
        switch (this) {
            case F32 -> decodeF32(from, to, elements);
            case F16 -> decodeF16(from, to, elements);
            case BF16 -> decodeBf16(from, to, elements);
            case Q4_0 -> decodeQ4(from, to, elements);
            case Q8_0 -> decodeQ8(from, to, elements);
        }
    }

    private static void decodeF32(MemorySegment from, MemorySegment to, int elements) {
        for (long i = 0; i < elements; i++) {
            to.set(FLOAT, i * Float.BYTES, from.get(FILE_FLOAT, i * Float.BYTES));
        }
    }

    private static void decodeF16(MemorySegment from, MemorySegment to, int elements) {
        for (long i = 0; i < elements; i++) {
            to.set(FLOAT, i * Float.BYTES, Float.float16ToFloat(from.get(FILE_SHORT, i * Short.BYTES)));
        }
    }

    private static void decodeBf16(MemorySegment from, MemorySegment to, int elements) {
        for (long i = 0; i < elements; i++) {
            to.set(FLOAT, i * Float.BYTES, bf16ToFloat(from.get(FILE_SHORT, i * Short.BYTES)));
        }
    }

    private static void decodeQ4(MemorySegment from, MemorySegment to, int elements) {
        for (long block = 0; block < elements / 32; block++) {
            long offset = block * (2 + 16);
            float scale = Float.float16ToFloat(from.get(FILE_SHORT, offset));
            for (long i = 0; i < 16; i++) {
                int pair = from.get(JAVA_BYTE, offset + 2 + i);
                to.set(FLOAT, (block * 32 + i) * Float.BYTES, scale * ((pair & 15) - 8));
                to.set(FLOAT, (block * 32 + i + 16) * Float.BYTES, scale * ((pair >>> 4 & 15) - 8));
            }
        }
    }

    private static void decodeQ8(MemorySegment from, MemorySegment to, int elements) {
        for (long block = 0; block < elements / 32; block++) {
            long offset = block * (2 + 32);
            float scale = Float.float16ToFloat(from.get(FILE_SHORT, offset));
            for (long i = 0; i < 32; i++) {
                to.set(FLOAT, (block * 32 + i) * Float.BYTES, scale * from.get(JAVA_BYTE, offset + 2 + i));
            }
        }
    }

    static float bf16ToFloat(short value) {
        return Float.intBitsToFloat(value << 16);
    }
}
