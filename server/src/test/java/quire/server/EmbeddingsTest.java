package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.openai.models.embeddings.CreateEmbeddingResponse;
import com.openai.models.embeddings.EmbeddingCreateParams;
import dev.langchain4j.data.segment.TextSegment;
import dev.langchain4j.model.openai.OpenAiEmbeddingModel;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.Semaphore;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.engine.Request;
import quire.engine.Scheduling;
import quire.engine.TokenStream;
import quire.model.BuiltInModel;
import quire.model.Pooling;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;

/** Vectors of texts, over OpenAI's and Ollama's API and by their clients, are those of the engine. */
@Timeout(60)
class EmbeddingsTest {
    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    /** The engine's own vector of a text, of length 1. */
    private static List<Float> direct(String text) throws InterruptedException {
        float[] vector = raw(text);
        double length = Math.sqrt(IntStream.range(0, vector.length)
                .mapToDouble(i -> (double) vector[i] * vector[i])
                .sum());
        return IntStream.range(0, vector.length)
                .mapToObj(i -> (float) (vector[i] / length))
                .toList();
    }

    private static float[] raw(String text) throws InterruptedException {
        int[] tokens = server.engine.tokenizer().encode(text, true, true);
        try (TokenStream stream =
                server.engine.submit(Request.forVector(tokens, Pooling.LAST, null, Scheduling.DEFAULT))) {
            assertThat(stream.next()).isNull();
            return stream.vector();
        }
    }

    private static List<Float> floats(JsonNode array) {
        List<Float> numbers = new ArrayList<>();
        array.values().forEach(number -> numbers.add(number.floatValue()));
        return numbers;
    }

    private static JsonNode embeddings(String fields) throws Exception {
        HttpResponse<String> response = server.post("/v1/embeddings", "{" + fields + "}");
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return Json.read(response.body());
    }

    @Test
    void openAiClient_someTexts_getsTheEnginesVectorsInOrder() throws Exception {
        CreateEmbeddingResponse response = server.openAi()
                .embeddings()
                .create(EmbeddingCreateParams.builder()
                        .model(TestServer.MODEL)
                        .inputOfArrayOfStrings(List.of("one", "and two", "one"))
                        .build());
        response.validate();
        assertThat(response.data()).hasSize(3);
        assertThat(response.data().get(0).embedding()).isEqualTo(direct("one"));
        assertThat(response.data().get(1).embedding()).isEqualTo(direct("and two"));
        assertThat(response.data().get(2).embedding()).isEqualTo(direct("one"));
        assertThat(response.data().get(2).index()).isEqualTo(2);
        assertThat(response.model()).isEqualTo(TestServer.MODEL);
        assertThat(response.usage().promptTokens()).isEqualTo(4 + 8 + 4);
        assertThat(response.usage().totalTokens()).isEqualTo(response.usage().promptTokens());
    }

    @Test
    void langChainModel_someTexts_getsTheEnginesVectorsInOrder() throws Exception {
        OpenAiEmbeddingModel model = OpenAiEmbeddingModel.builder()
                .baseUrl(server.url() + "/v1")
                .apiKey("none")
                .maxRetries(0)
                .modelName(TestServer.MODEL)
                .build();
        List<TextSegment> texts = IntStream.range(0, 40)
                .mapToObj(i -> TextSegment.from("text " + i))
                .toList();
        var answer = model.embedAll(texts);
        for (int i = 0; i < texts.size(); i++) {
            assertThat(answer.content().get(i).vectorAsList()).isEqualTo(direct("text " + i));
        }
        assertThat(Objects.requireNonNull(answer.tokenUsage()).inputTokenCount())
                .isPositive();
        assertThat(model.dimension()).isEqualTo(server.engine.vectorWidth());
    }

    @Test
    void base64_ofAText_hasTheSameBits() throws Exception {
        JsonNode data =
                embeddings("\"input\":\"hello\",\"encoding_format\":\"base64\"").get("data");
        ByteBuffer bytes = ByteBuffer.wrap(
                        Base64.getDecoder().decode(data.get(0).get("embedding").stringValue()))
                .order(ByteOrder.LITTLE_ENDIAN);
        List<Float> numbers = new ArrayList<>();
        while (bytes.hasRemaining()) {
            numbers.add(bytes.getFloat());
        }
        assertThat(numbers).isEqualTo(direct("hello"));
    }

