package quire.model;

import java.lang.foreign.Arena;
import java.util.List;
import quire.tensor.Activation;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.StateCall;
import quire.tensor.Workers;

/**
 * The part of a Mamba-2 layer between its convolution and its output. Each head has a state, a matrix, which the positions of
 * a sequence change one after the other, so chunks cannot change a bit. The workers share the heads of all sequences.
 *
 * <p>Draft tokens change a copy of the state, which is forgotten. What they would have done is kept ({@link RecurrentState}):
 * those that turn out to be right are done again at the beginning of the next step, with the same numbers in the same order.
 */
final class StateSpace {
    private final Recurrence recurrence;
    private final RecurrentState state;
    private final Kernels kernels;
    private final Workers workers;
    private final float epsilon;
    /** What {@link Kernels#activate} multiplies with. */
    private final FloatMatrix ones;
    /** By row: a step for each head, then a decay for each head. */
    private final FloatMatrix factors;

    private final FloatMatrix results;
    private final FloatMatrix resultGroups;

    // By worker.
    private final StateCall[] calls;
    private final FloatMatrix[] drafted;
    private final FloatMatrix[] ignored;

    /**
     * The weights of one layer.
     *
     * @param bias of the convolution; zeros if the file has none
     * @param stepBias by head
     * @param rates by head: the logarithm of the decay in a step of 1
     * @param skips by head: factor of the inputs that are added to the result
     * @param norms by group
     */
    record Weights(
            FloatMatrix bias, FloatMatrix stepBias, FloatMatrix rates, FloatMatrix skips, List<FloatMatrix> norms) {}

    StateSpace(
            Recurrence recurrence,
            RecurrentState state,
            float epsilon,
            Kernels kernels,
            Workers workers,
            int maxRows,
            FloatMatrix results,
            Arena arena) {
        this.recurrence = recurrence;
        this.state = state;
        this.epsilon = epsilon;
        this.kernels = kernels;
        this.workers = workers;
        this.results = results;
        int groups = recurrence.groups();
        resultGroups = new FloatMatrix(results.segment(), maxRows * groups, recurrence.width() / groups);
        ones = FloatMatrix.allocate(arena, maxRows, recurrence.channels());
        for (int row = 0; row < maxRows; row++) {
            for (int i = 0; i < recurrence.channels(); i++) {
                ones.set(row, i, 1f);
            }
        }
        factors = FloatMatrix.allocate(arena, maxRows, 2 * recurrence.heads());
        calls = new StateCall[workers.count()];
        drafted = new FloatMatrix[calls.length];
        ignored = new FloatMatrix[calls.length];
        for (int i = 0; i < calls.length; i++) {
            calls[i] = new StateCall(recurrence.stateSize());
            drafted[i] = FloatMatrix.allocate(arena, recurrence.stateSize(), recurrence.headDim());
            ignored[i] = FloatMatrix.allocate(arena, 1, recurrence.headDim());
        }
    }

    /** An upper bound for the bytes that this allocates outside of the Java heap. */
    static long byteSize(Recurrence recurrence, int maxRows, int workers) {
        return Float.BYTES
                * ((long) maxRows * (recurrence.channels() + 2L * recurrence.heads())
                        + (long) workers * (recurrence.stateSize() + 1) * recurrence.headDim());
    }

    /** The factors of the positions of the batch. */
    FloatMatrix factors() {
        return factors;
    }

    /**
     * Finishes the inputs of some rows.
     *
     * @param convolved values, keys and queries, behind the convolution
     * @param steps by head, before their bias
     */
    void prepare(Weights layer, FloatMatrix convolved, FloatMatrix steps, int from, int to) {
        kernels.addBias(layer.bias, convolved, from, to);
        kernels.activate(Activation.SILU, convolved, ones, convolved, from, to);
        int heads = recurrence.heads();
        for (int row = from; row < to; row++) {
            for (int head = 0; head < heads; head++) {
                float step = softplus(steps.get(row, head) + layer.stepBias.get(0, head));
                factors.set(row, head, step);
                factors.set(row, heads + head, (float) StrictMath.exp(step * layer.rates.get(0, head)));
            }
        }
    }

    /** {@code ln(1 + exp(x))}. */
    private static float softplus(float x) {
        return x > 20 ? x : (float) StrictMath.log1p(StrictMath.exp(x));
    }

    /** Computes the heads that this worker claims, after a barrier. */
    void advance(int worker, int layer, Weights weights, Batch batch, FloatMatrix convolved) {
        int unit = 0;
        int claimed = workers.claim();
        for (int s = 0; s < batch.sequences(); s++) {
            for (int head = 0; head < recurrence.heads(); head++) {
                if (unit++ == claimed) {
                    advance(calls[worker], layer, weights, batch, s, head, convolved, worker);
                    claimed = workers.claim();
                }
            }
        }
    }

    private void advance(
            StateCall call,
            int layer,
            Weights weights,
            Batch batch,
            int s,
            int head,
            FloatMatrix convolved,
            int worker) {
        int keys = recurrence.stateSize();
        int dim = recurrence.headDim();
        int group = head / (recurrence.heads() / recurrence.groups());
        int key = recurrence.width() + group * keys;
        call.columns(head * dim, key, key + recurrence.groups() * keys);
        float skip = weights.skips.get(0, head);
        FloatMatrix states = state.states(layer);
        int stateRow = state.stateRow(batch.stateSlot(s), head);
        int first = batch.firstPosition(s);
        if (first == 0) {
            RecurrentState.clear(states, stateRow, keys);
        }
        call.state(states, stateRow).out(ignored[worker], 0, 0);
        for (int position = state.replayFrom(batch, s); position < first; position++) {
            int row = state.pendingRow(batch.stateSlot(s), position);
            setFactors(call, state.pendingFactors(layer), row, head, skip);
            kernels.advance(call.inputs(state.pending(layer), row));
        }
        int row = batch.firstRow(s);
        int certain = row + batch.rowCount(s) - batch.draftRows(s);
        int end = row + batch.rowCount(s);
        for (; row < end; row++) {
            if (row == certain) {
                RecurrentState.copy(states, stateRow, drafted[worker], 0, keys);
                call.state(drafted[worker], 0);
            }
            setFactors(call, factors, row, head, skip);
            kernels.advance(call.inputs(convolved, row).out(results, row, head * dim));
        }
    }

    private void setFactors(StateCall call, FloatMatrix from, int row, int head, float skip) {
        call.factors(from.get(row, head), from.get(row, recurrence.heads() + head), skip);
    }

    /** Multiplies the results of some rows with their gate, and norms them by group. */
    void finish(Weights layer, FloatMatrix gate, int from, int to) {
        kernels.activate(Activation.SILU, gate, results, results, from, to);
        int groups = recurrence.groups();
        for (int row = from * groups; row < to * groups; row++) {
            kernels.rmsNorm(resultGroups, layer.norms.get(row % groups), epsilon, resultGroups, row, row + 1);
        }
    }
}
