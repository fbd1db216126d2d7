package quire.engine;

import java.time.Duration;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The answer to one request, token by token. The engine thread writes it, one other thread reads it. Closing it before
 * its end cancels the request and frees its pages within one step.
 *
 * <pre>{@code
 * try (TokenStream stream = engine.submit(request)) {
 *     for (Output output = stream.next(); output != null; output = stream.next()) {
 *         System.out.print(output.text());
 *     }
 *     System.out.println(stream.finish().reason());
 * }
 * }</pre>
 */
public interface TokenStream extends AutoCloseable {
    /** The vector of an answer in tokens. */
    float[] NO_VECTOR = {};

    /**
     * How an answer ended.
     *
     * @param reason why
     * @param text the rest of the text, which no {@link Output} has: text held back for a stop string that was not
     *     completed, or U+FFFD for an incomplete character. Usually empty
     * @param stop the stop string that ended the answer; null if none did
     * @param promptTokens tokens of the prompt
     * @param completionTokens tokens generated, with a stop token and with tokens that a stop string cut off
     * @param error what failed, for {@link FinishReason#ERROR}, {@link FinishReason#BROKEN_LOGITS} and {@link
     *     FinishReason#CONSTRAINT}; otherwise null
     */
    record Finish(
            FinishReason reason,
            String text,
            @Nullable String stop,
            int promptTokens,
            int completionTokens,
            @Nullable String error) {}

    /**
     * Waits for the next token.
     *
     * @return null when the answer has ended
     * @throws InterruptedException if the waiting thread is interrupted; the request continues until {@link #close}
     */
    @Nullable
    Output next() throws InterruptedException;

    /**
     * Waits until {@link #next} need not wait, because a token is there or the answer has ended.
     *
     * @return false if neither happened within {@code timeout}
     * @throws InterruptedException if the waiting thread is interrupted; the request continues until {@link #close}
     */
    boolean await(Duration timeout) throws InterruptedException;

    /** The next token without waiting; null if there is none yet or the answer has ended. */
    @Nullable
    Output poll();

    /**
     * How the answer ended.
     *
     * @throws IllegalStateException before {@link #next} has returned null
     */
    Finish finish();

    /**
     * The log probabilities of the prompt's tokens, from the second one on; empty before the first token of the answer, and if
     * the request did not ask for them.
     */
    List<Logprobs> promptLogprobs();

    /**
     * How many draft tokens this answer had and how many were accepted; empty before its end and without
     * {@link Speculation}. Unlike the answer, the counts depend on the engine's load, because the engine uses fewer
     * draft tokens in large batches.
     */
    SpeculationCounts speculation();

    /**
     * How many tokens of the prompt were found in the prefix cache and not computed for this request; 0 before its end.
     * Like {@link #speculation}, it depends on what ran before, and changes only the speed.
     */
    int cachedTokens();

    /**
     * The vector of the prompt, for a {@linkplain Request#forVector request for it} that ended with {@link
     * FinishReason#STOP}; otherwise empty. As many numbers as {@link quire.model.Model#vectorWidth} says, not normalised.
     * Not a copy.
     */
    default float[] vector() {
        return NO_VECTOR;
    }

    /** What happened to the request so far. It depends on the engine's load too. */
    default Timeline timeline() {
        return Timeline.NONE;
    }

    /** Draft tokens that became part of the answer; 0 before its end, and without {@link Speculation}. */
    default int acceptedTokens() {
        return Math.toIntExact(speculation().acceptedTokens());
    }

    /** Draft tokens that did not become part of the answer; 0 before its end. */
    default int rejectedTokens() {
        return Math.toIntExact(speculation().draftTokens() - speculation().acceptedTokens());
    }

    /** Cancels the request if it has not ended. May be called from any thread, any number of times. */
    @Override
    void close();
}
