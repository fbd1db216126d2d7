package quire.tensor.x86;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** GNU as and objdump, as references for machine code. */
public final class Binutils {
    /**
     * An instruction as objdump shows it.
     *
     * @param at offset of its first byte
     * @param code its bytes in hexadecimal
     * @param text in Intel's syntax
     * @param note objdump's comment, such as an address; empty if there is none
     */
    public record Instruction(int at, String code, String text, String note) {}

    private static final Pattern LINE = Pattern.compile("\\s+([0-9a-f]+):\\t([0-9a-f ]+)\\t([^#]*)(?:# (.*))?");

    private Binutils() {}

    public static boolean present() {
        return Stream.of("as", "objcopy", "objdump").allMatch(name -> Files.isExecutable(tool(name)));
    }

    private static Path tool(String name) {
        return Path.of("/usr/bin", name);
    }

    /**
     * The bytes of each instruction in hexadecimal. In a text, {@code 7b} is the start of the instruction and {@code
     * 8f} its end.
     *
     * @param folder an empty folder for its files
     */
    public static List<String> assemble(List<String> texts, Path folder) throws IOException, InterruptedException {
        StringBuilder source = new StringBuilder(".intel_syntax noprefix\n");
        for (String text : texts) {
            // the length of an instruction is before it, so that the output can be divided
            source.append(".byte 8f - 7f\n7: ").append(text).append("\n8:\n");
        }
        Path file = Files.writeString(folder.resolve("a.s"), source);
        Path object = folder.resolve("a.o");
        Path binary = folder.resolve("a.bin");
        run("as", "-o", object.toString(), file.toString());
        run("objcopy", "-O", "binary", "-j", ".text", object.toString(), binary.toString());
        byte[] bytes = Files.readAllBytes(binary);
        List<String> codes = new ArrayList<>();
        for (int at = 0; at < bytes.length; at += 1 + bytes[at]) {
            codes.add(HexFormat.of().formatHex(bytes, at + 1, at + 1 + bytes[at]));
        }
        assertThat(codes).hasSameSizeAs(texts);
        return codes;
    }

    /** The instructions of {@code code} in order. */
    public static List<Instruction> disassemble(byte[] code, Path folder) throws IOException, InterruptedException {
        Path file = Files.write(folder.resolve("d.bin"), code);
        String output = run(
                "objdump",
                "-D",
                "-b",
                "binary",
                "-m",
                "i386:x86-64",
                "-M",
                "intel",
                "--insn-width=16",
                file.toString());
        List<Instruction> instructions = new ArrayList<>();
        for (String line : output.lines().toList()) {
            Matcher matcher = LINE.matcher(line);
            if (matcher.matches()) {
                String note = matcher.group(4);
                instructions.add(new Instruction(
                        Integer.parseInt(matcher.group(1), 16),
                        matcher.group(2).replace(" ", ""),
                        matcher.group(3).strip().replaceAll("\\s+", " "),
                        note == null ? "" : note.strip()));
            }
        }
        return instructions;
    }

    private static String run(String tool, String... arguments) throws IOException, InterruptedException {
        List<String> command = new ArrayList<>(List.of(tool(tool).toString()));
        command.addAll(List.of(arguments));
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).as(output).isZero();
        return output;
    }
}
