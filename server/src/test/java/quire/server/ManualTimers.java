package quire.server;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import org.jspecify.annotations.Nullable;
import quire.server.http.Timers;

/** Timers whose time passes only in {@link #advance}. */
final class ManualTimers implements Timers, Timers.Factory {
    private record Timer(long number, long nanos, Duration delay, Runnable action) {}

    private Executor loop = Runnable::run;

    // Used on the event loop only.
    private final List<Timer> timers = new ArrayList<>();
    private long now;
    private long last;

    @Override
    public Timers create(Executor value) {
        loop = value;
        return this;
    }

    @Override
    public long nanoTime() {
        return now;
    }

    @Override
    public long set(Duration delay, Runnable action) {
        timers.add(new Timer(++last, now + Math.max(1, delay.toMillis()) * 1_000_000, delay, action));
        return last;
    }

    @Override
    public void cancel(long timer) {
        timers.removeIf(other -> other.number == timer);
    }

    /** Lets time pass: runs the actions that are due, each at its time. */
    void advance(Duration time) {
        CompletableFuture<Void> done = new CompletableFuture<>();
        loop.execute(() -> {
            long end = now + time.toNanos();
            for (Timer timer = due(end); timer != null; timer = due(end)) {
                timers.remove(timer);
                now = timer.nanos;
                timer.action.run();
            }
            now = end;
            done.complete(null);
        });
        done.join();
    }

    /** Waits until there is a timer that was set with this delay. */
    void awaitTimer(Duration delay) {
        boolean there = false;
        while (!there) {
            CompletableFuture<Boolean> found = new CompletableFuture<>();
            loop.execute(() -> found.complete(timers.stream().anyMatch(timer -> timer.delay.equals(delay))));
            there = found.join();
        }
    }

    /** The timer that is due first; null if none is due by {@code end}. */
    private @Nullable Timer due(long end) {
        return timers.stream()
                .filter(timer -> timer.nanos <= end)
                .min(Comparator.comparingLong(Timer::nanos))
                .orElse(null);
    }
}
