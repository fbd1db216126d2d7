package quire.engine.schedule;

import java.util.function.LongSupplier;
import quire.engine.SpeculationCounts;
import quire.engine.SpeculationStats;
import quire.engine.sample.SamplerTeam;

/**
 * Where draft tokens come from: the interface that the scheduler uses. Draft tokens only decide which rows a step
 * computes early. They never decide which tokens an answer has. A source that overrides nothing proposes none.
 *
 * <p>Engine thread only, except for {@link #setOn}.
 */
public interface DraftSource {
    /** Proposes no draft tokens. */
    DraftSource NONE = new DraftSource() {};

    /** State that a source keeps with each sequence. */
    interface State {}

    /**
     * The parts of the engine loop that a source uses.
     *
     * @param limits of a step
     * @param pages of the KV cache; a draft model uses the same page numbers
     * @param samplers choose tokens on all workers
     * @param vocabularySize token ids are below this
     * @param nanoClock a monotonic clock
     */
    record Context(
            StepLimits limits, KvPages pages, SamplerTeam samplers, int vocabularySize, LongSupplier nanoClock) {}

    /** Creates the source of an engine loop. */
    @FunctionalInterface
    interface Factory {
        /** The source that works with these parts of the loop. */
        DraftSource create(Context context);
    }

    /** Allows or forbids draft tokens from the next plan on. Any thread. */
    default void setOn(boolean wanted) {}

    /** A sequence begins to run, for the first time or again after preemption: its first pages may be cached ones. */
    default void started(Sequence sequence) {}

    /**
     * A row got a page of the same tokens in place of its own. {@link KvPages#isDrafted} tells whether the draft model
     * has computed that one.
     *
     * @param page index in the row's page table
     */
    default void replaced(Sequence sequence, int page) {}

    /**
     * Adds draft tokens to a plan.
     *
     * @param budget maximum number of tokens that may be added to the plan
     */
    default void draft(StepPlan plan, int budget) {}

    /**
     * Learns which draft tokens of the plan were accepted, after the new tokens were appended to the sequences.
     *
     * @param kept by index in the plan: tokens that were appended to each sequence
     * @param planNanos nanoseconds of planning, drafting included
     * @param computeNanos nanoseconds of the forward pass and the choice of tokens
     */
    default void learn(TokenVerifier tokens, int[] kept, long planNanos, long computeNanos) {}

    /** Adds the last step to {@link #stats}. The caller holds the lock that guards the engine's statistics. */
    default void countStep() {}

    /** Statistics over all steps. The caller holds the lock that guards the engine's statistics; any thread. */
    default SpeculationStats stats() {
        return SpeculationStats.NONE;
    }

    /** A sequence has ended, from any state. Returns the counts of its draft tokens. */
    default SpeculationCounts ended(Sequence sequence) {
        return SpeculationCounts.NONE;
    }
}
