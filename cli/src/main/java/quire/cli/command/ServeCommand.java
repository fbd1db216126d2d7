package quire.cli.command;

import java.io.UncheckedIOException;
import java.lang.System.Logger.Level;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
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
import quire.cli.option.AddressOptions;
import quire.cli.option.ApiKeyOptions;
import quire.cli.option.EngineOptions;
import quire.cli.option.FilePath;
import quire.cli.option.FollowedFiles;
import quire.cli.option.HttpOptions;
import quire.cli.option.ModelOption;
import quire.cli.option.Range;
import quire.cli.option.SamplingDefaultsOptions;
import quire.cli.option.ServedModelsOption;
import quire.cli.option.TelemetryVariables;
import quire.cli.output.Logging;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.EngineListener;
import quire.server.ModelSet;
import quire.server.QuireServer;
import quire.server.ServerConfig;
import quire.server.ServerMetrics;

/** Serves a model, or several, over HTTP. */
@Command(
        name = "serve",
        mixinStandardHelpOptions = true,
        description = "Serve a model behind an OpenAI-compatible HTTP API until interrupted.")
public final class ServeCommand implements Callable<Integer> {
    /** The exit code after a failure of the engine. 1 and 2 are other errors, and 3 is Java's for a full heap. */
    static final int ENGINE_FAILED = 70;

    /** The name of the thread that warms up the engine when the server is ready. */
    public static final String WARM_UP = "warm-up";

    /** An hour. */
    private static final int MAX_DRAIN_SECONDS = 3600;

    private final Loader loader;

    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Mixin
    private ModelOption model;

    @Mixin
    private ServedModelsOption models;

    @Mixin
    private AddressOptions address;

    @Mixin
    private ApiKeyOptions apiKeys;

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

    @Option(
            names = "--batches",
            paramLabel = "DIR",
            converter = FilePath.class,
            description =
                    "Keep files and batches (/v1/files, /v1/batches) in this folder, which is made if it is not there, and"
                            + " answer them while there is nothing else to compute. One server at a time may use it. It"
                            + " contains the texts of requests and answers, and only its user may read it.")
    private @Nullable Path batches;

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
        // A server logs what it does; the other commands print only their results. See Logging. Before all else:
        // whoever logs first fixes the level.
        System.setProperty(Logging.LEVEL, System.getProperty(Logging.LEVEL, "INFO"));
        Range.check(command, "--drain-seconds", drainSeconds, 0, MAX_DRAIN_SECONDS);
        sampling.check();
        ServerConfig.Builder builder = serverConfig();
        ModelSet set = models.isGiven() ? models.set() : null;
        if (set == null) {
            models.checkUnused();
        }
        Path file = set == null ? model.path() : null;
        EngineConfig engineConfig = withTrace(options.config(model));
        // Not earlier: the level is set above. Not later: the load logs too, and only one thread may set the logging
        // up.
        System.Logger log = System.getLogger(ServeCommand.class.getName());
        CountDownLatch stop = new CountDownLatch(1);
        AtomicInteger exitCode = new AtomicInteger();
        List<Thread> followers = new ArrayList<>();
        ModelLoad load = new ModelLoad();
        ServerMetrics metrics = new ServerMetrics(load::awaitListening);
        if (file != null) {
            load.start(() -> loader.load(file, engineConfig, metrics));
        }
        try (load;
                TelemetryVariables telemetry = telemetry();
                StopSignals signals = new StopSignals(stop, drainSeconds);
                QuireServer server =
                        bind(builder.openTelemetry(telemetry.openTelemetry()).build(), metrics)) {
            for (FollowedFiles files : Arrays.asList(apiKeys.follow(server::setApiKeys), address.follow(server))) {
                if (files != null) {
                    followers.add(files.start());
                }
            }
            log.log(
                    Level.INFO,
                    "listening on " + address.shown(server.port())
                            + (set == null ? "; the model is being loaded" : ""));
            if (set != null) {
                signals.serving(server);
                answer(server, set, stop);
                return 0;
            }
            try (Engine engine = load.finish()) {
                signals.serving(server);
                answer(server, engine, stop, exitCode);
            }
        } finally {
            followers.forEach(Thread::interrupt);
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
            CurlCommand.Example example = CurlCommand.Example.of(engine.isEncoder(), engine.chatTemplate() != null);
            System.out.println("ready on " + address.shown(server.port()) + " with the model " + engine.modelName());
            System.out.println(new CurlCommand(
                    address.local(server.port()),
                    address.curlOptions(),
                    engine.modelName(),
                    example,
                    apiKeys.forShell()));
            Thread.ofPlatform().daemon().name(WARM_UP).start(engine::warmUp);
            if (exitOnFailure) {
                stopOnFailure(engine, stop, exitCode);
            }
            stop.await();
        } finally {
            server.close();
        }
    }

    /** Answers with several models until {@code stop}, then lets answers end. */
    private void answer(QuireServer server, ModelSet set, CountDownLatch stop) throws InterruptedException {
        try {
            server.serve(set);
            System.out.print(set.describe());
            ModelSet.Planned asked = set.models().stream()
                    .filter(each -> example(each) == CurlCommand.Example.CHAT)
                    .findFirst()
                    .orElse(set.models().getFirst());
            System.out.println("ready on " + address.shown(server.port()) + " with "
                    + (set.models().size() == 1 ? "one model" : set.models().size() + " models")
                    + ", which are loaded when requests ask for them");
            System.out.println(new CurlCommand(
                    address.local(server.port()),
                    address.curlOptions(),
                    asked.file().name(),
                    example(asked),
                    apiKeys.forShell()));
            stop.await();
        } finally {
            server.close();
        }
    }

    private static CurlCommand.Example example(ModelSet.Planned model) {
        return CurlCommand.Example.of(model.encoder(), model.chats());
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
            throw new IllegalStateException(e.getMessage() + address.hint(String.valueOf(e.getMessage())), e);
        } catch (IllegalArgumentException e) {
            throw new ParameterException(command.commandLine(), String.valueOf(e.getMessage()), e);
        }
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

    private TelemetryVariables telemetry() {
        try {
            return TelemetryVariables.start(System.getenv());
        } catch (IllegalArgumentException e) {
            throw new ParameterException(command.commandLine(), String.valueOf(e.getMessage()), e);
        }
    }

    /** The options, checked. */
    private ServerConfig.Builder serverConfig() {
        try {
            ServerConfig.Builder builder = ServerConfig.builder()
                    .apiKeys(apiKeys.keys())
                    .requestsLogged(logRequests)
                    .aliases(aliases)
                    .modelRequired(requireModel)
                    .page(!noPage)
                    .unknownParametersAllowed(unknownParameters == UnknownParameters.WARN)
                    .strictLimits(strictLimits)
                    .samplingDefaults(sampling.defaults())
                    .batches(batches)
                    .drainTimeout(Duration.ofSeconds(drainSeconds));
            ServerConfig.Builder all = http.apply(address.apply(builder));
            all.build(); // checks them
            return all;
        } catch (IllegalArgumentException e) {
            throw new ParameterException(command.commandLine(), String.valueOf(e.getMessage()), e);
        }
    }
}
