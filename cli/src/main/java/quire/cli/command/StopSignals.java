package quire.cli.command;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.jline.utils.Signals;
import org.jspecify.annotations.Nullable;
import quire.server.QuireServer;

/**
 * The signals that end a server. The first one lets answers end, and a line on standard error says how long; the second
 * one ends the process at once. While the model is being loaded, the first one ends the process at once.
 *
 * <p>Exit codes: 0 after the first signal, since the end was asked for; 128 and the signal's number after the second, as
 * without a handler. A signal that is ignored when Java starts, as under {@code nohup}, stays ignored.
 */
final class StopSignals implements AutoCloseable {
    private static final int SIGNALLED = 128;

    private enum Signal {
        HUP(1),
        INT(2),
        TERM(15);

        private final int number;

        Signal(int number) {
            this.number = number;
        }
    }

    /** A handler that was replaced; null if the signal has none. */
    private record Replaced(Signal signal, @Nullable Object handler) {}

    private final CountDownLatch stop;
    private final int drainSeconds;
    private final List<Replaced> replaced = new ArrayList<>();

    // Guarded by this.
    private @Nullable QuireServer server;
    private boolean stopping;

    /**
     * Handles the signals from now on.
     *
     * @param stop is counted down by the first signal if a server answers
     * @param drainSeconds how long that server waits for its answers
     */
    StopSignals(CountDownLatch stop, int drainSeconds) {
        this.stop = stop;
        this.drainSeconds = drainSeconds;
        for (Signal signal : Signal.values()) {
            replaced.add(new Replaced(signal, Signals.register(signal.name(), () -> on(signal))));
        }
    }

    /** From now on the first signal waits for the answers of this server. */
    synchronized void serving(QuireServer value) {
        server = value;
    }

    private synchronized void on(Signal signal) {
        if (server == null) {
            System.err.println("quire: stopped before the model was loaded");
            Runtime.getRuntime().halt(0);
        } else if (stopping) {
            System.err.println("quire: ended at once; answers that were not complete are cut short");
            Runtime.getRuntime().halt(SIGNALLED + signal.number);
        } else {
            stopping = true;
            int answers = server.activeRequests();
            String again = signal == Signal.INT ? "press Ctrl-C again" : "send the signal again";
            System.err.println(
                    answers == 0
                            ? "quire: stopping"
                            : "quire: waiting up to " + drainSeconds + " s for " + answers
                                    + (answers == 1 ? " answer; " : " answers; ") + again + " to end at once");
            stop.countDown();
        }
    }

    /** Gives the signals back to their former handlers. */
    @Override
    public void close() {
        for (Replaced each : replaced) {
            if (each.handler != null) {
                Signals.unregister(each.signal.name(), each.handler);
            }
        }
    }
}
