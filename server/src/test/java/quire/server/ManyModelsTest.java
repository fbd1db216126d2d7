package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.EngineListener;
import quire.engine.Speculation;
import quire.model.BuiltInModel;
import quire.model.SamplingDefaults;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;

/** A server with two models in a memory that has room for one of them. */
@Timeout(120)
class ManyModelsTest {
    private static final EngineConfig CONFIG = EngineConfig.builder()
            .maxSequences(4)
            .maxBatchedTokens(32)
            .maxContext(128)
            .threads(1)
            .targetTokenGap(Duration.ZERO)
            .speculation(Speculation.off())
            .build();

    private static final Path FILE = BuiltInModel.QUIRE_TINY.path();

    private static final HttpClient HTTP = HttpClient.newHttpClient();
    private static ModelSet set;
    private static QuireServer server;

    @TempDir
    private static Path folder;

    @BeforeAll
    static void start() throws IOException {
        ModelFile story = file("story", List.of("gpt-4o"));
        Path gone = folder.resolve("gone.gguf");
        long bytes = ModelSet.planned(story).bytes();
        set = ModelSet.of(
                List.of(story, file("tale", List.of()), file("gone", List.of(), Files.copy(FILE, gone))),
                bytes * 3 / 2,
                Duration.ZERO,
                Duration.ofSeconds(100));
        Files.delete(gone);
        ServerConfig config =
                TestServer.config().batches(folder.resolve("batches")).build();
        server = QuireServer.bind(config, new ServerMetrics());
        server.serve(set, ServedModels.EngineOpener.OF_FILE, Duration.ZERO);
    }

    @AfterAll
    static void stop() {
        server.close();
        HTTP.close();
        assertThat(Objects.requireNonNull(server.models()).mostUsedBytes())
                .isPositive()
                .isLessThanOrEqualTo(set.memoryBytes());
    }

    private static ModelFile file(String name, List<String> aliases) {
        return file(name, aliases, FILE);
    }

    private static ModelFile file(String name, List<String> aliases, Path file) {
        return new ModelFile(name, aliases, file, CONFIG, SamplingDefaults.NONE);
    }

