package quire.server.api;

import java.util.List;
import quire.engine.InvalidRequestException;
import quire.engine.Output;
import quire.engine.TokenStream;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;

/**
 * Writes one answer in the JSON of an API: either whole, or as a stream of events.
 *
 * <pre>
 *   whole     whole
 *   stream    begin  token*  text?  end  done
 *             begin  token*  failure
 * </pre>
 *
 * <p>Several answers to one request have a format each ({@link #choice}). Their events mix, and {@link #done} follows
 * the last {@code end}; whole ones become one document by {@link #join}. Of several prompts, the answers to the first one
 * come first.
 *
 * <p>What {@link #waiting} writes may be sent anywhere between the beginning and the end of a stream, any number of times.
 */
public interface AnswerFormat {
    /** The format of an answer, from 0: one with the same identity. An API without several answers returns this one. */
    default AnswerFormat choice(int index) {
        return this;
    }

    /**
     * One document from the whole answers, in the order of their choices.
     *
     * @param ended the streams of all answers that were computed, also of those that are not sent
     */
    default JsonNode join(List<JsonNode> wholes, List<TokenStream> ended) {
        return wholes.getFirst();
    }

    /** Writes what follows the end of the last answer of a stream. */
    default void done(List<TokenStream> ended, ServerSentEvents events) {}

    /** Whether {@link #whole} needs each token, and not only the text. */
    boolean needsOutputs();

    /**
     * The whole answer.
     *
     * @param text all of the text
     * @param outputs the tokens, if {@link #needsOutputs}; else empty
     * @param ended the stream of the answer, after its end
     */
    JsonNode whole(String text, List<Output> outputs, TokenStream ended);

    /** The content type of a stream. */
    default String streamType() {
        return "text/event-stream; charset=utf-8";
    }

    /** Writes what comes before any token. */
    void begin(ServerSentEvents events);

    /**
     * Writes the sign of life of a stream that had no token for a while: a comment, which clients ignore. An API whose
     * clients count only events overrides it. Called once, before the first token.
     */
    default void waiting(ServerSentEvents events) {
        events.comment("waiting");
    }

    /** Writes a token; nothing if it gave no text and no log probabilities. */
    void token(Output output, ServerSentEvents events);

    /** Writes the rest of the text, which came with no token: text that was held back until the answer ended. */
    void text(String text, ServerSentEvents events);

    /**
     * Writes the end of the answer, without text: many clients ignore text in the chunk that ends the answer.
     *
     * @param ended the stream of the answer, after its end
     */
    void end(TokenStream ended, ServerSentEvents events);

    /**
     * Writes the end of a stream that failed: an event by which clients see that the answer is not whole. The body then ends as
     * HTTP demands, because clients take a cut connection for a fault of the network and try again.
     */
    void failure(HttpException e, ServerSentEvents events);

    /** The error for a request that the engine refuses, with the API's names of the parameters. */
    HttpException refusal(InvalidRequestException e);
}
