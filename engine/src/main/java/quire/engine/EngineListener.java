package quire.engine;

/**
 * Receives events about requests, on the engine thread, and before them about loading. Implementations must be fast and
 * must not throw: an exception stops the engine. Times are nanoseconds of the engine's clock. Every accepted request gets {@link #onFinish} exactly
 * once.
 */
public interface EngineListener {
    /** Ignores all events. */
    EngineListener NONE = new EngineListener() {};

    /**
     * A part of the weights was loaded. Comes before all other events, on the thread that opens the engine: first with
     * no bytes loaded, last with all.
     *
     * @param model the model's name
     * @param loadedBytes bytes of the files' matrices that are loaded; never decreases
     * @param totalBytes bytes of all matrices, those of a draft model included
     */
    default void onLoad(String model, long loadedBytes, long totalBytes) {}

    /** A request began to run, {@code queueNanos} after it was accepted. Not repeated after preemption. */
    default void onStart(long queueNanos, int promptTokens) {}

    /** An answer got its first token, {@code nanos} after the request was accepted. */
    default void onFirstToken(long nanos) {}

    /** An answer got a further token, {@code nanos} after the one before; 0 if both came in one step. */
    default void onToken(long nanos) {}

    /** A sequence was preempted: it lost its pages and will be computed again. */
    default void onPreempt() {}

    /** A request ended, {@code nanos} after it was accepted, whether it ever ran or not. */
    default void onFinish(FinishReason reason, long nanos, int promptTokens, int completionTokens) {}

    /**
     * An answer ended that had a token, just before its {@link #onFinish}.
     *
     * @param promptNanos from the first step with its prompt to its first token
     * @param decodeNanos from its first token to its last one
     * @param computedTokens prompt tokens that were computed; those found in the prefix cache are not
     * @param completionTokens tokens generated
     * @param maxTokens the most that it could have had
     */
    default void onAnswered(
            long promptNanos, long decodeNanos, int computedTokens, int completionTokens, int maxTokens) {}

    /** A step over {@code tokens} tokens of {@code sequences} sequences took {@code nanos}. */
    default void onStep(int tokens, int sequences, long nanos) {}
}
