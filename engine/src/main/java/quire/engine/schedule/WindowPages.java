package quire.engine.schedule;

import java.util.Arrays;
import java.util.function.IntPredicate;
import org.jspecify.annotations.Nullable;
import quire.model.WindowLayers;

/**
 * Records the KV pages of {@link WindowLayers}, which a sequence gives back when no later position sees them.
 *
 * <p><b>Problem.</b> Layers without a window need all positions of a text, so {@link KvPages} gives a page back when the
 * sequence ends. Layers with a window of 1,024 positions need 65 pages of a text of 32,768, which has 2,048.
 *
 * <p><b>Idea.</b> These layers have a pool and page tables of their own. A page of this pool, a <i>window page</i>, holds the
 * same positions as a page of {@link KvPages}, its <i>partner</i>. A sequence has window pages for what its next token
 * sees and for what the step computes, and no others:
 *
 * <pre>
 *   pages          [ 3 ][ 0 ][ 6 ][ 7 ][ 9 ]        a row of {@link KvPages}
 *   window pages     ·    ·  [ 2 ][ 4 ][ 1 ]        the row's [first, end): from the first position that the next
 *                                                   token sees to the last one that is computed or in the step
 *   partners                   6    7    9
 * </pre>
 *
 * <p>A window page that no row has stays <i>cached</i> while its partner is in the prefix index: a sequence can begin with the
 * cached pages of a text if the window pages that its next token sees are there too. Its memory is given to others before a
 * cached one's that was used later. Of pages that a row gives back together, those further behind give their memory first, so
 * that the beginning of a text is found for longest. A page of {@link KvPages} without a window page stays in the index, because
 * pages behind it can be used without it. Who computes it again makes the new window page its partner.
 *
 * <p><b>Promises.</b> Rows reserve pages as they do in {@link KvPages}: as many as their positions have, and at most as many as
 * a window. A pool has room for all that is promised and for the positions of one step beside it, so a window page can
 * always be taken. Pages that rows share are promised to each of them.
 *
 * <p>What is given back follows from the position of a sequence's next token alone, and never from draft tokens: a rejected
 * one leaves the window where it was. No result depends on it, since attention reads no page before the window.
 *
 * <p><b>Cost.</b> 5 ints for each window page and one for each page; each operation is O(pages taken or given back). Engine thread
 * only.
 */
final class WindowPages {
    private static final int NONE = -1;

    private final WindowLayers layers;
    private final int pageTokens;
    private final int mostOfRow;
    private final int promisable;
    private final @Nullable PrefixIndex index;

    private final int[][] rowToTable;
    private final int[] rowToFirst;
    private final int[] rowToEnd;
    private final int[] rowToPromised;
    private final int[] pageToWindow;
    private final int[] windowToPage;
    private final int[] uses;
    // The cached list, least recently used first: a ring through a last, additional element.
    private final int[] older;
    private final int[] newer;
    private final int ends;
    private final int[] free; // a stack
    private final int[] auditUses;
    private int freeCount;
    private int cachedCount;
    private int promised;

    /**
     * Creates a pool in which all window pages are free.
     *
     * @param pageCount pages of {@link KvPages}
     * @param rows sequences that may have pages at once
     * @param maxTokens longest sequence, in positions
     * @param stepTokens most tokens of a step
     * @param index knows which pages are found again; null if none are
     */
    WindowPages(
            WindowLayers layers,
            int pageTokens,
            int pageCount,
            int rows,
            int maxTokens,
            int stepTokens,
            @Nullable PrefixIndex index) {
        this.layers = layers;
        this.pageTokens = pageTokens;
        this.index = index;
        mostOfRow = layers.pages(pageTokens);
        promisable = layers.pageCount() - WindowLayers.stepPages(pageTokens, rows, stepTokens);
        if (promisable < pagesFor(maxTokens)) {
            throw new IllegalArgumentException(layers.pageCount() + " window pages of " + pageTokens
                    + " tokens are too few for a window of " + layers.positions() + " positions and steps of "
                    + stepTokens + " tokens of " + rows + " sequences");
        }
        rowToTable = new int[rows][0];
        rowToFirst = new int[rows];
        rowToEnd = new int[rows];
        rowToPromised = new int[rows];
        pageToWindow = new int[pageCount];
        Arrays.fill(pageToWindow, NONE);
        int count = layers.pageCount();
        windowToPage = new int[count];
        Arrays.fill(windowToPage, NONE);
        uses = new int[count];
        auditUses = new int[count];
        older = new int[count + 1];
        newer = new int[count + 1];
        ends = count;
        older[ends] = ends;
        newer[ends] = ends;
        free = new int[count];
        for (int i = 0; i < count; i++) {
            free[i] = count - 1 - i;
        }
        freeCount = count;
    }

    // ── promises ────────────────────────────────────────────────────────────────────────────────────────────────────

    /** The most window pages that a row with so many positions has between two steps. */
    int pagesFor(int tokens) {
        return (int) Math.min((tokens + (long) pageTokens - 1) / pageTokens, mostOfRow);
    }

