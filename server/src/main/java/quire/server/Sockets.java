package quire.server;

import io.vertx.core.http.HttpConnection;
import io.vertx.core.net.impl.ConnectionBase;

/** The one door to Vert.x' internals. */
final class Sockets {
    private Sockets() {}

    /**
     * Closes a connection now. {@link HttpConnection#close} first waits until everything written has left, which a client
     * that does not read puts off for ever; there is no public way around that. Called on the event loop.
     */
    static void cut(HttpConnection connection) {
        var _ = ((ConnectionBase) connection).channelHandlerContext().close();
    }
}
