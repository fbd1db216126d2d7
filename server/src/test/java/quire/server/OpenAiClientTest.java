package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import com.openai.client.OpenAIClient;
import com.openai.core.JsonValue;
import com.openai.core.http.StreamResponse;
import com.openai.errors.BadRequestException;
import com.openai.errors.NotFoundException;
import com.openai.errors.RateLimitException;
import com.openai.errors.UnauthorizedException;
import com.openai.models.ResponseFormatJsonObject;
import com.openai.models.ResponseFormatJsonSchema;
import com.openai.models.chat.completions.ChatCompletion;
import com.openai.models.chat.completions.ChatCompletionChunk;
import com.openai.models.chat.completions.ChatCompletionCreateParams;
import com.openai.models.chat.completions.ChatCompletionStreamOptions;
import com.openai.models.chat.completions.StructuredChatCompletion;
import com.openai.models.completions.Completion;
import com.openai.models.completions.CompletionChoice;
import com.openai.models.completions.CompletionCreateParams;
import com.openai.models.completions.CompletionUsage;
import com.openai.models.models.Model;
import java.net.http.HttpResponse;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.engine.Output;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.Scheduling;
import quire.engine.TokenStream;
import quire.server.api.Json;

/** Acceptance test: OpenAI's own client against this server. */
@Timeout(60)
@SuppressWarnings("deprecation") // OpenAI has deprecated the seed of chat; this server supports it
class OpenAiClientTest {
    private TestServer server;
    private OpenAIClient client;

    @BeforeEach
    void start() {
        server = TestServer.start();
        client = server.openAi();
    }

    @AfterEach
    void stop() {
        server.close();
    }

    @Test
    void completion_ofText_isTheEnginesAnswerWithUsage() throws InterruptedException {
        SamplingParams params =
                SamplingParams.builder().seed(7).maxTokens(40).temperature(0.8).build();
        Direct direct = direct("Once upon a time", params);
        Completion completion = client.completions()
                .create(completion("Once upon a time")
                        .seed(7)
                        .maxTokens(40)
                        .temperature(0.8)
                        .build());
        CompletionChoice choice = completion.choices().getFirst();
        assertThat(choice.text()).isEqualTo(direct.text);
        assertThat(choice.finishReason().asString()).isEqualTo(direct.reason());
        assertThat(completion.model()).isEqualTo("fake");
        assertThat(completion.id()).startsWith("cmpl-");
        assertThat(completion.usage().orElseThrow().promptTokens()).isEqualTo(17);
        assertThat(completion.usage().orElseThrow().completionTokens()).isEqualTo(direct.finish.completionTokens());
        completion.validate();
    }

    @Test
    void completion_streamed_isTheSameText() {
        CompletionCreateParams params =
                completion("Es war einmal").seed(11).maxTokens(200).build();
        String whole = client.completions().create(params).choices().getFirst().text();
        List<Completion> chunks;
        try (StreamResponse<Completion> stream = client.completions().createStreaming(params)) {
            chunks = stream.stream().toList();
        }
        assertThat(chunks.stream()
                        .map(chunk -> chunk.choices().getFirst().text())
                        .collect(Collectors.joining()))
                .isEqualTo(whole);
        assertThat(chunks).hasSizeGreaterThan(5);
        assertThat(chunks.getLast().choices().getFirst().finishReason().asString())
                .isIn("stop", "length");
        assertThat(chunks.stream().map(Completion::id).distinct()).hasSize(1);
    }

    @Test
    void chat_whole_isTheEnginesAnswerToTheRenderedPrompt() throws InterruptedException {
        SamplingParams params = SamplingParams.builder().seed(3).maxTokens(30).build();
        Direct direct =
                direct(server.engine.tokenizer().encode("<system>Be brief.<user>Hi<assistant>", false, true), params);
        ChatCompletion chat = client.chat()
                .completions()
                .create(chat().addDeveloperMessage("Be brief.")
                        .addUserMessage("Hi")
                        .seed(3)
                        .maxCompletionTokens(30)
                        .build());
        assertThat(chat.choices().getFirst().message().content()).contains(direct.text);
        assertThat(chat.choices().getFirst().finishReason().asString()).isEqualTo(direct.reason());
        assertThat(chat.usage().orElseThrow().totalTokens())
                .isEqualTo(direct.finish.promptTokens() + direct.finish.completionTokens());
        chat.validate();
    }

