/**
 * What all APIs share: reading JSON, the served model and its names, one request to the engine, one answer back. An API
 * has a package of its own, which reads its requests into {@link quire.server.api.AnswerRequest} and writes answers with
 * an {@link quire.server.api.AnswerFormat}.
 */
@NullMarked
package quire.server.api;

import org.jspecify.annotations.NullMarked;
