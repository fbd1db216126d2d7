package quire.tensor.machine;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
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

    @Test
    void readBytes_largeCache_memoryIsLarger() {
        assertThat(MachineCeilings.readBytes(32L << 20, 24L << 30)).isEqualTo(256L << 20);
        assertThat(MachineCeilings.readBytes(300L << 20, 256L << 30)).isEqualTo(2304L << 20);
        assertThat(MachineCeilings.readBytes(300L << 20, 24L << 30))
                .as("a sixteenth of the memory")
                .isEqualTo(1536L << 20);
        assertThat(MachineCeilings.readBytes(300L << 20, 1L << 30)).isEqualTo(256L << 20);
        assertThat(MachineCeilings.readBytes(0, 0)).as("nothing is known").isEqualTo(256L << 20);
    }

    @Test
    void lastCacheBytes_asLinuxListsThem_isTheLargest(@TempDir Path folder) throws IOException {
        assertThat(MachineCeilings.lastCacheBytes(folder)).isZero();
        List<String> sizes = List.of("48K", "32K", "2048K", "307200K");
        for (int i = 0; i < sizes.size(); i++) {
            Files.writeString(Files.createDirectory(folder.resolve("index" + i)).resolve("size"), sizes.get(i) + "\n");
        }
        assertThat(MachineCeilings.lastCacheBytes(folder)).isEqualTo(300L << 20);
        Files.writeString(folder.resolve("index3/size"), "unknown\n");
        assertThat(MachineCeilings.lastCacheBytes(folder)).isEqualTo(2L << 20);
    }

    private static void assertPositive(MachineCeilings ceilings) {
        assertThat(ceilings.threads()).isEqualTo(2);
        assertThat(ceilings.readBandwidthBytesPerSecond()).isPositive().isFinite();
        assertThat(ceilings.f32MacsPerSecond()).isPositive().isFinite();
        assertThat(ceilings.int8MacsPerSecond()).isPositive().isFinite();
    }
}
