package quire.tensor;

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
}
