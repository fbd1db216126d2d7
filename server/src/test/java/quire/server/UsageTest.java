package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;

/** Token counts in answers, and requests that want only the prompt. */
@Timeout(60)
class UsageTest {
    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    private static HttpResponse<String> post(boolean chat, String options) throws Exception {
        HttpResponse<String> response = chat
                ? server.post(
                        "/v1/chat/completions",
                        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]," + options + "}")
                : server.post("/v1/completions", "{\"prompt\":\"hi\"," + options + "}");
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return response;
    }

    private static List<JsonNode> chunks(boolean chat, String options) throws Exception {
        List<String> lines = post(chat, "\"stream\":true," + options)
                .body()
                .lines()
                .filter(line -> !line.isEmpty())
                .toList();
        assertThat(lines.getLast()).isEqualTo("data: [DONE]");
        return lines.subList(0, lines.size() - 1).stream()
                .map(line -> Json.read(line.substring("data: ".length())))
                .toList();
    }

    @ParameterizedTest
    @ValueSource(strings = {"max_tokens", "max_completion_tokens", "n_predict"})
    void maxTokens_zero_computesOnlyThePrompt(String name) throws Exception {
        for (boolean chat : new boolean[] {false, true}) {
            long computed = server.awaitIdle().promptTokens();
            JsonNode answer = TestServer.json(post(chat, "\"" + name + "\":0,\"seed\":1"));

            JsonNode choice = answer.get("choices").get(0);
            assertThat((chat ? choice.get("message").get("content") : choice.get("text")).stringValue())
                    .isEmpty();
            assertThat(choice.get("finish_reason").stringValue()).isEqualTo("length");
            assertThat(choice.get("logprobs").isNull()).isTrue();
            int prompt = answer.get("usage").get("prompt_tokens").intValue();
            assertThat(answer.get("usage").get("completion_tokens").intValue()).isZero();
            assertThat(answer.get("usage").get("total_tokens").intValue()).isEqualTo(prompt);
            int cached = answer.at("/usage/prompt_tokens_details/cached_tokens").intValue();
            assertThat(server.awaitIdle().promptTokens() - computed).isEqualTo(prompt - cached);
        }
    }

    @Test
    void maxTokens_zeroWithEcho_isThePrompt() throws Exception {
        JsonNode answer = TestServer.json(post(false, "\"max_tokens\":0,\"echo\":true"));

        assertThat(answer.get("choices").get(0).get("text").stringValue()).isEqualTo("hi");
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void maxTokens_zeroInAStream_isItsEnd(boolean chat) throws Exception {
        List<JsonNode> chunks = chunks(chat, "\"max_tokens\":0,\"stream_options\":{\"include_usage\":true}");

        assertThat(chunks).hasSize(chat ? 3 : 2); // a chat begins with the role
        assertThat(chunks.get(chunks.size() - 2)
                        .get("choices")
                        .get(0)
                        .get("finish_reason")
                        .stringValue())
                .isEqualTo("length");
        assertThat(chunks.getLast().get("usage").get("completion_tokens").intValue())
                .isZero();
    }

    @Test
    void maxTokens_zeroBeyondTheContext_isRefused() throws Exception {
        HttpResponse<String> response = server.post(
                "/v1/completions", "{\"max_tokens\":0,\"prompt\":\"" + "x".repeat(TestServer.CONTEXT) + "\"}");

        assertThat(TestServer.error(response).get("code").stringValue()).isEqualTo("context_length_exceeded");
    }

    @ParameterizedTest
    @CsvSource({"false, false", "false, true", "true, false", "true, true"})
    void continuousUsage_isInEachChunkAndCountsUp(boolean chat, boolean atEnd) throws Exception {
        String options = "\"seed\":3,\"ignore_eos\":true,\"max_tokens\":9,\"stream_options\":{\"include_usage\":"
                + atEnd + ",\"continuous_usage_stats\":true}";
        List<JsonNode> chunks = chunks(chat, options);

        int last = 0;
        for (JsonNode chunk : chunks) {
            JsonNode usage = chunk.get("usage");
            int completion = usage.get("completion_tokens").intValue();
            int prompt = usage.get("prompt_tokens").intValue();
            assertThat(prompt).isEqualTo(chat ? "<user>hi<assistant>".length() : 1 + "hi".length()); // bytes, and BOS
            assertThat(usage.get("total_tokens").intValue()).isEqualTo(prompt + completion);
            assertThat(completion).isGreaterThanOrEqualTo(last);
            last = completion;
        }
        assertThat(last).isEqualTo(9);
        assertThat(chunks.getFirst().get("usage").get("completion_tokens").intValue())
                .isLessThan(9);
        assertThat(chunks.getLast().get("choices").isEmpty()).isEqualTo(atEnd);
    }

    @Test
    void continuousUsage_withoutAStream_isRefused() throws Exception {
        HttpResponse<String> response = server.post(
                "/v1/completions", "{\"prompt\":\"hi\",\"stream_options\":{\"continuous_usage_stats\":true}}");

        assertThat(response.statusCode()).isEqualTo(400);
        assertThat(TestServer.error(response).get("param").stringValue()).isEqualTo("stream_options");
    }
}
