package quire.cli;

import java.time.Duration;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import quire.engine.Engine;
import quire.server.QuireServer;
import quire.server.ServerConfig;
import quire.server.ServerMetrics;

@Command(
        name = "serve",
        mixinStandardHelpOptions = true,
        description = "Serve a model behind an OpenAI-compatible HTTP API until interrupted.")
final class ServeCommand implements Callable<Integer> {
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
            description = "Port to listen on (default ${DEFAULT-VALUE}; 0 for any).")
    private int port;

    @Option(
            names = "--api-key",
            paramLabel = "KEY",
            description =
                    "Key that clients must send as a bearer token (default: the variable QUIRE_API_KEY, or none).")
    private @Nullable String apiKey;

    @Option(
            names = "--alias",
            paramLabel = "NAME",
            description = "Another name under which clients can ask for the model; repeatable; * accepts every name.")
    private List<String> aliases = List.of();

    @Option(names = "--require-model", description = "Refuse requests that do not name the model.")
    private boolean requireModel;

    @Option(
            names = "--drain-seconds",
            paramLabel = "N",
            defaultValue = "30",
            description = "How long answers under way may go on at shutdown (default ${DEFAULT-VALUE}).")
    private int drainSeconds;

    @Mixin
    private EngineOptions options;

    @Override
    public Integer call() throws InterruptedException {
        // A server tells its story in the log; the other commands print their answers alone. See Logging.
        System.setProperty(Logging.LEVEL, System.getProperty(Logging.LEVEL, "INFO"));
        String key = apiKey != null ? apiKey : System.getenv("QUIRE_API_KEY");
        ServerConfig config = ServerConfig.builder()
                .host(host)
                .port(port)
                .apiKey(key == null || key.isEmpty() ? null : key)
                .aliases(aliases)
                .modelRequired(requireModel)
                .drainTimeout(Duration.ofSeconds(drainSeconds))
                .build();
        ServerMetrics metrics = new ServerMetrics();
        CountDownLatch stop = new CountDownLatch(1);
        CountDownLatch drained = new CountDownLatch(1);
        try (Engine engine = Engine.open(model.path(), options.config(model), metrics);
                QuireServer server = QuireServer.start(engine, config, metrics)) {
            // The JVM would end with 143 after SIGTERM; a drained server has done what it was asked to.
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
                // Nobody has a reason to interrupt a shutdown hook; the drain has its own time limit.
            }
        }
    }
}
