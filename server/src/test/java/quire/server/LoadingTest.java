package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.engine.Speculation;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;

/** A server that listens while its model is loaded. */
@Timeout(60)
class LoadingTest {
    private static final String BODY = "{\"prompt\":\"hi\",\"max_tokens\":1,\"messages\":[]}";

    private final ServerMetrics metrics = new ServerMetrics();
    private final HttpClient http = HttpClient.newHttpClient();
    private QuireServer server;

    @BeforeEach
    void bind() {
        server = QuireServer.bind(TestServer.config().build(), metrics);
    }

    @AfterEach
    void close() {
        server.close();
        http.close();
    }

    private HttpRequest.Builder request(String path) {
        return HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + server.port() + path));
    }

    private HttpResponse<String> send(HttpRequest.Builder request) throws IOException, InterruptedException {
        return http.send(request.build(), HttpResponse.BodyHandlers.ofString());
    }

    private HttpResponse<String> post(String path) throws IOException, InterruptedException {
        return send(request(path)
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(BODY)));
    }

    private static Engine engine(ServerMetrics metrics) {
        EngineConfig config = EngineConfig.builder()
                .maxSequences(1)
                .maxBatchedTokens(16)
                .speculation(Speculation.off())
                .build();
        FakeModel model = FakeModel.fitting(config, 64);
        return Engine.of(model, new FakeTokenizer(), null, "fake", config, metrics, System::nanoTime);
    }

    @ParameterizedTest
    @ValueSource(strings = {"/v1/completions", "/v1/chat/completions", "/chat/completions", "/tokenize", "/detokenize"})
    void post_whileLoading_isToldHowFarTheModelIs(String path) throws Exception {
        metrics.onLoad("a model", 439, 1000);

        assertLoading(post(path));
    }

    @ParameterizedTest
    @ValueSource(strings = {"/v1/models", "/models/fake", "/metrics"})
    void get_whileLoading_isToldHowFarTheModelIs(String path) throws Exception {
        metrics.onLoad("a model", 439, 1000);

        assertLoading(send(request(path)));
    }

    private static void assertLoading(HttpResponse<String> response) {
        assertThat(response.statusCode()).isEqualTo(503);
        assertThat(response.headers().firstValue("retry-after")).isPresent();
        JsonNode error = Json.read(response.body()).get("error");
        assertThat(error.get("code").stringValue()).isEqualTo("service_unavailable");
        assertThat(error.get("message").stringValue())
                .isEqualTo("The model 'a model' is being loaded: 43 % of its weights are ready. Try again later.");
    }

    @Test
    void retrySeconds_ofALoad_areThoseOfTheRest() {
        assertThat(LoadProgress.START.retrySeconds()).isEqualTo(5);
        assertThat(new LoadProgress("m", 100, 1000, 2).retrySeconds()).isEqualTo(18);
        assertThat(new LoadProgress("m", 999, 1000, 2).retrySeconds()).isEqualTo(1);
        assertThat(new LoadProgress("m", 1, 1L << 40, 1e6).retrySeconds()).isEqualTo(Integer.MAX_VALUE);
    }

    @Test
    void request_beforeTheFileIsOpen_isToldSo() throws Exception {
        assertThat(post("/v1/completions").body()).contains("The model is being loaded: its file is being opened.");
    }

    @Test
    void health_whileLoading_isLiveAndNotReady() throws Exception {
        metrics.onLoad("a model", 439, 1000);

        assertThat(send(request("/health/live")).statusCode()).isEqualTo(200);
        for (String path : List.of("/health", "/health/ready")) {
            HttpResponse<String> response = send(request(path));
            assertThat(response.statusCode()).isEqualTo(503);
            assertThat(response.headers().firstValue("retry-after")).isPresent();
            assertThat(response.body())
                    .isEqualTo("{\"status\":\"the model is being loaded\",\"model\":\"a model\",\"loaded_bytes\":439,"
                            + "\"total_bytes\":1000,\"percent\":43}");
        }
    }

    @Test
    void progress_whileLoading_isThatOfTheLoad() throws Exception {
        metrics.onLoad("a model", 439, 1000);

        HttpResponse<String> response = send(request("/health/progress"));
        assertThat(response.statusCode()).isEqualTo(200);
        assertThat(response.body())
                .startsWith("{\"status\":\"the model is being loaded\",\"model\":\"a model\",\"loaded_bytes\":439,"
                        + "\"total_bytes\":1000,\"percent\":43,\"standstill_seconds\":");
    }

    @Test
    void request_whileLoading_isCheckedAsLater() throws Exception {
        try (QuireServer guarded =
                QuireServer.bind(TestServer.config().apiKey("sesame").build(), metrics)) {
            URI models = URI.create("http://127.0.0.1:" + guarded.port() + "/v1/models");
            assertThat(send(HttpRequest.newBuilder(models)).statusCode()).isEqualTo(401);
            assertThat(send(HttpRequest.newBuilder(models).header("Authorization", "Bearer sesame"))
                            .statusCode())
                    .isEqualTo(503);
            assertThat(send(HttpRequest.newBuilder(models).header("Origin", "https://evil.example"))
                            .statusCode())
                    .isEqualTo(403);
        }
        assertThat(send(request("/nowhere")).statusCode()).isEqualTo(404);
        assertThat(send(request("/v1/completions")).statusCode()).isEqualTo(405);
    }

    @Test
    void serve_answersFromThenOn() throws Exception {
        assertThat(send(request("/health/ready")).statusCode()).isEqualTo(503);

        try (Engine engine = engine(metrics)) {
            server.serve(engine);

            assertThat(send(request("/health/ready")).statusCode()).isEqualTo(200);
            assertThat(send(request("/health")).body()).isEqualTo("{\"status\":\"ok\"}");
            assertThat(post("/v1/completions").statusCode()).isEqualTo(200);
            assertThat(send(request("/metrics")).statusCode()).isEqualTo(200);
            server.close();
        }
    }

    @Test
    void close_whileLoading_freesThePort() {
        ServerConfig samePort = TestServer.config().port(server.port()).build();
        assertThatThrownBy(() -> QuireServer.bind(samePort, metrics)).isInstanceOf(UncheckedIOException.class);

        server.close();

        QuireServer.bind(samePort, metrics).close();
    }
}
