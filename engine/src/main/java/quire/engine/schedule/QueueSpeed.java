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
 * <p>A request may wait longer than this: later ones pass it, a token costs more where a step has few, and a full queue
 * takes new requests whenever the speed seems higher than it is. So the estimate is multiplied with what recent requests have
 * waited in relation to it: the mean, and their mean deviation from it, as TCP estimates a time limit (Jacobson, SIGCOMM 1988).
 *
 * <p>Not thread-safe: the {@link RequestTracker}'s lock guards it. Allocates nothing.
 */
final class QueueSpeed {
    /** Each start reduces the weight of earlier ones by this factor: about the last 50 count. */
    private static final double DECAY = 0.98;

    /** Weight of an answer that has ended in the mean of answers. */
    private static final double ANSWER_GAIN = 1.0 / 16;

    /** Weight of a request that has waited in {@link #meanRatio} and {@link #deviation}. */
    private static final double RATIO_GAIN = 1.0 / 16;

    /** One that has waited more than so many times as long as estimated counts as this. */
    private static final double MOST_RATIO = 4;

    /** The mean answer that is assumed before the first one has ended, in tokens. */
    private static final double FIRST_ANSWER = 128;

    private double meanAnswer = FIRST_ANSWER;
    private double meanRatio = 1; // of the waits of recent requests to what was estimated
    private double deviation; // of these ratios from their mean, in the mean
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

    /** A request has started {@code seconds} after it came, when {@link #uncorrectedSeconds} were {@code estimated}. */
    void waited(double estimated, double seconds) {
        if (estimated > 0) {
            double ratio = Math.min(seconds / estimated, MOST_RATIO);
            deviation += (Math.abs(ratio - meanRatio) - deviation) * RATIO_GAIN;
            meanRatio += (ratio - meanRatio) * RATIO_GAIN;
        }
    }

    /** Seconds until {@code waitingTokens} have started; 0 if no request has waited yet. */
    double seconds(long waitingTokens) {
        return uncorrectedSeconds(waitingTokens) * Math.max(1, meanRatio + deviation);
    }

    /** The same by the speed of the queue alone. */
    double uncorrectedSeconds(long waitingTokens) {
        return startedTokens == 0 ? 0 : waitingTokens / startedTokens * (startedNanos + pendingNanos) * 1e-9;
    }
}
