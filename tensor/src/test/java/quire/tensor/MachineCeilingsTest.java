package quire.tensor;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class MachineCeilingsTest {
    @Test
    void measure_twoWorkers_everyCeilingIsPositive() {
        try (Workers workers = new Workers(2)) {
            MachineCeilings ceilings = MachineCeilings.measure(workers);
            assertThat(ceilings.threads()).isEqualTo(2);
            assertThat(ceilings.readBandwidthBytesPerSecond()).isPositive().isFinite();
            assertThat(ceilings.f32MacsPerSecond()).isPositive().isFinite();
            assertThat(ceilings.int8MacsPerSecond()).isPositive().isFinite();
        }
    }
}
