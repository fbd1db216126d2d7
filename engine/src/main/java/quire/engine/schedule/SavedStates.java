package quire.engine.schedule;

import java.util.Arrays;

/**
 * Records behind which KV pages a state of recurrent layers is saved.
 *
 * <p><b>Problem.</b> A sequence can begin behind a cached page only with the state that its layers had there. A state of
 * Mamba-2 or of a delta net takes as much memory as hundreds of pages, so there cannot be one for each page.
 *
 * <p><b>Idea.</b> There are a few states for all pages, and the {@link Scheduler} chooses the pages: where a text is likely to
 * be continued in another way. These are the end of a prompt, the place where two texts part, and the last full page of
 * what a sequence has computed so far (Pan et al., <i>Marconi: Prefix Caching for the Era of Hybrid LLMs</i>, MLSys 2025). The model
 * copies a state when it comes to that position.
 *
 * <pre>
 *   pages of a text   [ 3 ][ 0 ][ 6 ][ 7 ][ 9 ]       all are in the prefix index
 *   saved states              s1        s4            a sequence may begin behind page 0 or page 7
 *
 *   a state is    free        no page has it
 *                 reserved    the step under way writes it
 *                 saved       a page has it; the least recently used one is written over first
 *                 held        saved, and a row begins with it that has not computed anything yet
 * </pre>
 *
 * <p>A page that leaves the index loses its state. A page without a state stays in the index: its keys and values are used
 * again, and it shows where texts part.
 *
 * <p><b>Cost.</b> One int for each page; there are at most a few hundred states, so {@link #reserve} looks at all of them. Engine
 * thread only.
 */
final class SavedStates {
    static final int NONE = -1;

    /** {@link #stateToPage} of a state that the step under way writes. */
    private static final int RESERVED = -2;

    /** The same, of a state that its sequence has written before. */
    private static final int RESERVED_AGAIN = -3;

    private final int[] pageToState;
    private final int[] stateToPage;
    private final int[] holds;
    private final long[] used; // when it was used last
    private final boolean[] begun; // whether a row has begun with it
    private long uses;
    private int saved;
    private long hits;
    private long written;
    private long evictedUnused;

    /**
     * @param states how many there are; at least 1
     * @param pageCount pages in the pool
     */
    SavedStates(int states, int pageCount) {
        if (states < 1) {
            throw new IllegalArgumentException("there must be at least one saved state, not " + states);
        }
        pageToState = new int[pageCount];
        Arrays.fill(pageToState, NONE);
        stateToPage = new int[states];
        Arrays.fill(stateToPage, NONE);
        holds = new int[states];
        used = new long[states];
        begun = new boolean[states];
    }

    /** How many states there are. */
    int total() {
        return stateToPage.length;
    }

    /** How many states pages have. */
    int saved() {
        return saved;
    }

    /** How often a row has begun with a state. */
    long hits() {
        return hits;
    }

    /** How many states pages have got so far. One that {@link #reserveAgain} has moved on counts once. */
    long written() {
        return written;
    }

    /** How many states were written over by others before a row began with them. */
    long evictedUnused() {
        return evictedUnused;
    }

    /** Whether a page has a state. */
    boolean isBehind(int page) {
        return pageToState[page] != NONE;
    }

    /**
     * Takes a state for the step to write: a free one, or the least recently used one that nobody holds.
     *
     * @return {@link #NONE} if all are held or reserved
     */
    int reserve() {
        int best = NONE;
        for (int state = 0; state < stateToPage.length; state++) {
            if (stateToPage[state] == NONE) {
                best = state;
                break;
            }
            if (stateToPage[state] >= 0 && holds[state] == 0 && (best == NONE || used[state] < used[best])) {
                best = state;
            }
        }
        if (best != NONE) {
            evictedUnused += stateToPage[best] != NONE && !begun[best] ? 1 : 0;
            loosen(best);
            stateToPage[best] = RESERVED;
        }
        return best;
    }

    /**
     * Takes a state that a sequence has written before, to write it again, and another one if that was lost or used since.
     *
     * @param stamp what {@link #stamp} said when it was written
     */
    int reserveAgain(int state, long stamp) {
        if (state == NONE || stateToPage[state] < 0 || used[state] != stamp) {
            return reserve();
        }
        loosen(state);
        stateToPage[state] = RESERVED_AGAIN;
        return state;
    }

    /** Takes a state from its page, if it has one. */
    private void loosen(int state) {
        if (stateToPage[state] != NONE) {
            pageToState[stateToPage[state]] = NONE;
            saved--;
        }
    }

    /** A number that changes when a state is written or held. */
    long stamp(int state) {
        return used[state];
    }

    /** Gives a page the state that the step has written; frees the state if the page has one already. */
    void bind(int state, int page) {
        if (isBehind(page)) {
            used[pageToState[page]] = ++uses;
            stateToPage[state] = NONE;
        } else {
            used[state] = ++uses;
            begun[state] = false;
            written += stateToPage[state] == RESERVED ? 1 : 0;
            stateToPage[state] = page;
            pageToState[page] = state;
            saved++;
        }
    }

    /** Frees a reserved state that no page gets. */
    void free(int state) {
        stateToPage[state] = NONE;
    }

    /**
     * A row is to begin behind a page. Returns its state, which is kept until the row {@linkplain #begin begins}, or
     * {@linkplain #release will not}.
     */
    int hold(int page) {
        int state = pageToState[page];
        if (state == NONE) {
            throw new IllegalStateException("no state is saved behind page " + page);
        }
        holds[state]++;
        used[state] = ++uses;
        return state;
    }

    /** A row begins with a state that it holds. */
    void begin(int state) {
        hits++;
        begun[state] = true;
        release(state);
    }

    /** A row will not begin with a state that it holds. */
    void release(int state) {
        holds[state]--;
    }

    /** A page leaves the index. */
    void forget(int page) {
        int state = pageToState[page];
        if (state != NONE) {
            loosen(state);
            stateToPage[state] = NONE;
        }
    }

    /**
     * Counts everything again.
     *
     * @param rowToState the state that each row holds
     * @throws IllegalStateException naming the first state that violates what the class says
     */
    void checkIntegrity(PrefixIndex index, int[] rowToState) {
        int pages = 0;
        for (int state = 0; state < stateToPage.length; state++) {
            int page = stateToPage[state];
            require(page >= NONE, state, "is written by no step");
            require(page == NONE || pageToState[page] == state, state, "is not that of its page");
            require(
                    page == NONE || index.contains(page),
                    state,
                    "is behind page " + page + ", which is not in the index");
            pages += page == NONE ? 0 : 1;
            int rows = 0;
            for (int held : rowToState) {
                rows += held == state ? 1 : 0;
            }
            require(rows == holds[state], state, "is held by " + rows + " rows, but counts " + holds[state]);
            require(rows == 0 || page != NONE, state, "is held by a row, but no page has it");
        }
        for (int page = 0; page < pageToState.length; page++) {
            int state = pageToState[page];
            require(state == NONE || stateToPage[state] == page, state, "is behind two pages");
        }
        if (pages != saved) {
            throw new IllegalStateException(pages + " states are saved, but " + saved + " are counted");
        }
    }

    private void require(boolean condition, int state, String fault) {
        if (!condition) {
            throw new IllegalStateException("saved state " + state + " of " + stateToPage.length + " " + fault);
        }
    }
}
