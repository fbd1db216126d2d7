package quire.server;

import com.openai.client.OpenAIClient;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.LongSupplier;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.EngineStats;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.engine.Script;
import quire.engine.Speculation;
import quire.model.Batch;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplateException;
import quire.model.text.Tokenizer;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;

/** A real server on a free port and a real engine with a fake model, whose tokens are bytes. */
final class TestServer implements AutoCloseable {
    static final String MODEL = "fake";
    static final int CONTEXT = 512;

    final Engine engine;
    final QuireServer server;
    final ServerMetrics metrics = new ServerMetrics();
    final HttpClient http =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private final List<OpenAIClient> clients = new ArrayList<>();

    private TestServer(Builder builder) {
        EngineConfig config = EngineConfig.builder()
                .maxSequences(builder.maxSequences)
                .maxBatchedTokens(256)
                .maxQueuedRequests(builder.maxQueued)
                .maxQueuedTokens(1 << 20)
                .threads(1)
                .speculation(Speculation.off())
                .build()
                .withSpeculation(builder.speculation);
        FakeModel model = FakeModel.fitting(config, builder.context, builder.tokenizer.vocabularySize())
                .onForward(builder.onForward);
        if (builder.savedStates > 0) {
            model.withStates(builder.maxSequences, builder.savedStates);
        }
        if (builder.overflowPages > 0) {
            model.withOverflow(builder.overflowPages);
        }
        if (builder.answers != null) {
            model.following(new Script(builder.tokenizer, builder.marker, builder.answers));
        }
        engine = builder.model == null
                ? Engine.of(model, builder.tokenizer, builder.template, MODEL, config, metrics, builder.nanoClock)
                : Engine.open(builder.model, config, metrics);
        server = QuireServer.bind(builder.config, metrics, builder.timers, builder.clock, builder.healthClock);
        server.serve(engine);
    }

    static Builder builder() {
        return new Builder();
    }

    /** A configuration on a free port, with small bodies, for a server that is also called {@code x}. */
    static ServerConfig.Builder config() {
        return ServerConfig.builder().port(0).maxBodyBytes(1 << 20).allowedHosts(List.of("x"));
    }

    static TestServer start() {
        return builder().start();
    }

    /** Renders tools first, then {@code <role>content} for each message. */
    static final class PlainTemplate implements ChatTemplate {
        @Override
        public String render(
                List<? extends Map<String, ?>> messages,
                List<? extends Map<String, ?>> tools,
                boolean addGenerationPrompt) {
            StringBuilder text = new StringBuilder(tools.isEmpty() ? "" : tools.toString());
            for (Map<String, ?> message : messages) {
                if (message.get("content") instanceof List<?>) {
                    throw new ChatTemplateException("line 1: content must be a text");
                }
                if (message.get("content") instanceof String content && content.contains("forbidden")) {
                    throw new ChatTemplateException("line 1: raise_exception: forbidden");
                }
                text.append('<').append(message.get("role")).append('>').append(message.get("content"));
                if (message.containsKey("tool_calls")) {
                    text.append(message.get("tool_calls"));
                }
            }
            return text.append(addGenerationPrompt ? "<assistant>" : "").toString();
        }
    }

    static final class Builder {
        private ServerConfig config = TestServer.config().build();
        private @Nullable Path model;
        private Tokenizer tokenizer = new FakeTokenizer();
        private @Nullable ChatTemplate template = new PlainTemplate();
        private Consumer<Batch> onForward = batch -> {};
        private int maxSequences = 16;
        private int context = CONTEXT;
        private int savedStates;
        private int overflowPages;
        private String marker = "";
        private @Nullable UnaryOperator<String> answers;
        private int maxQueued = 1024;
        private LongSupplier nanoClock = System::nanoTime;
        private LongSupplier healthClock = System::nanoTime;
        private Speculation speculation = Speculation.off();
        private @Nullable ManualTimers timers;
        private InstantSource clock = InstantSource.system();

        /** Time for slow clients that the test turns by hand. */
        Builder timers(ManualTimers value) {
            timers = value;
            return this;
        }

        /** The time of batches. */
        Builder clock(InstantSource value) {
            clock = value;
            return this;
        }

        Builder config(ServerConfig value) {
            config = value;
            return this;
        }

        /** A real model in place of the fake one, with its own tokenizer and template. */
        Builder model(Path value) {
            model = value;
            return this;
        }

        Builder tokenizer(Tokenizer value) {
            tokenizer = value;
            return this;
        }

        Builder template(@Nullable ChatTemplate value) {
            template = value;
            return this;
        }

        Builder onForward(Consumer<Batch> value) {
            onForward = value;
            return this;
        }

        /** Positions of the fake model's context. */
        Builder context(int value) {
            context = value;
            return this;
        }

        /** Makes the fake model recurrent, with so many states that can be saved. */
        Builder savedStates(int value) {
            savedStates = value;
            return this;
        }

        /** Gives the fake model pages behind those in memory. */
        Builder overflowPages(int value) {
            overflowPages = value;
            return this;
        }

        /** Makes the fake model answer by a script; prompts end with {@code <assistant>}, as by {@link PlainTemplate}. */
        Builder script(UnaryOperator<String> value) {
            return script("<assistant>", value);
        }

        /** Makes the fake model answer by a script; see {@link Script}. */
        Builder script(String endOfPrompt, UnaryOperator<String> value) {
            marker = endOfPrompt;
            answers = value;
            return this;
        }

        Builder maxSequences(int value) {
            maxSequences = value;
            return this;
        }

        Builder maxQueued(int value) {
            maxQueued = value;
            return this;
        }

        /** The clock of an engine with the fake model. */
        Builder nanoClock(LongSupplier value) {
            nanoClock = value;
            return this;
        }

        /** The clock of the probe for progress. */
        Builder healthClock(LongSupplier value) {
            healthClock = value;
            return this;
        }

        Builder speculation(Speculation value) {
            speculation = value;
            return this;
        }

        TestServer start() {
            return new TestServer(this);
        }
    }

    String url() {
        return "http://127.0.0.1:" + server.port();
    }

    /** OpenAI's client, without retries, so that tests see errors. */
    OpenAIClient openAi() {
        return openAi("none");
    }

    OpenAIClient openAi(String apiKey) {
        OpenAIClient client = OpenAIOkHttpClient.builder()
                .baseUrl(url() + "/v1")
                .apiKey(apiKey)
                .maxRetries(0)
                .build();
        clients.add(client);
        return client;
    }

    HttpResponse<String> get(String path, String... headers) throws IOException, InterruptedException {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url() + path));
        if (headers.length > 0) {
            request.headers(headers);
        }
        return http.send(request.build(), HttpResponse.BodyHandlers.ofString());
    }

    HttpResponse<String> post(String path, String body, String... headers) throws IOException, InterruptedException {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url() + path))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body));
        if (headers.length > 0) {
            request.headers(headers);
        }
        return http.send(request.build(), HttpResponse.BodyHandlers.ofString());
    }

    static JsonNode json(HttpResponse<String> response) {
        return Json.read(response.body());
    }

    static JsonNode error(HttpResponse<String> response) {
        return json(response).get("error");
    }

    /** Waits until no request runs or waits; the time limit of the test ends it otherwise. */
    EngineStats awaitIdle() {
        EngineStats stats = engine.stats();
        while (stats.running() + stats.waiting() > 0) {
            Thread.onSpinWait();
            stats = engine.stats();
        }
        return stats;
    }

    @Override
    public void close() {
        clients.forEach(OpenAIClient::close);
        http.close();
        server.close();
        engine.close();
    }
}
