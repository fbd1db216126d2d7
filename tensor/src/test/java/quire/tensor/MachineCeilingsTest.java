package quire.tensor;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import quire.tensor.AssembledCode.Instructions;

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

    /** What this machine runs runs in its loops; what it does not can at least be encoded. */
    @ParameterizedTest
    @EnumSource(Instructions.class)
    void loops_anyInstructions_areEncoded(Instructions instructions) {
        assertThat(CeilingCode.all(instructions)).hasSize(5).allSatisfy((name, code) -> assertThat(code.constantsAt())
                .as(name)
                .isPositive());
    }

    private static void assertPositive(MachineCeilings ceilings) {
        assertThat(ceilings.threads()).isEqualTo(2);
        assertThat(ceilings.readBandwidthBytesPerSecond()).isPositive().isFinite();
        assertThat(ceilings.f32MacsPerSecond()).isPositive().isFinite();
        assertThat(ceilings.int8MacsPerSecond()).isPositive().isFinite();
    }
}
