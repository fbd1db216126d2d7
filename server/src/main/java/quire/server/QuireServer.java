package quire.server;

import io.vertx.core.Context;
import io.vertx.core.Future;
import io.vertx.core.Vertx;
import io.vertx.core.VertxOptions;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.file.FileSystemOptions;
import io.vertx.core.http.HttpConnection;
import io.vertx.core.http.HttpMethod;
import io.vertx.core.http.HttpServer;
import io.vertx.core.http.HttpServerOptions;
import io.vertx.core.http.HttpServerRequest;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.IdentityHashMap;
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
import quire.engine.Engine;
import tools.jackson.databind.node.JsonNodeFactory;

/**
 * The OpenAI-compatible HTTP server in front of one {@link Engine}.
 *
 * <p>One event loop owns all sockets: it reads bounded requests, notices departures at once and writes what it is given.
 * Each request is answered on a virtual thread of its own, which may block ({@link Api}); {@link Exchange} stands between
 * the two. HTTP/1.1 and 1.0, no TLS, no CORS: whoever needs those puts a proxy in front.
 *
 * <p>What clients may cost, all told: {@code maxConnections} sockets, eight times {@code maxBodyBytes} of bodies not yet
 * read, a head of 16 KiB each; and what the engine's own limits allow.
 */
public final class QuireServer implements AutoCloseable {
    private static final Logger LOG = System.getLogger(QuireServer.class.getName());

    private static final int MAX_HEAD_BYTES = 16 << 10;
    private static final int MAX_LINE_BYTES = 8 << 10;

    /** Bodies that may be in memory unread, in units of the largest one. */
    private static final int BODIES_IN_MEMORY = 8;

    /** How long cancelled answers have to tell their clients, and sockets to close. */
    private static final Duration STOP_PATIENCE = Duration.ofSeconds(5);

    private static final Pattern REQUEST_ID = Pattern.compile("[A-Za-z0-9._-]{1,64}");
    private static final Pattern JSON_TYPE =
            Pattern.compile("application/json\\s*(;\\s*charset\\s*=\\s*\"?utf-8\"?\\s*)?;?", Pattern.CASE_INSENSITIVE);

    private static final Map<String, HttpMethod> PATH_TO_METHOD = Map.of(
            "/v1/completions", HttpMethod.POST,
            "/v1/chat/completions", HttpMethod.POST,
            "/tokenize", HttpMethod.POST,
            "/detokenize", HttpMethod.POST,
            "/v1/models", HttpMethod.GET,
            "/health/live", HttpMethod.GET,
            "/health/ready", HttpMethod.GET,
            "/metrics", HttpMethod.GET);
    private static final String MODEL_PREFIX = "/v1/models/";

    private final Engine engine;
    private final ServerConfig config;
    private final ServerMetrics metrics;
    private final Api api;
    private final byte @Nullable [] apiKeyDigest;
    private final Vertx vertx;
    private final Context loop;
    private final HttpServer server;

    /** Answers under way; its own monitor guards it. */
    private final Set<Exchange> active = new HashSet<>();

    private volatile boolean draining;
    private boolean closed;

    // The event loop's own.
    private final IdentityHashMap<HttpConnection, Peer> connectionToPeer = new IdentityHashMap<>();
    private long bodyBytes;
    private long requests;

    private QuireServer(Engine engine, ServerConfig config, ServerMetrics metrics) {
        this.engine = engine;
        this.config = config;
        this.metrics = metrics;
        this.apiKeyDigest = config.apiKey() == null ? null : digest(config.apiKey());
        List<String> names = new ArrayList<>();
        names.add(engine.modelName());
        config.modelAliases().stream().filter(alias -> !names.contains(alias)).forEach(names::add);
        this.api = new Api(engine, List.copyOf(names), () -> draining);
        this.vertx = Vertx.vertx(new VertxOptions()
                .setEventLoopPoolSize(1)
                .setWorkerPoolSize(1)
                .setInternalBlockingPoolSize(1)
                .setFileSystemOptions(
                        new FileSystemOptions().setFileCachingEnabled(false).setClassPathResolvingEnabled(false)));
        this.loop = vertx.getOrCreateContext();
        this.server = vertx.createHttpServer(new HttpServerOptions()
                .setHost(config.host())
                .setPort(config.port())
                .setHttp2ClearTextEnabled(false)
                .setMaxHeaderSize(MAX_HEAD_BYTES)
                .setMaxInitialLineLength(MAX_LINE_BYTES)
                .setTcpNoDelay(true)
                .setTcpKeepAlive(true));
        server.connectionHandler(this::connected)
                .requestHandler(this::handle)
                .invalidRequestHandler(this::handleMalformed);
    }

