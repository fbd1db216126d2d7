package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.engine.ControlTokenizer;
import tools.jackson.databind.JsonNode;

/** The text behind a gap, for a model whose vocabulary has tokens for that. */
@Timeout(60)
class SuffixTest {
    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.builder()
                .tokenizer(new ControlTokenizer(List.of("<fim_middle>", "<fim_prefix>", "<fim_suffix>")))
                .script(
                        "<fim_middle>",
                        prompt -> prompt.contains("<fim_prefix>int f() {<fim_suffix>}<fim_middle>")
                                ? " return 5; "
                                : "unexpected " + prompt)
                .start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    private static HttpResponse<String> post(String fields) throws Exception {
        return server.post("/v1/completions", "{\"temperature\":0,\"max_tokens\":60," + fields + "}");
    }

    @Test
    void suffix_ofAText_isBehindTheGap() throws Exception {
        for (String prompt : List.of("\"int f() {\"", "[\"int f() {\"]")) {
            HttpResponse<String> response = post("\"prompt\":" + prompt + ",\"suffix\":\"}\"");
            assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
            JsonNode answer = TestServer.json(response);
            assertThat(answer.get("choices").get(0).get("text").stringValue()).isEqualTo(" return 5; ");
            // BOS, the text on both sides, and three tokens around it
            assertThat(answer.get("usage").get("prompt_tokens").intValue()).isEqualTo(1 + 9 + 1 + 3);
        }
    }

    @Test
    void suffix_withEchoOrAModelWithoutTheTokens_isRefused() throws Exception {
        JsonNode error = TestServer.error(post("\"prompt\":\"a\",\"suffix\":\"b\",\"echo\":true"));
        assertThat(error.get("param").stringValue()).isEqualTo("echo");
        assertThat(TestServer.error(post("\"prompt\":\"a\",\"suffix\":5"))
                        .get("param")
                        .stringValue())
                .isEqualTo("suffix");
        try (TestServer plain = TestServer.start()) {
            JsonNode other = TestServer.error(plain.post("/v1/completions", "{\"prompt\":\"a\",\"suffix\":\"b\"}"));
            assertThat(other.get("param").stringValue()).isEqualTo("suffix");
            assertThat(other.get("message").stringValue()).contains("no tokens for filling a gap");
        }
    }
}
