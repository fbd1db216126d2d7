package quire.server;

import java.util.Map;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import quire.server.api.Json;
import quire.server.http.Exchange;
import quire.server.http.HttpException;
import quire.server.http.Response;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Handlers for the probes of orchestrators and load balancers: 200 or 503. */
final class Health {
    /** After so many answers in a row whose numbers were not finite, the server is not ready until one succeeds. */
    private static final int MAX_BROKEN = 8;

    private final Supplier<@Nullable ServedModels> models;
    private final ServerMetrics metrics;

    /** @param models supplies null while the only model is being loaded */
    Health(Supplier<@Nullable ServedModels> models, ServerMetrics metrics) {
        this.models = models;
        this.metrics = metrics;
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

    /** How many requests run or wait, as vLLM reports it. */
    static Response load(ServedModels models) {
        return Response.json(
                200, Json.bytes(JsonNodeFactory.instance.objectNode().put("server_load", models.load())));
    }

    private static Response loading(LoadProgress progress) {
        ObjectNode body = status("the model is being loaded")
                .put("model", progress.model())
                .put("loaded_bytes", progress.loadedBytes())
                .put("total_bytes", progress.totalBytes())
                .put("percent", progress.percent());
        return Response.json(503, Json.bytes(body))
                .withHeaders(Map.of("Retry-After", HttpException.retryAfter(progress.retrySeconds())));
    }

    private static Response response(int status, String text) {
        return Response.json(status, Json.bytes(status(text)));
    }

    private static ObjectNode status(String text) {
        return JsonNodeFactory.instance.objectNode().put("status", text);
    }
}
