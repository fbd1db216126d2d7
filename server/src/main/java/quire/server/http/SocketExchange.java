package quire.server.http;

import io.vertx.core.Context;
import io.vertx.core.Future;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpMethod;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.http.HttpServerResponse;
import io.vertx.core.http.HttpVersion;
import java.io.IOException;
import java.io.InputStream;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** A request that came over a socket, and its response. */
final class SocketExchange implements Exchange {
    /** Bytes of a file that are written at a time. */
    private static final int BLOCK_BYTES = 64 << 10;

    private static final long NO_TIMER = -1;
    private static final int TOO_MANY_REQUESTS = 429;

    private final HttpServerRequest request;
    private final HttpServerResponse response;
    private final String id;
    private final Router.@Nullable Match match;
    private final ErrorFormat errors;
    private final HttpListener listener;
    private final Context loop;
    private final ClientConnection connection;
    private final Timers timers;

    private @Nullable ApiKey key;
    private BodyReader.@Nullable Body body;
    private CompletableFuture<Void> written = CompletableFuture.completedFuture(null);
    private boolean begun;
    private volatile boolean gone;
    private volatile boolean stopped;
    private volatile @Nullable Runnable departure;

    // Used on the event loop only.
    private @Nullable Consumer<HttpException> bodyRefusal;
    private boolean passed;
    private byte[] probe = {};
    private boolean writing;
    private long lastWrite;
    private long heartbeat = NO_TIMER;

    // For the request log and the counts.
    private final long receivedNanos = System.nanoTime();
    private volatile int status;
    private volatile boolean blocking;
    private volatile boolean cut;
    private boolean logged;
    private int promptTokens = -1;
    private int completionTokens = -1;
    private long firstTokenNanos = -1;

    /** @param match the route of the request; null if there is none */
    SocketExchange(
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
        this.timers = listener.timers();
        response.closeHandler(v -> leaveOnLoop());
        response.exceptionHandler(e -> leaveOnLoop());
    }

    private static String requestId(@Nullable String asked) {
        return asked != null && HttpListener.REQUEST_ID.matcher(asked).matches() ? asked : "req_" + RandomId.next();
    }

    @Override
    public String id() {
        return id;
    }

    @Override
    public boolean draining() {
        return listener.draining();
    }

    @Override
    public String pathRest() {
        String rest = match == null ? "" : match.rest();
        try {
            return URLDecoder.decode(rest.replace("+", "%2B"), StandardCharsets.UTF_8);
        } catch (IllegalArgumentException e) {
            return rest; // a % that does not begin an encoded byte is kept
        }
    }

    @Override
    public String client() {
        return connection.client();
    }

    @Override
    public int bodyBytes() {
        BodyReader.Body all = body;
        return all == null ? 0 : all.length();
    }

    @Override
    public byte[] body() {
        BodyReader.Body all = body;
        return all == null ? new byte[0] : all.bytes();
    }

    @Override
    public void releaseBody() {
        BodyReader.Body all = body;
        if (all != null) {
            all.release();
        }
    }

    @Override
    public @Nullable ApiKey key() {
        return key;
    }

    @Override
    public String owner() {
        return key == null ? "" : key.tenant();
    }

    void setKey(@Nullable ApiKey value) {
        key = value;
    }

    ClientConnection connection() {
        return connection;
    }

    void setBody(BodyReader.Body value) {
        body = value;
    }

    // ── the virtual thread ──────────────────────────────────────────────────────────────────────────────────────────

    @Override
    public boolean gone() {
        return gone;
    }

    /** Whether a part of the response was sent, so that the status can no longer change. */
    boolean begun() {
        return begun;
    }

    @Override
    public void onDeparture(Runnable action) {
        departure = action;
        if (gone || stopped) {
            action.run();
        }
    }

    @Override
    public void countTokens(int prompt, int completion) {
        if (key != null) {
            int before = Math.max(promptTokens, 0) + Math.max(completionTokens, 0);
            key.countTokens(prompt + completion - before, System.nanoTime());
        }
        promptTokens = prompt;
        completionTokens = completion;
        if (completion > 0 && firstTokenNanos < 0) {
            firstTokenNanos = System.nanoTime() - receivedNanos;
        }
    }

    @Override
    public int completionTokens() {
        return completionTokens;
    }

    @Override
    public long firstTokenNanos() {
        return firstTokenNanos;
    }

