package quire.cli.command;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;
import quire.cli.option.EngineOptions;
import quire.cli.option.HttpOptions;
import quire.cli.option.ModelOption;
import quire.cli.option.Range;
import quire.cli.output.Logging;
import quire.engine.Engine;
import quire.engine.EngineConfig;
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

    /** An hour. */
    private static final int MAX_DRAIN_SECONDS = 3600;

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

    @Option(
            names = "--api-key",
            paramLabel = "KEY",
            description =
                    "Key that clients must send as a bearer token (default: the environment variable QUIRE_API_KEY, or"
                            + " none).")
    private @Nullable String apiKey;

    @Option(
            names = "--alias",
            paramLabel = "NAME",
            description = "Another name under which clients can ask for the model; repeatable; * accepts every name.")
    private List<String> aliases = List.of();

    @Option(names = "--require-model", description = "Refuse requests that do not name the model.")
    private boolean requireModel;

    /** What happens to a request with a parameter that nobody knows. */
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
            names = "--drain-seconds",
            paramLabel = "N",
            defaultValue = "30",
            description = "How long running requests may go on at shutdown (default ${DEFAULT-VALUE}).")
    private int drainSeconds;

    @Mixin
    private HttpOptions http;

    @Mixin
    private EngineOptions options;

    @Override
    public Integer call() throws InterruptedException {
        Range.check(command, "--port", port, 0, MAX_PORT);
        Range.check(command, "--drain-seconds", drainSeconds, 0, MAX_DRAIN_SECONDS);
        String key = apiKey != null ? apiKey : System.getenv("QUIRE_API_KEY");
        ServerConfig.Builder builder = ServerConfig.builder()
                .host(host)
                .port(port)
                .apiKey(key == null || key.isEmpty() ? null : key)
                .aliases(aliases)
                .modelRequired(requireModel)
                .unknownParametersAllowed(unknownParameters == UnknownParameters.WARN)
                .drainTimeout(Duration.ofSeconds(drainSeconds));
        ServerConfig config = http.apply(builder).build();
        Path file = model.path();
        EngineConfig engineConfig = options.config(model);
        // A server logs what it does; the other commands print only their results. See Logging.
        System.setProperty(Logging.LEVEL, System.getProperty(Logging.LEVEL, "INFO"));
        ServerMetrics metrics = new ServerMetrics();
        CountDownLatch stop = new CountDownLatch(1);
        CountDownLatch drained = new CountDownLatch(1);
        try (Engine engine = Engine.open(file, engineConfig, metrics);
                QuireServer server = QuireServer.start(engine, config, metrics)) {
            // After SIGTERM the JVM would exit with 143; a server that has drained exits with 0.
            Runtime.getRuntime()
                    .addShutdownHook(Thread.ofPlatform().name("shutdown").unstarted(() -> {
                        stop.countDown();
                        awaitUninterruptibly(drained);
                        Runtime.getRuntime().halt(0);
                    }));
            System.out.println(
                    "ready on http://" + (host.contains(":") ? "[" + host + "]" : host) + ":" + server.port());
            stop.await();
        } finally {
            drained.countDown();
        }
        return 0;
    }

    private static void awaitUninterruptibly(CountDownLatch latch) {
        while (true) {
            try {
                latch.await();
                return;
            } catch (InterruptedException e) {
                // The wait goes on: the drain has its own time limit.
            }
        }
    }
}
