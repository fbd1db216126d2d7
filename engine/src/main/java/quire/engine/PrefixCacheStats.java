package quire.engine;

/**
 * What the prefix cache has saved. Totals are since the engine's start.
 *
 * @param queriedTokens prompt tokens of the requests that have started; those that start again after preemption do not
 *     count again
 * @param hitTokens how many of them were found in the cache and not computed
 * @param evictedPages how many cached pages have given their memory to other tokens
 * @param cachedPages pages that no sequence holds and whose content can be found again; their memory is available
 */
public record PrefixCacheStats(long queriedTokens, long hitTokens, long evictedPages, int cachedPages) {
    /** No request has started. */
    public static final PrefixCacheStats NONE = new PrefixCacheStats(0, 0, 0, 0);
}