    @Test
    void chat_streamed_beginsWithTheRoleAndEndsWithTheUsage() {
        ChatCompletionCreateParams.Builder params =
                chat().addUserMessage("Hello").seed(5).maxCompletionTokens(50);
        ChatCompletion whole = client.chat().completions().create(params.build());
        List<ChatCompletionChunk> chunks;
        try (StreamResponse<ChatCompletionChunk> stream = client.chat()
                .completions()
                .createStreaming(params.streamOptions(ChatCompletionStreamOptions.builder()
                                .includeUsage(true)
                                .build())
                        .build())) {
            chunks = stream.stream().toList();
        }
        chunks.forEach(ChatCompletionChunk::validate);
        assertThat(chunks.getFirst()
                        .choices()
                        .getFirst()
                        .delta()
                        .role()
                        .orElseThrow()
                        .asString())
                .isEqualTo("assistant");
        String text = chunks.stream()
                .flatMap(chunk -> chunk.choices().stream())
                .map(choice -> choice.delta().content().orElse(""))
                .collect(Collectors.joining());
        assertThat(whole.choices().getFirst().message().content()).contains(text);
        ChatCompletionChunk last = chunks.getLast();
        assertThat(last.choices()).isEmpty();
        CompletionUsage usage = last.usage().orElseThrow();
        assertThat(usage.promptTokens()).isEqualTo(whole.usage().orElseThrow().promptTokens());
        assertThat(usage.completionTokens())
                .isEqualTo(whole.usage().orElseThrow().completionTokens());
        // The prompt of the whole answer came again.
        assertThat(usage.promptTokensDetails().orElseThrow().cachedTokens())
                .hasValueSatisfying(cached -> assertThat(cached).isPositive());
        assertThat(chunks.get(chunks.size() - 2)
                        .choices()
                        .getFirst()
                        .finishReason()
                        .orElseThrow()
                        .asString())
                .isEqualTo(whole.choices().getFirst().finishReason().asString());
    }

    @Test
    void chat_withoutLimit_goesOnToTheEndOfTheContext() {
        ChatCompletion chat = client.chat()
                .completions()
                .create(chat().addUserMessage("Hi")
                        .seed(1)
                        .putAdditionalBodyProperty("ignore_eos", com.openai.core.JsonValue.from(true))
                        .build());
        assertThat(chat.usage().orElseThrow().totalTokens()).isEqualTo(TestServer.CONTEXT);
        assertThat(chat.choices().getFirst().finishReason().asString()).isEqualTo("length");
    }

    @Test
    void logprobs_ofCompletionAndChat_areTheEnginesNumbers() throws InterruptedException {
        SamplingParams params =
                SamplingParams.builder().seed(9).maxTokens(20).logprobs(3).build();
        Direct direct = direct("logprobs", params);
        CompletionChoice.Logprobs completion = client.completions()
                .create(completion("logprobs").seed(9).maxTokens(20).logprobs(3).build())
                .choices()
                .getFirst()
                .logprobs()
                .orElseThrow();
        assertThat(completion.tokenLogprobs().orElseThrow().stream().map(Double::floatValue))
                .containsExactlyElementsOf(
                        direct.outputs.stream().map(OpenAiClientTest::chosen).toList());
        assertThat(completion.topLogprobs().orElseThrow()).hasSameSizeAs(direct.outputs);
        assertThat(completion.textOffset().orElseThrow().getFirst()).isZero();

        int[] prompt = server.engine.tokenizer().encode("<user>logprobs<assistant>", false, true);
        Direct directChat = direct(prompt, params);
        ChatCompletion chat = client.chat()
                .completions()
                .create(chat().addUserMessage("logprobs")
                        .seed(9)
                        .maxCompletionTokens(20)
                        .logprobs(true)
                        .topLogprobs(3)
                        .build());
        var content =
                chat.choices().getFirst().logprobs().orElseThrow().content().orElseThrow();
        assertThat(content.stream().map(entry -> (float) entry.logprob()))
                .containsExactlyElementsOf(directChat.outputs.stream()
                        .map(OpenAiClientTest::chosen)
                        .toList());
        assertThat(content).allSatisfy(entry -> assertThat(entry.topLogprobs()).hasSize(3));
        assertThat(content.getFirst().bytes().orElseThrow())
                .containsExactly((long) server.engine.tokenizer()
                                .bytes(directChat.outputs.getFirst().token())[0]
                        & 0xFF);
    }

