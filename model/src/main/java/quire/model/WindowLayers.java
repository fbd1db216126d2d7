package quire.model;

/**
 * The layers of a model that see only the last positions, if their keys and values have pages of their own, apart from
 * those of the other layers. So such pages can be given back while the other layers still need theirs.
 *
 * @param positions how many positions a query sees, its own included; at least 1
 * @param chunked whether a query sees no positions before the last multiple of {@code positions} instead
 * @param pageCount number of such pages; at least 1
 */
public record WindowLayers(int positions, boolean chunked, int pageCount) {
    /** Checks the ranges. */
    public WindowLayers {
        if (positions < 1 || pageCount < 1) {
            throw new IllegalArgumentException(
                    "a window has positions and pages, not " + positions + " and " + pageCount);
        }
    }

    /** The first position that the query at {@code position} sees. It never falls when the position rises. */
    public int firstSeen(int position) {
        return chunked ? position - position % positions : Math.max(0, position - positions + 1);
    }

    /**
     * The most pages that the positions of a step need beside those that its sequences have had.
     *
     * @param pageTokens positions of a page
     * @param sequences most sequences of a step
     * @param tokens most tokens of a step
     */
    public static int stepPages(int pageTokens, int sequences, int tokens) {
        // Of n tokens, the first needs no more than its window, and n − 1 others fill at most (n − 1) / pageTokens
        // pages
        // and a part of one.
        return tokens / pageTokens + Math.min(sequences, tokens / 2);
    }

    /** The most pages of {@code pageTokens} positions that a query sees parts of. */
    public int pages(int pageTokens) {
        return (positions + pageTokens - 2) / pageTokens + 1;
    }
}
