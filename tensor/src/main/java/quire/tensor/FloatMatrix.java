package quire.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * A dense f32 matrix in native memory, row-major. One row is one token, or one output position. Rows start on 64-byte
 * boundaries if {@code columns} is a multiple of 16.
 *
 * @param segment the memory, at least {@code rows × columns × 4} bytes
 * @param rows number of rows
 * @param columns number of floats in a row
 */
public record FloatMatrix(MemorySegment segment, int rows, int columns) {
    private static final int CACHE_LINE_BYTES = 64;

    /** Allocates a matrix of zeros, aligned to a cache line. */
    public static FloatMatrix allocate(Arena arena, int rows, int columns) {
        return new FloatMatrix(arena.allocate((long) rows * columns * Float.BYTES, CACHE_LINE_BYTES), rows, columns);
    }

    /** Allocates a matrix whose numbers are all {@code value}. */
    public static FloatMatrix filled(Arena arena, int rows, int columns, float value) {
        FloatMatrix matrix = allocate(arena, rows, columns);
        for (int row = 0; row < rows; row++) {
            for (int i = 0; i < columns; i++) {
                matrix.set(row, i, value);
            }
        }
        return matrix;
    }

    /** The rows from {@code first} on, in the same memory. */
    public FloatMatrix from(int first) {
        return new FloatMatrix(segment.asSlice(rowOffset(first)), rows - first, columns);
    }

    /** Byte offset of a row's first float in {@link #segment}. */
    public long rowOffset(int row) {
        return (long) row * columns * Float.BYTES;
    }

    /** The value in {@code row}, {@code column}. */
    public float get(int row, int column) {
        return segment.get(ValueLayout.JAVA_FLOAT, rowOffset(row) + (long) column * Float.BYTES);
    }

    /** Sets the value in {@code row}, {@code column}. */
    public void set(int row, int column, float value) {
        segment.set(ValueLayout.JAVA_FLOAT, rowOffset(row) + (long) column * Float.BYTES, value);
    }
}
