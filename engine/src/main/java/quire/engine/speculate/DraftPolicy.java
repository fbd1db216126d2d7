package quire.engine.speculate;

import quire.engine.EngineConfig;
import quire.engine.Speculation;
import quire.engine.schedule.Sequence;

/**
 * Decides how many draft tokens each sequence gets. It changes the speed of answers and nothing else. Engine thread
 * only.
 */
public interface DraftPolicy {
    /**
     * Calls {@link StepDrafts#assign} for each sequence that is to have a draft: at most what the drafter offers, and
     * at most {@link StepDrafts#room} over all sequences.
     */
    void decide(StepDrafts drafts);

    /** Learns from a step that was executed and verified. */
    default void learn(StepDrafts drafts) {}

    /** A sequence has ended. */
    default void ended(Sequence sequence) {}

    /** Creates a policy. Tests use other policies than {@link #of}. */
    @FunctionalInterface
    interface Maker {
        /**
         * The policy for these drafters.
         *
         * @param cost of the model's passes
         */
        DraftPolicy make(Drafter[] drafters, CostModel cost, EngineConfig config);
    }

    /**
     * The policy that a configuration asks for.
     *
     * @param cost of the model's passes
     */
    static DraftPolicy of(Drafter[] drafters, CostModel cost, EngineConfig config) {
        int most = config.speculation().draftTokens();
        return most == Speculation.AUTO ? new Governor(drafters, cost, config.maxSequences()) : always(most, drafters);
    }

    /** Gives every sequence up to {@code most} draft tokens, from the first drafter that offers any. */
    static DraftPolicy always(int most, Drafter[] drafters) {
        return drafts -> {
            int room = drafts.room();
            for (int i = 0; i < drafts.size(); i++) {
                for (int k = 0; k < drafters.length; k++) {
                    int tokens = Math.min(Math.min(most, room), drafts.offered(i, k));
                    if (tokens > 0) {
                        drafts.assign(i, k, drafters[k].confidence(drafts.sequence(i)), tokens);
                        room -= tokens;
                        break;
                    }
                }
            }
        };
    }
}
