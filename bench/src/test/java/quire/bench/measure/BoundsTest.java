package quire.bench.measure;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class BoundsTest {
    @Test
    void bounds_kept_areNotBroken() {
        Bounds bounds = new Bounds().atMost("a", 1, 1).atLeast("b", 0.9, 0.9);
        assertThat(bounds.broken()).isFalse();
        assertThat(bounds.rows()).hasSize(2).allSatisfy(row -> assertThat(row).containsEntry("result", "kept"));
    }

    @Test
    void bounds_oneBroken_areBroken() {
        assertThat(new Bounds().atMost("a", 2, 1).atMost("b", 0, 1).broken()).isTrue();
        assertThat(new Bounds().atLeast("a", 0.8, 0.9).broken()).isTrue();
        assertThat(new Bounds().atMost("a", Double.NaN, 1).broken()).isTrue();
    }
}
