package quire.engine;

/**
 * Hears what happens to requests, on the engine thread: be quick, never throw. Times are nanoseconds of the engine's
 * clock. Every request that was accepted is reported finished exactly once.
 */
public interface EngineListener {
    /** Hears nothing. */
    EngineListener NONE = new EngineListener() {};

    /** A request began to run, {@code queueNanos} after it was accepted. Not repeated after preemption. */
    default void onStart(long queueNanos, int promptTokens) {}

    /** A first token came, {@code nanos} after the request was accepted. */
    default void onFirstToken(long nanos) {}

    /** A further token came, {@code nanos} after the one before; 0 when both came in one step. */
    default void onToken(long nanos) {}

    /** A sequence lost its pages and will be computed again. */
    default void onPreempt() {}

    /** A request ended, {@code nanos} after it was accepted. */
    default void onFinish(FinishReason reason, long nanos, int promptTokens, int completionTokens) {}

    /** A step was executed. */
    default void onStep(int tokens, int sequences, long nanos) {}
}
