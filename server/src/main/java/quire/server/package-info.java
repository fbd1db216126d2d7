/**
 * The HTTP server in front of one engine.
 *
 * <pre>
 * quire.server           QuireServer, its configuration, metrics; Routes lists every path
 *   ├▶ .openai           OpenAI's JSON, in and out
 *   │    └▶ .api         what all APIs share: one request to the engine, one answer back
 *   │         └▶ .http   connections, bodies, limits, responses
 *   └▶ .http
 * </pre>
 *
 * Imports only go down. This package alone is exported.
 */
@NullMarked
package quire.server;

import org.jspecify.annotations.NullMarked;
