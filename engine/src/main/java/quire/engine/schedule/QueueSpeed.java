package quire.engine.schedule;

/**
 * Estimates how long the waiting requests need until all of them have started, from the speed at which the queue moved
 * while requests waited.
 *
 * <pre>
 *   time      ────┬──────────┬─────┬──────────────▶
 *   starts        a          b     c                      speed = tokens(a, b, c …) / time between them
 *   waiting   some wait all the time                      seconds = waiting tokens / speed
 * </pre>
 *
 * <p>A request counts with the tokens of its prompt and the tokens that its answer is expected to have: what it may have at
 * most, or the mean of recent answers. The unit cancels out, so it does not matter that a token of a prompt costs less
 * than one of an answer, nor whether rows, pages or arithmetic limit the speed. Recent starts count more.
 *
 * <p>Not thread-safe: the {@link RequestTracker}'s lock guards it. Allocates nothing.
 */
final class QueueSpeed {
    /** Each start reduces the weight of earlier ones by this factor: about the last 50 count. */
    private static final double DECAY = 0.98;

    /** Weight of an answer that has ended in the mean of answers. */
    private static final double ANSWER_GAIN = 1.0 / 16;

    /** The mean answer that is assumed before the first one has ended, in tokens. */
    private static final double FIRST_ANSWER = 128;

    private double meanAnswer = FIRST_ANSWER;
    private double startedTokens;
    private double startedNanos;
    /** Nanoseconds in which requests waited and none started, until the end of the last step. */
    private double pendingNanos;

    private boolean waited; // whether requests waited during the last step
    private long lastStep; // its end

    QueueSpeed() {}

    /** Tokens that a request counts for. */
    long tokens(int promptLength, int maxNewTokens) {
        return promptLength + Math.round(Math.min(maxNewTokens, meanAnswer));
    }

    /** A request of this many tokens started. One that has not waited says nothing about the speed of the queue. */
    void started(long tokens) {
        if (waited) {
            startedTokens = startedTokens * DECAY + tokens;
            startedNanos = startedNanos * DECAY + pendingNanos;
            pendingNanos = 0;
        }
    }

    /** An answer ended with this many tokens. */
    void ended(int answerTokens) {
        meanAnswer += (answerTokens - meanAnswer) * ANSWER_GAIN;
    }

    /**
     * A step was executed.
     *
     * @param waiting whether requests waited during the step
     * @param begin of the step, in nanoseconds of the clock
     * @param end of the step
     */
    void step(boolean waiting, long begin, long end) {
        if (waiting) {
            pendingNanos += end - (waited ? lastStep : begin);
        }
        waited = waiting;
        lastStep = end;
    }

    /** Seconds until {@code waitingTokens} have started; 0 if no request has waited yet. */
    double seconds(long waitingTokens) {
        return startedTokens == 0 ? 0 : waitingTokens / startedTokens * (startedNanos + pendingNanos) * 1e-9;
    }
}
