package quire.engine.schedule;

import java.util.function.LongSupplier;
import quire.engine.SpeculationCounts;
import quire.engine.SpeculationStats;
import quire.engine.sample.SamplerTeam;

/**
 * Where draft tokens come from, as the scheduler sees it. Draft tokens decide which rows a step computes early and
 * never which tokens an answer has, so the scheduler needs to know no more than this.
 *
 * <p>Engine thread only, except for {@link #setOn}.
 */
public interface DraftSource {
    /** Proposes no draft tokens. */
    DraftSource NONE = new DraftSource() {
        @Override
        public void setOn(boolean wanted) {}

        @Override
        public void started(Sequence sequence) {}

        @Override
        public void draft(StepPlan plan, int budget) {}

        @Override
        public void learn(TokenVerifier tokens, int[] kept, long planNanos, long computeNanos) {}

        @Override
        public void countStep() {}

        @Override
        public SpeculationStats stats() {
            return SpeculationStats.NONE;
        }

        @Override
        public SpeculationCounts ended(Sequence sequence) {
            return SpeculationCounts.NONE;
        }
    };

    /** State that a source keeps with each sequence. */
    interface State {}

    /**
     * What the engine loop hands to a source.
     *
     * @param limits of a step
     * @param pages of the KV cache; a draft model uses the same page numbers
     * @param samplers choose tokens on all workers
     * @param vocabularySize token ids are below this
     * @param nanoClock a monotonic clock
     */
    record Context(
            StepLimits limits, KvPages pages, SamplerTeam samplers, int vocabularySize, LongSupplier nanoClock) {}

    /** Makes the source of an engine loop. */
    @FunctionalInterface
    interface Factory {
        /** The source that works with these parts of the loop. */
        DraftSource create(Context context);
    }

    /** Allows or forbids draft tokens from the next plan on. Any thread. */
    void setOn(boolean wanted);

    /** A sequence begins to run, for the first time or again after preemption: its pages are empty. */
    void started(Sequence sequence);

    /**
     * Adds draft tokens to a plan.
     *
     * @param budget tokens that the step has room for beside the plan's
     */
    void draft(StepPlan plan, int budget);

    /**
     * Learns what became of the plan's draft tokens, after the sequences have taken their new tokens.
     *
     * @param kept by index in the plan: tokens that each sequence took
     * @param planNanos what planning took, drafting included
     * @param computeNanos what the model and the choice of tokens took
     */
    void learn(TokenVerifier tokens, int[] kept, long planNanos, long computeNanos);

    /** Adds the last step to {@link #stats}. The caller holds the lock that guards the engine's statistics. */
    void countStep();

    /** Statistics over all steps. The caller holds the lock that guards the engine's statistics; any thread. */
    SpeculationStats stats();

    /** A sequence has ended, in whatever state it was; returns the counts of its draft tokens. */
    SpeculationCounts ended(Sequence sequence);
}
