package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.net.http.HttpResponse;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Keys with limits, and keys that change while the server runs. */
@Timeout(60)
class ApiKeysTest {
    private static final String BODY = "{\"model\":\"fake\",\"prompt\":\"The fox.\",\"max_tokens\":2}";

    private static TestServer server(String... keys) {
        return TestServer.builder()
                .config(TestServer.config().apiKeys(List.of(keys)).build())
                .start();
    }

    private static HttpResponse<String> post(TestServer server, String key) throws Exception {
        return server.post("/v1/completions", BODY, "Authorization", "Bearer " + key);
    }

    @Test
    void key_overItsRequestsAMinute_getsStatus429() throws Exception {
        try (TestServer server = server("sk-a name=alice requests-per-minute=2", "sk-b")) {
            assertThat(post(server, "sk-a").statusCode()).isEqualTo(200);
            assertThat(post(server, "sk-a").statusCode()).isEqualTo(200);
            HttpResponse<String> refused = post(server, "sk-a");
            assertThat(refused.statusCode()).isEqualTo(429);
            assertThat(refused.body()).contains("The API key of alice may use 2 requests a minute");
            assertThat(Integer.parseInt(
                            refused.headers().firstValue("Retry-After").orElseThrow()))
                    .isBetween(1, 30);
            assertThat(post(server, "sk-b").statusCode()).as("another key").isEqualTo(200);
            assertThat(server.get("/v1/models", "Authorization", "Bearer sk-a").statusCode())
                    .as("a request without an answer")
                    .isEqualTo(200);
        }
    }

    @Test
    void key_overItsTokensAMinute_getsStatus429() throws Exception {
        try (TestServer server = server("sk-a tokens-per-minute=1")) {
            assertThat(post(server, "sk-a").statusCode()).isEqualTo(200);
            HttpResponse<String> refused = post(server, "sk-a");
            assertThat(refused.statusCode()).isEqualTo(429);
            assertThat(refused.body()).contains("may use 1 tokens a minute");
            // The tokens are paid for after minutes, and clients ignore a header of a minute.
            assertThat(refused.headers().firstValue("Retry-After")).contains("59");
        }
    }

    /** Most clients cannot send a priority, and must not be refused for that. */
    @Test
    void key_withALowestPriorityAboveZero_takesRequestsWithoutOne() throws Exception {
        try (TestServer server = server("sk-a name=alice priority=5")) {
            for (String none : List.of("", ",\"priority\":0", ",\"priority\":null", ",\"priority\":5")) {
                HttpResponse<String> response =
                        server.post("/v1/completions", BODY.replace("}", none + "}"), "Authorization", "Bearer sk-a");
                assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
            }
            HttpResponse<String> refused = server.post(
                    "/v1/completions", BODY.replace("}", ",\"priority\":4}"), "Authorization", "Bearer sk-a");
            assertThat(refused.statusCode()).isEqualTo(400);
            assertThat(refused.body()).contains("'priority' is 4, but the API key of alice allows 5 and more.");
        }
    }

    @Test
    void key_withALowestPriority_refusesLowerNumbers() throws Exception {
        try (TestServer server = server("sk-a name=alice priority=0", "sk-b")) {
            String urgent = BODY.replace("}", ",\"priority\":-1}");
            HttpResponse<String> refused = server.post("/v1/completions", urgent, "Authorization", "Bearer sk-a");
            assertThat(refused.statusCode()).isEqualTo(400);
            assertThat(refused.body()).contains("'priority' is -1, but the API key of alice allows 0 and more.");
            assertThat(server.post("/v1/completions", urgent, "Authorization", "Bearer sk-b")
                            .statusCode())
                    .isEqualTo(200);
            assertThat(post(server, "sk-a").statusCode()).isEqualTo(200);
        }
    }

    @Test
    void setApiKeys_whileTheServerRuns_replacesThemAndKeepsTheCounts() throws Exception {
        try (TestServer server = server("old", "sk-a requests-per-minute=1")) {
            assertThat(post(server, "sk-a").statusCode()).isEqualTo(200);
            server.server.setApiKeys(List.of("new", "sk-a requests-per-minute=1"));
            assertThat(post(server, "old").statusCode()).isEqualTo(401);
            assertThat(post(server, "new").statusCode()).isEqualTo(200);
            assertThat(post(server, "sk-a").statusCode()).isEqualTo(429);

            assertThatIllegalArgumentException()
                    .isThrownBy(() -> server.server.setApiKeys(List.of("x", "y weight=no")))
                    .withMessageContaining("key 2: an API key has weight=no");
            assertThat(post(server, "new").statusCode()).isEqualTo(200);
        }
    }
}
