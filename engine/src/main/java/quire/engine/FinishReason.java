package quire.engine;

/** Why an answer ended. */
public enum FinishReason {
    /** The model ended its answer, or a stop string or stop token came. */
    STOP,
    /** The token limit or the end of the context was reached. */
    LENGTH,
    /** The caller closed the stream. */
    CANCELLED,
    /** This request failed; {@link TokenStream.Finish#error} says why. Others are unharmed. */
    ERROR
}
