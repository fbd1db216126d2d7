package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.engine.Engine;
import quire.engine.Request;
import quire.engine.Scheduling;
import quire.engine.TokenStream;
import quire.model.Pooling;
import quire.model.Ranking;
import quire.model.format.FamilyModels;
import quire.model.format.GgufWriter;
import quire.server.api.Json;
import quire.tensor.ElementType;
import tools.jackson.databind.JsonNode;

/** Texts are compared by a model that ranks, or by the cosine of vectors. */
@Timeout(60)
class RankTest {
    private static TestServer server;

    @TempDir
    private Path folder;

    @BeforeAll
    static void start() {
        server = TestServer.start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    private static float[] vector(Engine engine, int... tokens) throws InterruptedException {
        try (TokenStream stream =
                engine.submit(Request.forVector(tokens, engine.pooling(), null, Scheduling.DEFAULT))) {
            assertThat(stream.next()).isNull();
            return stream.vector();
        }
    }

    private static double cosine(String a, String b) throws InterruptedException {
        float[] x = vector(server.engine, server.engine.tokenizer().encode(a, true, true));
        float[] y = vector(server.engine, server.engine.tokenizer().encode(b, true, true));
        double xy = 0;
        double xx = 0;
        double yy = 0;
        for (int i = 0; i < x.length; i++) {
            xy += x[i] * y[i];
            xx += x[i] * x[i];
            yy += y[i] * y[i];
        }
        return xy / Math.sqrt(xx * yy);
    }

    private static JsonNode ok(HttpResponse<String> response) {
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return Json.read(response.body());
    }

    @Test
    void rerank_withVectors_sortsByCosine() throws Exception {
        List<String> documents = List.of("a cat", "a dog", "the sea", "a cat");
        JsonNode answer = ok(server.post(
                "/v1/rerank",
                "{\"query\":\"cat\",\"documents\":[\"a cat\",{\"text\":\"a dog\"},\"the sea\",\"a cat\"]}"));
        assertThat(answer.get("results").size()).isEqualTo(4);
        List<Integer> order = new ArrayList<>();
        double before = 2;
        for (JsonNode result : answer.get("results").values()) {
            int index = result.get("index").intValue();
            double score = result.get("relevance_score").doubleValue();
            assertThat(score)
                    .isCloseTo(cosine("cat", documents.get(index)), within(1e-6))
                    .isLessThanOrEqualTo(before);
            assertThat(result.get("document").get("text").stringValue()).isEqualTo(documents.get(index));
            before = score;
            order.add(index);
        }
        assertThat(order).containsExactlyInAnyOrder(0, 1, 2, 3);
        assertThat(order.indexOf(3)).isEqualTo(order.indexOf(0) + 1);
        assertThat(answer.get("usage").get("total_tokens").intValue()).isEqualTo(4 + 6 + 6 + 8 + 6);
        JsonNode best = ok(server.post(
                "/rerank",
                "{\"query\":\"cat\",\"documents\":[\"a\",\"b\",\"c\"],\"top_n\":1,\"return_documents\":false}"));
        assertThat(best.get("results").size()).isEqualTo(1);
        assertThat(best.get("results").get(0).has("document")).isFalse();
    }

    @Test
    void score_withVectors_isTheCosineOfEachPair() throws Exception {
        JsonNode one = ok(server.post("/v1/score", "{\"text_1\":\"cat\",\"text_2\":[\"a cat\",\"cat\"]}"));
        assertThat(one.get("data").get(0).get("score").doubleValue()).isCloseTo(cosine("cat", "a cat"), within(1e-6));
        assertThat(one.get("data").get(1).get("score").doubleValue()).isCloseTo(1, within(1e-9));
        assertThat(one.get("data").get(1).get("index").intValue()).isEqualTo(1);
        JsonNode pairs = ok(server.post("/score", "{\"text_1\":[\"a\",\"b\"],\"text_2\":[\"c\",\"b\"]}"));
        assertThat(pairs.get("data").get(0).get("score").doubleValue()).isCloseTo(cosine("a", "c"), within(1e-6));
        assertThat(pairs.get("data").get(1).get("score").doubleValue()).isCloseTo(1, within(1e-9));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '\0',
            value = {
                "/v1/rerank|\"documents\":[\"a\"]|query",
                "/v1/rerank|\"query\":\"a\"|documents",
                "/v1/rerank|\"query\":\"a\",\"documents\":[]|documents",
                "/v1/rerank|\"query\":\"a\",\"documents\":[\"b\",1]|documents[1]",
                "/v1/rerank|\"query\":\"a\",\"documents\":[{\"txt\":\"b\"}]|documents[0].text",
                "/v1/rerank|\"query\":\"a\",\"documents\":[\"b\"],\"top_n\":-1|top_n",
                "/v1/rerank|\"query\":\"a\",\"documents\":[\"b\"],\"top\":1|top",
                "/v1/score|\"text_1\":\"a\"|text_2",
                "/v1/score|\"text_1\":[\"a\",\"b\"],\"text_2\":[\"a\"]|text_2",
            })
    void compare_wrongParameter_isNamed(String path, String fields, String parameter) throws Exception {
        HttpResponse<String> response = server.post(path, "{" + fields + "}");
        assertThat(response.statusCode()).isEqualTo(400);
        assertThat(TestServer.error(response).get("param").stringValue()).isEqualTo(parameter);
    }

    /** The tokens of both texts, and the score of the first position's vector by a head of its own. */
    @Test
    void rerank_withAnEncoder_isTheScoreOfBothTexts() throws Exception {
        float[] head = new float[64];
        for (int i = 0; i < head.length; i++) {
            head[i] = (i * 37 % 101 - 50) / 100f;
        }
        Path file = FamilyModels.writer("bert", ElementType.F32, 5)
                .without("bert.pooling_type")
                .uint32("bert.pooling_type", 4)
                .uint32("tokenizer.ggml.seperator_token_id", 258)
                .bool("tokenizer.ggml.add_sep_token", true)
                .without("tokenizer.ggml.add_eos_token")
                .bool("tokenizer.ggml.add_eos_token", true)
                .tensor("cls.output.weight", ElementType.F32, head, 64, 1)
                .write(folder.resolve("encoder.gguf"));
        try (TestServer ranks = TestServer.builder().model(file).start()) {
            JsonNode answer = ok(ranks.post("/v1/rerank", "{\"query\":\"one\",\"documents\":[\"two\"]}"));
            int bos = ranks.engine.tokenizer().bos().orElseThrow();
            int eos = ranks.engine.tokenizer().eos().orElseThrow();
            int[] one = ranks.engine.tokenizer().encode("one", false, false);
            int[] two = ranks.engine.tokenizer().encode("two", false, false);
            int[] tokens = Stream.of(new int[] {bos}, one, new int[] {eos, 258}, two, new int[] {eos})
                    .flatMapToInt(Arrays::stream)
                    .toArray();
            try (TokenStream stream =
                    ranks.engine.submit(Request.forVector(tokens, Pooling.FIRST, null, Scheduling.DEFAULT))) {
                assertThat(stream.next()).isNull();
                double sum = 0;
                for (int i = 0; i < head.length; i++) {
                    sum += (double) head[i] * stream.vector()[i];
                }
                assertThat(answer.get("results").get(0).get("relevance_score").doubleValue())
                        .isEqualTo(1 / (1 + StrictMath.exp(-sum)));
            }
        }
    }

    private GgufWriter rankingModel() {
        float[] head = new float[128];
        for (int i = 0; i < head.length; i++) {
            head[i] = (i * 37 % 101 - 50) / 100f;
        }
        return FamilyModels.writer("qwen3", ElementType.F32, 5)
                .uint32("qwen3.pooling_type", 4)
                .tensor("cls.output.weight", ElementType.F32, head, 64, 2);
    }

    @Test
    void rerank_withARankingModel_isTheScoreOfItsPrompt() throws Exception {
        Path file = rankingModel()
                .string("tokenizer.chat_template.rerank", "Q: {query} D: {document} A:")
                .write(folder.resolve("ranking.gguf"));
        try (TestServer ranks = TestServer.builder().model(file).start()) {
            Ranking ranking = Objects.requireNonNull(ranks.engine.ranking());
            JsonNode answer =
                    ok(ranks.post("/v1/rerank", "{\"query\":\"one\",\"documents\":[\"two\",\"{query}\",\"three\"]}"));
            List<String> prompts = List.of("Q: one D: two A:", "Q: one D: {query} A:", "Q: one D: three A:");
            for (JsonNode result : answer.get("results").values()) {
                int[] tokens = ranks.engine
                        .tokenizer()
                        .encode(prompts.get(result.get("index").intValue()), false, true);
                double score = ranking.score(vector(ranks.engine, tokens));
                assertThat(result.get("relevance_score").doubleValue())
                        .isEqualTo(score)
                        .isBetween(0.0, 1.0);
            }
            JsonNode score = ok(ranks.post("/v1/score", "{\"text_1\":\"one\",\"text_2\":\"two\"}"));
            for (JsonNode result : answer.get("results").values()) {
                if (result.get("index").intValue() == 0) {
                    assertThat(score.get("data").get(0).get("score")).isEqualTo(result.get("relevance_score"));
                }
            }
            assertThat(TestServer.error(ranks.post("/v1/embeddings", "{\"input\":\"one\"}"))
                            .get("message")
                            .stringValue())
                    .contains("/v1/rerank");
        }
    }

    @Test
    void rerank_withARankingModelWithoutTemplate_saysWhatIsMissing() throws Exception {
        Path file = rankingModel().write(folder.resolve("ranking.gguf"));
        try (TestServer ranks = TestServer.builder().model(file).start()) {
            assertThat(ranks.engine.pooling()).isEqualTo(Pooling.RANK);
            HttpResponse<String> response = ranks.post("/v1/rerank", "{\"query\":\"a\",\"documents\":[\"b\"]}");
            assertThat(response.statusCode()).isEqualTo(400);
            assertThat(TestServer.error(response).get("message").stringValue())
                    .contains("tokenizer.chat_template.rerank");
        }
    }
}
