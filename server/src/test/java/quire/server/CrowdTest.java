package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.engine.EngineStats;
import quire.model.Batch;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;

/** One third of 200 simultaneous clients disconnect before the end. The answers of the others do not change. */
@Timeout(1_200) // the nightly run has more rounds
class CrowdTest {
    private static final int CLIENTS = 200;

    /** The nightly run has more. */
    private static final int ROUNDS = Integer.getInteger("quire.rounds", 1);

    private static final double DISCONNECTING = 67; // 1, 4, 7 … 199
    private static final int TOKENS = 60;
    private static final int LONG_TOKENS = 480;

    /**
     * A position that only answers to disconnecting clients reach. All requests run together, so when one has reached it,
     * the others have ended, and each disconnecting client was sent what it waits for.
     */
    private static final int LATE_POSITION = 300;

    private volatile @Nullable TestServer crowded;

    /**
     * Begins only when all requests are there. Waits before a late position until the server has seen that all clients have
     * left.
     */
    private void hold(Batch batch) {
        TestServer server = crowded;
        if (server == null) {
            return;
        }
        while (server.engine.stats().started() < 2L * CLIENTS) {
            Thread.onSpinWait();
        }
        boolean late =
                Arrays.stream(batch.positions(), 0, batch.rows()).anyMatch(position -> position >= LATE_POSITION);
        while (late && server.server.openConnections() > 1) {
            Thread.onSpinWait(); // one is left: the kept-alive connection of the first loop
        }
    }

    @Test
    void clients_aThirdDisconnecting_changeNoOtherTextAndLeaveNoPages() throws Exception {
        for (int round = 0; round < ROUNDS; round++) {
            crowded = null;
            crowd();
        }
    }

    private void crowd() throws Exception {
        try (TestServer server =
                TestServer.builder().maxSequences(CLIENTS).onForward(this::hold).start()) {
            List<String> alone = new ArrayList<>();
            for (int i = 0; i < CLIENTS; i++) {
                JsonNode answer = TestServer.json(server.post("/v1/completions", body(i, TOKENS, false)));
                alone.add(answer.get("choices").get(0).get("text").stringValue());
            }
            crowded = server;
            List<Future<String>> texts = new ArrayList<>();
            try (ExecutorService clients = Executors.newVirtualThreadPerTaskExecutor()) {
                for (int i = 0; i < CLIENTS; i++) {
                    int number = i;
                    texts.add(clients.submit(() -> stream(server, number)));
                }
            }
            for (int i = 0; i < CLIENTS; i++) {
                if (disconnects(i)) {
                    assertThat(alone.get(i)).startsWith(texts.get(i).get());
                } else {
                    assertThat(texts.get(i).get()).as("client " + i).isEqualTo(alone.get(i));
                }
            }

            EngineStats stats = server.awaitIdle();
            assertThat(stats.usedPages()).isZero();
            assertThat(stats.started()).isEqualTo(2L * CLIENTS);
            while (server.server.activeRequests() > 0 || server.server.openConnections() > 1) {
                Thread.onSpinWait();
            }
            Map<String, Double> samples = samples(server.get("/metrics").body());
            String model = "{model_name=\"fake\"";
            assertThat(value(samples, "quire_num_requests_running" + model + "}"))
                    .isZero();
            assertThat(value(samples, "quire_num_requests_waiting" + model + "}"))
                    .isZero();
            assertThat(value(samples, "quire_kv_cache_usage_perc" + model + "}"))
                    .isZero();
            assertThat(value(samples, "quire_request_started_total" + model + "}"))
                    .isEqualTo(2.0 * CLIENTS);
            double ended = 0;
            for (String reason : List.of("stop", "length", "abort", "error")) {
                ended += value(samples, "quire_request_success_total" + model + ",finished_reason=\"" + reason + "\"}");
            }
            assertThat(ended).isEqualTo(2.0 * CLIENTS);
            assertThat(value(samples, "quire_request_success_total" + model + ",finished_reason=\"error\"}"))
                    .isZero();
            assertThat(value(samples, "quire_request_success_total" + model + ",finished_reason=\"abort\"}"))
                    .isEqualTo(DISCONNECTING);
            assertThat(value(samples, "quire_e2e_request_latency_seconds_count" + model + "}"))
                    .isEqualTo(ended);
            assertThat(value(samples, "quire_e2e_request_latency_seconds_bucket" + model + ",le=\"+Inf\"}"))
                    .isEqualTo(ended);
            assertThat(value(samples, "quire_request_generation_tokens_sum" + model + "}"))
                    .isEqualTo(value(samples, "quire_generation_tokens_total" + model + "}"));
        }
    }

