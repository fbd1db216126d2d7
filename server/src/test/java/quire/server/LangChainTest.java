package quire.server;

import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.langchain4j.data.message.ImageContent;
import dev.langchain4j.data.message.UserMessage;
import dev.langchain4j.exception.InvalidRequestException;
import dev.langchain4j.model.chat.ChatModel;
import dev.langchain4j.model.chat.common.AbstractChatModelIT;
import dev.langchain4j.model.chat.request.ChatRequest;
import dev.langchain4j.model.chat.request.ChatRequestParameters;
import dev.langchain4j.model.chat.response.ChatResponseMetadata;
import dev.langchain4j.model.openai.OpenAiChatModel;
import dev.langchain4j.model.openai.OpenAiChatRequestParameters;
import dev.langchain4j.model.openai.OpenAiChatResponseMetadata;
import dev.langchain4j.model.openai.OpenAiTokenUsage;
import dev.langchain4j.model.output.TokenUsage;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** LangChain4j's conformance kit for chat models, over HTTP. */
@Timeout(60)
class LangChainTest extends AbstractChatModelIT {
    private static final TestServer SERVER = LangChainServer.start();

    @AfterAll
    static void stop() {
        SERVER.close();
    }

    private static OpenAiChatModel.OpenAiChatModelBuilder builder() {
        return OpenAiChatModel.builder()
                .baseUrl(SERVER.url() + "/v1")
                .apiKey("none")
                .maxRetries(0)
                .modelName(TestServer.MODEL);
    }

    @Override
    protected List<ChatModel> models() {
        return List.of(
                builder().build(),
                builder()
                        .strictJsonSchema(true)
                        .strictTools(true)
                        .temperature(0.0)
                        .build());
    }

    @Override
    protected ChatModel createModelWith(ChatRequestParameters parameters) {
        OpenAiChatModel.OpenAiChatModelBuilder builder = builder().defaultRequestParameters(parameters);
        if (parameters.modelName() != null) {
            builder.modelName(parameters.modelName());
        }
        return builder.build();
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
    protected Class<? extends ChatResponseMetadata> chatResponseMetadataType(ChatModel model) {
        return OpenAiChatResponseMetadata.class;
    }

    @Override
    protected Class<? extends TokenUsage> tokenUsageType(ChatModel model) {
        return OpenAiTokenUsage.class;
    }

    @Override
    protected boolean supportsSingleImageInputAsBase64EncodedString() {
        return false;
    }

    @Override
    protected boolean supportsSingleImageInputAsPublicURL() {
        return false;
    }

    // The kit expects an exception of the client, which cannot know that a server takes no images: the server's 400.

    @Override
    @ParameterizedTest
    @MethodSource("modelsSupportingImageInputs")
    protected void should_fail_if_images_as_base64_encoded_strings_are_not_supported(ChatModel model) {
        checkRefused(model, ImageContent.from("iVBORw0KGgo=", "image/png"));
    }

    @Override
    @ParameterizedTest
    @MethodSource("modelsSupportingImageInputs")
    protected void should_fail_if_images_as_public_URLs_are_not_supported(ChatModel model) {
        checkRefused(model, ImageContent.from("https://example.org/cat.png"));
    }

    private static void checkRefused(ChatModel model, ImageContent image) {
        ChatRequest request =
                ChatRequest.builder().messages(UserMessage.from(image)).build();
        assertThatThrownBy(() -> model.chat(request))
                .isInstanceOf(InvalidRequestException.class)
                .hasMessageContaining("messages[0].content[0].type");
    }
}
