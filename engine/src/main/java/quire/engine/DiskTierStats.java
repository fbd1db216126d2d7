package quire.engine;

/**
 * What the KV file does. Totals are since the engine's start.
 *
 * @param slots pages that the file has room for; 0 if there is no file
 * @param pages pages in it that can be found
 * @param hitTokens prompt tokens whose keys and values were read from it and not computed; they are in {@link
 *     PrefixCacheStats#hitTokens} too. Tokens of answers before a preemption do not count
 * @param readBytes bytes of pages read
 * @param writtenBytes bytes of pages written
 * @param skippedPages pages that were not written, because their memory was needed before, or because writing has failed
 * @param damagedPages pages that were read and found not to be what was written, and so were computed again
 */
public record DiskTierStats(
        int slots, int pages, long hitTokens, long readBytes, long writtenBytes, long skippedPages, long damagedPages) {
    /** There is no file. */
    public static final DiskTierStats NONE = new DiskTierStats(0, 0, 0, 0, 0, 0, 0);
}
