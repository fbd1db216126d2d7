package quire.model;

import java.lang.foreign.Arena;
import java.util.List;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import quire.tensor.Activations;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.Workers;

/**
 * Computes the layers that {@link Recurrence} describes. A number of a row is a sum over the last positions in ascending
 * order, wherever they are: in this batch, or kept from a step before. So chunks cannot change a bit. Between two barriers
 * (│) a layer with short convolutions does:
 *
 * <pre>
 *   rows        │ inputs b × x │ convolution, × c, quantise │              │
 *   outputs  b c x │            │                           │ output       │
 *   sequences      │            │                           │ keep inputs  │
 * </pre>
 *
 * <p>Layers with states have a barrier more: {@link StateSpace} advances the states of heads between the convolution and the rest.
 */
final class RecurrentLayers {
    private final int taps;
    private final Kernels kernels;
    private final Workers workers;
    private final Products products;
    private final RecurrentState state;
    private final @Nullable StateSpace stateSpace;
    private final @Nullable SelectiveInputs selectiveInputs;

    // One row for each token of the batch.
    /** What the convolution's inputs or the results are multiplied with: b, or the gate of layers with states. */
    private final FloatMatrix gate;
    /** c, or the steps of layers with states. */
    private final FloatMatrix third;
    /** How much of a value a delta net takes; null in others. */
    private final @Nullable FloatMatrix corrections;

    private final FloatMatrix inputs;
    /** What the convolution computes; the same memory as the results of short convolutions. */
    private final FloatMatrix convolved;

    private final Activations mixed;
    /** In the order of {@link Weights#first}. */
    private final List<FloatMatrix> firstOutputs;

    /**
     * The weights of one layer.
     *
     * @param index its number among the recurrent layers
     * @param first of the inputs: b, c and x; or gate, steps, the convolution's inputs and, in a delta net, corrections; in
     *     Mamba gate and the convolution's inputs
     * @param taps a row for each position of the convolution, the earliest first
     * @param space what else layers with states have; null for short convolutions
     * @param selective what else Mamba has; null for others
     * @param output from the convolution's result to the layer's
     */
    record Weights(
            int index,
            List<Projection> first,
            FloatMatrix taps,
            StateSpace.@Nullable Weights space,
            SelectiveInputs.@Nullable Weights selective,
            List<Projection> output) {
        long multiplyAdds() {
            return (selective == null ? 0 : selective.multiplyAdds())
                    + Products.multiplyAdds(first)
                    + Products.multiplyAdds(output)
                    + (long) taps.rows() * taps.columns();
        }
    }

    /** @param layers the weights of all layers; they say which rows are quantised */
    RecurrentLayers(
            Recurrence recurrence,
            RecurrentState state,
            List<Weights> layers,
            float epsilon,
            Kernels kernels,
            Workers workers,
            int maxRows,
            Arena arena) {
        taps = recurrence.taps();
        this.state = state;
        this.kernels = kernels;
        this.workers = workers;
        products = new Products(kernels, workers);
        boolean hasStates = recurrence.hasStates();
        gate = FloatMatrix.allocate(arena, maxRows, recurrence.width());
        third = FloatMatrix.allocate(arena, maxRows, hasStates ? recurrence.heads() : recurrence.width());
        inputs = FloatMatrix.allocate(arena, maxRows, recurrence.channels());
        boolean quantized = layers.stream().anyMatch(layer -> Products.anyQuantized(layer.output));
        mixed = Activations.allocate(arena, maxRows, recurrence.width(), quantized);
        convolved = hasStates ? FloatMatrix.allocate(arena, maxRows, recurrence.inputWidth()) : mixed.values();
        stateSpace = hasStates
                ? new StateSpace(
                        recurrence, state, epsilon, kernels, workers, maxRows, convolved, mixed.values(), arena)
                : null;
        corrections = recurrence.kind() == Recurrence.Kind.DELTA_NET
                ? FloatMatrix.allocate(arena, maxRows, recurrence.heads())
                : null;
        selectiveInputs = recurrence.kind() == Recurrence.Kind.SELECTIVE && stateSpace != null
                ? new SelectiveInputs(
                        recurrence,
                        layers.stream()
                                .map(Weights::selective)
                                .flatMap(Stream::ofNullable)
                                .toList(),
                        epsilon,
                        kernels,
                        workers,
                        maxRows,
                        stateSpace.factors(),
                        arena)
                : null;
        if (selectiveInputs != null) {
            firstOutputs = List.of(gate, inputs);
        } else {
            firstOutputs =
                    corrections == null ? List.of(gate, third, inputs) : List.of(gate, third, inputs, corrections);
        }
    }

    /** An upper bound for the bytes that such layers allocate outside of the Java heap, without the state. */
    static long byteSize(Recurrence recurrence, int maxRows, int workers) {
        return Activations.byteSize(maxRows, recurrence.width(), true)
                + (long) Float.BYTES
                        * maxRows
                        * (2L * recurrence.width()
                                + recurrence.channels()
                                + recurrence.inputWidth()
                                + recurrence.heads())
                + (recurrence.kind() == Recurrence.Kind.SELECTIVE ? SelectiveInputs.byteSize(recurrence, maxRows) : 0)
                + (recurrence.hasStates() ? StateSpace.byteSize(recurrence, maxRows, workers) : 0);
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
        products.multiply(worker, layer.first, x, batch.rows(), firstOutputs);
        workers.barrier(worker);
        for (int i = 0; i < firstOutputs.size(); i++) {
            products.addBias(layer.first.get(i), firstOutputs.get(i), from, to);
        }
        if (stateSpace != null && layer.space != null) {
            workers.barrier(worker);
            if (selectiveInputs != null && layer.selective != null) {
                convolveRows(layer, batch, from, to, selectiveInputs.values());
                selectiveInputs.compute(worker, layer.selective, layer.space.bias(), batch.rows(), from, to, convolved);
            } else {
                convolveRows(layer, batch, from, to, convolved);
                stateSpace.prepare(layer.space, convolved, third, corrections, from, to);
            }
            workers.barrier(worker);
            stateSpace.advance(worker, layer.index, layer.space, batch, convolved);
            workers.barrier(worker);
            stateSpace.finish(layer.space, gate, from, to);
        } else {
            for (int row = from; row < to; row++) {
                kernels.multiplyRow(gate, row, inputs, row, inputs, row);
            }
            workers.barrier(worker);
            convolveRows(layer, batch, from, to, convolved);
            for (int row = from; row < to; row++) {
                kernels.multiplyRow(convolved, row, third, row, convolved, row);
            }
        }
        products.quantize(mixed, from, to);
        workers.barrier(worker);
        for (int s = worker; s < batch.sequences(); s += workers.active()) {
            state.keep(layer.index, batch, s, inputs);
            if (stateSpace != null) {
                state.keepDrafts(layer.index, batch, s, convolved, stateSpace.factors());
            }
        }
        products.multiply(worker, layer.output, mixed, batch.rows(), results);
        workers.barrier(worker);
    }

    /** The convolutions of some rows. */
    private void convolveRows(Weights layer, Batch batch, int from, int to, FloatMatrix y) {
        for (int s = 0; s < batch.sequences(); s++) {
            int end = Math.min(to, batch.firstRow(s) + batch.rowCount(s));
            for (int row = Math.max(from, batch.firstRow(s)); row < end; row++) {
                convolve(layer, batch, s, row, y);
            }
        }
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
