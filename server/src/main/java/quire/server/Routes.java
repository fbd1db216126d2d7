package quire.server;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.engine.Engine;
import quire.server.anthropic.MessagesApi;
import quire.server.anthropic.MessagesErrors;
import quire.server.api.AnswerService;
import quire.server.api.Json;
import quire.server.api.Preparation;
import quire.server.api.ServedModel;
import quire.server.api.Telemetry;
import quire.server.api.Vectors;
import quire.server.batch.BatchInput;
import quire.server.batch.Batches;
import quire.server.batch.BatchesApi;
import quire.server.batch.FilesApi;
import quire.server.http.ClientGoneException;
import quire.server.http.ErrorFormat;
import quire.server.http.Exchange;
import quire.server.http.Handler;
import quire.server.http.HttpException;
import quire.server.http.Response;
import quire.server.http.Route;
import quire.server.http.Router;
import quire.server.ollama.OllamaApi;
import quire.server.ollama.OllamaErrors;
import quire.server.openai.EmbeddingsApi;
import quire.server.openai.OpenAiApi;
import quire.server.openai.OpenAiErrors;
import quire.server.openai.RankApi;
import quire.server.openai.TokenizeApi;
import quire.server.page.LiveView;
import quire.server.page.PageFiles;
import quire.server.responses.ResponsesApi;

/** Every path that the server answers. While the model is being loaded, the paths that need it answer 503. */
final class Routes {
    private static final ErrorFormat OPENAI_ERRORS = new OpenAiErrors();
    private static final ErrorFormat RESPONSES_ERRORS = OpenAiErrors.ofResponses();
    private static final ErrorFormat MESSAGES_ERRORS = new MessagesErrors();
    private static final ErrorFormat OLLAMA_ERRORS = new OllamaErrors();

    private final ServerConfig config;
    private final ServerMetrics metrics;
    private final Preparation preparation;
    private final @Nullable Batches batches;
    private final Map<String, Route> batchRoutes = new HashMap<>();
    private volatile @Nullable Model model;

    /** @param batches null if the server keeps none */
    Routes(ServerConfig config, ServerMetrics metrics, Preparation preparation, @Nullable Batches batches) {
        this.config = config;
        this.metrics = metrics;
        this.preparation = preparation;
        this.batches = batches;
    }

    /** The handlers that need a model. */
    private record Model(
            Engine engine,
            AnswerService answers,
            OpenAiApi openAi,
            EmbeddingsApi embeddings,
            RankApi ranks,
            TokenizeApi tokens,
            ResponsesApi responses,
            MessagesApi messages,
            OllamaApi ollama,
            LiveView live) {}

    /** A {@link Handler.Immediate} that needs a model. */
    private interface Immediate {
        Response answer(Model model, Exchange exchange);
    }

    /** A {@link Handler.Blocking} that needs a model. */
    private interface Blocking {
        void answer(Model model, Exchange exchange) throws ClientGoneException, InterruptedException;
    }

    /** Answers with this engine from now on. */
    void serve(Engine engine) {
        ServedModel served =
                new ServedModel(engine, config.aliases(), config.modelRequired(), config.samplingDefaults());
        AnswerService answers =
                new AnswerService(engine, preparation, new Telemetry(config.openTelemetry(), engine.modelName()));
        Vectors vectors = new Vectors(served, answers);
        boolean refuseUnknown = !config.unknownParametersAllowed();
        OpenAiApi openAi = new OpenAiApi(served, answers, refuseUnknown, config.strictLimits());
        model = new Model(
                engine,
                answers,
                openAi,
                new EmbeddingsApi(served, answers, vectors, refuseUnknown),
                new RankApi(served, answers, vectors, refuseUnknown),
                new TokenizeApi(served, answers, refuseUnknown),
                new ResponsesApi(answers, openAi.chats(), refuseUnknown),
                new MessagesApi(served, answers, openAi.chats(), refuseUnknown),
                new OllamaApi(served, answers, openAi.chats(), vectors, refuseUnknown),
                new LiveView(engine));
        if (batches != null) {
            batches.start(batchRoutes, engine.maxSequences(), () -> engine.failure() != null);
        }
    }

