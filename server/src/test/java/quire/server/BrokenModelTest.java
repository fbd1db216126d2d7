package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import quire.model.format.RandomModels;
import quire.tensor.ElementType;

/** A model whose weights are damaged. */
@Timeout(60)
class BrokenModelTest {
    @TempDir
    private Path folder;

    private Path damaged() {
        RandomModels.Shape shape = RandomModels.Shape.tiny();
        float[] rows = new float[shape.hidden() * RandomModels.VOCABULARY_SIZE];
        Arrays.fill(rows, Float.NaN);
        return RandomModels.writer(shape, ElementType.F32, 3)
                .withoutTensor("token_embd.weight")
                .tensor("token_embd.weight", ElementType.F32, rows, shape.hidden(), RandomModels.VOCABULARY_SIZE)
                .write(folder.resolve("damaged.gguf"));
    }

    @Test
    void completion_modelGivesNoNumbers_saysSoAndCountsIt() throws Exception {
        try (TestServer server = TestServer.builder().model(damaged()).start()) {
            HttpResponse<String> whole = server.post("/v1/completions", "{\"prompt\":\"hi\"}");

            assertThat(whole.statusCode()).isEqualTo(500);
            assertThat(TestServer.error(whole).get("code").stringValue()).isEqualTo("model_error");
            assertThat(whole.body())
                    .contains("The model '" + server.engine.modelName() + "' computed numbers that are not finite");
            assertThat(server.get("/metrics").body()).containsPattern("finished_reason=\"broken_logits\"[^\n]*\\} 1");
            assertThat(server.get("/health/ready").statusCode()).isEqualTo(200);
        }
    }
}
