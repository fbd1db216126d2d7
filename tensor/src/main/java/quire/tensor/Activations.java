package quire.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * The inputs of matrix products: up to {@code rows} rows of f32 values and, if requested, the same values quantised to
 * int8 in blocks of 32 with one f32 scale for each block. {@link Kernels#quantize} computes the int8 values.
 *
 * <pre>
 *   values  [rows][columns]        f32
 *   quants  [rows][columns]        q = rint(x × 127 / max|x|) over each block
 *   scales  [rows][columns / 32]   f32,  d = max|x| / 127
 * </pre>
 *
 * <p>The quants have two bytes each. A kernel set may store int8 or int16 and choose the order, because only the set
 * that quantised reads them.
 *
 * <p>NaN is ignored in the maximum and quantises to 0. ±∞ counts as the largest finite value and quantises to ±127. A
 * block whose numbers are all below 2⁻¹¹⁹ becomes zeros with scale 0.
 */
public final class Activations {
    /** Number of values that share a scale. */
    public static final int BLOCK = 32;

    /**
     * A block whose largest magnitude is below this becomes zeros with scale 0, because 127 / magnitude must be finite.
     */
    public static final float SMALLEST = 0x1p-119f;

    /** Memory is allocated for a multiple of this many rows, so that a set may use tiles of 12, 6, 4, 3 or 2 rows. */
    public static final int TILE_ROWS = 12;

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
     * Allocates memory for {@code rows} rows.
     *
     * @param quantized whether to allocate memory for int8 values; {@code columns} must then be a multiple of 32
     */
    public static Activations allocate(Arena arena, int rows, int columns, boolean quantized) {
        FloatMatrix values = FloatMatrix.allocate(arena, rows, columns);
        if (!quantized) {
            return new Activations(values, MemorySegment.NULL, MemorySegment.NULL);
        }
        if (columns % BLOCK != 0) {
            throw new IllegalArgumentException(columns + " columns are not a whole number of blocks of " + BLOCK);
        }
        long rowsInMemory = rowsInMemory(rows);
        MemorySegment quants = arena.allocate(rowsInMemory * columns * Short.BYTES, CACHE_LINE_BYTES);
        MemorySegment scales = arena.allocate(rowsInMemory * (columns / BLOCK) * Float.BYTES, CACHE_LINE_BYTES);
        return new Activations(values, quants, scales);
    }

    /** Bytes that {@link #allocate} allocates. */
    public static long byteSize(int rows, int columns, boolean quantized) {
        long values = (long) rows * columns * Float.BYTES;
        return quantized
                ? values
                        + rowsInMemory(rows) * columns * Short.BYTES
                        + rowsInMemory(rows) * columns / BLOCK * Float.BYTES
                : values;
    }

    private static long rowsInMemory(int rows) {
        return (rows + TILE_ROWS - 1L) / TILE_ROWS * TILE_ROWS;
    }

    /**
     * The rows from {@code first} on, in the same memory: row 0 of the result is row {@code first} of this. A row must be
     * quantised and multiplied through the same view.
     *
     * @param first a multiple of {@link #TILE_ROWS}
     */
    public Activations from(int first) {
        if (first < 0 || first % TILE_ROWS != 0 || first >= values.rows()) {
            throw new IllegalArgumentException(
                    "row " + first + " of " + values.rows() + " does not begin a tile of " + TILE_ROWS + " rows");
        }
        FloatMatrix rest = values.from(first);
        if (!isQuantized()) {
            return new Activations(rest, MemorySegment.NULL, MemorySegment.NULL);
        }
        long columns = values.columns();
        return new Activations(
                rest,
                quants.asSlice(first * columns * Short.BYTES),
                scales.asSlice(first * (columns / BLOCK) * Float.BYTES));
    }

    /** The f32 values, to read and to write. */
    public FloatMatrix values() {
        return values;
    }

    /** Whether there is memory for int8 values. */
    public boolean isQuantized() {
        return quants.byteSize() > 0;
    }

    /** The quants, for kernel sets: 2 bytes each, in the order of the set that wrote them. */
    public MemorySegment quants() {
        return quants;
    }

    /** The scales, for kernel sets: f32, in the order of the set that wrote them. */
    public MemorySegment scales() {
        return scales;
    }
}