    private static HttpRequest.Builder request(String path) {
        return HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + server.port() + path));
    }

    private static HttpResponse<String> get(String path) throws IOException, InterruptedException {
        return HTTP.send(request(path).build(), HttpResponse.BodyHandlers.ofString());
    }

    private static HttpResponse<String> post(String path, String body) throws IOException, InterruptedException {
        return HTTP.send(
                request(path).POST(HttpRequest.BodyPublishers.ofString(body)).build(),
                HttpResponse.BodyHandlers.ofString());
    }

    private static String body(String model, int seed) {
        return "{\"prompt\":\"Once upon a time\",\"max_tokens\":20,\"seed\":" + seed + ",\"logprobs\":1,\"model\":\""
                + model + "\"}";
    }

    private static String state(String model) throws IOException, InterruptedException {
        return Json.read(get("/v1/models/" + model).body()).get("state").stringValue();
    }

    @Test
    void requestsForBoth_areServedInTurn_withTheBytesOfAServerWithOne() throws Exception {
        List<JsonNode> alone = new ArrayList<>();
        ServerMetrics metrics = new ServerMetrics();
        try (Engine engine = Engine.open(FILE, CONFIG, metrics);
                QuireServer one = QuireServer.start(
                        engine, TestServer.config().aliases(List.of("*")).build(), metrics)) {
            for (int seed = 0; seed < 6; seed++) {
                URI uri = URI.create("http://127.0.0.1:" + one.port() + "/v1/completions");
                alone.add(choices(HTTP.send(
                        HttpRequest.newBuilder(uri)
                                .POST(HttpRequest.BodyPublishers.ofString(body("x", seed)))
                                .build(),
                        HttpResponse.BodyHandlers.ofString())));
            }
        }
        List<CompletableFuture<HttpResponse<String>>> requests = new ArrayList<>();
        for (int seed = 0; seed < 6; seed++) {
            for (String model : List.of("story", "tale")) {
                requests.add(HTTP.sendAsync(
                        request("/v1/completions")
                                .POST(HttpRequest.BodyPublishers.ofString(body(model, seed)))
                                .build(),
                        HttpResponse.BodyHandlers.ofString()));
            }
        }
        for (int i = 0; i < requests.size(); i++) {
            HttpResponse<String> response = requests.get(i).get();
            assertThat(choices(response)).isEqualTo(alone.get(i / 2));
            assertThat(Json.read(response.body()).get("model").stringValue()).isEqualTo(i % 2 == 0 ? "story" : "tale");
        }
        for (String model : List.of("story", "tale", "story")) {
            assertThat(choices(post("/v1/completions", body(model, 1)))).isEqualTo(alone.get(1));
            assertThat(state(model)).isEqualTo("ready");
        }
        assertThat(state("tale")).isEqualTo("absent");
    }

    private static JsonNode choices(HttpResponse<String> response) {
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return Json.read(response.body()).get("choices");
    }

    @Test
    void names_areFound_andOthersAreNot() throws Exception {
        for (String members : List.of("\"model\":\"gpt-4o:latest\",", "", "\"model\":null,")) {
            HttpResponse<String> response = post(
                    "/v1/completions",
                    "{\"metadata\":{\"model\":\"x\"}," + members + "\"prompt\":\"x\",\"max_tokens\":1}");
            assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
            assertThat(Json.read(response.body()).get("model").stringValue())
                    .isEqualTo(members.contains("gpt") ? "gpt-4o:latest" : "story");
        }
        HttpResponse<String> unknown = post("/v1/chat/completions", body("stori", 1));
        assertThat(unknown.statusCode()).isEqualTo(404);
        assertThat(unknown.body())
                .contains(
                        "The model 'stori' does not exist here; this server has 'story', 'gpt-4o', 'tale', 'gone'. Did you mean"
                                + " 'story'?");
        assertThat(post("/v1/completions", "{\"model\":\"" + "x".repeat(9999) + "\"}")
                        .statusCode())
                .isEqualTo(404);
        assertThat(post("/v1/completions", "{\"model\":7}").statusCode()).isEqualTo(400);
        assertThat(post("/v1/completions", "{\"model\":\"story\"").statusCode()).isEqualTo(400);
        assertThat(post("/v1/messages", "[]").statusCode()).isEqualTo(400);
        assertThat(get("/v1/models/nobody").statusCode()).isEqualTo(404);
    }

    @Test
    void lists_showStatesAndLoadNothing() throws Exception {
        assertThat(post("/api/generate", "{\"model\":\"story\"}").statusCode()).isEqualTo(200);
        JsonNode models = Json.read(get("/v1/models").body()).get("data");
        assertThat(models.values())
                .extracting(model -> model.get("id").stringValue())
                .containsExactly("story", "gpt-4o", "tale", "gone");
        assertThat(models.get(0).get("memory_bytes").longValue()).isPositive();
        assertThat(models.get(2).get("max_model_len").intValue()).isEqualTo(128);
        assertThat(Json.read(get("/api/ps").body()).get("models").values())
                .extracting(model -> model.get("name").stringValue())
                .containsExactly("story");
        assertThat(Json.read(get("/api/tags").body()).get("models").size()).isEqualTo(4);
        JsonNode shown =
                Json.read(post("/api/show", "{\"model\":\"tale:latest\"}").body());
        assertThat(shown.get("capabilities").get(0).stringValue()).isEqualTo("completion");
        assertThat(post("/api/pull", "{\"name\":\"tale\"}").statusCode()).isEqualTo(200);
        assertThat(post("/api/chat", "{\"model\":\"tale\",\"keep_alive\":0}").body())
                .contains("\"unload\"");
        assertThat(state("tale")).isEqualTo("absent");
        assertThat(get("/health").statusCode()).isEqualTo(200);
        assertThat(get("/load").body()).isEqualTo("{\"server_load\":0}");
        assertThat(Json.read(get("/v1/engine").body()).get("model").stringValue())
                .isEqualTo("story");
        assertThat(get("/v1/engine?model=tale").statusCode()).isEqualTo(503);
        String metrics = get("/metrics").body();
        assertThat(metrics)
                .contains("quire_model_state{model_name=\"story\",state=\"ready\"} 1\n")
                .contains("quire_model_state{model_name=\"tale\",state=\"absent\"} 1\n")
                .contains("vllm:num_requests_waiting{engine=\"0\",model_name=\"tale\"} 0.0\n")
                .contains("vllm:engine_sleep_state{engine=\"0\",model_name=\"story\",sleep_state=\"awake\"} 1\n")
                .contains("vllm:engine_sleep_state{engine=\"0\",model_name=\"tale\",sleep_state=\"awake\"} 0\n")
                .contains("vllm:engine_sleep_state{engine=\"0\",model_name=\"tale\",sleep_state=\"discard_all\"} 1\n")
                .contains("vllm:lora_requests_info{engine=\"0\",model_name=\"tale\",max_lora=\"0\"")
                .contains("quire_models_memory_limit_bytes " + (double) set.memoryBytes() + "\n")
                .containsOnlyOnce("# TYPE vllm:num_requests_running gauge\n")
                .contains("quire_http_responses_total{status=\"200\"}");

        assertThat(post("/api/generate", "{\"model\":\"story\",\"keep_alive\":\"0\"}")
                        .body())
                .contains("\"unload\"");
        while (!state("story").equals("absent")) {
            Thread.onSpinWait();
        }
        assertThat(post("/api/chat", "{\"model\":\"tale\",\"keep_alive\":\"soon\"}")
                        .statusCode())
                .isEqualTo(400);
    }

    @Test
    void modelThatCannotBeLoaded_isToldSo_andTheOtherIsServed() throws Exception {
        HttpResponse<String> refused = post("/v1/completions", body("gone", 1));
        assertThat(refused.statusCode()).isEqualTo(503);
        assertThat(refused.headers().firstValue("Retry-After")).isPresent();
        assertThat(refused.body()).contains("The model 'gone' cannot be used: ", "there is no such file");
        assertThat(Json.read(get("/v1/models/gone").body()).get("failure").stringValue())
                .contains("there is no such file");
        HttpResponse<String> shown = post("/api/show", "{\"model\":\"gone\"}");
        assertThat(shown.statusCode()).isEqualTo(503);
        assertThat(shown.body()).contains("there is no such file");
        assertThat(post("/v1/completions", body("story", 1)).statusCode()).isEqualTo(200);
        HttpResponse<String> later = post("/v1/completions", body("gone", 1));
        assertThat(later.body()).contains("tried again for a request after"); // not before
    }

    @Test
    void batch_whoseLinesNameDifferentModels_isAnsweredByEach() throws Exception {
        StringBuilder lines = new StringBuilder();
        for (int i = 0; i < 6; i++) {
            lines.append("{\"custom_id\":\"")
                    .append(i)
                    .append("\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":")
                    .append(body(List.of("story", "tale", "nobody").get(i % 3), i))
                    .append("}\n");
        }
        String form = "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n"
                + "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n" + lines
                + "\r\n--x--\r\n";
        String file = Json.read(HTTP.send(
                                request("/v1/files")
                                        .header("Content-Type", "multipart/form-data; boundary=x")
                                        .POST(HttpRequest.BodyPublishers.ofString(form))
                                        .build(),
                                HttpResponse.BodyHandlers.ofString())
                        .body())
                .get("id")
                .stringValue();
        JsonNode batch = Json.read(post(
                        "/v1/batches",
                        "{\"input_file_id\":\"" + file
                                + "\",\"endpoint\":\"/v1/completions\",\"completion_window\":\"24h\"}")
                .body());
        String id = batch.get("id").stringValue();
        while (!batch.get("status").stringValue().equals("completed")) {
            Thread.onSpinWait();
            batch = Json.read(get("/v1/batches/" + id).body());
        }
        assertThat(batch.get("request_counts").get("completed").intValue()).isEqualTo(4);
        String answers = get("/v1/files/" + batch.get("output_file_id").stringValue() + "/content")
                .body();
        assertThat(answers.lines())
                .hasSize(4)
                .allMatch(line -> line.contains("\"model\":\"story\"") || line.contains("\"model\":\"tale\""));
        assertThat(get("/v1/files/" + batch.get("error_file_id").stringValue() + "/content")
                        .body())
                .contains("The model 'nobody' does not exist here");
    }

    @Test
    void set_thatCannotWork_isRefused() {
        Duration second = Duration.ofSeconds(1);
        ModelFile story = file("story", List.of());
        assertThatThrownBy(() -> ModelSet.of(List.of(), 0, second, second)).hasMessageContaining("no model");
        assertThatThrownBy(() -> ModelSet.of(List.of(story, file("x", List.of("story"))), 0, second, second))
                .hasMessageContaining("two models have the name 'story'");
        assertThatThrownBy(() -> ModelSet.of(List.of(story), 1 << 20, second, second))
                .hasMessageContaining("the model story")
                .hasMessageContaining("choose a smaller one");
        assertThatThrownBy(() -> file("*", List.of())).hasMessageContaining("stands for every name");
    }

    @Test
    void memory_isSharedEvenly_whereAllWeightsFit() {
        Duration second = Duration.ofSeconds(1);
        EngineConfig large = CONFIG.toBuilder().maxSequences(32).build();
        List<ModelFile> files = List.of(
                new ModelFile("a", List.of(), FILE, large, SamplingDefaults.NONE),
                new ModelFile("b", List.of(), FILE, large, SamplingDefaults.NONE));
        ModelSet.Planned alone = ModelSet.planned(files.getFirst());
        long pages = alone.bytes() - alone.bytesWithoutPages();

        ModelSet half = ModelSet.of(files, 2 * alone.bytesWithoutPages() + pages, second, second);
        ModelSet turns = ModelSet.of(files, alone.bytesWithoutPages() * 5 / 4 + pages, second, second);

        assertThat(half.models()).allSatisfy(each -> assertThat(each.bytes() - each.bytesWithoutPages())
                .isBetween(pages / 2 - pages / 10, pages / 2));
        assertThat(half.describe()).contains("all can be loaded at a time");
        assertThat(turns.models())
                .allSatisfy(each -> assertThat(each.bytes()).isLessThanOrEqualTo(turns.memoryBytes()));
        assertThat(Engine.open(FILE, half.models().getFirst().file().config(), EngineListener.NONE))
                .satisfies(engine -> {
                    assertThat(engine.maxContext())
                            .isEqualTo(half.models().getFirst().maxContext());
                    engine.close();
                });
    }
}
