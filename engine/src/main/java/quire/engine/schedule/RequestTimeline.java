package quire.engine.schedule;

import java.util.ArrayList;
import java.util.List;
import quire.engine.SpeculationCounts;
import quire.engine.Timeline;

/**
 * The events of one request. The engine thread adds them, and other threads read them. Events are never changed: the
 * count is written after an event and read before it. Adding allocates nothing; events that find no room are counted,
 * except for the last one.
 */
final class RequestTimeline implements Timeline {
    private static final int MAX_EVENTS = 64;
    private final long begin;
    private final Kind[] kinds = new Kind[MAX_EVENTS];
    private final long[] nanos = new long[MAX_EVENTS];
    private final int[] tokens = new int[MAX_EVENTS];
    private final int[] pages = new int[MAX_EVENTS];
    private volatile int count;
    private volatile int leftOut;
    private volatile SpeculationCounts speculation = SpeculationCounts.NONE;
    private int unseen; // the writer's copy of leftOut

    /** @param begin when the request was accepted, in nanoseconds of the engine's clock */
    RequestTimeline(long begin, int promptTokens) {
        this.begin = begin;
        add(Kind.QUEUED, begin, promptTokens, 0);
    }

    /** Adds an event; see {@link Timeline.Event}. {@code now} is a time of the engine's clock. */
    void add(Kind kind, long now, int tokenCount, int pageCount) {
        int at = count;
        if (at == MAX_EVENTS || (at == MAX_EVENTS - 1 && kind != Kind.ENDED)) {
            leftOut = ++unseen;
            return;
        }
        kinds[at] = kind;
        nanos[at] = now - begin;
        tokens[at] = tokenCount;
        pages[at] = pageCount;
        count = at + 1;
    }

    /** The request has ended and had these draft tokens. */
    void setSpeculation(SpeculationCounts counts) {
        speculation = counts;
    }

    @Override
    public List<Event> events() {
        int end = count;
        List<Event> events = new ArrayList<>(end);
        for (int i = 0; i < end; i++) {
            events.add(new Event(kinds[i], nanos[i], tokens[i], pages[i]));
        }
        return events;
    }

    @Override
    public int leftOut() {
        return leftOut;
    }

    @Override
    public SpeculationCounts speculation() {
        return speculation;
    }
}
