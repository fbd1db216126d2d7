package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.engine.Speculation;
import quire.engine.SpeculationCounts;
import tools.jackson.databind.JsonNode;

/** Speculation changes counts in the usage and in the metrics, and nothing else. */
@Timeout(60)
class SpeculationTest {
    /** A bias that makes the model repeat itself, so that prompt lookup proposes the right tokens. */
    private static final String BODY = """
            {"model":"fake","prompt":"abab","max_tokens":60,"temperature":0,"logit_bias":{"99":60}}""";

    @Test
    void timeline_withSpeculation_countsItAndTheAnswerStays() throws Exception {
        JsonNode plain;
        try (TestServer server = TestServer.start()) {
            plain = TestServer.json(server.post("/v1/completions", BODY));
            JsonNode details = plain.get("usage").get("completion_tokens_details");
            assertThat(details.get("accepted_prediction_tokens").intValue()).isZero();
            assertThat(details.get("rejected_prediction_tokens").intValue()).isZero();
            assertThat(server.get("/metrics").body()).doesNotContain("spec_decode");
        }
        try (TestServer server = TestServer.builder()
                .speculation(new Speculation(4, true, null, null))
                .start()) {
            HttpResponse<String> response = server.post("/v1/completions", BODY);
            JsonNode speculated = TestServer.json(response);

            assertThat(speculated.get("choices")).isEqualTo(plain.get("choices"));
            assertThat(speculated.get("usage")).isEqualTo(plain.get("usage"));
            JsonNode details = speculated.get("usage").get("completion_tokens_details");
            SpeculationCounts stats = server.engine.stats().speculation().counts();
            assertThat(stats.acceptedTokens()).isPositive();
            // These are for the text of a prediction, which this request has not.
            assertThat(details.get("accepted_prediction_tokens").longValue()).isZero();
            assertThat(details.get("rejected_prediction_tokens").longValue()).isZero();
            // It is the engine's only request, so its counts are the engine's.
            String id = response.headers().firstValue("X-Request-Id").orElseThrow();
            JsonNode counts = TestServer.json(server.get("/v1/requests/" + id))
                    .get("answers")
                    .get(0)
                    .get("speculation");
            assertThat(counts.get("drafts").longValue())
                    .isEqualTo(stats.drafts())
                    .isPositive();
            assertThat(counts.get("draft_tokens").longValue()).isEqualTo(stats.draftTokens());
            assertThat(counts.get("accepted_tokens").longValue()).isEqualTo(stats.acceptedTokens());
            assertThat(counts.get("decisions").get(4).longValue())
                    .isEqualTo(stats.decisions().get(4))
                    .isPositive();
            assertThat(counts.get("accepted_at").size()).isEqualTo(4);
            assertThat(counts.get("accepted_at").get(3).longValue())
                    .isEqualTo(stats.acceptedAt().get(3));
            assertThat(counts.has("speedup")).isFalse(); // an estimate for one short answer would mislead
            String metrics = server.get("/metrics").body();
            String drafter = "{model_name=\"fake\",drafter=\"lookup\"} ";
            assertThat(metrics)
                    .contains("quire_spec_decode_num_draft_tokens_total" + drafter + stats.draftTokens())
                    .contains("quire_spec_decode_num_accepted_tokens_total" + drafter + stats.acceptedTokens())
                    .contains("quire_spec_decode_num_accepted_tokens_per_pos_total{model_name=\"fake\",position=\"0\"} "
                            + stats.acceptedAt().getFirst())
                    .contains("quire_spec_decode_decisions_total{model_name=\"fake\",draft_tokens=\"4\"} "
                            + stats.decisions().get(4))
                    .contains("quire_spec_decode_speedup{model_name=\"fake\"} ");
        }
    }
}
