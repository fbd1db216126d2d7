package quire.server.openai;

import quire.server.api.AnswerService;
import quire.server.api.ChatReader;
import quire.server.api.Parameters;
import quire.server.api.ServedModel;
import quire.server.api.UserReader;
import quire.server.http.ClientGoneException;
import quire.server.http.Exchange;

/** Handlers of OpenAI's paths. */
public final class OpenAiApi {
    private final AnswerService answers;
    private final RequestReader reader;

    /**
     * Handlers that answer with this model.
     *
     * @param refuseUnknown whether a request with an unknown parameter is refused
     * @param strictLimits whether a request for more tokens than the context has room for is refused
     */
    public OpenAiApi(ServedModel model, AnswerService answers, boolean refuseUnknown, boolean strictLimits) {
        this.answers = answers;
        this.reader = new RequestReader(model, new Parameters(ParameterTable.ROWS, refuseUnknown), strictLimits);
    }

    /** Reads chats that other APIs have brought into OpenAI's form. */
    public ChatReader chats() {
        return reader;
    }

    /** {@code POST /v1/completions}. */
    public void completions(Exchange exchange) throws ClientGoneException, InterruptedException {
        answers.answer(exchange, UserReader.OPENAI, reader::completion);
    }

    /** {@code POST /infill}, of llama.cpp. */
    public void infill(Exchange exchange) throws ClientGoneException, InterruptedException {
        answers.answer(exchange, UserReader.OPENAI, reader::infill);
    }

    /** {@code POST /v1/chat/completions}. */
    public void chatCompletions(Exchange exchange) throws ClientGoneException, InterruptedException {
        answers.answer(exchange, UserReader.OPENAI, reader::chat);
    }
}
