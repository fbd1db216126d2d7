package quire.engine.schedule;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Finds a full KV page by its tokens and by all tokens before them.
 *
 * <pre>
 *   tokens         a b c d   e f g h   x y            a page has 4 tokens here
 *   salt ─▶ root ─▶ page 7 ─▶ page 2                  entry of page 2: parent 7, tokens e f g h
 *                          └▶ page 5                  entry of page 5: parent 7, tokens i j k l
 *
 *   hash of a page = mix(hash of its parent, its tokens)       salt and a secret seed at the root
 * </pre>
 *
 * The hash only chooses the entries to compare. An entry is the right one if its parent page and its tokens are equal,
 * and its salt for a first page. So two texts with the same hash never share a page. The parent of a page is in the
 * index as long as the page is; {@link KvPages} removes a page before its parent.
 *
 * <p><b>Cost.</b> The tables have a fixed size, which {@link quire.engine.MemoryPlan} counts. A look-up is
 * O({@code pageTokens}) and allocates nothing. The seed keeps clients from choosing tokens whose hashes are all equal.
 *
 * <p>Engine thread only.
 */
final class PrefixIndex {
    /** No page; also the parent of a first page. */
    static final int NONE = -1;

    private final int pageTokens;
    private final long seed;
    private final long hashMask;
    private final int[] buckets; // first page of each
    private final int[] next; // page in the same bucket
    private final int[] parents;
    private final long[] hashes;
    private final long[] entries; // number of the entry; 0 for a page that is not in the index
    private final int[] tokens;
    private final @Nullable CacheSalt[] salts; // of first pages
    private long lastEntry;
    private int size;

    /**
     * Creates an empty index.
     *
     * @param pageCount pages in the pool
     * @param pageTokens tokens of a page
     * @param seed a secret number
     * @param hashMask bits of the hash that are used: −1; tests use fewer to make different texts have equal hashes
     */
    PrefixIndex(int pageCount, int pageTokens, long seed, long hashMask) {
        this.pageTokens = pageTokens;
        this.seed = seed;
        this.hashMask = hashMask;
        buckets = new int[(int) Math.min(1 << 30, Long.highestOneBit(Math.max(1, 2L * pageCount - 1)))];
        Arrays.fill(buckets, NONE);
        next = new int[pageCount];
        parents = new int[pageCount];
        hashes = new long[pageCount];
        entries = new long[pageCount];
        tokens = new int[Math.multiplyExact(pageCount, pageTokens)];
        salts = new CacheSalt[pageCount];
    }

    /** Number of pages in the index. */
    int size() {
        return size;
    }

    /** Whether a page is in the index. */
    boolean contains(int page) {
        return entries[page] != 0;
    }

    /** A number that is never used again for another content of the page; 0 if the page is not in the index. */
    long entry(int page) {
        return entries[page];
    }

    /** The page before a page in the index; {@link #NONE} for a first page. */
    int parent(int page) {
        return parents[page];
    }

    /** The tokens of all pages: those of page p begin at p × tokens of a page. Not a copy. */
    int[] tokens() {
        return tokens;
    }

    /** The salt of a first page in the index; {@link CacheSalt#NONE} for other pages. */
    CacheSalt salt(int page) {
        CacheSalt salt = salts[page];
        return salt == null ? CacheSalt.NONE : salt;
    }

    /**
     * The page with the tokens {@code [from, from + pageTokens)} of a text, after a parent page.
     *
     * @param parent the page with the tokens before {@code from}; {@link #NONE} if there are none
     * @return {@link #NONE} if there is no such page
     */
    int find(int parent, int[] text, int from, CacheSalt salt) {
        long hash = hash(parent, text, from, salt);
        for (int page = buckets[bucket(hash)]; page != NONE; page = next[page]) {
            if (hashes[page] == hash
                    && parents[page] == parent
                    && Arrays.equals(tokens, page * pageTokens, (page + 1) * pageTokens, text, from, from + pageTokens)
                    && (parent != NONE || salt.equals(salts[page]))) {
                return page;
            }
        }
        return NONE;
    }

    /** Adds a page that is not in the index; parameters as in {@link #find}, which returned none. */
    void add(int page, int parent, int[] text, int from, CacheSalt salt) {
        long hash = hash(parent, text, from, salt);
        int bucket = bucket(hash);
        hashes[page] = hash;
        parents[page] = parent;
        next[page] = buckets[bucket];
        buckets[bucket] = page;
        entries[page] = ++lastEntry;
        salts[page] = parent == NONE ? salt : null;
        System.arraycopy(text, from, tokens, page * pageTokens, pageTokens);
        size++;
    }

    /** Removes a page whose children are not in the index. */
    void remove(int page) {
        int bucket = bucket(hashes[page]);
        if (buckets[bucket] == page) {
            buckets[bucket] = next[page];
        } else {
            int before = buckets[bucket];
            while (next[before] != page) {
                before = next[before];
            }
            next[before] = next[page];
        }
        entries[page] = 0;
        salts[page] = null;
        size--;
    }

    private long hash(int parent, int[] text, int from, CacheSalt salt) {
        long hash = parent == NONE ? seed ^ salt.low() : hashes[parent];
        for (int i = from; i < from + pageTokens; i++) {
            hash = (hash ^ text[i]) * 0x9E3779B97F4A7C15L;
            hash ^= hash >>> 32;
        }
        return hash & hashMask;
    }

    private int bucket(long hash) {
        return (int) hash & (buckets.length - 1);
    }

    /**
     * Checks that every page in the index can be found, and that its parent is there.
     *
     * @throws IllegalStateException naming the first fault
     */
    void checkIntegrity() {
        int found = 0;
        for (int page = 0; page < entries.length; page++) {
            if (entries[page] == 0) {
                continue;
            }
            found++;
            int parent = parents[page];
            if (parent != NONE && entries[parent] == 0) {
                throw new IllegalStateException("the prefix index has page " + page + " without its parent " + parent);
            }
            if (parent != NONE && entries[parent] > entries[page]) {
                throw new IllegalStateException(
                        "the prefix index has page " + page + " from before its parent " + parent);
            }
            if (find(parent, tokens, page * pageTokens, salt(page)) != page) {
                throw new IllegalStateException("the prefix index does not find page " + page);
            }
        }
        if (found != size) {
            throw new IllegalStateException("the prefix index has " + found + " pages, but counts " + size);
        }
    }
}
