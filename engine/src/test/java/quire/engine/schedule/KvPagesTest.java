package quire.engine.schedule;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import quire.engine.MemoryPlan;

class KvPagesTest {
    @Test
    void reserve_moreTokens_keepsTheOldPages() {
        KvPages pages = new KvPages(8, 4, 2, 32, null);

        assertThat(pages.reserve(0, 5)).isTrue();
        int[] before = {pages.table(0)[0], pages.table(0)[1]};
        assertThat(pages.reserve(0, 13)).isTrue();

        assertThat(pages.held(0)).isEqualTo(4);
        assertThat(pages.table(0)).startsWith(before);
        assertThat(pages.available()).isEqualTo(4);
        pages.checkIntegrity();
    }

    @Test
    void reserve_fewerTokens_changesNothing() {
        KvPages pages = new KvPages(8, 4, 2, 32, null);
        pages.reserve(0, 16);

        assertThat(pages.reserve(0, 3)).isTrue();

        assertThat(pages.held(0)).isEqualTo(4);
        pages.checkIntegrity();
    }

    @Test
    void reserve_tooFewPages_changesNothing() {
        KvPages pages = new KvPages(4, 4, 2, 16, null);
        pages.reserve(0, 12);

        assertThat(pages.reserve(1, 5)).isFalse();

        assertThat(pages.held(1)).isZero();
        assertThat(pages.available()).isEqualTo(1);
        pages.checkIntegrity();
    }

    /** What was freed last may still be in the CPU's cache, so it is reused first, in the order of its text. */
    @Test
    void reserve_freedPages_areReusedLastFreedFirstAndHeadsBeforeTails() {
        KvPages pages = new KvPages(6, 4, 3, 24, null);
        pages.reserve(0, 8);
        pages.reserve(1, 12);
        int[] first = Arrays.copyOf(pages.table(0), 2);
        int[] second = Arrays.copyOf(pages.table(1), 3);
        pages.release(0);
        pages.release(1);

        pages.reserve(2, 24);

        assertThat(pages.table(2)).startsWith(second[0], second[1], second[2], first[0], first[1], 5);
        pages.checkIntegrity();
    }

    @Test
    void fork_partlyFilledPage_sharesTheFullPages() {
        KvPages pages = new KvPages(8, 4, 2, 32, null);
        pages.reserve(0, 10);

        assertThat(pages.fork(0, 1, 10)).isTrue();

        assertThat(pages.held(1)).isEqualTo(3);
        assertThat(pages.table(1)[0]).isEqualTo(pages.table(0)[0]);
        assertThat(pages.table(1)[1]).isEqualTo(pages.table(0)[1]);
        assertThat(pages.table(1)[2]).isNotEqualTo(pages.table(0)[2]);
        assertThat(pages.used()).isEqualTo(4);
        pages.checkIntegrity();
        pages.release(0);
        assertThat(pages.used()).isEqualTo(3);
        pages.checkIntegrity();
    }

    @Test
    void fork_tooFewPages_changesNothing() {
        KvPages pages = new KvPages(3, 4, 2, 12, null);
        pages.reserve(0, 10);

        assertThat(pages.fork(0, 1, 10)).isFalse();
        assertThat(pages.held(1)).isZero();
        pages.checkIntegrity();
        assertThat(pages.fork(0, 1, 8)).isTrue(); // all shared
        pages.checkIntegrity();
    }

    @Test
    void reserve_overTheLongestContext_isRefused() {
        KvPages pages = new KvPages(100, 4, 2, 16, null);

        assertThatIllegalArgumentException().isThrownBy(() -> pages.reserve(0, 17));
    }

    @Test
    void randomHistory_anyOrder_everyPageHasOneOwnerOrNone() {
        for (long seed = 0; seed < 200; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            int rows = 1 + random.nextInt(6);
            int pageTokens = 1 + random.nextInt(20);
            KvPages pages = new KvPages(1 + random.nextInt(30), pageTokens, rows, 100, null);
            int[] tokens = new int[rows];
            for (int i = 0; i < 200; i++) {
                int row = random.nextInt(rows);
                if (random.nextInt(4) == 0) {
                    pages.release(row);
                    tokens[row] = 0;
                } else {
                    int longest = Math.min(100, pages.total() * pageTokens);
                    int more = Math.min(longest, tokens[row] + random.nextInt(10));
                    boolean fits = pages.pagesFor(more) - pages.held(row) <= pages.available();
                    assertThat(pages.reserve(row, more)).isEqualTo(fits);
                    tokens[row] = fits ? Math.max(tokens[row], more) : tokens[row];
                }
                pages.checkIntegrity();
                Set<Integer> held = new HashSet<>();
                for (int r = 0; r < rows; r++) {
                    assertThat(pages.held(r)).isEqualTo(pages.pagesFor(tokens[r]));
                    for (int j = 0; j < pages.held(r); j++) {
                        assertThat(held.add(pages.table(r)[j])).isTrue();
                    }
                }
                assertThat(pages.used()).isEqualTo(held.size());
            }
        }
    }

