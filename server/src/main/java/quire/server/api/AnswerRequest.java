package quire.server.api;

import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.engine.BeamSearch;
import quire.engine.Request;

/**
 * A checked request for an answer.
 *
 * @param requests one for each answer that is computed: as many for each prompt, those of the first prompt first. For a beam search
 *     one for each prompt
 * @param beams how to search for the answers to each prompt; null to generate each one on its own
 * @param user whom the client asks for; null if it does not say
 * @param prompts how many prompts there are
 * @param choices how many of the answers to each prompt are sent: the likeliest ones, by the mean log probability of their tokens, if
 *     there are fewer than computed ones; of a beam search the best ones
 * @param promptOnly whether only the prompt is wanted: the one token that the engine chooses is left out of each answer
 * @param stream whether tokens are sent as they come
 * @param format writes the answers in the form of the API; used for this answer only
 */
public record AnswerRequest(
        List<Request> requests,
        @Nullable BeamSearch beams,
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
        return beams == null ? requests.size() / prompts : beams.width();
    }

    /** Tokens of all prompts. */
    int promptTokens() {
        int tokens = 0;
        for (int i = 0; i < requests.size(); i += requests.size() / prompts) {
            tokens += requests.get(i).prompt().length;
        }
        return tokens;
    }
}
