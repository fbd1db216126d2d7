package quire.model;

import java.util.List;
import quire.tensor.Activations;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.Workers;

/**
 * Matrix products that all workers compute together. A product is cut into units, each some of its outputs, and each
 * worker claims other units when it has finished some. All products between two barriers count their units together:
 *
 * <pre>
 *   units      0 1 2 3 | 4 5 6 7 | 8 9 …
 *   product    first   | second  | third
 * </pre>
 */
final class Products {
    private final Kernels kernels;
    private final Workers workers;

    Products(Kernels kernels, Workers workers) {
        this.kernels = kernels;
        this.workers = workers;
    }

    /**
     * Computes products of the same rows, the only ones between two barriers. Each worker has a share of successive units
     * and takes others' units when its own are done. So it reads weights that follow each other.
     */
    void multiply(int worker, List<Projection> projections, Activations x, int rows, List<FloatMatrix> outputs) {
        int units = 0;
        for (int i = 0; i < projections.size(); i++) {
            units += projections.get(i).units();
        }
        for (long claimed = workers.claim(worker, units); claimed >= 0; claimed = workers.claim(worker, units)) {
            int end = Workers.endUnit(claimed);
            int first = 0; // of the product
            int product = 0;
            for (int unit = Workers.firstUnit(claimed); unit < end; product++) {
                Projection projection = projections.get(product);
                int to = Math.min(end - first, projection.units());
                if (unit < first + to) {
                    kernels.multiply(
                            projection.weights(), x, rows, outputs.get(product), unit - first, to, projection.units());
                    unit = first + to;
                }
                first += projection.units();
            }
        }
    }

    /** Adds the bias, if there is one, to some rows. */
    void addBias(Projection projection, FloatMatrix y, int from, int to) {
        FloatMatrix bias = projection.bias();
        if (bias != null) {
            kernels.addBias(bias, y, from, to);
        }
    }

    /** Quantises some rows, if a matrix needs that. */
    void quantize(Activations x, int from, int to) {
        if (x.isQuantized()) {
            kernels.quantize(x, from, to);
        }
    }

    /** Multiply-adds of products with one row. */
    static long multiplyAdds(List<Projection> projections) {
        return projections.stream().mapToLong(Projection::multiplyAdds).sum();
    }

    /** Whether one of these matrices needs quantised inputs. */
    static boolean anyQuantized(List<Projection> projections) {
        return projections.stream()
                .anyMatch(projection -> projection.weights().type().isQuantized());
    }
}
