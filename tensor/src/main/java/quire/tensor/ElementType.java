package quire.tensor;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Objects;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import quire.tensor.block.FileNumbers;
import quire.tensor.block.UnpackedBlock;

/**
 * How a weight tensor's numbers are stored. A row is divided into blocks of {@link #blockElements} numbers, each stored
 * in {@link #blockBytes} bytes, as GGUF defines it (little endian; d, m and dmin are f16; q is the stored integer).
 *
 * <pre>
 *            block   bytes, in the file's order (d 2 = d has 2 bytes)            a number
 *   Q4_0        32   d 2, nibbles 16                                            d × (q − 8)
 *   Q4_1        32   d 2, m 2, nibbles 16                                       d × q + m
 *   Q5_0        32   d 2, fifth bits 4, nibbles 16                              d × (q − 16)
 *   Q5_1        32   d 2, m 2, fifth bits 4, nibbles 16                         d × q + m
 *   Q8_0        32   d 2, bytes 32                                              d × q
 *   Q2_K       256   scales and minimums 16, 2-bit 64, d 2, dmin 2              (d × s) × q − dmin × m
 *   Q3_K       256   third bits 32, 2-bit 64, scales 12, d 2                    (d × (s − 32)) × (q − 4)
 *   Q4_K       256   d 2, dmin 2, scales and minimums 12, nibbles 128           (d × s) × q − dmin × m
 *   Q5_K       256   d 2, dmin 2, scales and minimums 12, fifth bits 32,
 *                    nibbles 128                                                (d × s) × q − dmin × m
 *   Q6_K       256   nibbles 128, 2-bit 64, scales 16, d 2                      (d × s) × (q − 32)
 *   IQ4_NL      32   d 2, nibbles 16                                            d × table[q]
 *   IQ4_XS     256   d 2, scale high bits 2, low bits 4, nibbles 128           (d × (s − 32)) × table[q]
 *   MXFP4       32   exponent e 1, nibbles 16                                   2^(e − 128) × table[q]
 *   NVFP4       64   scales s 4, nibbles 32                                     ½ s × table[q]
 *   IQ3_S      256   d 2, indexes 64, ninth bits 8, signs 32, scales 4          (d × (2s + 1)) × ±point
 *   IQ3_XXS    256   d 2, indexes 64, signs and scales 32                       (d/2 × (2s + 1)) × ±½ point
 *   IQ2_S      256   d 2, indexes 32, signs 32, upper bits 8, scales 8          (d/8 × (2s + 1)) × ±point
 *   IQ2_XS     256   d 2, indexes and signs 64, scales 8                        (d/8 × (2s + 1)) × ±point
 *   IQ2_XXS    256   d 2, (indexes 4, signs and scale 4) × 8                    (d/8 × (2s + 1)) × ±point
 *   IQ1_M      256   indexes 32, upper bits and offsets 16, scales and d 8      (d/8 × (2s + 1)) × (8 point ± 1)
 *   IQ1_S      256   d 2, indexes 32, upper bits, scale and offset 16           (d/8 × (2s + 1)) × (8 point ± 1)
 *   TQ1_0      256   digits in base 3 52, d 2                                   d × (q − 1)
 *   TQ2_0      256   2-bit 64, d 2                                              d × (q − 1)
 *   Q1_0       128   d 2, bits 16                                               d × (2q − 1)
 *   Q2_0        64   d 2, 2-bit 16                                              d × (q − 1)
 * </pre>
 *
 * <p>A nibble has 4 bits; "2-bit" are fields of 2 bits. The scales s and minimums m of a block of 256 are small
 * integers, one for each 32 numbers, or for each 16 in Q2_K, Q3_K, Q6_K, IQ2_S, IQ2_XS and IQ1_M. NVFP4 has one float of 8
 * bits (unsigned E4M3) for each 16. A point of 4 or 8 numbers has an index in a {@link quire.tensor.block.Grid}. {@link
 * UnpackedBlock} describes the position of all bits. {@link NumberCheck} finds scales of infinity and NaN; kernels use them as they are. The exponent 255 of MXFP4 means 2¹²⁷, as in
 * ggml; the OCP specification makes it NaN.
 */
