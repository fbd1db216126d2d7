package quire.server.anthropic;

import quire.server.api.AnswerService;
import quire.server.api.ChatReader;
import quire.server.api.Json;
import quire.server.api.ServedModel;
import quire.server.api.UserReader;
import quire.server.http.ClientGoneException;
import quire.server.http.Exchange;
import quire.server.http.Response;
import tools.jackson.databind.node.JsonNodeFactory;

/** Handlers of Anthropic's paths. */
public final class MessagesApi {
    private final AnswerService answers;
    private final ChatReader chats;
    private final MessagesReader reader;

    /**
     * Handlers that answer with this model.
     *
     * @param chats reads requests that are brought into the form of a chat
     * @param refuseUnknown whether a request with an unknown parameter is refused
     */
    public MessagesApi(ServedModel model, AnswerService answers, ChatReader chats, boolean refuseUnknown) {
        this.answers = answers;
        this.chats = chats;
        this.reader = new MessagesReader(model, chats, refuseUnknown);
    }

    /** {@code POST /v1/messages}. */
    public void messages(Exchange exchange) throws ClientGoneException, InterruptedException {
        answers.answer(exchange, UserReader.ANTHROPIC, reader::message);
    }

    /** {@code POST /v1/messages/count_tokens}. */
    public void countTokens(Exchange exchange) throws ClientGoneException, InterruptedException {
        int tokens = answers.read(exchange, body -> reader.toCount(body).countTokens(chats));
        exchange.send(Response.json(
                200, Json.bytes(JsonNodeFactory.instance.objectNode().put("input_tokens", tokens))));
    }
}
