package quire.cli.command;

import java.io.UncheckedIOException;
import java.lang.System.Logger.Level;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import quire.cli.option.ApiKeyFile;
import quire.cli.option.ApiKeyOptions;
import quire.cli.option.EngineOptions;
import quire.cli.option.FilePath;
import quire.cli.option.HttpOptions;
import quire.cli.option.ModelOption;
import quire.cli.option.Range;
import quire.cli.option.SamplingDefaultsOptions;
import quire.cli.output.Logging;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.EngineListener;
import quire.server.QuireServer;
import quire.server.ServerConfig;
import quire.server.ServerMetrics;

/** Serves a model over HTTP. */
@Command(
        name = "serve",
        mixinStandardHelpOptions = true,
        description = "Serve a model behind an OpenAI-compatible HTTP API until interrupted.")
public final class ServeCommand implements Callable<Integer> {
    private static final int MAX_PORT = 65_535;

    /** The exit code after a failure of the engine. 1 and 2 are other errors, and 3 is Java's for a full heap. */
    static final int ENGINE_FAILED = 70;

    /** An hour. */
    private static final int MAX_DRAIN_SECONDS = 3600;

    private final Loader loader;

    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Mixin
    private ModelOption model;

    @Option(
            names = "--host",
            paramLabel = "ADDRESS",
            defaultValue = "127.0.0.1",
            description = "Address to listen on (default ${DEFAULT-VALUE}; 0.0.0.0 for all).")
    private String host;

    @Option(
            names = "--port",
            paramLabel = "N",
            defaultValue = "8000",
            description = "Port to listen on (default ${DEFAULT-VALUE}; 0 for any free one).")
    private int port;

    @Mixin
    private ApiKeyOptions apiKeys;

    @Option(
            names = "--allowed-host",
            paramLabel = "NAME",
            description =
                    "A name by which clients reach the server, beside its address and localhost; repeatable; * allows"
                            + " every name. Requests for other names are refused on a loopback address, and on every address"
                            + " if this option is given.")
    private List<String> allowedHosts = List.of();

    @Option(
            names = "--cors-origin",
            paramLabel = "ORIGIN",
            description = "Web pages that may use the server, such as http://localhost:3000; repeatable; * allows all."
                    + " Requests of other pages are refused.")
    private List<String> corsOrigins = List.of();

    @Option(
            names = "--log-requests",
            description =
                    "Log one line for each request: client, route, status, tokens in and out, time to the first token"
                            + " and in all; nothing of its content.")
    private boolean logRequests;

    @Option(
            names = "--alias",
            paramLabel = "NAME",
            description = "Another name under which clients can ask for the model; repeatable; * accepts every name.")
    private List<String> aliases = List.of();

    @Option(names = "--no-page", description = "Do not serve the web page at /.")
    private boolean noPage;

    @Option(names = "--require-model", description = "Refuse requests that do not name the model.")
    private boolean requireModel;

    /** The treatment of a request with an unknown parameter. */
    enum UnknownParameters {
        REFUSE,
        WARN
    }

    @Option(
            names = "--unknown-parameters",
            paramLabel = "MODE",
            defaultValue = "refuse",
            description = "Requests with unknown parameters: refuse, or warn in the log (default ${DEFAULT-VALUE}).")
    private UnknownParameters unknownParameters;

    @Option(
            names = "--strict-limits",
            description =
                    "Refuse requests for more tokens than the context has room for. Without, their answers get the"
                            + " room that there is.")
    private boolean strictLimits;

    @Option(
            names = "--drain-seconds",
            paramLabel = "N",
            defaultValue = "30",
            description = "How long running requests may go on at shutdown (default ${DEFAULT-VALUE}).")
    private int drainSeconds;

    @Option(
            names = "--exit-on-failure",
            negatable = true,
            defaultValue = "true",
            fallbackValue = "true",
            description = "Whether the process ends with code " + ENGINE_FAILED + " when the engine has failed and all"
                    + " answers were told, so that a supervisor restarts it. Without, it stays and answers with 503"
                    + " (default: it ends).")
    private boolean exitOnFailure;

    @Option(
            names = "--trace",
            paramLabel = "FILE",
            converter = FilePath.class,
            description =
                    "Record what the scheduler gets and decides in a new file, for bench replay. It has the prompts and"
                            + " answers, in tokens. Not together with --kv-disk.")
    private @Nullable Path trace;

    @Mixin
    private SamplingDefaultsOptions sampling;

    @Mixin
    private HttpOptions http;

    @Mixin
    private EngineOptions options;

    /** Serves a model from its file. */
    public ServeCommand() {
        this(Engine::open);
    }

    ServeCommand(Loader loader) {
        this.loader = loader;
    }

