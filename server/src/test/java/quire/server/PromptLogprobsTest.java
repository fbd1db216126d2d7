package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.engine.Speculation;
import tools.jackson.databind.JsonNode;

/** Log probabilities of the prompt, and several prompts in one request. */
@Timeout(60)
class PromptLogprobsTest {
    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.builder().speculation(Speculation.auto(null)).start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    private static JsonNode completion(String fields) throws Exception {
        HttpResponse<String> response =
                server.post("/v1/completions", "{\"model\":\"fake\",\"seed\":5,\"ignore_eos\":true," + fields + "}");
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return TestServer.json(response);
    }

    private static JsonNode choice(JsonNode answer, int index) {
        return answer.get("choices").get(index);
    }

    /** Without speculation there are rows of logits for several tokens of the prompt in a step too. */
    @Test
    void prompt_scoredWithoutSpeculation_takesSeveralTokensAStep() throws Exception {
        AtomicInteger steps = new AtomicInteger();
        try (TestServer off =
                TestServer.builder().onForward(batch -> steps.incrementAndGet()).start()) {
            HttpResponse<String> response = off.post(
                    "/v1/completions",
                    "{\"prompt\":\"" + "x".repeat(200) + "\",\"max_tokens\":1,\"prompt_logprobs\":0}");
            assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        }
        assertThat(steps.get()).isBetween(1, 201 / 16 + 2);
    }

    /** The numbers for the tokens of a prompt are those of the same tokens in an answer, to the last bit. */
    @Test
    void echo_withLogprobs_givesTheLogprobsThatAnAnswerHas() throws Exception {
        JsonNode answered =
                choice(completion("\"prompt\":\"The\",\"max_tokens\":40,\"temperature\":0,\"logprobs\":3"), 0);
        JsonNode of = answered.get("logprobs");
        List<Integer> tokens = new ArrayList<>(List.of(0, 'T' + 2, 'h' + 2, 'e' + 2));
        for (JsonNode token : of.get("tokens")) {
            tokens.add(idOf(token.stringValue()));
        }

        for (String more : new String[] {"", ",\"prompt_logprobs\":0", ",\"n\":2"}) {
            JsonNode echoed = choice(
                    completion("\"prompt\":" + tokens + ",\"max_tokens\":0,\"echo\":true,\"logprobs\":3" + more), 0);
            JsonNode echo = echoed.get("logprobs");
            assertThat(echo.get("token_logprobs").get(0).isNull()).isTrue();
            assertThat(echo.get("top_logprobs").get(0).isNull()).isTrue();
            assertThat(echo.get("tokens")).hasSize(44);
            for (int i = 0; i < 40; i++) {
                assertThat(echo.get("token_logprobs").get(4 + i))
                        .isEqualTo(of.get("token_logprobs").get(i));
                assertThat(echo.get("top_logprobs").get(4 + i))
                        .isEqualTo(of.get("top_logprobs").get(i));
            }
        }
    }

    private static int idOf(String shown) {
        return switch (shown) {
            case "<s>" -> 0;
            case "</s>" -> 1;
            default -> 2 + (shown.startsWith("bytes:") ? Integer.parseInt(shown.substring(8), 16) : shown.charAt(0));
        };
    }

    @Test
    void echo_withLogprobsAndAnAnswer_hasOffsetsInTheWholeText() throws Exception {
        JsonNode choice = choice(
                completion(
                        "\"prompt\":\"h\u00e9 <s>\",\"max_tokens\":2,\"echo\":true,\"logprobs\":0,\"temperature\":0,\"logit_bias\":{\"99\":100}"),
                0);
        assertThat(choice.get("text").stringValue()).isEqualTo("h\u00e9 <s>aa");
        JsonNode logprobs = choice.get("logprobs");
        assertThat(logprobs.get("text_offset").toString()).isEqualTo("[0,0,1,1,2,3,4,5,6,7]");
        assertThat(logprobs.get("tokens")).hasSize(10);
        assertThat(logprobs.get("token_logprobs")).hasSize(10);
    }

