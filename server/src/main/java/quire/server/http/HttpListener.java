package quire.server.http;

import io.netty.channel.Channel;
import io.netty.handler.codec.http.TooLongHttpHeaderException;
import io.netty.handler.codec.http.TooLongHttpLineException;
import io.vertx.core.Context;
import io.vertx.core.Future;
import io.vertx.core.Vertx;
import io.vertx.core.VertxOptions;
import io.vertx.core.file.FileSystemOptions;
import io.vertx.core.http.HttpConnection;
import io.vertx.core.http.HttpMethod;
import io.vertx.core.http.HttpServer;
import io.vertx.core.http.HttpServerOptions;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.net.JdkSSLEngineOptions;
import io.vertx.core.net.PemKeyCertOptions;
import io.vertx.core.net.ServerSSLOptions;
import io.vertx.core.net.SocketAddress;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.net.UnknownHostException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.InstantSource;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Accepts connections, reads requests and passes each to the handler of its route.
 *
 * <p>One event loop owns all sockets: it reads bounded requests, notices at once when a client leaves, and writes what it
 * is given. {@link Handler.Blocking} handlers run on a virtual thread for each request; {@link Exchange} stands between
 * that thread and the loop. HTTP/1.1 and 1.0. Handshakes of TLS are computed on a thread of their own.
 *
 * <p>Memory that clients can use: {@link HttpSettings#maxConnections} sockets with a head of 16 KiB each, eight bodies of
 * {@link HttpSettings#maxBodyBytes}, 8 MiB of small bodies, 1 MiB of each of {@link UploadReader#MAX_UPLOADS} forms, and what
 * the handlers allow. {@link FairShare} and
 * {@link Connections} say how clients share it.
 */
public final class HttpListener {
    static final Pattern REQUEST_ID = Pattern.compile("[A-Za-z0-9._-]{1,64}");

    private static final Logger LOG = System.getLogger(HttpListener.class.getName());

    private final FailureLog failures = new FailureLog(LOG);

    private static final int MAX_HEAD_BYTES = 16 << 10;
    private static final int MAX_LINE_BYTES = 8 << 10;

    /** Time for a handshake of TLS; Vert.x has a longer one of its own. */
    private static final Duration HANDSHAKE_TIMEOUT = Duration.ofSeconds(5);

    /** Time for sending an error to the clients of cancelled answers, and for closing sockets. */
    private static final Duration STOP_TIMEOUT = Duration.ofSeconds(5);

    private final HttpSettings settings;
    private final Router router;
    private final RequestCounter counter;
    private final ApiKeys apiKeys;
    private final boolean loopback;
    private final WebAccess access;
    private final Vertx vertx;
    private final Context loop;
    private final HttpServer server;
    private final BodyReader bodies;
    private final UploadReader uploads;
    private final Timers timers;

    /** Requests that a virtual thread answers; guarded by its own monitor. */
    private final Set<SocketExchange> active = new HashSet<>();

    /** Runs when {@link #active} becomes empty, under its monitor. */
    private Runnable onIdle = () -> {};

    private volatile boolean draining;
    private boolean closed;

    // Used on the event loop only.
    private final Connections connections;
    private final Pauses pauses;
    private final HttpDate date = new HttpDate(InstantSource.system());
    private long blockingRequests;

    private HttpListener(
            HttpSettings settings,
            Router router,
            RequestCounter counter,
            Timers.@Nullable Factory timers,
            Vertx vertx,
            @Nullable PemKeyCertOptions certificate) {
        this.settings = settings;
        this.router = router;
        this.counter = counter;
        this.apiKeys = new ApiKeys(settings.apiKeys());
        this.loopback = settings.unixSocket() != null || WebAccess.isLoopback(settings.host());
        // No web page reaches a unix socket, so its clients may call the server as they like.
        boolean known = loopback && settings.unixSocket() == null;
        this.access = new WebAccess(known, settings.host(), settings.allowedHosts(), settings.corsOrigins());
        this.vertx = vertx;
        this.loop = vertx.getOrCreateContext();
        this.timers = timers == null ? Timers.of(vertx) : timers.create(task -> loop.runOnContext(v -> task.run()));
        this.bodies = new BodyReader(loop, settings, this.timers);
        this.uploads = new UploadReader(loop, settings, this.timers);
        this.connections = new Connections(settings.maxConnections());
        this.pauses = new Pauses(this.timers);
        HttpServerOptions options = new HttpServerOptions()
                .setHost(settings.host())
                .setPort(settings.port())
                .setHttp2ClearTextEnabled(false)
                .setMaxHeaderSize(MAX_HEAD_BYTES)
                .setMaxInitialLineLength(MAX_LINE_BYTES)
                .setTcpNoDelay(true)
                .setTcpKeepAlive(true);
        if (certificate != null) {
            options.setSsl(true)
                    .setKeyCertOptions(certificate)
                    .setSslEngineOptions(new JdkSSLEngineOptions().setUseWorkerThread(true))
                    .setUseAlpn(false);
        }
        this.server = vertx.createHttpServer(options);
        server.exceptionHandler(e -> LOG.log(Level.DEBUG, "a connection failed before its first request: {0}", e));
        server.connectionHandler(this::onConnection)
                .requestHandler(this::onRequest)
                .invalidRequestHandler(this::onMalformedRequest);
    }

    /**
     * Replaces the keys of which clients must send one. Any thread.
     *
     * @throws IllegalArgumentException saying which key is wrong and why; the keys stay as they were
     */
    public void setApiKeys(List<String> keys) {
        apiKeys.set(keys);
    }

    /**
     * Starts to listen.
     *
     * @param counter is told of each request
     * @param timers makes the timers for slow clients; null for those of the system's time
     * @throws UncheckedIOException if the address cannot be bound
     * @throws IllegalArgumentException if the certificate or its key cannot be used
     */
    public static HttpListener start(
            HttpSettings settings, Router router, RequestCounter counter, Timers.@Nullable Factory timers) {
        AcceptingTransport transport = new AcceptingTransport();
        Vertx vertx = Vertx.builder()
                .with(new VertxOptions()
                        .setEventLoopPoolSize(1)
                        .setWorkerPoolSize(1)
                        .setInternalBlockingPoolSize(1)
                        .setFileSystemOptions(new FileSystemOptions()
                                .setFileCachingEnabled(false)
                                .setClassPathResolvingEnabled(false)))
                .withTransport(transport)
                .build();
        try {
            PemKeyCertOptions certificate = certificate(vertx, settings);
            HttpListener listener = new HttpListener(settings, router, counter, timers, vertx, certificate);
            transport.onAccept(listener::onAccept);
            listener.listen();
            return listener;
        } catch (IllegalArgumentException e) {
            vertx.close();
            throw e;
        } catch (CompletionException | IOException e) {
            vertx.close();
            Throwable cause = e instanceof CompletionException && e.getCause() != null ? e.getCause() : e;
            Path socket = settings.unixSocket();
            throw new UncheckedIOException(
                    "cannot listen on " + (socket == null ? settings.host() + ":" + settings.port() : socket) + ": "
                            + reason(cause),
                    cause instanceof IOException io ? io : new IOException(cause));
        }
    }

    /** Why an address cannot be listened on, without the words of the network library. */
    static @Nullable String reason(Throwable cause) {
        return cause instanceof UnknownHostException ? "no address has this name" : cause.getMessage();
    }

    /**
     * The certificate; null if the server does not speak TLS.
     *
     * @throws IllegalArgumentException if the files cannot be read or used
     */
    private static @Nullable PemKeyCertOptions certificate(Vertx vertx, HttpSettings settings) {
        Path certificate = settings.certificate();
        Path key = settings.key();
        try {
            return certificate == null || key == null ? null : Certificates.read(vertx, certificate, key);
        } catch (IOException e) {
            throw new IllegalArgumentException("the certificate cannot be read: " + e.getMessage(), e);
        }
    }

    private void listen() throws IOException {
        Path socket = settings.unixSocket();
        if (socket == null) {
            server.listen().toCompletionStage().toCompletableFuture().join();
            return;
        }
        UnixSocket.free(socket);
        server.listen(SocketAddress.domainSocketAddress(socket.toString()))
                .toCompletionStage()
                .toCompletableFuture()
                .join();
    }

    /**
     * Reads the certificate and its key again, for new connections. Any thread.
     *
     * @throws IllegalArgumentException saying which file is wrong and why; the certificate stays as it was
     */
    public void reloadCertificate() {
        PemKeyCertOptions pem = certificate(vertx, settings);
        if (pem != null) {
            ServerSSLOptions options = new ServerSSLOptions();
            options.setKeyCertOptions(pem).setUseAlpn(false);
            await(server.updateSSLOptions(options));
        }
    }

    private static void deleteSocket(Path socket) {
        try {
            Files.deleteIfExists(socket);
        } catch (IOException e) {
            LOG.log(Level.DEBUG, "the unix socket stays, and the next server deletes it: {0}", e);
        }
    }

    /** The port that is listened on: the one asked for, or the free one that was found for 0. */
    public int port() {
        return server.actualPort();
    }

    /** Whether only programs on this machine reach the server. */
    public boolean loopback() {
        return loopback;
    }

    /** Requests that a virtual thread answers. */
    public int activeRequests() {
        synchronized (active) {
            return active.size();
        }
    }

    /** Open connections. */
    public int openConnections() {
        CompletableFuture<Integer> count = new CompletableFuture<>();
        loop.runOnContext(v -> count.complete(connections.size()));
        return count.join();
    }

    /**
     * Refuses new requests, waits until active ones have ended, then stops listening.
     *
     * @param drainTimeout how long to wait; answers that take longer are cut short, and their clients get an error
     */
    public synchronized void close(Duration drainTimeout) {
        if (closed) {
            return;
        }
        closed = true;
        draining = true;
        if (!awaitIdle(drainTimeout)) {
            List<SocketExchange> left;
            synchronized (active) {
                left = List.copyOf(active);
            }
            LOG.log(Level.WARNING, "cutting {0} answers short: they took longer than the drain timeout", left.size());
            left.forEach(SocketExchange::stop);
            if (!awaitIdle(STOP_TIMEOUT)) {
                left.forEach(SocketExchange::close);
            }
        }
        await(server.close());
        await(vertx.close());
        if (settings.unixSocket() != null) {
            deleteSocket(settings.unixSocket());
        }
    }

    Context loop() {
        return loop;
    }

    HttpSettings settings() {
        return settings;
    }

    boolean draining() {
        return draining;
    }

    /** The time for the header {@code Date}. Called on the event loop. */
    String date() {
        return date.now();
    }

    Timers timers() {
        return timers;
    }

    RequestCounter counter() {
        return counter;
    }

    private boolean awaitIdle(Duration timeout) {
        CompletableFuture<Boolean> over = new CompletableFuture<>();
        CompletableFuture<Long> timer = new CompletableFuture<>();
        synchronized (active) {
            if (active.isEmpty()) {
                return true;
            }
            onIdle = () -> over.complete(true);
        }
        loop.runOnContext(v -> timer.complete(timers.set(timeout, () -> over.complete(false))));
        try {
            return over.get();
        } catch (ExecutionException e) {
            throw new IllegalStateException("nothing fails here", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return false;
        } finally {
            var _ = timer.thenAccept(number -> loop.runOnContext(v -> timers.cancel(number)));
        }
    }

    private static void await(Future<?> future) {
        try {
            future.toCompletionStage().toCompletableFuture().get(STOP_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
        } catch (ExecutionException | TimeoutException e) {
            LOG.log(Level.WARNING, "the server did not close cleanly", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    // ── the event loop ──────────────────────────────────────────────────────────────────────────────────────────────

    /** A socket was accepted, on any thread. */
    private void onAccept(Channel channel) {
        loop.runOnContext(v -> {
            ClientConnection client = new ClientConnection(loop, timers, channel, connections, pauses, settings);
            client.startHandshake(HANDSHAKE_TIMEOUT);
            connections.add(channel, client);
            channel.closeFuture()
                    .addListener(closed -> loop.runOnContext(w -> {
                        if (!client.isOpen()) {
                            connections.remove(channel);
                        }
                    }));
        });
    }

    private void onConnection(HttpConnection connection) {
        ClientConnection client = connections.get(Sockets.channel(connection));
        if (client == null) {
            Sockets.closeNow(connection); // it was closed for another one at the end of its handshake
            return;
        }
        client.open(connection);
        // Behind the last request, which may be malformed only because it ends here.
        connection.closeHandler(v -> connections.remove(Sockets.channel(connection)));
        Sockets.readInSmallTurns(connection);
        Sockets.onInputEnd(connection, client::onInputEnd);
        Sockets.checkRequests(connection, client::onBrokenBody);
    }

    private void onMalformedRequest(HttpServerRequest request) {
        SocketExchange exchange = exchange(request, null);
        exchange.connection().onHead(exchange);
        HttpException e =
                switch (request.decoderResult().cause()) {
                    case TooLongHttpLineException tooLong ->
                        HttpException.refused(
                                414, null, "The request line is longer than " + MAX_LINE_BYTES + " bytes.");
                    case TooLongHttpHeaderException tooLong ->
                        HttpException.refused(431, null, "The headers are longer than " + MAX_HEAD_BYTES + " bytes.");
                    case Sockets.UnsupportedException unsupported ->
                        HttpException.refused(unsupported.status(), null, unsupported.getMessage());
                    case null, default -> HttpException.invalid(null, null, "The request is not valid HTTP.");
                };
        request.response().putHeader("Connection", "close");
        exchange.end(e).onComplete(v -> request.connection().close());
    }

    private void onRequest(HttpServerRequest request) {
        String path = request.path() == null ? "" : request.path();
        Router.Match match = router.find(request.method().name(), path);
        SocketExchange exchange = exchange(request, match);
        guard(request, exchange, () -> {
            admit(request, match, exchange);
            dispatch(request, path, match, exchange);
        });
    }

    /** Runs a part of a request on the event loop, and answers with an error if it fails. */
    private void guard(HttpServerRequest request, SocketExchange exchange, Runnable part) {
        try {
            part.run();
        } catch (HttpException e) {
            refuse(request, exchange, e);
        } catch (RuntimeException e) {
            failures.add(exchange.id(), e);
            refuse(request, exchange, HttpException.internal(exchange.id()));
        }
    }

    private SocketExchange exchange(HttpServerRequest request, Router.@Nullable Match match) {
        return new SocketExchange(request, match, router.errors(match), this, client(request));
    }

    /** Refuses requests on connections beyond the limit; probes and metrics are answered there too. */
    private void admit(HttpServerRequest request, Router.@Nullable Match match, SocketExchange exchange) {
        if (exchange.connection().onHead(exchange)) {
            return;
        }
        request.response().putHeader("Connection", "close");
        if (match == null || !match.route().open()) {
            throw HttpException.unavailable("The server has " + settings.maxConnections()
                    + " connections, and all of them are busy: try again later.");
        }
    }

    private ClientConnection client(HttpServerRequest request) {
        ClientConnection client = connections.get(Sockets.channel(request.connection()));
        if (client == null) {
            throw new IllegalStateException("a request on a connection that was not announced");
        }
        return client;
    }

    private void dispatch(
            HttpServerRequest request, String path, Router.@Nullable Match match, SocketExchange exchange) {
        String origin = request.getHeader("Origin");
        access.check(request.headers().getAll("Host"), origin);
        access.headers(origin).forEach(request.response()::putHeader);
        if (request.method().equals(HttpMethod.OPTIONS)) {
            Map<String, String> preflight = access.preflight(
                    origin,
                    request.getHeader("Access-Control-Request-Method"),
                    request.getHeader("Access-Control-Request-Headers"));
            if (preflight != null) { // browsers send it without the key
                bodies.discard(request);
                exchange.end(Response.json(204, new byte[0]).withHeaders(preflight));
                return;
            }
        }
        if (match == null || !match.route().open()) {
            exchange.setKey(apiKeys.check(request));
        }
        if (match == null) {
            throw HttpException.refused(
                    404, "unknown_url", "Unknown request URL: " + request.method() + " " + shown(path) + ".");
        }
        Route route = match.route();
        if (request.method().equals(HttpMethod.OPTIONS)) {
            bodies.discard(request);
            exchange.end(Response.json(204, new byte[0]).withHeaders(Map.of("Allow", match.methods() + ", OPTIONS")));
            return;
        }
        if (!route.takes(request.method().name())) {
            request.response().putHeader("Allow", match.methods() + ", OPTIONS");
            throw HttpException.refused(
                    405,
                    "method_not_allowed",
                    shown(path) + " accepts " + match.methods() + ", not "
                            + shown(request.method().name()) + ".");
        }
        if (!route.method().equals("POST")) {
            bodies.discard(request);
            run(route.handler(), exchange);
            return;
        }
        if (draining) {
            throw HttpException.unavailable("The server is shutting down and accepts no new requests.");
        }
        if (route.handler() instanceof Handler.Upload upload) {
            route.gate().check(exchange);
            Path folder = upload.folder(exchange);
            exchange.connection().stopTimer();
            exchange.setBodyRefusal(uploads.read(
                    request,
                    exchange.client(),
                    folder,
                    form -> start(each -> answer(upload, each, form), exchange),
                    e -> refuse(request, exchange, e)));
            return;
        }
        exchange.connection().stopTimer(); // the body has its own limits
        exchange.setBodyRefusal(bodies.read(
                request,
                exchange.client(),
                body -> {
                    exchange.setBody(body);
                    guard(request, exchange, () -> pass(request, route, exchange));
                },
                e -> refuse(request, exchange, e)));
    }

    /** Runs the handler if the gate lets the request pass. */
    private void pass(HttpServerRequest request, Route route, SocketExchange exchange) {
        ClientConnection connection = exchange.connection();
        try {
            route.gate().check(exchange);
        } catch (HttpException e) {
            exchange.releaseBody();
            connection.refuse(() -> {
                if (!request.response().closed()) {
                    refuse(request, exchange, e);
                }
            });
            return;
        }
        exchange.setPassed();
        run(route.handler(), exchange);
    }

    /** Answers with an error at once. A body that still arrives is read to its end and discarded. */
    private void refuse(HttpServerRequest request, SocketExchange exchange, HttpException e) {
        logError(exchange, e);
        exchange.releaseBody();
        exchange.connection().startTimer(); // for the rest of the body and for the answer
        if (!BodyReader.isIncomplete(request)) {
            exchange.end(e);
            return;
        }
        // Closing a socket with unread bytes would reset the connection, and the client would lose the answer.
        request.response().putHeader("Connection", "close");
        Future<Void> sent = exchange.end(e);
        if (e.status() == 408) {
            sent.onComplete(v -> request.connection().close()); // there is no more to wait for
            return;
        }
        bodies.discard(request);
        request.endHandler(v -> request.connection().close());
    }

    /** Errors of clients are of use to someone who looks for one of them, and not in the log of every day. */
    private static void logError(SocketExchange exchange, HttpException e) {
        LOG.log(Level.DEBUG, "request {0}: {1,number,#} {2}", exchange.id(), e.status(), e.getMessage());
    }

    static String shown(String text) {
        return text.length() > 100 ? text.substring(0, 100) + "…" : text;
    }

    private void run(Handler handler, SocketExchange exchange) {
        switch (handler) {
            case Handler.Immediate immediate -> exchange.end(immediate.answer(exchange));
            case Handler.Blocking blocking -> start(blocking, exchange);
            case Handler.Upload upload -> throw new IllegalStateException("its body is a form");
        }
    }

    private static void answer(Handler.Upload handler, Exchange exchange, Form form)
            throws ClientGoneException, InterruptedException {
        try {
            handler.answer(exchange, form);
        } finally {
            form.delete();
        }
    }

    // ── virtual threads ─────────────────────────────────────────────────────────────────────────────────────────────

    private void start(Handler.Blocking handler, SocketExchange exchange) {
        synchronized (active) {
            active.add(exchange);
        }
        exchange.setBlocking();
        Thread.ofVirtual().name("request-" + ++blockingRequests).start(() -> {
            try {
                answer(handler, exchange);
            } finally {
                exchange.releaseBody();
                exchange.log();
                synchronized (active) {
                    active.remove(exchange);
                    if (active.isEmpty()) {
                        onIdle.run();
                    }
                }
            }
        });
    }

    private void answer(Handler.Blocking handler, SocketExchange exchange) {
        try {
            try {
                handler.answer(exchange);
            } catch (HttpException e) {
                logError(exchange, e);
                exchange.send(e);
            }
        } catch (ClientGoneException e) {
            LOG.log(Level.DEBUG, "request {0}: the client is gone", exchange.id());
        } catch (Throwable e) { // of any kind: this client is told, and the others are not affected
            failures.add(exchange.id(), e);
            try {
                if (exchange.begun()) {
                    exchange.close();
                } else {
                    exchange.send(HttpException.internal(exchange.id()));
                }
            } catch (ClientGoneException gone) {
                LOG.log(Level.DEBUG, "request {0}: the client has closed its connection", exchange.id());
            }
        }
    }
}
