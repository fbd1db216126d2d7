package quire.server;

import io.vertx.core.Context;
import io.vertx.core.Future;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpMethod;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.http.HttpServerResponse;
import io.vertx.core.http.HttpVersion;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BooleanSupplier;
import java.util.function.IntConsumer;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import quire.engine.TokenStream;
import tools.jackson.databind.JsonNode;

/**
 * One HTTP request and its response, between the event loop, which owns the socket, and the virtual thread that answers.
 *
 * <pre>
 *   virtual thread                                   event loop
 *   events(a) ── waits for nothing ────────────────▶ write a ─▶ socket
 *   events(b) ── waits until a has left ───────────▶ write b ─▶ socket
 *                (too long: drops the connection)
 *   watch(stream)                                    connection closed ─▶ stream.close()
 * </pre>
 *
 * <p>At most one write is under way. While the socket takes it, tokens gather in the {@link TokenStream}, and leave
 * together in the next one: a slow client gets fewer, larger writes and never holds more than its own answer.
 */
final class Exchange {
    /** The client is not there any more, so nobody needs to be told anything. */
    static final class ClientGoneException extends Exception {
        private static final long serialVersionUID = 1;

        private ClientGoneException() {
            super("the client is gone", null, false, false);
        }
    }

    /** Hears a yes or a no. */
    interface BooleanConsumer {
        void accept(boolean value);
    }

    private final HttpServerRequest request;
    private final HttpServerResponse response;
    private final Context context;
    private final Duration patience;
    private final String id;
    private final BooleanSupplier draining;
    private final IntConsumer onHead;
    private final BooleanConsumer onEnd;

    private CompletableFuture<Void> written = CompletableFuture.completedFuture(null);
    private boolean begun;
    private volatile boolean gone;
    private volatile boolean stopped;
    private volatile @Nullable TokenStream watched;

    /**
     * @param context the event loop of the connection
     * @param patience how long one write may take
     * @param id of the request, for the client and the log
     * @param draining whether the server is closing: then the response says that it is the connection's last
     * @param onHead hears the status, on the event loop, when the response begins
     * @param onEnd hears, on the event loop, that all of the response has left, and whether the connection can be
     *     closed: the client has said all and was told that nothing follows
     */
    Exchange(
            HttpServerRequest request,
            Context context,
            Duration patience,
            String id,
            BooleanSupplier draining,
            IntConsumer onHead,
            BooleanConsumer onEnd) {
        this.request = request;
        this.response = request.response();
        this.context = context;
        this.patience = patience;
        this.id = id;
        this.draining = draining;
        this.onHead = onHead;
        this.onEnd = onEnd;
        response.closeHandler(v -> leave());
        response.exceptionHandler(e -> leave());
    }

    /** The request's id. */
    String id() {
        return id;
    }

    /** Whether the client has left. */
    boolean gone() {
        return gone;
    }

    /** Whether part of the response is out, so that another status cannot be sent any more. */
    boolean begun() {
        return begun;
    }

    /** Closes {@code stream} as soon as the client leaves or the server stops. */
    void watch(TokenStream stream) {
        watched = stream;
        if (gone || stopped) {
            stream.close();
        }
    }

    /** Ends what is under way because the server stops; the client is told. Any thread. */
    void stop() {
        stopped = true;
        closeStream();
    }

    /** Drops the connection. Any thread. */
    void drop() {
        leave();
        context.runOnContext(v -> Sockets.cut(request.connection()));
    }

    /** Sends a whole response. Called on the virtual thread. */
    void send(int status, String contentType, byte[] body, Map<String, String> headers) throws ClientGoneException {
        begun = true;
        write(() -> end(status, contentType, body, headers));
        awaitWritten();
    }

    /** Sends JSON. */
    void send(int status, JsonNode body) throws ClientGoneException {
        send(status, "application/json", Fields.MAPPER.writeValueAsBytes(body), Map.of());
    }

    /** Sends an error. */
    void send(ApiException e) throws ClientGoneException {
        byte[] body = Fields.MAPPER.writeValueAsBytes(e.toJson());
        send(e.status(), "application/json", body, headers(e));
    }

    /** Writes a whole response. Called on the event loop. */
    Future<Void> end(int status, String contentType, byte[] body, Map<String, String> headers) {
        head(status, contentType);
        headers.forEach(response::putHeader);
        response.putHeader("Content-Length", Integer.toString(body.length));
        return ended(request.method().equals(HttpMethod.HEAD) ? response.end() : response.end(Buffer.buffer(body)));
    }

    /** Writes an error. Called on the event loop. */
    Future<Void> end(ApiException e) {
        return end(e.status(), "application/json", Fields.MAPPER.writeValueAsBytes(e.toJson()), headers(e));
    }

    /** Begins a stream of server-sent events with the first of them. */
    void begin(byte[] events) throws ClientGoneException {
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
    void events(byte[] events) throws ClientGoneException {
        write(() -> response.write(Buffer.buffer(events)));
    }

    /** Ends the stream and waits until all of it has left. */
    void end(byte[] events) throws ClientGoneException {
        write(() -> ended(response.end(Buffer.buffer(events))));
        awaitWritten();
    }

    /** Ends the stream and the connection with it, so that nobody takes what came for the whole. */
    void abort(byte[] events) throws ClientGoneException {
        events(events);
        awaitWritten();
        drop();
    }

    private static Map<String, String> headers(ApiException e) {
        return switch (e.status()) {
            case 401 -> Map.of("WWW-Authenticate", "Bearer");
            case 429 -> Map.of("Retry-After", Integer.toString(e.retryAfterSeconds()));
            case 503 -> Map.of("Retry-After", Integer.toString(e.retryAfterSeconds()), "Connection", "close");
            default -> Map.of();
        };
    }

    private void head(int status, String contentType) {
        response.setStatusCode(status)
                .putHeader("Content-Type", contentType)
                .putHeader("X-Request-Id", id)
                .putHeader("X-Content-Type-Options", "nosniff");
        if (draining.getAsBoolean()) {
            response.putHeader("Connection", "close");
        }
        onHead.accept(status);
    }

    private Future<Void> ended(Future<Void> end) {
        return end.onSuccess(v -> onEnd.accept(
                // While a body is still coming in, closing would reset the connection and destroy the answer with it.
                request.isEnded() && response.headers().contains("Connection", "close", true)));
    }

    private void leave() {
        gone = true;
        closeStream();
    }

    private void closeStream() {
        TokenStream stream = watched;
        if (stream != null) {
            stream.close();
        }
    }

    private void write(Supplier<Future<Void>> writing) throws ClientGoneException {
        awaitWritten();
        CompletableFuture<Void> done = new CompletableFuture<>();
        written = done;
        context.runOnContext(v -> {
            try {
                writing.get().onComplete(result -> {
                    if (result.succeeded()) {
                        done.complete(null);
                    } else {
                        done.completeExceptionally(result.cause());
                    }
                });
            } catch (RuntimeException e) {
                done.completeExceptionally(e); // the connection closed under us
            }
        });
    }

    private void awaitWritten() throws ClientGoneException {
        try {
            written.get(patience.toMillis(), TimeUnit.MILLISECONDS);
        } catch (TimeoutException e) {
            drop(); // it stopped reading: it cannot hold its answer in memory for ever
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
