package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.anthropic.client.AnthropicClient;
import com.anthropic.client.okhttp.AnthropicOkHttpClient;
import com.anthropic.core.JsonValue;
import com.anthropic.core.http.StreamResponse;
import com.anthropic.errors.BadRequestException;
import com.anthropic.errors.NotFoundException;
import com.anthropic.helpers.MessageAccumulator;
import com.anthropic.models.messages.ContentBlock;
import com.anthropic.models.messages.ContentBlockParam;
import com.anthropic.models.messages.Message;
import com.anthropic.models.messages.MessageCountTokensParams;
import com.anthropic.models.messages.MessageCreateParams;
import com.anthropic.models.messages.RawMessageStreamEvent;
import com.anthropic.models.messages.StopReason;
import com.anthropic.models.messages.Tool;
import com.anthropic.models.messages.ToolResultBlockParam;
import com.anthropic.models.messages.ToolUseBlock;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Anthropic's own client for Java. */
@Timeout(60)
class AnthropicClientTest {
    private static final String CALL = "<call>weather:{\"city\": \"Bern\"}</call>";

    private static TestServer server;
    private static AnthropicClient client;

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
        client = AnthropicOkHttpClient.builder()
                .baseUrl(server.url())
                .apiKey("none")
                .maxRetries(0)
                .build();
    }

    @AfterAll
    static void stop() {
        client.close();
        server.close();
    }

    private static MessageCreateParams.Builder params() {
        return MessageCreateParams.builder()
                .model("fake")
                .maxTokens(200)
                .putAdditionalBodyProperty("temperature", JsonValue.from(0));
    }

    private static MessageCreateParams.Builder withTool() {
        return params().addTool(Tool.builder()
                .name("weather")
                .description("the weather of a city")
                .inputSchema(Tool.InputSchema.builder()
                        .properties(Tool.InputSchema.Properties.builder()
                                .putAdditionalProperty("city", JsonValue.from(Map.of("type", "string")))
                                .build())
                        .required(List.of("city"))
                        .build())
                .build());
    }

    private static Message streamed(MessageCreateParams params) {
        MessageAccumulator accumulator = MessageAccumulator.create();
        try (StreamResponse<RawMessageStreamEvent> stream = client.messages().createStreaming(params)) {
            stream.stream().forEach(accumulator::accumulate);
        }
        return accumulator.message();
    }

    @Test
    void create_wholeAndStreamed_givesTheText() {
        MessageCreateParams params = params().addUserMessage("Hello").build();
        for (Message message : List.of(client.messages().create(params), streamed(params))) {
            assertThat(message.content().getFirst().asText().text()).isEqualTo("Good morning.");
            assertThat(message.stopReason()).contains(StopReason.END_TURN);
            assertThat(message.usage().outputTokens()).isPositive();
            message.validate();
        }
    }

    @Test
    void loopOfTools_wholeAndStreamed_endsWithAnAnswer() {
        MessageCreateParams.Builder conversation = withTool().addUserMessage("Weather in Bern?");
        for (boolean stream : new boolean[] {false, true}) {
            MessageCreateParams first = conversation.build();
            Message asked = stream ? streamed(first) : client.messages().create(first);
            assertThat(asked.content()).hasSize(3);
            assertThat(asked.content().get(0).asThinking().thinking()).isEqualTo("I ask.");
            assertThat(asked.content().get(0).asThinking().signature()).isNotEmpty();
            assertThat(asked.content().get(1).asText().text()).isEqualTo("I look.");
            ToolUseBlock use = asked.content().get(2).asToolUse();
            assertThat(use.name()).isEqualTo("weather");
            assertThat(use._input()).isEqualTo(JsonValue.from(Map.of("city", "Bern")));
            assertThat(asked.stopReason()).contains(StopReason.TOOL_USE);
            MessageCreateParams second = first.toBuilder()
                    .addMessage(asked)
                    .addUserMessageOfContentBlockParams(
                            List.of(ContentBlockParam.ofToolResult(ToolResultBlockParam.builder()
                                    .toolUseId(use.id())
                                    .content("sunny")
                                    .build())))
                    .build();
            Message answer = stream ? streamed(second) : client.messages().create(second);
            assertThat(answer.content().stream().map(ContentBlock::asText).map(text -> text.text()))
                    .containsExactly("It is sunny in Bern.");
        }
    }

    @Test
    void countTokens_ofAMessage_isItsPrompt() {
        assertThat(client.messages()
                        .countTokens(MessageCountTokensParams.builder()
                                .model("fake")
                                .addUserMessage("Hello")
                                .build())
                        .inputTokens())
                .isEqualTo("<user>Hello<assistant>".length());
    }

    @Test
    void errors_ofTheServer_haveTheClassesOfTheClient() {
        assertThatThrownBy(() -> client.messages()
                        .create(params().model("other").addUserMessage("Hello").build()))
                .isInstanceOf(NotFoundException.class)
                .hasMessageContaining("other");
        assertThatThrownBy(() -> client.messages()
                        .create(params().putAdditionalBodyProperty("top_p", JsonValue.from(7))
                                .addUserMessage("Hello")
                                .build()))
                .isInstanceOf(BadRequestException.class)
                .hasMessageContaining("'top_p'");
    }
}
