package quire.tensor;

import java.lang.foreign.MemorySegment;

/**
 * The arguments of {@link Kernels#advance}, {@link Kernels#advanceDelta} and {@link Kernels#advanceSelective}: one position of
 * one head of a state space. An object can be reused for any number of calls, so a worker that keeps one allocates nothing in
 * a step. Not thread-safe.
 */
public final class StateCall {
    private static final FloatMatrix NONE = new FloatMatrix(MemorySegment.NULL, 0, 0);

    private final int keys;
    private FloatMatrix state = NONE;
    private int stateRow;
    private FloatMatrix inputs = NONE;
    private int row;
    private int valueColumn;
    private int keyColumn;
    private int queryColumn;
    private float step;
    private float decay;
    private float skip;
    private FloatMatrix steps = NONE;
    private int stepRow;
    private FloatMatrix rates = NONE;
    private FloatMatrix skips = NONE;
    private FloatMatrix out = NONE;
    private int outRow;
    private int outColumn;

    /** @param keys numbers of a key and of a query, which is the number of rows of a head's state */
    public StateCall(int keys) {
        this.keys = keys;
    }

    /**
     * Sets the state that is read and written.
     *
     * @param matrix its columns are the values of a head
     * @param first the first of its rows
     * @return this
     */
    public StateCall state(FloatMatrix matrix, int first) {
        state = matrix;
        stateRow = first;
        return this;
    }

    /**
     * Sets where in a row of inputs the head's numbers begin.
     *
     * @return this
     */
    public StateCall columns(int value, int key, int query) {
        valueColumn = value;
        keyColumn = key;
        queryColumn = query;
        return this;
    }

    /**
     * Sets the row with value, key and query.
     *
     * @return this
     */
    public StateCall inputs(FloatMatrix matrix, int inputRow) {
        inputs = matrix;
        row = inputRow;
        return this;
    }

    /**
     * Sets the factors.
     *
     * @param ofValue factor of the value that is added to the state
     * @param ofState factor of the state before
     * @param ofSkip factor of the value that is added to the result
     * @return this
     */
    public StateCall factors(float ofValue, float ofState, float ofSkip) {
        step = ofValue;
        decay = ofState;
        skip = ofSkip;
        return this;
    }

    /**
     * Sets the steps for {@link Kernels#advanceSelective}, by number of all values.
     *
     * @return this
     */
    public StateCall steps(FloatMatrix matrix, int ofRow) {
        steps = matrix;
        stepRow = ofRow;
        return this;
    }

    /**
     * Sets the weights for {@link Kernels#advanceSelective}.
     *
     * @param ofStates a row for each number of a key, a column for each number of all values
     * @param ofValues one row: the factors of the values that are added to the result
     * @return this
     */
    public StateCall weights(FloatMatrix ofStates, FloatMatrix ofValues) {
        rates = ofStates;
        skips = ofValues;
        return this;
    }

    /**
     * Sets where the result is written.
     *
     * @return this
     */
    public StateCall out(FloatMatrix matrix, int resultRow, int column) {
        out = matrix;
        outRow = resultRow;
        outColumn = column;
        return this;
    }

    /** Numbers of a key. */
    public int keys() {
        return keys;
    }

    /** The matrix of the state. */
    public FloatMatrix state() {
        return state;
    }

    /** The state's first row. */
    public int stateRow() {
        return stateRow;
    }

    /** The matrix of the inputs. */
    public FloatMatrix inputs() {
        return inputs;
    }

    /** Their row. */
    public int row() {
        return row;
    }

    /** Where the value begins. */
    public int valueColumn() {
        return valueColumn;
    }

    /** Where the key begins. */
    public int keyColumn() {
        return keyColumn;
    }

    /** Where the query begins. */
    public int queryColumn() {
        return queryColumn;
    }

    /** Factor of the value that is added to the state. */
    public float step() {
        return step;
    }

    /** Factor of the state before. */
    public float decay() {
        return decay;
    }

    /** Factor of the value that is added to the result. */
    public float skip() {
        return skip;
    }

    /** The matrix of the steps. */
    public FloatMatrix steps() {
        return steps;
    }

    /** Their row. */
    public int stepRow() {
        return stepRow;
    }

    /** The logarithms of the decays in a step of 1. */
    public FloatMatrix rates() {
        return rates;
    }

    /** The factors of the values that are added to the result. */
    public FloatMatrix skips() {
        return skips;
    }

    /** The matrix of the result. */
    public FloatMatrix out() {
        return out;
    }

    /** The row of the result. */
    public int outRow() {
        return outRow;
    }

    /** Where the result begins in its row. */
    public int outColumn() {
        return outColumn;
    }
}