    /** Window pages that are promised to a row. */
    int promised(int row) {
        return rowToPromised[row];
    }

    /** Window pages that can still be promised. */
    int left() {
        return promisable - promised;
    }

    /** Promises a row the window pages of {@code tokens} positions; false if there are too few, and nothing has changed. */
    boolean promise(int row, int tokens) {
        int more = pagesFor(tokens) - rowToPromised[row];
        if (more > left()) {
            return false;
        }
        if (more > 0) {
            rowToPromised[row] += more;
            promised += more;
        }
        return true;
    }

    // ── a row's window ──────────────────────────────────────────────────────────────────────────────────────────────

    /** A row's page table, for {@link quire.model.Batch}; valid from what its next token sees. Not a copy. */
    int[] table(int row) {
        return rowToTable[row];
    }

    /** Makes room for the first {@code length} pages of a row. */
    void makeRoom(int row, int length) {
        if (length > rowToTable[row].length) {
            rowToTable[row] = Arrays.copyOf(rowToTable[row], Math.max(length, 2 * rowToTable[row].length));
        }
    }

    /** The first page that the token behind {@code pages} whole pages sees. */
    int firstSeen(int pages) {
        return layers.firstSeen(pages * pageTokens) / pageTokens;
    }

    /** Whether a row has the window page of its {@code ordinal}-th page. */
    boolean has(int row, int ordinal) {
        return ordinal >= rowToFirst[row] && ordinal < rowToEnd[row];
    }

    /** The partner of a page; −1 if it has none. */
    int partner(int page) {
        return pageToWindow[page];
    }

    /** Whether a page has a partner, so that a sequence can begin behind it. */
    boolean hasPartner(int page) {
        return pageToWindow[page] != NONE;
    }

    /** Sets which window pages an empty row will have first; {@link #hold} gives it each of them. */
    void begin(int row, int first, int end) {
        rowToFirst[row] = first;
        rowToEnd[row] = end;
    }

    /** Gives a row the partner of a page, which must be there. */
    void hold(int row, int ordinal, int page) {
        rowToTable[row][ordinal] = pageToWindow[page];
        hold(pageToWindow[page]);
    }

    /** Gives a row, which has none, the window pages of another one for its first {@code full} pages. */
    void fork(int from, int to, int full) {
        makeRoom(to, full + 1);
        begin(to, rowToFirst[from], full);
        for (int i = rowToFirst[to]; i < full; i++) {
            rowToTable[to][i] = rowToTable[from][i];
            hold(rowToTable[to][i]);
        }
    }

    /**
     * Takes window pages for the positions that a step will compute.
     *
     * @param pages the row's page table in {@link KvPages}
     * @param tokens end of these positions
     */
    void prepare(int row, int[] pages, int tokens) {
        int end = (tokens + pageTokens - 1) / pageTokens;
        makeRoom(row, end);
        for (int i = rowToEnd[row]; i < end; i++) {
            int window = take();
            rowToTable[row][i] = window;
            link(pages[i], window);
        }
        rowToEnd[row] = Math.max(rowToEnd[row], end);
    }

    /** Gives back what no position from {@code computed} on sees, and pages of draft tokens that did not count. */
    void slide(int row, int computed) {
        int first = Math.max(rowToFirst[row], layers.firstSeen(computed) / pageTokens);
        int end = Math.max(first, (computed + pageTokens - 1) / pageTokens);
        for (int i = rowToEnd[row] - 1; i >= end; i--) {
            drop(rowToTable[row][i]);
        }
        for (int i = Math.min(first, rowToEnd[row]) - 1; i >= rowToFirst[row]; i--) {
            drop(rowToTable[row][i]);
        }
        rowToFirst[row] = first;
        rowToEnd[row] = Math.clamp(rowToEnd[row], first, end);
    }

    /** Gives back all window pages of a row, and what is promised to it. */
    void release(int row) {
        for (int i = rowToEnd[row] - 1; i >= rowToFirst[row]; i--) {
            drop(rowToTable[row][i]);
        }
        rowToFirst[row] = 0;
        rowToEnd[row] = 0;
        promised -= rowToPromised[row];
        rowToPromised[row] = 0;
    }

    /**
     * A row takes another page with the same tokens. Its window page becomes the other page's partner if that has none;
     * otherwise the row takes that one.
     *
     * @param own the row's page until now; it is not in the index
     */
    void replace(int row, int ordinal, int own, int other) {
        if (ordinal < rowToFirst[row]) {
            return; // it was given back
        }
        int partner = pageToWindow[other];
        if (ordinal >= rowToEnd[row]) {
            rowToTable[row][ordinal] = partner;
            hold(partner);
            rowToEnd[row] = ordinal + 1;
            return;
        }
        int window = rowToTable[row][ordinal];
        if (partner == NONE) {
            if (windowToPage[window] == own) {
                unlink(own);
                link(other, window);
            }
        } else if (partner != window) {
            hold(partner);
            rowToTable[row][ordinal] = partner;
            drop(window);
        }
    }

