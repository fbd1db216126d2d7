package quire.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.tensor.Activation;
import quire.tensor.Activations;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.Workers;

/**
 * The part of a Mamba layer between its convolution and its states: values give keys, queries and steps by products of their
 * own. Between two barriers (│) it does:
 *
 * <pre>
 *   rows     bias, SiLU, quantise values │                    │ norms, copy, quantise │                │ bias of steps
 *   outputs                              │ steps, key, query  │                       │ steps by value │
 * </pre>
 */
final class SelectiveInputs {
    private final Kernels kernels;
    private final Workers workers;
    private final Products products;
    private final float epsilon;
    private final int width;
    private final int keys;

    /** What the convolution computes, and values are made of. */
    private final Activations values;
    /** What {@link Kernels#activate} multiplies with. */
    private final FloatMatrix ones;

    private final FloatMatrix mixed;
    private final Activations ranks;
    private final FloatMatrix keyRows;
    private final FloatMatrix queryRows;
    private final List<FloatMatrix> mixedOutputs;
    private final List<FloatMatrix> stepOutputs;

    /**
     * The weights of one layer.
     *
     * @param mixed from values to what steps are made of, a key and a query
     * @param steps from the first of these to a step for each value, with its bias
     * @param norms of these three parts; null if they are not normalised
     */
    record Weights(
            List<Projection> mixed,
            List<Projection> steps,
            @Nullable Norms norms) {
        long multiplyAdds() {
            return Products.multiplyAdds(mixed) + Products.multiplyAdds(steps);
        }
    }

    /** The weights of norms, one row each. */
    record Norms(FloatMatrix ranks, FloatMatrix keys, FloatMatrix queries) {}

    /** @param steps where the steps are written, a row for each row of the batch */
    SelectiveInputs(
            Recurrence recurrence,
            List<Weights> layers,
            float epsilon,
            Kernels kernels,
            Workers workers,
            int maxRows,
            FloatMatrix steps,
            Arena arena) {
        this.kernels = kernels;
        this.workers = workers;
        this.epsilon = epsilon;
        products = new Products(kernels, workers);
        width = recurrence.width();
        keys = recurrence.stateSize();
        values = Activations.allocate(
                arena, maxRows, width, layers.stream().anyMatch(layer -> Products.anyQuantized(layer.mixed)));
        ones = FloatMatrix.filled(arena, maxRows, width, 1f);
        int rank = recurrence.stepRank();
        mixed = FloatMatrix.allocate(arena, maxRows, rank + 2 * keys);
        ranks = Activations.allocate(
                arena, maxRows, rank, layers.stream().anyMatch(layer -> Products.anyQuantized(layer.steps)));
        keyRows = FloatMatrix.allocate(arena, maxRows, keys);
        queryRows = FloatMatrix.allocate(arena, maxRows, keys);
        mixedOutputs = List.of(mixed);
        stepOutputs = List.of(steps);
    }

    /** An upper bound for the bytes that this allocates outside of the Java heap. */
    static long byteSize(Recurrence recurrence, int maxRows) {
        return Activations.byteSize(maxRows, recurrence.width(), true)
                + Activations.byteSize(maxRows, recurrence.stepRank(), true)
                + (long) Float.BYTES
                        * maxRows
                        * (recurrence.width() + recurrence.stepRank() + 4L * recurrence.stateSize());
    }

    /** Where the convolution writes its results. */
    FloatMatrix values() {
        return values.values();
    }

    /**
     * Makes values, keys and queries of what the convolution has computed, and steps without their last function. Called by
     * every worker, with its own rows convolved; ends with its own rows complete.
     *
     * @param bias of the convolution
     * @param inputs where values, keys and queries are written
     */
    void compute(int worker, Weights layer, FloatMatrix bias, int rows, int from, int to, FloatMatrix inputs) {
        kernels.addBias(bias, values.values(), from, to);
        kernels.activate(Activation.SILU, values.values(), ones, values.values(), from, to);
        products.quantize(values, from, to);
        workers.barrier(worker);
        products.multiply(worker, layer.mixed, values, rows, mixedOutputs);
        workers.barrier(worker);
        int rank = ranks.values().columns();
        for (int row = from; row < to; row++) {
            copy(mixed, row, 0, ranks.values(), row, 0, rank);
            copy(mixed, row, rank, keyRows, row, 0, keys);
            copy(mixed, row, rank + keys, queryRows, row, 0, keys);
        }
        Norms norms = layer.norms;
        if (norms != null) {
            kernels.rmsNorm(ranks.values(), norms.ranks, epsilon, ranks.values(), from, to);
            kernels.rmsNorm(keyRows, norms.keys, epsilon, keyRows, from, to);
            kernels.rmsNorm(queryRows, norms.queries, epsilon, queryRows, from, to);
        }
        for (int row = from; row < to; row++) {
            copy(values.values(), row, 0, inputs, row, 0, width);
            copy(keyRows, row, 0, inputs, row, width, keys);
            copy(queryRows, row, 0, inputs, row, width + keys, keys);
        }
        products.quantize(ranks, from, to);
        workers.barrier(worker);
        products.multiply(worker, layer.steps, ranks, rows, stepOutputs);
        workers.barrier(worker);
        products.addBias(layer.steps.getFirst(), stepOutputs.getFirst(), from, to);
    }

    private static void copy(
            FloatMatrix from, int fromRow, int fromColumn, FloatMatrix to, int toRow, int toColumn, int count) {
        MemorySegment.copy(
                from.segment(),
                from.rowOffset(fromRow) + fromColumn * (long) Float.BYTES,
                to.segment(),
                to.rowOffset(toRow) + toColumn * (long) Float.BYTES,
                count * (long) Float.BYTES);
    }
}
