package quire.server.http;

import io.vertx.core.Vertx;
import io.vertx.core.http.HttpConnection;
import java.time.Duration;

/**
 * A connection and its read timeout. The client's time runs between requests and while a request comes in, never while
 * one is answered. Used on the event loop only.
 */
final class ClientConnection {
    private static final long NO_TIMER = -1;

    private final Vertx vertx;
    private final HttpConnection connection;
    private final Duration readTimeout;
    private long timer = NO_TIMER;
    private int unanswered;

    ClientConnection(Vertx vertx, HttpConnection connection, Duration readTimeout) {
        this.vertx = vertx;
        this.connection = connection;
        this.readTimeout = readTimeout;
    }

    /** Starts the client's time anew; closes the connection when it is over. */
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
     * A response has left.
     *
     * @param close whether the connection ends with it. True only if the client was told so: otherwise its next request
     *     may be on its way and would be lost
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
