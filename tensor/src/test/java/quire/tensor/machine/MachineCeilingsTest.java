package quire.tensor.machine;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import quire.tensor.Workers;
import quire.tensor.assembled.CeilingCode;
import quire.tensor.assembled.common.Instructions;

class MachineCeilingsTest {
    @Test
    void measure_twoWorkers_everyCeilingIsPositive() {
        try (Workers workers = new Workers(2)) {
            MachineCeilings ceilings = MachineCeilings.measure(workers);
            assertPositive(ceilings);
            Instructions instructions = KernelSets.instructions();
            assertThat(ceilings.int8Path())
                    .isEqualTo(instructions == null ? "int16" : CeilingCode.int8Name(instructions));
        }
    }

    @Test
    void measure_nothingCanBeAssembled_everyCeilingIsPositive() {
        try (Workers workers = new Workers(2)) {
            assertPositive(MachineCeilings.measureVector(workers));
        }
    }

    private static void assertPositive(MachineCeilings ceilings) {
        assertThat(ceilings.threads()).isEqualTo(2);
        assertThat(ceilings.readBandwidthBytesPerSecond()).isPositive().isFinite();
        assertThat(ceilings.f32MacsPerSecond()).isPositive().isFinite();
        assertThat(ceilings.int8MacsPerSecond()).isPositive().isFinite();
    }
}
