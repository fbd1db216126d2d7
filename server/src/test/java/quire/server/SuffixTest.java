package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.engine.ControlTokenizer;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;

/** The text behind a gap, for a model whose vocabulary has tokens for that. */
@Timeout(60)
class SuffixTest {
    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.builder()
                .tokenizer(new ControlTokenizer(List.of("<fim_middle>", "<fim_prefix>", "<fim_suffix>", "<file_sep>")))
                .script(
                        "<fim_middle>",
                        prompt -> prompt.contains("<fim_prefix>int f() {<fim_suffix>}<fim_middle>")
                                ? prompt.contains("<file_sep>a.c\nint a;\n<file_sep>file\n")
                                        ? " return a; "
                                        : " return 5; "
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

    /** Editors ask Ollama for the text of a gap. */
    @Test
    void suffix_overOllama_isBehindTheGap() throws Exception {
        String body = "{\"model\":\"fake\",\"options\":{\"temperature\":0},\"prompt\":\"int f() {\",\"suffix\":\"}\"";
        JsonNode whole = TestServer.json(server.post("/api/generate", body + ",\"stream\":false}"));
        assertThat(whole.get("response").stringValue()).isEqualTo(" return 5; ");
        assertThat(whole.get("prompt_eval_count").intValue()).isEqualTo(1 + 9 + 1 + 3);
        assertThat(whole.get("done_reason").stringValue()).isEqualTo("stop");
        assertThat(OllamaTest.joined(server.post("/api/generate", body + "}").body(), false)
                        .get("response")
                        .stringValue())
                .isEqualTo(" return 5; ");
        try (TestServer plain = TestServer.start()) {
            HttpResponse<String> other = plain.post("/api/generate", body + "}");
            assertThat(other.statusCode()).isEqualTo(400);
            assertThat(other.body()).contains("'suffix'", "no tokens for filling a gap");
        }
    }

    private static HttpResponse<String> infill(String fields) throws Exception {
        return server.post(
                "/infill",
                "{\"temperature\":0,\"n_predict\":60,\"cache_prompt\":true,\"samplers\":[\"top_k\",\"top_p\",\"infill\"],"
                        + "\"t_max_predict_ms\":500,\"n_indent\":0," + fields + "}");
    }

    @Test
    void infill_betweenTwoTexts_isTheTextOfTheGap() throws Exception {
        JsonNode answer = TestServer.json(
                infill("\"input_prefix\":\"int f\",\"prompt\":\"() {\",\"input_suffix\":\"}\",\"input_extra\":[]"));
        assertThat(answer.get("content").stringValue()).isEqualTo(" return 5; ");
        assertThat(answer.get("stop").booleanValue()).isTrue();
        assertThat(answer.get("stop_type").stringValue()).isEqualTo("eos");
        assertThat(answer.get("tokens_evaluated").intValue()).isEqualTo(1 + 9 + 1 + 3);
        assertThat(answer.get("timings").get("predicted_n").intValue())
                .isEqualTo(answer.get("tokens_predicted").intValue());
        JsonNode withFile = TestServer.json(infill(
                "\"input_prefix\":\"int f() {\",\"input_suffix\":\"}\",\"input_extra\":[{\"filename\":\"a.c\",\"text\":\"int"
                        + " a;\"}]"));
        assertThat(withFile.get("content").stringValue()).isEqualTo(" return a; ");
    }

    @Test
    void infill_streamed_hasTheSameText() throws Exception {
        String body = infill("\"stream\":true,\"input_prefix\":\"int f() {\",\"input_suffix\":\"}\"")
                .body();
        StringBuilder text = new StringBuilder();
        JsonNode last = null;
        for (String line : body.lines().toList()) {
            if (line.startsWith("data: {")) {
                last = Json.read(line.substring("data: ".length()));
                text.append(last.get("content").stringValue());
                assertThat(last.get("stop").booleanValue()).isEqualTo(last.has("timings"));
            }
        }
        assertThat(text).hasToString(" return 5; ");
        assertThat(last).isNotNull();
        assertThat(body.stripTrailing()).endsWith("}}");
    }

    /** Other files give way to the texts around the gap and to the answer. */
    @Test
    void infill_moreFilesThanTheContext_keepsTheirEnd() throws Exception {
        String file = "{\"filename\":\"b.c\",\"text\":\"" + "x".repeat(400) + "\"}";
        JsonNode answer =
                TestServer.json(infill("\"input_prefix\":\"int f() {\",\"input_suffix\":\"}\",\"input_extra\":[" + file
                        + "," + file + ",{\"filename\":\"a.c\",\"text\":\"int a;\"}]"));
        assertThat(answer.get("content").stringValue()).isEqualTo(" return a; ");
    }

    @Test
    void infill_malformed_isRefusedByName() throws Exception {
        assertThat(param(infill("\"input_prefix\":\"a\""))).isEqualTo("input_suffix");
        assertThat(param(infill("\"input_prefix\":5,\"input_suffix\":\"\""))).isEqualTo("input_prefix");
        String texts = "\"input_prefix\":\"a\",\"input_suffix\":\"b\"";
        assertThat(param(infill(texts + ",\"input_extra\":[{\"filename\":\"a\"}]")))
                .isEqualTo("input_extra[0].text");
        assertThat(param(infill(texts + ",\"n\":2"))).isEqualTo("n");
        assertThat(param(infill(texts + ",\"suffix\":\"b\""))).isEqualTo("suffix");
        assertThat(param(infill(texts + ",\"logprobs\":1"))).isEqualTo("logprobs");
        assertThat(param(infill(texts + ",\"n_predicted\":1"))).isEqualTo("n_predicted");
        try (TestServer plain = TestServer.start()) {
            assertThat(param(plain.post("/infill", "{" + texts + "}"))).isEqualTo("input_suffix");
        }
    }

    private static String param(HttpResponse<String> response) {
        return TestServer.error(response).get("param").stringValue();
    }
}
