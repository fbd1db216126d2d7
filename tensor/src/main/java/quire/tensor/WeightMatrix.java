package quire.tensor;

import java.lang.foreign.MemorySegment;
import java.util.List;

/**
 * A weight matrix of {@code rows} outputs by {@code columns} inputs, packed for one kernel set. Only the {@link
 * Kernels} that packed it can read it.
 */
public abstract class WeightMatrix {
    private final ElementType type;
    private final int rows;
    private final int columns;
    private float factor = 1;

    /**
     * For kernel sets.
     *
     * @param type the type of the weights in the file
     * @param rows number of outputs
     * @param columns number of inputs
     */
    protected WeightMatrix(ElementType type, int rows, int columns) {
        this.type = type;
        this.rows = rows;
        this.columns = columns;
    }

    /** The type of the weights in the file. */
    public ElementType type() {
        return type;
    }

    /** Number of outputs. */
    public int rows() {
        return rows;
    }

    /** Number of inputs. */
    public int columns() {
        return columns;
    }

    /**
     * Sets the number that every output is multiplied with at last, 1 at first. Some files have one for a matrix. It must
     * not change while products are computed.
     */
    public void setFactor(float factor) {
        this.factor = factor;
    }

    /** For kernel sets: multiplies the outputs {@code [from, to)} of the first rows of y with the factor. */
    public final void multiplyByFactor(FloatMatrix y, int rows, int from, int to) {
        if (factor == 1) {
            return;
        }
        for (int row = 0; row < rows; row++) {
            for (int output = from; output < to; output++) {
                y.set(row, output, y.get(row, output) * factor);
            }
        }
    }

    /**
     * Writes the weights of one output as f32: the numbers of {@link ElementType#decode}, to the last bit. The factor is not
     * in them. Any thread; allocates nothing.
     *
     * @param row the output
     * @param target receives {@link #columns} numbers
     * @param targetElement index of the first one in the target
     * @throws UnsupportedOperationException if {@link Kernels#readsRows} is false for the set that packed the matrix
     */
    public void readRow(int row, MemorySegment target, long targetElement) {
        throw new UnsupportedOperationException("this kernel set does not read rows back");
    }

    /**
     * The packed weights, for {@link Kernels#ofPacked}: parts that follow each other without gaps.
     *
     * @throws UnsupportedOperationException if {@link Kernels#keepsPacked} is false for the set that packed the matrix
     */
    public List<MemorySegment> packed() {
        throw new UnsupportedOperationException("this kernel set packs weights anew each time");
    }

    /** Size of the packed weights in bytes; one product reads them all. */
    public abstract long packedBytes();
}
