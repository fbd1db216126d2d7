package quire.server;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;
import quire.engine.Engine;
import quire.server.anthropic.MessagesErrors;
import quire.server.api.Preparation;
import quire.server.api.Timelines;
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
import quire.server.models.ModelPool;
import quire.server.ollama.OllamaErrors;
import quire.server.ollama.OllamaModels;
import quire.server.openai.ModelsApi;
import quire.server.openai.OpenAiErrors;
import quire.server.page.PageFiles;
import quire.server.responses.KeptResponses;

/** Every path that the server answers. While the only model is being loaded, the paths that need it answer
 * 503; of several models, each is loaded when a request asks for it. */
final class Routes {
    private static final ErrorFormat OPENAI_ERRORS = new OpenAiErrors();
    private static final ErrorFormat RESPONSES_ERRORS = OpenAiErrors.ofResponses();
    private static final ErrorFormat MESSAGES_ERRORS = new MessagesErrors();
    private static final ErrorFormat OLLAMA_ERRORS = new OllamaErrors();

    private final ServerConfig config;
    private final ServerMetrics metrics;
    private final ModelHandlers.Shared shared;
    private final @Nullable Batches batches;
    private final LongSupplier nanoClock;
    private final Map<String, Route> batchRoutes = new HashMap<>();
    private volatile @Nullable Served served;

    /**
     * The paths of a server.
     *
     * @param batches null if the server keeps none
     * @param nanoClock a monotonic clock, to tell whether engines get on
     */
    Routes(
            ServerConfig config,
            ServerMetrics metrics,
            Preparation preparation,
            @Nullable Batches batches,
            LongSupplier nanoClock) {
        this.config = config;
        this.metrics = metrics;
        this.shared = new ModelHandlers.Shared(config, preparation, new Timelines(), new KeptResponses());
        this.batches = batches;
        this.nanoClock = nanoClock;
    }

    /** The models, and the handlers that need none of them in memory. */
    private record Served(ServedModels models, ModelsApi list, OllamaModels ollama) {}

    /** A {@link Handler.Immediate} that needs the list of models. */
    private interface Immediate {
        Response answer(Served served, Exchange exchange);
    }

    /** A {@link Handler.Blocking} that needs the list of models. */
    private interface Listing {
        void answer(Served served, Exchange exchange) throws ClientGoneException, InterruptedException;
    }

    /** A {@link Handler.Blocking} that needs a model in memory. */
    private interface Blocking {
        void answer(ModelHandlers model, Exchange exchange) throws ClientGoneException, InterruptedException;
    }

    /** Answers with this engine from now on. */
    void serve(Engine engine) {
        serve(ServedModels.of(engine, metrics.model(), shared));
    }

    /** Answers with these models from now on. */
    void serve(ModelSet set, ServedModels.EngineOpener opener, Duration backgroundIdle) {
        serve(ServedModels.of(set, opener, backgroundIdle, shared));
    }

    private void serve(ServedModels models) {
        served = new Served(models, new ModelsApi(models), new OllamaModels(models, shared.preparation()));
        if (batches != null) {
            batches.start(batchRoutes, models.maxSequences(), () -> models.failure() != null);
        }
    }

    /** The models; null before there are any. */
    @Nullable
    ServedModels models() {
        Served now = served;
        return now == null ? null : now.models;
    }

