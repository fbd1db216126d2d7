package quire.engine.schedule;

import java.util.Arrays;

/**
 * Records which sequence owns which KV page.
 *
 * <p><b>Problem.</b> Sequences grow by unknown amounts, and their keys and values must not be copied to make room.
 *
 * <p><b>Idea.</b> All keys and values lie in one pool of equal pages. A sequence finds its own through a page table,
 * like virtual memory (Kwon et al., <i>Efficient Memory Management for Large Language Model Serving with
 * PagedAttention</i>, SOSP 2023). The model writes into pages and does not know their owners. This class records the
 * owners and never reads a page. Pages never move, and at most one page of a sequence is partly empty.
 *
 * <pre>
 *   page     0   1   2   3   4   5   6   7        the pool
 *   uses     1   0   1   1   0   1   1   0        number of rows that hold the page
 *
 *   free     [ 4  7  1                            a stack: freed last, reused first (may still be in the CPU's cache)
 *                   ^ freeCount
 *
 *   row 0    [ 3  0  2  ·  ·  ·                   held(0) = 3: positions [0, 3 × pageTokens)
 *   row 1    [ 6  5  ·  ·  ·  ·                   held(1) = 2
 *   row 2    [ ·  ·  ·  ·  ·  ·                   held(2) = 0: a free row
 *              |  |
 *              |  position p lies in table[p / pageTokens], slot p % pageTokens
 *              positions [0, pageTokens)
 * </pre>
 *
 * A running sequence holds one row. Its page table doubles when it is full, so its size follows the pages that it holds
 * and not the longest context; otherwise a step allocates nothing. A page carries a count of rows and not an owner, so
 * that sequences with the same beginning can share pages that they do not write to.
 *
 * <p><b>Invariant.</b> Every page is either in the free list once, or held by as many rows as its count says.
 *
 * <p><b>Cost.</b> 3 ints for each page, and at most {@code 2 × pages held} ints for the table of a row. Every operation
 * is O(pages reserved or released); {@link #checkIntegrity} is O(rows + pages) and runs when the engine is idle.
 *
 * <p>Engine thread only.
 */
public final class KvPages {
    /** Initial length of a page table. */
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
     * Creates a pool in which all pages are free and all rows are empty.
     *
     * @param pageCount pages in the pool
     * @param pageTokens positions of a page
     * @param rows sequences that may hold pages at once
     * @param maxTokens longest sequence, in positions
     */
    KvPages(int pageCount, int pageTokens, int rows, int maxTokens) {
        if (pageCount < 1 || pageTokens < 1 || rows < 1 || maxTokens < 1) {
            throw new IllegalArgumentException("all sizes of a KV pool must be at least 1, not " + pageCount
                    + " pages of " + pageTokens + " tokens and " + rows + " rows of " + maxTokens + " tokens");
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

    /** Number of pages in the pool. */
    public int total() {
        return free.length;
    }

    /** Number of free pages. */
    public int available() {
        return freeCount;
    }

    /** Number of pages that are held by some row. */
    public int used() {
        return free.length - freeCount;
    }

    /** Whether no row holds a page. */
    public boolean isFree(int page) {
        return pageToUses[page] == 0;
    }

    /** Number of pages for {@code tokens} positions. */
    public int pagesFor(int tokens) {
        return (int) ((tokens + (long) pageTokens - 1) / pageTokens);
    }

    /** Number of pages that a row holds. */
    public int held(int row) {
        return rowToHeld[row];
    }

    /** Number of positions that a row has pages for. */
    public int room(int row) {
        return rowToHeld[row] * pageTokens;
    }

    /** A row's page table; valid up to {@link #held}. Not a copy. */
    public int[] table(int row) {
        return rowToTable[row];
    }

    /**
     * Gives a row pages for the positions {@code [0, tokens)}, beside those that it holds.
     *
     * @return false if there are too few free pages; then nothing has changed
     */
    public boolean reserve(int row, int tokens) {
        int from = rowToHeld[row];
        int to = pagesFor(tokens);
        if (to > pagesPerRow) {
            throw new IllegalArgumentException("a row holds at most " + pagesPerRow + " pages of " + pageTokens
                    + " tokens, but " + tokens + " tokens were asked for");
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

    /** Frees a row: its pages become free, unless another row holds them too. */
    void release(int row) {
        int[] table = rowToTable[row];
        for (int i = rowToHeld[row] - 1; i >= 0; i--) { // the first page ends on top of the stack
            int page = table[i];
            if (--pageToUses[page] == 0) {
                free[freeCount++] = page;
            }
        }
        rowToHeld[row] = 0;
    }

    /**
     * Checks the invariant by counting everything again.
     *
     * @throws IllegalStateException naming the first page that violates it
     */
    void checkIntegrity() {
        Arrays.fill(auditUses, 0);
        for (int row = 0; row < rowToTable.length; row++) {
            int[] table = rowToTable[row];
            for (int i = 0; i < rowToHeld[row]; i++) {
                int page = table[i];
                for (int j = 0; j < i && auditUses[page] > 0; j++) { // runs for shared pages only
                    require(table[j] != page, page, "is twice in row " + row);
                }
                auditUses[page]++;
            }
        }
        for (int i = 0; i < freeCount; i++) {
            int page = free[i];
            require(auditUses[page] >= 0, page, "is twice in the free list");
            require(auditUses[page] == 0, page, "is free and held by " + auditUses[page] + " rows");
            require(pageToUses[page] == 0, page, "is free, but its count is " + pageToUses[page]);
            auditUses[page] = -1;
        }
        for (int page = 0; page < pageToUses.length; page++) {
            require(auditUses[page] != 0, page, "is neither free nor held");
            require(
                    auditUses[page] < 0 || auditUses[page] == pageToUses[page],
                    page,
                    "is held by " + auditUses[page] + " rows, but its count is " + pageToUses[page]);
        }
    }

    private void require(boolean condition, int page, String fault) {
        if (!condition) {
            throw new IllegalStateException("KV page " + page + " of " + free.length + " " + fault);
        }
    }
}
