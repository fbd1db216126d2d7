package quire.server.responses;

import quire.server.api.AnswerService;
import quire.server.api.ChatReader;
import quire.server.api.UserReader;
import quire.server.http.ClientGoneException;
import quire.server.http.Exchange;

/** The handler that answers with responses. */
public final class ResponsesApi {
    private final AnswerService answers;
    private final KeptResponses kept;
    private final ResponsesReader reader;

    /**
     * Handlers that answer with the model behind {@code chats}.
     *
     * @param chats reads requests that are brought into the form of a chat
     * @param kept keeps responses for later requests
     * @param refuseUnknown whether a request with an unknown parameter is refused
     */
    public ResponsesApi(AnswerService answers, ChatReader chats, KeptResponses kept, boolean refuseUnknown) {
        this.answers = answers;
        this.kept = kept;
        this.reader = new ResponsesReader(chats, refuseUnknown);
    }

    /** {@code POST /v1/responses}. */
    public void create(Exchange exchange) throws ClientGoneException, InterruptedException {
        StoredResponses.Owned own = kept.own(exchange);
        answers.answer(exchange, UserReader.OPENAI, body -> reader.read(body, own));
    }
}
