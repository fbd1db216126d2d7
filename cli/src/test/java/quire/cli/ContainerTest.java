package quire.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.abort;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Runs the packaged server with the launcher's options in a memory cgroup of Linux, which is what limits a container. Maven
 * runs this test after it has packaged the jars. Only root may make a cgroup.
 */
@Timeout(value = 120, threadMode = Timeout.ThreadMode.SEPARATE_THREAD) // reading from a process is not interruptible
class ContainerTest {
    private static final Path LIB = Path.of("target/lib").toAbsolutePath();
    private static final Path JAVA_OPTIONS = Path.of("../bin/java-options").toAbsolutePath();
    private static final Path JAVA = Path.of(System.getProperty("java.home"), "bin", "java");
    private static final Path CGROUPS = Path.of("/sys/fs/cgroup");

    /** More than the server answers at once, so that its memory is as full as its plan allows. */
    private static final int REQUESTS = 100;

    @TempDir
    private Path folder;

    /** Whether the cgroups have version 1, else 2. */
    private final boolean first = Files.isDirectory(CGROUPS.resolve("memory"));

    private final Path group = CGROUPS.resolve(
            (first ? "memory/" : "") + "quire-test-" + ProcessHandle.current().pid());

    @BeforeEach
    void makeGroup() {
        assumeTrue(Files.isDirectory(LIB), "not packaged yet");
        try {
            Files.createDirectory(group);
        } catch (IOException e) {
            abort("this user cannot make a memory cgroup: " + e);
        }
        assumeTrue(Files.isWritable(limit()), "this system's cgroups do not limit memory");
    }

    private Path limit() {
        return group.resolve(first ? "memory.limit_in_bytes" : "memory.max");
    }

    @AfterEach
    void removeGroup() throws IOException {
        Files.deleteIfExists(group);
    }

    @ParameterizedTest
    @ValueSource(ints = {512, 1536})
    void serve_limitOfMemory_answersManyAtOnceWithinIt(int mebibytes) throws Exception {
        Files.writeString(limit(), Long.toString((long) mebibytes << 20));
        List<String> command = new ArrayList<>(List.of("sh", "-c", "echo $$ >\"$0\" && exec \"$@\""));
        command.add(group.resolve("cgroup.procs").toString());
        command.addAll(List.of(JAVA.toString(), "@" + JAVA_OPTIONS, "-cp", LIB + "/*", "quire.cli.Quire"));
        command.addAll(List.of("serve", "--port", "0"));
        Path errors = folder.resolve("errors");
        Process process =
                new ProcessBuilder(command).redirectError(errors.toFile()).start();
        try (BufferedReader out = process.inputReader(StandardCharsets.UTF_8);
                HttpClient client = HttpClient.newHttpClient()) {
            String line = out.readLine();
            while (line != null && !line.contains("http://")) {
                line = out.readLine();
            }
            assertThat(line).as(Files.readString(errors)).isNotNull();
            String url = line.replaceFirst(".*(http://[^/ ]*).*", "$1");

            assertThat(answers(client, url)).containsOnly(200);
            assertThat(kills()).isZero();
        } finally {
            process.destroyForcibly().waitFor();
        }
    }

    /** Statuses of long answers that are asked for at once. */
    private static List<Integer> answers(HttpClient client, String url) {
        String body = "{\"prompt\":\"" + "Once upon a time. ".repeat(40) + "\",\"max_tokens\":100,\"ignore_eos\":true}";
        HttpRequest request = HttpRequest.newBuilder(URI.create(url + "/v1/completions"))
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
        List<CompletableFuture<Integer>> answers = new ArrayList<>();
        for (int i = 0; i < REQUESTS; i++) {
            answers.add(client.sendAsync(request, HttpResponse.BodyHandlers.ofString())
                    .thenApply(HttpResponse::statusCode));
        }
        return answers.stream().map(CompletableFuture::join).toList();
    }

    /** How often the system ended a process because the group's memory was used up. */
    private long kills() throws IOException {
        return Files.readAllLines(group.resolve(first ? "memory.oom_control" : "memory.events")).stream()
                .filter(line -> line.startsWith("oom_kill "))
                .mapToLong(line -> Long.parseLong(line.substring("oom_kill ".length())))
                .sum();
    }
}
