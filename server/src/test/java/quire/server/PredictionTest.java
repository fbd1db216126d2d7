package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import com.openai.client.OpenAIClient;
import com.openai.models.chat.completions.ChatCompletion;
import com.openai.models.chat.completions.ChatCompletionCreateParams;
import com.openai.models.chat.completions.ChatCompletionPredictionContent;
import com.openai.models.completions.CompletionUsage;
import java.net.http.HttpResponse;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.engine.Speculation;

/** OpenAI's predicted outputs. */
@Timeout(60)
class PredictionTest {
    private static final String OLD = "class A {\n  int first = 1;\n  int second = 2;\n  int third = 3;\n}";
    private static final String NEW = OLD.replace("second = 2", "other = 22");

    private static final TestServer SERVER = TestServer.builder()
            .script(prompt -> NEW)
            .speculation(new Speculation(8, true, null, null))
            .start();

    @AfterAll
    static void stop() {
        SERVER.close();
    }

    @Test
    void prediction_ofAnEditedText_isMostlyAcceptedAndChangesNothing() {
        OpenAIClient client = SERVER.openAi();
        ChatCompletion plain = client.chat().completions().create(params().build());
        ChatCompletion predicted = client.chat()
                .completions()
                .create(params().prediction(ChatCompletionPredictionContent.builder()
                                .content(OLD)
                                .build())
                        .build());

        for (ChatCompletion answer : List.of(plain, predicted)) {
            assertThat(answer.choices().getFirst().message().content()).contains(NEW);
        }
        assertThat(details(plain).acceptedPredictionTokens().orElseThrow()).isZero();
        assertThat(details(plain).rejectedPredictionTokens().orElseThrow()).isZero();
        assertThat(details(predicted).acceptedPredictionTokens().orElseThrow()).isGreaterThan(40);
        assertThat(details(predicted).rejectedPredictionTokens().orElseThrow()).isPositive();
    }

    private static ChatCompletionCreateParams.Builder params() {
        return ChatCompletionCreateParams.builder()
                .model("fake")
                .addUserMessage("Rename second.")
                .maxCompletionTokens(200)
                .temperature(0);
    }

    private static CompletionUsage.CompletionTokensDetails details(ChatCompletion answer) {
        return answer.usage().orElseThrow().completionTokensDetails().orElseThrow();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '\0',
            value = {
                "{}|prediction",
                "{\"content\":\"a\"}|prediction.type",
                "5|prediction",
                "{\"type\":\"text\",\"content\":\"a\"}|prediction.type",
                "{\"type\":\"content\"}|prediction.content",
                "{\"type\":\"content\",\"content\":5}|prediction.content",
                "{\"type\":\"content\",\"content\":[{\"type\":\"image_url\"}]}|prediction.content[0].type",
            })
    void prediction_malformed_isRefusedByName(String value, String param) throws Exception {
        HttpResponse<String> response = SERVER.post(
                "/v1/chat/completions",
                "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"prediction\":" + value + "}");
        assertThat(response.statusCode()).as(response.body()).isEqualTo(400);
        assertThat(TestServer.error(response).get("param").stringValue()).isEqualTo(param);
    }

    @Test
    void prediction_inParts_isAccepted() throws Exception {
        HttpResponse<String> response = SERVER.post(
                "/v1/chat/completions",
                "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"prediction\":{\"type\":\"content\",\"content\":"
                        + "[{\"type\":\"text\",\"text\":\"class A {\"},{\"type\":\"text\",\"text\":\"\\n  int\"}]}}");
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
    }
}
