package quire.model;

import java.lang.foreign.Arena;
import java.util.List;
import quire.tensor.Activations;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.Workers;

/**
 * Computes the layers that {@link Recurrence} describes. A number of a row is a sum over the last positions in ascending
 * order, wherever they are: in this batch, or kept from a step before. So chunks cannot change a bit. Between two barriers
 * (│) a layer does:
 *
 * <pre>
 *   rows        │ inputs b × x │ convolution, × c, quantise │              │
 *   outputs  b c x │            │                           │ output       │
 *   sequences      │            │                           │ keep inputs  │
 * </pre>
 */
final class RecurrentLayers {
    private final int taps;
    private final Kernels kernels;
    private final Workers workers;
    private final Products products;
    private final RecurrentState state;

    // One row for each token of the batch.
    private final FloatMatrix b;
    private final FloatMatrix c;
    private final FloatMatrix inputs;
    private final Activations mixed;
    private final List<FloatMatrix> firstOutputs;

    /**
     * The weights of one layer.
     *
     * @param index its number among the recurrent layers
     * @param first b, c and x of the inputs
     * @param taps a row for each position of the convolution, the earliest first
     * @param output from the convolution's result to the layer's
     */
    record Weights(int index, List<Projection> first, FloatMatrix taps, List<Projection> output) {
        long multiplyAdds() {
            return Products.multiplyAdds(first) + Products.multiplyAdds(output) + (long) taps.rows() * taps.columns();
        }
    }

    /** @param layers the weights of all layers; they say which rows are quantised */
    RecurrentLayers(
            Recurrence recurrence,
            RecurrentState state,
            List<Weights> layers,
            Kernels kernels,
            Workers workers,
            int maxRows,
            Arena arena) {
        taps = recurrence.taps();
        this.state = state;
        this.kernels = kernels;
        this.workers = workers;
        products = new Products(kernels, workers);
        b = FloatMatrix.allocate(arena, maxRows, recurrence.width());
        c = FloatMatrix.allocate(arena, maxRows, recurrence.width());
        inputs = FloatMatrix.allocate(arena, maxRows, recurrence.width());
        boolean quantized = layers.stream().anyMatch(layer -> Products.anyQuantized(layer.output));
        mixed = Activations.allocate(arena, maxRows, recurrence.width(), quantized);
        firstOutputs = List.of(b, c, inputs);
    }

    /** An upper bound for the bytes that such layers allocate outside of the Java heap, without the state. */
    static long byteSize(Recurrence recurrence, int maxRows) {
        return Activations.byteSize(maxRows, recurrence.width(), true)
                + 3L * Float.BYTES * maxRows * recurrence.width();
    }

    /**
     * Computes a layer. Called by every worker after a barrier; ends with one.
     *
     * @param x the layer's inputs, quantised if a matrix needs that
     * @param from first row of this worker
     * @param to end of the rows of this worker
     * @param results where the layer's results are written, without the bias
     */
    void compute(int worker, Weights layer, Activations x, Batch batch, int from, int to, List<FloatMatrix> results) {
        products.multiply(layer.first, x, batch.rows(), firstOutputs);
        workers.barrier(worker);
        for (int i = 0; i < firstOutputs.size(); i++) {
            products.addBias(layer.first.get(i), firstOutputs.get(i), from, to);
        }
        for (int row = from; row < to; row++) {
            kernels.multiplyRow(b, row, inputs, row, inputs, row);
        }
        workers.barrier(worker);
        for (int s = 0; s < batch.sequences(); s++) {
            int end = Math.min(to, batch.firstRow(s) + batch.rowCount(s));
            for (int row = Math.max(from, batch.firstRow(s)); row < end; row++) {
                convolve(layer, batch, s, row, mixed.values());
                kernels.multiplyRow(mixed.values(), row, c, row, mixed.values(), row);
            }
        }
        products.quantize(mixed, from, to);
        workers.barrier(worker);
        for (int s = worker; s < batch.sequences(); s += workers.active()) {
            state.keep(layer.index, batch, s, inputs);
        }
        products.multiply(layer.output, mixed, batch.rows(), results);
        workers.barrier(worker);
    }

    /** The convolution of one row: {@code y = Σ taps[t] × inputs[position − taps + 1 + t]} for t ascending. */
    private void convolve(Weights layer, Batch batch, int s, int row, FloatMatrix y) {
        int first = batch.firstPosition(s);
        int position = batch.positions()[row];
        boolean begun = false;
        for (int tap = Math.max(0, taps - 1 - position); tap < taps; tap++) {
            int at = position - taps + 1 + tap;
            boolean isNew = at >= first;
            FloatMatrix source = isNew ? inputs : state.inputs(layer.index);
            int sourceRow = isNew ? row - position + at : state.row(batch.stateSlot(s), at);
            if (begun) {
                kernels.addProduct(layer.taps, tap, source, sourceRow, y, row);
            } else {
                kernels.multiplyRow(layer.taps, tap, source, sourceRow, y, row);
                begun = true;
            }
        }
    }
}
