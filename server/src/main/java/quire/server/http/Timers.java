package quire.server.http;

import io.vertx.core.Vertx;
import java.time.Duration;
import java.util.concurrent.Executor;

/** The clock and the timers of the event loop, on which all methods are called. Tests turn a clock of their own by hand. */
public interface Timers {
    /** Makes the timers of an event loop. */
    @FunctionalInterface
    interface Factory {
        /**
         * The timers.
         *
         * @param loop runs actions on the event loop
         */
        Timers create(Executor loop);
    }

    /** A monotonic time in nanoseconds. */
    long nanoTime();

    /**
     * Runs an action after a delay.
     *
     * @param delay rounded down to milliseconds, at least 1
     * @return a number for {@link #cancel}
     */
    long set(Duration delay, Runnable action);

    /** Cancels a timer; does nothing if it has run. */
    void cancel(long timer);

    /** Timers of the system's time. */
    static Timers of(Vertx vertx) {
        return new Timers() {
            @Override
            public long nanoTime() {
                return System.nanoTime();
            }

            @Override
            public long set(Duration delay, Runnable action) {
                return vertx.setTimer(Math.max(1, delay.toMillis()), t -> action.run());
            }

            @Override
            public void cancel(long timer) {
                vertx.cancelTimer(timer);
            }
        };
    }
}
