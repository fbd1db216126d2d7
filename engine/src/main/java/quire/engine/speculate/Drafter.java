package quire.engine.speculate;

import org.jspecify.annotations.Nullable;
import quire.engine.schedule.Sequence;

/**
 * Proposes draft tokens. A wrong draft token costs time and changes nothing else: see
 * {@link quire.engine.schedule.TokenVerifier}. Engine thread only; a step allocates nothing.
 */
public interface Drafter {
    /** The drafter's name in statistics and metrics. */
    String name();

    /** How many draft tokens it can propose for a sequence, from 0 to {@code most}. */
    int offer(Sequence sequence, int most);

    /**
     * How confident it is in its offer, from 0 to {@link AcceptanceRate#CONFIDENCE_LEVELS} − 1. The policy measures the
     * acceptance rate of each level.
     */
    int confidence(Sequence sequence);

    /** How many tokens of the sequence's text it must compute before it can draft. */
    default int lag(Sequence sequence) {
        return 0;
    }

    /** The cost of its forward passes; null if drafting costs almost nothing. */
    default @Nullable CostModel cost() {
        return null;
    }

    /**
     * Writes {@code drafts.count(i)} draft tokens behind the tokens of each sequence that is assigned to this drafter.
     * Calls {@link StepDrafts#shorten} where it finds fewer.
     *
     * @param self this drafter's number in {@code drafts}
     */
    void draft(StepDrafts drafts, int self);
}
