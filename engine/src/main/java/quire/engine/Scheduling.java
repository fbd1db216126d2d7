package quire.engine;

import java.time.Duration;

/**
 * What the engine knows about a request beside its content, to decide when the request runs. It never changes a token
 * of an answer, but a timeout may end the answer early.
 *
 * @param tenant who pays for the tokens of the request: tenants share the engine by their weights; empty for the tenant of
 *     all requests that name none
 * @param weight share of the tenant in relation to others, from 1 to {@value #MAX_WEIGHT}
 * @param priority requests with a lower number come first: they start first, their prompts are computed first, and they
 *     take rows and KV pages of running requests with a higher number; 0 unless the caller says otherwise. Requests with
 *     {@link #BACKGROUND} are computed only in steps in which no other request has anything to compute
 * @param timeout maximum time from {@link Engine#submit} to the end of the answer, waiting included; from 0, which is
 *     no limit, to {@link #MAX_TIMEOUT}. The answer ends with {@link FinishReason#TIMEOUT} before the next step
 */
public record Scheduling(String tenant, int weight, int priority, Duration timeout) {
    /**
     * The last priority, for work that nobody waits for. While another request is computed, those of this priority keep their
     * rows and pages as long as nobody needs them, and wait. Under load without a pause they do not get on at all.
     */
    public static final int BACKGROUND = Integer.MAX_VALUE;

    /** The largest weight. */
    public static final int MAX_WEIGHT = 1000;

    /** The largest timeout. */
    public static final Duration MAX_TIMEOUT = Duration.ofDays(1);

    /** The tenant without a name, weight 1, priority 0 and no timeout. */
    public static final Scheduling DEFAULT = new Scheduling("", 1, 0, Duration.ZERO);

    /**
     * Checks the ranges.
     *
     * @throws InvalidRequestException naming the value that is out of range
     */
    public Scheduling {
        if (weight < 1 || weight > MAX_WEIGHT) {
            throw new InvalidRequestException("weight", "weight is " + weight + "; it must be from 1 to " + MAX_WEIGHT);
        }
        if (timeout.isNegative() || timeout.compareTo(MAX_TIMEOUT) > 0) {
            throw new InvalidRequestException(
                    "timeout", "timeout is " + timeout + "; it must be from 0 (no limit) to " + MAX_TIMEOUT);
        }
    }

    /** The same for another tenant. */
    public Scheduling withTenant(String name, int itsWeight) {
        return new Scheduling(name, itsWeight, priority, timeout);
    }

    /** The same with another priority. */
    public Scheduling withPriority(int value) {
        return new Scheduling(tenant, weight, value, timeout);
    }

    /** The same with another timeout. */
    public Scheduling withTimeout(Duration value) {
        return new Scheduling(tenant, weight, priority, value);
    }
}
