package quire.engine.speculate;

import org.jspecify.annotations.Nullable;
import quire.engine.schedule.DraftSource;
import quire.engine.schedule.Sequence;

/** The state of speculation for one sequence. It survives preemption, except for what it says about the row. */
final class DraftState implements DraftSource.State {
    /** How many of the sequence's tokens have K and V of the draft model in the row's pages. */
    int computed;

    /** How many of the row's first pages are known to {@link quire.engine.schedule.KvPages#setDrafted}. */
    int draftedPages;

    /** How often the sequence's draft tokens are accepted, by drafter. */
    final AcceptanceRate acceptance = new AcceptanceRate();

    /** Where the sequence repeats itself; null until the first look-up. */
    @Nullable
    PromptLookup lookup;

    /** Counts for the sequence's {@link quire.engine.TokenStream#speculation}; null until it first runs. */
    @Nullable
    DraftCounters counters;

    /** Nanoseconds that the draft model spent on reading this sequence's prompt and that are not amortised yet. */
    double readingNanos;

    /** How many of those nanoseconds each new token amortises. */
    double readingNanosPerToken;

    private DraftState() {}

    /** The state of a sequence; creates it on first use. */
    static DraftState of(Sequence sequence) {
        DraftSource.State state = sequence.draftState();
        if (state == null) {
            state = new DraftState();
            sequence.setDraftState(state);
        }
        return (DraftState) state;
    }
}
