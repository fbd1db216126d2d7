package quire.server.http;

import io.vertx.core.Context;
import io.vertx.core.Future;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpMethod;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.http.HttpServerResponse;
import io.vertx.core.http.HttpVersion;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * One HTTP request and its response, between the event loop, which owns the socket, and the virtual thread that answers.
 *
 * <pre>
 *   virtual thread                                   event loop
 *   events(a) ── does not wait ────────────────────▶ write a ─▶ socket
 *   events(b) ── waits until a has left ───────────▶ write b ─▶ socket
 *                (over the write timeout: closes the connection)
 *   onDeparture(cancel)                              connection closed ─▶ cancel.run()
 * </pre>
 *
 * <p>At most one write is under way. While the socket takes it, the engine's tokens wait in their stream, and the next
 * write takes all of them: a slow client gets fewer and larger writes, and its own answer is all the memory it holds.
 */
public final class Exchange {
    /** A comment between events. */
    private static final String SIGN_OF_LIFE = ":\n\n";

    private final HttpServerRequest request;
    private final HttpServerResponse response;
    private final String id;
    private final Router.@Nullable Match match;
    private final ErrorFormat errors;
    private final HttpListener listener;
    private final Context loop;
    private final ClientConnection connection;

    private BodyReader.@Nullable Body body;
    private CompletableFuture<Void> written = CompletableFuture.completedFuture(null);
    private boolean begun;
    private volatile boolean gone;
    private volatile boolean stopped;
    private volatile @Nullable Runnable departure;

    /** @param match the route of the request; null if there is none */
    Exchange(
            HttpServerRequest request,
            Router.@Nullable Match match,
            ErrorFormat errors,
            HttpListener listener,
            ClientConnection connection) {
        this.request = request;
        this.response = request.response();
        this.id = requestId(request.getHeader("X-Request-Id"));
        this.match = match;
        this.errors = errors;
        this.listener = listener;
        this.loop = listener.loop();
        this.connection = connection;
        response.closeHandler(v -> leave());
        response.exceptionHandler(e -> leave());
    }

    private static String requestId(@Nullable String asked) {
        return asked != null && HttpListener.REQUEST_ID.matcher(asked).matches() ? asked : "req_" + RandomId.next();
    }

    /** The request's id, for the client and the log. */
    public String id() {
        return id;
    }

    /** Whether the server shuts down and accepts no new requests. */
    public boolean draining() {
        return listener.draining();
    }

    /** What stands in the request's path for the {@code *} of its route, decoded; empty if the route has none. */
    public String pathRest() {
        String rest = match == null ? "" : match.rest();
        try {
            return URLDecoder.decode(rest.replace("+", "%2B"), StandardCharsets.UTF_8);
        } catch (IllegalArgumentException e) {
            return rest; // a % that begins no byte stands for itself
        }
    }

    /** The network address that counts as one client: an IPv4 address, or the first 64 bits of an IPv6 address. */
    public String client() {
        return connection.client();
    }

    /** Bytes of the request's body; 0 if it has none or it was released. */
    public int bodyBytes() {
        BodyReader.Body all = body;
        return all == null ? 0 : all.length();
    }

    /** The request's body; empty if it has none or it was released. */
    public byte[] body() {
        BodyReader.Body all = body;
        return all == null ? new byte[0] : all.bytes();
    }

    /** Gives the memory of the body back, for other requests. Any number of times. */
    public void releaseBody() {
        BodyReader.Body all = body;
        if (all != null) {
            all.release();
        }
    }

    ClientConnection connection() {
        return connection;
    }

    void setBody(BodyReader.Body value) {
        body = value;
    }

    // ── the virtual thread ──────────────────────────────────────────────────────────────────────────────────────────

    /** Whether the client has left. */
    public boolean gone() {
        return gone;
    }

    /** Whether a part of the response is out, so that another status cannot be sent any more. */
    boolean begun() {
        return begun;
    }

    /** Sets what is called, on any thread and perhaps more than once, when the client leaves or the server stops. */
    public void onDeparture(Runnable action) {
        departure = action;
        if (gone || stopped) {
            action.run();
        }
    }

    /** Sends a whole response. */
    public void send(Response whole) throws ClientGoneException {
        begun = true;
        write(() -> end(whole));
        awaitWritten();
    }

    /** Sends an error. */
    void send(HttpException e) throws ClientGoneException {
        send(Response.error(e, errors));
    }