    /** Pages with an index, and rows whose tokens are computed at once. */
    private static final class Cache {
        private final KvPages pages;
        private final int pageTokens;

        Cache(int pageCount, int pageTokens, long hashMask) {
            this(pageCount, 0, pageTokens, hashMask);
        }

        Cache(int pageCount, int overflow, int pageTokens, long hashMask) {
            this.pageTokens = pageTokens;
            PrefixIndex index = new PrefixIndex(pageCount + overflow, pageTokens, 5, hashMask);
            pages = new KvPages(pageCount, pageTokens, 8, 1000, index, null, 0, 0, overflow);
        }

        /** Starts a row and computes its text; returns how many tokens were cached, or -1 if there are too few pages. */
        int start(int row, String text, CacheSalt salt) {
            int[] tokens = text.chars().toArray();
            CachedPrefix prefix = new CachedPrefix(salt);
            int cached = pages.match(prefix, tokens, tokens.length);
            int missing = pages.missing(prefix, tokens.length);
            int available = pages.available();
            boolean begun = pages.begin(row, prefix, tokens.length);
            assertThat(begun).isEqualTo(missing <= available);
            if (!begun) {
                return -1;
            }
            assertThat(available - pages.available()).isEqualTo(missing);
            while ((pages.indexed(row) + 1) * pageTokens <= tokens.length) {
                pages.add(row, tokens, salt);
            }
            pages.checkIntegrity();
            return cached;
        }

        int start(int row, String text) {
            return start(row, text, CacheSalt.NONE);
        }

        /** How many tokens of a text are cached. */
        int cached(String text) {
            return pages.match(new CachedPrefix(CacheSalt.NONE), text.chars().toArray(), text.length());
        }

        void release(int row) {
            pages.release(row);
            pages.checkIntegrity();
        }

        /** @param inMemory the tokens of a text that have pages of the pool */
        void assertOnePageForEachBeginning(String[] texts, int inMemory) {
            Set<String> beginnings = new HashSet<>();
            int tails = 0;
            for (String text : texts) {
                int length = Math.min(text.length(), inMemory);
                for (int end = pageTokens; end <= length; end += pageTokens) {
                    beginnings.add(text.substring(0, end));
                }
                tails += length % pageTokens > 0 ? 1 : 0;
            }
            assertThat(pages.used()).isEqualTo(beginnings.size() + tails);
        }

        int[] table(int row) {
            return Arrays.copyOf(pages.table(row), pages.held(row));
        }
    }

    @Test
    void begin_sameBeginning_holdsTheSamePages() {
        Cache cache = new Cache(12, 4, -1);
        assertThat(cache.start(0, "aaaabbbbccccx")).isZero();

        assertThat(cache.start(1, "aaaabbbbddddx")).isEqualTo(8);
        assertThat(cache.start(2, "aaaaccccbbbbx")).isEqualTo(4);
        assertThat(cache.start(3, "bbbbaaaax")).isZero();

        assertThat(cache.table(1)).startsWith(cache.table(0)[0], cache.table(0)[1]);
        assertThat(cache.table(2)).startsWith(cache.table(0)[0]);
        assertThat(cache.pages.used()).isEqualTo(4 + 2 + 3 + 3);
    }

    @Test
    void match_wholeTextCached_leavesOneTokenToCompute() {
        Cache cache = new Cache(10, 4, -1);
        cache.start(0, "aaaabbbb");

        assertThat(cache.cached("aaaabbbb")).isEqualTo(4);
        assertThat(cache.cached("aaaabbbbc")).isEqualTo(8);
        assertThat(cache.cached("aaaabbb")).isEqualTo(4);
        assertThat(cache.cached("aaaa")).isZero();
        assertThat(cache.cached("")).isZero();
    }