    @Test
    void scrapes_whileRequestsRun_alwaysAddUp() throws Exception {
        try (TestServer server = TestServer.builder().maxSequences(4).start();
                ExecutorService clients = Executors.newVirtualThreadPerTaskExecutor()) {
            for (int i = 0; i < 40; i++) {
                int number = i;
                Future<String> _ = clients.submit(() -> stream(server, number));
            }
            String model = "{model_name=\"fake\"";
            double ended = 0;
            while (ended < 40) {
                Map<String, Double> samples = samples(server.get("/metrics").body());
                ended = 0;
                for (String reason : List.of("stop", "length", "abort", "error")) {
                    ended += value(
                            samples, "quire_request_success_total" + model + ",finished_reason=\"" + reason + "\"}");
                }
                assertThat(value(samples, "quire_request_started_total" + model + "}"))
                        .isEqualTo(ended
                                + value(samples, "quire_num_requests_running" + model + "}")
                                + value(samples, "quire_num_requests_waiting" + model + "}"));
            }
        }
    }

    private static boolean disconnects(int client) {
        return client % 3 == 1;
    }

    private static String body(int client, int tokens, boolean stream) {
        return "{\"model\":\"fake\",\"prompt\":\"client " + client + "\",\"seed\":" + client + ",\"max_tokens\":"
                + tokens + ",\"ignore_eos\":true,\"temperature\":" + client % 3 + ",\"stream\":" + stream + "}";
    }

    /** The text of a stream; only the beginning for a client that disconnects. */
    private static String stream(TestServer server, int client) throws IOException {
        StringBuilder text = new StringBuilder();
        RawClient raw = new RawClient(server);
        raw.send(RawClient.post("/v1/completions", body(client, disconnects(client) ? LONG_TOKENS : TOKENS, true)));
        for (int events = 0; ; events++) {
            String line = raw.lineWith("data: ");
            if (line.equals("data: [DONE]")) {
                break;
            }
            text.append(Json.read(line.substring("data: ".length()))
                    .get("choices")
                    .get(0)
                    .get("text")
                    .stringValue());
            if (disconnects(client) && events == client % 10) {
                if (client % 2 == 0) {
                    raw.reset();
                }
                break;
            }
        }
        raw.close();
        return text.toString();
    }

    private static double value(Map<String, Double> samples, String sample) {
        return Objects.requireNonNull(samples.get(sample), sample);
    }

    /** Sample to value; also checks the syntax of the text format. */
    private static Map<String, Double> samples(String scrape) {
        Map<String, Double> samples = new TreeMap<>();
        assertThat(scrape).endsWith("\n");
        for (String line : scrape.lines().toList()) {
            if (line.startsWith("#")) {
                assertThat(line).matches("# (HELP [a-z0-9_:]+ .+|TYPE [a-z0-9_:]+ (counter|gauge|histogram))");
            } else {
                assertThat(line)
                        .matches(
                                line.matches("(http|process)_.*")
                                        ? "[a-z0-9_:]+(\\{[a-z_]+=\"[^\"]+\"(,[a-z_]+=\"[^\"]+\")*})? [0-9.E+-]+"
                                        : "[a-z0-9_:]+\\{(engine=\"0\",)?model_name=\"fake\"(,[a-z_]+=\"[^\"]*\")*} [0-9.E+-]+");
                int space = line.lastIndexOf(' ');
                assertThat(samples.put(line.substring(0, space), Double.valueOf(line.substring(space + 1))))
                        .as("one value for each sample")
                        .isNull();
            }
        }
        return samples;
    }
}
