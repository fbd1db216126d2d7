package quire.server.http;

import java.time.Duration;

/** Runs an action when a body falls behind its {@link Pace}. Used on the event loop. */
final class PaceTimer {
    private final Timers timers;
    private final Duration grace;
    private final long bytesPerSecond;
    private Pace pace;
    private long timer;

    PaceTimer(Timers timers, Duration grace, long bytesPerSecond) {
        this.timers = timers;
        this.grace = grace;
        this.bytesPerSecond = bytesPerSecond;
        pace = new Pace(timers.nanoTime(), grace, bytesPerSecond);
    }

    void add(int bytes) {
        pace.add(timers.nanoTime(), bytes);
    }

    void stop() {
        timers.cancel(timer);
    }

    /** Starts anew, after a time in which the server has read nothing. */
    void restart(Runnable action) {
        pace = new Pace(timers.nanoTime(), grace, bytesPerSecond);
        start(action);
    }

    /** Looks again when the time that is left now is over: a timer for each chunk would cost more than the chunk. */
    void start(Runnable action) {
        Duration left = Duration.ofNanos(pace.nanosLeft(timers.nanoTime()));
        timer = timers.set(left.plusMillis(1), () -> {
            if (pace.nanosLeft(timers.nanoTime()) > 0) {
                start(action);
            } else {
                action.run();
            }
        });
    }
}
