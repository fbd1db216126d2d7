package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import java.util.HashSet;
import java.util.Set;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class KvPagesTest {
    @Test
    void reserve_moreTokens_keepsTheOldPages() {
        KvPages pages = new KvPages(8, 4, 2, 32);

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
        KvPages pages = new KvPages(8, 4, 2, 32);
        pages.reserve(0, 16);

        assertThat(pages.reserve(0, 3)).isTrue();

        assertThat(pages.held(0)).isEqualTo(4);
        pages.checkIntegrity();
    }

    @Test
    void reserve_tooFewPages_changesNothing() {
        KvPages pages = new KvPages(4, 4, 2, 16);
        pages.reserve(0, 12);

        assertThat(pages.reserve(1, 5)).isFalse();

        assertThat(pages.held(1)).isZero();
        assertThat(pages.available()).isEqualTo(1);
        pages.checkIntegrity();
    }

    @Test
    void reserve_overTheLongestContext_isRefused() {
        KvPages pages = new KvPages(100, 4, 2, 16);

        assertThatIllegalArgumentException().isThrownBy(() -> pages.reserve(0, 17));
    }

    @Test
    void randomHistory_anyOrder_everyPageHasOneOwnerOrNone() {
        for (long seed = 0; seed < 200; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            int rows = 1 + random.nextInt(6);
            int pageTokens = 1 + random.nextInt(20);
            KvPages pages = new KvPages(1 + random.nextInt(30), pageTokens, rows, 100);
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

    @Test
    void checkIntegrity_pageOverwrittenInATable_namesIt() {
        KvPages pages = new KvPages(4, 4, 2, 16);
        pages.reserve(0, 4);
        pages.reserve(1, 4);
        int stolen = pages.table(1)[0];

        pages.table(0)[0] = stolen;

        assertThatIllegalStateException()
                .isThrownBy(pages::checkIntegrity)
                .withMessageContaining("KV page 0 of 4 is neither");
    }

    @Test
    void checkIntegrity_pageFreeAndHeld_namesIt() {
        KvPages pages = new KvPages(4, 4, 2, 16);
        pages.reserve(0, 4);

        pages.table(0)[0] = 3;

        assertThatIllegalStateException()
                .isThrownBy(pages::checkIntegrity)
                .withMessageContaining("KV page 3 of 4 is free and held by 1 rows");
    }

    @Test
    void checkIntegrity_pageTwiceInARow_namesIt() {
        KvPages pages = new KvPages(4, 4, 2, 16);
        pages.reserve(0, 8);

        pages.table(0)[1] = pages.table(0)[0];

        assertThatIllegalStateException().isThrownBy(pages::checkIntegrity).withMessageContaining("is twice in row 0");
    }
}
