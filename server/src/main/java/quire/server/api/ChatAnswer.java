package quire.server.api;

import java.util.function.Function;
import java.util.function.IntFunction;
import java.util.function.Supplier;
import quire.engine.InvalidRequestException;
import quire.engine.chat.AnswerParser;
import quire.server.http.HttpException;

/**
 * What is known of an answer to a chat before it is computed.
 *
 * @param model the name under which the client asked for the model
 * @param promptTokens tokens of the prompt
 * @param showsReasoning whether the reasoning is sent
 * @param parser makes what reads an answer
 * @param callId the id of a call, by its number from 0
 * @param refusal the error for a request that the engine refuses
 */
public record ChatAnswer(
        String model,
        int promptTokens,
        boolean showsReasoning,
        Supplier<AnswerParser> parser,
        IntFunction<String> callId,
        Function<InvalidRequestException, HttpException> refusal) {
    /** The same with errors that are changed. */
    ChatAnswer withErrors(Function<HttpException, HttpException> change) {
        return new ChatAnswer(model, promptTokens, showsReasoning, parser, callId, refusal.andThen(change));
    }
}
