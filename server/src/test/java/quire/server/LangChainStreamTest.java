package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.mockito.ArgumentMatchers.any;
import static org.mockito.ArgumentMatchers.argThat;
import static org.mockito.Mockito.atLeast;

import dev.langchain4j.data.message.ImageContent;
import dev.langchain4j.data.message.UserMessage;
import dev.langchain4j.exception.InvalidRequestException;
import dev.langchain4j.model.chat.StreamingChatModel;
import dev.langchain4j.model.chat.common.AbstractStreamingChatModelIT;
import dev.langchain4j.model.chat.listener.ChatModelListener;
import dev.langchain4j.model.chat.request.ChatRequest;
import dev.langchain4j.model.chat.request.ChatRequestParameters;
import dev.langchain4j.model.chat.response.ChatResponse;
import dev.langchain4j.model.chat.response.ChatResponseMetadata;
import dev.langchain4j.model.chat.response.PartialResponse;
import dev.langchain4j.model.chat.response.PartialResponseContext;
import dev.langchain4j.model.chat.response.StreamingChatResponseHandler;
import dev.langchain4j.model.chat.response.StreamingHandle;
import dev.langchain4j.model.openai.OpenAiChatRequestParameters;
import dev.langchain4j.model.openai.OpenAiChatResponseMetadata;
import dev.langchain4j.model.openai.OpenAiStreamingChatModel;
import dev.langchain4j.model.openai.OpenAiTokenUsage;
import dev.langchain4j.model.output.TokenUsage;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.mockito.InOrder;

/** LangChain4j's conformance kit for chat models that stream, over HTTP. */
@Timeout(60)
class LangChainStreamTest extends AbstractStreamingChatModelIT {
    private static final TestServer SERVER = LangChainServer.start();

    @AfterAll
    static void stop() {
        SERVER.close();
    }

    private static OpenAiStreamingChatModel.OpenAiStreamingChatModelBuilder builder() {
        return OpenAiStreamingChatModel.builder()
                .baseUrl(SERVER.url() + "/v1")
                .apiKey("none")
                .modelName(TestServer.MODEL);
    }

    @Override
    protected List<StreamingChatModel> models() {
        return List.of(
                builder().build(),
                builder()
                        .strictJsonSchema(true)
                        .strictTools(true)
                        .temperature(0.0)
                        .build());
    }

    @Override
    protected StreamingChatModel createModelWith(ChatRequestParameters parameters) {
        OpenAiStreamingChatModel.OpenAiStreamingChatModelBuilder builder =
                builder().defaultRequestParameters(parameters);
        if (parameters.modelName() != null) {
            builder.modelName(parameters.modelName());
        }
        return builder.build();
    }

    @Override
    public StreamingChatModel createModelWith(ChatModelListener listener) {
        return builder().listeners(List.of(listener)).build();
    }

    @Override
    protected String customModelName() {
        return LangChainServer.OTHER_NAME;
    }

    @Override
    protected ChatRequestParameters createIntegrationSpecificParameters(int maxOutputTokens) {
        return OpenAiChatRequestParameters.builder()
                .maxOutputTokens(maxOutputTokens)
                .build();
    }

    @Override
    protected Class<? extends ChatResponseMetadata> chatResponseMetadataType(StreamingChatModel model) {
        return OpenAiChatResponseMetadata.class;
    }

    @Override
    protected Class<? extends TokenUsage> tokenUsageType(StreamingChatModel model) {
        return OpenAiTokenUsage.class;
    }

    /** The client calls back on the caller's thread if the head of the answer is there before it asks for it. */
    @Override
    protected boolean assertThreads() {
        return false;
    }

    /** The kit waits half a minute, for each model, that a cancelled answer has no end: in the nightly run. */
    @Override
    protected boolean supportsStreamingCancellation() {
        return Boolean.getBoolean("quire.nightly");
    }

    @ParameterizedTest
    @MethodSource("models")
    void cancel_afterTwoParts_leavesNothingRunning(StreamingChatModel model) throws Exception {
        AtomicInteger parts = new AtomicInteger();
        CompletableFuture<StreamingHandle> cancelled = new CompletableFuture<>();
        CompletableFuture<Object> ended = new CompletableFuture<>();
        StreamingChatResponseHandler handler = new StreamingChatResponseHandler() {
            @Override
            public void onPartialResponse(PartialResponse part, PartialResponseContext context) {
                if (parts.incrementAndGet() == 2) {
                    context.streamingHandle().cancel();
                    cancelled.complete(context.streamingHandle());
                }
            }

            @Override
            public void onCompleteResponse(ChatResponse response) {
                ended.complete(response);
            }

            @Override
            public void onError(Throwable error) {
                ended.complete(error);
            }
        };

        model.chat(
                ChatRequest.builder()
                        .messages(UserMessage.from("Tell me a long story about animals"))
                        .build(),
                handler);

        assertThat(cancelled.get().isCancelled()).isTrue();
        SERVER.awaitIdle();
        assertThat(parts).hasValue(2);
        assertThat(ended).isNotDone();
    }

    @Override
    protected boolean supportsSingleImageInputAsBase64EncodedString() {
        return false;
    }

    @Override
    protected boolean supportsSingleImageInputAsPublicURL() {
        return false;
    }

    /** A call comes in pieces: its id and name with each, and then the whole. */
    private static void verifyCall(
            StreamingChatResponseHandler handler, InOrder order, int index, String id, String name, String arguments) {
        order.verify(handler, atLeast(2))
                .onPartialToolCall(
                        argThat(call -> call.index() == index
                                && call.id().equals(id)
                                && call.name().equals(name)
                                && !call.partialArguments().isBlank()),
                        any());
        order.verify(handler).onCompleteToolCall(complete(index, id, name, arguments));
    }

    @Override
    protected void verifyToolCallbacks(StreamingChatResponseHandler handler, InOrder order, String id) {
        verifyCall(handler, order, 0, id, "getWeather", "{\"city\":\"Munich\"}");
    }

    @Override
    protected void verifyToolCallbacks(StreamingChatResponseHandler handler, InOrder order, String id1, String id2) {
        verifyCall(handler, order, 0, id1, "getWeather", "{\"city\":\"Munich\"}");
        verifyCall(handler, order, 1, id2, "getTime", "{\"country\":\"France\"}");
    }

    // The kit expects an exception of the client, which cannot know that a server takes no images: the server's 400.

    @Override
    @ParameterizedTest
    @MethodSource("modelsSupportingImageInputs")
    protected void should_fail_if_images_as_base64_encoded_strings_are_not_supported(StreamingChatModel model) {
        checkRefused(model, ImageContent.from("iVBORw0KGgo=", "image/png"));
    }

    @Override
    @ParameterizedTest
    @MethodSource("modelsSupportingImageInputs")
    protected void should_fail_if_images_as_public_URLs_are_not_supported(StreamingChatModel model) {
        checkRefused(model, ImageContent.from("https://example.org/cat.png"));
    }

    private void checkRefused(StreamingChatModel model, ImageContent image) {
        ChatRequest request =
                ChatRequest.builder().messages(UserMessage.from(image)).build();
        assertThatThrownBy(() -> chat(model, request))
                .hasRootCauseInstanceOf(dev.langchain4j.exception.HttpException.class)
                .hasStackTraceContaining(InvalidRequestException.class.getName())
                .hasStackTraceContaining("messages[0].content[0].type");
    }
}
