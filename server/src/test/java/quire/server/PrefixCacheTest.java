package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.engine.PrefixCacheStats;
import tools.jackson.databind.JsonNode;

/** The prefix cache changes counts in the usage and in the metrics, and nothing else. */
@Timeout(60)
class PrefixCacheTest {
    private static final String PROMPT = "The fox and the bear went to the river. ";

    private static String body(String more) {
        return "{\"model\":\"fake\",\"prompt\":\"" + PROMPT + "\",\"max_tokens\":3,\"temperature\":0" + more + "}";
    }

    private static JsonNode answer(TestServer server, String more) throws Exception {
        return TestServer.json(server.post("/v1/completions", body(more)));
    }

    private static int cached(JsonNode answer) {
        return answer.get("usage")
                .get("prompt_tokens_details")
                .get("cached_tokens")
                .intValue();
    }

    @Test
    void usage_samePromptAgain_countsCachedTokens() throws Exception {
        try (TestServer server = TestServer.start()) {
            JsonNode first = answer(server, "");
            assertThat(cached(first)).isZero();

            JsonNode second = answer(server, "");

            int prompt = second.get("usage").get("prompt_tokens").intValue();
            assertThat(cached(second)).isBetween(prompt / 2, prompt - 1);
            assertThat(second.get("choices")).isEqualTo(first.get("choices"));
            PrefixCacheStats stats = server.engine.stats().prefixCache();
            assertThat(server.get("/metrics").body())
                    .contains("quire_prefix_cache_queries_total{model_name=\"fake\"} " + stats.queriedTokens())
                    .contains("quire_prefix_cache_hits_total{model_name=\"fake\"} " + cached(second))
                    .contains("quire_prefix_cache_evicted_pages_total{model_name=\"fake\"} 0")
                    .contains("quire_prefix_cache_usage_perc{model_name=\"fake\"} 0.")
                    .contains("quire_kv_disk_slots{model_name=\"fake\"} 0")
                    .contains("quire_kv_disk_hits_total{model_name=\"fake\"} 0");
        }
    }

    @Test
    void stream_withUsage_countsCachedTokens() throws Exception {
        try (TestServer server = TestServer.start()) {
            answer(server, "");
            String events = server.post(
                            "/v1/completions", body(",\"stream\":true,\"stream_options\":{\"include_usage\":true}"))
                    .body();
            assertThat(events).containsPattern("\"prompt_tokens_details\":\\{\"cached_tokens\":[1-9]");
        }
    }

    @Test
    void cacheSalt_another_sharesNothing() throws Exception {
        try (TestServer server = TestServer.start()) {
            for (String salt : new String[] {"", ",\"cache_salt\":\"one\"", ",\"cache_salt\":\"two\""}) {
                assertThat(cached(answer(server, salt))).isZero();
                assertThat(cached(answer(server, salt))).isPositive();
            }
            assertThat(cached(answer(server, ",\"cache_salt\":\"\"")))
                    .as("empty: as if absent")
                    .isPositive();
            assertThat(server.post("/v1/completions", body(",\"cache_salt\":7")).statusCode())
                    .isEqualTo(400);
        }
    }
}
