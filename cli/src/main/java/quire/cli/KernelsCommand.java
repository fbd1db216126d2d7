package quire.cli;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import quire.tensor.Kernels;

@Command(
        name = "kernels",
        mixinStandardHelpOptions = true,
        description = "Which kernel sets run here, and the machine code that was assembled for this processor.")
final class KernelsCommand implements Callable<Integer> {
    private static final int BYTES_PER_LINE = 16;

    @Parameters(
            arity = "0..1",
            paramLabel = "NAME",
            description =
                    "Print this kernel's code: disassembled where objdump is installed, in hexadecimal otherwise.")
    private @Nullable String kernel;

    @Option(names = "--kernels", paramLabel = "SET", description = "The set to list (default: the one that is used).")
    private @Nullable String set;

    @Override
    public Integer call() throws IOException, InterruptedException {
        Kernels kernels = set == null ? Kernels.best() : Kernels.named(set);
        Map<String, MemorySegment> code = kernels.machineCode();
        if (kernel == null) {
            list(kernels, code);
            return 0;
        }
        MemorySegment chosen = code.get(kernel);
        if (chosen == null) {
            throw new IllegalArgumentException(
                    "the set " + kernels.name() + " has no kernel '" + kernel + "': quire kernels lists them");
        }
        byte[] bytes = chosen.toArray(ValueLayout.JAVA_BYTE);
        if (!disassemble(bytes)) {
            for (int i = 0; i < bytes.length; i += BYTES_PER_LINE) {
                System.out.printf(
                        "%5x:  %s%n",
                        i, HexFormat.ofDelimiter(" ").formatHex(bytes, i, Math.min(bytes.length, i + BYTES_PER_LINE)));
            }
        }
        return 0;
    }

    private static void list(Kernels kernels, Map<String, MemorySegment> code) {
        for (String name : Kernels.names()) {
            String obstacle = Kernels.obstacle(name);
            String state = name.equals(kernels.name())
                    ? "listed below: " + kernels.reason()
                    : obstacle == null ? "runs here" : "cannot run here: " + obstacle;
            System.out.printf("%-12s %s%n", name, state);
        }
        System.out.println();
        if (code.isEmpty()) {
            System.out.println("The compiler makes the code of " + kernels.name() + " while it runs.");
        }
        code.forEach((name, bytes) -> System.out.printf("%-22s %6d bytes%n", name, bytes.byteSize()));
    }

    /** Has objdump print the code; false where there is none. */
    private static boolean disassemble(byte[] bytes) throws IOException, InterruptedException {
        Path file = Files.createTempFile("quire-kernel", ".bin");
        try {
            Files.write(file, bytes);
            Process objdump = new ProcessBuilder(
                            "objdump", "-D", "-b", "binary", "-m", "i386:x86-64", "-M", "intel", file.toString())
                    .redirectErrorStream(true)
                    .start();
            String text = new String(objdump.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            if (objdump.waitFor() != 0) {
                return false;
            }
            text.lines().filter(line -> line.startsWith(" ")).forEach(System.out::println);
            return true;
        } catch (IOException e) {
            return false; // not installed
        } finally {
            Files.deleteIfExists(file);
        }
    }
}
