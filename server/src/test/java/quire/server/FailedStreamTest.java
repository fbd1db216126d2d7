package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import com.anthropic.client.okhttp.AnthropicOkHttpClient;
import com.anthropic.models.messages.MessageCreateParams;
import com.openai.client.OpenAIClient;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import com.openai.models.chat.completions.ChatCompletionCreateParams;
import com.openai.models.completions.CompletionCreateParams;
import com.openai.models.responses.ResponseCreateParams;
import dev.langchain4j.model.anthropic.AnthropicStreamingChatModel;
import dev.langchain4j.model.chat.StreamingChatModel;
import dev.langchain4j.model.chat.response.ChatResponse;
import dev.langchain4j.model.chat.response.StreamingChatResponseHandler;
import dev.langchain4j.model.ollama.OllamaStreamingChatModel;
import dev.langchain4j.model.openai.OpenAiStreamingChatModel;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.Timeout;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.ai.ollama.api.OllamaApi;
import org.springframework.ai.ollama.api.OllamaChatOptions;
import org.springframework.ai.openai.OpenAiChatModel;
import org.springframework.ai.openai.OpenAiChatOptions;
import quire.engine.Script;

/**
 * A stream that fails in the middle ends as HTTP demands, behind an event with the error. Each client library must see it as
 * failed, and all but one show the message of Quire.
 */
@Timeout(60)
class FailedStreamTest {
    private static final TestServer SERVER = TestServer.builder()
            .script(prompt -> "Half of an answer " + Script.BROKEN)
            .start();

    private static final String MESSAGE = "not finite";

    @AfterAll
    static void stop() {
        SERVER.close();
    }

    /** Reads a stream to its end. */
    private interface Client {
        void read() throws Exception;
    }

    private static Map<String, Client> clients() {
        String v1 = SERVER.url() + "/v1";
        OpenAIClient openAi = OpenAIOkHttpClient.builder()
                .baseUrl(v1)
                .apiKey("none")
                .maxRetries(0)
                .build();
        Map<String, Client> clients = new LinkedHashMap<>();
        clients.put("OpenAI, chat", () -> {
            try (var stream = openAi.chat()
                    .completions()
                    .createStreaming(ChatCompletionCreateParams.builder()
                            .model(TestServer.MODEL)
                            .addUserMessage("hi")
                            .build())) {
                stream.stream().forEach(chunk -> {});
            }
        });
        clients.put("OpenAI, completion", () -> {
            try (var stream = openAi.completions()
                    .createStreaming(CompletionCreateParams.builder()
                            .model(TestServer.MODEL)
                            .prompt("hi<assistant>") // where the script begins
                            .maxTokens(100)
                            .build())) {
                stream.stream().forEach(chunk -> {});
            }
        });
        clients.put("OpenAI, response", () -> {
            try (var stream = openAi.responses()
                    .createStreaming(ResponseCreateParams.builder()
                            .model(TestServer.MODEL)
                            .input("hi")
                            .build())) {
                stream.stream().forEach(event -> event.error()
                        .ifPresent(
                                error -> { // an event as all others
                                    throw new IllegalStateException(error.message());
                                }));
            }
        });
        clients.put("Anthropic", () -> {
            var anthropic = AnthropicOkHttpClient.builder()
                    .baseUrl(SERVER.url())
                    .apiKey("none")
                    .maxRetries(0)
                    .build();
            try (var stream = anthropic
                    .messages()
                    .createStreaming(MessageCreateParams.builder()
                            .model(TestServer.MODEL)
                            .maxTokens(100)
                            .addUserMessage("hi")
                            .build())) {
                stream.stream().forEach(event -> {});
            }
        });
        clients.put(
                "LangChain4j, OpenAI",
                langChain(OpenAiStreamingChatModel.builder()
                        .baseUrl(v1)
                        .apiKey("none")
                        .modelName(TestServer.MODEL)
                        .build()));
        clients.put(
                "LangChain4j, Anthropic",
                langChain(AnthropicStreamingChatModel.builder()
                        .baseUrl(v1)
                        .apiKey("none")
                        .modelName(TestServer.MODEL)
                        .build()));
        clients.put(
                "LangChain4j, Ollama",
                langChain(OllamaStreamingChatModel.builder()
                        .baseUrl(SERVER.url())
                        .modelName(TestServer.MODEL)
                        .build()));
        clients.put("Spring AI, OpenAI", () -> OpenAiChatModel.builder()
                .options(OpenAiChatOptions.builder()
                        .baseUrl(v1)
                        .apiKey("none")
                        .model(TestServer.MODEL)
                        .maxRetries(0)
                        .build())
                .build()
                .stream(new Prompt("hi"))
                .collectList()
                .block());
        clients.put("Spring AI, Ollama", () -> org.springframework.ai.ollama.OllamaChatModel.builder()
                .ollamaApi(OllamaApi.builder().baseUrl(SERVER.url()).build())
                .options(OllamaChatOptions.builder().model(TestServer.MODEL).build())
                .build()
                .stream(new Prompt("hi"))
                .collectList()
                .block());
        return clients;
    }

    private static Client langChain(StreamingChatModel model) {
        return () -> {
            CompletableFuture<ChatResponse> whole = new CompletableFuture<>();
            model.chat("hi", new StreamingChatResponseHandler() {
                @Override
                public void onPartialResponse(String piece) {}

                @Override
                public void onCompleteResponse(ChatResponse response) {
                    whole.complete(response);
                }

                @Override
                public void onError(Throwable error) {
                    whole.completeExceptionally(error);
                }
            });
            whole.get();
        };
    }

    @TestFactory
    Stream<DynamicTest> stream_thatFails_isSeenAsFailed() {
        return clients().entrySet().stream()
                .map(client -> dynamicTest(client.getKey(), () -> {
                    String seen = failure(client.getValue());
                    assertThat(seen).as("failure").isNotNull();
                    if (!client.getKey().equals("Spring AI, Ollama")) { // it fails at a line without a message
                        assertThat(seen).contains(MESSAGE);
                    }
                }));
    }

    /** What a client fails with; null if it takes the answer for a whole one. */
    private static @Nullable String failure(Client client) {
        try {
            client.read();
            return null;
        } catch (Exception e) {
            StringBuilder messages = new StringBuilder();
            for (Throwable cause = e; cause != null; cause = cause.getCause()) {
                messages.append(cause).append('\n');
            }
            return messages.toString();
        }
    }
}
