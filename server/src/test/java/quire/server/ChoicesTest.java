package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.engine.EngineStats;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Several answers to one prompt: {@code n} and {@code best_of}. */
@Timeout(60)
class ChoicesTest {
    private static final String PROMPT = "The fox and the bear went to the river. ".repeat(4);

    private static String completion(String more) {
        return "{\"model\":\"fake\",\"max_tokens\":9,\"ignore_eos\":true,\"prompt\":\"" + PROMPT + "\"" + more + "}";
    }

    private static JsonNode answer(TestServer server, String more) throws Exception {
        return TestServer.json(server.post("/v1/completions", completion(more)));
    }

    private static List<String> texts(JsonNode answer) {
        List<String> texts = new ArrayList<>();
        answer.get("choices").forEach(choice -> {
            assertThat(choice.get("index").intValue()).isEqualTo(texts.size());
            texts.add(choice.get("text").asString());
        });
        return texts;
    }

    @Test
    void n_three_areTheAnswersOfTheNextSeeds() throws Exception {
        try (TestServer server = TestServer.start()) {
            List<String> alone = new ArrayList<>();
            for (int seed = 40; seed < 43; seed++) {
                alone.addAll(texts(answer(server, ",\"seed\":" + seed)));
            }

            JsonNode three = answer(server, ",\"seed\":40,\"n\":3");

            assertThat(texts(three)).isEqualTo(alone).doesNotHaveDuplicates();
            JsonNode usage = three.get("usage");
            assertThat(usage.get("completion_tokens").intValue()).isEqualTo(27);
            assertThat(usage.get("prompt_tokens").intValue())
                    .isEqualTo(
                            answer(server, "").get("usage").get("prompt_tokens").intValue());
        }
    }

    /** What the answers share with each other is not cached from before. */
    @Test
    void n_eight_computesThePromptOnce() throws Exception {
        try (TestServer server = TestServer.start()) {
            JsonNode eight = answer(server, ",\"n\":8");

            EngineStats stats = server.engine.stats();
            int prompt = eight.get("usage").get("prompt_tokens").intValue();
            // Requests that the engine has not received in its first step find all but the last page.
            assertThat(stats.promptTokens()).isBetween(prompt + 7L, prompt + 7L * 16);
            assertThat(eight.get("usage")
                            .get("prompt_tokens_details")
                            .get("cached_tokens")
                            .intValue())
                    .isZero();
        }
    }

    @Test
    void n_streamed_hasEveryChoiceWithItsIndex() throws Exception {
        try (TestServer server = TestServer.start()) {
            for (String route : List.of("/v1/completions", "/v1/chat/completions")) {
                String body = completion(",\"seed\":7,\"n\":3");
                if (route.contains("chat")) {
                    body = body.replace(
                            "\"prompt\":\"" + PROMPT + "\"", "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]");
                }
                JsonNode whole = TestServer.json(server.post(route, body));
                String events = server.post(
                                route,
                                body.replace(
                                        "\"n\":3",
                                        "\"n\":3,\"stream\":true,\"stream_options\":{\"include_usage\":true}"))
                        .body();

                TreeMap<Integer, String> texts = new TreeMap<>();
                List<Integer> ends = new ArrayList<>();
                int usages = 0;
                for (String line : events.lines().toList()) {
                    if (!line.startsWith("data: {")) {
                        continue;
                    }
                    JsonNode chunk = JsonMapper.shared().readTree(line.substring(6));
                    usages += chunk.get("usage").isNull() ? 0 : 1;
                    for (JsonNode choice : chunk.get("choices")) {
                        int index = choice.get("index").intValue();
                        JsonNode text = choice.has("text")
                                ? choice.get("text")
                                : choice.get("delta").get("content");
                        texts.merge(index, text == null ? "" : text.asString(), String::concat);
                        if (!choice.get("finish_reason").isNull()) {
                            ends.add(index);
                        }
                    }
                }
                List<String> expected = new ArrayList<>();
                whole.get("choices")
                        .forEach(choice -> expected.add(
                                choice.has("text")
                                        ? choice.get("text").asString()
                                        : choice.get("message").get("content").asString()));
                assertThat(texts.values()).containsExactlyElementsOf(expected);
                assertThat(ends).containsExactlyInAnyOrder(0, 1, 2);
                assertThat(usages).isEqualTo(1);
                assertThat(events).endsWith("data: [DONE]\n\n").containsOnlyOnce("[DONE]");
            }
        }
    }

    @Test
    void bestOf_four_sendsTheLikeliest() throws Exception {
        try (TestServer server = TestServer.start()) {
            JsonNode all = answer(server, ",\"seed\":3,\"n\":4,\"logprobs\":0");
            TreeMap<Double, String> ranked = new TreeMap<>();
            all.get("choices").forEach(choice -> {
                double sum = 0;
                for (JsonNode logprob : choice.get("logprobs").get("token_logprobs")) {
                    sum += logprob.doubleValue();
                }
                ranked.put(sum / 9, choice.get("text").asString());
            });

            JsonNode best = answer(server, ",\"seed\":3,\"n\":2,\"best_of\":4");

            assertThat(texts(best))
                    .containsExactlyElementsOf(
                            ranked.descendingMap().values().stream().limit(2).toList());
            assertThat(best.get("choices").get(0).get("logprobs").isNull()).isTrue();
            assertThat(best.get("usage").get("completion_tokens").intValue()).isEqualTo(36);
        }
    }

    @Test
    void n_queueTooSmall_isRefusedAsAWhole() throws Exception {
        try (TestServer server =
                TestServer.builder().maxSequences(1).maxQueued(2).start()) {
            assertThat(server.post("/v1/completions", completion(",\"n\":100")).statusCode())
                    .isEqualTo(429);
            server.awaitIdle(); // the engine removes the answers that had begun before its next step
            assertThat(answer(server, "").get("choices").size()).isEqualTo(1);
        }
    }
}