    @Test
    void input_ofTokens_isThatOfTheirText() throws Exception {
        int[] tokens = server.engine.tokenizer().encode("hello", true, true);
        String list = IntStream.of(tokens).boxed().toList().toString();
        assertThat(floats(embeddings("\"input\":" + list).get("data").get(0).get("embedding")))
                .isEqualTo(direct("hello"));
        JsonNode two = embeddings("\"input\":[" + list + "," + list + "]").get("data");
        assertThat(two.size()).isEqualTo(2);
        assertThat(floats(two.get(1).get("embedding"))).isEqualTo(direct("hello"));
    }

    @Test
    void dimensions_ofAVector_areItsFirstNumbersOfLengthOne() throws Exception {
        List<Float> whole = direct("hello");
        List<Float> four = floats(embeddings("\"input\":\"hello\",\"dimensions\":4")
                .get("data")
                .get(0)
                .get("embedding"));
        double length = Math.sqrt(
                whole.subList(0, 4).stream().mapToDouble(x -> (double) x * x).sum());
        assertThat(four).hasSize(4);
        for (int i = 0; i < 4; i++) {
            assertThat(four.get(i)).isCloseTo((float) (whole.get(i) / length), within(1e-6f));
        }
    }

    @Test
    void truncatePromptTokens_ofALongText_keepsItsBeginning() throws Exception {
        String longText = "x".repeat(TestServer.CONTEXT);
        assertThat(TestServer.error(server.post("/v1/embeddings", "{\"input\":\"" + longText + "\"}"))
                        .get("code")
                        .stringValue())
                .isEqualTo("context_length_exceeded");
        assertThat(floats(embeddings("\"input\":\"abcdef\",\"truncate_prompt_tokens\":4")
                        .get("data")
                        .get(0)
                        .get("embedding")))
                .isEqualTo(direct("abc"));
        JsonNode cut = embeddings("\"input\":\"" + longText + "\",\"truncate_prompt_tokens\":-1");
        assertThat(cut.get("usage").get("prompt_tokens").intValue()).isEqualTo(TestServer.CONTEXT);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '\0',
            value = {
                "\"input\":[]|input",
                "\"input\":5|input",
                "\"input\":[\"a\",5]|input[1]",
                "\"input\":[[1,2],[99999]]|input[1][0]",
                "\"inputs\":\"a\"|inputs",
                "\"input\":\"a\",\"dimensions\":0|dimensions",
                "\"input\":\"a\",\"dimensions\":99999|dimensions",
                "\"input\":\"a\",\"encoding_format\":\"hex\"|encoding_format",
                "\"input\":\"a\",\"normalize\":false|normalize",
                "\"input\":\"a\",\"input_type\":\"query\"|input_type",
                "\"model\":\"fake\"|input",
            })
    void embeddings_wrongParameter_isNamed(String fields, String parameter) throws Exception {
        HttpResponse<String> response = server.post("/v1/embeddings", "{" + fields + "}");
        assertThat(response.statusCode()).isEqualTo(400);
        assertThat(TestServer.error(response).get("param").stringValue()).isEqualTo(parameter);
    }

    @Test
    void embeddings_moreTextsThanTheQueueHolds_areAllComputed() throws Exception {
        try (TestServer small =
                TestServer.builder().maxSequences(2).maxQueued(3).start()) {
            String texts = String.join(
                    ",",
                    IntStream.range(0, 200).mapToObj(i -> "\"text " + i + "\"").toList());
            JsonNode data = TestServer.json(small.post("/embeddings", "{\"input\":[" + texts + "]}"))
                    .get("data");
            assertThat(data.size()).isEqualTo(200);
            for (int i = 0; i < 200; i += 33) {
                assertThat(floats(data.get(i).get("embedding"))).isEqualTo(direct("text " + i));
            }
            assertThat(small.awaitIdle().usedPages()).isZero();
        }
    }

