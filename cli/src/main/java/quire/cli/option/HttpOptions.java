package quire.cli.option;

import java.time.Duration;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import quire.server.ServerConfig;

/** The options that limit what clients of the HTTP server may use, and how long it waits for them. */
public final class HttpOptions {
    private static final int MAX_CONNECTIONS = 1_000_000;

    /** Eight such bodies may be in memory at once. */
    private static final long MAX_BODY_BYTES = 256 << 20;

    private static final long MAX_FILE_BYTES = 64L << 30;

    /** A day. */
    private static final int MAX_SECONDS = 86_400;

    private static final int MAX_THREADS = 1024;

    @Spec(Spec.Target.MIXEE)
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Option(
            names = "--max-connections",
            paramLabel = "N",
            defaultValue = "4096",
            description =
                    "Connections open at once. For a further one the server closes an idle one, or answers 503 (default"
                            + " ${DEFAULT-VALUE}).")
    private int maxConnections;

    @Option(
            names = "--max-body-bytes",
            paramLabel = "SIZE",
            converter = ByteSize.class,
            defaultValue = "8MiB",
            description = "Largest request body; all large bodies together may take eight times as much (default"
                    + " ${DEFAULT-VALUE}).")
    private long maxBodyBytes;

    @Option(
            names = "--max-file-size",
            paramLabel = "SIZE",
            converter = ByteSize.class,
            defaultValue = "200MiB",
            description = "Largest file that a client may send for a batch (default ${DEFAULT-VALUE}).")
    private long maxFileBytes;

    @Option(
            names = "--body-grace-seconds",
            paramLabel = "N",
            defaultValue = "5",
            description = "How long a request's body may pause; then the answer is 408 (default ${DEFAULT-VALUE}).")
    private int bodyGraceSeconds;

    @Option(
            names = "--min-body-rate",
            paramLabel = "SIZE",
            converter = ByteSize.class,
            defaultValue = "64KiB",
            description = "Bytes a second that a request's body must arrive with (default ${DEFAULT-VALUE}).")
    private long minBodyRate;

    @Option(
            names = "--read-timeout-seconds",
            paramLabel = "N",
            defaultValue = "60",
            description = "Time for the head of a request; also how long an idle connection stays open (default"
                    + " ${DEFAULT-VALUE}).")
    private int readTimeoutSeconds;

    @Option(
            names = "--write-timeout-seconds",
            paramLabel = "N",
            defaultValue = "60",
            description =
                    "How long a client may leave a part of its answer unread; then the connection is closed (default"
                            + " ${DEFAULT-VALUE}).")
    private int writeTimeoutSeconds;

    @Option(
            names = "--heartbeat-seconds",
            paramLabel = "N",
            defaultValue = "10",
            description =
                    "Time without a token after which a stream gets a comment, so that nobody takes it for dead; 0 for"
                            + " none (default ${DEFAULT-VALUE}).")
    private int heartbeatSeconds;

    @Option(
            names = "--prepare-threads",
            paramLabel = "N",
            description =
                    "Threads that read requests: JSON, chat template, tokens (default: half of the processors, at least"
                            + " 2).")
    private @Nullable Integer prepareThreads;

    @Option(
            names = "--max-waiting-to-prepare",
            paramLabel = "N",
            defaultValue = "1024",
            description = "Requests that may wait for these threads; more are refused, and one client gets at most half"
                    + " (default ${DEFAULT-VALUE}).")
    private int maxWaitingToPrepare;

    /**
     * Sets the options.
     *
     * @return {@code builder}
     * @throws ParameterException if an option is out of range; the message names it
     */
    public ServerConfig.Builder apply(ServerConfig.Builder builder) {
        Range.check(command, "--max-connections", maxConnections, 1, MAX_CONNECTIONS);
        Range.check(command, "--max-body-bytes", maxBodyBytes, 1, MAX_BODY_BYTES);
        Range.check(command, "--max-file-size", maxFileBytes, 1, MAX_FILE_BYTES);
        Range.check(command, "--body-grace-seconds", bodyGraceSeconds, 1, MAX_SECONDS);
        Range.check(command, "--min-body-rate", minBodyRate, 1, Integer.MAX_VALUE);
        Range.check(command, "--read-timeout-seconds", readTimeoutSeconds, 1, MAX_SECONDS);
        Range.check(command, "--write-timeout-seconds", writeTimeoutSeconds, 1, MAX_SECONDS);
        Range.check(command, "--heartbeat-seconds", heartbeatSeconds, 0, MAX_SECONDS);
        Range.check(command, "--max-waiting-to-prepare", maxWaitingToPrepare, 1, Integer.MAX_VALUE);
        if (prepareThreads != null) {
            Range.check(command, "--prepare-threads", prepareThreads, 2, MAX_THREADS);
            builder.preparationThreads(prepareThreads);
        }
        return builder.maxConnections(maxConnections)
                .maxBodyBytes((int) maxBodyBytes)
                .maxFileBytes(maxFileBytes)
                .bodyGrace(Duration.ofSeconds(bodyGraceSeconds))
                .minBodyRate(minBodyRate)
                .readTimeout(Duration.ofSeconds(readTimeoutSeconds))
                .writeTimeout(Duration.ofSeconds(writeTimeoutSeconds))
                .heartbeat(Duration.ofSeconds(heartbeatSeconds))
                .maxWaitingPreparations(maxWaitingToPrepare);
    }
}
