package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import dev.langchain4j.agent.tool.ToolExecutionRequest;
import dev.langchain4j.agent.tool.ToolSpecification;
import dev.langchain4j.data.message.AiMessage;
import dev.langchain4j.data.message.ChatMessage;
import dev.langchain4j.data.message.ToolExecutionResultMessage;
import dev.langchain4j.data.message.UserMessage;
import dev.langchain4j.model.anthropic.AnthropicChatModel;
import dev.langchain4j.model.anthropic.AnthropicStreamingChatModel;
import dev.langchain4j.model.chat.ChatModel;
import dev.langchain4j.model.chat.StreamingChatModel;
import dev.langchain4j.model.chat.request.ChatRequest;
import dev.langchain4j.model.chat.request.ResponseFormat;
import dev.langchain4j.model.chat.request.json.JsonObjectSchema;
import dev.langchain4j.model.chat.request.json.JsonSchema;
import dev.langchain4j.model.chat.response.ChatResponse;
import dev.langchain4j.model.chat.response.StreamingChatResponseHandler;
import dev.langchain4j.model.ollama.OllamaChatModel;
import dev.langchain4j.model.ollama.OllamaStreamingChatModel;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.ai.chat.messages.AssistantMessage;
import org.springframework.ai.chat.messages.ToolResponseMessage;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.ai.ollama.api.OllamaApi;
import org.springframework.ai.ollama.api.OllamaChatOptions;
import org.springframework.ai.openai.OpenAiChatModel;
import org.springframework.ai.openai.OpenAiChatOptions;
import org.springframework.ai.tool.ToolCallback;
import org.springframework.ai.tool.definition.ToolDefinition;

/** LangChain4j's models for Ollama and Anthropic, and Spring AI's models for OpenAI and Ollama, over HTTP. */
@Timeout(60)
class FrameworksTest {
    private static final TestServer SERVER = LangChainServer.start();

    private static final String QUESTION = "What is the weather in Munich?";

    @AfterAll
    static void stop() {
        SERVER.close();
    }

    // LangChain4j.

    private static OllamaChatModel ollama() {
        return OllamaChatModel.builder()
                .baseUrl(SERVER.url())
                .modelName(TestServer.MODEL)
                .maxRetries(0)
                .build();
    }

    private static AnthropicChatModel anthropic() {
        return AnthropicChatModel.builder()
                .baseUrl(SERVER.url() + "/v1")
                .apiKey("none")
                .modelName(TestServer.MODEL)
                .maxRetries(0)
                .build();
    }

    @Test
    void langChain_call_isRunAndAnswered() {
        ToolSpecification tool = ToolSpecification.builder()
                .name("getWeather")
                .parameters(JsonObjectSchema.builder()
                        .addStringProperty("city")
                        .required("city")
                        .build())
                .build();
        for (ChatModel model : List.of(ollama(), anthropic())) {
            List<ChatMessage> messages = new ArrayList<>(List.of(UserMessage.from(QUESTION)));
            AiMessage asked = model.chat(ChatRequest.builder()
                            .messages(messages)
                            .toolSpecifications(tool)
                            .build())
                    .aiMessage();
            ToolExecutionRequest call = asked.toolExecutionRequests().getFirst();
            assertThat(call.name()).isEqualTo("getWeather");
            assertThat(call.arguments().replaceAll("\\s", "")).isEqualTo("{\"city\":\"Munich\"}");
            messages.add(asked);
            messages.add(ToolExecutionResultMessage.from(call, "sunny"));
            ChatResponse answer = model.chat(ChatRequest.builder()
                    .messages(messages)
                    .toolSpecifications(tool)
                    .build());
            assertThat(answer.aiMessage().text()).isEqualTo("{\"weather\": \"sunny\"}");
            assertThat(answer.tokenUsage().outputTokenCount()).isPositive();
        }
    }

    @Test
    void langChain_ollamaWithASchema_getsItsObject() {
        JsonObjectSchema schema = JsonObjectSchema.builder()
                .addStringProperty("city")
                .required("city")
                .build();
        String text = ollama().chat(ChatRequest.builder()
                        .messages(UserMessage.from("Where is it?"))
                        .responseFormat(ResponseFormat.builder()
                                .type(dev.langchain4j.model.chat.request.ResponseFormatType.JSON)
                                .jsonSchema(JsonSchema.builder()
                                        .name("place")
                                        .rootElement(schema)
                                        .build())
                                .build())
                        .build())
                .aiMessage()
                .text();
        assertThat(text.replace(" ", "")).isEqualTo("{\"city\":\"Berlin\"}");
    }