    Router router() {
        Health health = new Health(this::models, metrics, nanoClock);
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
                get((served, exchange) -> served.list.models(exchange), "/v1/models", "/models"),
                get((served, exchange) -> served.list.model(exchange), "/v1/models/*", "/models/*"),
                get((served, exchange) -> shared.timelines().response(exchange), "/v1/requests/*", "/requests/*"),
                listing("GET", Routes::sendEngine, "/v1/engine", "/engine"),
                answer((model, exchange) -> model.responses.create(exchange), "/v1/responses", "/responses")
                        .withErrors(RESPONSES_ERRORS),
                get((served, exchange) -> shared.kept().get(exchange), "/v1/responses/*", "/responses/*"),
                delete((served, exchange) -> shared.kept().delete(exchange), "/v1/responses/*", "/responses/*"),
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
                ollama((model, exchange) -> model.ollama.chat(exchange), "/api/chat")
                        .withErrors(OLLAMA_ERRORS),
                ollama((model, exchange) -> model.ollama.generate(exchange), "/api/generate")
                        .withErrors(OLLAMA_ERRORS),
                answer((model, exchange) -> model.ollama.embed(exchange), "/api/embed")
                        .withErrors(OLLAMA_ERRORS),
                answer((model, exchange) -> model.ollama.embeddings(exchange), "/api/embeddings")
                        .withErrors(OLLAMA_ERRORS),
                get((served, exchange) -> served.ollama.version(exchange), "/api/version")
                        .withErrors(OLLAMA_ERRORS),
                get((served, exchange) -> served.ollama.tags(exchange), "/api/tags")
                        .withErrors(OLLAMA_ERRORS),
                get((served, exchange) -> served.ollama.running(exchange), "/api/ps")
                        .withErrors(OLLAMA_ERRORS),
                listing("POST", (served, exchange) -> served.ollama.show(exchange), "/api/show")
                        .withErrors(OLLAMA_ERRORS),
                listing("POST", (served, exchange) -> served.ollama.pull(exchange), "/api/pull")
                        .withErrors(OLLAMA_ERRORS),
                listing(
                                "POST",
                                (served, exchange) -> exchange.send(served.ollama.cannot(exchange)),
                                "/api/create",
                                "/api/copy",
                                "/api/push")
                        .withErrors(OLLAMA_ERRORS),
                delete((served, exchange) -> served.ollama.cannot(exchange), "/api/delete")
                        .withErrors(OLLAMA_ERRORS),
                // for operators, without an API key
                open((Handler.Immediate) health::live, "/health/live"),
                open((Handler.Immediate) health::ready, "/health", "/health/ready", "/ping"),
                open((Handler.Blocking) exchange -> exchange.send(health.progress()), "/health/progress"),
                open((Handler.Immediate) exchange -> OpenApi.versionResponse(), "/version"),
                open(listing((served, exchange) -> exchange.send(Health.load(served.models))), "/load"),
                open(
                        listing((served, exchange) -> exchange.send(metrics.response(served.models, batches))),
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
        OpenApi description = new OpenApi(List.copyOf(routes), describedAt, config.rootPath());
        routes.add(open((Handler.Blocking) exchange -> exchange.send(description.response()), describedAt));
        if (config.page() && !config.rootPath().isEmpty()) { // the page's addresses are relative to the slash
            Response moved = Response.of(308, "text/plain", new byte[0])
                    .withHeaders(Map.of("Location", config.rootPath() + "/"));
            routes.add(open((Handler.Immediate) exchange -> moved, config.rootPath()));
        }
        return new Router(routes, OPENAI_ERRORS, config.rootPath());
    }

    /** A route whose requests an engine answers: they are refused before they are read while its queue is full. */
    private Route answer(Blocking handler, String... paths) {
        Route.Gate gate = exchange -> loaded().models.checkRoom(exchange);
        return new Route("POST", List.of(paths), false, OPENAI_ERRORS, gate, withModel(true, handler));
    }

    /** A route of Ollama whose requests may also ask to unload a model. */
    private Route ollama(Blocking handler, String path) {
        Route route = answer(handler, path);
        Handler.Blocking answering = (Handler.Blocking) route.handler();
        Handler.Blocking unloading = exchange -> {
            if (!loaded().ollama.unload(exchange)) {
                answering.answer(exchange);
            }
        };
        return new Route("POST", route.paths(), false, OLLAMA_ERRORS, route.gate(), unloading);
    }

    private Route post(Blocking handler, String... paths) {
        return new Route("POST", List.of(paths), false, OPENAI_ERRORS, withModel(false, handler));
    }

    private Route listing(String method, Listing handler, String... paths) {
        return new Route(method, List.of(paths), false, OPENAI_ERRORS, listing(handler));
    }

    private Handler.Blocking listing(Listing handler) {
        return exchange -> handler.answer(loaded(), exchange);
    }

    /** A handler that has the model that a request asks for, as long as the request runs. */
    private Handler.Blocking withModel(boolean counted, Blocking handler) {
        return exchange -> {
            ServedModels models = loaded().models;
            try (ModelPool<ModelHandlers>.Lease lease = models.acquire(exchange)) {
                if (counted && !models.isOne() && !exchange.background()) {
                    lease.model().answers.checkRoom(exchange); // the gate did not know the model
                }
                handler.answer(lease.model(), exchange);
            }
        };
    }

    private static void sendEngine(Served served, Exchange exchange) throws ClientGoneException, InterruptedException {
        Response view;
        try (ModelPool<ModelHandlers>.Lease lease = served.models.shown(exchange.query("model"))) {
            if (lease == null) {
                throw HttpException.unavailable("The model is not in memory: a request for it loads it.", 1);
            }
            view = lease.model().live.response(exchange);
        }
        exchange.send(view); // without the lease: a slow client must not keep the model in memory
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
        Handler.Immediate listing = exchange -> handler.answer(loaded(), exchange);
        return new Route(method, List.of(paths), false, OPENAI_ERRORS, listing);
    }

    private static Route open(Handler handler, String... paths) {
        return new Route("GET", List.of(paths), true, OPENAI_ERRORS, handler);
    }

    /**
     * The models.
     *
     * @throws HttpException 503 if the only one is still being loaded
     */
    private Served loaded() {
        Served now = served;
        if (now == null) {
            throw HttpException.unavailable(
                    metrics.loading().describe(), metrics.loading().retrySeconds());
        }
        return now;
    }
}
