package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.openai.client.OpenAIClient;
import com.openai.core.JsonValue;
import com.openai.core.http.StreamResponse;
import com.openai.errors.BadRequestException;
import com.openai.errors.NotFoundException;
import com.openai.helpers.ResponseAccumulator;
import com.openai.models.responses.FunctionTool;
import com.openai.models.responses.Response;
import com.openai.models.responses.ResponseCreateParams;
import com.openai.models.responses.ResponseFunctionToolCall;
import com.openai.models.responses.ResponseInputItem;
import com.openai.models.responses.ResponseStatus;
import com.openai.models.responses.ResponseStreamEvent;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Semaphore;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** OpenAI's own client for Java, with responses. */
@Timeout(60)
class OpenAiResponsesClientTest {
    private static final String CALL = "<call>weather:{\"city\": \"Bern\"}</call>";

    private static TestServer server;
    private static OpenAIClient client;

    @BeforeAll
    static void start() {
        server = TestServer.builder()
                .context(2048)
                .template(ReasoningTest.template())
                .script(prompt -> prompt.contains("sunny")
                        ? "It is sunny in Bern."
                        : prompt.contains("[weather]")
                                ? "<think>\nI ask.\n</think>\n\nI look.\n" + CALL
                                : "Good morning.")
                .start();
        client = server.openAi();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    private static ResponseCreateParams.Builder params() {
        return ResponseCreateParams.builder().model("fake").maxOutputTokens(200).temperature(0.0);
    }

    private static ResponseCreateParams.Builder withTool() {
        return params().addTool(FunctionTool.builder()
                .name("weather")
                .strict(true)
                .parameters(FunctionTool.Parameters.builder()
                        .putAdditionalProperty("type", JsonValue.from("object"))
                        .putAdditionalProperty("properties", JsonValue.from(Map.of("city", Map.of("type", "string"))))
                        .putAdditionalProperty("required", JsonValue.from(List.of("city")))
                        .putAdditionalProperty("additionalProperties", JsonValue.from(false))
                        .build())
                .build());
    }

    private static Response streamed(OpenAIClient with, ResponseCreateParams params) {
        ResponseAccumulator accumulator = ResponseAccumulator.create();
        try (StreamResponse<ResponseStreamEvent> stream = with.responses().createStreaming(params)) {
            stream.stream().forEach(accumulator::accumulate);
        }
        return accumulator.response();
    }

    private static String text(Response response) {
        return response.output()
                .getLast()
                .asMessage()
                .content()
                .getFirst()
                .asOutputText()
                .text();
    }

    @Test
    void create_wholeAndStreamed_givesTheText() {
        ResponseCreateParams params = params().input("Hello").build();
        for (Response response : List.of(client.responses().create(params), streamed(client, params))) {
            response.validate();
            assertThat(text(response)).isEqualTo("Good morning.");
            assertThat(response.status()).contains(ResponseStatus.COMPLETED);
            assertThat(response.usage().orElseThrow().outputTokens()).isPositive();
        }
    }

    @Test
    void loopOfTools_byThePreviousResponse_endsWithAnAnswer() {
        for (boolean stream : new boolean[] {false, true}) {
            ResponseCreateParams first = withTool().input("Weather in Bern?").build();
            Response asked =
                    stream ? streamed(client, first) : client.responses().create(first);
            asked.validate();
            assertThat(asked.output()).hasSize(3);
            assertThat(asked.output().get(0).isReasoning()).isTrue();
            ResponseFunctionToolCall call = asked.output().get(2).asFunctionCall();
            assertThat(call.name()).isEqualTo("weather");
            assertThat(call.arguments()).isEqualTo("{\"city\": \"Bern\"}");
            ResponseCreateParams second = withTool()
                    .previousResponseId(asked.id())
                    .inputOfResponse(List.of(
                            ResponseInputItem.ofFunctionCallOutput(ResponseInputItem.FunctionCallOutput.builder()
                                    .callId(call.callId())
                                    .output("sunny")
                                    .build())))
                    .build();
            Response answer =
                    stream ? streamed(client, second) : client.responses().create(second);
            assertThat(text(answer)).isEqualTo("It is sunny in Bern.");
        }
    }

    @Test
    void retrieveAndDelete_ofAKeptResponse_work() {
        Response kept = client.responses().create(params().input("Hello").build());
        assertThat(text(client.responses().retrieve(kept.id()))).isEqualTo("Good morning.");
        client.responses().delete(kept.id());
        assertThatThrownBy(() -> client.responses().retrieve(kept.id())).isInstanceOf(NotFoundException.class);
    }

    @Test
    void errors_ofTheServer_haveTheClassesOfTheClient() {
        assertThatThrownBy(() -> client.responses()
                        .create(params().input("Hello").topP(7.0).build()))
                .isInstanceOf(BadRequestException.class)
                .hasMessageContaining("'top_p'");
    }

    @Test
    void stream_withSignsOfLife_isRead() throws Exception {
        Duration pause = Duration.ofSeconds(10);
        Semaphore steps = new Semaphore(0);
        ManualTimers time = new ManualTimers();
        TestServer.Builder builder = TestServer.builder()
                .config(TestServer.config().heartbeat(pause).build())
                .timers(time)
                .onForward(batch -> steps.acquireUninterruptibly());
        try (TestServer waiting = builder.start();
                Permits _ = () -> steps.release(1000)) {
            Thread.ofVirtual().start(() -> {
                time.awaitTimer(pause); // the stream has begun
                time.advance(pause);
                steps.release(1000);
            });
            ResponseCreateParams params =
                    params().input("Hello").maxOutputTokens(5).build();
            assertThat(streamed(waiting.openAi(), params).status()).isPresent();
        }
    }
}