    @Test
    void match_afterRelease_findsThePagesUntilTheirMemoryIsNeeded() {
        Cache cache = new Cache(4, 4, -1);
        cache.start(0, "aaaabbbbc");
        cache.release(0);

        assertThat(cache.pages.available()).isEqualTo(4);
        assertThat(cache.pages.cached()).isEqualTo(2);
        assertThat(cache.start(1, "aaaabbbbccccd")).isEqualTo(8);
        cache.release(1);
        assertThat(cache.pages.cached()).isEqualTo(3);
        assertThat(cache.pages.evictions()).isZero();
        cache.start(2, "ddddeeee");
        assertThat(cache.pages.evictions()).isEqualTo(1);
    }

    /** Free pages go first, then the page unused for longest, and of one text its tail before its head. */
    @Test
    void begin_noFreePage_takesTheLeastRecentlyUsedOneAndTailsFirst() {
        Cache cache = new Cache(7, 4, -1);
        cache.start(0, "aaaabbbbccccd"); // 3 full pages
        cache.release(0);
        cache.start(0, "eeeeffffg"); // 2 full pages
        cache.release(0);
        assertThat(cache.pages.cached()).isEqualTo(5);

        cache.start(1, "12341234"); // two free pages
        assertThat(cache.cached("aaaabbbbccccd")).isEqualTo(12);
        cache.start(2, "5678");
        assertThat(cache.cached("aaaabbbbccccd")).isEqualTo(8);
        cache.start(3, "8765");
        assertThat(cache.cached("aaaabbbbccccd")).isEqualTo(4);
        assertThat(cache.start(4, "aaaax")).isEqualTo(4); // takes the tail of the other text, not what it uses itself
        assertThat(cache.cached("eeeeffffg")).isEqualTo(4);
    }

    @Test
    void begin_pagesJustFound_areNotTakenByTheSameAllocation() {
        Cache cache = new Cache(4, 4, -1);
        cache.start(0, "aaaabbbb");
        cache.release(0);
        cache.start(0, "ccccdddd");
        cache.release(0);

        assertThat(cache.start(1, "aaaabbbbeeeeffff")).isEqualTo(8); // the found ones are the least recently used

        assertThat(cache.cached("ccccddddx")).isZero();
        assertThat(cache.pages.evictions()).isEqualTo(2);
    }

    @Test
    void begin_tooFewPages_changesNothing() {
        Cache cache = new Cache(6, 4, -1);
        cache.start(0, "aaaabbbbx");
        cache.start(1, "aaaabbbbcccc"); // one more page
        cache.release(1);
        int available = cache.pages.available();

        // The first two pages are held by row 0, so they need no memory; the third one is cached.
        assertThat(cache.start(2, "aaaabbbbccccddddeeeeffff")).isEqualTo(-1);

        assertThat(cache.pages.available()).isEqualTo(available).isEqualTo(3);
        assertThat(cache.pages.held(2)).isZero();
        assertThat(cache.cached("aaaabbbbccccd")).isEqualTo(12);
        cache.pages.checkIntegrity();
        assertThat(cache.start(2, "aaaabbbbccccddddeeee")).isEqualTo(12);
    }

    @Test
    void match_otherSalt_findsNothing() {
        Cache cache = new Cache(10, 4, 0);
        CacheSalt one = CacheSalt.of("one");
        cache.start(0, "aaaabbbbc", one);

        assertThat(cache.start(1, "aaaabbbbc")).isZero();
        assertThat(cache.start(2, "aaaabbbbc", CacheSalt.of("two"))).isZero();
        assertThat(cache.start(3, "aaaabbbbc", CacheSalt.of("one"))).isEqualTo(8);
    }

    @Test
    void match_equalHashes_comparesTheTokens() {
        Cache cache = new Cache(30, 4, 0);
        for (String text : List.of("aaaabbbbc", "bbbbaaaac", "aaaaccccc", "ccccbbbbc")) {
            assertThat(cache.start(0, text)).isEqualTo(text.equals("aaaaccccc") ? 4 : 0);
            cache.release(0);
        }
        assertThat(cache.cached("aaaabbbbc")).isEqualTo(8);
        assertThat(cache.cached("bbbbccccc")).isEqualTo(4);
        assertThat(cache.cached("ddddc")).isZero();
    }