    @Test
    void embeddings_clientLeaves_freesThePages() throws Exception {
        Semaphore steps = new Semaphore(0);
        try (TestServer busy = TestServer.builder()
                        .maxSequences(2)
                        .onForward(batch -> steps.acquireUninterruptibly())
                        .start();
                Permits _ = () -> steps.release(1 << 20)) {
            String texts = String.join(
                    ",", IntStream.range(0, 100).mapToObj(i -> "\"t" + i + "\"").toList());
            try (RawClient client = new RawClient(busy)) {
                client.send(RawClient.post("/v1/embeddings", "{\"input\":[" + texts + "]}"));
                while (busy.engine.stats().running() == 0) {
                    Thread.onSpinWait();
                }
            }
            steps.release(1 << 10);
            assertThat(busy.awaitIdle().usedPages()).isZero();
        }
    }

    @Test
    void ollama_embed_givesVectorsOfLengthOne() throws Exception {
        JsonNode one = TestServer.json(server.post("/api/embed", "{\"model\":\"fake\",\"input\":\"hello\"}"));
        assertThat(floats(one.get("embeddings").get(0))).isEqualTo(direct("hello"));
        assertThat(one.get("model").stringValue()).isEqualTo("fake");
        assertThat(one.get("prompt_eval_count").intValue()).isEqualTo(6);
        JsonNode two = TestServer.json(
                server.post(
                        "/api/embed",
                        "{\"model\":\"fake:latest\",\"input\":[\"a\",\"b\"],\"options\":{},\"keep_alive\":\"5m\",\"dimensions\":3}"));
        assertThat(two.get("embeddings").size()).isEqualTo(2);
        assertThat(two.get("embeddings").get(1).size()).isEqualTo(3);
        String longText = "x".repeat(TestServer.CONTEXT);
        assertThat(server.post("/api/embed", "{\"model\":\"fake\",\"input\":\"" + longText + "\"}")
                        .statusCode())
                .isEqualTo(200);
        assertThat(server.post("/api/embed", "{\"model\":\"fake\",\"truncate\":false,\"input\":\"" + longText + "\"}")
                        .statusCode())
                .isEqualTo(400);
        assertThat(TestServer.json(server.post("/api/embed", "{\"model\":\"fake\"}"))
                        .get("embeddings")
                        .isEmpty())
                .isTrue();
    }

    @Test
    void ollama_embeddings_givesTheModelsVector() throws Exception {
        float[] raw = raw("hello");
        List<Float> expected =
                IntStream.range(0, raw.length).mapToObj(i -> raw[i]).toList();
        JsonNode answer = TestServer.json(server.post("/api/embeddings", "{\"model\":\"fake\",\"prompt\":\"hello\"}"));
        assertThat(floats(answer.get("embedding"))).isEqualTo(expected);
    }

    @ParameterizedTest
    @ValueSource(strings = {"/v1/embeddings", "/api/embed"})
    void builtInModel_likeTexts_haveSimilarVectors(String path) throws Exception {
        try (TestServer real =
                TestServer.builder().model(BuiltInModel.QUIRE_TINY.path()).start()) {
            String body = "{\"model\":\"" + real.engine.modelName() + "\",\"input\":["
                    + "\"What is the capital of Italy?\",\"What is the capital of France?\",\"7 + 5\"]}";
            JsonNode answer = TestServer.json(real.post(path, body));
            List<List<Float>> vectors = new ArrayList<>();
            JsonNode all = answer.has("data") ? answer.get("data") : answer.get("embeddings");
            all.values().forEach(each -> vectors.add(floats(each.has("embedding") ? each.get("embedding") : each)));
            assertThat(product(vectors.get(0), vectors.get(0))).isCloseTo(1, within(1e-5));
            assertThat(product(vectors.get(0), vectors.get(1))).isGreaterThan(product(vectors.get(0), vectors.get(2)));
        }
    }

    private static double product(List<Float> a, List<Float> b) {
        return IntStream.range(0, a.size())
                .mapToDouble(i -> (double) a.get(i) * b.get(i))
                .sum();
    }
}
