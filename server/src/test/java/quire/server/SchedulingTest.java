package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
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
