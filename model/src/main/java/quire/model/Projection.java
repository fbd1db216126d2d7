package quire.model;

import org.jspecify.annotations.Nullable;
import quire.tensor.FloatMatrix;
import quire.tensor.WeightMatrix;

/**
 * A matrix of a model with its bias.
 *
 * @param weights the packed matrix
 * @param bias one row, or null
 * @param units number of units that its products are cut into, see {@link Products}
 */
record Projection(WeightMatrix weights, @Nullable FloatMatrix bias, int units) {
    /** Multiply-adds of a product with one row. */
    long multiplyAdds() {
        return (long) weights.rows() * weights.columns();
    }
}
