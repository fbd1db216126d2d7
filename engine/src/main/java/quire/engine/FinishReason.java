package quire.engine;

/** Why an answer ended. */
public enum FinishReason {
    /**
     * The model generated its end token, or the answer reached a stop string or stop token, or the
     * vector that the request asked for is there.
     */
    STOP,
    /** The answer reached {@code maxTokens} or the end of the context. */
    LENGTH,
    /** The caller closed the stream. */
    CANCELLED,
    /** The request's {@link Scheduling#timeout} passed, while it waited or while it ran. */
    TIMEOUT,
    /** This request failed; {@link TokenStream.Finish#error} says why. */
    ERROR,
    /**
     * The model gave logits that are not finite numbers, so no token could be chosen: its weights or its file are damaged.
     * Other requests go on.
     */
    BROKEN_LOGITS,
    /**
     * The answer could not go on as its constraint requires: it needs too many states, or the model excludes every
     * token that the constraint allows. {@link TokenStream.Finish#error} says which. Other requests go on.
     */
    CONSTRAINT
}
