package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.StringNode;

/** The chunk with the finish reason has no text, because many clients ignore text in it. */
@Timeout(60)
class StreamEndTest {
    /** A byte that begins a character, as the only token: the answer ends within a character. */
    private static final String HALF_CHARACTERS = ",\"logit_bias\":{\"197\":100}";

    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    @ParameterizedTest
    @CsvSource({
        "false, false, false",
        "false, true, false",
        "false, false, true",
        "false, true, true",
        "true, false, false",
        "true, true, false",
        "true, false, true",
        "true, true, true",
    })
    void stream_ofTextHeldBack_sendsItBeforeTheEnd(boolean chat, boolean logprobs, boolean usage) throws Exception {
        String options = ",\"seed\":5,\"max_tokens\":8,\"ignore_eos\":true"
                + (!logprobs ? "" : chat ? ",\"logprobs\":true,\"top_logprobs\":2" : ",\"logprobs\":2");
        for (String bias : List.of("", HALF_CHARACTERS)) {
            String whole = whole(chat, options + bias);
            assertStream(chat, options + bias, usage, whole);
            for (int begin = 0; begin < whole.length(); begin++) {
                // The answer's last characters may yet become this stop string, so they are held back.
                String stop = whole.substring(begin) + "never";
                String held = options + bias + ",\"stop\":" + Json.text(StringNode.valueOf(stop));
                assertThat(whole(chat, held)).isEqualTo(whole);
                assertStream(chat, held, usage, whole);
            }
        }
    }

    private static void assertStream(boolean chat, String options, boolean usage, String whole) throws Exception {
        String streamed = options + ",\"stream\":true" + (usage ? ",\"stream_options\":{\"include_usage\":true}" : "");
        List<JsonNode> chunks = new ArrayList<>();
        List<String> lines = post(chat, streamed)
                .body()
                .lines()
                .filter(line -> !line.isEmpty())
                .toList();
        assertThat(lines.getLast()).isEqualTo("data: [DONE]");
        for (String line : lines.subList(0, lines.size() - 1)) {
            chunks.add(Json.read(line.substring("data: ".length())));
        }
        if (usage) {
            assertThat(chunks.removeLast().get("choices").isEmpty()).isTrue();
        }
        JsonNode end = chunks.removeLast().get("choices").get(0);
        assertThat(end.get("finish_reason").stringValue()).isEqualTo("length");
        assertThat(end.get("logprobs").isNull()).isTrue();
        if (chat) {
            assertThat(end.get("delta").isEmpty()).isTrue();
        } else {
            assertThat(end.get("text").stringValue()).isEmpty();
        }
        StringBuilder text = new StringBuilder();
        for (JsonNode chunk : chunks) {
            JsonNode choice = chunk.get("choices").get(0);
            assertThat(choice.get("finish_reason").isNull()).isTrue();
            text.append((chat ? choice.get("delta").get("content") : choice.get("text")).stringValue());
        }
        assertThat(text).hasToString(whole);
    }

    private static String whole(boolean chat, String options) throws Exception {
        JsonNode choice = TestServer.json(post(chat, options)).get("choices").get(0);
        return (chat ? choice.get("message").get("content") : choice.get("text")).stringValue();
    }

    private static HttpResponse<String> post(boolean chat, String options) throws Exception {
        HttpResponse<String> response = chat
                ? server.post(
                        "/v1/chat/completions",
                        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]" + options + "}")
                : server.post("/v1/completions", "{\"prompt\":\"hi\"" + options + "}");
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return response;
    }
}
