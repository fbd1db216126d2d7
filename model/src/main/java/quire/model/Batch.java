package quire.model;

import java.util.Arrays;

/**
 * The tokens of one step, one sequence after another. The arrays are filled anew in each step and are never
 * reallocated.
 *
 * <pre>
 *   rows       0 1 2 3 4 | 5 | 6 7 8          one row for each token
 *   sequence   0         | 1 | 2              firstRow(s) .. firstRow(s) + rowCount(s)
 *   position   0 1 2 3 4 |91 |16 17 18        firstPosition(s) + i
 *   logits             * | * |     *          the last logitRows(s) rows of s
 * </pre>
 *
 * <p>Recurrent layers keep a state of each sequence in a slot. {@link #setState} says in which, and how the state before
 * the sequence's first row is found. Other models ignore it.
 */
public final class Batch {
    /** The most rows of a sequence that may be draft tokens, see {@link #setState}. */
    public static final int MAX_DRAFT_ROWS = 16;

    /** The most states of a sequence that are saved in a step, see {@link #saveState}. */
    public static final int MAX_SAVES = 4;

    /** How the state before a sequence's first row is found. At position 0 it is always the state of an empty text. */
    public enum Start {
        /** The slot has it: the sequence's rows of the step before came before this one, or were rejected draft tokens. */
        CONTINUES,
        /** It lies beside the page before the first row, which is the first of its page. */
        AT_PAGE,
        /** It was saved in an earlier step, see {@link #takeState}. */
        SAVED,
        /** Whatever the slot has. For measurements of time, whose results nobody reads. */
        ANY
    }

    private final int[] tokens;
    private final int[] positions;
    private final int[] firstRows;
    private final int[] rowCounts;
    private final int[] logitRows;
    private final int[][] pageTables;
    private final int[][] windowTables;
    private final int[] stateSlots;
    private final int[] draftRows;
    private final Start[] starts;
    private final int[] sources; // where a saved state is taken from
    private final int[] firstSaves;
    private final int[] saveCounts;
    private final int[] savePositions;
    private final int[] saveTargets;
    private int saves;
    private final boolean[] vectors;
    private int rows;
    private int sequences;
    private int logits;

    /**
     * @param maxTokens the most rows that a batch can hold
     * @param maxSequences the most sequences that a batch can hold
     */
    public Batch(int maxTokens, int maxSequences) {
        tokens = new int[maxTokens];
        positions = new int[maxTokens];
        firstRows = new int[maxSequences];
        rowCounts = new int[maxSequences];
        logitRows = new int[maxSequences];
        pageTables = new int[maxSequences][];
        windowTables = new int[maxSequences][];
        stateSlots = new int[maxSequences];
        draftRows = new int[maxSequences];
        starts = new Start[maxSequences];
        sources = new int[maxSequences];
        firstSaves = new int[maxSequences];
        saveCounts = new int[maxSequences];
        savePositions = new int[MAX_SAVES * maxSequences];
        saveTargets = new int[savePositions.length];
        vectors = new boolean[maxSequences];
    }

    /** Empties the batch. */
    public void clear() {
        Arrays.fill(pageTables, 0, sequences, null);
        Arrays.fill(windowTables, 0, sequences, null);
        rows = 0;
        sequences = 0;
        logits = 0;
        saves = 0;
    }

    /**
     * Adds the tokens {@code source[from, to)} of one sequence; {@code source[i]} is the token at position {@code i}. Its
     * state is in the slot with its number in the batch, none of its rows is a draft token, and it continues, unless {@link
     * #setState} says something else.
     *
     * @param pageTable the page of each {@code pageTokens} positions; covers at least {@code [0, to)}. The reference is
     *     kept
     * @param logitRowCount how many of the last rows need logits, 0 to {@code to − from}
     * @return the number of the sequence in the batch
     */
    public int add(int[] source, int from, int to, int[] pageTable, int logitRowCount) {
        return add(source, from, to, pageTable, pageTable, logitRowCount);
    }

    /**
     * The same for a model with {@link Model#windowLayers}.
     *
     * @param windowTable the page of each {@code pageTokens} positions in these layers; covers what its windows see. The
     *     reference is kept
     */
    public int add(int[] source, int from, int to, int[] pageTable, int[] windowTable, int logitRowCount) {
        int count = to - from;
        if (count <= 0 || rows + count > tokens.length || sequences == firstRows.length) {
            throw new IllegalArgumentException("cannot add " + count + " tokens to a batch of " + rows + "/"
                    + tokens.length + " tokens and " + sequences + "/" + firstRows.length + " sequences");
        }
        if (logitRowCount < 0 || logitRowCount > count) {
            throw new IllegalArgumentException(logitRowCount + " logits rows of " + count + " tokens");
        }
        for (int i = 0; i < count; i++) {
            tokens[rows + i] = source[from + i];
            positions[rows + i] = from + i;
        }
        firstRows[sequences] = rows;
        rowCounts[sequences] = count;
        logitRows[sequences] = logitRowCount;
        pageTables[sequences] = pageTable;
        windowTables[sequences] = windowTable;
        setState(sequences, sequences, 0, Start.CONTINUES);
        firstSaves[sequences] = saves;
        saveCounts[sequences] = 0;
        vectors[sequences] = false;
        rows += count;
        logits += logitRowCount;
        return sequences++;
    }

