package quire.engine.schedule;

/**
 * The cached pages that a waiting sequence would begin with. {@link KvPages#match} finds them. They are not held: other
 * sequences may take their memory, and the next match notices it.
 */
final class CachedPrefix {
    final CacheSalt salt;
    /** The last of the pages; the index knows those before it. */
    int lastPage = PrefixIndex.NONE;
    /** What {@link PrefixIndex#entry} said about the last page. */
    long lastEntry;
    /** Number of pages. */
    int pages;

    CachedPrefix(CacheSalt salt) {
        this.salt = salt;
    }

    void clear() {
        lastPage = PrefixIndex.NONE;
        lastEntry = 0;
        pages = 0;
    }
}
