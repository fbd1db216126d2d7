package quire.tensor;

/**
 * How one page holds the keys and values of {@code pageTokens} consecutive positions of one layer. Attention tiles are
 * {@link #TILE} positions wide and begin at absolute positions that are multiples of it, so a page is a whole number of
 * tiles and the result cannot depend on how pages were cut.
 *
 * <pre>
 *   page  = [tile 0][tile 1] …                      pageTokens / TILE tiles
 *   tile  = for each KV head: K's scales, K transposed, V's scales, V
 *   K     = [headDim][TILE]     lane = position: one word of K serves 16 scores
 *   V     = [TILE][headDim]     lane = dimension
 *   scales  [TILE] f32, Q8_0 only: one a position, for the numbers of one head
 * </pre>
 *
 * <p>A position's scale is its own, so that storing a token touches no older one. Scales are f32: 16 of them are one word
 * of 64 bytes, which multiplies 16 scores as it lies, and no range is lost; f16 would save 3 % of the page at head dim 64.
 *
 * @param type how a number is stored
 * @param pageTokens positions in a page, a multiple of {@link #TILE}
 * @param kvHeads KV heads
 * @param headDim numbers in a head
 */
public record KvLayout(KvType type, int pageTokens, int kvHeads, int headDim) {
    /** Positions in an attention tile. */
    public static final int TILE = 16;

    /** How keys and values are stored. */
    public enum KvType {
        /** Half precision. */
        F16(2, 0),
        /** Single precision. */
        F32(4, 0),
        /** Signed bytes and one f32 scale for each position and head. */
        Q8_0(1, Float.BYTES);

        private final int bytes;
        private final int scaleBytes;

        KvType(int bytes, int scaleBytes) {
            this.bytes = bytes;
            this.scaleBytes = scaleBytes;
        }

        /** Bytes of a number, its share of a scale left out. */
        public int bytes() {
            return bytes;
        }

        /** Bytes of the scale of one position of one head; 0 where there is none. */
        public int scaleBytes() {
            return scaleBytes;
        }

        /** Whether numbers are integers with a scale. */
        public boolean isQuantized() {
            return scaleBytes > 0;
        }
    }

    /** Checks the ranges. */
    public KvLayout {
        if (pageTokens <= 0 || pageTokens % TILE != 0) {
            throw new IllegalArgumentException("a page holds a multiple of " + TILE + " tokens, not " + pageTokens);
        }
        if (kvHeads <= 0 || headDim <= 0) {
            throw new IllegalArgumentException("KV heads and head dim must be positive: " + kvHeads + ", " + headDim);
        }
    }

    /** Bytes of one position of one layer: K and V of every head, with their scales. */
    public long tokenBytes() {
        return 2L * kvHeads * headBytes();
    }

    /** Bytes of one page of one layer: K and V. */
    public long pageBytes() {
        return pageTokens * tokenBytes();
    }

    /** Byte offset, within a page, of K of the tile that holds {@code slot} (a position modulo pageTokens). */
    public long keyTileOffset(int slot, int kvHead) {
        return keyScalesOffset(slot, kvHead) + (long) TILE * type.scaleBytes();
    }

    /** Byte offset, within a page, of V of the tile that holds {@code slot}. */
    public long valueTileOffset(int slot, int kvHead) {
        return valueScalesOffset(slot, kvHead) + (long) TILE * type.scaleBytes();
    }

    /** Byte offset, within a page, of the scales of K of the tile that holds {@code slot}, where there are any. */
    public long keyScalesOffset(int slot, int kvHead) {
        return ((long) (slot / TILE) * kvHeads + kvHead) * 2 * TILE * headBytes();
    }

    /** Byte offset, within a page, of the scales of V of the tile that holds {@code slot}, where there are any. */
    public long valueScalesOffset(int slot, int kvHead) {
        return keyScalesOffset(slot, kvHead) + TILE * headBytes();
    }

    /** Bytes of K, or of V, of one position of one head. */
    private long headBytes() {
        return (long) headDim * type.bytes() + type.scaleBytes();
    }
}
