package quire.tensor;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/**
 * How numbers are stored in a weight tensor: a row is cut into blocks of {@link #blockElements} numbers, each stored in
 * {@link #blockBytes} bytes, as GGUF defines them (little endian; d, m and dmin are f16; q is the stored integer).
 *
 * <pre>
 *            block   bytes, in the file's order (d 2 = d takes 2 bytes)         a number
 *   Q4_0        32   d 2, nibbles 16                                            d × (q − 8)
 *   Q4_1        32   d 2, m 2, nibbles 16                                       d × q + m
 *   Q5_0        32   d 2, fifth bits 4, nibbles 16                              d × (q − 16)
 *   Q5_1        32   d 2, m 2, fifth bits 4, nibbles 16                         d × q + m
 *   Q8_0        32   d 2, bytes 32                                              d × q
 *   Q2_K       256   scales and minimums 16, crumbs 64, d 2, dmin 2             (d × s) × q − dmin × m
 *   Q3_K       256   third bits 32, crumbs 64, scales 12, d 2                   (d × (s − 32)) × (q − 4)
 *   Q4_K       256   d 2, dmin 2, scales and minimums 12, nibbles 128           (d × s) × q − dmin × m
 *   Q5_K       256   d 2, dmin 2, scales and minimums 12, fifth bits 32,
 *                    nibbles 128                                                (d × s) × q − dmin × m
 *   Q6_K       256   nibbles 128, crumbs 64, scales 16, d 2                     (d × s) × (q − 32)
 *   IQ4_NL      32   d 2, nibbles 16                                            d × table[q]
 *   IQ4_XS     256   d 2, scale high bits 2, low bits 4, nibbles 128           (d × (s − 32)) × table[q]
 *   MXFP4       32   exponent e 1, nibbles 16                                   2^(e − 128) × table[q]
 * </pre>
 *
 * <p>The scales s and minimums m of a block of 256 are small integers, one for 32 numbers, or for 16 in Q2_K, Q3_K and
 * Q6_K. {@link UnpackedBlock} says where their bits lie. A scale of infinity or NaN is taken at its word; the exponent 255
 * of MXFP4 is 2¹²⁷, as in ggml, and not the NaN of the OCP's paper.
 */
public enum ElementType {
    /** IEEE 754 single precision. */
    F32(1, 4, 0, false),
    /** IEEE 754 half precision. */
    F16(1, 2, 0, false),
    /** The upper half of a single. */
    BF16(1, 2, 0, false),
    /** 4 bits and a scale for 32. */
    Q4_0(32, 2 + 16, 32, false),
    /** 4 bits, a scale and a minimum for 32. */
    Q4_1(32, 2 + 2 + 16, 32, true),
    /** 5 bits and a scale for 32. */
    Q5_0(32, 2 + 4 + 16, 32, false),
    /** 5 bits, a scale and a minimum for 32. */
    Q5_1(32, 2 + 2 + 4 + 16, 32, true),
    /** 8 bits and a scale for 32. */
    Q8_0(32, 2 + 32, 32, false),
    /** 2 bits; 4-bit scales and minimums for 16. */
    Q2_K(256, 16 + 64 + 2 + 2, 16, true),
    /** 3 bits; 6-bit scales for 16. */
    Q3_K(256, 32 + 64 + 12 + 2, 16, false),
    /** 4 bits; 6-bit scales and minimums for 32. */
    Q4_K(256, 2 + 2 + 12 + 128, 32, true),
    /** 5 bits; 6-bit scales and minimums for 32. */
    Q5_K(256, 2 + 2 + 12 + 32 + 128, 32, true),
    /** 6 bits; 8-bit scales for 16. */
    Q6_K(256, 128 + 64 + 16 + 2, 16, false),
    /** 4 bits that name one of 16 uneven values, and a scale for 32. */
    IQ4_NL(32, 2 + 16, 32, false),
    /** The same values; 6-bit scales for 32. */
    IQ4_XS(256, 2 + 2 + 4 + 128, 32, false),
    /** Floats of 4 bits (E2M1) and a power of two for 32. */
    MXFP4(32, 1 + 16, 32, false);

    /** A 16-bit number of a file: little endian, anywhere. */
    static final ValueLayout.OfShort FILE_SHORT = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    static final ValueLayout.OfFloat FILE_FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    private final int blockElements;
    private final int blockBytes;
    private final int scaleElements;
    private final boolean hasMinimum;

    ElementType(int blockElements, int blockBytes, int scaleElements, boolean hasMinimum) {
        this.blockElements = blockElements;
        this.blockBytes = blockBytes;
        this.scaleElements = scaleElements;
        this.hasMinimum = hasMinimum;
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

    /** Numbers that share a scale: 32 or 16; 0 if there are no blocks. */
    int scaleElements() {
        return scaleElements;
    }

    /** Whether each group has a minimum beside its scale. */
    boolean hasMinimum() {
        return hasMinimum;
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
     * Decodes numbers to f32 by the format's definition: exact where there is no minimum, one rounding (of the last
     * addition) where there is.
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
            default -> decodeBlocks(from, to, elements);
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

    private void decodeBlocks(MemorySegment from, MemorySegment to, int elements) {
        UnpackedBlock block = UnpackedBlock.own();
        for (long first = 0; first < elements; first += blockElements) {
            block.read(this, from, first / blockElements * blockBytes);
            for (int i = 0; i < blockElements; i++) {
                int group = i / scaleElements;
                float number = block.scale(group) * block.quants[i];
                to.set(FLOAT, (first + i) * Float.BYTES, hasMinimum ? number + block.minimum(group) : number);
            }
        }
    }

    /** The file's 16-bit number at a place of an array. */
    static short shortOf(byte[] bytes, int at) {
        return (short) ((bytes[at] & 0xff) | (bytes[at + 1] << 8));
    }

    static float bf16ToFloat(short value) {
        return Float.intBitsToFloat(value << 16);
    }
}
