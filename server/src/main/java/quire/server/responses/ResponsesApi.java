package quire.server.responses;

import quire.server.api.AnswerService;
import quire.server.api.ChatReader;
import quire.server.api.Json;
import quire.server.http.ClientGoneException;
import quire.server.http.Exchange;
import quire.server.http.HttpException;
import quire.server.http.Response;
import tools.jackson.databind.node.JsonNodeFactory;

/** Handlers of the paths of responses. */
public final class ResponsesApi {
    /** Bytes of the responses that are kept. */
    static final long STORED_BYTES = 64L << 20;

    private final AnswerService answers;
    private final StoredResponses stored;
    private final ResponsesReader reader;

    /**
     * Handlers that answer with the model behind {@code chats}.
     *
     * @param chats reads requests that are brought into the form of a chat
     * @param refuseUnknown whether a request with an unknown parameter is refused
     */
    public ResponsesApi(AnswerService answers, ChatReader chats, boolean refuseUnknown) {
        this.answers = answers;
        this.stored = new StoredResponses(STORED_BYTES);
        this.reader = new ResponsesReader(chats, refuseUnknown);
    }

    /** {@code POST /v1/responses}. */
    public void create(Exchange exchange) throws ClientGoneException, InterruptedException {
        StoredResponses.Owned own = own(exchange);
        answers.answer(exchange, body -> reader.read(body, own));
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

    private StoredResponses.Owned own(Exchange exchange) {
        return stored.of(exchange.owner());
    }

    private static HttpException unknown(String id) {
        String shown = id.length() > 60 ? id.substring(0, 60) + "…" : id;
        return HttpException.notFound(
                "response_id",
                "response_not_found",
                "There is no response '" + shown + "' here: it had \"store\": false, or newer ones took its place.");
    }
}
