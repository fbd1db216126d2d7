package quire.server.api;

import quire.engine.Request;

/**
 * A checked request for an answer.
 *
 * @param request the request for the engine
 * @param stream whether tokens are sent as they come
 * @param format writes the answer in the form of the API; used for this answer only
 */
public record AnswerRequest(Request request, boolean stream, AnswerFormat format) {}
