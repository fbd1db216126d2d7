package quire.engine.schedule;

/**
 * The cached pages that a waiting sequence would begin with. {@link KvPages#match} finds them. They are not held: other
 * sequences may take their memory, and the next match notices it.
 */
final class CachedPrefix {
    final CacheSalt salt;
    /** The last of the pages; the index knows those before it. */
    int lastPage = PrefixIndex.NONE;
    /** Number of pages. */
    int pages;
    /** The last page that the index has, which is behind {@link #lastPage} if window pages are missing. */
    int lastFound = PrefixIndex.NONE;
    /** What {@link PrefixIndex#entry} said about the last page that it has. */
    long lastEntry;
    /** Number of pages that the index has. */
    int found;

    CachedPrefix(CacheSalt salt) {
        this.salt = salt;
    }

    void clear() {
        lastPage = PrefixIndex.NONE;
        lastFound = PrefixIndex.NONE;
        lastEntry = 0;
        pages = 0;
        found = 0;
    }
}
