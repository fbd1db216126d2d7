package quire.tensor.memory;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import org.junit.jupiter.api.Test;

class ReservedMemoryTest {
    private static final long SEVERAL_PAGES = 5 * ReservedMemory.HUGE_PAGE + 100;

    @Test
    void allocate_severalHugePages_isZeroedAlignedAndWritableToItsLastByte() {
        MemorySegment memory;
        try (Arena arena = Arena.ofShared()) {
            memory = ReservedMemory.allocate(arena, SEVERAL_PAGES);

            assertThat(memory.byteSize()).isEqualTo(SEVERAL_PAGES);
            assertThat(memory.address() % ReservedMemory.CACHE_LINE_BYTES).isZero();
            assertThat(isZero(memory)).isTrue();
            memory.fill((byte) 1);
        }
        assertThatThrownBy(() -> memory.get(ValueLayout.JAVA_BYTE, 0)).isInstanceOf(IllegalStateException.class);
    }

    @Test
    void allocate_negativeSize_isRefused() {
        try (Arena arena = Arena.ofShared()) {
            assertThatThrownBy(() -> ReservedMemory.allocate(arena, -1)).isInstanceOf(IllegalArgumentException.class);
        }
    }

    @Test
    void allocate_linux_requestsHugePagesAndCommitsNoneBeforeTheFirstWrite() throws IOException {
        assumeTrue(
                Files.exists(Path.of("/sys/kernel/mm/transparent_hugepage/enabled")),
                "this Linux has no transparent huge pages");
        try (Arena arena = Arena.ofShared()) {
            MemorySegment memory = ReservedMemory.allocate(arena, SEVERAL_PAGES);

            List<String> mapping = mapping(memory.address());

            assertThat(memory.address() % ReservedMemory.HUGE_PAGE).isZero();
            assertThat(mapping).anyMatch(line -> line.startsWith("VmFlags:") && line.contains(" hg"));
            assertThat(mapping).anyMatch(line -> line.matches("Rss: +0 kB"));
        }
    }

    @Test
    void slabs_smallAndLarge_areZeroedAlignedAndApart() {
        try (Slabs slabs = new Slabs()) {
            List<MemorySegment> all = new ArrayList<>();
            for (long bytes : new long[] {1, 64, 0, 65, 3 << 20, 40 << 20, 31 << 20, 31 << 20, 7, 100 << 20, 9}) {
                MemorySegment memory = slabs.allocate(bytes, 64);
                assertThat(memory.byteSize()).isEqualTo(bytes);
                assertThat(memory.address() % 64).isZero();
                if (bytes > 0) {
                    assertThat(isZero(memory)).isTrue(); // so it does not overlap memory that was filled before
                    memory.fill((byte) -1);
                }
                all.add(memory);
            }
            assertThat(all.get(1).address()).isEqualTo(all.get(0).address() + 64); // both are in one slab
        }
    }

    @Test
    void slabs_alignmentAboveACacheLine_isRefused() {
        try (Slabs slabs = new Slabs()) {
            assertThatThrownBy(() -> slabs.allocate(1, 128)).isInstanceOf(IllegalArgumentException.class);
            assertThatThrownBy(() -> slabs.allocate(-1, 8)).isInstanceOf(IllegalArgumentException.class);
        }
    }

    @Test
    void slabs_closed_refuseToAllocate() {
        Slabs slabs = new Slabs();
        MemorySegment memory = slabs.allocate(8, 8);
        slabs.close();

        assertThatThrownBy(() -> memory.get(ValueLayout.JAVA_BYTE, 0)).isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(() -> slabs.allocate(8, 8)).isInstanceOf(IllegalStateException.class);
    }

    private static boolean isZero(MemorySegment memory) {
        for (long at = 0; at < memory.byteSize(); at += Byte.BYTES) {
            if (memory.get(ValueLayout.JAVA_BYTE, at) != 0) {
                return false;
            }
        }
        return true;
    }

    /** Linux's description of the mapping of an address. */
    private static List<String> mapping(long address) throws IOException {
        List<String> found = new ArrayList<>();
        boolean inside = false;
        for (String line : Files.readAllLines(Path.of("/proc/self/smaps"))) {
            if (line.matches("[0-9a-f]+-[0-9a-f]+ .*")) {
                int dash = line.indexOf('-');
                long from = HexFormat.fromHexDigitsToLong(line, 0, dash);
                long to = HexFormat.fromHexDigitsToLong(line, dash + 1, line.indexOf(' '));
                inside = from <= address && address < to;
            }
            if (inside) {
                found.add(line);
            }
        }
        return found;
    }
}
