/** What measures a running server from outside: plain sockets, streamed answers, the server's process and metrics. */
@NullMarked
package quire.bench.client;

import org.jspecify.annotations.NullMarked;
