package quire.engine.schedule;

import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.engine.EngineView;
import quire.engine.MemoryPlan;
import quire.model.WindowLayers;

/**
 * Records which sequences hold which KV page, and which pages are cached.
 *
 * <p><b>Problem.</b> Sequences grow by unknown amounts, and their keys and values must not be copied to make room. Many
 * sequences begin with the same tokens, and their keys and values must not be computed twice.
 *
 * <p><b>Idea.</b> All keys and values lie in one pool of equal pages. A sequence finds its own through a page table,
 * like virtual memory (Kwon et al., <i>Efficient Memory Management for Large Language Model Serving with
 * PagedAttention</i>, SOSP 2023). The model writes into pages and does not know their owners. This class records the
 * owners and never reads a page. Pages never move, and at most one page of a sequence is partly empty.
 *
 * <p>A full page enters the {@link PrefixIndex}, under its tokens and those before it. A sequence that begins with the
 * same tokens holds the same page. When nobody holds it any more, it is <i>cached</i>: its memory is available, but the
 * least recently used page gives its memory first, and free pages before any cached one.
 *
 * <pre>
 *   page     0   1   2   3   4   5   6   7        the pool
 *   uses     2   0   1   1   0   1   0   0        number of rows that hold the page
 *   indexed  x           x           x            full pages that the index finds
 *
 *   free     [ 4  7  1                            a stack: freed last, reused first (may still be in the CPU's cache)
 *                   ^ freeCount
 *   cached   6                                    a list: least recently used first
 *
 *   row 0    [ 0  3  2  ·  ·  ·                   held(0) = 3: positions [0, 3 × pageTokens); indexed(0) = 2
 *   row 1    [ 0  5  ·  ·  ·  ·                   held(1) = 2; begins like row 0
 *   row 2    [ ·  ·  ·  ·  ·  ·                   held(2) = 0: a free row
 *              |  |
 *              |  position p lies in table[p / pageTokens], slot p % pageTokens
 *              positions [0, pageTokens)
 * </pre>
 *
 * A running sequence holds one row. Its page table doubles when it is full, so its size follows the pages that it holds
 * and not the longest context; otherwise a step allocates nothing. A sequence writes only to pages that it alone holds:
 * pages in the index are full.
 *
 * <p><b>Invariants.</b>
 *
 * <ul>
 *   <li>Every page of the pool is either in the free list once, or in the cached list once, or held by as many rows as its count
 *       says. A cached page is in the index.
 *   <li>The first {@code indexed(row)} pages of a row are in the index, each with the one before it as its parent. So a
 *       page is held by no more rows than its parent is, becomes cached before its parent, and gives its memory before
 *       its parent.
 * </ul>
 *
 * <p><b>Overflow pages</b> are not in memory: the system reads them from a file when a step uses them. They serve a
 * sequence that is longer than the pool. A row holds at most {@code rowMemory} pages of the pool, three quarters of it, so that
 * others still run; its pages behind those are overflow pages, whose number follows from their place:
 *
 * <pre>
 *   row 1    [ 0  5  3  n  n+1  n+2  ·          rowMemory = 3: place i has page n + i − rowMemory
 *                     |
 *                     |  overflow pages: of one row at a time, overflowRow
 * </pre>
 *
 * They are in the index as others are, and stay there when their row ends, so the next turn of a long conversation finds them.
 * They leave it when another text takes their places, or when the page before the first of them gives its memory.
 *
 * <p>Layers with a window may have pages of their own, which {@link WindowPages} records.
 *
 * <p>The state of a model with recurrent layers is beside the last position of each full page, or behind the pages that
 * {@link SavedStates} records. A sequence that takes pages of others begins with it, and the model must be told so: {@link
 * #takesState}.
 *
 * <p><b>Cost.</b> 5 ints and a byte for each page, beside the index, and at most {@code 2 × pages held} ints for the
 * table of a row. Every operation is O(pages reserved, found or released); {@link
 * #checkIntegrity} is O(rows + pages) and runs when the engine is idle.
 *
 * <p>Engine thread only.
 */
