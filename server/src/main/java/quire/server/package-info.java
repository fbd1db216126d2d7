/**
 * The HTTP server in front of one engine.
 *
 * <pre>
 * quire.server           QuireServer, its configuration, metrics; Routes lists every path
 *   ├▶ .openai           OpenAI's JSON, in and out
 *   ├▶ .responses .anthropic .ollama    JSON of other APIs, brought into the form of OpenAI's chats
 *   ├▶ .batch            files and batches, and the threads that answer them
 *   │    └▶ .api         the parts that all APIs use: a request to the engine, its answer
 *   │         └▶ .http   connections, bodies, limits, responses
 *   └▶ .http
 * </pre>
 *
 * Imports only go down. Only this package is exported, and to {@code cli} what reads and writes the files of batches.
 */
@NullMarked
package quire.server;

import org.jspecify.annotations.NullMarked;