public enum ElementType {
    /** IEEE 754 single precision. */
    F32(1, 4, 0, false, null),
    /** IEEE 754 half precision. */
    F16(1, 2, 0, false, null),
    /** The upper 16 bits of an f32. */
    BF16(1, 2, 0, false, null),
    /** 4 bits; a scale for each 32. */
    Q4_0(32, 2 + 16, 32, false, UnpackedBlock::readQ40),
    /** 4 bits; a scale and a minimum for each 32. */
    Q4_1(32, 2 + 2 + 16, 32, true, UnpackedBlock::readQ41),
    /** 5 bits; a scale for each 32. */
    Q5_0(32, 2 + 4 + 16, 32, false, UnpackedBlock::readQ50),
    /** 5 bits; a scale and a minimum for each 32. */
    Q5_1(32, 2 + 2 + 4 + 16, 32, true, UnpackedBlock::readQ51),
    /** 8 bits; a scale for each 32. */
    Q8_0(32, 2 + 32, 32, false, UnpackedBlock::readQ80),
    /** 2 bits; a 4-bit scale and minimum for each 16. */
    Q2_K(256, 16 + 64 + 2 + 2, 16, true, UnpackedBlock::readQ2K),
    /** 3 bits; a 6-bit scale for each 16. */
    Q3_K(256, 32 + 64 + 12 + 2, 16, false, UnpackedBlock::readQ3K),
    /** 4 bits; a 6-bit scale and minimum for each 32. */
    Q4_K(256, 2 + 2 + 12 + 128, 32, true, UnpackedBlock::readQ4K),
    /** 5 bits; a 6-bit scale and minimum for each 32. */
    Q5_K(256, 2 + 2 + 12 + 32 + 128, 32, true, UnpackedBlock::readQ5K),
    /** 6 bits; an 8-bit scale for each 16. */
    Q6_K(256, 128 + 64 + 16 + 2, 16, false, UnpackedBlock::readQ6K),
    /** 4 bits, the index of one of 16 values at unequal distances; a scale for each 32. */
    IQ4_NL(32, 2 + 16, 32, false, UnpackedBlock::readIq4Nl),
    /** The same values; a 6-bit scale for each 32. */
    IQ4_XS(256, 2 + 2 + 4 + 128, 32, false, UnpackedBlock::readIq4Xs),
    /** Floats of 4 bits (E2M1); a power of two for each 32. */
    MXFP4(32, 1 + 16, 32, false, UnpackedBlock::readMxfp4),
    /** The same floats; a scale for each 16, which is a float of 8 bits (E4M3). */
    NVFP4(64, 4 + 32, 16, false, UnpackedBlock::readNvfp4),
    /** 3 bits: 4 numbers are one of 512 points, with signs; a 4-bit scale for each 32. */
    IQ3_S(256, 2 + 64 + 8 + 32 + 4, 32, false, UnpackedBlock::readIq3S),
    /** 3 bits: 4 numbers are one of 256 points, with signs; a 4-bit scale for each 32. */
    IQ3_XXS(256, 2 + 64 + 32, 32, false, UnpackedBlock::readIq3Xxs),
    /** 2 bits: 8 numbers are one of 1024 points, with signs; a 4-bit scale for each 16. */
    IQ2_S(256, 2 + 32 + 32 + 8 + 8, 16, false, UnpackedBlock::readIq2S),
    /** 2 bits: 8 numbers are one of 512 points, with signs; a 4-bit scale for each 16. */
    IQ2_XS(256, 2 + 64 + 8, 16, false, UnpackedBlock::readIq2Xs),
    /** 2 bits: 8 numbers are one of 256 points, with signs; a 4-bit scale for each 32. */
    IQ2_XXS(256, 2 + 64, 32, false, UnpackedBlock::readIq2Xxs),
    /** 1.75 bits: 8 numbers are one of 2048 points of −1, 0 and 1, plus or minus ⅛; a 3-bit scale for each 16. */
    IQ1_M(256, 32 + 16 + 8, 16, false, UnpackedBlock::readIq1M),
    /** 1.56 bits: the same points; plus or minus ⅛ and a 3-bit scale for each 32. */
    IQ1_S(256, 2 + 32 + 16, 32, false, UnpackedBlock::readIq1S),
    /** −1, 0 or 1, five in a byte; a scale for each 256. */
    TQ1_0(256, 48 + 4 + 2, 32, false, UnpackedBlock::readTq10),
    /** −1, 0 or 1 in 2 bits; a scale for each 256. */
    TQ2_0(256, 64 + 2, 32, false, UnpackedBlock::readTq20),
    /** −1 or 1; a scale for each 128. */
    Q1_0(128, 2 + 16, 32, false, UnpackedBlock::readQ10),
    /** −1 to 2; a scale for each 64. */
    Q2_0(64, 2 + 16, 32, false, UnpackedBlock::readQ20);

    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    private final int blockElements;
    private final int blockBytes;
    private final int scaleElements;
    private final boolean hasMinimum;

    @SuppressWarnings("ImmutableEnumChecker") // a method reference, which has no state
    private final @Nullable Consumer<UnpackedBlock> reader;