public final class KvPages {
    /** Initial length of a page table. */
    private static final int FIRST_TABLE = 64;

    /** More pages than can ever be available, and few enough that a few such numbers can be added. */
    private static final int NEVER = Integer.MAX_VALUE / 8;

    private static final int NO_ROW = -1;

    private final int pageTokens;
    private final int pagesPerRow;
    private final int rowMemory; // the place behind which a row has overflow pages
    private int overflowRow = NO_ROW; // the row that holds overflow pages
    private final int[][] rowToTable;
    private final int[] rowToHeld;
    private final int[] rowToIndexed;
    private final boolean[] rowToTakesState;
    private final int[] pageToUses;
    private final boolean[] drafted; // whether the draft model has computed the whole page
    private final @Nullable PrefixIndex index; // null: no page is cached
    private final @Nullable WindowPages windows; // null: a page holds all layers
    private final @Nullable SavedStates states; // null: a sequence can begin behind each page
    private final int[] rowToState; // the saved state that a row begins with, until it has computed something
    // The cached list, least recently used first: a ring through a last, additional element.
    private final int[] older;
    private final int[] newer;
    private final int ends;
    private final int[] free;
    private final int[] auditUses;
    private int freeCount;
    private int cachedCount;
    private long evictions;
    private volatile boolean caching = true;

    /**
     * Creates a pool in which all pages are free and all rows are empty.
     *
     * @param pageCount pages in the pool
     * @param pageTokens positions of a page
     * @param rows sequences that may hold pages at once
     * @param maxTokens longest sequence, in positions
     * @param index finds pages again; null if no page is to be cached
     */
    KvPages(int pageCount, int pageTokens, int rows, int maxTokens, @Nullable PrefixIndex index) {
        this(pageCount, pageTokens, rows, maxTokens, index, null, 0, 0, 0);
    }

    /**
     * The same for a model with overflow pages, or whose layers with a window have pages of their own.
     *
     * @param layers these layers; null if a page holds all layers
     * @param stepTokens most tokens of a step
     * @param savedStates states of recurrent layers that can be saved; 0 if a sequence can begin behind each page
     * @param overflowPages pages that are not in memory; 0 for none
     */
    KvPages(
            int pageCount,
            int pageTokens,
            int rows,
            int maxTokens,
            @Nullable PrefixIndex index,
            @Nullable WindowLayers layers,
            int stepTokens,
            int savedStates,
            int overflowPages) {
        if (pageCount < 1 || pageTokens < 1 || rows < 1 || maxTokens < 1) {
            throw new IllegalArgumentException("all sizes of a KV pool must be at least 1, not " + pageCount
                    + " pages of " + pageTokens + " tokens and " + rows + " rows of " + maxTokens + " tokens");
        }
        this.pageTokens = pageTokens;
        if (overflowPages > 0 && pageCount < 2) {
            throw new IllegalArgumentException("overflow pages need at least 2 pages in the pool, not " + pageCount);
        }
        int numbers = pageCount + overflowPages;
        rowMemory = overflowPages == 0 ? Integer.MAX_VALUE : MemoryPlan.pagesOfSequence(pageCount);
        pagesPerRow = Math.min(overflowPages == 0 ? pageCount : rowMemory + overflowPages, pagesFor(maxTokens));
        rowToTable = new int[rows][Math.min(pagesPerRow, FIRST_TABLE)];
        rowToHeld = new int[rows];
        rowToIndexed = new int[rows];
        rowToTakesState = new boolean[rows];
        rowToState = new int[rows];
        Arrays.fill(rowToState, SavedStates.NONE);
        states = savedStates == 0 || index == null ? null : new SavedStates(savedStates, numbers);
        drafted = new boolean[numbers];
        this.index = index;
        older = new int[pageCount + 1];
        newer = new int[pageCount + 1];
        ends = pageCount;
        older[ends] = ends;
        newer[ends] = ends;
        pageToUses = new int[numbers];
        auditUses = new int[numbers];
        free = new int[pageCount];
        for (int i = 0; i < pageCount; i++) {
            free[i] = pageCount - 1 - i; // page 0 on top
        }
        freeCount = pageCount;
        windows = layers == null
                ? null
                : new WindowPages(layers, pageTokens, numbers, rows, maxTokens, stepTokens, index);
    }