    @Override
    public long ageNanos() {
        return System.nanoTime() - receivedNanos;
    }

    @Override
    public String route() {
        return match == null ? "" : match.route().paths().getFirst();
    }

    @Override
    public @Nullable String header(String name) {
        return request.getHeader(name);
    }

    @Override
    public boolean background() {
        return false;
    }

    @Override
    public @Nullable String query(String name) {
        try {
            return request.params().get(name);
        } catch (IllegalArgumentException e) {
            throw HttpException.invalid(name, "invalid_value", "The address has a % that begins no encoded byte.");
        }
    }

    @Override
    public void send(Response whole) throws ClientGoneException {
        begun = true;
        write(() -> end(whole));
        awaitWritten();
    }

    /** Sends an error. */
    void send(HttpException e) throws ClientGoneException {
        send(Response.error(e, errors));
    }

    @Override
    public void begin(String contentType, byte[] events, byte[] signOfLife) throws ClientGoneException {
        begun = true;
        write(() -> {
            probe = signOfLife;
            startHeartbeat(signOfLife);
            head(200, contentType);
            response.putHeader("Cache-Control", "no-cache").putHeader("X-Accel-Buffering", "no");
            // writeHead() would announce chunks to HTTP/1.0 too, whose streams end with the connection.
            return events.length == 0 && request.version() != HttpVersion.HTTP_1_0
                    ? response.writeHead()
                    : response.write(Buffer.buffer(events));
        });
    }

    @Override
    public void send(String contentType, Map<String, String> headers, long length, InputStream body)
            throws ClientGoneException, IOException {
        begun = true;
        boolean onlyHead = request.method().equals(HttpMethod.HEAD);
        write(() -> {
            headers.forEach(response::putHeader);
            head(200, contentType);
            response.putHeader("Content-Length", Long.toString(length));
            return onlyHead || length == 0 ? ended(response.end()) : response.writeHead();
        });
        for (long left = onlyHead ? 0 : length; left > 0; ) {
            byte[] block = body.readNBytes((int) Math.min(left, BLOCK_BYTES));
            if (block.length == 0) {
                throw new IOException("the file is shorter than " + length + " bytes");
            }
            left -= block.length;
            if (left > 0) {
                events(block);
            } else {
                write(() -> ended(response.end(Buffer.buffer(block))));
            }
        }
        awaitWritten();
    }

    @Override
    public void events(byte[] events) throws ClientGoneException {
        write(() -> response.write(Buffer.buffer(events)));
    }

    @Override
    public void end(byte[] events) throws ClientGoneException {
        write(() -> ended(response.end(Buffer.buffer(events))));
        awaitWritten();
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

    /** Says that the gate has let the request pass. */
    void setPassed() {
        passed = true;
    }

    /** Sets what refuses the request while its body comes in. */
    void setBodyRefusal(Consumer<HttpException> value) {
        bodyRefusal = value;
    }

    /** Refuses the request because the rest of its body cannot be read. Returns false if its body is not waited for. */
    boolean refuseBrokenBody() {
        Consumer<HttpException> refusal = bodyRefusal;
        if (refusal == null || !BodyReader.isIncomplete(request)) {
            return false;
        }
        refusal.accept(HttpException.invalid(null, null, "The body is not valid HTTP: its chunks are malformed."));
        return true;
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
            response.write(Buffer.buffer(probe));
        }
        return true;
    }

    private void startHeartbeat(byte[] signOfLife) {
        Duration pause = listener.settings().heartbeat();
        if (!pause.isZero()) {
            heartbeat = timers.set(pause, () -> beat(pause, signOfLife));
        }
    }

    private void beat(Duration pause, byte[] signOfLife) {
        Duration left = pause.minusNanos(timers.nanoTime() - lastWrite);
        if (!left.isPositive()) {
            if (!writing) { // otherwise the client does not read, and the write timeout runs
                var _ = response.write(Buffer.buffer(signOfLife));
            }
            lastWrite = timers.nanoTime();
            left = pause;
        }
        heartbeat = timers.set(left, () -> beat(pause, signOfLife));
    }

    private void stopHeartbeat() {
        if (heartbeat != NO_TIMER) {
            timers.cancel(heartbeat);
            heartbeat = NO_TIMER;
        }
    }

    // ── any thread ──────────────────────────────────────────────────────────────────────────────────────────────────