    /** The engine; null while the model is being loaded. */
    private @Nullable Engine engine() {
        Model loaded = model;
        return loaded == null ? null : loaded.engine;
    }

    Router router() {
        Health health = new Health(this::engine, metrics);
        FilesApi files = new FilesApi(batches);
        BatchesApi batchesApi = new BatchesApi(batches, !config.unknownParametersAllowed());
        List<Route> routes = new ArrayList<>(List.of(
                // OpenAI's API, with and without /v1: some clients are configured with the address of the server only
                answer(
                        (model, exchange) -> model.openAi.chatCompletions(exchange),
                        "/v1/chat/completions",
                        "/chat/completions"),
                answer((model, exchange) -> model.openAi.completions(exchange), "/v1/completions", "/completions"),
                answer((model, exchange) -> model.embeddings.embeddings(exchange), "/v1/embeddings", "/embeddings"),
                get((model, exchange) -> model.openAi.models(exchange), "/v1/models", "/models"),
                get((model, exchange) -> model.openAi.model(exchange), "/v1/models/*", "/models/*"),
                get((model, exchange) -> model.answers.timeline(exchange), "/v1/requests/*", "/requests/*"),
                blocking(
                        "GET",
                        (model, exchange) -> exchange.send(model.live.response(exchange)),
                        "/v1/engine",
                        "/engine"),
                answer((model, exchange) -> model.responses.create(exchange), "/v1/responses", "/responses")
                        .withErrors(RESPONSES_ERRORS),
                get((model, exchange) -> model.responses.get(exchange), "/v1/responses/*", "/responses/*"),
                delete((model, exchange) -> model.responses.delete(exchange), "/v1/responses/*", "/responses/*"),
                new Route("POST", List.of("/v1/files", "/files"), false, OPENAI_ERRORS, files.create()),
                kept("GET", files::list, "/v1/files", "/files"),
                kept("GET", files::content, "/v1/files/*/content", "/files/*/content"),
                kept("GET", files::get, "/v1/files/*", "/files/*"),
                kept("DELETE", files::delete, "/v1/files/*", "/files/*"),
                kept("POST", batchesApi::create, "/v1/batches", "/batches"),
                kept("GET", batchesApi::list, "/v1/batches", "/batches"),
                kept("POST", batchesApi::cancel, "/v1/batches/*/cancel", "/batches/*/cancel"),
                kept("GET", batchesApi::get, "/v1/batches/*", "/batches/*"),
                // llama.cpp's additions to it
                answer((model, exchange) -> model.openAi.infill(exchange), "/infill"),
                // vLLM's additions to it
                answer((model, exchange) -> model.ranks.rerank(exchange), "/v1/rerank", "/rerank", "/v2/rerank"),
                answer((model, exchange) -> model.ranks.score(exchange), "/v1/score", "/score"),
                post((model, exchange) -> model.tokens.tokenize(exchange), "/tokenize"),
                post((model, exchange) -> model.tokens.detokenize(exchange), "/detokenize"),
                post((model, exchange) -> model.tokens.applyTemplate(exchange), "/apply-template"),
                // Anthropic's API
                answer((model, exchange) -> model.messages.messages(exchange), "/v1/messages", "/messages")
                        .withErrors(MESSAGES_ERRORS),
                post(
                                (model, exchange) -> model.messages.countTokens(exchange),
                                "/v1/messages/count_tokens",
                                "/messages/count_tokens")
                        .withErrors(MESSAGES_ERRORS),
                // Ollama's API
                answer((model, exchange) -> model.ollama.chat(exchange), "/api/chat")
                        .withErrors(OLLAMA_ERRORS),
                answer((model, exchange) -> model.ollama.generate(exchange), "/api/generate")
                        .withErrors(OLLAMA_ERRORS),
                answer((model, exchange) -> model.ollama.embed(exchange), "/api/embed")
                        .withErrors(OLLAMA_ERRORS),
                answer((model, exchange) -> model.ollama.embeddings(exchange), "/api/embeddings")
                        .withErrors(OLLAMA_ERRORS),
                get((model, exchange) -> model.ollama.version(exchange), "/api/version")
                        .withErrors(OLLAMA_ERRORS),
                get((model, exchange) -> model.ollama.tags(exchange), "/api/tags")
                        .withErrors(OLLAMA_ERRORS),
                get((model, exchange) -> model.ollama.running(exchange), "/api/ps")
                        .withErrors(OLLAMA_ERRORS),
                post((model, exchange) -> model.ollama.show(exchange), "/api/show")
                        .withErrors(OLLAMA_ERRORS),
                post((model, exchange) -> model.ollama.pull(exchange), "/api/pull")
                        .withErrors(OLLAMA_ERRORS),
                post(
                                (model, exchange) -> exchange.send(model.ollama.cannot(exchange)),
                                "/api/create",
                                "/api/copy",
                                "/api/push")
                        .withErrors(OLLAMA_ERRORS),
                delete((model, exchange) -> model.ollama.cannot(exchange), "/api/delete")
                        .withErrors(OLLAMA_ERRORS),
                // for operators, without an API key
                open((Handler.Immediate) health::live, "/health/live"),
                open((Handler.Immediate) health::ready, "/health", "/health/ready", "/ping"),
                open((Handler.Immediate) exchange -> OpenApi.versionResponse(), "/version"),
                open(blocking((model, exchange) -> exchange.send(Health.load(model.engine))), "/load"),
                open(
                        blocking((model, exchange) -> exchange.send(metrics.response(model.engine, batches))),
                        "/metrics")));
        for (String url : BatchInput.URLS) {
            routes.stream()
                    .filter(route ->
                            route.paths().contains(url) && route.method().equals("POST"))
                    .forEach(route -> batchRoutes.put(url, route));
        }
        if (config.page()) {
            PageFiles page = new PageFiles();
            routes.add(open((Handler.Immediate) page::index, "/"));
            routes.add(open((Handler.Immediate) page::file, "/page/*"));
        }
        String describedAt = "/openapi.json";
        byte[] description = Json.bytes(OpenApi.document(routes, describedAt, config.rootPath()));
        routes.add(open((Handler.Immediate) exchange -> Response.json(200, description), describedAt));
        if (config.page() && !config.rootPath().isEmpty()) { // the page's addresses are relative to the slash
            Response moved = Response.of(308, "text/plain", new byte[0])
                    .withHeaders(Map.of("Location", config.rootPath() + "/"));
            routes.add(open((Handler.Immediate) exchange -> moved, config.rootPath()));
        }
        return new Router(routes, OPENAI_ERRORS, config.rootPath());
    }

