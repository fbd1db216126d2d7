package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import tools.jackson.databind.JsonNode;

/** A request explained. A step takes a millisecond. */
@Timeout(60)
class TimelineTest {
    private static TestServer.Builder server() {
        AtomicLong nanos = new AtomicLong();
        return TestServer.builder().nanoClock(nanos::get).onForward(batch -> nanos.addAndGet(1_000_000));
    }

    private static String body(String more) {
        return "{\"model\":\"fake\",\"prompt\":\"" + "The fox went to the river. ".repeat(15)
                + "\",\"temperature\":0,\"max_tokens\":4,\"ignore_eos\":true" + more + "}";
    }

    private static String id(HttpResponse<String> response) {
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return response.headers().firstValue("X-Request-Id").orElseThrow();
    }

    private static List<String> events(JsonNode timeline, int answer) {
        List<String> events = new ArrayList<>();
        for (JsonNode event : timeline.get("answers").get(answer).get("events").values()) {
            events.add(event.toString());
        }
        return events;
    }

    /** 406 tokens in steps of 256: two chunks, the first token after the second, and three further ones. */
    @Test
    void request_afterItsEnd_isExplained() throws Exception {
        try (TestServer server = server().start()) {
            String id = id(server.post("/v1/completions", body("")));

            JsonNode timeline = TestServer.json(server.get("/v1/requests/" + id));

            assertThat(timeline.get("id").stringValue()).isEqualTo(id);
            assertThat(events(timeline, 0))
                    .containsExactly(
                            "{\"event\":\"queued\",\"ms\":0.0,\"prompt_tokens\":406,\"pages\":0}",
                            "{\"event\":\"started\",\"ms\":0.0,\"cached_tokens\":0,\"pages\":26}",
                            "{\"event\":\"chunk\",\"ms\":1.0,\"tokens\":256,\"pages\":26}",
                            "{\"event\":\"chunk\",\"ms\":2.0,\"tokens\":150,\"pages\":26}",
                            "{\"event\":\"first_token\",\"ms\":2.0,\"tokens\":1,\"pages\":26}",
                            "{\"event\":\"ended\",\"ms\":5.0,\"completion_tokens\":4,\"pages\":26}");
        }
    }

    @Test
    void requestAgain_showsTheCachedTokens() throws Exception {
        try (TestServer server = server().start()) {
            id(server.post("/v1/completions", body("")));
            String id = id(server.post("/v1/completions", body(",\"n\":2"), "X-Request-Id", "mine"));
            assertThat(id).isEqualTo("mine");

            JsonNode timeline = TestServer.json(server.get("/v1/requests/mine"));

            assertThat(timeline.get("answers").size()).isEqualTo(2);
            assertThat(events(timeline, 0).get(1)).contains("\"event\":\"started\"", "\"cached_tokens\":400");
            // Its second answer shares whole pages too, or begins as a copy when the first one has computed the prompt.
            assertThat(events(timeline, 1).get(1)).containsPattern("\"event\":\"started\".*\"cached_tokens\":40[05]");
        }
    }

    /** The header of a whole answer has the same times in short. A stream's head is sent before them. */
    @Test
    void wholeAnswer_hasItsTimesInAHeader() throws Exception {
        try (TestServer server = server().start()) {
            HttpResponse<String> cold = server.post("/v1/completions", body(""));
            HttpResponse<String> warm = server.post("/v1/completions", body(",\"n\":2"));
            HttpResponse<String> stream = server.post("/v1/completions", body(",\"stream\":true"));

            assertThat(cold.headers().firstValue("Server-Timing"))
                    .contains("queue;dur=0.0, prompt;dur=2.0, answer;dur=3.0, cached;desc=\"0 tokens\"");
            assertThat(warm.headers().firstValue("Server-Timing").orElseThrow())
                    .matches("queue;dur=0\\.0, prompt;dur=1\\.0, answer;dur=\\d\\.0, cached;desc=\"80[05] tokens\"");
            assertThat(stream.headers().firstValue("Server-Timing")).isEmpty();
        }
    }

    @Test
    void unknownRequest_isNotFound() throws Exception {
        try (TestServer server = server().start()) {
            HttpResponse<String> response = server.get("/v1/requests/req_1");
            assertThat(response.statusCode()).isEqualTo(404);
            assertThat(response.body()).contains("request_not_found");
        }
    }

    @Test
    void requestOfAnotherKey_isNotFound() throws Exception {
        ServerConfig keys = TestServer.config().apiKeys(List.of("a", "b")).build();
        try (TestServer server = server().config(keys).start()) {
            String id = id(server.post("/v1/completions", body(""), "Authorization", "Bearer a"));
            assertThat(server.get("/v1/requests/" + id, "Authorization", "Bearer a")
                            .statusCode())
                    .isEqualTo(200);
            assertThat(server.get("/v1/requests/" + id, "Authorization", "Bearer b")
                            .statusCode())
                    .isEqualTo(404);
            assertThat(server.get("/v1/requests/" + id).statusCode()).isEqualTo(401);
        }
    }
}
