package quire.engine;

import java.util.Arrays;
import quire.model.Batch;

/** What one step computes: some tokens of some sequences, and the batch that says so to the model. Reused every step. */
final class StepPlan {
    private final Batch batch;
    private final Sequence[] sequences;

    StepPlan(int maxTokens, int maxSequences) {
        batch = new Batch(maxTokens, maxSequences);
        sequences = new Sequence[maxSequences];
    }

    void clear() {
        Arrays.fill(sequences, 0, batch.sequences(), null);
        batch.clear();
    }

    /**
     * Adds the next {@code count} tokens of a sequence. Logits are asked for only when they are its last: a chunk of a
     * prompt that goes on needs none.
     *
     * <pre>
     *   [0, computed) [computed, computed + count) [computed + count, length)
     *    done          this step                    later; empty = this step's last row gets logits
     * </pre>
     */
    void add(Sequence sequence, int count, int[] pageTable) {
        int to = sequence.computed + count;
        sequences[batch.sequences()] = sequence; // add() below numbers it the same
        batch.add(sequence.tokens(), sequence.computed, to, pageTable, to == sequence.length() ? 1 : 0);
    }

    boolean isEmpty() {
        return batch.sequences() == 0;
    }

    /** Sequences in the plan. */
    int size() {
        return batch.sequences();
    }

    Sequence sequence(int index) {
        return sequences[index];
    }

    /** Tokens that a sequence computes in this step. */
    int tokenCount(int index) {
        return batch.rowCount(index);
    }

    /** Whether a sequence catches up in this step and gets its next token. */
    boolean wantsToken(int index) {
        return batch.logitRows(index) > 0;
    }

    Batch batch() {
        return batch;
    }

    /** The whole plan for a log that somebody reads because something broke. */
    String describe() {
        StringBuilder out = new StringBuilder(256);
        out.append(batch.rows()).append(" tokens of ").append(size()).append(" sequences");
        for (int i = 0; i < size(); i++) {
            int first = batch.firstPosition(i);
            out.append("\n  [")
                    .append(first)
                    .append(", ")
                    .append(first + tokenCount(i))
                    .append(')')
                    .append(wantsToken(i) ? " + next token" : "")
                    .append(" of ")
                    .append(sequences[i]);
        }
        return out.toString();
    }
}
