package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import quire.model.format.FamilyModels;
import quire.server.api.Json;
import quire.tensor.ElementType;
import tools.jackson.databind.JsonNode;

/** A server whose model is an encoder gives vectors and scores, and says why it gives no answers. */
@Timeout(60)
class EncoderServerTest {
    @TempDir
    private Path folder;

    @Test
    void encoder_textsAndChats_getVectorsAndAnErrorThatSaysWhy() throws Exception {
        Path file = FamilyModels.write(folder, "bert", ElementType.Q8_0, 5);
        try (TestServer server = TestServer.builder().model(file).start()) {
            JsonNode vectors = ok(server.post("/v1/embeddings", "{\"input\":[\"ab\",\"abab\",\"ab\"]}"))
                    .get("data");
            assertThat(vectors.get(0).get("embedding").size()).isEqualTo(64);
            assertThat(vectors.get(0).get("embedding")).isEqualTo(vectors.get(2).get("embedding"));
            assertThat(vectors.get(0).get("embedding"))
                    .isNotEqualTo(vectors.get(1).get("embedding"));
            JsonNode ranked = ok(server.post("/v1/rerank", "{\"query\":\"ab\",\"documents\":[\"xyz\",\"ab\"]}"));
            assertThat(ranked.get("results").get(0).get("index").intValue()).isEqualTo(1);
            assertThat(ok(server.post("/api/show", "{}")).get("capabilities").toString())
                    .isEqualTo("[\"embedding\"]");
            HttpResponse<String> refused = server.post("/v1/completions", "{\"prompt\":\"ab\"}");
            assertThat(refused.statusCode()).isEqualTo(400);
            assertThat(TestServer.error(refused).get("message").stringValue()).contains("encoder", "vectors");
        }
    }

    private static JsonNode ok(HttpResponse<String> response) {
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return Json.read(response.body());
    }
}
