package quire.server;

import java.time.Duration;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.LongSupplier;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import quire.engine.EngineStats;
import quire.server.api.Json;
import quire.server.http.Exchange;
import quire.server.http.HttpException;
import quire.server.http.Response;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * Handlers for the probes of orchestrators and load balancers: 200 or 503.
 *
 * <pre>
 *   live       503: the engine has failed, and only a restart helps
 *   ready      503: send no requests now
 *   progress   503: there is something to do, and nothing was done for a long time
 * </pre>
 */
final class Health {
    /** After so many answers in a row whose numbers were not finite, the server is not ready until one succeeds. */
    private static final int MAX_BROKEN = 8;

    /** After so long without a step or a loaded byte, work stands still: a step of the largest models is shorter. */
    private static final Duration MAX_STANDSTILL = Duration.ofMinutes(5);

    private final Supplier<@Nullable ServedModels> models;
    private final ServerMetrics metrics;
    private final LongSupplier nanoClock;
    private final Standstill load;
    private final Map<String, Standstill> modelToSteps = new ConcurrentHashMap<>();

    /**
     * Handlers for a server.
     *
     * @param models supplies null while the only model is being loaded
     * @param nanoClock a monotonic clock
     */
    Health(Supplier<@Nullable ServedModels> models, ServerMetrics metrics, LongSupplier nanoClock) {
        this.models = models;
        this.metrics = metrics;
        this.nanoClock = nanoClock;
        this.load = new Standstill(nanoClock);
    }

    /** Whether the process works: after 503, only a restart helps. */
    Response live(Exchange exchange) {
        ServedModels served = models.get();
        return served == null || served.failure() == null
                ? response(200, "ok")
                : response(503, "the engine has failed");
    }

    /** Whether the server accepts new requests. */
    Response ready(Exchange exchange) {
        if (exchange.draining()) {
            return response(503, "the server is shutting down");
        }
        if (metrics.brokenInARow() >= MAX_BROKEN) {
            return response(503, "the last " + metrics.brokenInARow() + " answers failed: the model is damaged");
        }
        return models.get() == null ? loading(metrics.loading()) : live(exchange);
    }

    /**
     * Whether work goes on: the load of the only model, or the steps of each loaded one. Waits for the locks of the engines, so it
     * must not run on the event loop.
     */
    Response progress() {
        ServedModels served = models.get();
        if (served == null) {
            LoadProgress progress = metrics.loading();
            return progress(status("the model is being loaded"), progress, load.duration(progress.loadedBytes(), true));
        }
        if (served.failure() != null) {
            return response(503, "the engine has failed");
        }
        ObjectNode body = JsonNodeFactory.instance.objectNode();
        body.put("status", "ok");
        ArrayNode all = body.putArray("models");
        Duration longest = Duration.ZERO;
        for (Map.Entry<String, EngineStats> model : served.stats().entrySet()) {
            EngineStats stats = model.getValue();
            Duration still = modelToSteps
                    .computeIfAbsent(model.getKey(), name -> new Standstill(nanoClock))
                    .duration(stats.steps(), stats.running() + stats.waiting() > 0);
            all.addObject()
                    .put("model", model.getKey())
                    .put("steps", stats.steps())
                    .put("running", stats.running())
                    .put("waiting", stats.waiting())
                    .put("standstill_seconds", still.toMillis() * 1e-3);
            longest = still.compareTo(longest) > 0 ? still : longest;
        }
        return ofStandstill(body, longest);
    }

    private static Response progress(ObjectNode body, LoadProgress progress, Duration still) {
        put(body, progress).put("standstill_seconds", still.toMillis() * 1e-3);
        return ofStandstill(body, still);
    }

    private static Response ofStandstill(ObjectNode body, Duration still) {
        boolean stuck = still.compareTo(MAX_STANDSTILL) > 0;
        if (stuck) {
            body.put("status", "nothing was done for " + still.toSeconds() + " s although there is something to do");
        }
        return Response.json(stuck ? 503 : 200, Json.bytes(body));
    }

    /** How many requests run or wait, as vLLM reports it. */
    static Response load(ServedModels models) {
        return Response.json(
                200, Json.bytes(JsonNodeFactory.instance.objectNode().put("server_load", models.load())));
    }

    private static Response loading(LoadProgress progress) {
        ObjectNode body = put(status("the model is being loaded"), progress);
        return Response.json(503, Json.bytes(body))
                .withHeaders(Map.of("Retry-After", HttpException.retryAfter(progress.retrySeconds())));
    }

    private static ObjectNode put(ObjectNode body, LoadProgress progress) {
        return body.put("model", progress.model())
                .put("loaded_bytes", progress.loadedBytes())
                .put("total_bytes", progress.totalBytes())
                .put("percent", progress.percent());
    }

    private static Response response(int status, String text) {
        return Response.json(status, Json.bytes(status(text)));
    }

    private static ObjectNode status(String text) {
        return JsonNodeFactory.instance.objectNode().put("status", text);
    }
}
