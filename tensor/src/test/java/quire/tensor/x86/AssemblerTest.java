package quire.tensor.x86;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;
import static quire.tensor.x86.Mem.at;

import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.zip.GZIPInputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Every instruction is what GNU as makes of it; as itself is asked where it is installed, its answers are kept for where not. */
class AssemblerTest {
    private static final String GOLDEN = "instructions.txt.gz";

    @TempDir
    private Path folder;

    @Test
    void instructions_everyForm_areTheStoredBytes() throws IOException {
        List<String> lines = new ArrayList<>();
        for (Listing.Line line : Listing.all()) {
            lines.add(line.code() + " " + line.text());
        }
        try (InputStream golden = AssemblerTest.class.getResourceAsStream(GOLDEN)) {
            assertThat(golden).isNotNull();
            String stored = new String(new GZIPInputStream(golden).readAllBytes(), StandardCharsets.US_ASCII);
            assertThat(lines).isEqualTo(stored.lines().toList());
        }
    }

    @Test
    void instructions_everyForm_areWhatGnuAsWrites() throws IOException, InterruptedException {
        assumeTrue(Files.isExecutable(Path.of("/usr/bin/as")) && Files.isExecutable(Path.of("/usr/bin/objcopy")));
        List<Listing.Line> lines = Listing.all();
        StringBuilder source = new StringBuilder(".intel_syntax noprefix\n");
        for (Listing.Line line : lines) {
            // an instruction's length in front of it, so that both sides can be cut alike
            source.append(".byte 8f - 7f\n7: ").append(line.text()).append("\n8:\n");
        }
        Path text = Files.writeString(folder.resolve("a.s"), source);
        Path object = folder.resolve("a.o");
        Path binary = folder.resolve("a.bin");
        run("/usr/bin/as", "-o", object.toString(), text.toString());
        run("/usr/bin/objcopy", "-O", "binary", "-j", ".text", object.toString(), binary.toString());
        byte[] bytes = Files.readAllBytes(binary);
        int position = 0;
        List<String> different = new ArrayList<>();
        for (Listing.Line line : lines) {
            int length = bytes[position];
            String expected = HexFormat.of().formatHex(bytes, position + 1, position + 1 + length);
            if (!line.code().equals(expected)) {
                different.add(line.text() + ": " + line.code() + ", as says " + expected);
            }
            position += 1 + length;
        }
        assertThat(different).isEmpty();
        assertThat(position).isEqualTo(bytes.length);
    }

    private static void run(String... command) throws IOException, InterruptedException {
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).as(output).isZero();
    }

    @Test
    void code_withLoopAndConstants_runs() throws Throwable {
        CodeMemory memory = memoryOrSkip();
        Assembler a = new Assembler();
        Label next = a.label();
        Label done = a.label();
        a.mov(Gp.RAX, Mem.rip(a.constant(new int[] {1000, 0}, 8)));
        a.bind(next);
        a.cmp(Gp.RSI, 0);
        a.jle(done);
        a.add(Gp.RAX, at(Gp.RDI));
        a.add(Gp.RDI, Long.BYTES);
        a.dec(Gp.RSI);
        a.jmp(next);
        a.bind(done);
        a.ret();
        MethodHandle sum = Linker.nativeLinker()
                .downcallHandle(
                        memory.install(a.finish()),
                        FunctionDescriptor.of(ValueLayout.JAVA_LONG, ValueLayout.ADDRESS, ValueLayout.JAVA_LONG));
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment values = arena.allocateFrom(ValueLayout.JAVA_LONG, 1, 2, 3, 4, 5);
            assertThat((long) sum.invokeExact(values, 5L)).isEqualTo(1015);
            assertThat((long) sum.invokeExact(values, 0L)).isEqualTo(1000);
        }
    }

    @Test
    void processor_asked_saysWhatTheKernelSays() throws IOException {
        Path cpuinfo = Path.of("/proc/cpuinfo");
        assumeTrue(Files.isReadable(cpuinfo));
        String flags =
                Files.readString(cpuinfo)
                                .lines()
                                .filter(line -> line.startsWith("flags"))
                                .findFirst()
                                .orElseThrow() + " ";
        Cpu cpu = Cpu.detect(memoryOrSkip());
        for (Cpu.Feature feature : Cpu.Feature.values()) {
            String name = feature.name().toLowerCase(Locale.ROOT);
            assertThat(cpu.features().contains(feature)).as(name).isEqualTo(flags.contains(" " + name + " "));
        }
        assertThat(cpu.brand()).isNotBlank();
    }

    @Test
    void operands_thatNoEncodingHolds_areRefusedByName() {
        Assembler a = new Assembler();
        assertThatThrownBy(() -> a.vpsignb(Vec.xmm(1), Vec.xmm(2), Vec.xmm(17)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("vpsignb");
        assertThatThrownBy(() -> a.vpshufb(Vec.zmm(1), Vec.zmm(2), at(Gp.RAX).bcast()))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("broadcast");
        assertThatThrownBy(() -> at(Gp.RAX, Gp.RSP, 2)).isInstanceOf(IllegalArgumentException.class);
        a.jmp(a.label());
        assertThatThrownBy(a::finish).isInstanceOf(IllegalStateException.class).hasMessageContaining("never bound");
    }

    private static CodeMemory memoryOrSkip() {
        try {
            return new CodeMemory();
        } catch (UnsupportedOperationException e) {
            assumeTrue(false, String.valueOf(e.getMessage()));
            throw e;
        }
    }
}
