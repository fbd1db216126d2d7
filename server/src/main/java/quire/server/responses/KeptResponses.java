package quire.server.responses;

import quire.server.api.Json;
import quire.server.http.Exchange;
import quire.server.http.HttpException;
import quire.server.http.Response;
import tools.jackson.databind.node.JsonNodeFactory;

/** The responses that are kept, whichever model wrote them, and the handlers of their paths. */
public final class KeptResponses {
    /** Bytes of the responses that are kept. */
    static final long STORED_BYTES = 64L << 20;

    private final StoredResponses stored = new StoredResponses(STORED_BYTES);

    /** Keeps none yet. */
    public KeptResponses() {}

    StoredResponses.Owned own(Exchange exchange) {
        return stored.of(exchange.owner());
    }

    /** {@code GET /v1/responses/ID}. */
    public Response get(Exchange exchange) {
        StoredResponses.Stored found = own(exchange).get(exchange.pathRest());
        if (found == null) {
            throw unknown(exchange.pathRest());
        }
        return Response.json(200, found.document());
    }

    /** {@code DELETE /v1/responses/ID}. */
    public Response delete(Exchange exchange) {
        String id = exchange.pathRest();
        if (!own(exchange).remove(id)) {
            throw unknown(id);
        }
        return Response.json(
                200,
                Json.bytes(JsonNodeFactory.instance
                        .objectNode()
                        .put("id", id)
                        .put("object", "response")
                        .put("deleted", true)));
    }

    private static HttpException unknown(String id) {
        String shown = id.length() > 60 ? id.substring(0, 60) + "…" : id;
        return HttpException.notFound(
                "response_id",
                "response_not_found",
                "There is no response '" + shown + "' here: it had \"store\": false, or newer ones took its place.");
    }
}