    /** A page that was cached, gave its memory to another text and became cached again is not taken for the old one. */
    @Test
    void match_pageReusedSince_beginsAgain() {
        Cache cache = new Cache(2, 4, -1);
        cache.start(0, "aaaabbbb");
        cache.release(0);
        int[] text = "aaaabbbbc".chars().toArray();
        CachedPrefix prefix = new CachedPrefix(CacheSalt.NONE);
        assertThat(cache.pages.match(prefix, text, text.length)).isEqualTo(8);

        cache.start(0, "ccccdddd");
        cache.release(0);

        assertThat(cache.pages.match(prefix, text, text.length)).isZero();
    }

    @Test
    void add_tokensThatTheIndexHas_takesThatPageAndFreesItsOwn() {
        Cache cache = new Cache(4, 4, -1);
        KvPages pages = cache.pages;
        int[] text = "aaaab".chars().toArray();
        CachedPrefix nothing = new CachedPrefix(CacheSalt.NONE);
        pages.begin(0, nothing, 5);
        pages.begin(1, nothing, 5);
        assertThat(pages.add(0, text, CacheSalt.NONE)).isFalse();
        assertThat(pages.available()).isZero();

        assertThat(pages.add(1, text, CacheSalt.NONE)).isTrue();

        assertThat(pages.table(1)[0]).isEqualTo(pages.table(0)[0]);
        assertThat(pages.available()).isEqualTo(1);
        pages.checkIntegrity();
    }

    /** With saved states, a row takes as many pages as there are up to the last one with a state. */
    @Test
    void adopt_pagesWithoutAState_areTakenWithOneThatHasIt() {
        PrefixIndex index = new PrefixIndex(12, 2, 7, -1);
        KvPages pages = new KvPages(12, 2, 2, 16, index, null, 0, 2, 0);
        SavedStates states = requireNonNull(pages.states());
        int[] text = "aabbccddx".chars().toArray();
        CachedPrefix prefix = new CachedPrefix(CacheSalt.NONE);
        pages.begin(0, prefix, 9);
        pages.begin(1, prefix, 9);
        for (int i = 0; i < 4; i++) {
            pages.add(0, text, CacheSalt.NONE);
        }
        assertThat(pages.adoptable(1, text, 9, CacheSalt.NONE)).isZero();
        assertThat(pages.match(prefix, text, 9)).isZero();
        assertThat(prefix.found).isEqualTo(4);

        states.bind(states.reserve(), pages.table(0)[0]);
        states.bind(states.reserve(), pages.table(0)[2]);
        assertThat(pages.match(prefix, text, 9)).isEqualTo(6);
        assertThat(pages.adoptable(1, text, 9, CacheSalt.NONE)).isEqualTo(3);
        assertThat(pages.adoptable(1, text, 6, CacheSalt.NONE)).isEqualTo(1);
        pages.setCaching(false);
        assertThat(pages.adoptable(1, text, 9, CacheSalt.NONE)).isZero();
        pages.setCaching(true);
        for (int i = 0; i < 3; i++) {
            pages.adopt(1, text, CacheSalt.NONE);
        }
        assertThat(pages.takesState(1)).isTrue();
        pages.checkIntegrity();
        assertThat(pages.takeSavedState(1)).isEqualTo(1);
        assertThat(pages.takeSavedState(1)).isEqualTo(SavedStates.NONE);
        pages.checkIntegrity();
        assertThat(states.hits()).isEqualTo(1);
    }

    /** The row that holds a state is cancelled before its first step. */
    @Test
    void release_rowThatHasNotBegun_releasesItsState() {
        KvPages pages = new KvPages(8, 2, 2, 8, new PrefixIndex(8, 2, 7, -1), null, 0, 1, 0);
        SavedStates states = requireNonNull(pages.states());
        int[] text = "aab".chars().toArray();
        CachedPrefix prefix = new CachedPrefix(CacheSalt.NONE);
        pages.begin(0, prefix, 3);
        pages.add(0, text, CacheSalt.NONE);
        states.bind(states.reserve(), pages.table(0)[0]);
        assertThat(pages.match(prefix, text, 3)).isEqualTo(2);
        pages.begin(1, prefix, 3);
        assertThat(states.reserve()).isEqualTo(SavedStates.NONE);

        pages.release(1);

        pages.checkIntegrity();
        assertThat(pages.takeSavedState(1)).isEqualTo(SavedStates.NONE);
        assertThat(states.hits()).isZero();
        assertThat(states.reserve()).isZero();
        assertThat(states.evictedUnused()).isEqualTo(1);
    }

