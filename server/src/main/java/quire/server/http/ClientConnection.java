package quire.server.http;

import io.netty.channel.Channel;
import io.vertx.core.Context;
import io.vertx.core.http.HttpConnection;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.HexFormat;
import org.jspecify.annotations.Nullable;

/**
 * A connection, its read timeout, and what happens when its client sends no more. The client's time runs between requests
 * and while a request's head comes in, never while a request is answered. Used on the event loop only.
 *
 * <p>A client that has left and one that has only ended its sending side look the same: both send a FIN. They differ when
 * something is sent to them. The system of one that has left answers with a reset, so the write after that fails, and the
 * connection closes; a living client ignores what {@link SocketExchange#probe} sends.
 */
final class ClientConnection {
    private static final long NO_TIMER = -1;

    /** The address of a client on a unix socket, or of one that has left. */
    private static final String UNKNOWN = "unknown";

    /**
     * When clients that send no more are probed, in milliseconds after the probe before; the last one repeats. The first
     * two tell in a near network, the next ones in a far one.
     */
    private static final long[] PROBE_MILLIS = {0, 20, 200, 1000, 10_000};

    /** How long nothing is read after each successive refusal, in ticks of {@link Pauses}; the last one repeats. */
    private static final int[] REFUSAL_TICKS = {1, 1, 2, 3, Pauses.MOST_TICKS};

    private final Context loop;
    private final Timers timers;
    private final Channel channel;
    private final Connections connections;
    private final Pauses pauses;
    private final HttpSettings settings;
    private final String client;
    private long timer = NO_TIMER;
    private int unanswered;
    private int refusals; // since a request was answered that had passed the gate
    private boolean paused;
    private boolean admitted;
    private boolean inputEnded;
    private @Nullable Runnable refusal; // of a request that was read before the pause
    private @Nullable SocketExchange current;
    private @Nullable HttpConnection connection;

    /** A connection that was accepted; a handshake of TLS may be still to come. */
    ClientConnection(
            Context loop,
            Timers timers,
            Channel channel,
            Connections connections,
            Pauses pauses,
            HttpSettings settings) {
        this.loop = loop;
        this.timers = timers;
        this.channel = channel;
        this.connections = connections;
        this.pauses = pauses;
        this.settings = settings;
        this.client = client(address());
    }

    /** The network address that counts as one client. */
    String client() {
        return client;
    }

    /** The client's whole network address. */
    String address() {
        return channel.remoteAddress() instanceof InetSocketAddress address && address.getAddress() != null
                ? address.getAddress().getHostAddress()
                : UNKNOWN;
    }

    /** A network gives one client 2^64 addresses of IPv6, so the first half of the address names the client. */
    private static String client(String text) {
        if (text.equals(UNKNOWN)) {
            return text;
        }
        int zone = text.indexOf('%');
        byte[] bytes =
                InetAddress.ofLiteral(zone < 0 ? text : text.substring(0, zone)).getAddress();
        return bytes.length == 4 ? text : HexFormat.of().formatHex(bytes, 0, 8);
    }

    /** Whether the connection counts among those that are allowed; {@link Connections} decides it. */
    boolean admitted() {
        return admitted;
    }

    void setAdmitted(boolean value) {
        admitted = value;
    }

    /** The connection can be used: it has no handshake, or the handshake is complete. */
    void open(HttpConnection opened) {
        connection = opened;
        startTimer();
    }

    /** Whether {@link #open} was called. */
    boolean isOpen() {
        return connection != null;
    }

    /** Closes the connection if its handshake is not complete after this time. */
    void startHandshake(Duration time) {
        timer = timers.set(time, this::closeNow);
    }

    /** Restarts the timeout; closes the connection when it expires. */
    void startTimer() {
        stopTimer();
        timer = timers.set(settings.readTimeout(), this::closeNow);
    }

    void stopTimer() {
        if (timer != NO_TIMER) {
            timers.cancel(timer);
            timer = NO_TIMER;
        }
    }

    void closeNow() {
        HttpConnection opened = connection;
        if (opened == null) {
            var _ = channel.close();
        } else {
            Sockets.closeNow(opened);
        }
    }

    /** Closes the connection when all is written. */
    private void close() {
        if (connection != null) {
            connection.close();
        }
    }

    /**
     * Refuses a request, and reads the next one later. A refusal takes little time, but a client that asks again at once would
     * fill the event loop with them.
     *
     * @param answer sends the refusal. It runs at once; or at the end of the pause, if the request was read before it
     *     together with the one that was refused
     */
    void refuse(Runnable answer) {
        if (paused) {
            refusal = answer;
            return;
        }
        answer.run();
        pause();
    }

    /** A request that had passed the gate was refused: the next one is read later. */
    void pause() {
        if (!paused) {
            paused = true;
            channel.config().setAutoRead(false);
            pauses.add(this, REFUSAL_TICKS[Math.min(refusals++, REFUSAL_TICKS.length - 1)]);
        }
    }

    /** Reads again. */
    void resume() {
        paused = false;
        Runnable answer = refusal;
        if (answer != null) {
            refusal = null;
            refuse(answer);
        } else if (channel.isActive()) {
            channel.config().setAutoRead(true);
        }
    }

    /** A request that had passed the gate is answered. */
    void onAnswer() {
        refusals = 0;
    }

    /** A request's head has come. Returns false if there are too many connections: the request must be refused. */
    boolean onHead(SocketExchange exchange) {
        unanswered++;
        current = exchange;
        startTimer();
        return connections.begin(this);
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
            close();
        } else if (unanswered == 0) {
            current = null;
            startTimer();
            connections.end(this);
            if (inputEnded) {
                loop.runOnContext(v -> closeWithoutRequests()); // after requests that came with this one have begun
            }
        }
    }

    /** The client has ended its sending side, or has left. */
    void onInputEnd() {
        inputEnded = true;
        closeWithoutRequests();
        probe(0);
    }

    /** The chunks of a body are malformed, so nothing more can be read. */
    void onBrokenBody() {
        inputEnded = true;
        SocketExchange exchange = current;
        if (exchange == null || !exchange.refuseBrokenBody()) {
            closeWithoutRequests();
        }
    }

    private void closeWithoutRequests() {
        if (unanswered == 0) {
            close();
        }
    }

    private void probe(int number) {
        long millis = PROBE_MILLIS[Math.min(number, PROBE_MILLIS.length - 1)];
        if (millis == 0) {
            sendProbe(number);
        } else {
            timers.set(Duration.ofMillis(millis), () -> sendProbe(number));
        }
    }

    private void sendProbe(int number) {
        SocketExchange exchange = current;
        if (exchange != null && exchange.probe()) {
            probe(number + 1);
        }
    }
}
