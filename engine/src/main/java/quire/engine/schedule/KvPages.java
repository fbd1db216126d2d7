package quire.engine.schedule;

import java.util.Arrays;

/**
 * Who owns which KV page.
 *
 * <p><b>What it is.</b> The keys and values of all sequences lie in one pool of equal pages, and a sequence finds its own
 * through a page table, as virtual memory does it (Kwon et al., <i>Efficient Memory Management for Large Language Model
 * Serving with PagedAttention</i>, SOSP 2023). The model stores into pages and knows no owners; this class owns them and
 * never looks inside. No page moves, so nothing is ever copied to make room, and at most one page a sequence is partly
 * empty.
 *
 * <pre>
 *   page     0   1   2   3   4   5   6   7        the pool
 *   uses     1   0   1   1   0   1   1   0        how many rows hold the page
 *
 *   free     [ 4  7  1                            a stack: freed last, reused first (still in the CPU's cache)
 *                   ^ freeCount
 *
 *   row 0    [ 3  0  2  ·  ·  ·                   held(0) = 3: positions [0, 3 × pageTokens)
 *   row 1    [ 6  5  ·  ·  ·  ·                   held(1) = 2
 *   row 2    [ ·  ·  ·  ·  ·  ·                   held(2) = 0: nobody's row
 *              |  |
 *              |  position p lies in table[p / pageTokens], slot p % pageTokens
 *              positions [0, pageTokens)
 * </pre>
 *
 * <p><b>Why this layout.</b> A row is what a running sequence holds while it runs. A page table doubles when it is full, so it takes
 * memory for pages that exist, not for the longest context. Otherwise a step allocates nothing: growing is a pop and a store,
 * giving back is a push a page. Pages carry a count of the rows that hold them, not an owner, because two sequences with the
 * same beginning can share a page as long as neither writes to it. A page is free when its count reaches zero.
 *
 * <p><b>What it costs.</b> 3 ints a page, and at most {@code 2 × pages held} ints for the table of a row. Every operation is
 * O(pages moved); {@link #checkIntegrity} is O(rows + pages) and runs when there is nothing else to do.
 *
 * <p>Engine thread only.
 */
public final class KvPages {
    /** Pages of a table for which there is room from the start. */
    private static final int FIRST_TABLE = 64;

    private final int pageTokens;
    private final int pagesPerRow;
    private final int[][] rowToTable;
    private final int[] rowToHeld;
    private final int[] pageToUses;
    private final int[] free;
    private final int[] auditUses;
    private int freeCount;

    /**
     * All pages free, all rows empty.
     *
     * @param pageCount pages in the pool
     * @param pageTokens positions of a page
     * @param rows sequences that may hold pages at once
     * @param maxTokens longest sequence, in positions
     */
    KvPages(int pageCount, int pageTokens, int rows, int maxTokens) {
        if (pageCount < 1 || pageTokens < 1 || rows < 1 || maxTokens < 1) {
            throw new IllegalArgumentException("a pool needs pages, tokens and rows: " + pageCount + " pages of "
                    + pageTokens + " tokens, " + rows + " rows of " + maxTokens);
        }
        this.pageTokens = pageTokens;
        pagesPerRow = Math.min(pageCount, pagesFor(maxTokens));
        rowToTable = new int[rows][Math.min(pagesPerRow, FIRST_TABLE)];
        rowToHeld = new int[rows];
        pageToUses = new int[pageCount];
        auditUses = new int[pageCount];
        free = new int[pageCount];
        for (int i = 0; i < pageCount; i++) {
            free[i] = pageCount - 1 - i; // page 0 on top
        }
        freeCount = pageCount;
    }

    /** Pages in the pool. */
    public int total() {
        return free.length;
    }

    /** Pages that nobody holds. */
    public int available() {
        return freeCount;
    }

    /** Pages that somebody holds. */
    public int used() {
        return free.length - freeCount;
    }

    /** Whether nobody holds a page. */
    public boolean isFree(int page) {
        return pageToUses[page] == 0;
    }

    /** Pages that {@code tokens} positions take. */
    public int pagesFor(int tokens) {
        return (int) ((tokens + (long) pageTokens - 1) / pageTokens);
    }

    /** Pages that a row holds. */
    public int held(int row) {
        return rowToHeld[row];
    }

    /** Positions that a row has pages for. */
    public int room(int row) {
        return rowToHeld[row] * pageTokens;
    }

    /** A row's page table; valid up to {@link #held}. Not a copy. */
    public int[] table(int row) {
        return rowToTable[row];
    }

    /**
     * Makes a row hold pages for the positions {@code [0, tokens)}; what it holds already stays.
     *
     * @return false if there are too few pages: then nothing has changed
     */
    public boolean reserve(int row, int tokens) {
        int from = rowToHeld[row];
        int to = pagesFor(tokens);
        if (to > pagesPerRow) {
            throw new IllegalArgumentException(
                    "a row has " + pagesPerRow + " pages of " + pageTokens + " tokens, not room for " + tokens);
        }
        if (to - from > freeCount) {
            return false;
        }
        if (to > rowToTable[row].length) {
            rowToTable[row] = Arrays.copyOf(rowToTable[row], Math.min(pagesPerRow, Math.max(to, 2 * from)));
        }
        int[] table = rowToTable[row];
        for (int i = from; i < to; i++) {
            int page = free[--freeCount];
            pageToUses[page] = 1;
            table[i] = page;
        }
        rowToHeld[row] = Math.max(from, to);
        return true;
    }

    /** Gives back everything that a row holds; pages that no other row holds are free. */
    void release(int row) {
        int[] table = rowToTable[row];
        for (int i = rowToHeld[row] - 1; i >= 0; i--) { // the first page comes out on top
            int page = table[i];
            if (--pageToUses[page] == 0) {
                free[freeCount++] = page;
            }
        }
        rowToHeld[row] = 0;
    }

    /**
     * Counts everything anew: every page is either free exactly once, or held by exactly as many rows as its count says,
     * by none of them twice.
     *
     * @throws IllegalStateException naming the first page that is not
     */
    void checkIntegrity() {
        Arrays.fill(auditUses, 0);
        for (int row = 0; row < rowToTable.length; row++) {
            int[] table = rowToTable[row];
            for (int i = 0; i < rowToHeld[row]; i++) {
                int page = table[i];
                for (int j = 0; j < i && auditUses[page] > 0; j++) { // looked at only for shared pages
                    require(table[j] != page, page, "is twice in row " + row);
                }
                auditUses[page]++;
            }
        }
        for (int i = 0; i < freeCount; i++) {
            int page = free[i];
            require(auditUses[page] >= 0, page, "is twice in the free list");
            require(auditUses[page] == 0, page, "is free and held by " + auditUses[page] + " rows");
            require(pageToUses[page] == 0, page, "is free and its count says " + pageToUses[page]);
            auditUses[page] = -1;
        }
        for (int page = 0; page < pageToUses.length; page++) {
            require(auditUses[page] != 0, page, "is neither free nor held: lost");
            require(
                    auditUses[page] < 0 || auditUses[page] == pageToUses[page],
                    page,
                    "is held by " + auditUses[page] + " rows and its count says " + pageToUses[page]);
        }
    }

    private void require(boolean condition, int page, String fault) {
        if (!condition) {
            throw new IllegalStateException("KV page " + page + " of " + free.length + " " + fault);
        }
    }
}