    /** The most pages of the pool that a row of this one holds. */
    int mostInMemory() {
        return rowMemory;
    }

    /** Number of overflow pages that some row holds. */
    public int overflowUsed() {
        return overflowRow == NO_ROW ? 0 : rowToHeld[overflowRow] - rowMemory;
    }

    /** Number of overflow pages. */
    public int overflowTotal() {
        return pageToUses.length - free.length;
    }

    /** Whether a row cannot have so many positions, because another one holds overflow pages. */
    boolean lacksOverflow(int row, int tokens) {
        return pagesFor(tokens) > rowMemory && overflowRow != NO_ROW && overflowRow != row;
    }

    /** Whether a row holds overflow pages. */
    boolean overflows(int row) {
        return row == overflowRow;
    }

    private boolean isOverflow(int page) {
        return page >= free.length;
    }

    /** The pages of the pool among the first {@code count} ones of a row. */
    private int inMemory(int count) {
        return Math.min(count, rowMemory);
    }

    /** Number of pages of the pool for {@code tokens} positions of a row. */
    public int memoryFor(int tokens) {
        return inMemory(pagesFor(tokens));
    }

    /** Number of pages of the pool that a row holds. */
    public int memoryHeld(int row) {
        return inMemory(rowToHeld[row]);
    }

    /** Number of a row's first pages that are in the index and in the pool. */
    int memoryIndexed(int row) {
        return inMemory(rowToIndexed[row]);
    }

    /** Number of pages in the pool. */
    public int total() {
        return free.length;
    }

    /** Number of pages that no row holds: free and cached ones. */
    public int available() {
        return freeCount + cachedCount;
    }

    /** Number of pages that are held by some row. */
    public int used() {
        return free.length - freeCount - cachedCount;
    }

    /** Number of pages that no row holds and that the index finds. */
    public int cached() {
        return cachedCount;
    }

    /** How many cached pages have given their memory to others so far. */
    long evictions() {
        return evictions;
    }

    /** Whether no row holds a page, and it is not cached. */
    public boolean isFree(int page) {
        return pageToUses[page] == 0 && !isIndexed(page);
    }

    private boolean isIndexed(int page) {
        return index != null && index.contains(page);
    }

    /** Forbids or allows to find pages in the index and to add pages to it. Pages in it stay there. Any thread. */
    void setCaching(boolean wanted) {
        caching = wanted;
    }

    /** Whether pages are found in the index and added to it. */
    public boolean isCaching() {
        return index != null && caching;
    }

