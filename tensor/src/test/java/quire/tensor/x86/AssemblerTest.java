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
import org.assertj.core.api.ThrowableAssert;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Compares every instruction with GNU as. Its output is stored, for machines where it is not installed. */
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
        assumeTrue(Binutils.present());
        List<Listing.Line> lines = Listing.all();
        List<String> codes =
                Binutils.assemble(lines.stream().map(Listing.Line::text).toList(), folder);
        List<String> different = new ArrayList<>();
        for (int i = 0; i < codes.size(); i++) {
            Listing.Line line = lines.get(i);
            if (!line.code().equals(codes.get(i))) {
                different.add(line.text() + ": " + line.code() + ", as says " + codes.get(i));
            }
        }
        assertThat(different).isEmpty();
    }

    @Test
    void instructions_everyForm_areReadByObjdump() throws IOException, InterruptedException {
        assumeTrue(Binutils.present());
        List<String> codes = Listing.all().stream().map(Listing.Line::code).toList();
        List<Binutils.Instruction> read = Binutils.disassemble(HexFormat.of().parseHex(String.join("", codes)), folder);
        assertThat(read.stream().map(Binutils.Instruction::code)).containsExactlyElementsOf(codes);
        assertThat(read.stream().map(Binutils.Instruction::text)).noneMatch(text -> text.contains("(bad)"));
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
                        memory.install("sum", a.finish()),
                        FunctionDescriptor.of(ValueLayout.JAVA_LONG, ValueLayout.ADDRESS, ValueLayout.JAVA_LONG));
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment values = arena.allocateFrom(ValueLayout.JAVA_LONG, 1, 2, 3, 4, 5);
            assertThat((long) sum.invokeExact(values, 5L)).isEqualTo(1015);
            assertThat((long) sum.invokeExact(values, 0L)).isEqualTo(1000);
        }
    }

    @Test
    void detect_linux_hasTheFeaturesThatTheKernelLists() throws IOException {
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
    void operands_withoutEncoding_areRefusedByName() {
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

    @Test
    void operands_ofUnsupportedWidths_areRefusedByName() {
        Assembler a = new Assembler();
        Mem mem = at(Gp.RAX);
        refuses("vpermd", () -> a.vpermd(Vec.xmm(1), Vec.xmm(2), Vec.xmm(3)));
        refuses("vbroadcasti128", () -> a.vbroadcasti128(Vec.xmm(1), mem));
        refuses("vbroadcasti32x4", () -> a.vbroadcasti32x4(Vec.xmm(1), mem));
        refuses("vextracti128", () -> a.vextracti128(mem, Vec.xmm(1), 0));
        refuses("vextracti32x4", () -> a.vextracti32x4(mem, Vec.xmm(1), 0));
        refuses("vextracti64x4", () -> a.vextracti64x4(mem, Vec.ymm(1), 0));
        refuses("vinserti128", () -> a.vinserti128(Vec.xmm(1), Vec.xmm(2), Vec.xmm(3), 0));
        refuses("vmaskmovps", () -> a.vmaskmovps(Vec.zmm(1), Vec.zmm(2), mem));
        // operands of different widths
        refuses("vaddps", () -> a.vaddps(Vec.ymm(1), Vec.xmm(2), Vec.ymm(3)));
        refuses("vaddps", () -> a.vaddps(Vec.ymm(1), Vec.ymm(2), Vec.xmm(3)));
        refuses("vmovups", () -> a.vmovups(Vec.zmm(1), Vec.ymm(2)));
        refuses("vcmpps", () -> a.vcmpps(Mask.K1, Vec.zmm(1), Vec.ymm(2), 5));
        refuses("vblendvps", () -> a.vblendvps(Vec.ymm(1), Vec.ymm(2), Vec.ymm(3), Vec.xmm(4)));
        refuses("vblendvps", () -> a.vblendvps(Vec.ymm(1), Vec.ymm(2), Vec.ymm(3), Vec.ymm(16)));
        refuses("vpshiftd", () -> a.vpslld(Vec.ymm(1), Vec.xmm(2), 3));
        // instructions whose source and target always have different widths
        refuses("vpmovsxbd", () -> a.vpmovsxbd(Vec.zmm(1), Vec.zmm(2)));
        refuses("vcvtph2ps", () -> a.vcvtph2ps(Vec.zmm(1), Vec.xmm(2)));
        refuses("vcvtps2ph", () -> a.vcvtps2ph(Vec.xmm(1), Vec.zmm(2), 0));
        assertThat(a.finish().bytes().byteSize()).isZero();
    }

    private static void refuses(String name, ThrowableAssert.ThrowingCallable instruction) {
        assertThatThrownBy(instruction)
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageStartingWith(name);
    }

    @Test
    void constants_afterTheCode_areSeparateFromInstructions() {
        Assembler a = new Assembler();
        a.vmovups(Vec.xmm(0), Mem.rip(a.constant(new int[] {1, 2, 3, 4}, 16)));
        a.ret();
        MachineCode code = a.finish();
        assertThat(code.instructions().byteSize()).isEqualTo(code.constantsAt()).isEqualTo(9);
        assertThat(HexFormat.of().formatHex(code.constants().toArray(ValueLayout.JAVA_BYTE)))
                .isEqualTo("cc".repeat(7) + "01000000020000000300000004000000");
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
