package quire.server.models;

/**
 * Where a model comes from.
 *
 * @param <M> the loaded model
 */
public interface ModelSource<M> {
    /**
     * Memory that a model takes from when it begins to load until it is unloaded.
     *
     * @param bytes beside the Java heap: weights, activations and all KV pages
     * @param heapBytes in the Java heap
     */
    record Need(long bytes, long heapBytes) {
        /** Nothing. */
        public static final Need NONE = new Need(0, 0);

        Need plus(Need other) {
            return new Need(bytes + other.bytes, heapBytes + other.heapBytes);
        }

        Need minus(Need other) {
            return new Need(bytes - other.bytes, heapBytes - other.heapBytes);
        }

        boolean fits(Need budget) {
            return bytes <= budget.bytes && heapBytes <= budget.heapBytes;
        }
    }

    /**
     * The memory that the model will take. Called before each {@link #load}, on the same thread, so that a file that was
     * replaced is planned anew.
     *
     * @throws RuntimeException whose message says why the model cannot be used
     */
    Need need();

    /**
     * Loads the model. It must have given back its memory if it throws.
     *
     * @throws RuntimeException whose message says why the model cannot be used
     */
    M load();

    /** Lets {@link #load} end early, with an exception if it can. No other load follows. Any thread. */
    void cancel();

    /** Frees the memory of a model that nobody uses any more. Returns when all of it is free. */
    void unload(M model);

    /** Estimated seconds until a model that is being loaded is ready; at least 1. Any thread. */
    int secondsLeft();
}
