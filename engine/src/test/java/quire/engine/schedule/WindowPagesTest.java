package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.Arrays;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import quire.model.WindowLayers;

/** Pages of 4 tokens; steps of 8 tokens of at most 4 sequences, for which there are 6 window pages beside the promised ones. */
class WindowPagesTest {
    private static final int PAGE = 4;
    private static final int STEP = 8;
    private static final int ROWS = 4;
    private static final int PAGES = 40;
    private static final int OF_STEP = WindowLayers.stepPages(PAGE, ROWS, STEP);

    private final CachedPrefix prefix = new CachedPrefix(CacheSalt.NONE);
    private KvPages pages = pages(8, false, 12);

    private static KvPages pages(int window, boolean chunked, int windowPages) {
        WindowLayers layers = new WindowLayers(window, chunked, windowPages + OF_STEP);
        return new KvPages(PAGES, PAGE, ROWS, 64, new PrefixIndex(PAGES, PAGE, 5, -1), layers, STEP, 0, 0);
    }

    /** Starts a row and computes its text in steps; returns how many tokens were cached. */
    private int start(int row, String text) {
        int[] tokens = text.chars().toArray();
        prefix.clear();
        int cached = pages.match(prefix, tokens, tokens.length);
        assertThat(pages.begin(row, prefix, tokens.length)).isTrue();
        for (int computed = cached; computed < tokens.length; ) {
            computed = Math.min(tokens.length, computed + STEP);
            compute(row, tokens, computed);
        }
        return cached;
    }

    private void compute(int row, int[] tokens, int end) {
        pages.prepare(row, end);
        while ((pages.indexed(row) + 1) * PAGE <= end) {
            pages.add(row, tokens, CacheSalt.NONE);
        }
        pages.slide(row, end);
        pages.checkIntegrity();
        pages.checkWindow(row, end);
    }

    private int cached(String text) {
        return pages.match(new CachedPrefix(CacheSalt.NONE), text.chars().toArray(), text.length());
    }

    /** The ordinals of a row's pages that have a window page. */
    private int[] windowOf(int row) {
        return IntStream.range(0, pages.held(row))
                .filter(i -> pages.isWhole(row, i))
                .toArray();
    }

    @Test
    void slide_textLongerThanTheWindow_keepsWhatTheNextTokenSees() {
        start(0, "aaaabbbbccccddddeeee"); // position 20 sees 13 to 20

        assertThat(windowOf(0)).containsExactly(3, 4);
        assertThat(pages.held(0)).isEqualTo(5);
        assertThat(pages.windowsUsed()).isEqualTo(2);
        assertThat(pages.windowsOf(0)).isEqualTo(3);

        pages.release(0);
        assertThat(pages.windowsUsed()).isZero();
        assertThat(pages.windowsOf(0)).isZero();
        pages.checkIntegrity();
    }

    @Test
    void slide_chunks_givesBackAtTheirEnds() {
        pages = pages(8, true, 12);
        start(0, "aaaabbbbcccc"); // position 12 sees 8 to 12
        assertThat(windowOf(0)).containsExactly(2);

        start(1, "eeeeffffgggghhhh"); // position 16 sees itself
        assertThat(windowOf(1)).isEmpty();
    }

    /** Tokens of a draft were written to the next page. Rejected, they leave the window where it was. */
    @Test
    void slide_rejectedDraft_keepsTheWindowOfTheTokenBeforeIt() {
        int[] text = "aaaabbbbcccc".chars().toArray();
        start(0, "aaaabbbbccc");
        assertThat(windowOf(0)).containsExactly(1, 2);
        assertThat(pages.reserve(0, 16)).isTrue();
        pages.prepare(0, 16); // one token and 4 draft tokens
        assertThat(windowOf(0)).containsExactly(1, 2, 3);

        compute(0, text, 12); // position 12 sees 5 to 12
        assertThat(windowOf(0)).containsExactly(1, 2);
    }

    @Test
    void match_textWithoutItsFirstWindowPages_isFoundIfTheWindowIsThere() {
        pages = pages(8, false, 3);
        String text = "aaaabbbbccccddddeeee";
        start(0, text);
        pages.release(0);
        start(1, "vvvvwwwwxxxxyyyyzzzz1111"); // takes the memory of the oldest window pages

        assertThat(pages.indexedWithoutPartner()).isPositive();
        assertThat(cached(text + "f")).isEqualTo(20); // sees from 13 on, in page 3
        assertThat(cached("aaaabbbbx")).isZero();
        pages.release(1);
        assertThat(start(2, text + "f")).isEqualTo(20);
    }

    /** The page is still there and those behind it too: the row takes it, and gives it the window page that it lacks. */
    @Test
    void add_pageThatLacksItsWindowPage_getsTheOneThatWasComputed() {
        pages = pages(8, false, 3);
        start(0, "aaaabbbbccccddddeeee");
        int[] first = Arrays.copyOf(pages.table(0), 5);
        pages.release(0);
        start(1, "vvvvwwwwxxxxyyyyzzzz1111");
        assertThat(pages.indexedWithoutPartner()).isPositive();
        pages.release(1);

        assertThat(start(2, "aaaabbbbf")).isZero();
        assertThat(pages.table(2)).startsWith(first[0], first[1]);
        assertThat(cached("aaaabbbbg")).isEqualTo(8);
    }

