package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.model.SamplingDefaults;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** {@code use_beam_search} in requests. */
@Timeout(60)
class BeamSearchHttpTest {
    private static String completion(String more) {
        return "{\"model\":\"fake\",\"max_tokens\":9,\"ignore_eos\":true,\"prompt\":\"The fox\"" + more + "}";
    }

    private static JsonNode answer(TestServer server, String more) throws Exception {
        return TestServer.json(server.post("/v1/completions", completion(more)));
    }

    private static List<String> texts(JsonNode answer) {
        List<String> texts = new ArrayList<>();
        answer.get("choices").forEach(choice -> texts.add(choice.get("text").asString()));
        return texts;
    }

    /** The mean log probability of an answer's tokens: its score with a length penalty of 1. */
    private static double score(JsonNode choice) {
        double sum = 0;
        for (JsonNode logprob : choice.get("logprobs").get("token_logprobs")) {
            sum += logprob.doubleValue();
        }
        return sum / choice.get("logprobs").get("token_logprobs").size();
    }

    @Test
    void useBeamSearch_four_sendsTheBestFirst() throws Exception {
        try (TestServer server = TestServer.start()) {
            JsonNode beams = answer(server, ",\"use_beam_search\":true,\"n\":4,\"logprobs\":1");

            List<Double> scores = new ArrayList<>();
            beams.get("choices").forEach(choice -> scores.add(score(choice)));
            assertThat(scores).hasSize(4).isSortedAccordingTo((a, b) -> Double.compare(b, a));
            assertThat(texts(beams)).doesNotHaveDuplicates();
            JsonNode greedy = answer(server, ",\"temperature\":0");
            JsonNode usage = beams.get("usage");
            assertThat(usage.get("completion_tokens").intValue()).isEqualTo(4 * 9);
            assertThat(usage.get("prompt_tokens").intValue())
                    .isEqualTo(greedy.get("usage").get("prompt_tokens").intValue());
        }
    }

    @Test
    void useBeamSearch_one_isTheGreedyAnswer() throws Exception {
        try (TestServer server = TestServer.start()) {
            assertThat(texts(answer(server, ",\"use_beam_search\":true")))
                    .isEqualTo(texts(answer(server, ",\"temperature\":0")));
        }
    }

    @Test
    void bestOf_widerThanN_sendsTheBestOfTheBeams() throws Exception {
        try (TestServer server = TestServer.start()) {
            List<String> all = texts(answer(server, ",\"use_beam_search\":true,\"n\":4,\"early_stopping\":\"never\""));

            JsonNode best =
                    answer(server, ",\"use_beam_search\":true,\"n\":2,\"best_of\":4,\"early_stopping\":\"never\"");

            assertThat(texts(best)).isEqualTo(all.subList(0, 2));
        }
    }

    @Test
    void useBeamSearch_severalPrompts_searchesForEach() throws Exception {
        try (TestServer server = TestServer.start()) {
            String two =
                    completion(",\"use_beam_search\":true,\"n\":2").replace("\"The fox\"", "[\"The fox\",\"A bear\"]");
            List<String> expected = new ArrayList<>();
            for (String prompt : List.of("The fox", "A bear")) {
                expected.addAll(texts(TestServer.json(server.post(
                        "/v1/completions",
                        completion(",\"use_beam_search\":true,\"n\":2").replace("The fox", prompt)))));
            }
            assertThat(texts(TestServer.json(server.post("/v1/completions", two))))
                    .isEqualTo(expected);
        }
    }

    @Test
    void useBeamSearch_streamed_sendsTheAnswersAtTheEnd() throws Exception {
        try (TestServer server = TestServer.start()) {
            for (String route : List.of("/v1/completions", "/v1/chat/completions")) {
                String body = completion(",\"use_beam_search\":true,\"n\":3");
                if (route.contains("chat")) {
                    body = body.replace(
                            "\"prompt\":\"The fox\"", "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]");
                }
                List<String> expected = new ArrayList<>();
                TestServer.json(server.post(route, body))
                        .get("choices")
                        .forEach(choice -> expected.add(
                                choice.has("text")
                                        ? choice.get("text").asString()
                                        : choice.get("message").get("content").asString()));
                String events = server.post(route, body.replace("\"n\":3", "\"n\":3,\"stream\":true"))
                        .body();
                TreeMap<Integer, String> texts = new TreeMap<>();
                for (String line : events.lines().toList()) {
                    if (line.startsWith("data: {")) {
                        for (JsonNode choice :
                                JsonMapper.shared().readTree(line.substring(6)).get("choices")) {
                            JsonNode text = choice.has("text")
                                    ? choice.get("text")
                                    : choice.get("delta").get("content");
                            texts.merge(
                                    choice.get("index").intValue(),
                                    text == null ? "" : text.asString(),
                                    String::concat);
                        }
                    }
                }
                assertThat(texts.values()).containsExactlyElementsOf(expected);
                assertThat(events).endsWith("data: [DONE]\n\n");
            }
        }
    }

    /** What the operator or the model's file recommends for sampling has no effect. */
    @Test
    void useBeamSearch_operatorWithSamplingDefaults_isAnswered() throws Exception {
        SamplingDefaults operator = new SamplingDefaults(
                OptionalDouble.of(0.7),
                OptionalInt.of(20),
                OptionalDouble.of(0.9),
                OptionalDouble.of(0),
                OptionalDouble.of(1.1));
        try (TestServer server = TestServer.builder()
                .config(TestServer.config().samplingDefaults(operator).build())
                .start()) {
            assertThat(texts(answer(server, ",\"use_beam_search\":true,\"n\":2")))
                    .hasSize(2);
        }
    }
}
