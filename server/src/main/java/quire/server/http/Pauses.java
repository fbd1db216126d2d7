package quire.server.http;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/**
 * Connections of which nothing is read for a while, because their last requests were refused. Those whose time is over in the
 * same tick are read together: waking the event loop for each of them would cost more than the refusal. Used on the event
 * loop only.
 */
final class Pauses {
    static final Duration TICK = Duration.ofMillis(50);

    /** The longest pause. */
    static final int MOST_TICKS = 5;

    private final Timers timers;

    /** By the tick in which they end, modulo the length of the list. */
    private final List<List<ClientConnection>> ends = new ArrayList<>();

    private int tick;
    private int paused;

    Pauses(Timers timers) {
        this.timers = timers;
        for (int i = 0; i <= MOST_TICKS; i++) {
            ends.add(new ArrayList<>());
        }
    }

    /**
     * Calls {@link ClientConnection#resume} after a number of ticks, of which the first may be shorter than the others.
     *
     * @param ticks 1 to {@link #MOST_TICKS}
     */
    void add(ClientConnection connection, int ticks) {
        ends.get((tick + ticks) % ends.size()).add(connection);
        if (paused++ == 0) {
            timers.set(TICK, this::next);
        }
    }

    private void next() {
        tick = (tick + 1) % ends.size();
        List<ClientConnection> over = ends.get(tick);
        ends.set(tick, new ArrayList<>()); // those that resume may pause again
        paused -= over.size();
        if (paused > 0) {
            timers.set(TICK, this::next);
        }
        over.forEach(ClientConnection::resume);
    }
}
