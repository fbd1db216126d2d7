package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.model.BuiltInModel;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;

/** A stop string may spell a control token, although no answer shows such tokens. */
@Timeout(60)
class ControlTokenStopTest {
    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.builder().model(BuiltInModel.QUIRE_TINY.path()).start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    /** Posts a chat. The bias makes the model begin the next turn in place of an answer: token 1 is {@code <|im_start|>}. */
    private static String post(String options) throws Exception {
        String body = """
                {"model": "quire-tiny", "temperature": 0, "max_tokens": 20, "logit_bias": {"1": 100},
                 "messages": [{"role": "user", "content": "What is the capital of Italy?"}]""" + options + "}";
        HttpResponse<String> response = server.post("/v1/chat/completions", body);
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return response.body();
    }

    @Test
    void chat_stopIsAControlToken_endsTheAnswerLikeTheTokenId() throws Exception {
        assertThat(server.engine.tokenizer().spelling(1)).isEqualTo("<|im_start|>");
        for (String logprobs : new String[] {"", ",\"logprobs\":true,\"top_logprobs\":2"}) {
            JsonNode byText = Json.read(post(",\"stop\":[\"<|im_start|>\"]" + logprobs));
            JsonNode byId = Json.read(post(",\"stop_token_ids\":[1]" + logprobs));

            assertThat(byText.get("usage").get("completion_tokens").intValue()).isEqualTo(1);
            assertThat(byText.get("choices").get(0))
                    .isEqualTo(byId.get("choices").get(0));
            JsonNode choice = byText.get("choices").get(0);
            assertThat(choice.get("message").get("content").stringValue()).isEmpty();
            assertThat(choice.get("finish_reason").stringValue()).isEqualTo("stop");
        }
    }

    @Test
    void chat_noStop_showsNoControlToken() throws Exception {
        JsonNode answer = Json.read(post(""));

        assertThat(answer.get("usage").get("completion_tokens").intValue()).isEqualTo(20);
        JsonNode choice = answer.get("choices").get(0);
        assertThat(choice.get("message").get("content").stringValue()).isEmpty();
        assertThat(choice.get("finish_reason").stringValue()).isEqualTo("length");
    }

    @Test
    void chatStream_stopIsAControlToken_endsWithoutText() throws Exception {
        String events = post(",\"stop\":[\"<|im_start|>\"],\"stream\":true");

        assertThat(events)
                .contains("\"finish_reason\":\"stop\"")
                .doesNotContain("im_start")
                .endsWith("data: [DONE]\n\n");
    }
}
