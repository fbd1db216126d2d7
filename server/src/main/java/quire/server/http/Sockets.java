package quire.server.http;

import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelOption;
import io.netty.channel.socket.ChannelInputShutdownEvent;
import io.netty.handler.codec.DecoderResult;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpVersion;
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

    /**
     * Makes a request with another version of HTTP than 1.0 and 1.1 a malformed one, with a {@link VersionException}.
     * Vert.x would answer it by itself, with the version of the request in the answer. A malformed request is answered in
     * HTTP/1.1. Called on the event loop, before the first request.
     */
    static void checkVersions(HttpConnection connection) {
        ChannelHandlerContext context = context(connection);
        context.pipeline().addBefore(context.name(), "version", new ChannelInboundHandlerAdapter() {
            @Override
            public void channelRead(ChannelHandlerContext handler, Object message) {
                if (message instanceof HttpRequest request) {
                    checkVersion(request);
                }
                handler.fireChannelRead(message);
            }
        });
    }

    @SuppressWarnings(
            "ReferenceEquality") // the decoder uses the constants for exactly these spellings, and others equal them
    private static void checkVersion(HttpRequest request) {
        HttpVersion version = request.protocolVersion();
        boolean known = version == HttpVersion.HTTP_1_0 || version == HttpVersion.HTTP_1_1;
        boolean http = version.protocolName().equals("HTTP");
        if (!known && !(http && version.majorVersion() == 1 && version.minorVersion() > 1)) {
            boolean other = http && version.majorVersion() != 1;
            request.setDecoderResult(DecoderResult.failure(new VersionException(other)));
        }
        if (!known || request.decoderResult().isFailure()) {
            request.setProtocolVersion(HttpVersion.HTTP_1_1); // also for 1.2 and later, which are compatible
        }
    }

    /** A request whose version cannot be answered. */
    static final class VersionException extends Exception {
        private static final long serialVersionUID = 1;

        private final boolean other;

        private VersionException(boolean other) {
            super("unknown version of HTTP", null, false, false);
            this.other = other;
        }

        /** Whether it is another major version of HTTP; otherwise it is not the name of one. */
        boolean other() {
            return other;
        }
    }

    private static ChannelHandlerContext context(HttpConnection connection) {
        return ((ConnectionBase) connection).channelHandlerContext();
    }
}
