package quire.model;

import java.util.Arrays;

/**
 * The tokens of one step, sequence by sequence, in arrays that are filled anew each step and never reallocated.
 *
 * <pre>
 *   rows       0 1 2 3 4 | 5 | 6 7 8          one row a token
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
     * @param maxTokens rows there is room for
     * @param maxSequences sequences there is room for
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
     * Adds the tokens {@code source[from, to)} of one sequence; {@code source[i]} stands at position {@code i}.
     *
     * @param pageTable page of each {@code pageTokens} positions, covering at least {@code [0, to)}; kept by reference
     * @param logitRowCount how many of the last rows want logits, 0 to {@code to − from}
     * @return the sequence's number within the batch
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

    /** Tokens in the batch. */
    public int rows() {
        return rows;
    }

    /** Sequences in the batch. */
    public int sequences() {
        return sequences;
    }

    /** Rows that want logits, over all sequences. */
    public int logitCount() {
        return logits;
    }

    /** Token of each row; valid up to {@link #rows}. Not a copy. */
    public int[] tokens() {
        return tokens;
    }

    /** Position of each row; valid up to {@link #rows}. Not a copy. */
    public int[] positions() {
        return positions;
    }

    /** First row of a sequence. */
    public int firstRow(int sequence) {
        return firstRows[sequence];
    }

    /** Rows of a sequence. */
    public int rowCount(int sequence) {
        return rowCounts[sequence];
    }

    /** Position of a sequence's first row. */
    public int firstPosition(int sequence) {
        return positions[firstRows[sequence]];
    }

    /** How many of a sequence's last rows want logits. */
    public int logitRows(int sequence) {
        return logitRows[sequence];
    }

    /** Page table of a sequence. */
    public int[] pageTable(int sequence) {
        return pageTables[sequence];
    }
}
