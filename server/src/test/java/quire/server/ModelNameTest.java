package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.net.http.HttpResponse;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/** The answer contains the model name of the request; without one, the name of the served model. */
@Timeout(60)
class ModelNameTest {
    private static final String REST =
            "\"prompt\":\"hi\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]," + "\"max_tokens\":2,\"seed\":1}";

    @ParameterizedTest
    @ValueSource(strings = {"/v1/completions", "/v1/chat/completions"})
    void alias_askedFor_isTheNameInTheAnswer(String path) throws Exception {
        try (TestServer server = start("gpt-4o", "my/model")) {
            for (String name : List.of("gpt-4o", "my/model", "fake")) {
                String body = "{\"model\":\"" + name + "\"," + REST;
                assertThat(model(server.post(path, body))).isEqualTo(name);
                String stream = server.post(path, body.replace("\"seed\"", "\"stream\":true,\"seed\""))
                        .body();
                assertThat(stream).contains("\"model\":\"" + name + "\"");
                assertThat(TestServer.json(server.get("/v1/models/" + name))
                                .get("id")
                                .stringValue())
                        .isEqualTo(name);
            }
            assertThat(server.post(path, "{\"model\":\"gpt-4\"," + REST).statusCode())
                    .isEqualTo(404);
            assertThat(ids(server)).containsExactly("fake", "gpt-4o", "my/model");
        }
    }

    @Test
    void alias_star_acceptsEveryName() throws Exception {
        try (TestServer server = start("*", "other")) {
            assertThat(model(server.post("/v1/completions", "{\"model\":\"claude-x\"," + REST)))
                    .isEqualTo("claude-x");
            assertThat(server.get("/v1/models/claude-x").statusCode()).isEqualTo(200);
            assertThat(ids(server)).containsExactly("fake", "other");
            HttpResponse<String> tooLong =
                    server.post("/v1/completions", "{\"model\":\"" + "x".repeat(10_000) + "\"," + REST);
            assertThat(tooLong.statusCode()).isEqualTo(404);
            assertThat(tooLong.body()).hasSizeLessThan(1000);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "\"model\":null,", "\"model\":\"\","})
    void model_absent_isTheOneServed(String field) throws Exception {
        try (TestServer server = start("other")) {
            assertThat(model(server.post("/v1/completions", "{" + field + REST)))
                    .isEqualTo("fake");
            assertThat(model(server.post("/v1/chat/completions", "{" + field + REST)))
                    .isEqualTo("fake");
            assertThat(server.post("/tokenize", "{" + field + "\"prompt\":\"hi\"}")
                            .statusCode())
                    .isEqualTo(200);
            assertThat(server.post("/detokenize", "{" + field + "\"tokens\":[70]}")
                            .statusCode())
                    .isEqualTo(200);
        }
        ServerConfig strict = TestServer.config().modelRequired(true).build();
        try (TestServer server = TestServer.builder().config(strict).start()) {
            for (String path : List.of("/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize")) {
                HttpResponse<String> response = server.post(path, "{" + field + REST);
                assertThat(response.statusCode()).isEqualTo(400);
                assertThat(TestServer.error(response).get("param").stringValue())
                        .isEqualTo("model");
                assertThat(TestServer.error(response).get("code").stringValue())
                        .isEqualTo("missing_required_parameter");
            }
        }
    }

    @Test
    void alias_empty_isRefusedAtStart() {
        assertThatThrownBy(() -> ServerConfig.builder().aliases(List.of(" ")).build())
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("alias");
    }

    private static TestServer start(String... aliases) {
        return TestServer.builder()
                .config(TestServer.config().aliases(List.of(aliases)).build())
                .start();
    }

    private static String model(HttpResponse<String> response) {
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return TestServer.json(response).get("model").stringValue();
    }

    private static List<String> ids(TestServer server) throws Exception {
        List<String> ids = new java.util.ArrayList<>();
        for (JsonNode entry :
                TestServer.json(server.get("/v1/models")).get("data").values()) {
            ids.add(entry.get("id").stringValue());
        }
        return ids;
    }
}
