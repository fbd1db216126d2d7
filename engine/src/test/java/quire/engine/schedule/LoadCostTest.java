package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class LoadCostTest {
    private final LoadCost cost = new LoadCost(16);

    @Test
    void isReadingCheaper_unknown_isTrue() {
        assertThat(cost.isReadingCheaper()).isTrue();
        cost.read(1_000_000);
        assertThat(cost.isReadingCheaper()).isTrue();
        cost.computed(15, 1); // too few tokens to tell
        assertThat(cost.isReadingCheaper()).isTrue();
    }

    @Test
    void isReadingCheaper_bothKnown_comparesAPage() {
        cost.read(1_000);
        cost.computed(64, 64 * 63);
        assertThat(cost.isReadingCheaper()).isTrue();
        for (int i = 0; i < 50; i++) {
            cost.computed(64, 64 * 62);
        }
        assertThat(cost.isReadingCheaper()).isFalse();
    }

    @Test
    void isReadingCheaper_refusedForLong_isTriedAgain() {
        cost.read(2_000);
        cost.computed(64, 64 * 63);
        int refused = 0;
        while (!cost.isReadingCheaper()) {
            refused++;
        }
        assertThat(refused).isBetween(50, 100);
        for (int i = 0; i < 50; i++) {
            cost.read(2_000);
        }
        assertThat(cost.isReadingCheaper()).isFalse();
    }
}
