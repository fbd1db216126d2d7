package quire.engine.schedule;

import java.util.Arrays;
import quire.model.Batch;
import quire.model.Model;

/**
 * What one step computes: some tokens of some sequences, and the {@link Batch} for the model. Reused every step.
 *
 * <pre>
 *   copyPage   a page whose beginning a sequence needs and another one has
 *   add        a sequence's next tokens
 *   draft      draft tokens behind its last token, if it catches up in this step
 *   save       the state of recurrent layers before some of its positions
 *   complete   fills the batch; the plan does not change any more
 *
 *   rows      [0, computed) [computed, computed + count) [length, length + drafts)
 *              done          this step                    this step: draft tokens, if computed + count = length
 *   logits                    s    s    s            *  *  *  *    for the last target token and every draft token;
 *                                                                  s: for log probabilities of the prompt, if wanted
 * </pre>
 */
public final class StepPlan {
    private final Batch batch;
    private final Sequence[] sequences;
    private final int[] counts;
    private final int[] drafts;
    private final boolean[] wants;
    private final int[] scores;
    private final int[] firstLogitRows;
    private final int[] copies; // pairs of pages: from, to
    private final int[] windowCopies; // the same of window pages, from and to −1 where a page holds all layers
    private final int[] saveCounts;
    private final int[] savePositions; // of each sequence, Batch.MAX_SAVES; ascending
    private final int[] saveStates;
    private int copied; // length of copies that is used
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
        scores = new int[maxSequences];
        firstLogitRows = new int[maxSequences];
        copies = new int[4 * maxSequences];
        windowCopies = new int[copies.length];
        saveCounts = new int[maxSequences];
        savePositions = new int[Batch.MAX_SAVES * maxSequences];
        saveStates = new int[savePositions.length];
    }

    void clear() {
        Arrays.fill(sequences, 0, size, null);
        batch.clear();
        copied = 0;
        size = 0;
        rows = 0;
        logitRows = 0;
    }

    /**
     * Adds the next {@code count} tokens of a sequence. Logits are computed only if these are its last tokens: a chunk
     * in the middle of a prompt needs none, unless the request wants log probabilities of the prompt.
     */
    void add(Sequence sequence, int count) {
        sequences[size] = sequence;
        counts[size] = count;
        drafts[size] = 0;
        saveCounts[size] = 0;
        wants[size] = sequence.pooled == null && sequence.computed + count == sequence.length();
        scores[size] = sequence.rowsToScore(count);
        logitRows += scores[size] + (wants[size] ? 1 : 0);
        rows += count;
        size++;
    }

    /**
     * Copies the {@code ordinal}-th page of a row to that of another one before the batch is computed.
     *
     * @return false if there is no room for another copy in this step
     */
    boolean copyPage(KvPages pages, int from, int to, int ordinal) {
        if (copied == copies.length) {
            return false;
        }
        add(pages, from, ordinal);
        add(pages, to, ordinal);
        return true;
    }

    private void add(KvPages pages, int row, int ordinal) {
        copies[copied] = pages.table(row)[ordinal];
        windowCopies[copied++] = pages.windowTotal() == 0 ? -1 : pages.windowTable(row)[ordinal];
    }

    /** Copies the pages, in the order in which they were added, and forgets them. */
    void executeCopies(Model model) {
        for (int i = 0; i < copied; i += 2) {
            model.copyPage(copies[i], copies[i + 1]);
            if (windowCopies[i] >= 0) {
                model.copyWindowPage(windowCopies[i], windowCopies[i + 1]);
            }
        }
        copied = 0;
    }

    /** Adds {@code count} draft tokens, which are stored after the sequence's own tokens. */
    public void draft(int index, int count) {
        if (count < 0 || drafts[index] != 0 || !wantsToken(index)) {
            throw new IllegalStateException(count + " draft tokens cannot be added to " + sequences[index]);
        }
        drafts[index] = count;
        rows += count;
        logitRows += count;
    }

    /** Saves the state before a position, which this step computes or the step before has. Positions must ascend. */
    void save(int index, int position, int state) {
        int at = index * Batch.MAX_SAVES + saveCounts[index]++;
        savePositions[at] = position;
        saveStates[at] = state;
    }

    /** How many states of a sequence this step saves. */
    int saveCount(int index) {
        return saveCounts[index];
    }

    /** The position before which a state is saved. */
    int savePosition(int index, int save) {
        return savePositions[index * Batch.MAX_SAVES + save];
    }

    /** The number of the saved state. */
    int saveState(int index, int save) {
        return saveStates[index * Batch.MAX_SAVES + save];
    }

    /** Fills the batch. */
    void complete(KvPages pages) {
        for (int i = 0; i < size; i++) {
            Sequence sequence = sequences[i];
            firstLogitRows[i] = batch.logitCount() + scores[i];
            int end = sequence.computed + counts[i] + drafts[i];
            pages.prepare(sequence.row, end);
            batch.add(
                    sequence.tokens(),
                    sequence.computed,
                    end,
                    pages.table(sequence.row),
                    pages.windowTable(sequence.row),
                    scores[i] + (wants[i] ? 1 + drafts[i] : 0));
            if (sequence.pooled != null && sequence.pooled.wants(sequence.computed, sequence.computed + counts[i])) {
                batch.wantVectors(i);
            }
            boolean takesState = pages.takesState(sequence.row);
            batch.setState(i, sequence.row, drafts[i], takesState ? Batch.Start.AT_PAGE : Batch.Start.CONTINUES);
            int saved = pages.takeSavedState(sequence.row);
            if (saved != SavedStates.NONE) {
                batch.takeState(i, saved);
            }
            for (int save = 0; save < saveCounts[i]; save++) {
                batch.saveState(savePosition(i, save), saveState(i, save));
            }
        }
    }

    boolean isEmpty() {
        return size == 0;
    }

    /** Number of sequences in the plan. */
    public int size() {
        return size;
    }

    /** Number of tokens in the plan, draft tokens included. */
    public int rows() {
        return rows;
    }

    /** Positions that the tokens attend to, summed over the tokens, without draft tokens. */
    public long positions() {
        long sum = 0;
        for (int i = 0; i < size; i++) {
            sum += counts[i] * (sequences[i].computed + (counts[i] + 1L) / 2);
        }
        return sum;
    }

    /** Positions that the sequences have after this step, each sequence counted once, without draft tokens. */
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

    /** The sequence at an index of the plan. */
    public Sequence sequence(int index) {
        return sequences[index];
    }

    /** Tokens that a sequence computes in this step, without draft tokens. */
    int tokenCount(int index) {
        return counts[index];
    }

    /** Draft tokens that are verified for a sequence in this step. */
    int draftCount(int index) {
        return drafts[index];
    }

    /** Whether a sequence catches up in this step and gets its next token, which may have been drafted. */
    public boolean wantsToken(int index) {
        return wants[index] && sequences[index].beam == null;
    }

    /** Rows of logits from which tokens are chosen: none, or one more than the draft tokens. */
    int logitRows(int index) {
        return batch.logitRows(index) - scores[index];
    }

    /** Rows of logits before these, for log probabilities of the prompt. */
    int scores(int index) {
        return scores[index];
    }

    /** The first row of logits from which a sequence's tokens are chosen. */
    int firstLogitRow(int index) {
        return firstLogitRows[index];
    }

    Batch batch() {
        return batch;
    }

    /** The whole plan, for the error log. */
    String describe() {
        StringBuilder out = new StringBuilder(256);
        out.append(rows).append(" tokens of ").append(size).append(" sequences");
        for (int i = 0; i < size; i++) {
            out.append("\n  ").append(counts[i]).append(" tokens");
            if (drafts[i] > 0) {
                out.append(" and ").append(drafts[i]).append(" draft tokens");
            }
            out.append(" of ").append(sequences[i]);
        }
        return out.toString();
    }
}
