package quire.server.http;

import io.netty.channel.AdaptiveRecvByteBufAllocator;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelOption;
import io.netty.channel.socket.ChannelInputShutdownEvent;
import io.netty.handler.codec.DecoderResult;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpObject;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.util.ReferenceCountUtil;
import io.vertx.core.http.HttpConnection;
import io.vertx.core.net.impl.ConnectionBase;
import java.util.List;

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
     * Bounds what is read of a connection before the event loop turns to the others. Netty reads up to 16 times, so 64
     * clients that send large bodies would keep an answer's token waiting for 64 MiB. Called on the event loop, before the
     * first request.
     */
    static void readInSmallTurns(HttpConnection connection) {
        context(connection)
                .channel()
                .config()
                .setRecvByteBufAllocator(new AdaptiveRecvByteBufAllocator().maxMessagesPerRead(1));
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
     * Finds requests that Vert.x does not handle well, and lets nothing pass that follows one on its connection:
     *
     * <ul>
     *   <li>Another version of HTTP than 1.0 and 1.1: Vert.x would answer it by itself, with that version in the answer.
     *   <li>Another {@code Transfer-Encoding} than {@code chunked}: Vert.x would take the body for the next request.
     *   <li>A body whose chunks are malformed: Vert.x would close the connection without an answer.
     * </ul>
     *
     * <p>The first two become malformed requests, with an {@link UnsupportedException} where more can be said. A malformed
     * request is answered in HTTP/1.1. Called on the event loop, before the first request.
     *
     * @param onBrokenBody called once on the event loop when the chunks of a body are malformed
     */
    static void checkRequests(HttpConnection connection, Runnable onBrokenBody) {
        ChannelHandlerContext context = context(connection);
        context.pipeline().addBefore(context.name(), "check", new ChannelInboundHandlerAdapter() {
            private boolean broken;

            @Override
            public void channelRead(ChannelHandlerContext handler, Object message) {
                if (broken) {
                    ReferenceCountUtil.release(message);
                    return;
                }
                if (message instanceof HttpRequest request) {
                    checkVersion(request);
                    checkTransferEncoding(request);
                    broken = request.decoderResult().isFailure();
                } else if (message instanceof HttpObject part
                        && part.decoderResult().isFailure()) {
                    broken = true;
                    ReferenceCountUtil.release(message);
                    onBrokenBody.run();
                    return;
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
            request.setDecoderResult(DecoderResult.failure(
                    other
                            ? new UnsupportedException(
                                    505, "This version of HTTP is not supported: use HTTP/1.1 or HTTP/1.0.")
                            : new IllegalArgumentException("no version of HTTP")));
        }
        if (!known || request.decoderResult().isFailure()) {
            request.setProtocolVersion(HttpVersion.HTTP_1_1); // also for 1.2 and later, which are compatible
        }
    }

    /** The end of a body in another coding is unknown, so nothing behind the head can be read. */
    private static void checkTransferEncoding(HttpRequest request) {
        List<String> codings = request.headers().getAll(HttpHeaderNames.TRANSFER_ENCODING);
        boolean chunked = codings.size() == 1 && codings.getFirst().strip().equalsIgnoreCase("chunked");
        if (!codings.isEmpty() && !chunked && request.decoderResult().isSuccess()) {
            request.setDecoderResult(DecoderResult.failure(new UnsupportedException(
                    501, "This Transfer-Encoding is not supported: use chunked alone, or Content-Length.")));
        }
    }

    /** A request that is answered with this status. */
    static final class UnsupportedException extends Exception {
        private static final long serialVersionUID = 1;

        private final int status;
        private final String message;

        private UnsupportedException(int status, String message) {
            super(message, null, false, false);
            this.status = status;
            this.message = message;
        }

        int status() {
            return status;
        }

        @Override
        public String getMessage() {
            return message;
        }
    }

    /** The socket of a connection. */
    static Channel channel(HttpConnection connection) {
        return context(connection).channel();
    }

    private static ChannelHandlerContext context(HttpConnection connection) {
        return ((ConnectionBase) connection).channelHandlerContext();
    }
}
