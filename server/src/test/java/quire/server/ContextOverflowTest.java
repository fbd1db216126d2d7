package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.model.BuiltInModel;
import tools.jackson.databind.JsonNode;

/**
 * Clients recognise a full context by phrases in the error message, because exceptions and logs contain only the
 * message.
 */
@Timeout(60)
class ContextOverflowTest {
    /** A phrase, and the clients that look for it. */
    private record Phrase(String text, String client) {}

    private static final List<Phrase> PHRASES = List.of(
            new Phrase("maximum context length is 512 tokens", "LibreChat and Qwen Code, which read the limit from it"),
            new Phrase(
                    "reduce the length of the messages", "LangChain JS and pi-ai, to raise an error of its own class"));

    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.builder()
                .config(TestServer.config().strictLimits(true).build())
                .start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    @ParameterizedTest
    @CsvSource({
        "/v1/completions, 600, 5, prompt",
        "/v1/completions, 100, 500, max_tokens",
        "/v1/chat/completions, 600, 5, messages",
        "/v1/chat/completions, 100, 500, max_tokens",
    })
    void error_ofAFullContext_hasThePhrasesThatClientsLookFor(String path, int prompt, int limit, String param)
            throws Exception {
        String text = "x".repeat(prompt);
        for (boolean stream : new boolean[] {false, true}) {
            HttpResponse<String> response = server.post(
                    path,
                    "{\"prompt\":\"" + text + "\",\"messages\":[{\"role\":\"user\",\"content\":\"" + text
                            + "\"}],\"max_tokens\":" + limit + ",\"stream\":" + stream + "}");
            assertThat(response.statusCode()).isEqualTo(400);
            JsonNode error = TestServer.error(response);
            assertThat(error.get("code").stringValue()).isEqualTo("context_length_exceeded");
            assertThat(error.get("param").stringValue()).isEqualTo(param);
            for (Phrase phrase : PHRASES) {
                assertThat(error.get("message").stringValue())
                        .as("for " + phrase.client)
                        .contains(phrase.text);
            }
        }
    }

    /** Counting stops where the context is full, so the errors have the least number that is certain. */
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            /v1/messages  | prompt is too long: 512 tokens > 511 maximum                  | pi-ai and other clients of Anthropic
            /v1/responses | The input exceeds the context window                     | Codex and pi-ai
            /api/chat     | prompt too long; exceeded max context length by 1 tokens | pi-ai
            """)
    void error_ofAFullContext_hasThePhrasesOfItsApi(String path, String phrase, String client) throws Exception {
        String message = "[{\"role\":\"user\",\"content\":\"" + "x".repeat(600) + "\"}]";
        String input = path.equals("/v1/responses") ? "\"input\":" : "\"model\":\"fake\",\"messages\":";
        String limit = path.equals("/v1/messages") ? ",\"max_tokens\":5" : "";
        for (boolean stream : new boolean[] {false, true}) {
            HttpResponse<String> response =
                    server.post(path, "{" + input + message + limit + ",\"stream\":" + stream + "}");
            assertThat(response.statusCode()).as(response.body()).isEqualTo(400);
            JsonNode error = TestServer.error(response);
            assertThat((error.isString() ? error : error.get("message")).stringValue())
                    .as("for " + client)
                    .contains(phrase)
                    .contains(PHRASES.get(0).text)
                    .contains(PHRASES.get(1).text);
        }
    }

    @ParameterizedTest
    @CsvSource({"/v1/completions, 101", "/v1/chat/completions, 117"})
    void answer_withALimitBeyondTheContext_getsTheRoomThatThereIs(String path, int promptTokens) throws Exception {
        String text = "x".repeat(100);
        try (TestServer clamping = TestServer.start()) {
            for (String limit : List.of("\"max_tokens\":32000", "\"max_tokens\":2147483647")) {
                HttpResponse<String> response = clamping.post(
                        path,
                        "{\"prompt\":\"" + text + "\",\"messages\":[{\"role\":\"user\",\"content\":\"" + text
                                + "\"}],\"ignore_eos\":true," + limit + "}");
                assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
                JsonNode answer = TestServer.json(response);
                assertThat(answer.get("choices").get(0).get("finish_reason").stringValue())
                        .isEqualTo("length");
                JsonNode usage = answer.get("usage");
                assertThat(usage.get("prompt_tokens").intValue()).isEqualTo(promptTokens);
                assertThat(usage.get("completion_tokens").intValue()).isEqualTo(TestServer.CONTEXT - promptTokens);
            }
        }
    }

    /** Nothing of this text is encoded, so the exact count is not known. */
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "/v1/responses | {'model':'fake','input':'hi','max_output_tokens':32000} | 'reason':'max_output_tokens'",
                "/v1/messages  | {'model':'fake','max_tokens':32000,'messages':[{'role':'user','content':'hi'}]}"
                        + " | 'stop_reason':'max_tokens'",
                "/api/chat     | {'model':'fake','stream':false,'options':{'num_predict':32000},'messages':["
                        + "{'role':'user','content':'hi'}]} | 'done_reason':'length'",
            },
            quoteCharacter = '"')
    void answer_withALimitBeyondTheContext_isCutOffInEachApi(String path, String body, String end) throws Exception {
        try (TestServer clamping = TestServer.builder()
                .script(prompt -> "x".repeat(TestServer.CONTEXT))
                .start()) {
            HttpResponse<String> response = clamping.post(path, body.replace('\'', '"'));
            assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
            assertThat(response.body()).contains(end.replace('\'', '"'));
        }
    }

    @ParameterizedTest
    @CsvSource({"/v1/completions, prompt", "/v1/chat/completions, messages"})
    void error_ofAPromptThatIsFarTooLong_saysMoreThan(String path, String param) throws Exception {
        String text = "word ".repeat(100_000);
        try (TestServer real =
                TestServer.builder().model(BuiltInModel.QUIRE_TINY.path()).start()) {
            HttpResponse<String> response = real.post(
                    path,
                    "{\"prompt\":\"" + text + "\",\"messages\":[{\"role\":\"user\",\"content\":\"" + text + "\"}]}");
            assertThat(response.statusCode()).isEqualTo(400);
            JsonNode error = TestServer.error(response);
            int context = real.engine.maxContext();
            assertThat(error.get("code").stringValue()).isEqualTo("context_length_exceeded");
            assertThat(error.get("param").stringValue()).isEqualTo(param);
            assertThat(error.get("message").stringValue())
                    .contains("maximum context length is " + context + " tokens")
                    .contains("more than " + (context - 1))
                    .contains("reduce the length of the messages");
            HttpResponse<String> counted = real.post("/tokenize", "{\"prompt\":\"" + text + "\"}");
            assertThat(TestServer.json(counted).get("count").intValue()).isGreaterThan(100_000);
        }
    }
}
