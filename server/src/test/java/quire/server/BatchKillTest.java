package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;

/** A server is killed at random moments, or cannot write its database, while it answers a batch; a last one ends it. */
@Timeout(value = 1_800, threadMode = Timeout.ThreadMode.SEPARATE_THREAD) // reading from a process is not interruptible
class BatchKillTest {
    /** The nightly run has more. */
    private static final int KILLS = Integer.getInteger("quire.kills", 2);

    private static final int LINES = Integer.getInteger("quire.lines", 60);

    @TempDir
    private Path folder;

    /**
     * Steps that a process computes at most. All of them together compute less than the batch needs: its tokens divided by
     * the sequences that run at a time.
     */
    private static final int MAX_STEPS = LINES * 15 / 4 / (KILLS + 1);

    /** A server with a fake model that prints its port, then a line for each step, until it is killed. */
    static final class Victim {
        private Victim() {}

        /** Runs with the folder of batches and a number of steps as arguments. */
        public static void main(String[] arguments) {
            int most = Integer.parseInt(arguments[1]);
            AtomicInteger steps = new AtomicInteger();
            TestServer server = TestServer.builder()
                    .maxSequences(4)
                    .config(TestServer.config().batches(Path.of(arguments[0])).build())
                    .onForward(batch -> {
                        System.out.println("step " + steps.incrementAndGet());
                        if (steps.get() == most) {
                            waitForever();
                        }
                    })
                    .start();
            System.out.println("port " + server.server.port());
            waitForever();
        }

        private static void waitForever() {
            try {
                new CountDownLatch(1).await();
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }
    }

    private static String lines() {
        StringBuilder lines = new StringBuilder();
        for (int i = 0; i < LINES; i++) {
            lines.append(BatchesTest.line(
                    "request-" + i,
                    "{\"prompt\":\"question " + i + "\",\"max_tokens\":" + (1 + i * 7 % 30)
                            + ",\"ignore_eos\":true,\"seed\":" + i + ",\"temperature\":1}"));
        }
        return lines.toString();
    }

    /** Sends the file and makes a batch of it; returns its id. */
    private static String create(HttpClient http, String address) throws IOException, InterruptedException {
        String form = "--XX\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n"
                + "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n\r\n" + lines()
                + "\r\n--XX--\r\n";
        String file = send(http, address + "/v1/files", "multipart/form-data; boundary=XX", form)
                .get("id")
                .stringValue();
        return send(
                        http,
                        address + "/v1/batches",
                        "application/json",
                        "{\"input_file_id\":\"" + file
                                + "\",\"endpoint\":\"/v1/completions\",\"completion_window\":\"24h\"}")
                .get("id")
                .stringValue();
    }

