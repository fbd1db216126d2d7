package quire.engine;

import java.util.Map;

/**
 * A consistent snapshot of an engine: {@code started} = {@code finished} over all reasons + {@code running} +
 * {@code waiting}. A request whose stream has ended counts as finished. All totals are since the engine's start.
 *
 * @param running sequences that run, and so hold pages
 * @param waiting requests that wait to run, preempted ones included
 * @param usedPages KV pages that sequences hold
 * @param totalPages KV pages in the pool
 * @param usedWindowPages pages of layers with a window that sequences hold, if these are apart; otherwise 0
 * @param totalWindowPages such pages in the pool; 0 if a page holds all layers
 * @param usedOverflowPages pages beside memory that a sequence holds, see {@link MemoryPlan#overflowPages}
 * @param totalOverflowPages such pages; 0 if there are none
 * @param started requests accepted
 * @param finished requests ended, for every reason
 * @param preemptions how often a sequence lost its pages
 * @param recomputedTokens tokens computed again because their sequence had lost its pages
 * @param promptTokens prompt tokens computed; tokens found in the prefix cache and tokens computed again after
 *     preemption do not count
 * @param generationTokens tokens generated
 * @param steps steps executed
 * @param queueSeconds estimated seconds until all waiting requests have started; 0 if it is not known yet
 * @param speculation draft tokens and the estimated speed-up
 * @param prefixCache what the prefix cache has saved
 * @param savedStates what saved states of recurrent layers are used for
 * @param diskTier what the KV file does
 */
public record EngineStats(
        int running,
        int waiting,
        int usedPages,
        int totalPages,
        int usedWindowPages,
        int totalWindowPages,
        int usedOverflowPages,
        int totalOverflowPages,
        long started,
        Map<FinishReason, Long> finished,
        long preemptions,
        long recomputedTokens,
        long promptTokens,
        long generationTokens,
        long steps,
        double queueSeconds,
        SpeculationStats speculation,
        PrefixCacheStats prefixCache,
        SavedStateStats savedStates,
        DiskTierStats diskTier) {
    /** Copies {@code finished}. */
    public EngineStats {
        finished = Map.copyOf(finished);
    }

    /** Share of the KV pages that sequences hold, 0 to 1; of the kind of pages of which fewer are left. */
    public double kvUsage() {
        return Math.max(
                totalPages == 0 ? 0 : (double) usedPages / totalPages,
                totalWindowPages == 0 ? 0 : (double) usedWindowPages / totalWindowPages);
    }

    /** Requests ended, over all reasons. */
    public long finishedTotal() {
        return finished.values().stream().mapToLong(Long::longValue).sum();
    }
}
