package quire.tensor;

/**
 * How one page holds the keys and values of {@code pageTokens} consecutive positions of one layer. Attention reads
 * tiles of {@link #TILE} positions that begin at multiples of it. A page is a whole number of tiles, so the page size
 * cannot change a result.
 *
 * <pre>
 *   page  = [tile 0][tile 1] …                      pageTokens / TILE tiles
 *   tile  = for each KV head: K's scales, K transposed, V, V's scales
 *   K     = [headDim][TILE]     lane = position: one word of K serves 16 scores
 *   V     = [TILE][headDim]     lane = dimension
 *   scales  [TILE] f32, Q8_0 only: one for each position, for the numbers of one head
 *
 *   Q8_0: K = [width / 4][TILE][4]    four dimensions of a position side by side
 *         V = [TILE / 4][width][4]    four positions of a dimension side by side
 * </pre>
 *
 * <p>Instructions for int8 add four products, so four numbers of a sum are side by side. width is headDim, rounded up to a
 * multiple of 4; what is added has no meaning. V's scales are behind V, so that a register may be read at the end of V.
 *
 * <p>Each position has its own scale, so that storing a token changes no earlier token. Scales are f32: 16 of them are
 * 64 bytes, which multiply 16 scores without conversion and keep the full range. f16 would save 3 % of a page at head
 * dimension 64.
 *
 * @param type how a number is stored
 * @param pageTokens positions in a page, a multiple of {@link #TILE}
 * @param kvHeads number of KV heads
 * @param headDim numbers in a head
 */
public record KvLayout(KvType type, int pageTokens, int kvHeads, int headDim) {
    /** Positions in an attention tile. */
    public static final int TILE = 16;

    /**
     * Positions in a segment of attention. Segments begin at multiples of it, so neither chunks nor workers move them. 512 are
     * enough that their results cost little to add, and a long context has work for many workers.
     */
    public static final int SEGMENT = 512;

    /** Numbers of a sum that are side by side in Q8_0 pages. */
    public static final int SIDE_BY_SIDE = 4;

    /** The largest head dim of Q8_0 pages: sums of products of int8 numbers are below 2²⁴, so they are exact in f32 too. */
    public static final int MOST_INT8_DIMENSIONS = 1040;

    /** How keys and values are stored. */
    public enum KvType {
        /** Half precision. */
        F16(2, 0),
        /** Single precision. */
        F32(4, 0),
        /** Signed bytes, and one f32 scale for each position and head. */
        Q8_0(1, Float.BYTES);

        private final int bytes;
        private final int scaleBytes;

        KvType(int bytes, int scaleBytes) {
            this.bytes = bytes;
            this.scaleBytes = scaleBytes;
        }

        /** Size of a number in bytes, without its scale. */
        public int bytes() {
            return bytes;
        }

        /** Size of the scale of one position and head in bytes; 0 if there is none. */
        public int scaleBytes() {
            return scaleBytes;
        }

        /** Whether a number is an integer with a scale. */
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
        if (type.isQuantized() && headDim > MOST_INT8_DIMENSIONS) {
            throw new IllegalArgumentException("int8 keys and values have at most " + MOST_INT8_DIMENSIONS
                    + " numbers for each head, not " + headDim + ": choose f16");
        }
    }

    /** Size of one position of one layer in bytes: K and V of every head, with their scales. */
    public long tokenBytes() {
        return 2L * kvHeads * headBytes();
    }

    /** Size of one page of one layer in bytes: K and V with their scales. */
    public long pageBytes() {
        return pageTokens * tokenBytes();
    }

    /**
     * Byte offset in a page of K of the tile that holds {@code slot}, which is a position modulo {@code pageTokens}.
     */
    public long keyTileOffset(int slot, int kvHead) {
        return keyScalesOffset(slot, kvHead) + (long) TILE * type.scaleBytes();
    }

    /** Byte offset in a page of V of the tile that holds {@code slot}. */
    public long valueTileOffset(int slot, int kvHead) {
        return keyScalesOffset(slot, kvHead) + TILE * headBytes();
    }

    /** Byte offset in a page of the scales of K of the tile that holds {@code slot}, for types with scales. */
    public long keyScalesOffset(int slot, int kvHead) {
        return ((long) (slot / TILE) * kvHeads + kvHead) * 2 * TILE * headBytes();
    }

    /** Byte offset in a page of the scales of V of the tile that holds {@code slot}, for types with scales. */
    public long valueScalesOffset(int slot, int kvHead) {
        return valueTileOffset(slot, kvHead) + (long) TILE * width() * type.bytes();
    }

    /** Byte offset from {@link #keyTileOffset} of one number of the K of {@code slot}. */
    public long keyOffset(int slot, int dimension) {
        int lane = slot % TILE;
        return type.isQuantized()
                ? ((long) (dimension / SIDE_BY_SIDE) * TILE + lane) * SIDE_BY_SIDE + dimension % SIDE_BY_SIDE
                : ((long) dimension * TILE + lane) * type.bytes();
    }

    /** Byte offset from {@link #valueTileOffset} of one number of the V of {@code slot}. */
    public long valueOffset(int slot, int dimension) {
        int lane = slot % TILE;
        return type.isQuantized()
                ? ((long) (lane / SIDE_BY_SIDE) * width() + dimension) * SIDE_BY_SIDE + lane % SIDE_BY_SIDE
                : ((long) lane * headDim + dimension) * type.bytes();
    }

    /** Numbers that a head takes room for. */
    public int width() {
        return type.isQuantized() ? Math.ceilDiv(headDim, SIDE_BY_SIDE) * SIDE_BY_SIDE : headDim;
    }

    /** Size of K, or of V, of one position and head in bytes. */
    private long headBytes() {
        return (long) width() * type.bytes() + type.scaleBytes();
    }
}
