package quire.server.api;

import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.engine.Request;

/**
 * A checked request for an answer.
 *
 * @param requests one for each answer that is computed: as many for each prompt, those of the first prompt first
 * @param user whom the client asks for; null if it does not say
 * @param prompts how many prompts there are
 * @param choices how many of the answers to each prompt are sent: the likeliest ones, by the mean log probability of their tokens, if
 *     there are fewer than requests
 * @param promptOnly whether only the prompt is wanted: the one token that the engine chooses is left out of each answer
 * @param stream whether tokens are sent as they come
 * @param format writes the answers in the form of the API; used for this answer only
 */
public record AnswerRequest(
        List<Request> requests,
        @Nullable String user,
        int prompts,
        int choices,
        boolean promptOnly,
        boolean stream,
        AnswerFormat format) {
    /** Copies the list. */
    public AnswerRequest {
        requests = List.copyOf(requests);
    }

    /** How many answers are computed for each prompt. */
    int perPrompt() {
        return requests.size() / prompts;
    }

    /** Tokens of all prompts. */
    int promptTokens() {
        int tokens = 0;
        for (int i = 0; i < requests.size(); i += perPrompt()) {
            tokens += requests.get(i).prompt().length;
        }
        return tokens;
    }
}
