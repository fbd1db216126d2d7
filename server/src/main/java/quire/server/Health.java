package quire.server;

import quire.engine.Engine;
import quire.server.api.Json;
import quire.server.http.Exchange;
import quire.server.http.Response;
import tools.jackson.databind.node.JsonNodeFactory;

/** Handlers for the probes of orchestrators and load balancers: 200 or 503. */
final class Health {
    private final Engine engine;

    Health(Engine engine) {
        this.engine = engine;
    }

    /** Whether the process works: after 503, only a restart helps. */
    Response live(Exchange exchange) {
        return engine.failure() == null ? response(200, "ok") : response(503, "the engine has failed");
    }

    /** Whether the server accepts new requests. */
    Response ready(Exchange exchange) {
        return exchange.draining() ? response(503, "the server is shutting down") : live(exchange);
    }

    private static Response response(int status, String text) {
        return Response.json(
                status, Json.bytes(JsonNodeFactory.instance.objectNode().put("status", text)));
    }
}
