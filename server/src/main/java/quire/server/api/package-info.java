/**
 * The parts that all APIs use: reading JSON, the served model and its names, the path of a request through the engine.
 * Each API has its own package, which reads its requests into {@link quire.server.api.AnswerRequest} and writes answers
 * with an {@link quire.server.api.AnswerFormat}.
 */
@NullMarked
package quire.server.api;

import org.jspecify.annotations.NullMarked;
