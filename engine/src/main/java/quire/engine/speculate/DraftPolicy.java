package quire.engine.speculate;

import quire.engine.EngineConfig;
import quire.engine.Speculation;
import quire.engine.schedule.Sequence;

/** Decides how many draft tokens each sequence gets. Never changes an answer, only its speed. Engine thread only. */
public interface DraftPolicy {
    /**
     * Decides by {@link StepDrafts#give}, at most what is offered and {@link StepDrafts#room} altogether. Whoever gets nothing
     * has no draft in this step.
     */
    void decide(StepDrafts drafts);

    /** Hears what came of it. */
    default void learn(StepDrafts drafts) {}

    /** Hears that a sequence has ended. */
    default void ended(Sequence sequence) {}

    /** Makes a policy; tests have others than {@link #of}. */
    @FunctionalInterface
    interface Maker {
        DraftPolicy make(Drafter[] drafters, CostModel cost, EngineConfig config);
    }

    /** What a configuration asks for. {@code cost}: of the model's passes. */
    static DraftPolicy of(Drafter[] drafters, CostModel cost, EngineConfig config) {
        int most = config.speculation().draftTokens();
        return most == Speculation.AUTO ? new Governor(drafters, cost, config.maxSequences()) : always(most, drafters);
    }

    /** As many as {@code most} for everybody, from the first drafter that offers any. */
    static DraftPolicy always(int most, Drafter[] drafters) {
        return drafts -> {
            int room = drafts.room();
            for (int i = 0; i < drafts.size(); i++) {
                for (int k = 0; k < drafters.length; k++) {
                    int tokens = Math.min(Math.min(most, room), drafts.offered(i, k));
                    if (tokens > 0) {
                        drafts.give(i, k, drafters[k].level(drafts.sequence(i)), tokens);
                        room -= tokens;
                        break;
                    }
                }
            }
        };
    }
}