    /** A route whose requests the engine answers: they are refused before they are read while its queue is full. */
    private Route answer(Blocking handler, String... paths) {
        Route.Gate gate = exchange -> loaded().answers.checkRoom(exchange);
        return new Route("POST", List.of(paths), false, OPENAI_ERRORS, gate, blocking(handler));
    }

    private Route post(Blocking handler, String... paths) {
        return blocking("POST", handler, paths);
    }

    private Route blocking(String method, Blocking handler, String... paths) {
        return new Route(method, List.of(paths), false, OPENAI_ERRORS, blocking(handler));
    }

    /** A route of files or batches, which needs no model. */
    private static Route kept(String method, Handler.Blocking handler, String... paths) {
        return new Route(method, List.of(paths), false, OPENAI_ERRORS, handler);
    }

    private Route get(Immediate handler, String... paths) {
        return immediate("GET", handler, paths);
    }

    private Route delete(Immediate handler, String... paths) {
        return immediate("DELETE", handler, paths);
    }

    private Route immediate(String method, Immediate handler, String... paths) {
        Handler.Immediate loaded = exchange -> handler.answer(loaded(), exchange);
        return new Route(method, List.of(paths), false, OPENAI_ERRORS, loaded);
    }

    private static Route open(Handler handler, String... paths) {
        return new Route("GET", List.of(paths), true, OPENAI_ERRORS, handler);
    }

    private Handler.Blocking blocking(Blocking handler) {
        return exchange -> handler.answer(loaded(), exchange);
    }

    /**
     * The model.
     *
     * @throws HttpException 503 if it is still being loaded
     */
    private Model loaded() {
        Model loaded = model;
        if (loaded == null) {
            throw HttpException.unavailable(
                    metrics.loading().describe(), metrics.loading().retrySeconds());
        }
        return loaded;
    }
}
