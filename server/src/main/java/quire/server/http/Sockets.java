package quire.server.http;

import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelOption;
import io.netty.channel.socket.ChannelInputShutdownEvent;
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
        var _ = context(connection).close();
    }

    /**
     * Keeps a connection open when the client ends its sending side. Vert.x would close it, and the client would lose the
     * answers that it still reads. Called on the event loop, before the first request.
     *
     * @param onEnd called once on the event loop when the client has ended its sending side; must close the connection
     *     sooner or later
     */
    static void onInputEnd(HttpConnection connection, Runnable onEnd) {
        ChannelHandlerContext context = context(connection);
        context.channel().config().setOption(ChannelOption.ALLOW_HALF_CLOSURE, true);
        context.pipeline().addBefore(context.name(), "input-end", new ChannelInboundHandlerAdapter() {
            @Override
            public void userEventTriggered(ChannelHandlerContext handler, Object event) {
                if (event == ChannelInputShutdownEvent.INSTANCE) {
                    onEnd.run();
                }
                handler.fireUserEventTriggered(event);
            }
        });
    }

    private static ChannelHandlerContext context(HttpConnection connection) {
        return ((ConnectionBase) connection).channelHandlerContext();
    }
}
