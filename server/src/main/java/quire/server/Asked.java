package quire.server;

import quire.engine.Request;

/**
 * A checked request for an answer.
 *
 * @param request what the engine is asked
 * @param chat whether it came to {@code /v1/chat/completions}
 * @param echo text that the answer begins with; usually empty
 * @param stream whether tokens go out as they come
 * @param includeUsage whether a stream ends with the usage
 */
record Asked(Request request, boolean chat, String echo, boolean stream, boolean includeUsage) {
    /** Whether the answer carries log probabilities. */
    boolean logprobs() {
        return request.params().logprobs() >= 0;
    }
}
