package quire.tensor.assembled;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import quire.tensor.KvLayout;
import quire.tensor.assembled.common.Instructions;

class MachineCodeAccessTest {
    /** A line of Linux's list of mappings: {@code from-to r-xp …}. */
    private record Mapping(long from, long to, String access) {
        static List<Mapping> all() throws IOException {
            List<Mapping> all = new ArrayList<>();
            for (String line : Files.readAllLines(Path.of("/proc/self/maps"))) {
                int dash = line.indexOf('-');
                int space = line.indexOf(' ');
                all.add(new Mapping(
                        HexFormat.fromHexDigitsToLong(line, 0, dash),
                        HexFormat.fromHexDigitsToLong(line, dash + 1, space),
                        line.substring(space + 1, space + 5)));
            }
            return all;
        }

        boolean meets(MemorySegment code) {
            return from < code.address() + code.byteSize() && code.address() < to;
        }
    }

    /** Code can be assembled on every x86-64 machine, also if it does not run there. */
    @ParameterizedTest
    @EnumSource
    void machineCode_everyFunction_canBeRunAndNotWritten(Instructions instructions) throws IOException {
        assumeTrue(System.getProperty("os.name").equals("Linux"), "reads Linux's list of mappings");
        assumeTrue(System.getProperty("os.arch").equals("amd64"), "this processor has no machine code here");
        AssembledKernels kernels = new AssembledKernels(instructions, "under test");
        try (Arena arena = Arena.ofShared()) {
            kernels.attentionScratch(new KvLayout(KvLayout.KvType.Q8_0, 16, 2, 20), 4, arena);
        }

        Map<String, MemorySegment> nameToCode = new TreeMap<>();
        kernels.machineCode().forEach((name, code) -> {
            if (code.instructions().isNative()) { // the other functions are listed but not installed
                nameToCode.put(name, code.instructions());
            }
        });

        List<Mapping> mappings = Mapping.all();
        assertThat(nameToCode).containsKeys("quantize", "rms-norm", "store-q8_0", "attend-q8_0-4-of-20-over-2-x1");
        assertThat(nameToCode).allSatisfy((name, code) -> assertThat(
                        mappings.stream().filter(mapping -> mapping.meets(code)).map(Mapping::access))
                .isNotEmpty()
                .containsOnly("r-xp"));
    }
}
