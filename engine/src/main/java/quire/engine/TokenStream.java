package quire.engine;

import org.jspecify.annotations.Nullable;

/**
 * The answer to one request as it comes. Written by the engine thread, read by one other thread. Closing it before its
 * end cancels the request; its pages are free within one step.
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
    /**
     * How an answer ended.
     *
     * @param reason why
     * @param text the rest of the text, which no {@link Output} carried: what was held back for a stop string that did
     *     not come, or the replacement for an incomplete character; usually empty
     * @param stop the stop string that came, or null
     * @param promptTokens tokens of the prompt
     * @param completionTokens tokens generated, a stop token included; tokens cut off by a stop string included
     * @param error what failed, for {@link FinishReason#ERROR}
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
     * @throws InterruptedException if the waiting thread is interrupted; the request goes on until {@link #close}
     */
    @Nullable
    Output next() throws InterruptedException;

    /** The next token if it is already there; null when none is there or the answer has ended. */
    @Nullable
    Output poll();

    /**
     * How the answer ended.
     *
     * @throws IllegalStateException before {@link #next} has returned null
     */
    Finish finish();

    /**
     * How many draft tokens this answer had and how many were accepted; empty before its end and without
     * {@link Speculation}. Unlike everything else here, the counts depend on the engine's load, which decides how many
     * draft tokens pay.
     */
    SpeculationCounts speculation();

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