    @Override
    public Integer call() throws InterruptedException {
        Range.check(command, "--port", port, 0, MAX_PORT);
        Range.check(command, "--drain-seconds", drainSeconds, 0, MAX_DRAIN_SECONDS);
        sampling.check();
        ServerConfig config = serverConfig();
        Path file = model.path();
        EngineConfig engineConfig = withTrace(options.config(model));
        // A server logs what it does; the other commands print only their results. See Logging.
        System.setProperty(Logging.LEVEL, System.getProperty(Logging.LEVEL, "INFO"));
        ServerMetrics metrics = new ServerMetrics();
        CountDownLatch stop = new CountDownLatch(1);
        AtomicInteger exitCode = new AtomicInteger();
        Thread follower = new Thread(); // not started if the keys are in no file
        try (StopSignals signals = new StopSignals(stop, drainSeconds);
                QuireServer server = bind(config, metrics)) {
            ApiKeyFile keyFile = apiKeys.follow();
            if (keyFile != null) {
                follower = keyFile.start(server::setApiKeys);
            }
            System.getLogger(ServeCommand.class.getName()) // not earlier: the level is set above
                    .log(Level.INFO, "listening on " + address(server) + "; the model is being loaded");
            try (Engine engine = loader.load(file, engineConfig, metrics)) {
                signals.serving(server);
                answer(server, engine, stop, exitCode);
            }
        } finally {
            follower.interrupt();
        }
        return exitCode.get();
    }

    private EngineConfig withTrace(EngineConfig config) {
        if (trace != null && config.kvDisk() != null) {
            throw new ParameterException(
                    command.commandLine(),
                    "--trace cannot be used with --kv-disk, whose speed decides too: leave one of them out");
        }
        return config.toBuilder().trace(trace).build();
    }

    /** Answers until {@code stop}, then lets answers end: the engine must be open until then. */
    private void answer(QuireServer server, Engine engine, CountDownLatch stop, AtomicInteger exitCode)
            throws InterruptedException {
        try {
            server.serve(engine);
            boolean chat = engine.chatTemplate() != null;
            System.out.println("ready on " + address(server) + " with the model " + engine.modelName());
            System.out.println(new CurlCommand(host, server.port(), engine.modelName(), chat, apiKeys.forShell()));
            if (exitOnFailure) {
                stopOnFailure(engine, stop, exitCode);
            }
            stop.await();
        } finally {
            server.close();
        }
    }

    /** Loads the model: {@link Engine#open}, or what a test puts in its place. */
    @FunctionalInterface
    interface Loader {
        Engine load(Path file, EngineConfig config, EngineListener listener);
    }

    private QuireServer bind(ServerConfig config, ServerMetrics metrics) {
        try {
            return QuireServer.bind(config, metrics);
        } catch (UncheckedIOException e) {
            String message = String.valueOf(e.getMessage());
            boolean wrongPort = message.contains("in use") || message.contains("denied");
            throw new IllegalStateException(
                    message + "; choose another "
                            + (wrongPort ? "port with --port N (0 for any free one)" : "address with --host ADDRESS"),
                    e);
        }
    }

    private String address(QuireServer server) {
        return "http://" + (host.contains(":") ? "[" + host + "]" : host) + ":" + server.port();
    }

    /** Lets the server stop with {@link #ENGINE_FAILED} when the engine fails. */
    static void stopOnFailure(Engine engine, CountDownLatch stop, AtomicInteger exitCode) {
        Thread.ofVirtual().name("watch-engine").start(() -> {
            try {
                Throwable failure = engine.awaitEnd();
                if (failure != null) {
                    System.err.println("quire: the engine failed: " + failure + "; exit code " + ENGINE_FAILED);
                    exitCode.set(ENGINE_FAILED);
                    stop.countDown();
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt(); // nobody does; the thread ends
            }
        });
    }

    private ServerConfig serverConfig() {
        try {
            ServerConfig.Builder builder = ServerConfig.builder()
                    .host(host)
                    .port(port)
                    .apiKeys(apiKeys.keys())
                    .allowedHosts(allowedHosts)
                    .corsOrigins(corsOrigins)
                    .requestsLogged(logRequests)
                    .aliases(aliases)
                    .modelRequired(requireModel)
                    .page(!noPage)
                    .unknownParametersAllowed(unknownParameters == UnknownParameters.WARN)
                    .strictLimits(strictLimits)
                    .samplingDefaults(sampling.defaults())
                    .drainTimeout(Duration.ofSeconds(drainSeconds));
            return http.apply(builder).build();
        } catch (IllegalArgumentException e) {
            throw new ParameterException(command.commandLine(), String.valueOf(e.getMessage()), e);
        }
    }
}