    @Test
    void langChain_stream_isTheWholeText() {
        List<StreamingChatModel> models = List.of(
                OllamaStreamingChatModel.builder()
                        .baseUrl(SERVER.url())
                        .modelName(TestServer.MODEL)
                        .build(),
                AnthropicStreamingChatModel.builder()
                        .baseUrl(SERVER.url() + "/v1")
                        .apiKey("none")
                        .modelName(TestServer.MODEL)
                        .build());
        for (StreamingChatModel model : models) {
            StringBuilder pieces = new StringBuilder();
            CompletableFuture<ChatResponse> whole = new CompletableFuture<>();
            model.chat("Say Hello World", new StreamingChatResponseHandler() {
                @Override
                public void onPartialResponse(String piece) {
                    pieces.append(piece);
                }

                @Override
                public void onCompleteResponse(ChatResponse response) {
                    whole.complete(response);
                }

                @Override
                public void onError(Throwable error) {
                    whole.completeExceptionally(error);
                }
            });
            assertThat(whole.join().aiMessage().text()).isEqualTo("Hello World");
            assertThat(pieces).hasToString("Hello World");
        }
    }

    // Spring AI.

    /** A tool with a written schema: Spring's generator needs another version of a library than OpenAI's client. */
    private static final ToolCallback WEATHER = new ToolCallback() {
        @Override
        public ToolDefinition getToolDefinition() {
            return ToolDefinition.builder()
                    .name("getWeather")
                    .description("the weather")
                    .inputSchema("{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}},"
                            + "\"required\":[\"city\"]}")
                    .build();
        }

        @Override
        public String call(String arguments) {
            return "sunny";
        }
    };

    private static org.springframework.ai.chat.model.ChatModel springOllama() {
        return org.springframework.ai.ollama.OllamaChatModel.builder()
                .ollamaApi(OllamaApi.builder().baseUrl(SERVER.url()).build())
                .options(OllamaChatOptions.builder()
                        .model(TestServer.MODEL)
                        .toolCallbacks(WEATHER)
                        .build())
                .build();
    }

    private static org.springframework.ai.chat.model.ChatModel springOpenAi() {
        return OpenAiChatModel.builder()
                .options(OpenAiChatOptions.builder()
                        .baseUrl(SERVER.url() + "/v1")
                        .apiKey("none")
                        .model(TestServer.MODEL)
                        .maxRetries(0)
                        .toolCallbacks(WEATHER)
                        .build())
                .build();
    }

    @Test
    void spring_call_isRunAndAnswered() {
        for (org.springframework.ai.chat.model.ChatModel model : List.of(springOllama(), springOpenAi())) {
            Prompt first =
                    new Prompt(new org.springframework.ai.chat.messages.UserMessage(QUESTION), model.getOptions());
            AssistantMessage asked = model.call(first).getResults().getFirst().getOutput();
            AssistantMessage.ToolCall call = asked.getToolCalls().getFirst();
            assertThat(call.arguments().replaceAll("\\s", "")).isEqualTo("{\"city\":\"Munich\"}");
            ToolResponseMessage result = ToolResponseMessage.builder()
                    .responses(List.of(new ToolResponseMessage.ToolResponse(
                            call.id(), call.name(), WEATHER.call(call.arguments()))))
                    .build();
            Prompt second = new Prompt(List.of(first.getUserMessage(), asked, result), model.getOptions());
            assertThat(model.call(second).getResults().getFirst().getOutput().getText())
                    .isEqualTo("{\"weather\": \"sunny\"}");
        }
    }

    @Test
    void spring_stream_isTheWholeText() {
        for (org.springframework.ai.chat.model.ChatModel model : List.of(springOllama(), springOpenAi())) {
            assertThat(model.stream("Say Hello World").collectList().block())
                    .satisfies(pieces -> assertThat(String.join("", pieces)).isEqualTo("Hello World"));
        }
    }
}