    /** Positions of a page. */
    public int pageTokens() {
        return pageTokens;
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
     * @return false if there are too few available pages, or window pages, or if it needs overflow pages and another row has them;
     *     then nothing has changed
     */
    public boolean reserve(int row, int tokens) {
        int from = rowToHeld[row];
        int to = pagesFor(tokens);
        if (to > pagesPerRow) {
            throw new IllegalArgumentException("a row holds at most " + pagesPerRow + " pages of " + pageTokens
                    + " tokens, but " + tokens + " tokens were asked for");
        }
        if (inMemory(to) - inMemory(from) > available()
                || lacksOverflow(row, tokens)
                || (windows != null && !windows.promise(row, tokens))) {
            return false;
        }
        makeRoom(row, to);
        int[] table = rowToTable[row];
        for (int i = from; i < to; i++) {
            table[i] = i < rowMemory ? take() : takeOverflow(row, i);
        }
        rowToHeld[row] = Math.max(from, to);
        return true;
    }

    /** Takes the overflow page for a place of a row. What the index has there and behind it is of another text. */
    private int takeOverflow(int row, int place) {
        int page = free.length + place - rowMemory;
        forgetOverflow(page);
        overflowRow = row;
        drafted[page] = false;
        pageToUses[page] = 1;
        return page;
    }

    /** Removes overflow pages from the index, from the last one to this one. No row holds them. */
    private void forgetOverflow(int first) {
        if (isIndexed(first)) {
            int last = first;
            while (last + 1 < pageToUses.length && isIndexed(last + 1)) {
                last++;
            }
            for (int page = last; page >= first; page--) {
                forget(page);
            }
        }
    }

    private void forget(int page) {
        indexOrFail().remove(page);
        if (windows != null) {
            windows.forget(page);
        }
        if (states != null) {
            states.forget(page);
        }
    }

    private void makeRoom(int row, int length) {
        int[] table = rowToTable[row];
        if (length > table.length) {
            rowToTable[row] = Arrays.copyOf(table, Math.min(pagesPerRow, Math.max(length, 2 * table.length)));
        }
    }

    /** Takes a free page, or the least recently used cached one. */
    private int take() {
        int page;
        if (freeCount > 0) {
            page = free[--freeCount];
        } else {
            page = newer[ends];
            unlink(page);
            int first = free.length;
            if (first < pageToUses.length && isIndexed(first) && indexOrFail().parent(first) == page) {
                forgetOverflow(first);
            }
            forget(page);
            evictions++;
        }
        drafted[page] = false;
        pageToUses[page] = 1;
        return page;
    }

    private PrefixIndex indexOrFail() {
        if (index == null) {
            throw new IllegalStateException("there is no prefix index");
        }
        return index;
    }

    private void unlink(int page) {
        newer[older[page]] = newer[page];
        older[newer[page]] = older[page];
        cachedCount--;
    }

    /** Adds a row to those that hold a page. */
    private void hold(int page) {
        if (pageToUses[page]++ == 0 && !isOverflow(page)) {
            unlink(page);
        }
    }

    /** Removes a row from those that hold a page. */
    private void drop(int page) {
        if (--pageToUses[page] > 0) {
            return;
        }
        if (isOverflow(page)) {
            if (windows != null && !isIndexed(page)) {
                windows.forget(page);
            }
        } else if (isIndexed(page)) {
            int newest = older[ends];
            newer[newest] = page;
            older[page] = newest;
            newer[page] = ends;
            older[ends] = page;
            cachedCount++;
        } else {
            if (windows != null) {
                windows.forget(page);
            }
            free[freeCount++] = page;
        }
    }

    /** Frees a row: its pages become free or cached, unless another row holds them too. */
    void release(int row) {
        if (windows != null) {
            windows.release(row);
        }
        int[] table = rowToTable[row];
        for (int i = rowToHeld[row] - 1; i >= 0; i--) { // the first page is reused first, or gives its memory last
            drop(table[i]);
        }
        rowToHeld[row] = 0;
        rowToIndexed[row] = 0;
        if (row == overflowRow) {
            overflowRow = NO_ROW;
        }
        releaseState(row);
    }

    // ── pages with the same beginning ───────────────────────────────────────────────────────────────────────────────

    /**
     * Finds the cached pages that a text begins with, all but its last token at most: a sequence computes at least one
     * token. Continues with what the last match found if that is still there. A sequence can begin behind a page if the
     * window pages are there too that its next token sees, and a state if it needs one.
     *
     * @param text valid up to {@code length}
     * @return number of tokens in the pages
     */
    int match(CachedPrefix prefix, int[] text, int length) {
        if (index == null || !caching) {
            prefix.clear();
            return 0;
        }
        if (prefix.found > 0 && index.entry(prefix.lastFound) != prefix.lastEntry) {
            prefix.clear();
        }
        while ((prefix.found + 1L) * pageTokens < length) {
            int page = index.find(prefix.lastFound, text, prefix.found * pageTokens, prefix.salt);
            if (page == PrefixIndex.NONE) {
                break;
            }
            prefix.lastFound = page;
            prefix.lastEntry = index.entry(page);
            prefix.found++;
        }
        prefix.pages = prefix.found;
        prefix.lastPage = prefix.lastFound;
        for (; overflowRow != NO_ROW && prefix.pages > rowMemory; prefix.pages--) {
            prefix.lastPage = index.parent(prefix.lastPage);
        }
        if (windows != null) {
            shorten(prefix, windows, index);
        }
        for (; states != null && prefix.pages > 0 && !states.isBehind(prefix.lastPage); prefix.pages--) {
            prefix.lastPage = index.parent(prefix.lastPage);
        }
        return prefix.pages * pageTokens;
    }

    /** Leaves out pages behind which a sequence could not begin, because window pages were given to others. */
    private static void shorten(CachedPrefix prefix, WindowPages windows, PrefixIndex index) {
        int first = windows.firstSeen(prefix.pages);
        int page = prefix.lastPage;
        for (int end = prefix.pages; end > first; end--) {
            int parent = index.parent(page);
            if (!windows.hasPartner(page)) {
                prefix.pages = end - 1;
                prefix.lastPage = parent;
                first = windows.firstSeen(prefix.pages);
            }
            page = parent;
        }
    }

    /**
     * Number of available pages that {@link #begin} needs; more than there can be if it needs overflow pages and a row has them.
     * The prefix must be what {@link #match} found, with no page reserved since.
     */
    int missing(CachedPrefix prefix, int tokens) {
        return pagesFor(tokens) > rowMemory && overflowRow != NO_ROW ? NEVER : missingMemory(prefix, tokens);
    }

    private int missingMemory(CachedPrefix prefix, int tokens) {
        int held = prefix.pages;
        for (int page = prefix.lastPage; held > 0 && pageToUses[page] == 0; held--) {
            page = indexOrFail().parent(page);
        }
        return memoryFor(tokens) - inMemory(held);
    }

    /**
     * {@link #missing} less the pages that would become available if some sequences freed their rows.
     *
     * @param from index of the first of those that free their rows
     * @param to index behind the last of them
     */
    int missingWithout(List<Sequence> running, int from, int to, CachedPrefix prefix, int tokens) {
        int freed = 0;
        boolean freesOverflow = overflowRow == NO_ROW;
        for (int i = from; i < to; i++) {
            int row = running.get(i).row;
            freesOverflow |= row == overflowRow;
            for (int j = 0; j < memoryHeld(row); j++) {
                freed += --pageToUses[rowToTable[row][j]] == 0 ? 1 : 0;
            }
        }
        int missing = pagesFor(tokens) > rowMemory && !freesOverflow ? NEVER : missingMemory(prefix, tokens) - freed;
        for (int i = from; i < to; i++) {
            int row = running.get(i).row;
            for (int j = 0; j < memoryHeld(row); j++) {
                pageToUses[rowToTable[row][j]]++;
            }
        }
        return missing;
    }

    /**
     * Gives an empty row the cached pages of a prefix, and then pages for the positions up to {@code tokens}.
     *
     * @param prefix what {@link #match} found, with no page reserved since
     * @return false if there are too few available pages; then nothing has changed
     */
    boolean begin(int row, CachedPrefix prefix, int tokens) {
        if (missing(prefix, tokens) > available() || (windows != null && windows.pagesFor(tokens) > windows.left())) {
            return false;
        }
        makeRoom(row, prefix.pages);
        int firstWindow = windows == null ? prefix.pages : windows.firstSeen(prefix.pages);
        if (windows != null) {
            windows.makeRoom(row, prefix.pages);
            windows.begin(row, firstWindow, prefix.pages);
        }
        int page = prefix.lastPage;
        for (int i = prefix.pages - 1; i >= 0; i--) {
            rowToTable[row][i] = page;
            hold(page);
            if (windows != null && i >= firstWindow) {
                windows.hold(row, i, page);
            }
            page = indexOrFail().parent(page);
        }
        rowToHeld[row] = prefix.pages;
        rowToIndexed[row] = prefix.pages;
        if (prefix.pages > rowMemory) {
            overflowRow = row;
        }
        rowToTakesState[row] = prefix.pages > 0;
        if (states != null && prefix.pages > 0) {
            rowToState[row] = states.hold(prefix.lastPage);
        }
        return reserve(row, tokens);
    }

    /**
     * Gives an empty row the first positions of another one: the same full pages, and a page of its own for the positions behind
     * them, if there are any. The caller copies that one.
     *
     * @param tokens positions that the other row has computed
     * @return false if no page is available for the copy, or if the row holds overflow pages; then nothing has changed
     */
    boolean fork(int from, int to, int tokens) {
        int full = tokens / pageTokens;
        if (pagesFor(tokens) > rowMemory
                || (tokens % pageTokens > 0 && available() == 0)
                || (windows != null && windows.pagesFor(tokens) > windows.left())) {
            return false;
        }
        makeRoom(to, full + 1);
        for (int i = 0; i < full; i++) {
            rowToTable[to][i] = rowToTable[from][i];
            hold(rowToTable[to][i]);
        }
        rowToHeld[to] = full;
        rowToIndexed[to] = rowToIndexed[from];
        if (windows != null) {
            windows.fork(from, to, full);
        }
        boolean reserved = reserve(to, tokens);
        prepare(to, tokens);
        return reserved;
    }

    // ── window pages ────────────────────────────────────────────────────────────────────────────────────────────────

    /** Number of window pages that can still be promised to rows; as many as anybody needs if there are none. */
    public int windowsLeft() {
        return windows == null ? Integer.MAX_VALUE / 2 : windows.left();
    }

    /** Window pages that a row with so many positions is promised; 0 if there are none. */
    public int windowsFor(int tokens) {
        return windows == null ? 0 : windows.pagesFor(tokens);
    }

    /** Window pages that are promised to a row; 0 if there are none. */
    public int windowsOf(int row) {
        return windows == null ? 0 : windows.promised(row);
    }

    /** Number of window pages in the pool; 0 if a page holds all layers. */
    public int windowTotal() {
        return windows == null ? 0 : windows.total();
    }

    /** Number of window pages that rows have. */
    public int windowsUsed() {
        return windows == null ? 0 : windows.used();
    }

    /** Whether no row has a window page, and it is not cached. */
    boolean isWindowFree(int window) {
        return windows != null && windows.isFree(window);
    }

    /**
     * {@link #windowsFor} less what some sequences are promised that would free their rows.
     *
     * @param from index of the first of those that free their rows
     * @param to index behind the last of them
     */
    int missingWindowsWithout(List<Sequence> running, int from, int to, int tokens) {
        int missing = windowsFor(tokens);
        for (int i = from; i < to; i++) {
            missing -= windowsOf(running.get(i).row);
        }
        return missing;
    }

    /** A row's page table in the layers with a window; {@link #table} if a page holds all layers. */
    public int[] windowTable(int row) {
        return windows == null ? rowToTable[row] : windows.table(row);
    }

    /** Takes the window pages of the positions up to {@code tokens}, which will be written. The row has pages for them. */
    public void prepare(int row, int tokens) {
        if (windows != null) {
            windows.prepare(row, rowToTable[row], tokens);
        }
    }

    /** Gives back the window pages that no position from {@code computed} on sees. */
    void slide(int row, int computed) {
        if (windows != null) {
            windows.slide(row, computed);
        }
    }

    /** The window page with the positions of a page; −1 if there is none. */
    int partner(int page) {
        return windows == null ? -1 : windows.partner(page);
    }

    /** Whether all layers of a row's {@code ordinal}-th page are there. */
    boolean isWhole(int row, int ordinal) {
        return windows == null || windows.has(row, ordinal);
    }

    /** How many pages in the index have no window page, so that no sequence can begin just behind them. */
    int indexedWithoutPartner() {
        int count = 0;
        for (int page = 0; page < pageToUses.length && windows != null; page++) {
            count += isIndexed(page) && !windows.hasPartner(page) ? 1 : 0;
        }
        return count;
    }

    /** @throws IllegalStateException if a row lacks window pages of what the token at {@code computed} sees */
    void checkWindow(int row, int computed) {
        if (windows != null) {
            windows.checkWindow(row, computed);
        }
    }

    // ── the index ───────────────────────────────────────────────────────────────────────────────────────────────────

    /** Number of a row's first pages that are in the index. */
    int indexed(int row) {
        return rowToIndexed[row];
    }

    /** The last of a row's pages that are in the index; {@link PrefixIndex#NONE} if there is none. */
    int lastIndexed(int row) {
        int count = rowToIndexed[row];
        return count == 0 ? PrefixIndex.NONE : rowToTable[row][count - 1];
    }

    /**
     * Adds a row's next page to the index, which is full. If the index has a page with these tokens already, the row
     * takes that one and frees its own.
     *
     * @param text the row's tokens
     * @return whether the row took another page
     */
    boolean add(int row, int[] text, CacheSalt salt) {
        int next = rowToIndexed[row];
        int parent = lastIndexed(row);
        int same = indexOrFail().find(parent, text, next * pageTokens, salt);
        if (same == PrefixIndex.NONE) {
            indexOrFail().add(rowToTable[row][next], parent, text, next * pageTokens, salt);
        } else {
            replace(row, same);
        }
        rowToIndexed[row]++;
        return same != PrefixIndex.NONE;
    }

    /** As {@link #add}, for a page that was read and not computed: the row continues with the state beside it. */
    boolean addRead(int row, int[] text, CacheSalt salt) {
        rowToTakesState[row] = true;
        return add(row, text, salt);
    }

    /**
     * How many pages of the index that follow its own a row can {@linkplain #adopt adopt} together: 1 or none, or up to the last
     * one with a saved state if it needs one.
     *
     * @param text the row's tokens, valid up to {@code length}; all but the last one may be in such pages
     */
    int adoptable(int row, int[] text, int length, CacheSalt salt) {
        int next = rowToIndexed[row];
        int adoptable = 0;
        if (index == null || !caching) {
            return 0;
        }
        int page = lastIndexed(row);
        for (int ordinal = next; (ordinal + 1L) * pageTokens < length; ordinal++) {
            page = index.find(page, text, ordinal * pageTokens, salt);
            if (page == PrefixIndex.NONE || (windows != null && !windows.hasPartner(page))) {
                break;
            }
            if (states == null) {
                return 1;
            }
            adoptable = states.isBehind(page) ? ordinal + 1 - next : adoptable;
        }
        return adoptable;
    }

    /**
     * Gives a row the page of the index that follows its own, in place of a page that it has not computed completely. The
     * page is one of those that {@link #adoptable} counts, and the others follow.
     */
    void adopt(int row, int[] text, CacheSalt salt) {
        int page = indexOrFail().find(lastIndexed(row), text, rowToIndexed[row] * pageTokens, salt);
        replace(row, page);
        rowToIndexed[row]++;
        rowToTakesState[row] = true;
        releaseState(row);
        if (states != null && states.isBehind(page)) {
            rowToState[row] = states.hold(page);
        }
    }

    // ── saved states ────────────────────────────────────────────────────────────────────────────────────────────────

    /** The states that are saved behind some pages; null if a sequence can begin behind each page. */
    @Nullable
    SavedStates states() {
        return states;
    }

    /**
     * The saved state that a row begins with in the step that is planned; {@link SavedStates#NONE} if it lies beside its last
     * page, or the row needs none. The next step may write it over.
     */
    int takeSavedState(int row) {
        int state = rowToState[row];
        if (states != null && state != SavedStates.NONE) {
            states.begin(state);
            rowToState[row] = SavedStates.NONE;
        }
        return state;
    }

    /** A row will not begin with its saved state. */
    private void releaseState(int row) {
        if (states != null && rowToState[row] != SavedStates.NONE) {
            states.release(rowToState[row]);
            rowToState[row] = SavedStates.NONE;
        }
    }

    /**
     * Whether a row has taken pages of others since the last call, so that the state of recurrent layers before its next
     * position is beside the last of them.
     */
    boolean takesState(int row) {
        boolean takes = rowToTakesState[row];
        rowToTakesState[row] = false;
        return takes;
    }

    private void replace(int row, int page) {
        int[] table = rowToTable[row];
        int own = table[rowToIndexed[row]];
        if (windows != null) {
            windows.makeRoom(row, rowToIndexed[row] + 1);
            windows.replace(row, rowToIndexed[row], own, page);
        }
        hold(page);
        drop(own);
        table[rowToIndexed[row]] = page;
    }

    /** Who holds each page, as {@link EngineView#pages} says. */
    int[] owners(List<Sequence> running) {
        int[] owners = new int[free.length];
        for (int page = 0; page < owners.length; page++) {
            owners[page] =
                    pageToUses[page] > 0 ? EngineView.SHARED : isIndexed(page) ? EngineView.CACHED : EngineView.FREE;
        }
        for (int i = 0; i < running.size(); i++) {
            int row = running.get(i).row;
            for (int j = 0; j < memoryHeld(row); j++) {
                int page = rowToTable[row][j];
                if (pageToUses[page] == 1) {
                    owners[page] = i;
                }
            }
        }
        return owners;
    }

    /** Whether the draft model has computed all positions of a page. */
    public boolean isDrafted(int page) {
        return drafted[page];
    }

    /** Marks a page of which the draft model has computed all positions. */
    public void setDrafted(int page) {
        drafted[page] = true;
    }

    /**
     * Checks the invariants by counting everything again.
     *
     * @throws IllegalStateException naming the first page that violates them
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
                require(
                        isOverflow(page) == i >= rowMemory && (i < rowMemory || row == overflowRow),
                        page,
                        "is at place " + i + " of row " + row + ", but row " + overflowRow + " has overflow pages");
                if (i < rowToIndexed[row]) {
                    require(isIndexed(page), page, "of row " + row + " is not in the index");
                    require(
                            indexOrFail().parent(page) == (i == 0 ? PrefixIndex.NONE : table[i - 1]),
                            page,
                            "of row " + row + " does not follow the page before it");
                }
            }
        }
        for (int i = 0; i < freeCount; i++) {
            int page = free[i];
            require(auditUses[page] >= 0, page, "is twice in the free list");
            require(auditUses[page] == 0, page, "is free and held by " + auditUses[page] + " rows");
            require(pageToUses[page] == 0, page, "is free, but its count is " + pageToUses[page]);
            require(!isIndexed(page), page, "is free, but in the index");
            auditUses[page] = -1;
        }
        int cached = 0;
        for (int page = newer[ends]; page != ends; page = newer[page]) {
            require(auditUses[page] == 0, page, "is cached, but free, held or cached twice");
            require(pageToUses[page] == 0, page, "is cached, but its count is " + pageToUses[page]);
            require(isIndexed(page), page, "is cached, but not in the index");
            int parent = indexOrFail().parent(page);
            require(parent == PrefixIndex.NONE || auditUses[parent] >= 0, page, "is used later than its parent");
            auditUses[page] = -1;
            cached++;
        }
        if (cached != cachedCount) {
            throw new IllegalStateException(cached + " KV pages are cached, but " + cachedCount + " are counted");
        }
        for (int page = 0; page < pageToUses.length; page++) {
            require(auditUses[page] != 0 || isOverflow(page), page, "is neither free nor cached nor held");
            if (isOverflow(page) && isIndexed(page)) {
                int parent = indexOrFail().parent(page);
                require(isIndexed(parent), page, "is in the index, but the page before it is not");
                require(
                        page == free.length ? !isOverflow(parent) : parent == page - 1,
                        page,
                        "follows page " + parent + " in the index");
            }
            require(
                    auditUses[page] < 0 || auditUses[page] == pageToUses[page],
                    page,
                    "is held by " + auditUses[page] + " rows, but its count is " + pageToUses[page]);
        }
        if (index != null) {
            index.checkIntegrity();
        }
        if (windows != null) {
            windows.checkIntegrity(this::isFree);
        }
        if (states != null) {
            states.checkIntegrity(indexOrFail(), rowToState);
        }
    }

    private void require(boolean condition, int page, String fault) {
        if (!condition) {
            throw new IllegalStateException("KV page " + page + " of " + free.length + " " + fault);
        }
    }
}
