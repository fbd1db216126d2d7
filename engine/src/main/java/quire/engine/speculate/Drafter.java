package quire.engine.speculate;

import org.jspecify.annotations.Nullable;
import quire.engine.schedule.Sequence;

/**
 * Guesses how sequences go on. A wrong guess costs time and nothing else: see {@link quire.engine.schedule.TokenVerifier}. Engine thread only; nothing
 * is allocated in a step.
 */
public interface Drafter {
    /** What it is called in the books. */
    String name();

    /** How many draft tokens it would give for a sequence, at most {@code most}; 0 when it has no idea. */
    int offer(Sequence sequence, int most);

    /** How sure it is of what it offers, below {@link AcceptanceRate#LEVELS}: the governor learns what each level is worth. */
    int level(Sequence sequence);

    /** Tokens that it must compute before it can guess. */
    default int lag(Sequence sequence) {
        return 0;
    }

    /** What computing costs it; null when guessing costs next to nothing. */
    default @Nullable CostModel cost() {
        return null;
    }

    /**
     * Writes guesses for every sequence of {@code drafts} that is its own, {@code drafts.count(i)} of them, behind the
     * sequence's tokens; lowers the count where it gives fewer.
     *
     * @param self its number in {@code drafts}
     */
    void draft(StepDrafts drafts, int self);
}
