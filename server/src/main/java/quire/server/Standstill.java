package quire.server;

import java.time.Duration;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Tells whoever asks again and again for how long nothing was done although there was something to do. Who asks for the first
 * time learns nothing yet. Thread-safe.
 */
final class Standstill {
    private final LongSupplier nanoClock;
    private @Nullable Object last; // what was done when there was something to do; null if there was nothing
    private long sinceNanos;

    /** @param nanoClock a monotonic clock */
    Standstill(LongSupplier nanoClock) {
        this.nanoClock = nanoClock;
    }

    /**
     * How long there has been no progress, as far as the questions tell.
     *
     * @param done what was done so far: anything that changes with progress
     * @param busy whether there is something to do
     */
    synchronized Duration duration(Object done, boolean busy) {
        long now = nanoClock.getAsLong();
        if (!busy || !done.equals(last)) {
            last = busy ? done : null;
            sinceNanos = now;
        }
        return Duration.ofNanos(now - sinceNanos);
    }
}