    /** Begins a stream of server-sent events with the first of them, or with none. */
    public void begin(byte[] events) throws ClientGoneException {
        begun = true;
        write(() -> {
            head(200, "text/event-stream; charset=utf-8");
            response.putHeader("Cache-Control", "no-cache").putHeader("X-Accel-Buffering", "no");
            // writeHead() would announce chunks to HTTP/1.0 too, whose streams end with the connection.
            return events.length == 0 && request.version() != HttpVersion.HTTP_1_0
                    ? response.writeHead()
                    : response.write(Buffer.buffer(events));
        });
    }

    /** Sends events, after those before them have left. */
    public void events(byte[] events) throws ClientGoneException {
        write(() -> response.write(Buffer.buffer(events)));
    }

    /** Sends the last events, ends the stream and waits until all of it has left. */
    public void end(byte[] events) throws ClientGoneException {
        write(() -> ended(response.end(Buffer.buffer(events))));
        awaitWritten();
    }

    /** Sends events and closes the connection without ending the stream, so that the client knows it is not complete. */
    public void abort(byte[] events) throws ClientGoneException {
        events(events);
        awaitWritten();
        close();
    }

    // ── the event loop ──────────────────────────────────────────────────────────────────────────────────────────────

    /** Writes a whole response. */
    Future<Void> end(Response whole) {
        whole.headers().forEach(response::putHeader);
        head(whole.status(), whole.contentType());
        response.putHeader("Content-Length", Integer.toString(whole.body().length));
        return ended(
                request.method().equals(HttpMethod.HEAD) ? response.end() : response.end(Buffer.buffer(whole.body())));
    }

    /** Writes an error. */
    Future<Void> end(HttpException e) {
        return end(Response.error(e, errors));
    }

    /**
     * Finds out whether a client that sends no more still reads: writes what clients ignore, so that the connection closes
     * if nobody is there.
     *
     * @return whether the exchange goes on
     */
    boolean probe() {
        if (gone || response.ended() || response.closed()) {
            return false;
        }
        if (BodyReader.isIncomplete(request)) {
            close(); // the rest of the body will never come
            return false;
        }
        if (!response.headWritten()) {
            if (request.version() == HttpVersion.HTTP_1_0) {
                close(); // it may not be sent anything before its answer, so it counts as gone
                return false;
            }
            response.writeContinue();
        } else if (response.isChunked()) {
            response.write(Buffer.buffer(SIGN_OF_LIFE));
        }
        return true;
    }

    // ── any thread ──────────────────────────────────────────────────────────────────────────────────────────────────

    /** Ends the answer because the server stops; the client is told. */
    void stop() {
        stopped = true;
        runDeparture();
    }

    /** Closes the connection at once. */
    void close() {
        leave();
        loop.runOnContext(v -> Sockets.closeNow(request.connection()));
    }

    private void head(int status, String contentType) {
        response.setStatusCode(status)
                .putHeader("Content-Type", contentType)
                .putHeader("Date", listener.date())
                .putHeader("X-Request-Id", id)
                .putHeader("X-Content-Type-Options", "nosniff");
        if (draining()) {
            response.putHeader("Connection", "close");
        }
        long idleSeconds = listener.settings().readTimeout().toSeconds();
        if (idleSeconds > 0 && !response.headers().contains("Connection", "close", true)) {
            response.putHeader("Keep-Alive", "timeout=" + idleSeconds);
        }
        listener.countResponse(status);
    }

    private Future<Void> ended(Future<Void> end) {
        return end.onSuccess(v -> connection.onResponseEnd(
                // While a body still comes in, closing would reset the connection, and the response would be lost.
                request.isEnded() && response.headers().contains("Connection", "close", true)));
    }

    private void leave() {
        gone = true;
        runDeparture();
    }

    private void runDeparture() {
        Runnable action = departure;
        if (action != null) {
            action.run();
        }
    }

    private void write(Supplier<Future<Void>> writing) throws ClientGoneException {
        awaitWritten();
        CompletableFuture<Void> done = new CompletableFuture<>();
        written = done;
        loop.runOnContext(v -> {
            try {
                writing.get().onComplete(result -> {
                    if (result.succeeded()) {
                        done.complete(null);
                    } else {
                        done.completeExceptionally(result.cause());
                    }
                });
            } catch (RuntimeException e) {
                done.completeExceptionally(e); // the connection was closed in the meantime
            }
        });
    }

    private void awaitWritten() throws ClientGoneException {
        try {
            written.get(listener.settings().writeTimeout().toMillis(), TimeUnit.MILLISECONDS);
        } catch (TimeoutException e) {
            close(); // the client has stopped reading: its answer must not stay in memory
        } catch (ExecutionException e) {
            leave();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            leave();
        }
        if (gone) {
            throw new ClientGoneException();
        }
    }
}