    /**
     * Starts to listen.
     *
     * @param engine stays the caller's: close it after the server
     * @param metrics the listener that the engine was built with
     * @throws UncheckedIOException if the address cannot be bound
     */
    public static QuireServer start(Engine engine, ServerConfig config, ServerMetrics metrics) {
        QuireServer server = new QuireServer(engine, config, metrics);
        try {
            server.server.listen().toCompletionStage().toCompletableFuture().join();
        } catch (CompletionException e) {
            server.vertx.close();
            Throwable cause = e.getCause() == null ? e : e.getCause();
            throw new UncheckedIOException(
                    "cannot listen on " + config.host() + ":" + config.port() + ": " + cause.getMessage(),
                    cause instanceof IOException io ? io : new IOException(cause));
        }
        return server;
    }

    /** The port that is listened on, for when 0 was asked for. */
    public int port() {
        return server.actualPort();
    }

    /** Answers under way. */
    int underWay() {
        synchronized (active) {
            return active.size();
        }
    }

    /** Connections open. */
    int connections() {
        CompletableFuture<Integer> count = new CompletableFuture<>();
        loop.runOnContext(v -> count.complete(connectionToPeer.size()));
        return count.join();
    }

    /** Refuses new requests, lets those under way finish within the configured patience, then stops listening. */
    @Override
    public synchronized void close() {
        if (closed) {
            return;
        }
        closed = true;
        draining = true;
        boolean idle = awaitIdle(config.drainPatience());
        if (!idle) {
            List<Exchange> left;
            synchronized (active) {
                left = List.copyOf(active);
            }
            LOG.log(Level.WARNING, "cutting {0} answers short: they outlasted the drain", left.size());
            left.forEach(Exchange::stop);
            if (!awaitIdle(STOP_PATIENCE)) {
                left.forEach(Exchange::drop);
            }
        }
        await(server.close());
        await(vertx.close());
    }

    private boolean awaitIdle(Duration patience) {
        long deadline = System.nanoTime() + patience.toNanos();
        synchronized (active) {
            while (!active.isEmpty()) {
                long left = deadline - System.nanoTime();
                if (left <= 0) {
                    return false;
                }
                try {
                    TimeUnit.NANOSECONDS.timedWait(active, left);
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                    return false;
                }
            }
        }
        return true;
    }