    @Test
    void promptLogprobs_forBothRoutes_haveVllmsShape() throws Exception {
        JsonNode list = choice(completion("\"prompt\":\"hi\",\"max_tokens\":1,\"prompt_logprobs\":2"), 0)
                .get("prompt_logprobs");
        assertThat(list).hasSize(3);
        assertThat(list.get(0).isNull()).isTrue();
        JsonNode own = list.get(1).get(Integer.toString('h' + 2));
        assertThat(own.get("decoded_token").stringValue()).isEqualTo("h");
        assertThat(own.get("logprob").doubleValue()).isNegative();
        assertThat(own.get("rank").intValue()).isPositive();
        assertThat(list.get(1).size()).isBetween(2, 3);
        int[] ranks = list.get(2).values().stream()
                .mapToInt(value -> value.get("rank").intValue())
                .toArray();
        assertThat(ranks).startsWith(1, 2).doesNotHaveDuplicates();

        JsonNode chat = TestServer.json(server.post(
                "/v1/chat/completions",
                "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":1,\"prompt_logprobs\":0}"));
        assertThat(chat.get("prompt_logprobs")).hasSize("<user>hi<assistant>".length());
        assertThat(chat.get("prompt_logprobs").get(1)).hasSize(1);
    }

    @Test
    void prompts_several_areAnsweredAsIfAlone() throws Exception {
        String same = ",\"max_tokens\":12,\"n\":2,\"echo\":true,\"logprobs\":1";
        List<String> prompts = List.of("\"The fox\"", "\"A\"", "[107,108]");
        JsonNode together = completion("\"prompt\":[\"The fox\",\"A\",[107,108]]" + same);
        int index = 0;
        int promptTokens = 0;
        for (String prompt : prompts) {
            JsonNode alone = completion("\"prompt\":" + prompt + same);
            promptTokens += alone.get("usage").get("prompt_tokens").intValue();
            for (int i = 0; i < 2; i++) {
                JsonNode choice = choice(together, index);
                assertThat(choice.get("index").intValue()).isEqualTo(index++);
                assertThat(choice.get("text")).isEqualTo(choice(alone, i).get("text"));
                assertThat(choice.get("logprobs")).isEqualTo(choice(alone, i).get("logprobs"));
            }
        }
        assertThat(together.get("choices")).hasSize(6);
        assertThat(together.get("usage").get("prompt_tokens").intValue()).isEqualTo(promptTokens);
        assertThat(together.get("usage").get("completion_tokens").intValue()).isEqualTo(72);

        JsonNode best = completion("\"prompt\":[\"The fox\",\"A\"],\"max_tokens\":9,\"best_of\":4");
        for (int i = 0; i < 2; i++) {
            assertThat(choice(best, i).get("text"))
                    .isEqualTo(choice(completion("\"prompt\":" + prompts.get(i) + ",\"max_tokens\":9,\"best_of\":4"), 0)
                            .get("text"));
        }
    }

    @Test
    void prompts_tooManyAnswers_areRefused() throws Exception {
        HttpResponse<String> response = server.post("/v1/completions", "{\"prompt\":[\"a\",\"b\"],\"n\":65}");
        assertThat(response.statusCode()).isEqualTo(400);
        assertThat(TestServer.error(response).get("message").stringValue())
                .startsWith("'prompt' has 2 prompts with 65 answers each; at most 128 answers");
    }

    @Test
    void prompts_severalAsAStream_haveTheirIndexAndEcho() throws Exception {
        String fields = "\"prompt\":[\"one\",\"two\"],\"max_tokens\":8,\"echo\":true";
        JsonNode whole = completion(fields);
        HttpResponse<String> response =
                server.post("/v1/completions", "{\"seed\":5,\"ignore_eos\":true,\"stream\":true," + fields + "}");
        StringBuilder[] texts = {new StringBuilder(), new StringBuilder()};
        for (String line :
                response.body().lines().filter(l -> l.startsWith("data: {")).toList()) {
            for (JsonNode choice : quire.server.api.Json.read(line.substring(6)).get("choices")) {
                texts[choice.get("index").intValue()].append(choice.get("text").stringValue());
            }
        }
        for (int i = 0; i < 2; i++) {
            assertThat(texts[i]).hasToString(choice(whole, i).get("text").stringValue());
        }
    }
}
