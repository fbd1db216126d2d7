package quire.engine;

import java.util.List;

/** What happened to a request so far, and when. Thread-safe; the events grow until the request has ended. */
public interface Timeline {
    /** Of a request that no engine knows: without events. */
    Timeline NONE = new Timeline() {
        @Override
        public List<Event> events() {
            return List.of();
        }

        @Override
        public int leftOut() {
            return 0;
        }

        @Override
        public SpeculationCounts speculation() {
            return SpeculationCounts.NONE;
        }
    };

    /** The kind of an event. */
    enum Kind {
        /** It was accepted and waits. Tokens: of the prompt. */
        QUEUED,
        /** It began to run, for the first time or again. Tokens: found in the prefix cache. */
        STARTED,
        /** A step computed several of its tokens, or the last token of its prompt. Tokens: how many. */
        CHUNK,
        /** Its first token was sent. Tokens: 1, or more if draft tokens were accepted with it. */
        FIRST_TOKEN,
        /** It lost its pages and waits again. Tokens: computed ones that it lost. */
        PREEMPTED,
        /** It has ended. Tokens: of the answer. */
        ENDED
    }

    /**
     * An event.
     *
     * @param kind what happened
     * @param nanos nanoseconds since the request was accepted
     * @param tokens as {@link Kind} says
     * @param pages KV pages that the request held then
     */
    record Event(Kind kind, long nanos, int tokens, int pages) {}

    /** The events so far, in order. */
    List<Event> events();

    /** How many events in the middle were left out, because there were too many. */
    int leftOut();

    /** Its draft tokens; none before its end and without {@link Speculation}. */
    SpeculationCounts speculation();
}
