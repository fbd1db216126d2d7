/**
 * HTTP: connections, bodies, limits, timeouts, responses and clients that disconnect. It depends on no API, no JSON and
 * no engine.
 */
@NullMarked
package quire.server.http;

import org.jspecify.annotations.NullMarked;
