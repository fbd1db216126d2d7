package quire.tensor;

/**
 * How one page holds the keys and values of {@code pageTokens} consecutive positions of one layer. Attention tiles are
 * {@link #TILE} positions wide and begin at absolute positions that are multiples of it, so a page is a whole number of
 * tiles and the result cannot depend on how pages were cut.
 *
 * <pre>
 *   page  = [tile 0][tile 1] …                      pageTokens / TILE tiles
 *   tile  = for each KV head: K transposed, then V
 *   K     = [headDim][TILE]     lane = position: one word of K serves 16 scores
 *   V     = [TILE][headDim]     lane = dimension
 * </pre>
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
        F16(2),
        /** Single precision. */
        F32(4);

        private final int bytes;

        KvType(int bytes) {
            this.bytes = bytes;
        }

        /** Bytes of a number. */
        public int bytes() {
            return bytes;
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

    /** Bytes of one page of one layer: K and V. */
    public long pageBytes() {
        return 2L * pageTokens * kvHeads * headDim * type.bytes();
    }

    /** Byte offset, within a page, of K of the tile that holds {@code slot} (a position modulo pageTokens). */
    public long keyTileOffset(int slot, int kvHead) {
        return ((long) (slot / TILE) * kvHeads + kvHead) * 2 * TILE * headDim * type.bytes();
    }

    /** Byte offset, within a page, of V of the tile that holds {@code slot}. */
    public long valueTileOffset(int slot, int kvHead) {
        return keyTileOffset(slot, kvHead) + (long) TILE * headDim * type.bytes();
    }
}
