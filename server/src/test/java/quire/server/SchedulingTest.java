package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;

/** What a client sees of priorities and timeouts. A step takes a millisecond. */
@Timeout(60)
class SchedulingTest {
    private static final int STEP_NANOS = 1_000_000;

    private static TestServer.Builder server() {
        AtomicLong nanos = new AtomicLong();
        return TestServer.builder().nanoClock(nanos::get).onForward(batch -> nanos.addAndGet(STEP_NANOS));
    }

    private static String body(String more) {
        return "{\"model\":\"fake\",\"prompt\":\"The fox went.\",\"temperature\":0,\"max_tokens\":50,\"ignore_eos\":true"
                + more + "}";
    }

    private static JsonNode choice(HttpResponse<String> response) {
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return TestServer.json(response).get("choices").get(0);
    }

    @Test
    void answer_afterItsTimeout_endsWithTheTextSoFar() throws Exception {
        try (TestServer server = server().start()) {
            String whole =
                    choice(server.post("/v1/completions", body(""))).get("text").stringValue();

            HttpResponse<String> response = server.post("/v1/completions", body(",\"timeout_ms\":5"));

            assertThat(choice(response).get("finish_reason").stringValue()).isEqualTo("timeout");
            assertThat(TestServer.json(response)
                            .get("usage")
                            .get("completion_tokens")
                            .intValue())
                    .isEqualTo(5);
            assertThat(whole).startsWith(choice(response).get("text").stringValue());
            assertThat(server.engine.stats().usedPages()).isZero();
            assertThat(server.get("/metrics").body())
                    .contains("quire_request_success_total{model_name=\"fake\",finished_reason=\"timeout\"} 1");
        }
    }

    /** The first step has only a part of the prompt, so no number that the answer would have is there. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                ",\"echo\":true",
                ",\"logprobs\":2",
                ",\"prompt_logprobs\":2",
                ",\"prompt_logprobs\":0,\"n\":2",
                ",\"echo\":true,\"logprobs\":1",
                ",\"echo\":true,\"logprobs\":1,\"prompt_logprobs\":0,\"max_tokens\":0",
                ",\"best_of\":3,\"n\":2,\"prompt_logprobs\":1",
                ",\"use_beam_search\":true,\"n\":2,\"prompt_logprobs\":1",
                ",\"stream\":true,\"logprobs\":1"
            })
    void answer_whoseTimeIsOverBeforeItsFirstToken_isEmpty(String fields) throws Exception {
        try (TestServer server = server().start()) {
            String prompt = "x".repeat(400);
            HttpResponse<String> response = server.post(
                    "/v1/completions",
                    "{\"prompt\":\"" + prompt + "\",\"temperature\":0,\"timeout_ms\":1" + fields + "}");
            assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
            if (fields.contains("stream")) {
                assertThat(response.body())
                        .contains("\"finish_reason\":\"timeout\"")
                        .endsWith("data: [DONE]\n\n");
                return;
            }
            for (JsonNode choice : TestServer.json(response).get("choices").values()) {
                assertThat(choice.get("finish_reason").stringValue()).isEqualTo("timeout");
                assertThat(choice.get("text").stringValue()).isEqualTo(fields.contains("echo") ? prompt : "");
                if (fields.contains("prompt_logprobs")) {
                    assertThat(choice.get("prompt_logprobs").values())
                            .hasSize(401)
                            .allMatch(JsonNode::isNull);
                }
            }
        }
    }

    @Test
    void chat_whoseTimeIsOverBeforeItsFirstToken_hasNoLogProbabilities() throws Exception {
        try (TestServer server = server().start()) {
            HttpResponse<String> response = server.post(
                    "/v1/chat/completions",
                    "{\"messages\":[{\"role\":\"user\",\"content\":\"" + "x".repeat(400)
                            + "\"}],\"timeout_ms\":1,\"prompt_logprobs\":1,\"logprobs\":true}");
            assertThat(choice(response).get("finish_reason").stringValue()).isEqualTo("timeout");
            assertThat(TestServer.json(response).get("prompt_logprobs").values())
                    .allMatch(JsonNode::isNull);
        }
    }

    @Test
    void stream_afterItsTimeout_endsWithTheReason() throws Exception {
        try (TestServer server = server().start()) {
            HttpResponse<String> response = server.post("/v1/completions", body(",\"timeout_ms\":5,\"stream\":true"));
            assertThat(response.body())
                    .contains("\"finish_reason\":\"timeout\"")
                    .endsWith("data: [DONE]\n\n");
        }
    }

    @Test
    void answer_withinItsTimeout_isWhatItIsWithout() throws Exception {
        try (TestServer server = server().start()) {
            JsonNode plain = choice(server.post("/v1/completions", body("")));
            String more = ",\"timeout_ms\":60,\"priority\":-5";
            assertThat(choice(server.post("/v1/completions", body(more)))).isEqualTo(plain);
        }
    }
}
