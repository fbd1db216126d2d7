package quire.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * The right-hand side of matrix products: up to {@code rows} rows of f32 values and, when asked for, beside them the
 * same values quantised to int8 in blocks of 32, one f32 scale a block. {@link Kernels#quantize} fills the second form
 * from the first.
 *
 * <pre>
 *   values  [rows][columns]        f32
 *   quants  [rows][columns]        q = rint(x × 127 / max|x|) over each block
 *   scales  [rows][columns / 32]   f32,  d = max|x| / 127
 * </pre>
 *
 * <p>There is room for two bytes a quant; whether a set keeps int8 or int16, and in which order, is its own affair: only
 * the set that quantised reads them.
 *
 * <p>A NaN takes no part in the maximum and quantises to 0; ±∞ counts as the largest finite value and quantises to
 * ±127; a block of numbers all below 2⁻¹¹⁹ becomes zeros with scale 0.
 */
public final class Activations {
    /** Numbers that share a scale. */
    public static final int BLOCK = 32;

    /** A block whose largest magnitude is below this becomes zeros with scale 0: 127 / it must stay finite. */
    public static final float SMALLEST = 0x1p-119f;

    /** Rows are rounded up to a multiple of this, so that a set may hold them in tiles of 12, 6, 4, 3 or 2. */
    private static final int ROWS_GRAIN = 12;

    private static final int CACHE_LINE_BYTES = 64;

    private final FloatMatrix values;
    private final MemorySegment quants;
    private final MemorySegment scales;

    private Activations(FloatMatrix values, MemorySegment quants, MemorySegment scales) {
        this.values = values;
        this.quants = quants;
        this.scales = scales;
    }

    /**
     * Allocates room for {@code rows} rows.
     *
     * @param quantized whether the int8 form is needed; then {@code columns} must be a multiple of 32
     */
    public static Activations allocate(Arena arena, int rows, int columns, boolean quantized) {
        FloatMatrix values = FloatMatrix.allocate(arena, rows, columns);
        if (!quantized) {
            return new Activations(values, MemorySegment.NULL, MemorySegment.NULL);
        }
        if (columns % BLOCK != 0) {
            throw new IllegalArgumentException(columns + " columns are not a whole number of blocks of " + BLOCK);
        }
        long roomy = roomy(rows);
        MemorySegment quants = arena.allocate(roomy * columns * Short.BYTES, CACHE_LINE_BYTES);
        MemorySegment scales = arena.allocate(roomy * (columns / BLOCK) * Float.BYTES, CACHE_LINE_BYTES);
        return new Activations(values, quants, scales);
    }

    /** Bytes that {@link #allocate} takes. */
    public static long byteSize(int rows, int columns, boolean quantized) {
        long values = (long) rows * columns * Float.BYTES;
        return quantized
                ? values + roomy(rows) * columns * Short.BYTES + roomy(rows) * columns / BLOCK * Float.BYTES
                : values;
    }

    private static long roomy(int rows) {
        return (rows + ROWS_GRAIN - 1L) / ROWS_GRAIN * ROWS_GRAIN;
    }

    /** The f32 form: read it, write it. */
    public FloatMatrix values() {
        return values;
    }

    /** Whether the int8 form exists. */
    public boolean isQuantized() {
        return quants.byteSize() > 0;
    }

    public MemorySegment quants() {
        return quants;
    }

    public MemorySegment scales() {
        return scales;
    }
}