    ElementType(
            int blockElements,
            int blockBytes,
            int scaleElements,
            boolean hasMinimum,
            @Nullable Consumer<UnpackedBlock> reader) {
        this.blockElements = blockElements;
        this.blockBytes = blockBytes;
        this.scaleElements = scaleElements;
        this.hasMinimum = hasMinimum;
        this.reader = reader;
    }

    /** Number of elements in a block. */
    public int blockElements() {
        return blockElements;
    }

    /** Size of a block in bytes. */
    public int blockBytes() {
        return blockBytes;
    }

    /** Whether a matrix of this type is multiplied with activations quantised to int8. */
    public boolean isQuantized() {
        return blockElements > 1;
    }

    /**
     * Number of elements that share a scale: 32 or 16, or 0 if this type has no blocks. Types whose scale is for more
     * elements repeat it for each 32.
     */
    public int scaleElements() {
        return scaleElements;
    }

    /** Whether the two scales of 32 elements are floats, with no common factor. */
    public boolean hasFloatScales() {
        return this == NVFP4;
    }

    /** Whether the elements that share a scale also share a minimum. */
    public boolean hasMinimum() {
        return hasMinimum;
    }

    /**
     * Size of {@code elements} numbers in bytes.
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
     * Decodes numbers to f32. The result is exact for types without a minimum; with a minimum, the last addition is
     * rounded.
     *
     * @param source the tensor's bytes
     * @param byteOffset offset of the first block in the source
     * @param target receives {@code elements} floats
     * @param targetElement index of the first float to write
     * @param elements number of elements, a whole number of blocks
     * @throws IllegalArgumentException if {@code elements} is not a whole number of blocks
     * @throws IndexOutOfBoundsException if source or target is too short
     */
    public void decode(MemorySegment source, long byteOffset, MemorySegment target, long targetElement, int elements) {
        Objects.checkFromIndexSize(byteOffset, byteSize(elements), source.byteSize());
        long to = targetElement * Float.BYTES; // offsets, not slices: a step decodes embeddings and must not allocate
        Objects.checkFromIndexSize(to, (long) elements * Float.BYTES, target.byteSize());
        switch (this) {
            case F32 -> decodeF32(source, byteOffset, target, to, elements);
            case F16 -> decodeF16(source, byteOffset, target, to, elements);
            case BF16 -> decodeBf16(source, byteOffset, target, to, elements);
            default -> decodeBlocks(source, byteOffset, target, to, elements);
        }
    }

    private static void decodeF32(MemorySegment source, long from, MemorySegment target, long to, int elements) {
        for (long i = 0; i < elements; i++) {
            target.set(FLOAT, to + i * Float.BYTES, source.get(FileNumbers.FLOAT, from + i * Float.BYTES));
        }
    }

    private static void decodeF16(MemorySegment source, long from, MemorySegment target, long to, int elements) {
        for (long i = 0; i < elements; i++) {
            short half = source.get(FileNumbers.SHORT, from + i * Short.BYTES);
            target.set(FLOAT, to + i * Float.BYTES, Float.float16ToFloat(half));
        }
    }

    private static void decodeBf16(MemorySegment source, long from, MemorySegment target, long to, int elements) {
        for (long i = 0; i < elements; i++) {
            target.set(
                    FLOAT,
                    to + i * Float.BYTES,
                    FileNumbers.bf16ToFloat(source.get(FileNumbers.SHORT, from + i * Short.BYTES)));
        }
    }

    /**
     * Unpacks one block. For kernel sets.
     *
     * @param source the tensor's bytes
     * @param byteOffset offset of the block in the source
     * @param block receives the block's integers and scales
     * @throws IllegalArgumentException if this type has no blocks
     * @throws IndexOutOfBoundsException if the segment ends within the block
     */
    public void unpack(MemorySegment source, long byteOffset, UnpackedBlock block) {
        if (reader == null) {
            throw new IllegalArgumentException(this + " numbers are not stored in blocks");
        }
        block.load(source, byteOffset, blockBytes, blockElements);
        reader.accept(block);
    }

    private void decodeBlocks(MemorySegment source, long from, MemorySegment target, long to, int elements) {
        UnpackedBlock block = UnpackedBlock.own();
        for (long first = 0; first < elements; first += blockElements) {
            unpack(source, from + first / blockElements * blockBytes, block);
            for (int i = 0; i < blockElements; i++) {
                int group = i / scaleElements;
                float number = block.scale(group) * block.quants[i];
                target.set(FLOAT, to + (first + i) * Float.BYTES, hasMinimum ? number + block.minimum(group) : number);
            }
        }
    }
}
