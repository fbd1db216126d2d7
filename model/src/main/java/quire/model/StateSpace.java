package quire.model;

import java.lang.foreign.Arena;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.tensor.Activation;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.StateCall;
import quire.tensor.Workers;

/**
 * The part of a layer with states ({@link Recurrence#hasStates}) between its convolution and its output. Each head has a state, a matrix, which the positions of
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
    /** By row: a step for each head, then a decay for each head; in Mamba a step for each number. */
    private final FloatMatrix factors;

    private final boolean selective;

    /** The keys and queries of a delta net, with a row for each group; null for Mamba-2. */
    private final @Nullable FloatMatrix keyRows;
    /** What a delta net's keys and queries are multiplied with when their length is made 1. */
    private final FloatMatrix ofKeys;

    private final FloatMatrix ofQueries;
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
     * @param stepBias by head; Mamba has it in a product
     * @param rates by head: the logarithm of the decay in a step of 1; in Mamba a row for each number of a key, with a column for
     *     each number of a value
     * @param skips by head, or in Mamba by number: factor of the inputs that are added to the result; zeros in a delta net
     * @param norms of the parts of a row ({@link Recurrence#normGroups}), or one for all; empty if they are not normalised
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
            FloatMatrix convolved,
            FloatMatrix results,
            Arena arena) {
        this.recurrence = recurrence;
        this.state = state;
        this.epsilon = epsilon;
        this.kernels = kernels;
        this.workers = workers;
        this.results = results;
        selective = recurrence.kind() == Recurrence.Kind.SELECTIVE;
        int parts = recurrence.normGroups();
        resultGroups = new FloatMatrix(results.segment(), maxRows * parts, recurrence.width() / parts);
        ones = FloatMatrix.filled(arena, maxRows, recurrence.channels(), 1f);
        int keys = recurrence.stateSize();
        keyRows = recurrence.kind() == Recurrence.Kind.DELTA_NET
                ? new FloatMatrix(convolved.segment(), maxRows * (recurrence.channels() / keys), keys)
                : null;
        ofKeys = FloatMatrix.filled(arena, 1, keys, (float) (1 / StrictMath.sqrt(keys)));
        ofQueries = FloatMatrix.filled(arena, 1, keys, (float) (1.0 / keys)); // with the scale of the scores
        factors = FloatMatrix.allocate(arena, maxRows, recurrence.factorWidth());
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
                * ((long) maxRows * ((long) recurrence.channels() + recurrence.factorWidth())
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
     * @param corrections by head: how much of a value a delta net takes, before its sigmoid; null for Mamba-2
     */
    void prepare(
            Weights layer,
            FloatMatrix convolved,
            FloatMatrix steps,
            @Nullable FloatMatrix corrections,
            int from,
            int to) {
        kernels.addBias(layer.bias, convolved, from, to);
        kernels.activate(Activation.SILU, convolved, ones, convolved, from, to);
        if (keyRows != null) {
            normKeys(keyRows, from, to);
        }
        int heads = recurrence.heads();
        for (int row = from; row < to; row++) {
            for (int head = 0; head < heads; head++) {
                float step = softplus(steps.get(row, head) + layer.stepBias.get(0, head));
                factors.set(row, head, corrections == null ? step : sigmoid(corrections.get(row, head)));
                factors.set(row, heads + head, (float) StrictMath.exp(step * layer.rates.get(0, head)));
            }
        }
    }

    /** Makes the length of keys and queries 1, and scales the queries. They are the first numbers of a row. */
    private void normKeys(FloatMatrix keyRows, int from, int to) {
        int keys = recurrence.stateSize();
        int groups = recurrence.groups();
        int perRow = recurrence.channels() / keys;
        for (int row = from; row < to; row++) {
            int first = row * perRow;
            kernels.rmsNorm(keyRows, ofQueries, epsilon / keys, keyRows, first, first + groups);
            kernels.rmsNorm(keyRows, ofKeys, epsilon / keys, keyRows, first + groups, first + 2 * groups);
        }
    }

    private static float sigmoid(float x) {
        return (float) (1 / (1 + StrictMath.exp(-x)));
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
        call.columns(recurrence.valueColumn(head), recurrence.keyColumn(head), recurrence.queryColumn(head));
        float skip = selective ? 0 : weights.skips.get(0, head);
        call.weights(weights.rates, weights.skips);
        FloatMatrix states = state.states(layer);
        int stateRow = state.stateRow(batch.stateSlot(s), head);
        int first = batch.firstPosition(s);
        int save = batch.firstSave(s);
        if (first == 0) {
            RecurrentState.clear(states, stateRow, keys);
        }
        call.state(states, stateRow).out(ignored[worker], 0, 0);
        for (int position = state.replayFrom(batch, s); position < first; position++) {
            int row = state.pendingRow(batch.stateSlot(s), position);
            setFactors(call, state.pendingFactors(layer), row, head, skip);
            advance(call.inputs(state.pending(layer), row));
            save = save(layer, batch, s, head, position + 1, save);
        }
        int row = batch.firstRow(s);
        finishSteps(row, row + batch.rowCount(s), head);
        int certain = row + batch.rowCount(s) - batch.draftRows(s);
        int end = row + batch.rowCount(s);
        for (; row < end; row++) {
            if (row == certain) {
                RecurrentState.copy(states, stateRow, drafted[worker], 0, keys);
                call.state(drafted[worker], 0);
            }
            setFactors(call, factors, row, head, skip);
            advance(call.inputs(convolved, row).out(results, row, head * dim));
            save = save(layer, batch, s, head, batch.positions()[row] + 1, save);
        }
    }

    /** Saves the state of a head if that before {@code position} is the next one to save. Returns the number of the next one. */
    private int save(int layer, Batch batch, int s, int head, int position, int save) {
        if (save == batch.lastSave(s) || batch.savePosition(save) != position) {
            return save;
        }
        state.save(layer, batch.stateSlot(s), head, batch.saveTarget(save));
        return save + 1;
    }

    private void advance(StateCall call) {
        switch (recurrence.kind()) {
            case DELTA_NET -> kernels.advanceDelta(call);
            case SELECTIVE -> kernels.advanceSelective(call);
            case STATE_SPACE, CONVOLUTION -> kernels.advance(call);
        }
    }

    private void setFactors(StateCall call, FloatMatrix from, int row, int head, float skip) {
        if (selective) {
            call.steps(from, row);
        } else {
            call.factors(from.get(row, head), from.get(row, recurrence.heads() + head), skip);
        }
    }

    /** Mamba has so many steps that the workers share their last function. */
    private void finishSteps(int from, int to, int head) {
        int first = recurrence.valueColumn(head);
        for (int row = from; row < to && selective; row++) {
            for (int i = first; i < first + recurrence.headDim(); i++) {
                factors.set(row, i, softplus(factors.get(row, i)));
            }
        }
    }

    /** Multiplies the results of some rows with their gate, and norms their parts: a delta net the other way round. */
    void finish(Weights layer, FloatMatrix gate, int from, int to) {
        boolean normsFirst = recurrence.kind() == Recurrence.Kind.DELTA_NET;
        if (normsFirst) {
            norm(layer, from, to);
        }
        kernels.activate(Activation.SILU, gate, results, results, from, to);
        if (!normsFirst) {
            norm(layer, from, to);
        }
    }

    private void norm(Weights layer, int from, int to) {
        int parts = layer.norms.isEmpty() ? 0 : recurrence.normGroups();
        for (int row = from * parts; row < to * parts; row++) {
            FloatMatrix weights = layer.norms.get(row % layer.norms.size());
            kernels.rmsNorm(resultGroups, weights, epsilon, resultGroups, row, row + 1);
        }
    }
}