    @Test
    void adopt_pageThatAnotherRowComputed_takesIt() {
        Cache cache = new Cache(6, 4, -1);
        KvPages pages = cache.pages;
        int[] text = "aaaabbbbc".chars().toArray();
        pages.begin(1, new CachedPrefix(CacheSalt.NONE), 9);
        assertThat(pages.adoptable(1, text, 9, CacheSalt.NONE)).isZero();
        cache.start(0, "aaaabbbbx");

        assertThat(pages.adoptable(1, text, 9, CacheSalt.NONE)).isEqualTo(1);
        pages.adopt(1, text, CacheSalt.NONE);
        assertThat(pages.adoptable(1, text, 8, CacheSalt.NONE)).isZero(); // would leave no token to compute
        assertThat(pages.adoptable(1, text, 9, CacheSalt.NONE)).isEqualTo(1);
        pages.adopt(1, text, CacheSalt.NONE);

        assertThat(cache.table(1)).startsWith(cache.table(0)[0], cache.table(0)[1]);
        assertThat(pages.used()).isEqualTo(4);
        pages.checkIntegrity();
    }

    @Test
    void take_pageThatTheDraftModelHasComputed_isNotDraftedAnyMore() {
        Cache cache = new Cache(1, 4, -1);
        cache.start(0, "aaaa");
        cache.pages.setDrafted(0);
        cache.release(0);
        assertThat(cache.pages.isDrafted(0)).isTrue();

        cache.start(0, "bbbb");

        assertThat(cache.pages.isDrafted(0)).isFalse();
    }

    @Test
    void randomTexts_fewTokens_holdOnePageForEachBeginning() {
        for (long seed = 0; seed < 200; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            int pageTokens = 1 + random.nextInt(4);
            Cache cache = new Cache(4 + random.nextInt(40), pageTokens, random.nextBoolean() ? -1 : random.nextInt(4));
            String[] texts = new String[8];
            Arrays.fill(texts, "");
            for (int i = 0; i < 200; i++) {
                int row = random.nextInt(texts.length);
                cache.release(row);
                texts[row] = "";
                StringBuilder text = new StringBuilder();
                for (int length = 1 + random.nextInt(12); text.length() < length; ) {
                    text.append((char) ('a' + random.nextInt(2)));
                }
                if (cache.start(row, text.toString()) >= 0) {
                    texts[row] = text.toString();
                }
                cache.assertOnePageForEachBeginning(texts, Integer.MAX_VALUE);
            }
        }
    }

    /** Eight pages of four tokens, six of them for a row, and four more on disk. */
    private static Cache withOverflow() {
        return new Cache(8, 4, 4, -1);
    }

    private static final String SIX_PAGES = "aaaabbbbccccddddeeeeffff";

    @Test
    void begin_longerThanThePool_hasOverflowPagesBehindThreeQuarters() {
        Cache cache = withOverflow();

        assertThat(cache.start(0, SIX_PAGES + "gggghhhhx")).isZero();

        assertThat(cache.table(0)).endsWith(8, 9, 10).hasSize(9);
        assertThat(cache.pages.used()).isEqualTo(6);
        assertThat(cache.pages.available()).isEqualTo(2);
        assertThat(cache.pages.overflowUsed()).isEqualTo(3);
        assertThat(cache.start(1, "zzzzy")).as("beside it").isZero();
        cache.release(0);
        assertThat(cache.pages.overflowUsed()).isZero();
    }

    @Test
    void begin_anotherRowHasOverflowPages_isRefusedUntilItEnds() {
        Cache cache = withOverflow();
        cache.start(0, SIX_PAGES + "gggghhhhx");

        assertThat(cache.start(1, SIX_PAGES + "yyyyx")).isEqualTo(-1);
        assertThat(cache.start(1, SIX_PAGES)).as("without overflow").isEqualTo(20);
        assertThat(cache.pages.reserve(1, 25)).isFalse();
        assertThat(cache.pages.lacksOverflow(1, 25)).isTrue();
        assertThat(cache.pages.lacksOverflow(0, 25)).isFalse();
        cache.release(0);

        assertThat(cache.pages.reserve(1, 25)).isTrue();
        assertThat(cache.table(1)).endsWith(8);
        cache.pages.checkIntegrity();
    }

