package quire.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import quire.tensor.Activation;
import quire.tensor.Activations;
import quire.tensor.ElementType;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.Workers;

/**
 * What each layer reads besides the residual stream (Gemma 4's per-layer embeddings). A token has a short embedding for
 * each layer, to which a product of its usual embedding is added; behind a layer's feed-forward part it is multiplied with
 * a product of the residual stream:
 *
 * <pre>
 *   token ─▶ row of the table × √width ───────────────────────────┐
 *   embedding ─▶ product ÷ √hidden ─▶ norm of each layer's part ─▶ + ─▶ ÷ √2 ─▶ one short input for each layer
 *
 *   x ──┬─▶ product ─▶ GELU ─▶ × the layer's input ─▶ product ─▶ norm ─▶ + ─▶ …
 *       └────────────────────────────────────────────────────────────────┘
 * </pre>
 */
final class LayerInputs {
    private final int width;
    private final float productFactor;
    private final float tableFactor;
    private final float epsilon;
    private final Kernels kernels;
    private final Workers workers;
    private final Products products;
    private final Table table;

    // One row for each token of the batch.
    /** By layer. */
    private final List<FloatMatrix> inputs;

    private final Activations gated;
    private final List<FloatMatrix> gateOutputs;

    /** By worker: the row of the table of one token. */
    private final FloatMatrix looked;

    /**
     * What all layers share.
     *
     * @param type how the table stores its numbers
     * @param rows the table: for each token, the inputs of all layers
     * @param products by layer: from the usual embedding to its input
     * @param norm weights of the norm of each product
     */
    record Table(ElementType type, MemorySegment rows, List<Projection> products, FloatMatrix norm) {}

    /**
     * The weights of one layer.
     *
     * @param gate from the residual stream
     * @param output to the residual stream
     * @param norm of the result
     */
    record Weights(List<Projection> gate, List<Projection> output, WeightLoader.NormWeights norm) {
        /** Multiply-adds for one row. */
        long multiplyAdds() {
            return Products.multiplyAdds(gate) + Products.multiplyAdds(output);
        }
    }

    /** @param layers the weights of all layers; they say which rows are quantised */
    LayerInputs(
            ModelConfig config,
            int width,
            Table table,
            List<Weights> layers,
            Kernels kernels,
            Workers workers,
            int maxRows,
            Arena arena) {
        this.width = width;
        this.table = table;
        this.kernels = kernels;
        this.workers = workers;
        products = new Products(kernels, workers);
        epsilon = config.normEpsilon();
        productFactor = (float) (1 / StrictMath.sqrt(config.hidden()));
        tableFactor = (float) StrictMath.sqrt(width);
        List<FloatMatrix> allInputs = new ArrayList<>();
        for (int i = 0; i < layers.size(); i++) {
            allInputs.add(FloatMatrix.allocate(arena, maxRows, width));
        }
        inputs = List.copyOf(allInputs);
        boolean quantized = layers.stream().anyMatch(layer -> Products.anyQuantized(layer.output));
        gated = Activations.allocate(arena, maxRows, width, quantized);
        gateOutputs = List.of(gated.values()); // the activation is computed in place
        looked = FloatMatrix.allocate(arena, workers.count(), layers.size() * width);
    }

    /** Whether the usual embeddings need to be quantised. */
    boolean readsQuantized() {
        return Products.anyQuantized(table.products);
    }

    /** An upper bound for the bytes that layers allocate for this outside of the Java heap. */
    static long byteSize(int layers, int width, int maxRows, int workers) {
        return Activations.byteSize(maxRows, width, true) + (long) Float.BYTES * width * layers * (maxRows + workers);
    }

    /**
     * Computes the inputs of all layers. Called by every worker after a barrier.
     *
     * @param x the usual embeddings, quantised if a matrix needs that
     * @param from first row of this worker
     * @param to end of the rows of this worker
     */
    void begin(int worker, int[] tokens, Activations x, int rows, int from, int to) {
        products.multiply(worker, table.products, x, rows, inputs);
        workers.barrier(worker);
        int all = looked.columns();
        long rowBytes = table.type.byteSize(all);
        float half = (float) StrictMath.sqrt(0.5);
        for (FloatMatrix each : inputs) {
            for (int row = from; row < to; row++) {
                for (int i = 0; i < width; i++) {
                    each.set(row, i, each.get(row, i) * productFactor);
                }
            }
            kernels.rmsNorm(each, table.norm, epsilon, each, from, to);
        }
        for (int row = from; row < to; row++) {
            table.type.decode(table.rows, tokens[row] * rowBytes, looked.segment(), (long) worker * all, all);
            for (int layer = 0; layer < inputs.size(); layer++) {
                FloatMatrix each = inputs.get(layer);
                for (int i = 0; i < width; i++) {
                    float own = looked.get(worker, layer * width + i) * tableFactor;
                    each.set(row, i, (each.get(row, i) + own) * half);
                }
            }
        }
    }

    /**
     * Computes what a layer's input adds to the residual stream, before its norm. Called by every worker after a barrier.
     *
     * @param x the residual stream, quantised if a matrix needs that
     * @param from first row of this worker
     * @param to end of the rows of this worker
     * @param result gets the results; the worker's own rows may be read without a barrier after them
     */
    void compute(
            int worker,
            int layer,
            Weights weights,
            Activations x,
            int rows,
            int from,
            int to,
            List<FloatMatrix> result) {
        products.multiply(worker, weights.gate, x, rows, gateOutputs);
        workers.barrier(worker);
        kernels.activate(Activation.GELU, gated.values(), inputs.get(layer), gated.values(), from, to);
        products.quantize(gated, from, to);
        workers.barrier(worker);
        products.multiply(worker, weights.output, gated, rows, result);
        workers.barrier(worker);
    }
}
