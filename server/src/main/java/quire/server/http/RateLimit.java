package quire.server.http;

/**
 * So many units a minute. Up to a minute's worth may come at once; after that, as many as the time that passes is worth.
 * Units that are counted after the fact may exceed it, and then more time has to pass. Thread-safe.
 */
final class RateLimit {
    private static final double MINUTE_NANOS = 60e9;

    private final double perMinute;
    private double left;
    private long last;

    /**
     * @param perMinute 0 for no limit
     * @param now nanoseconds of a monotonic clock
     */
    RateLimit(int perMinute, long now) {
        this.perMinute = perMinute;
        left = perMinute;
        last = now;
    }

    /** Nanoseconds until one more unit may come; 0 if it may come now. */
    synchronized long waitNanos(long now) {
        if (perMinute == 0) {
            return 0;
        }
        refill(now);
        return left >= 1 ? 0 : (long) Math.ceil((1 - left) / perMinute * MINUTE_NANOS);
    }

    /** Counts units, whether there is room for them or not. */
    synchronized void count(int units, long now) {
        if (perMinute > 0) {
            refill(now);
            left -= units;
        }
    }

    private void refill(long now) {
        left = Math.min(perMinute, left + (now - last) / MINUTE_NANOS * perMinute);
        last = now;
    }
}
