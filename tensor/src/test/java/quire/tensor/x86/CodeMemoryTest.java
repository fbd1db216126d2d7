package quire.tensor.x86;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import quire.tensor.ChildJvm;

class CodeMemoryTest {
    private static final int PR_SET_MDWE = 65;
    private static final long PR_MDWE_REFUSE_EXEC_GAIN = 1;
    private static final int CODE_BYTES = 32 << 20;
    private static final int TIMES = 8;

    /** Makes Linux refuse executable memory for the rest of the process, and then installs code. */
    public static void main(String[] args) throws Throwable {
        CodeMemory memory = new CodeMemory();
        memory.install("before", zeros(1));
        Linker linker = Linker.nativeLinker();
        MethodHandle prctl = linker.downcallHandle(
                linker.defaultLookup().findOrThrow("prctl"),
                FunctionDescriptor.of(
                        ValueLayout.JAVA_INT,
                        ValueLayout.JAVA_INT,
                        ValueLayout.JAVA_LONG,
                        ValueLayout.JAVA_LONG,
                        ValueLayout.JAVA_LONG,
                        ValueLayout.JAVA_LONG),
                Linker.Option.firstVariadicArg(1));
        if ((int) prctl.invokeExact(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0L, 0L, 0L) != 0) {
            System.out.println("this Linux cannot refuse executable memory");
            return;
        }
        MachineCode code = zeros(CODE_BYTES);
        long before = mappedBytes();
        for (int i = 0; i < TIMES; i++) {
            assertThatExceptionOfType(UnsupportedOperationException.class)
                    .isThrownBy(() -> memory.install("refused", code))
                    .withMessageStartingWith("the operating system refuses executable memory: ");
        }
        assertThat(mappedBytes() - before).isLessThan((long) TIMES / 2 * CODE_BYTES);
        assertThat(memory.functions()).containsOnlyKeys("before");
        System.out.println("no memory is kept");
    }

    private static MachineCode zeros(int bytes) {
        return new MachineCode(MemorySegment.ofArray(new byte[bytes]), bytes);
    }

    private static long mappedBytes() throws IOException {
        String pages = Files.readString(Path.of("/proc/self/statm"));
        return Long.parseLong(pages, 0, pages.indexOf(' '), 10) * 4096;
    }

    @Test
    void install_refused_saysWhyAndKeepsNoMemory() throws IOException, InterruptedException {
        assumeTrue(System.getProperty("os.name").equals("Linux"), "needs a Linux system call");
        assumeTrue(System.getProperty("os.arch").equals("amd64"), "needs x86-64");
        // with these options the JVM reserves all memory for its own code at start, before Linux refuses any
        List<String> options = List.of(
                "-Xint",
                "-Xmx200m",
                "-XX:+UseSerialGC",
                "-XX:-SegmentedCodeCache",
                "-XX:InitialCodeCacheSize=16m",
                "-XX:ReservedCodeCacheSize=16m",
                "--enable-native-access=ALL-UNNAMED");

        String output = ChildJvm.output(options, CodeMemoryTest.class);

        assumeTrue(!output.contains("cannot refuse"), output);
        assertThat(output.lines()).endsWith("no memory is kept");
    }
}
