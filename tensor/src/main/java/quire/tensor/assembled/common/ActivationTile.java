package quire.tensor.assembled.common;

import quire.tensor.Activations;

/**
 * How the assembled kernels hold quantised activations: twelve rows at a time, so that every number that a block of the
 * product needs lies within reach of a one-byte displacement.
 *
 * <pre>
 *   [tile of 12 rows][block of 32 inputs] 768 bytes:
 *      0   int8  [12][32]   quants
 *    384   f32   [12]       scale dx
 *    432   int32 [12]       −8 × Σ quants           what a zero point of 8 adds too much
 *    480   f32   [12]       dx × (float) Σ quants   what a minimum is multiplied by
 *    528   int32 [12]       −8 × Σ quants 0..15
 *    576   int32 [12]       −8 × Σ quants 16..31
 *    624   int32 [12]       Σ quants 0..15
 *    672   int32 [12]       Σ quants 16..31
 *    720   int16 [12][2]    Σ quants 0..15, Σ quants 16..31     by AVX2, which needs it in place of the four before
 * </pre>
 */
public final class ActivationTile {
    /** Rows of a tile. */
    public static final int ROWS = 12;

    /** Bytes of a tile's block: two for each number, as {@link Activations} gives room for. */
    public static final int BLOCK_BYTES = 2 * ROWS * Activations.BLOCK;

    /** What pointers into a block are advanced by, so that displacements reach both ways. */
    public static final int BIAS = 256;

    public static final int SCALE = 0;
    public static final int NEGATIVE_SUM = 1;
    public static final int SCALED_SUM = 2;
    public static final int NEGATIVE_HALF_0 = 3;
    public static final int NEGATIVE_HALF_1 = 4;
    public static final int HALF_0 = 5;
    public static final int HALF_1 = 6;
    public static final int HALF_SUMS = 7;

    private ActivationTile() {}

    /** Byte of a row's input within its tile's block. */
    public static int quantsAt(int row, int input) {
        return row * Activations.BLOCK + input;
    }

    /** Byte of one of a row's numbers, by its kind, within its tile's block. */
    public static int numberAt(int kind, int row) {
        return ROWS * Activations.BLOCK + (kind * ROWS + row) * Integer.BYTES;
    }
}