    private static JsonNode send(HttpClient http, String url, String type, String body)
            throws IOException, InterruptedException {
        HttpResponse<String> response = http.send(
                HttpRequest.newBuilder(URI.create(url))
                        .header("Content-Type", type)
                        .POST(HttpRequest.BodyPublishers.ofString(body))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return Json.read(response.body());
    }

    private static HttpResponse<String> ask(HttpClient http, String url) throws IOException, InterruptedException {
        return http.send(HttpRequest.newBuilder(URI.create(url)).build(), HttpResponse.BodyHandlers.ofString());
    }

    private static String get(HttpClient http, String url) throws IOException, InterruptedException {
        HttpResponse<String> response = ask(http, url);
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return response.body();
    }

    /** Waits until the batch is complete, and returns the text of each answer by its custom_id. */
    private static Map<String, String> answers(HttpClient http, String address, String batchId)
            throws IOException, InterruptedException {
        JsonNode batch = Json.read(get(http, address + "/v1/batches/" + batchId));
        while (!batch.get("status").stringValue().equals("completed")) {
            assertThat(batch.get("status").stringValue()).isIn("validating", "in_progress", "finalizing");
            batch = Json.read(get(http, address + "/v1/batches/" + batchId));
        }
        assertThat(batch.at("/request_counts/completed").intValue()).isEqualTo(LINES);
        Map<String, String> answers = new HashMap<>();
        String file = batch.get("output_file_id").stringValue();
        for (String line :
                get(http, address + "/v1/files/" + file + "/content").lines().toList()) {
            JsonNode answer = Json.read(line);
            assertThat(answer.at("/response/status_code").intValue()).as(line).isEqualTo(200);
            String text = answer.at("/response/body/choices/0/text").stringValue();
            assertThat(answers.put(answer.get("custom_id").stringValue(), text)).isNull();
        }
        return answers;
    }

    @Test
    void kill_whileABatchIsAnswered_eachLineOnceAndAsWithoutKills() throws Exception {
        Map<String, String> expected;
        try (HttpClient http = HttpClient.newHttpClient()) {
            try (TestServer undisturbed = TestServer.builder()
                    .config(TestServer.config()
                            .batches(folder.resolve("undisturbed"))
                            .build())
                    .start()) {
                expected = answers(http, undisturbed.url(), create(http, undisturbed.url()));
                assertThat(expected).hasSize(LINES);
            }
            Path killed = folder.resolve("killed");
            SplittableRandom random = new SplittableRandom(1);
            String batch = null;
            for (int kill = 0; kill < KILLS; kill++) {
                Process victim = start(killed, MAX_STEPS);
                try (BufferedReader lines = victim.inputReader(StandardCharsets.UTF_8)) {
                    String port = line(lines, "port ");
                    if (batch == null) {
                        batch = create(http, "http://127.0.0.1:" + port.substring(5));
                    }
                    int steps = 1 + random.nextInt(MAX_STEPS);
                    line(lines, "step " + steps);
                } finally {
                    victim.destroyForcibly().waitFor(); // SIGKILL
                }
            }
            try (TestServer last = TestServer.builder()
                    .config(TestServer.config().batches(killed).build())
                    .start()) {
                assertThat(answers(http, last.url(), String.valueOf(batch))).isEqualTo(expected);
            }
        }
    }

    /** The system lets no file of the process grow beyond a size, so the database meets an error in the middle of a batch. */
    @Test
    @EnabledOnOs(OS.LINUX)
    void databaseThatCannotBeWritten_isToldAndLosesNothing() throws Exception {
        Path full = folder.resolve("full");
        String batch;
        try (HttpClient http = HttpClient.newHttpClient()) {
            Process server = start(full, Integer.MAX_VALUE, "bash", "-c", "ulimit -f 128; exec \"$@\"", "limited");
            try (BufferedReader lines = server.inputReader(StandardCharsets.UTF_8)) {
                String address = "http://127.0.0.1:" + line(lines, "port ").substring(5);
                Thread reader =
                        Thread.ofVirtual().start(() -> lines.lines().forEach(line -> {})); // else its pipe is full
                batch = create(http, address);
                String path = "/v1/batches/" + batch;
                HttpResponse<String> response = ask(http, address + path);
                while (response.statusCode() == 200) {
                    assertThat(Json.read(response.body()).get("status").stringValue())
                            .isIn("validating", "in_progress");
                    response = ask(http, address + path);
                }
                for (String each : List.of(path, "/v1/batches", "/v1/files")) {
                    response = ask(http, address + each);
                    assertThat(response.statusCode()).as(response.body()).isEqualTo(507);
                    assertThat(response.body())
                            .contains("insufficient_storage", "batches.db", "no result that was stored is lost");
                }
                JsonNode answer = send(
                        http,
                        address + "/v1/completions",
                        "application/json",
                        "{\"prompt\":\"live\",\"max_tokens\":9,\"ignore_eos\":true}");
                assertThat(answer.at("/usage/completion_tokens").intValue()).isEqualTo(9);
                assertThat(get(http, address + "/health")).contains("ok");
                server.destroyForcibly().waitFor();
                reader.join();
            } finally {
                server.destroyForcibly();
            }
            try (TestServer last = TestServer.builder()
                    .config(TestServer.config().batches(full).build())
                    .start()) {
                assertThat(answers(http, last.url(), batch)).hasSize(LINES);
                assertThat(last.get("/metrics").body())
                        .as("results of the server before are kept")
                        .doesNotContain("quire_batch_requests_answered_total{model_name=\"fake\"} " + LINES);
            }
        }
    }

    private static String line(BufferedReader lines, String begin) throws IOException {
        StringBuilder before = new StringBuilder();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            if (line.startsWith(begin)) {
                return line;
            }
            before.append(line).append('\n');
        }
        throw new IOException("no line with '" + begin + "' in:\n" + before);
    }

    private static Process start(Path folder, int steps, String... before) throws IOException {
        List<String> command = new ArrayList<>(List.of(before));
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(ManagementFactory.getRuntimeMXBean().getInputArguments());
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), Victim.class.getName()));
        command.addAll(List.of(folder.toString(), Integer.toString(steps)));
        return new ProcessBuilder(command).redirectErrorStream(true).start();
    }
}
