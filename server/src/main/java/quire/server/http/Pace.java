package quire.server.http;

import java.time.Duration;

/**
 * Whether a sender keeps a minimum pace. It has an amount of time that runs down. Each byte that arrives adds the time
 * that the byte may take, but the amount never exceeds the grace. So a sender may pause for the grace at most, at any
 * point, and cannot save time by sending fast before.
 */
final class Pace {
    private final long graceNanos;
    private final double nanosPerByte;
    private long deadline;

    /**
     * @param now the time in nanoseconds at which the sender begins
     * @param bytesPerSecond the minimum pace, at least 1
     */
    Pace(long now, Duration grace, long bytesPerSecond) {
        this.graceNanos = grace.toNanos();
        this.nanosPerByte = 1e9 / bytesPerSecond;
        this.deadline = now + graceNanos;
    }

    /** Counts bytes that arrived at this time. */
    void add(long now, int bytes) {
        deadline = now + Math.min(graceNanos, nanosLeft(now) + (long) (bytes * nanosPerByte));
    }

    /** The time that is left for the next byte; 0 or less if the sender is too slow. */
    long nanosLeft(long now) {
        return deadline - now;
    }
}
