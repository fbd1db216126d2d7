package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class DiskIndexTest {
    private static final CacheSalt SALT = CacheSalt.NONE;
    private static final int NONE = DiskIndex.NONE;

    private static DiskIndex index(int slots) {
        return new DiskIndex(slots, 1, 7, -1);
    }

    private static int add(DiskIndex index, int parent, int token) {
        int slot = index.add(parent, new int[] {token}, 0, SALT);
        index.checkIntegrity();
        return slot;
    }

    private static int find(DiskIndex index, int parent, int token) {
        return index.find(parent, new int[] {token}, 0, SALT);
    }

    @Test
    void add_fullFile_takesTheEndOfTheTextNotUsedForLongest() {
        DiskIndex index = index(4);
        int a = add(index, NONE, 1);
        int ab = add(index, a, 2);
        int c = add(index, NONE, 3);
        int cd = add(index, c, 4);

        assertThat(add(index, NONE, 5)).isEqualTo(ab);
        assertThat(find(index, a, 2)).isEqualTo(NONE);
        index.touch(a);
        assertThat(add(index, NONE, 6)).isEqualTo(cd);
        assertThat(find(index, NONE, 1)).isEqualTo(a);
        assertThat(index.size()).isEqualTo(4);
    }

    @Test
    void touch_endOfAText_keepsTheWholeText() {
        DiskIndex index = index(4);
        int a = add(index, NONE, 1);
        int ab = add(index, a, 2);
        int c = add(index, NONE, 3);
        int cd = add(index, c, 4);

        index.touch(ab);

        assertThat(add(index, NONE, 5)).isEqualTo(cd);
        assertThat(add(index, NONE, 6)).isEqualTo(c);
    }

    @Test
    void add_textLongerThanTheFile_keepsItsBeginning() {
        DiskIndex index = index(3);
        int last = NONE;
        for (int token = 0; token < 3; token++) {
            last = add(index, last, token);
        }

        assertThat(add(index, last, 3)).isEqualTo(NONE);
        assertThat(index.size()).isEqualTo(3);
    }

    @Test
    void removeWithFollowers_middleOfATree_removesWhatFollows() {
        DiskIndex index = index(10);
        int a = add(index, NONE, 1);
        int b = add(index, a, 2);
        int c = add(index, b, 3);
        int d = add(index, b, 4);
        int e = add(index, a, 5);
        index.touch(d);
        index.touch(c);

        assertThat(index.removeWithFollowers(b)).isEqualTo(3);
        index.checkIntegrity();
        assertThat(index.size()).isEqualTo(2);
        assertThat(find(index, a, 5)).isEqualTo(e);
        assertThat(find(index, a, 2)).isEqualTo(NONE);
    }

    @Test
    void restore_pageWithoutItsParent_isLeftOut() {
        DiskIndex index = index(10);
        assertThat(index.restore(3, 5, NONE, 0, new int[] {1}, SALT)).isTrue();
        assertThat(index.restore(4, 6, 3, 5, new int[] {2}, SALT)).isTrue();
        assertThat(index.restore(5, 7, 3, 4, new int[] {3}, SALT))
                .as("of an earlier page")
                .isFalse();
        assertThat(index.restore(6, 8, 9, 0, new int[] {3}, SALT))
                .as("of an empty slot")
                .isFalse();
        assertThat(index.restore(6, 8, 99, 1, new int[] {3}, SALT))
                .as("of no slot")
                .isFalse();
        assertThat(index.restore(7, 9, 3, 5, new int[] {2}, SALT)).as("twice").isFalse();
        index.restored();
        index.checkIntegrity();
        assertThat(index.size()).isEqualTo(2);
        assertThat(index.generation(add(index, 4, 9))).isEqualTo(10);
    }

    @Test
    void anyHistory_keepsTheOrder() {
        for (long seed = 0; seed < 300; seed++) {
            SplittableRandom random = new SplittableRandom(seed);
            int slots = 1 + random.nextInt(12);
            DiskIndex index = new DiskIndex(slots, 1, seed, random.nextBoolean() ? -1 : 1);
            for (int turn = 0; turn < 60; turn++) {
                int slot = random.nextInt(slots);
                boolean used = index.generation(slot) != 0;
                switch (random.nextInt(8)) {
                    case 0 -> {
                        if (used) {
                            index.removeWithFollowers(slot);
                        }
                    }
                    case 1, 2 -> {
                        if (used) {
                            index.touch(slot);
                        }
                    }
                    default -> {
                        int parent = used ? slot : NONE;
                        int token = random.nextInt(4);
                        if (find(index, parent, token) == NONE) {
                            int added = index.add(parent, new int[] {token}, 0, SALT);
                            assertThat(added == NONE || find(index, parent, token) == added)
                                    .isTrue();
                        }
                    }
                }
                index.checkIntegrity();
            }
        }
    }
}
