package quire.server.api;

import quire.engine.Request;

/**
 * A checked request for an answer.
 *
 * @param request the request for the engine
 * @param promptOnly whether only the prompt is wanted: the one token that the engine chooses is left out of the answer
 * @param stream whether tokens are sent as they come
 * @param format writes the answer in the form of the API; used for this answer only
 */
public record AnswerRequest(Request request, boolean promptOnly, boolean stream, AnswerFormat format) {}
