package quire.server;

import java.io.UncheckedIOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.nio.file.Path;
import java.time.Duration;
import java.time.InstantSource;
import java.util.List;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;
import quire.engine.Engine;
import quire.server.api.Preparation;
import quire.server.batch.Batches;
import quire.server.http.HttpListener;
import quire.server.http.Timers;
import quire.server.models.ModelPool;

/**
 * The HTTP server in front of one {@link Engine}, or of several models ({@link ModelSet}). The package's Javadoc shows its
 * parts.
 *
 * <pre>{@code
 * ServerMetrics metrics = new ServerMetrics();
 * try (Engine engine = Engine.open(path, EngineConfig.defaults(), metrics);
 *         QuireServer server = QuireServer.start(engine, ServerConfig.defaults(), metrics)) {
 *     System.out.println("http://127.0.0.1:" + server.port());
 *     Thread.sleep(Duration.ofDays(365));
 * }
 * }</pre>
 *
 * <p>{@link #bind} listens before there is an engine. Until {@link #serve}, requests for the model and {@code
 * /health/ready} are answered with 503 and how far the model is loaded; {@code /health/live} and {@code /health/progress} are
 * answered with 200.
 */
public final class QuireServer implements AutoCloseable {
    private static final Logger LOG = System.getLogger(QuireServer.class.getName());

    private final HttpListener listener;
    private final Preparation preparation;
    private final Routes routes;
    private final @Nullable Batches batches;
    private final Duration drainTimeout;

    private QuireServer(
            HttpListener listener,
            Preparation preparation,
            Routes routes,
            @Nullable Batches batches,
            Duration drainTimeout) {
        this.listener = listener;
        this.preparation = preparation;
        this.routes = routes;
        this.batches = batches;
        this.drainTimeout = drainTimeout;
    }

    /**
     * Starts to listen and to answer.
     *
     * @param engine answers the requests; the caller closes it after the server
     * @param metrics the listener that the engine was built with
     * @throws UncheckedIOException if the address cannot be bound
     */
    public static QuireServer start(Engine engine, ServerConfig config, ServerMetrics metrics) {
        QuireServer server = bind(config, metrics);
        server.serve(engine);
        return server;
    }

    /**
     * Starts to listen. Requests are refused with 503 until {@link #serve}.
     *
     * @param metrics the listener that the engine will be built with; it knows how far the model is loaded
     * @throws UncheckedIOException if the address cannot be bound; its cause says why
     * @throws IllegalArgumentException if the certificate or its key, or the folder of batches, cannot be used
     */
    public static QuireServer bind(ServerConfig config, ServerMetrics metrics) {
        return bind(config, metrics, null, InstantSource.system(), System::nanoTime);
    }

    /**
     * As {@link #bind(ServerConfig, ServerMetrics)}.
     *
     * @param timers makes the timers for slow clients; null for those of the system's time
     * @param clock for the times of batches
     * @param nanoClock a monotonic clock, to tell whether engines get on
     */
    static QuireServer bind(
            ServerConfig config,
            ServerMetrics metrics,
            Timers.@Nullable Factory timers,
            InstantSource clock,
            LongSupplier nanoClock) {
        Path folder = config.batches();
        Batches batches = folder == null ? null : Batches.open(folder, config.maxBodyBytes(), clock);
        Preparation preparation = Preparation.start(config.preparationThreads(), config.maxWaitingPreparations());
        try {
            Routes routes = new Routes(config, metrics, preparation, batches, nanoClock);
            HttpListener listener = HttpListener.start(config.http(), routes.router(), metrics.http(), timers);
            if (!listener.loopback() && config.apiKeys().isEmpty()) {
                LOG.log(
                        Level.WARNING,
                        "everyone who can reach " + config.host() + ":" + listener.port()
                                + " over the network may use this model: ask for a key with --api-key-file FILE or the"
                                + " environment variable QUIRE_API_KEY, or listen on 127.0.0.1 only");
            }
            return new QuireServer(listener, preparation, routes, batches, config.drainTimeout());
        } catch (RuntimeException e) {
            preparation.close();
            if (batches != null) {
                batches.close();
            }
            throw e;
        }
    }

    /**
     * Answers requests from now on.
     *
     * @param engine answers them; the caller closes it after the server
     */
    public void serve(Engine engine) {
        routes.serve(engine);
    }

    /**
     * Answers requests from now on, with models that are loaded when a request asks for them. The server closes their engines.
     * The names of the models are those of the set; {@link ServerConfig#aliases} and {@link ServerConfig#samplingDefaults} are
     * those of no model.
     */
    public void serve(ModelSet models) {
        serve(models, ServedModels.EngineOpener.OF_FILE, ModelPool.BACKGROUND_IDLE);
    }

    /**
     * As {@link #serve(ModelSet)}.
     *
     * @param opener opens the engines of the models
     * @param backgroundIdle see {@link ModelPool#ModelPool}
     */
    void serve(ModelSet models, ServedModels.EngineOpener opener, Duration backgroundIdle) {
        routes.serve(models, opener, backgroundIdle);
    }

    /**
     * Replaces the API keys. Requests under way go on. A key that stays keeps what it has used of its limits.
     *
     * @param keys as in {@link ServerConfig#apiKeys}
     * @throws IllegalArgumentException saying which key is wrong and why; the keys stay as they were
     */
    public void setApiKeys(List<String> keys) {
        listener.setApiKeys(keys);
    }

    /**
     * Reads the files of the certificate and of its key again. New connections get the new certificate.
     *
     * @throws IllegalArgumentException saying which file is wrong and why; the certificate stays as it was
     */
    public void reloadCertificate() {
        listener.reloadCertificate();
    }

    /** The port that the server listens on: the configured one, or the free one that was found for 0. */
    public int port() {
        return listener.port();
    }

    /** Requests that are being answered. */
    public int activeRequests() {
        return listener.activeRequests();
    }

    /** The models; null before there are any. */
    @Nullable
    ServedModels models() {
        return routes.models();
    }

    /** Open connections. */
    int openConnections() {
        return listener.openConnections();
    }

    /** Gives up requests of batches, refuses new requests, lets active ones finish within the drain timeout, then stops listening. */
    @Override
    public void close() {
        if (batches != null) {
            batches.close();
        }
        ServedModels models = routes.models();
        if (models != null) {
            models.stop(); // before the listener waits for their requests
        }
        listener.close(drainTimeout);
        preparation.close();
        if (models != null) {
            models.close();
        }
    }
}
