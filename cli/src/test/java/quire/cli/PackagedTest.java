package quire.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import quire.tensor.machine.KernelSets;

/** Runs the packaged jars with Java, without the launcher. Maven runs this test after it has packaged them. */
class PackagedTest {
    private static final Path LIB = Path.of("target/lib").toAbsolutePath();
    private static final Path JAVA = Path.of(System.getProperty("java.home"), "bin", "java");
    private static final String CLASS_PATH = LIB + "/*";
    private static final String VECTOR_MODULE = "--add-modules jdk.incubator.vector";

    private static final List<String> THREE_TOKENS =
            List.of("generate", "--prompt", "Once upon a time", "--max-tokens", "3", "--temperature", "0");

    @TempDir
    private Path folder;

    private record Result(int code, String out, String err) {}

    @BeforeEach
    void assumePackaged() {
        assumeTrue(Files.isDirectory(LIB), "not packaged yet");
    }

    @Test
    void generate_noJavaOptions_isWhatTheSpecificationSays() throws Exception {
        assumeTrue(KernelSets.obstacle("avx2") == null, "the Vector API computes here, which takes an option");

        Result result = quire(List.of(), THREE_TOKENS);

        assertThat(result.code).as(result.err).isZero();
        assertThat(result.out).isNotBlank().isEqualTo(quire(List.of(), with("--kernels", "scalar")).out);
        assertThat(result.err).doesNotContain("incubator", "slowest");
    }

    @Test
    void generate_jar_callsNativeCodeWithoutAWarning() throws Exception {
        String jar;
        try (var files = Files.newDirectoryStream(LIB, "quire-cli-*.jar")) {
            jar = files.iterator().next().toString();
        }
        List<String> command = new ArrayList<>(List.of(JAVA.toString(), "-jar", jar));
        command.addAll(THREE_TOKENS);

        Result result = run(command);

        assertThat(result.code).as(result.err).isZero();
        assertThat(result.out).isNotBlank();
        assertThat(result.err).doesNotContain("WARNING");
    }

    @Test
    void generate_vectorKernelsWithoutTheirModule_namesTheOption() throws Exception {
        Result result = quire(List.of(), with("--kernels", "vector"));

        assertThat(result.code).isEqualTo(2);
        assertThat(result.err).contains("the vector kernels cannot run here: start Java with " + VECTOR_MODULE);
    }

    @Test
    void generate_vectorKernelsWithTheirModule_isWhatTheSpecificationSays() throws Exception {
        Result result = quire(List.of(VECTOR_MODULE.split(" ")), with("--kernels", "vector"));

        assertThat(result.code).as(result.err).isZero();
        assertThat(result.out).isEqualTo(quire(List.of(), with("--kernels", "scalar")).out);
    }

    @Test
    void kernels_noJavaOptions_listsTheVectorApiAsNotLoaded() throws Exception {
        Result result = quire(List.of(), List.of("kernels"));

        assertThat(result.code).as(result.err).isZero();
        assertThat(result.out).contains("not loaded: the launcher loads it for --kernels vector", VECTOR_MODULE);
    }

    @Test
    void tokenize_textTheLocaleCannotSay_isRefusedNamingTheVariable() throws Exception {
        assumeTrue(System.getProperty("os.name").equals("Linux"), "elsewhere Java reads UTF-8 under any locale");
        String script = "LC_ALL=$0 exec \"$@\" \"$(printf 'Zo\\303\\253')\""; // whatever the locale of this test
        List<String> command = List.of(
                JAVA.toString(), "-cp", CLASS_PATH, "quire.cli.Quire", "generate", "--max-tokens", "1", "--prompt");
        List<String> refused = new ArrayList<>(List.of("sh", "-c", script, "C"));
        refused.addAll(command);
        List<String> taken = new ArrayList<>(List.of("sh", "-c", script, "C.UTF-8"));
        taken.addAll(command);

        Result result = run(refused);

        assertThat(result.code).isEqualTo(2);
        assertThat(result.err).contains("the locale's character set", "set LC_ALL=C.UTF-8");
        assertThat(run(taken).code).isZero();
    }

    private static List<String> with(String... options) {
        List<String> arguments = new ArrayList<>(THREE_TOKENS);
        arguments.addAll(List.of(options));
        return arguments;
    }

    private Result quire(List<String> options, List<String> arguments) throws IOException, InterruptedException {
        List<String> command = new ArrayList<>(List.of(JAVA.toString()));
        command.addAll(options);
        command.addAll(List.of("-cp", CLASS_PATH, "quire.cli.Quire"));
        command.addAll(arguments);
        return run(command);
    }

    private Result run(List<String> command) throws IOException, InterruptedException {
        Path errors = folder.resolve("errors");
        ProcessBuilder builder = new ProcessBuilder(command).redirectError(errors.toFile());
        Map<String, String> environment = builder.environment();
        environment.remove("JDK_JAVA_OPTIONS");
        environment.remove("JAVA_TOOL_OPTIONS");
        Process process = builder.start();
        String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        return new Result(process.waitFor(), out, Files.readString(errors));
    }
}
