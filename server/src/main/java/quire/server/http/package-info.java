/**
 * HTTP: connections, bodies, limits, time limits, responses and clients that leave. It knows bytes and requests; it knows
 * no API, no JSON and no engine.
 */
@NullMarked
package quire.server.http;

import org.jspecify.annotations.NullMarked;
