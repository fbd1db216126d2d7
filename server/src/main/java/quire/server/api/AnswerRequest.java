package quire.server.api;

import quire.engine.Request;

/**
 * A checked request for an answer.
 *
 * @param request what the engine gets
 * @param stream whether tokens are sent as they come
 * @param format how the API that was asked writes the answer; made for this answer alone
 */
public record AnswerRequest(Request request, boolean stream, AnswerFormat format) {}
