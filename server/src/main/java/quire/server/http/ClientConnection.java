package quire.server.http;

import io.vertx.core.Vertx;
import io.vertx.core.http.HttpConnection;
import io.vertx.core.net.SocketAddress;
import java.net.InetAddress;
import java.time.Duration;
import java.util.HexFormat;
import org.jspecify.annotations.Nullable;

/**
 * A connection and its read timeout. The client's time runs between requests and while a request comes in, never while
 * one is answered. Used on the event loop only.
 */
final class ClientConnection {
    private static final long NO_TIMER = -1;

    private final Vertx vertx;
    private final HttpConnection connection;
    private final Duration readTimeout;
    private final String client;
    private long timer = NO_TIMER;
    private int unanswered;

    ClientConnection(Vertx vertx, HttpConnection connection, Duration readTimeout) {
        this.vertx = vertx;
        this.connection = connection;
        this.readTimeout = readTimeout;
        this.client = client(connection.remoteAddress());
    }

    /** The network address that counts as one client. */
    String client() {
        return client;
    }

    /** The client's whole network address. */
    String address() {
        SocketAddress address = connection.remoteAddress();
        return address == null || address.hostAddress() == null ? "unknown" : address.hostAddress();
    }

    /** A network gives one client 2^64 addresses of IPv6, so the first half of the address names the client. */
    private static String client(@Nullable SocketAddress address) {
        String text = address == null ? null : address.hostAddress();
        if (text == null) {
            return "unknown";
        }
        int zone = text.indexOf('%');
        byte[] bytes =
                InetAddress.ofLiteral(zone < 0 ? text : text.substring(0, zone)).getAddress();
        return bytes.length == 4 ? text : HexFormat.of().formatHex(bytes, 0, 8);
    }

    /** Restarts the timeout; closes the connection when it expires. */
    void startTimer() {
        stopTimer();
        timer = vertx.setTimer(readTimeout.toMillis(), t -> Sockets.closeNow(connection));
    }

    void stopTimer() {
        if (timer != NO_TIMER) {
            vertx.cancelTimer(timer);
            timer = NO_TIMER;
        }
    }

    /** A request's head has come; its body has the same time again. */
    void onHead() {
        unanswered++;
        startTimer();
    }

    /**
     * A response has been written.
     *
     * @param close whether the connection ends with it. True only if the response said so: otherwise the client may
     *     have sent its next request already, which would be lost
     */
    void onResponseEnd(boolean close) {
        unanswered--;
        if (close) {
            connection.close();
        } else if (unanswered == 0) {
            startTimer();
        }
    }
}
