package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import quire.engine.EngineConfig;
import quire.engine.Speculation;
import quire.model.BuiltInModel;
import quire.model.SamplingDefaults;

/**
 * The web page in a browser: {@code src/test/page/page.mjs} drives Debian's Chromium with Playwright. It is skipped where node,
 * npm, Chromium or the package registry is missing. The pictures are in {@code target/page} afterwards; {@code page-engine.png} is that
 * of the README.
 */
@Timeout(300)
class PageInBrowserTest {
    private static final Path SOURCE = Path.of("src/test/page");
    private static final int STEP_NANOS = 5_000_000; // so that an answer without end lasts for the whole test

    private static final String MARKUP = """
            This is **bold**, and a [link](https://example.com/) beside a [trap](javascript:alert(1)).

            * one
            * two

            ```java
            int x = 1 < 2 ? 3 : 4;
            ```

            <img src=x onerror=alert(1)><script>alert(2)</script>
            """;

    private static final String CALL =
            "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}</tool_call>";

    @TempDir
    Path folder;

    private static String answer(String prompt) {
        String last = prompt.substring(prompt.lastIndexOf("<user>"));
        if (last.contains("<tool>rain")) {
            return "It rains in Oslo.";
        }
        return last.contains("markup") ? MARKUP : last.contains("endless") ? "word ".repeat(1600) : CALL;
    }

    private static TestServer server(ServerConfig config) {
        return TestServer.builder()
                .config(config)
                .context(8192)
                .template(ToolsTest.template())
                .script(PageInBrowserTest::answer)
                .onForward(batch -> LockSupport.parkNanos(STEP_NANOS))
                .start();
    }

    @Test
    void page_inABrowser_works() throws Exception {
        String chromium = executable("chromium", "chromium-browser", "google-chrome");
        assumeTrue(chromium != null, "no Chromium on this machine");
        assumeTrue(executable("node") != null && executable("npm") != null, "no node or npm on this machine");
        for (String name : List.of("package.json", "page.mjs")) {
            Files.copy(SOURCE.resolve(name), folder.resolve(name));
        }
        assumeTrue(run("npm", "install", "--no-audit", "--no-fund").rc == 0, "npm cannot install Playwright here");
        Path pictures = Files.createDirectories(Path.of("target/page").toAbsolutePath());
        try (TestServer open = server(TestServer.config().build());
                TestServer locked =
                        server(TestServer.config().apiKeys(List.of("right")).build());
                TestServer tiny = TestServer.builder()
                        .model(BuiltInModel.QUIRE_TINY.path())
                        .speculation(Speculation.auto(null))
                        .start();
                QuireServer two = twoModels()) {
            Outcome outcome = run(
                    "node",
                    "page.mjs",
                    chromium,
                    open.url(),
                    locked.url(),
                    "http://127.0.0.1:" + two.port(),
                    tiny.url(),
                    pictures.toString());

            assertThat(outcome.rc).as(outcome.output).isEqualTo(0);
        }
    }

    /** A server with the built-in model under two names, and room for one of them. */
    private static QuireServer twoModels() {
        EngineConfig config = EngineConfig.builder().maxContext(256).build();
        List<ModelFile> files = Stream.of("story", "tale")
                .map(name ->
                        new ModelFile(name, List.of(), BuiltInModel.QUIRE_TINY.path(), config, SamplingDefaults.NONE))
                .toList();
        long bytes = ModelSet.planned(files.getFirst()).bytes() * 3 / 2;
        QuireServer server = QuireServer.bind(TestServer.config().build(), new ServerMetrics());
        server.serve(
                ModelSet.of(files, bytes, Duration.ZERO, Duration.ofSeconds(100)),
                ServedModels.EngineOpener.OF_FILE,
                Duration.ZERO);
        return server;
    }

    private record Outcome(int rc, String output) {}

    private Outcome run(String... command) throws IOException, InterruptedException {
        Path output = folder.resolve("output.txt");
        Process process = new ProcessBuilder(command)
                .directory(folder.toFile())
                .redirectErrorStream(true)
                .redirectOutput(output.toFile())
                .start();
        try {
            boolean ended = process.waitFor(200, TimeUnit.SECONDS);
            return new Outcome(ended ? process.exitValue() : -1, Files.readString(output, StandardCharsets.UTF_8));
        } finally {
            process.descendants().forEach(ProcessHandle::destroyForcibly);
            process.destroyForcibly();
        }
    }

    /** The first of these programs that is in the path; null if there is none. */
    private static @Nullable String executable(String... names) {
        return Stream.of(names)
                .flatMap(name -> Stream.of(System.getenv("PATH").split(File.pathSeparator, -1))
                        .map(part -> Path.of(part, name)))
                .filter(Files::isExecutable)
                .map(Path::toString)
                .findFirst()
                .orElse(null);
    }
}
