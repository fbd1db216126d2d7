package quire.cli.command;

import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;
import quire.cli.option.KernelsOption;
import quire.tensor.Kernels;
import quire.tensor.machine.KernelSets;

/** Lists kernel sets and prints their machine code. */
@Command(
        name = "kernels",
        mixinStandardHelpOptions = true,
        description = "List the kernel sets that run here, and the kernels that were assembled for this processor.")
public final class KernelsCommand implements Callable<Integer> {
    private static final int BYTES_PER_LINE = 16;

    @Parameters(
            arity = "0..1",
            paramLabel = "NAME",
            description =
                    "Print the code of this kernel and its constants: disassembled where objdump is installed, else in hexadecimal.")
    private @Nullable String kernel;

    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Option(names = "--kernels", paramLabel = "SET", description = "The set to list (default: the one in use).")
    private @Nullable String set;

    @Override
    public Integer call() throws IOException, InterruptedException {
        if (set != null) {
            KernelsOption.check(set, command.commandLine());
        }
        Kernels kernels = set == null ? KernelSets.best() : KernelSets.named(set);
        Map<String, Kernels.Assembly> code = kernels.machineCode();
        if (kernel == null) {
            list(kernels, code);
            return 0;
        }
        Kernels.Assembly chosen = code.get(kernel);
        if (chosen == null) {
            throw new IllegalArgumentException(
                    "the set " + kernels.name() + " has no kernel '" + kernel + "': quire kernels lists them");
        }
        byte[] instructions = chosen.instructions().toArray(ValueLayout.JAVA_BYTE);
        if (!disassemble(instructions)) {
            print(instructions, 0);
        }
        if (chosen.constants().byteSize() > 0) {
            System.out.println("constants:");
            print(chosen.constants().toArray(ValueLayout.JAVA_BYTE), instructions.length);
        }
        return 0;
    }

    private static void print(byte[] bytes, int address) {
        for (int i = 0; i < bytes.length; i += BYTES_PER_LINE) {
            int end = Math.min(bytes.length, i + BYTES_PER_LINE);
            String line = HexFormat.ofDelimiter(" ").formatHex(bytes, i, end);
            System.out.printf("%8x:\t%s%n", address + i, line);
        }
    }

    private static void list(Kernels kernels, Map<String, Kernels.Assembly> code) {
        for (String name : KernelSets.names()) {
            String obstacle = KernelSets.obstacle(name);
            String state = obstacle == null ? "runs here" : "cannot run here: " + obstacle;
            if (name.equals(kernels.name())) {
                state = "listed below: " + kernels.reason();
            } else if (obstacle != null && obstacle.contains("--add-modules")) {
                state = "not loaded: the launcher loads it for --kernels " + name + "; without the launcher, "
                        + obstacle;
            }
            System.out.printf("%-12s %s%n", name, state);
        }
        System.out.println();
        if (code.isEmpty()) {
            System.out.println("The set " + kernels.name()
                    + " has no assembled code: the JIT compiler compiles it while it runs.");
        }
        int width = code.keySet().stream().mapToInt(String::length).max().orElse(0);
        code.forEach((name, parts) -> {
            long bytes = parts.instructions().byteSize() + parts.constants().byteSize();
            System.out.printf("%s%s %6d bytes%n", name, " ".repeat(width - name.length()), bytes);
        });
    }

    /** Prints the instructions with objdump; false if objdump is not installed. */
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
            return false; // objdump is not installed
        } finally {
            Files.deleteIfExists(file);
        }
    }
}