    @Test
    void logprobs_behindBrokenCharacters_haveTheTextsOffsets() {
        CompletionChoice choice = client.completions()
                .create(completion("bytes")
                        .maxTokens(6)
                        .logprobs(0)
                        .temperature(0)
                        .putAdditionalBodyProperty("logit_bias", com.openai.core.JsonValue.from(Map.of("197", 100)))
                        .build())
                .choices()
                .getFirst();
        assertThat(choice.text()).isEqualTo("\uFFFD".repeat(6)); // 197 is the first byte of a character, 0xC3
        assertThat(choice.logprobs().orElseThrow().textOffset().orElseThrow()).containsExactly(0L, 1L, 2L, 3L, 4L, 5L);
    }

    @Test
    void echo_ofText_comesBeforeTheAnswer() {
        CompletionCreateParams.Builder params = completion("Echo! ").seed(2).maxTokens(10);
        String plain =
                client.completions().create(params.build()).choices().getFirst().text();
        params.echo(true);
        assertThat(client.completions()
                        .create(params.build())
                        .choices()
                        .getFirst()
                        .text())
                .isEqualTo("Echo! " + plain);
        try (StreamResponse<Completion> stream = client.completions().createStreaming(params.build())) {
            assertThat(stream.stream().map(c -> c.choices().getFirst().text()).collect(Collectors.joining()))
                    .isEqualTo("Echo! " + plain);
        }
    }

    @Test
    void prompt_ofTokenIds_isUsedUnchanged() {
        long[] ids = {0, 79, 112, 101, 103};
        Completion byIds = client.completions()
                .create(CompletionCreateParams.builder()
                        .model("fake")
                        .promptOfArrayOfTokens(
                                java.util.Arrays.stream(ids).boxed().toList())
                        .seed(4)
                        .build());
        Completion byText =
                client.completions().create(completion("Mnce").seed(4).build());
        assertThat(byIds.choices().getFirst().text())
                .isEqualTo(byText.choices().getFirst().text());
        assertThat(byIds.usage()).isEqualTo(byText.usage());
    }

    @Test
    void stop_string_endsTheAnswerBeforeIt() {
        String whole = client.completions()
                .create(completion("stop")
                        .seed(6)
                        .maxTokens(60)
                        .putAdditionalBodyProperty("ignore_eos", com.openai.core.JsonValue.from(true))
                        .build())
                .choices()
                .getFirst()
                .text();
        String stop = whole.substring(10, 13);
        CompletionChoice choice = client.completions()
                .create(completion("stop")
                        .seed(6)
                        .maxTokens(60)
                        .putAdditionalBodyProperty("ignore_eos", com.openai.core.JsonValue.from(true))
                        .stop(stop)
                        .build())
                .choices()
                .getFirst();
        assertThat(choice.text()).isEqualTo(whole.substring(0, whole.indexOf(stop)));
        assertThat(choice.finishReason().asString()).isEqualTo("stop");
    }

    @Test
    void seed_absent_givesDifferentAnswers() {
        // Without an end token, two answers of 60 tokens are practically never equal.
        CompletionCreateParams params = completion("dice")
                .maxTokens(60)
                .putAdditionalBodyProperty("ignore_eos", com.openai.core.JsonValue.from(true))
                .build();
        String first = client.completions().create(params).choices().getFirst().text();
        String second = client.completions().create(params).choices().getFirst().text();
        assertThat(first).isNotEqualTo(second);
    }

