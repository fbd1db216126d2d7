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
 */
public final class Batch {
    private final int[] tokens;
    private final int[] positions;
    private final int[] firstRows;
    private final int[] rowCounts;
    private final int[] logitRows;
    private final int[][] pageTables;
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
    }

    /** Empties the batch. */
    public void clear() {
        Arrays.fill(pageTables, 0, sequences, null);
        rows = 0;
        sequences = 0;
        logits = 0;
    }

    /**
     * Adds the tokens {@code source[from, to)} of one sequence; {@code source[i]} is the token at position {@code i}.
     *
     * @param pageTable the page of each {@code pageTokens} positions; covers at least {@code [0, to)}. The reference is
     *     kept
     * @param logitRowCount how many of the last rows need logits, 0 to {@code to − from}
     * @return the number of the sequence in the batch
     */
    public int add(int[] source, int from, int to, int[] pageTable, int logitRowCount) {
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
        rows += count;
        logits += logitRowCount;
        return sequences++;
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
}