    /** Ends the answer because the server stops; the client gets an error. */
    void stop() {
        stopped = true;
        runDeparture();
    }

    /** Says that the request's own thread answers it and calls {@link #log} in the end. */
    void setBlocking() {
        blocking = true;
    }

    /** Counts the request, and writes the line of the request log, if there is one. */
    void log() {
        if (logged) {
            return;
        }
        logged = true;
        long totalNanos = System.nanoTime() - receivedNanos;
        if (status != 0) { // otherwise the client left before it had an answer
            listener.counter()
                    .onEnd(
                            match == null ? null : match.route(),
                            request.method().name(),
                            status,
                            totalNanos);
        }
        if (!listener.settings().requestsLogged()) {
            return;
        }
        RequestLog.End end =
                cut || stopped ? RequestLog.End.CUT_SHORT : gone ? RequestLog.End.CLIENT_LEFT : RequestLog.End.WHOLE;
        RequestLog.write(new RequestLog.Entry(
                connection.address(),
                request.method().name(),
                request.path(),
                status,
                promptTokens,
                completionTokens,
                firstTokenNanos,
                totalNanos,
                id,
                end));
    }

    /** Closes the connection at once. */
    void close() {
        cut = true;
        leave();
        loop.runOnContext(v -> Sockets.closeNow(request.connection()));
    }

    private void head(int status, String contentType) {
        response.setStatusCode(status)
                .putHeader("Content-Type", contentType)
                .putHeader("Date", listener.date())
                .putHeader("X-Request-Id", id)
                .putHeader("X-Content-Type-Options", "nosniff");
        if (draining() || isLastRequest()) {
            response.putHeader("Connection", "close");
        }
        this.status = status;
        if (passed && status == TOO_MANY_REQUESTS) {
            connection.pause();
        } else if (passed) {
            connection.onAnswer();
        }
        long idleSeconds = listener.settings().readTimeout().toSeconds();
        if (idleSeconds > 0 && !response.headers().contains("Connection", "close", true)) {
            response.putHeader("Keep-Alive", "timeout=" + idleSeconds);
        }
        listener.counter().onResponse(status);
    }

    /** Whether the client says so. Vert.x knows only {@code close} alone, and not a list. */
    private boolean isLastRequest() {
        return request.headers().getAll("Connection").stream()
                .flatMap(list -> Stream.of(list.split(",", -1)))
                .anyMatch(option -> option.strip().equalsIgnoreCase("close"));
    }

    private Future<Void> ended(Future<Void> end) {
        stopHeartbeat();
        return end.onSuccess(v -> {
            logOnLoop();
            connection.onResponseEnd(
                    // While a body still comes in, closing would reset the connection, and the response would be lost.
                    request.isEnded() && response.headers().contains("Connection", "close", true));
        });
    }

    private void leaveOnLoop() {
        stopHeartbeat();
        leave();
    }

    private void leave() {
        gone = true;
        runDeparture();
        logOnLoop();
    }

    private void logOnLoop() {
        if (!blocking) {
            log();
        }
    }

    private void runDeparture() {
        Runnable action = departure;
        if (action != null) {
            action.run();
        }
    }

    private void write(Supplier<Future<Void>> write) throws ClientGoneException {
        awaitWritten();
        CompletableFuture<Void> done = new CompletableFuture<>();
        written = done;
        loop.runOnContext(v -> {
            lastWrite = timers.nanoTime();
            try {
                Future<Void> result = write.get();
                if (result.isComplete()) {
                    complete(done, result);
                } else {
                    awaitReader(done, result);
                }
            } catch (RuntimeException e) {
                done.completeExceptionally(e); // the connection was closed in the meantime
            }
        });
    }

    /** Closes the connection if the client reads too slowly: its answer must not stay in memory. On the event loop. */
    private void awaitReader(CompletableFuture<Void> done, Future<Void> result) {
        writing = true;
        long timer = timers.set(listener.settings().writeTimeout(), () -> {
            close();
            done.completeExceptionally(new TimeoutException());
        });
        result.onComplete(v -> {
            writing = false;
            timers.cancel(timer);
            complete(done, result);
        });
    }

    private static void complete(CompletableFuture<Void> done, Future<Void> result) {
        if (result.succeeded()) {
            done.complete(null);
        } else {
            done.completeExceptionally(result.cause());
        }
    }

    private void awaitWritten() throws ClientGoneException {
        try {
            written.get();
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