    /** A page has other contents from now on, or none: it has no partner any more. */
    void forget(int page) {
        int window = pageToWindow[page];
        if (window == NONE) {
            return;
        }
        unlink(page);
        if (uses[window] == 0) {
            removeCached(window);
            free[freeCount++] = window;
        }
    }

    // ── single window pages ─────────────────────────────────────────────────────────────────────────────────────────

    private void link(int page, int window) {
        pageToWindow[page] = window;
        windowToPage[window] = page;
    }

    private void unlink(int page) {
        windowToPage[pageToWindow[page]] = NONE;
        pageToWindow[page] = NONE;
    }

    private int take() {
        int window;
        if (freeCount > 0) {
            window = free[--freeCount];
        } else {
            window = newer[ends];
            if (window == ends) {
                throw new IllegalStateException("all " + free.length + " window pages are in use, with " + promised
                        + " promised of " + promisable);
            }
            removeCached(window);
            unlink(windowToPage[window]);
        }
        uses[window] = 1;
        return window;
    }

    private void hold(int window) {
        if (uses[window]++ == 0) {
            removeCached(window);
        }
    }

    private void drop(int window) {
        if (--uses[window] > 0) {
            return;
        }
        int page = windowToPage[window];
        if (page != NONE && index != null && index.contains(page)) {
            int newest = older[ends];
            newer[newest] = window;
            older[window] = newest;
            newer[window] = ends;
            older[ends] = window;
            cachedCount++;
            return;
        }
        if (page != NONE) {
            unlink(page);
        }
        free[freeCount++] = window;
    }

    private void removeCached(int window) {
        newer[older[window]] = newer[window];
        older[newer[window]] = older[window];
        cachedCount--;
    }

    /** Number of window pages in the pool. */
    int total() {
        return free.length;
    }

    /** Number of window pages that rows have. */
    int used() {
        return free.length - freeCount - cachedCount;
    }

    /** Whether no row has a window page, and it is not cached. */
    boolean isFree(int window) {
        return uses[window] == 0 && windowToPage[window] == NONE;
    }

    /**
     * Checks that a row has all window pages that a position sees and those up to it.
     *
     * @throws IllegalStateException if it lacks one
     */
    void checkWindow(int row, int computed) {
        int first = layers.firstSeen(computed) / pageTokens;
        int end = (computed + pageTokens - 1) / pageTokens;
        if (rowToFirst[row] != first || rowToEnd[row] < end) {
            throw new IllegalStateException("row " + row + " has the window pages [" + rowToFirst[row] + ", "
                    + rowToEnd[row] + "), but position " + computed + " needs [" + first + ", " + end + ")");
        }
    }

    /**
     * Counts everything again.
     *
     * @param isLost whether a page is free, so that it may have no partner
     * @throws IllegalStateException naming the first window page that violates what the class says
     */
    void checkIntegrity(IntPredicate isLost) {
        Arrays.fill(auditUses, 0);
        int promises = 0;
        for (int row = 0; row < rowToTable.length; row++) {
            for (int i = rowToFirst[row]; i < rowToEnd[row]; i++) {
                auditUses[rowToTable[row][i]]++;
            }
            promises += rowToPromised[row];
        }
        for (int i = 0; i < freeCount; i++) {
            int window = free[i];
            require(auditUses[window] == 0, window, "is free, but a row has it, or it is free twice");
            require(windowToPage[window] == NONE, window, "is free, but a partner");
            auditUses[window] = -1;
        }
        int cached = 0;
        for (int window = newer[ends]; window != ends; window = newer[window]) {
            require(auditUses[window] == 0, window, "is cached, but free, in use or cached twice");
            int page = windowToPage[window];
            require(page != NONE && index != null && index.contains(page), window, "is cached, but cannot be found");
            auditUses[window] = -1;
            cached++;
        }
        if (cached != cachedCount || promises != promised) {
            throw new IllegalStateException(cached + " window pages are cached and " + promises + " promised, but "
                    + cachedCount + " and " + promised + " are counted");
        }
        for (int window = 0; window < uses.length; window++) {
            require(auditUses[window] != 0, window, "is neither free nor cached nor in use");
            require(Math.max(0, auditUses[window]) == uses[window], window, "counts " + uses[window] + " rows");
            int page = windowToPage[window];
            require(page == NONE || pageToWindow[page] == window, window, "is not the partner of its partner");
        }
        for (int page = 0; page < pageToWindow.length; page++) {
            int window = pageToWindow[page];
            require(window == NONE || windowToPage[window] == page, window, "is the partner of two pages");
            require(window == NONE || !isLost.test(page), window, "is the partner of a free page");
        }
    }

    private void require(boolean condition, int window, String fault) {
        if (!condition) {
            throw new IllegalStateException("window page " + window + " of " + free.length + " " + fault);
        }
    }
}