    @Test
    void models_listedAndAskedFor_haveTheEnginesName() {
        assertThat(client.models().list().data().stream().map(Model::id)).containsExactly("fake");
        assertThat(client.models().retrieve("fake").id()).isEqualTo("fake");
        NotFoundException e = catchThrowableOfType(
                NotFoundException.class, () -> client.models().retrieve("gpt-4o"));
        assertThat(e.code()).contains("model_not_found");
    }

    @Test
    void model_unknown_isNotFound() {
        NotFoundException e = catchThrowableOfType(NotFoundException.class, () -> client.completions()
                .create(completion("x").model("gpt-4o").build()));
        assertThat(e.code()).contains("model_not_found");
        assertThat(e.param()).contains("model");
        assertThat(e.getMessage()).contains("'gpt-4o'").contains("'fake'");
    }

    @Test
    void parameter_outOfRange_isABadRequestThatNamesIt() {
        BadRequestException e = catchThrowableOfType(BadRequestException.class, () -> client.completions()
                .create(completion("x").topP(1.5).build()));
        assertThat(e.param()).contains("top_p");
        assertThat(e.type()).contains("invalid_request_error");
    }

    @Test
    void toolChoice_requiredWithoutTools_isRefused() {
        BadRequestException e = catchThrowableOfType(BadRequestException.class, () -> client.chat()
                .completions()
                .create(chat().addUserMessage("x")
                        .toolChoice(com.openai.models.chat.completions.ChatCompletionToolChoiceOption.Auto.REQUIRED)
                        .build()));
        assertThat(e.param()).contains("tool_choice");
    }

    /** What the client's structured outputs ask for. */
    public static final class Weather {
        /** The values of a property. */
        public enum Sky {
            CLEAR,
            CLOUDY
        }

        public Sky sky = Sky.CLEAR;
        public boolean wet;
        public int degrees;
    }

    @Test
    void chat_structuredOutput_isAnObjectOfTheClass() {
        for (int seed = 0; seed < 5; seed++) {
            StructuredChatCompletion<Weather> chat = client.chat()
                    .completions()
                    .create(chat().addUserMessage("How is the weather?")
                            .seed(seed)
                            .responseFormat(Weather.class)
                            .build());
            assertThat(chat.choices().getFirst().finishReason().asString()).isEqualTo("stop");
            Weather weather = chat.choices().getFirst().message().content().orElseThrow();
            assertThat(weather.sky).isNotNull();
        }
    }

    @Test
    void chat_jsonObjectStreamed_isOneObject() {
        ChatCompletionCreateParams params = chat().addUserMessage("JSON, please")
                .seed(4)
                .responseFormat(ResponseFormatJsonObject.builder().build())
                .logitBias(ChatCompletionCreateParams.LogitBias.builder()
                        .putAdditionalProperty(String.valueOf(2 + '"'), JsonValue.from(100))
                        .putAdditionalProperty(String.valueOf(2 + '}'), JsonValue.from(100))
                        .build())
                .build();
        String text;
        try (StreamResponse<ChatCompletionChunk> stream =
                client.chat().completions().createStreaming(params)) {
            text = stream.stream()
                    .flatMap(chunk -> chunk.choices().stream())
                    .map(choice -> choice.delta().content().orElse(""))
                    .collect(Collectors.joining());
        }
        assertThat(Json.read(text).isObject()).as(text).isTrue();
        assertThat(client.chat()
                        .completions()
                        .create(params)
                        .choices()
                        .getFirst()
                        .message()
                        .content())
                .contains(text);
    }

    @Test
    void chat_schemaNotComputed_isABadRequestWithItsPointer() {
        BadRequestException e = catchThrowableOfType(BadRequestException.class, () -> client.chat()
                .completions()
                .create(chat().addUserMessage("x")
                        .responseFormat(ResponseFormatJsonSchema.builder()
                                .jsonSchema(ResponseFormatJsonSchema.JsonSchema.builder()
                                        .name("x")
                                        .schema(ResponseFormatJsonSchema.JsonSchema.Schema.builder()
                                                .putAdditionalProperty("$dynamicRef", JsonValue.from("x"))
                                                .build())
                                        .build())
                                .build())
                        .build()));
        assertThat(e.param()).contains("response_format.json_schema.schema");
        assertThat(e.getMessage()).contains("'/$dynamicRef' is not supported");
    }

