package quire.engine;

import java.time.Duration;

/**
 * What the engine knows about a request beside its content, to decide when the request runs. It never changes a token
 * of an answer, but a timeout may end the answer early.
 *
 * @param priority requests with a lower number come first: they start first, their prompts are computed first, and they
 *     take rows and KV pages of running requests with a higher number; 0 unless the caller says otherwise
 * @param timeout maximum time from {@link Engine#submit} to the end of the answer, waiting included; from 0, which is
 *     no limit, to {@link #MAX_TIMEOUT}. The answer ends with {@link FinishReason#TIMEOUT} before the next step
 */
public record Scheduling(int priority, Duration timeout) {
    /** The largest timeout. */
    public static final Duration MAX_TIMEOUT = Duration.ofDays(1);

    /** Priority 0 and no timeout. */
    public static final Scheduling DEFAULT = new Scheduling(0, Duration.ZERO);

    /**
     * Checks the timeout.
     *
     * @throws InvalidRequestException if it is out of range
     */
    public Scheduling {
        if (timeout.isNegative() || timeout.compareTo(MAX_TIMEOUT) > 0) {
            throw new InvalidRequestException(
                    "timeout", "timeout is " + timeout + "; it must be from 0 (no limit) to " + MAX_TIMEOUT);
        }
    }

    /** The same with another priority. */
    public Scheduling withPriority(int value) {
        return new Scheduling(value, timeout);
    }

    /** The same with another timeout. */
    public Scheduling withTimeout(Duration value) {
        return new Scheduling(priority, value);
    }
}
