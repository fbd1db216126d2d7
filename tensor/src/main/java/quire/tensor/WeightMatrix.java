package quire.tensor;

/**
 * A weight matrix of {@code rows} outputs by {@code columns} inputs, packed for one kernel set. Only the {@link
 * Kernels} that packed it can read it.
 */
public abstract class WeightMatrix {
    private final ElementType type;
    private final int rows;
    private final int columns;

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

    /** Size of the packed weights in bytes; one product reads them all. */
    public abstract long packedBytes();
}