    @Test
    void match_nextTurnOfALongText_findsItsOverflowPages() {
        Cache cache = withOverflow();
        cache.start(0, SIX_PAGES + "gggghhhhx");
        assertThat(cache.cached(SIX_PAGES + "gggghhhhx"))
                .as("while a row has them")
                .isEqualTo(24);
        cache.release(0);

        assertThat(cache.cached(SIX_PAGES + "gggghhhhx")).isEqualTo(32);
        assertThat(cache.start(1, SIX_PAGES + "ggggiiiix")).isEqualTo(28);

        cache.release(1);
        assertThat(cache.cached(SIX_PAGES + "gggghhhhx"))
                .as("page 9 has another text")
                .isEqualTo(28);
        assertThat(cache.cached(SIX_PAGES + "ggggiiiix")).isEqualTo(32);
    }

    @Test
    void take_pageBeforeTheOverflow_forgetsWhatFollows() {
        Cache cache = withOverflow();
        cache.start(0, SIX_PAGES + "gggghhhhx");
        cache.release(0);

        cache.start(1, "zzzzyyyyx"); // two free pages, and the last page of the long text

        assertThat(cache.cached(SIX_PAGES + "gggghhhhx")).isEqualTo(20);
        assertThat(cache.pages.evictions()).isEqualTo(1);
    }

    @Test
    void fork_rowWithOverflowPages_isRefused() {
        Cache cache = withOverflow();
        cache.start(0, SIX_PAGES + "gggg");

        assertThat(cache.pages.fork(0, 1, 28)).isFalse();
        assertThat(cache.pages.fork(0, 1, 24)).isTrue();
        cache.pages.checkIntegrity();
    }

    @Test
    void randomTexts_withOverflow_holdOnePageForEachBeginning() {
        long hits = 0;
        for (long seed = 0; seed < 60; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            int pageTokens = 1 + random.nextInt(3);
            int memory = 4 + random.nextInt(12);
            int overflow = 1 + random.nextInt(10);
            int inMemory = MemoryPlan.pagesOfSequence(memory) * pageTokens;
            int most = inMemory + overflow * pageTokens;
            Cache cache = new Cache(memory, overflow, pageTokens, random.nextBoolean() ? -1 : random.nextInt(4));
            String[] texts = new String[8];
            Arrays.fill(texts, "");
            for (int i = 0; i < 200; i++) {
                int row = random.nextInt(texts.length);
                cache.release(row);
                texts[row] = "";
                String last = texts[random.nextInt(texts.length)];
                StringBuilder text =
                        new StringBuilder(last.substring(0, last.isEmpty() ? 0 : random.nextInt(last.length())));
                for (int length = 1 + random.nextInt(most); text.length() < length; ) {
                    text.append((char) ('a' + random.nextInt(2)));
                }
                int cached = cache.start(row, text.toString());
                if (cached >= 0) {
                    texts[row] = text.toString();
                }
                hits += cached > inMemory ? 1 : 0;
                cache.assertOnePageForEachBeginning(texts, inMemory);
                int places = 0;
                for (String held : texts) {
                    places = Math.max(places, Math.ceilDiv(held.length() - inMemory, pageTokens));
                }
                assertThat(cache.pages.overflowUsed()).isEqualTo(places);
            }
        }
        assertThat(hits).as("hits of overflow pages").isPositive();
    }

    @Test
    void checkIntegrity_pageOverwrittenInATable_namesIt() {
        KvPages pages = new KvPages(4, 4, 2, 16, null);
        pages.reserve(0, 4);
        pages.reserve(1, 4);
        int stolen = pages.table(1)[0];

        pages.table(0)[0] = stolen;

        assertThatIllegalStateException()
                .isThrownBy(pages::checkIntegrity)
                .withMessageContaining("KV page 0 of 4 is neither free");
    }

    @Test
    void checkIntegrity_pageFreeAndHeld_namesIt() {
        KvPages pages = new KvPages(4, 4, 2, 16, null);
        pages.reserve(0, 4);

        pages.table(0)[0] = 3;

        assertThatIllegalStateException()
                .isThrownBy(pages::checkIntegrity)
                .withMessageContaining("KV page 3 of 4 is free and held by 1 rows");
    }

    @Test
    void checkIntegrity_pageTwiceInARow_namesIt() {
        KvPages pages = new KvPages(4, 4, 2, 16, null);
        pages.reserve(0, 8);

        pages.table(0)[1] = pages.table(0)[0];

        assertThatIllegalStateException().isThrownBy(pages::checkIntegrity).withMessageContaining("is twice in row 0");
    }
}
