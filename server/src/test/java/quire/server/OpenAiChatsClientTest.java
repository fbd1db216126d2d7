package quire.server;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;

import com.openai.client.OpenAIClient;
import com.openai.core.JsonValue;
import com.openai.core.http.StreamResponse;
import com.openai.helpers.ChatCompletionAccumulator;
import com.openai.models.FunctionDefinition;
import com.openai.models.FunctionParameters;
import com.openai.models.ReasoningEffort;
import com.openai.models.chat.completions.ChatCompletion;
import com.openai.models.chat.completions.ChatCompletionChunk;
import com.openai.models.chat.completions.ChatCompletionCreateParams;
import com.openai.models.chat.completions.ChatCompletionFunctionTool;
import com.openai.models.chat.completions.ChatCompletionMessage;
import com.openai.models.chat.completions.ChatCompletionMessageFunctionToolCall;
import com.openai.models.chat.completions.ChatCompletionMessageToolCall;
import com.openai.models.chat.completions.ChatCompletionToolChoiceOption;
import com.openai.models.chat.completions.ChatCompletionToolMessageParam;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** OpenAI's own client for Java, with chats that have tools, reasoning or several answers. */
@Timeout(60)
@SuppressWarnings("deprecation") // the client has no other access to fields that OpenAI does not have
class OpenAiChatsClientTest {
    private static final String CALL = "<call>weather:{\"city\": \"Bern\"}</call>";

    private static TestServer server;
    private static OpenAIClient client;

    @BeforeAll
    static void start() {
        server = TestServer.builder()
                .context(2048)
                .template(ReasoningTest.template())
                .script(prompt -> prompt.contains("at once")
                        ? CALL
                        : prompt.contains("sunny")
                                ? "It is sunny in Bern."
                                : prompt.contains("[weather]")
                                        ? "<think>\nI ask.\n</think>\n\nI look.\n" + CALL
                                        : "<think>\nHm.\n</think>\n\nGood morning.")
                .start();
        client = server.openAi();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    private static ChatCompletionCreateParams.Builder params(String text) {
        return ChatCompletionCreateParams.builder()
                .model("fake")
                .maxCompletionTokens(200)
                .temperature(0.0)
                .addUserMessage(text);
    }

    private static ChatCompletionCreateParams.Builder withTool(String text) {
        return params(text)
                .addTool(ChatCompletionFunctionTool.builder()
                        .function(FunctionDefinition.builder()
                                .name("weather")
                                .strict(true)
                                .parameters(FunctionParameters.builder()
                                        .putAdditionalProperty("type", JsonValue.from("object"))
                                        .putAdditionalProperty(
                                                "properties", JsonValue.from(Map.of("city", Map.of("type", "string"))))
                                        .putAdditionalProperty("required", JsonValue.from(List.of("city")))
                                        .putAdditionalProperty("additionalProperties", JsonValue.from(false))
                                        .build())
                                .build())
                        .build());
    }

    private static ChatCompletion streamed(ChatCompletionCreateParams params) {
        ChatCompletionAccumulator accumulator = ChatCompletionAccumulator.create();
        try (StreamResponse<ChatCompletionChunk> stream =
                client.chat().completions().createStreaming(params)) {
            stream.stream().forEach(accumulator::accumulate);
        }
        return accumulator.chatCompletion();
    }

    private static ChatCompletionMessageFunctionToolCall call(ChatCompletionMessage message) {
        List<ChatCompletionMessageToolCall> calls = message.toolCalls().orElseThrow();
        assertThat(calls).hasSize(1);
        return calls.getFirst().asFunction();
    }

    @Test
    void loopOfTools_wholeAndStreamed_endsWithAnAnswer() {
        for (boolean stream : new boolean[] {false, true}) {
            ChatCompletionCreateParams first = withTool("Weather in Bern?").build();
            ChatCompletion asked =
                    stream ? streamed(first) : client.chat().completions().create(first);
            ChatCompletion.Choice choice = asked.choices().getFirst();
            assertThat(choice.finishReason()).isEqualTo(ChatCompletion.Choice.FinishReason.TOOL_CALLS);
            assertThat(choice.message().content()).contains("I look.");
            ChatCompletionMessageFunctionToolCall call = call(choice.message());
            assertThat(call.function().name()).isEqualTo("weather");
            assertThat(call.function().arguments()).isEqualTo("{\"city\": \"Bern\"}");
            ChatCompletionCreateParams second = withTool("Weather in Bern?")
                    .addMessage(choice.message())
                    .addMessage(ChatCompletionToolMessageParam.builder()
                            .toolCallId(call.id())
                            .content("sunny")
                            .build())
                    .build();
            ChatCompletion answer =
                    stream ? streamed(second) : client.chat().completions().create(second);
            assertThat(answer.choices().getFirst().message().content()).contains("It is sunny in Bern.");
            assertThat(answer.choices().getFirst().finishReason()).isEqualTo(ChatCompletion.Choice.FinishReason.STOP);
        }
    }

    @Test
    void toolChoice_required_isACallAndNone_isText() {
        ChatCompletion required = client.chat()
                .completions()
                .create(withTool("Weather in Bern, at once")
                        .toolChoice(ChatCompletionToolChoiceOption.Auto.REQUIRED)
                        .build());
        assertThat(call(required.choices().getFirst().message()).function().name())
                .isEqualTo("weather");
        ChatCompletion none = client.chat()
                .completions()
                .create(withTool("Hello")
                        .toolChoice(ChatCompletionToolChoiceOption.Auto.NONE)
                        .build());
        assertThat(none.choices().getFirst().message().content()).contains("Good morning.");
        assertThat(none.choices().getFirst().message().toolCalls()).isEmpty();
    }

    @Test
    void reasoning_isApartInTheAnswerAndInTheStream() {
        ChatCompletionCreateParams params =
                params("Hello").reasoningEffort(ReasoningEffort.LOW).build();
        ChatCompletionMessage message =
                client.chat().completions().create(params).choices().getFirst().message();
        JsonValue reasoning = requireNonNull(message._additionalProperties().get("reasoning_content"));
        StringBuilder thought = new StringBuilder();
        StringBuilder content = new StringBuilder();
        try (StreamResponse<ChatCompletionChunk> stream =
                client.chat().completions().createStreaming(params)) {
            stream.stream().flatMap(chunk -> chunk.choices().stream()).forEach(choice -> {
                JsonValue piece = choice.delta()._additionalProperties().get("reasoning_content");
                thought.append(piece == null ? "" : piece.convert(String.class));
                content.append(choice.delta().content().orElse(""));
            });
        }
        assertThat(thought).isNotEmpty().hasToString(reasoning.convert(String.class));
        assertThat(content).hasToString(message.content().orElse(""));
    }

    @Test
    void n_two_areTwoAnswersWholeAndStreamed() {
        ChatCompletionCreateParams params = withTool("Weather in Bern?").n(2).build();
        for (ChatCompletion answer : List.of(client.chat().completions().create(params), streamed(params))) {
            assertThat(answer.choices()).hasSize(2);
            assertThat(answer.choices().stream().map(ChatCompletion.Choice::index))
                    .containsExactlyInAnyOrder(0L, 1L);
            assertThat(answer.choices().stream()
                            .map(choice -> call(choice.message()).id())
                            .distinct())
                    .hasSize(2);
        }
    }
}