    private static void await(Future<?> future) {
        try {
            future.toCompletionStage().toCompletableFuture().get(STOP_PATIENCE.toMillis(), TimeUnit.MILLISECONDS);
        } catch (ExecutionException | TimeoutException e) {
            LOG.log(Level.WARNING, "the server did not close cleanly", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    // ── the event loop ──────────────────────────────────────────────────────────────────────────────────────────────

    private void connected(HttpConnection connection) {
        if (connectionToPeer.size() >= config.maxConnections()) {
            connection.close();
            return;
        }
        Peer peer = new Peer(connection);
        connectionToPeer.put(connection, peer);
        connection.closeHandler(v -> {
            connectionToPeer.remove(connection);
            peer.stopWaiting();
        });
        peer.expect();
    }

    private void handleMalformed(HttpServerRequest request) {
        Exchange exchange = exchange(request);
        String cause = request.decoderResult().cause().getClass().getSimpleName();
        ApiException e =
                switch (cause) {
                    case "TooLongHttpLineException" ->
                        ApiException.refused(
                                414, null, "The request line is longer than " + MAX_LINE_BYTES + " bytes.");
                    case "TooLongHttpHeaderException" ->
                        ApiException.refused(431, null, "The headers are longer than " + MAX_HEAD_BYTES + " bytes.");
                    default -> ApiException.invalid(null, null, "The request is not valid HTTP.");
                };
        exchange.end(e).onComplete(v -> request.connection().close());
    }

    private void handle(HttpServerRequest request) {
        Exchange exchange = exchange(request);
        try {
            route(request, exchange);
        } catch (ApiException e) {
            refuse(request, exchange, e);
        } catch (RuntimeException e) {
            LOG.log(Level.ERROR, "request " + exchange.id() + " failed", e);
            refuse(request, exchange, ApiException.internal(exchange.id()));
        }
    }

    private Exchange exchange(HttpServerRequest request) {
        Peer peer = peer(request);
        peer.begin();
        String id = request.getHeader("X-Request-Id");
        if (id == null || !REQUEST_ID.matcher(id).matches()) {
            id = "req_" + Api.newId();
        }
        return new Exchange(request, loop, config.writePatience(), id, () -> draining, metrics::onResponse, peer::end);
    }

    private Peer peer(HttpServerRequest request) {
        Peer peer = connectionToPeer.get(request.connection());
        if (peer == null) {
            throw new IllegalStateException("a request on a connection that was not announced");
        }
        return peer;
    }

    private void route(HttpServerRequest request, Exchange exchange) {
        String path = request.path() == null ? "" : request.path();
        HttpMethod method = PATH_TO_METHOD.get(path);
        if (method == null && path.startsWith(MODEL_PREFIX)) {
            method = HttpMethod.GET;
        }
        boolean open = path.startsWith("/health/") || path.equals("/metrics");
        if (!open) {
            checkKey(request);
        }
        if (method == null) {
            throw ApiException.refused(
                    404, "unknown_url", "Unknown request URL: " + request.method() + " " + shown(path) + ".");
        }
        String allowed = method.equals(HttpMethod.GET) ? "GET, HEAD, OPTIONS" : method + ", OPTIONS";
        if (request.method().equals(HttpMethod.OPTIONS)) {
            discardBody(request);
            exchange.end(204, "application/json", new byte[0], Map.of("Allow", allowed));
            return;
        }
        boolean head = method.equals(HttpMethod.GET) && request.method().equals(HttpMethod.HEAD);
        if (!request.method().equals(method) && !head) {
            request.response().putHeader("Allow", allowed);
            throw ApiException.refused(
                    405,
                    "method_not_allowed",
                    shown(path) + " takes " + method + ", not "
                            + shown(request.method().name()) + ".");
        }
        if (method.equals(HttpMethod.POST)) {
            readBody(request, exchange, body -> post(path, exchange, body));
        } else {
            discardBody(request);
            get(path, exchange);
        }
    }

    private void get(String path, Exchange exchange) {
        switch (path) {
            case "/health/live" -> endHealth(exchange, engine.failure() == null, "the engine has failed");
            case "/health/ready" ->
                endHealth(
                        exchange,
                        engine.failure() == null && !draining,
                        draining ? "the server is shutting down" : "the engine has failed");
            case "/metrics" ->
                answer(
                        exchange,
                        () -> exchange.send(
                                200,
                                ServerMetrics.CONTENT_TYPE,
                                metrics.scrape(engine).getBytes(StandardCharsets.UTF_8),
                                Map.of()));
            default -> {
                String name = path.startsWith(MODEL_PREFIX) ? decoded(path.substring(MODEL_PREFIX.length())) : null;
                exchange.end(200, "application/json", Fields.MAPPER.writeValueAsBytes(api.models(name)), Map.of());
            }
        }
    }

    private static void endHealth(Exchange exchange, boolean healthy, String trouble) {
        byte[] body = Fields.MAPPER.writeValueAsBytes(
                JsonNodeFactory.instance.objectNode().put("status", healthy ? "ok" : trouble));
        exchange.end(healthy ? 200 : 503, "application/json", body, Map.of());
    }

    private void post(String path, Exchange exchange, Body body) {
        answer(exchange, () -> {
            try {
                switch (path) {
                    case "/v1/completions" -> api.answer(exchange, body.bytes(), false, body::release);
                    case "/v1/chat/completions" -> api.answer(exchange, body.bytes(), true, body::release);
                    case "/tokenize" -> api.tokenize(exchange, body.bytes(), body::release);
                    default -> api.detokenize(exchange, body.bytes(), body::release);
                }
            } finally {
                body.release();
            }
        });
    }

    private void checkKey(HttpServerRequest request) {
        if (apiKeyDigest == null) {
            return;
        }
        String header = request.getHeader("Authorization");
        boolean bearer = header != null && header.regionMatches(true, 0, "Bearer ", 0, 7);
        // Digests have one length, so the comparison tells nothing about the key's.
        if (header == null
                || !bearer
                || !MessageDigest.isEqual(
                        apiKeyDigest, digest(header.substring(7).strip()))) {
            throw ApiException.refused(
                    401,
                    "invalid_api_key",
                    (bearer ? "Incorrect API key." : "No API key.") + " Send it as 'Authorization: Bearer <key>'.");
        }
    }

    private interface BodyHandler {
        void handle(Body body);
    }

    private void readBody(HttpServerRequest request, Exchange exchange, BodyHandler handler) {
        if (draining) {
            throw ApiException.unavailable("The server is shutting down and takes no new requests.");
        }
        String type = request.getHeader("Content-Type");
        // Asking for the type also keeps web pages from posting here without their browser's consent.
        if (type == null || !JSON_TYPE.matcher(type.strip()).matches()) {
            throw ApiException.refused(415, null, "Send JSON in UTF-8 with 'Content-Type: application/json'.");
        }
        String encoding = request.getHeader("Content-Encoding");
        if (encoding != null && !encoding.equalsIgnoreCase("identity")) {
            throw ApiException.refused(
                    415, null, "Compressed bodies are not taken: send none, without Content-Encoding.");
        }
        String length = request.getHeader("Content-Length");
        if (length != null && (length.length() > 10 || Long.parseLong(length) > config.maxBodyBytes())) {
            throw tooLarge();
        }
        if (request.headers().contains("Expect", "100-continue", true)) {
            request.response().writeContinue();
        }
        Body body = new Body();
        boolean[] refused = new boolean[1];
        request.handler(chunk -> {
            if (refused[0]) {
                return;
            }
            try {
                body.append(chunk);
            } catch (ApiException e) {
                refused[0] = true;
                body.release();
                refuse(request, exchange, e);
            }
        });
        request.exceptionHandler(e -> body.release());
        request.endHandler(v -> {
            if (!refused[0]) {
                peer(request).stopWaiting();
                handler.handle(body);
            }
        });
    }

    private ApiException tooLarge() {
        return ApiException.refused(
                413, "request_too_large", "The body is larger than " + config.maxBodyBytes() + " bytes.");
    }

    /** Answers with an error at once; a body that is still under way is read to its end first, and thrown away. */
    private void refuse(HttpServerRequest request, Exchange exchange, ApiException e) {
        boolean hasBody = request.headers().contains("Transfer-Encoding")
                || !"0"
                        .equals(
                                request.headers().get("Content-Length") == null
                                        ? "0"
                                        : request.getHeader("Content-Length"));
        if (!hasBody || request.isEnded()) {
            exchange.end(e);
            return;
        }
        // Closing with bytes unread would reset the connection and so destroy the answer before the client has read it.
        request.response().putHeader("Connection", "close");
        exchange.end(e);
        discardBody(request);
        request.endHandler(v -> request.connection().close());
    }

    private void discardBody(HttpServerRequest request) {
        long[] discarded = new long[1];
        request.handler(chunk -> {
            discarded[0] += chunk.length();
            if (discarded[0] > 4L * config.maxBodyBytes()) {
                request.connection().close();
            }
        });
    }

    // ── virtual threads ─────────────────────────────────────────────────────────────────────────────────────────────

    private interface Answer {
        void run() throws Exchange.ClientGoneException, InterruptedException;
    }

    private void answer(Exchange exchange, Answer answer) {
        synchronized (active) {
            active.add(exchange);
        }
        Thread.ofVirtual().name("request-" + ++requests).start(() -> {
            try {
                run(exchange, answer);
            } finally {
                synchronized (active) {
                    active.remove(exchange);
                    active.notifyAll();
                }
            }
        });
    }

    private static void run(Exchange exchange, Answer answer) {
        try {
            try {
                answer.run();
            } catch (ApiException e) {
                exchange.send(e);
            }
        } catch (Exchange.ClientGoneException e) {
            LOG.log(Level.DEBUG, "request {0}: the client is gone", exchange.id());
        } catch (Throwable e) { // whatever it is, this client learns of it and the others do not
            LOG.log(Level.ERROR, "request " + exchange.id() + " failed", e);
            try {
                if (exchange.begun()) {
                    exchange.drop();
                } else {
                    exchange.send(ApiException.internal(exchange.id()));
                }
            } catch (Exchange.ClientGoneException gone) {
                LOG.log(Level.DEBUG, "request {0}: the client is gone", exchange.id());
            }
        }
    }

    // ── helpers ─────────────────────────────────────────────────────────────────────────────────────────────────────

    private static String decoded(String name) {
        try {
            return URLDecoder.decode(name.replace("+", "%2B"), StandardCharsets.UTF_8);
        } catch (IllegalArgumentException e) {
            return name; // no model has such a name
        }
    }

    private static String shown(String text) {
        return text.length() > 100 ? text.substring(0, 100) + "…" : text;
    }

    private static byte[] digest(String key) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(key.getBytes(StandardCharsets.UTF_8));
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java has SHA-256", e);
        }
    }

    /** A request's body while it comes in and until it is parsed; counted against the room for all of them. */
    private final class Body {
        private @Nullable Buffer buffer = Buffer.buffer();
        private long counted;

        void append(Buffer chunk) {
            Buffer all = buffer;
            if (all == null) {
                return;
            }
            if (all.length() + chunk.length() > config.maxBodyBytes()) {
                throw tooLarge();
            }
            if (bodyBytes + chunk.length() > (long) BODIES_IN_MEMORY * config.maxBodyBytes()) {
                throw ApiException.overloaded("Too many large requests are coming in.", 1);
            }
            counted += chunk.length();
            bodyBytes += chunk.length();
            all.appendBuffer(chunk);
        }

        byte[] bytes() {
            Buffer all = buffer;
            return all == null ? new byte[0] : all.getBytes();
        }

        /** Gives the memory back. Any thread, any number of times. */
        void release() {
            loop.runOnContext(v -> {
                buffer = null;
                bodyBytes -= counted;
                counted = 0;
            });
        }
    }

    /** A connection, and how long it may be silent: between requests and within one, never while it is answered. */
    private final class Peer {
        private final HttpConnection connection;
        private long timer = -1;
        private int underWay;

        Peer(HttpConnection connection) {
            this.connection = connection;
        }

        /** Waits for the client to send something, but not for ever. */
        void expect() {
            stopWaiting();
            timer = vertx.setTimer(config.readPatience().toMillis(), t -> Sockets.cut(connection));
        }

        void stopWaiting() {
            if (timer >= 0) {
                vertx.cancelTimer(timer);
                timer = -1;
            }
        }

        /** A request's head has come; its body has the same time again. */
        void begin() {
            underWay++;
            expect();
        }

        /**
         * A response has left.
         *
         * @param last whether it told the client that no other follows: closing without that word could take a request
         *     with it that is on its way
         */
        void end(boolean last) {
            underWay--;
            if (last) {
                connection.close();
            } else if (underWay == 0) {
                expect();
            }
        }
    }
}
