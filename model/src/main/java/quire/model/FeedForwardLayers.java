package quire.model;

import java.lang.foreign.Arena;
import java.util.List;
import quire.tensor.Activations;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.Workers;

/**
 * Computes all feed-forward layers of one width that have no experts. Between two barriers (│):
 *
 * <pre>
 *   outputs  gate, up │                    │ down │
 *   rows              │ activate, quantise │      │ bias
 * </pre>
 */
final class FeedForwardLayers {
    private final Architecture blocks;
    private final Kernels kernels;
    private final Workers workers;
    private final Products products;

    // One row for each token of the batch.
    /** The values of {@link #activated}: the activation is computed in place. */
    private final FloatMatrix gate;
    /** What the activation is multiplied with; ones if layers have no gate. */
    private final FloatMatrix up;

    private final Activations activated;
    private final List<FloatMatrix> gateUpOutputs;

    /**
     * The weights of one layer.
     *
     * @param gateUp of the inputs: gate and up; only up where layers have no gate
     * @param down from the activations to the layer's result
     * @param sparsity see {@link Architecture#sparsity}
     */
    record Weights(List<Projection> gateUp, List<Projection> down, float sparsity) {
        /** Multiply-adds for one row. */
        long multiplyAdds() {
            return Products.multiplyAdds(gateUp) + Products.multiplyAdds(down);
        }
    }

    /** @param layers the weights of these layers; they say which rows are quantised */
    FeedForwardLayers(
            Architecture blocks,
            int width,
            List<Weights> layers,
            Kernels kernels,
            Workers workers,
            int maxRows,
            Arena arena) {
        this.blocks = blocks;
        this.kernels = kernels;
        this.workers = workers;
        products = new Products(kernels, workers);
        boolean quantized = layers.stream().anyMatch(layer -> Products.anyQuantized(layer.down));
        activated = Activations.allocate(arena, maxRows, width, quantized);
        gate = activated.values();
        up = blocks.gated()
                ? FloatMatrix.allocate(arena, maxRows, width)
                : FloatMatrix.filled(arena, maxRows, width, 1f);
        gateUpOutputs = List.of(gate, up);
    }

    /** An upper bound for the bytes that such layers allocate outside of the Java heap. */
    static long byteSize(int width, int maxRows) {
        return Activations.byteSize(maxRows, width, true) + (long) Float.BYTES * width * maxRows;
    }

    /**
     * Computes a layer for all rows of the batch. Called by every worker after a barrier.
     *
     * @param x the inputs, quantised if a matrix needs that
     * @param rows number of rows of the batch
     * @param from first row of this worker
     * @param to end of the rows of this worker
     * @param result gets the results; the worker's own rows are written without a barrier after them
     */
    void compute(int worker, Weights layer, Activations x, int rows, int from, int to, List<FloatMatrix> result) {
        products.multiply(worker, layer.gateUp, x, rows, gateUpOutputs);
        workers.barrier(worker);
        products.addBias(layer.gateUp.getFirst(), gate, from, to);
        if (blocks.gated()) {
            products.addBias(layer.gateUp.get(1), up, from, to);
        }
        if (Float.isFinite(layer.sparsity)) {
            makeSparse(layer.sparsity, from, to);
        }
        kernels.activate(blocks.activation(), gate, up, gate, from, to);
        products.quantize(activated, from, to);
        workers.barrier(worker);
        products.multiply(worker, layer.down, activated, rows, result);
        workers.barrier(worker);
        products.addBias(layer.down.getFirst(), result.getFirst(), from, to);
    }

    /** Subtracts a limit from the gate, and sets what is below it to 0. */
    private void makeSparse(float deviations, int from, int to) {
        int width = gate.columns();
        for (int row = from; row < to; row++) {
            double sum = 0;
            for (int i = 0; i < width; i++) {
                sum += gate.get(row, i);
            }
            double mean = sum / width;
            double squares = 0;
            for (int i = 0; i < width; i++) {
                double difference = gate.get(row, i) - mean;
                squares += difference * difference;
            }
            float limit = (float) (mean + deviations * Math.sqrt(squares / width));
            for (int i = 0; i < width; i++) {
                gate.set(row, i, Math.max(gate.get(row, i) - limit, 0));
            }
        }
    }
}
