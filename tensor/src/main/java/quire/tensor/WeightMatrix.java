package quire.tensor;

/**
 * A weight matrix packed for one kernel set: {@code rows} outputs by {@code columns} inputs. Only the {@link Kernels}
 * that packed it knows what lies inside.
 */
public abstract class WeightMatrix {
    private final ElementType type;
    private final int rows;
    private final int columns;

    protected WeightMatrix(ElementType type, int rows, int columns) {
        this.type = type;
        this.rows = rows;
        this.columns = columns;
    }

    /** The type the weights had in the file. */
    public ElementType type() {
        return type;
    }

    /** Outputs. */
    public int rows() {
        return rows;
    }

    /** Inputs. */
    public int columns() {
        return columns;
    }

    /** Bytes of the packed form: what one product reads. */
    public abstract long packedBytes();
}
