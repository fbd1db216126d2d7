package quire.engine.schedule;

import java.util.Arrays;
import quire.model.Batch;

/**
 * What one step computes: some tokens of some sequences, and the batch that says so to the model. Reused every step.
 *
 * <pre>
 *   add       a sequence's next tokens            who, how many
 *   draft     guesses behind its last one         if it catches up in this step
 *   complete  the rows of the batch               now nothing changes any more
 *
 *   rows      [0, computed) [computed, computed + count) [length, length + drafts)
 *              done          this step                    this step: guesses, if computed + count = length
 *   logits                                           *  *  *  *    of the last target token and of every guess
 * </pre>
 */
public final class StepPlan {
    private final Batch batch;
    private final Sequence[] sequences;
    private final int[] counts;
    private final int[] drafts;
    private final boolean[] wants;
    private final int[] firstLogitRows;
    private int size;
    private int rows;
    private int logitRows;

    StepPlan(StepLimits limits) {
        int maxSequences = limits.sequences();
        batch = new Batch(limits.tokens(), maxSequences);
        sequences = new Sequence[maxSequences];
        counts = new int[maxSequences];
        drafts = new int[maxSequences];
        wants = new boolean[maxSequences];
        firstLogitRows = new int[maxSequences];
    }

    void clear() {
        Arrays.fill(sequences, 0, size, null);
        batch.clear();
        size = 0;
        rows = 0;
        logitRows = 0;
    }

    /**
     * Adds the next {@code count} tokens of a sequence. Logits are asked for only when they are its last: a chunk of a
     * prompt that goes on needs none.
     */
    void add(Sequence sequence, int count) {
        sequences[size] = sequence;
        counts[size] = count;
        drafts[size] = 0;
        wants[size] = sequence.computed + count == sequence.length();
        logitRows += wants[size] ? 1 : 0;
        rows += count;
        size++;
    }

    /** Adds {@code count} draft tokens, which lie behind the sequence's own, to what it computes. */
    public void draft(int index, int count) {
        if (count < 0 || drafts[index] != 0 || !wants[index]) {
            throw new IllegalStateException(count + " draft tokens for " + sequences[index]);
        }
        drafts[index] = count;
        rows += count;
        logitRows += count;
    }

    /** Fills the batch. */
    void complete(KvPages pages) {
        for (int i = 0; i < size; i++) {
            Sequence sequence = sequences[i];
            firstLogitRows[i] = batch.logitCount();
            batch.add(
                    sequence.tokens(),
                    sequence.computed,
                    sequence.computed + counts[i] + drafts[i],
                    pages.table(sequence.row),
                    wants[i] ? 1 + drafts[i] : 0);
        }
    }

    boolean isEmpty() {
        return size == 0;
    }

    /** Sequences in the plan. */
    public int size() {
        return size;
    }

    /** Tokens in the plan, draft tokens included. */
    public int rows() {
        return rows;
    }

    /** How many positions the tokens look back at, summed, draft tokens not included. */
    public long positions() {
        long sum = 0;
        for (int i = 0; i < size; i++) {
            sum += counts[i] * (sequences[i].computed + (counts[i] + 1L) / 2);
        }
        return sum;
    }

    /** How many positions the sequences have as far as the tokens go, each sequence's counted once; draft tokens not included. */
    public long contexts() {
        long sum = 0;
        for (int i = 0; i < size; i++) {
            sum += sequences[i].computed + counts[i];
        }
        return sum;
    }

    /** Rows of logits that the plan asks for. */
    public int logitRows() {
        return logitRows;
    }

    public Sequence sequence(int index) {
        return sequences[index];
    }

    /** Tokens of its own that a sequence computes in this step. */
    int tokenCount(int index) {
        return counts[index];
    }

    /** Draft tokens that are verified for a sequence in this step. */
    int draftCount(int index) {
        return drafts[index];
    }

    /** Whether a sequence catches up in this step and gets its next token. */
    public boolean wantsToken(int index) {
        return wants[index];
    }

    /** Rows of logits of a sequence: none, or one and one for each draft token. */
    int logitRows(int index) {
        return batch.logitRows(index);
    }

    /** Where a sequence's rows of logits begin. */
    int firstLogitRow(int index) {
        return firstLogitRows[index];
    }

    Batch batch() {
        return batch;
    }

    /** The whole plan for a log that somebody reads because something broke. */
    String describe() {
        StringBuilder out = new StringBuilder(256);
        out.append(rows).append(" tokens of ").append(size).append(" sequences");
        for (int i = 0; i < size; i++) {
            out.append("\n  ").append(counts[i]).append(" tokens");
            if (drafts[i] > 0) {
                out.append(" and ").append(drafts[i]).append(" guesses");
            }
            out.append(" of ").append(sequences[i]);
        }
        return out.toString();
    }
}