    /** At the end of a chunk the next token sees itself alone, so it needs no window page of the text before. */
    @Test
    void match_textThatEndsWithItsChunk_isFoundWithoutAnyWindowPage() {
        pages = pages(8, true, 3); // 9 window pages
        start(0, "aaaabbbb");
        pages.release(0);
        start(1, "vvvvwwwwxxxxyyyyzzzz1111222233334444"); // takes all

        assertThat(pages.indexedWithoutPartner()).isEqualTo(2);
        assertThat(cached("aaaabbbbx")).isEqualTo(8);
        assertThat(cached("aaaabx")).isZero(); // position 4 sees 0 to 4
    }

    /** The page behind gives its memory before the page that it follows, so that the beginning is still found. */
    @Test
    void release_rowOfSeveralWindowPages_givesTheTailToOthersFirst() {
        pages = pages(8, false, 3); // 9 window pages
        start(0, "aaaabbbb");
        pages.release(0);
        start(1, "vvvvwwwwxxxxyyyyzzzz111122223333"); // takes the 7 free ones, and one more

        assertThat(pages.indexedWithoutPartner()).isEqualTo(1);
        assertThat(cached("aaaabbbbx")).isEqualTo(4);
    }

    @Test
    void slide_severalPagesInOneStep_givesTheTailToOthersFirst() {
        pages = pages(8, false, 6); // 12 window pages
        start(0, "aaaabbbbccccdddd"); // the second step gives back two
        assertThat(windowOf(0)).containsExactly(2, 3);
        start(1, "vvvvwwwwxxxxyyyyzzzz1111222233334444"); // takes the 8 free ones, and one more

        assertThat(pages.indexedWithoutPartner()).isEqualTo(1);
        assertThat(cached("aaaax")).isEqualTo(4);
        assertThat(cached("aaaabbbbx")).isEqualTo(4);
    }

    /** While the cache was off, pages fell behind the window. When they enter the index later, their window pages are gone. */
    @Test
    void add_pagesBehindTheWindow_leavesTheWindowPagesOfOthersAlone() {
        pages = pages(8, false, 6);
        start(1, "aaaabbbbccccdddd");
        int[] text = "aaaabbbbccccdddd".chars().toArray();
        pages.setCaching(false);
        prefix.clear();
        assertThat(pages.begin(0, prefix, text.length)).isTrue();
        for (int end = STEP; end <= text.length; end += STEP) {
            pages.prepare(0, end);
            pages.slide(0, end);
        }
        pages.setCaching(true);

        for (int i = 0; i < 4; i++) {
            assertThat(pages.add(0, text, CacheSalt.NONE)).isTrue();
            pages.checkIntegrity();
        }

        pages.checkWindow(0, 16);
        assertThat(windowOf(0)).containsExactly(2, 3);
        assertThat(Arrays.copyOfRange(pages.windowTable(0), 2, 4))
                .isEqualTo(Arrays.copyOfRange(pages.windowTable(1), 2, 4));
        assertThat(pages.windowsUsed()).isEqualTo(2);
    }

    @Test
    void begin_tooFewWindowPages_changesNothing() {
        pages = pages(8, false, 4);
        start(0, "aaaabbbbccccddddeeee"); // 3 are promised
        int available = pages.available();
        int used = pages.windowsUsed();
        int[] other = "aaaabbbbccccddddeeeex".chars().toArray();
        prefix.clear();
        assertThat(pages.match(prefix, other, other.length)).isEqualTo(20);

        assertThat(pages.begin(1, prefix, other.length)).isFalse();
        assertThat(pages.fork(0, 2, 20)).isFalse();

        for (int row = 1; row <= 2; row++) {
            assertThat(pages.held(row)).isZero();
            assertThat(pages.windowsOf(row)).isZero();
        }
        assertThat(pages.available()).isEqualTo(available);
        assertThat(pages.windowsUsed()).isEqualTo(used);
        assertThat(pages.windowsLeft()).isEqualTo(1);
        pages.checkIntegrity();
        pages.release(0);
        assertThat(start(1, "aaaabbbbccccddddeeeex")).isEqualTo(20);
    }

    @Test
    void reserve_windowPagesPromisedToOthers_isRefusedAndChangesNothing() {
        pages = pages(8, false, 4);
        start(0, "aaaabbbbccccddddeeee");
        assertThat(pages.windowsLeft()).isEqualTo(1);
        start(1, "xxxx");
        int available = pages.available();

        assertThat(pages.reserve(1, 5)).isFalse();
        assertThat(pages.available()).isEqualTo(available);
        assertThat(pages.held(1)).isEqualTo(1);
        pages.release(0);
        assertThat(pages.reserve(1, 40)).isTrue();
    }

    @Test
    void fork_rowWithAWindow_sharesItsFullPages() {
        start(0, "aaaabbbbccccddddee"); // position 18 sees from 11 on
        assertThat(windowOf(0)).containsExactly(2, 3, 4);
        assertThat(pages.fork(0, 1, 18)).isTrue();

        assertThat(windowOf(1)).containsExactly(2, 3, 4);
        assertThat(pages.windowTable(1)[3]).isEqualTo(pages.windowTable(0)[3]);
        assertThat(pages.windowTable(1)[4]).isNotEqualTo(pages.windowTable(0)[4]);
        assertThat(pages.windowsUsed()).isEqualTo(4);
        pages.release(0);
        pages.checkIntegrity();
        assertThat(pages.windowsUsed()).isEqualTo(3);
    }

    @Test
    void new_fewerPagesThanOneSequenceNeeds_isRefused() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> pages(8, false, 2))
                .withMessageContaining("too few for a window of 8 positions");
    }
}