    /**
     * Sets where the state of a sequence is, for models with recurrent layers.
     *
     * @param slot the sequence's own from its first step to its last
     * @param drafts how many of its last rows are draft tokens, whose effect on the state may be taken back: the next step
     *     may begin with any of them, or behind them
     */
    public void setState(int sequence, int slot, int drafts, Start start) {
        stateSlots[sequence] = slot;
        draftRows[sequence] = drafts;
        starts[sequence] = start;
    }

    /**
     * Lets a sequence begin with a state that was saved at the position of its first row.
     *
     * @param saved 0 to {@link Model#savedStates} − 1
     */
    public void takeState(int sequence, int saved) {
        starts[sequence] = Start.SAVED;
        sources[sequence] = saved;
    }

    /**
     * Saves a state of the sequence that was added last: that before a position, when the step has computed it. Positions
     * must ascend. They must be behind the certain rows of the step before, which the state contains already, and not
     * behind a draft token of this step.
     *
     * @param saved 0 to {@link Model#savedStates} − 1; what was saved there is lost
     */
    public void saveState(int position, int saved) {
        int sequence = sequences - 1;
        if (saveCounts[sequence] == MAX_SAVES || (saveCounts[sequence] > 0 && savePositions[saves - 1] >= position)) {
            throw new IllegalArgumentException("the state before position " + position + " cannot be saved behind "
                    + saveCounts[sequence] + " others: at most " + MAX_SAVES + " are possible, in ascending order");
        }
        savePositions[saves] = position;
        saveTargets[saves++] = saved;
        saveCounts[sequence]++;
    }

    /** Asks for the vectors of all rows of a sequence, see {@link Model#vectors}. */
    public void wantVectors(int sequence) {
        vectors[sequence] = true;
    }

    /** Whether the vectors of a sequence's rows are wanted. */
    public boolean wantsVectors(int sequence) {
        return vectors[sequence];
    }

    /** The number of tokens in the batch. */
    public int rows() {
        return rows;
    }

    /** The number of sequences in the batch. */
    public int sequences() {
        return sequences;
    }

    /** The number of rows that need logits, in all sequences. */
    public int logitCount() {
        return logits;
    }

    /** The token of each row; valid up to {@link #rows}. Not a copy. */
    public int[] tokens() {
        return tokens;
    }

    /** The position of each row; valid up to {@link #rows}. Not a copy. */
    public int[] positions() {
        return positions;
    }

    /** The first row of a sequence. */
    public int firstRow(int sequence) {
        return firstRows[sequence];
    }

    /** The number of rows of a sequence. */
    public int rowCount(int sequence) {
        return rowCounts[sequence];
    }

    /** The position of a sequence's first row. */
    public int firstPosition(int sequence) {
        return positions[firstRows[sequence]];
    }

    /** How many of a sequence's last rows need logits. */
    public int logitRows(int sequence) {
        return logitRows[sequence];
    }

    /** The page table of a sequence. */
    public int[] pageTable(int sequence) {
        return pageTables[sequence];
    }

    /** The page table of a sequence in {@link Model#windowLayers}; {@link #pageTable} if the model has none. */
    public int[] windowTable(int sequence) {
        return windowTables[sequence];
    }

    /** The slot with the state of a sequence. */
    public int stateSlot(int sequence) {
        return stateSlots[sequence];
    }

    /** How many of a sequence's last rows are draft tokens. */
    public int draftRows(int sequence) {
        return draftRows[sequence];
    }

    /** How the state before a sequence's first row is found. */
    public Start start(int sequence) {
        return starts[sequence];
    }

    /** Which saved state a sequence begins with, if it begins with one. */
    public int source(int sequence) {
        return sources[sequence];
    }

    /** Index of the first state of a sequence that is saved. */
    public int firstSave(int sequence) {
        return firstSaves[sequence];
    }

    /** Index behind the last one. */
    public int lastSave(int sequence) {
        return firstSaves[sequence] + saveCounts[sequence];
    }

    /** The position behind the state that is saved. */
    public int savePosition(int save) {
        return savePositions[save];
    }

    /** Where it is saved. */
    public int saveTarget(int save) {
        return saveTargets[save];
    }
}
