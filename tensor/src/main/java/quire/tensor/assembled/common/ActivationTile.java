package quire.tensor.assembled.common;

import quire.tensor.Activations;

/**
 * The layout of quantised activations for the assembled kernels. Twelve rows make a tile, so that a one-byte
 * displacement can address every number that a block of a product needs. A row's block is a cache line: a single row
 * reads no other lines, and workers that quantise different rows write to different lines.
 *
 * <pre>
 *   [tile of 12 rows][block of 32 inputs][row] 64 bytes:
 *      0   int8  [32]   quants
 *     32   f32          scale dx
 *     36   int32        −8 × Σ quants           the correction for a zero point of 8
 *     40   f32          dx × (float) Σ quants   the factor of a minimum
 *     44   int32        −8 × Σ quants 0..15
 *     48   int32        −8 × Σ quants 16..31
 *     52   int32        Σ quants 0..15
 *     56   int32        Σ quants 16..31
 *     60   int16 [2]    Σ quants 0..15, Σ quants 16..31     AVX2 only, in place of the four above
 * </pre>
 */
public final class ActivationTile {
    /** Number of rows of a tile. */
    public static final int ROWS = 12;

    /** Size of a block of a tile in bytes: two for each number, as {@link Activations} allocates. */
    public static final int BLOCK_BYTES = 2 * ROWS * Activations.BLOCK;

    /** Size of a row's block in bytes. */
    private static final int ROW_BYTES = BLOCK_BYTES / ROWS;

    /** Added to pointers to a block, so that negative and positive displacements can be used. */
    public static final int BIAS = 256;

    /** Kind of number: scale dx. */
    public static final int SCALE = 0;
    /** Kind of number: −8 × Σ quants. */
    public static final int NEGATIVE_SUM = 1;
    /** Kind of number: dx × Σ quants. */
    public static final int SCALED_SUM = 2;
    /** Kind of number: −8 × Σ quants 0..15. */
    public static final int NEGATIVE_HALF_0 = 3;
    /** Kind of number: −8 × Σ quants 16..31. */
    public static final int NEGATIVE_HALF_1 = 4;
    /** Kind of number: Σ quants 0..15. */
    public static final int HALF_0 = 5;
    /** Kind of number: Σ quants 16..31. */
    public static final int HALF_1 = 6;
    /** Kind of number: both halves' sums as int16. */
    public static final int HALF_SUMS = 7;

    private ActivationTile() {}

    /** Offset of a row's quant in a block of its tile. */
    public static int quantsAt(int row, int input) {
        return row * ROW_BYTES + input;
    }

    /** Offset of a row's number of one kind in a block of its tile. */
    public static int numberAt(int kind, int row) {
        return row * ROW_BYTES + Activations.BLOCK + kind * Integer.BYTES;
    }
}
