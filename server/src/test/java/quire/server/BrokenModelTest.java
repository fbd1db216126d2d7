package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import quire.engine.FinishReason;
import quire.model.format.RandomModels;
import quire.tensor.ElementType;

/** A model whose weights are finite, but so large that its logits are not. */
@Timeout(60)
class BrokenModelTest {
    @TempDir
    private Path folder;

    private Path damaged() {
        RandomModels.Shape shape = RandomModels.Shape.tiny();
        float[] norm = new float[shape.hidden()];
        Arrays.fill(norm, Float.MAX_VALUE);
        return RandomModels.writer(shape, ElementType.F32, 3)
                .withoutTensor("output_norm.weight")
                .tensor("output_norm.weight", ElementType.F32, norm, shape.hidden())
                .write(folder.resolve("damaged.gguf"));
    }

    @Test
    void completion_modelGivesNoNumbers_saysSoAndCountsIt() throws Exception {
        try (TestServer server = TestServer.builder().model(damaged()).start()) {
            HttpResponse<String> whole = server.post("/v1/completions", "{\"prompt\":\"hi\"}");

            assertThat(whole.statusCode()).isEqualTo(500);
            assertThat(TestServer.error(whole).get("code").stringValue()).isEqualTo("model_error");
            assertThat(whole.headers().firstValue("x-should-retry"))
                    .as("for client libraries")
                    .hasValue("false");
            assertThat(whole.body())
                    .contains("The model '" + server.engine.modelName() + "' computed numbers that are not finite");
            assertThat(server.get("/metrics").body()).containsPattern("finished_reason=\"broken_logits\"[^\n]*\\} 1");
            assertThat(server.get("/health/ready").statusCode()).isEqualTo(200);
        }
    }

    /** LangChain4j sees a failure only by the name of the event; other clients see the field {@code error}. */
    @Test
    void stream_modelGivesNoNumbers_endsWithAnEventNamedError() throws Exception {
        try (TestServer server = TestServer.builder().model(damaged()).start()) {
            for (String path : List.of("/v1/completions", "/v1/chat/completions")) {
                String body =
                        "{\"prompt\":\"hi\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"stream\":true}";
                try (RawClient client = new RawClient(server)) {
                    assertThat(client.send(RawClient.post(path, body))
                                    .response()
                                    .body())
                            .as(path)
                            .contains("event: error\ndata: {\"error\":{")
                            .contains("\"type\":\"model_error\"")
                            .as("opencode tries again after it")
                            .doesNotContain("server_error")
                            .doesNotContain("[DONE]");
                }
            }
        }
    }

    @Test
    void ready_eightBrokenAnswersInARow_isNo() throws Exception {
        try (TestServer server = TestServer.builder().model(damaged()).start()) {
            for (int i = 1; i <= 8; i++) {
                assertThat(server.get("/health/ready").statusCode()).isEqualTo(200);
                server.post("/v1/completions", "{\"prompt\":\"hi\"}");
            }
            HttpResponse<String> ready = server.get("/health/ready");
            assertThat(ready.statusCode()).isEqualTo(503);
            assertThat(ready.body()).contains("the last 8 answers failed");
            assertThat(server.get("/health/live").statusCode()).isEqualTo(200);
            assertThat(server.get("/metrics").body()).containsPattern("quire_broken_answers_in_a_row[^\n]*\\} 8");
        }
    }

    @Test
    void brokenInARow_oneGoodAnswer_isZeroAgain() {
        ServerMetrics metrics = new ServerMetrics();
        metrics.onFinish(FinishReason.BROKEN_LOGITS, 1, 1, 0);
        metrics.onFinish(FinishReason.CANCELLED, 1, 1, 0);
        metrics.onFinish(FinishReason.BROKEN_LOGITS, 1, 1, 0);
        assertThat(metrics.brokenInARow()).isEqualTo(2);
        metrics.onFinish(FinishReason.LENGTH, 1, 1, 1);
        assertThat(metrics.brokenInARow()).isZero();
    }
}