    @Test
    void context_tooShort_isABadRequestWithBothNumbers() {
        BadRequestException e = catchThrowableOfType(BadRequestException.class, () -> client.completions()
                .create(completion("x".repeat(600)).build()));
        assertThat(e.code()).contains("context_length_exceeded");
        assertThat(e.param()).contains("prompt");
        assertThat(e.getMessage()).contains("512 tokens").contains("more than 511");
    }

    @Test
    void apiKey_wrong_isRefusedAndRight_isAccepted() {
        ServerConfig config = TestServer.config().apiKey("sesame").build();
        try (TestServer guarded = TestServer.builder().config(config).start()) {
            CompletionCreateParams params = completion("x").build();
            assertThatThrownBy(() -> guarded.openAi("guess").completions().create(params))
                    .isInstanceOf(UnauthorizedException.class);
            assertThat(guarded.openAi("sesame").completions().create(params).choices())
                    .hasSize(1);
        }
    }

    @Test
    void queue_full_isARateLimitWithRetryAfter() throws Exception {
        Semaphore steps = new Semaphore(0);
        CountDownLatch running = new CountDownLatch(1);
        TestServer.Builder builder = TestServer.builder()
                .maxSequences(1)
                .maxQueued(1)
                .onForward(batch -> {
                    running.countDown();
                    steps.acquireUninterruptibly();
                });
        try (TestServer narrow = builder.start();
                Permits _ = () -> steps.release(1000)) {
            Request request = new Request(
                    new int[] {3},
                    SamplingParams.builder().build(),
                    null,
                    Scheduling.DEFAULT.withTenant("address 127.0.0.1", 1)); // as the HTTP client below
            TokenStream first = narrow.engine.submit(request);
            running.await();
            TokenStream second = narrow.engine.submit(request);
            RateLimitException e = catchThrowableOfType(
                    RateLimitException.class,
                    () -> narrow.openAi().completions().create(completion("x").build()));
            assertThat(e.headers().values("Retry-After")).hasSize(1);
            assertThat(Integer.parseInt(e.headers().values("Retry-After").getFirst()))
                    .isBetween(1, 59);
            // Refused before it is read: nobody has looked for the JSON.
            HttpResponse<String> unread = narrow.post("/v1/chat/completions", "no JSON");
            assertThat(unread.statusCode()).isEqualTo(429);
            assertThat(unread.headers().firstValue("Retry-After")).isPresent();
            assertThat(TestServer.error(unread).get("code").asString()).isEqualTo("rate_limit_exceeded");
            assertThat(narrow.get("/metrics").body())
                    .contains("quire_queue_wait_estimate_seconds{model_name=\"fake\"} ");
            assertThat(narrow.post("/tokenize", "{\"prompt\":\"x\"}").statusCode())
                    .as("what needs no engine")
                    .isEqualTo(200);
            steps.release(1000);
            first.close();
            second.close();
        }
    }

    private static CompletionCreateParams.Builder completion(String prompt) {
        return CompletionCreateParams.builder().model("fake").prompt(prompt);
    }

    private static ChatCompletionCreateParams.Builder chat() {
        return ChatCompletionCreateParams.builder().model("fake");
    }

    private static float chosen(Output output) {
        return Objects.requireNonNull(output.logprobs()).chosen();
    }

    /** The answer of the engine without the server. */
    private record Direct(String text, List<Output> outputs, TokenStream.Finish finish) {
        String reason() {
            return finish.reason().name().toLowerCase(java.util.Locale.ROOT);
        }
    }

    private Direct direct(String prompt, SamplingParams params) throws InterruptedException {
        return direct(server.engine.tokenizer().encode(prompt, true, true), params);
    }

    private Direct direct(int[] prompt, SamplingParams params) throws InterruptedException {
        List<Output> outputs = new java.util.ArrayList<>();
        StringBuilder text = new StringBuilder();
        try (TokenStream stream = server.engine.submit(new Request(prompt, params))) {
            for (Output output = stream.next(); output != null; output = stream.next()) {
                outputs.add(output);
                text.append(output.text());
            }
            return new Direct(text + stream.finish().text(), outputs, stream.finish());
        }
    }
}
