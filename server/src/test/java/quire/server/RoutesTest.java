package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/** The paths of the server. */
@Timeout(60)
class RoutesTest {
    private static final String BODY = "{\"model\":\"fake\",\"prompt\":\"hi\",\"seed\":1,\"max_tokens\":5,"
            + "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";

    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    @ParameterizedTest
    @ValueSource(strings = {"/completions", "/chat/completions"})
    void post_withoutV1_isTheSame(String path) throws Exception {
        assertThat(TestServer.json(server.post(path, BODY)).get("choices"))
                .isEqualTo(TestServer.json(server.post("/v1" + path, BODY)).get("choices"));
    }

    @ParameterizedTest
    @ValueSource(strings = {"/models", "/models/fake"})
    void get_withoutV1_isTheSame(String path) throws Exception {
        assertThat(server.get(path).body()).isEqualTo(server.get("/v1" + path).body());
        assertThat(server.get(path).statusCode()).isEqualTo(200);
    }

    @Test
    void health_ofAWorkingServer_isOk() throws Exception {
        for (String path : List.of("/health", "/health/live", "/health/ready", "/ping")) {
            assertThat(server.get(path).statusCode()).isEqualTo(200);
            assertThat(server.get(path).body()).isEqualTo("{\"status\":\"ok\"}");
        }
    }

    @Test
    void progress_ofWork_is503WhenItStandsStillForLong() throws Exception {
        AtomicLong nanos = new AtomicLong();
        Semaphore steps = new Semaphore(0);
        try (TestServer busy = TestServer.builder()
                        .healthClock(nanos::get)
                        .onForward(batch -> steps.acquireUninterruptibly())
                        .start();
                Permits _ = () -> steps.release(1000);
                RawClient client = new RawClient(busy)) {
            assertThat(progress(busy, 200)).isZero();
            nanos.addAndGet(Duration.ofHours(9).toNanos()); // nothing to do
            assertThat(progress(busy, 200)).isZero();
            client.send(RawClient.post(
                    "/v1/completions", "{\"prompt\":\"hi\",\"max_tokens\":5,\"ignore_eos\":true,\"stream\":true}"));
            client.lineWith("200 OK"); // it was submitted before
            nanos.addAndGet(Duration.ofHours(9).toNanos());
            assertThat(progress(busy, 200)).isZero(); // nobody has asked since the work came
            nanos.addAndGet(Duration.ofSeconds(301).toNanos());
            assertThat(progress(busy, 503)).isEqualTo(301);
            assertThat(busy.get("/health/live").statusCode()).isEqualTo(200);
            steps.release(1);
            while (busy.engine.stats().steps() == 0) {
                Thread.onSpinWait();
            }
            assertThat(progress(busy, 200)).isZero(); // a step was made
            nanos.addAndGet(Duration.ofMinutes(5).toNanos());
            assertThat(progress(busy, 200)).isEqualTo(300);
            nanos.addAndGet(Duration.ofSeconds(1).toNanos());
            assertThat(progress(busy, 503)).isEqualTo(301);
            steps.release(1000);
            busy.awaitIdle();
            assertThat(progress(busy, 200)).isZero();
        }
    }

    /** How long the only model stands still, in seconds. */
    private static double progress(TestServer server, int status) throws Exception {
        HttpResponse<String> response = server.get("/health/progress");
        assertThat(response.statusCode()).as(response.body()).isEqualTo(status);
        JsonNode body = TestServer.json(response);
        assertThat(body.get("status").stringValue().equals("ok")).isEqualTo(status == 200);
        JsonNode model = body.get("models").get(0);
        assertThat(model.get("model").stringValue()).isEqualTo("fake");
        assertThat(model.get("steps").longValue())
                .isLessThanOrEqualTo(server.engine.stats().steps());
        return model.get("standstill_seconds").doubleValue();
    }

    @Test
    void load_ofRequests_countsThoseThatRunOrWait() throws Exception {
        Semaphore steps = new Semaphore(0);
        try (TestServer busy = TestServer.builder()
                        .maxSequences(1)
                        .onForward(batch -> steps.acquireUninterruptibly())
                        .start();
                Permits _ = () -> steps.release(1000);
                RawClient first = new RawClient(busy);
                RawClient second = new RawClient(busy)) {
            assertThat(busy.get("/load").body()).isEqualTo("{\"server_load\":0}");
            for (RawClient client : List.of(first, second)) {
                client.send(RawClient.post(
                        "/v1/completions", "{\"prompt\":\"hi\",\"max_tokens\":5,\"ignore_eos\":true,\"stream\":true}"));
                client.lineWith("200 OK"); // it was submitted before
            }
            assertThat(busy.get("/load").body()).isEqualTo("{\"server_load\":2}");
        }
    }

    @Test
    void models_withASlashAtTheEnd_isTheList() throws Exception {
        assertThat(server.get("/v1/models/").body())
                .isEqualTo(server.get("/v1/models").body());
    }

    @Test
    void health_withAnApiKey_needsNone() throws Exception {
        ServerConfig config = TestServer.config().apiKey("sesame").build();
        try (TestServer guarded = TestServer.builder().config(config).start()) {
            for (String path : List.of(
                    "/health", "/health/live", "/health/ready", "/health/progress", "/ping", "/load", "/metrics")) {
                assertThat(guarded.get(path).statusCode()).isEqualTo(200);
            }
            for (String path : List.of("/models", "/v1/models", "/nowhere", "/completions")) {
                assertThat(guarded.get(path).statusCode()).isEqualTo(401);
            }
        }
    }
}
