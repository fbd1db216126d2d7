package quire.server.http;

import io.vertx.core.http.HttpConnection;
import io.vertx.core.net.impl.ConnectionBase;

/** The only use of Vert.x' internals. */
final class Sockets {
    private Sockets() {}

    /**
     * Closes a connection at once. {@link HttpConnection#close} first waits until all writes are complete, which never
     * happens if the client does not read. Vert.x has no public method that does not wait. Called on the event loop.
     */
    static void closeNow(HttpConnection connection) {
        var _ = ((ConnectionBase) connection).channelHandlerContext().close();
    }
}
