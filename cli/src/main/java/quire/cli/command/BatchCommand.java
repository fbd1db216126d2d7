package quire.cli.command;

import java.io.Console;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.atomic.LongAdder;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.IDefaultValueProvider;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.ArgSpec;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;
import quire.cli.option.EngineOptions;
import quire.cli.option.FilePath;
import quire.cli.option.ModelOption;
import quire.cli.option.SamplingDefaultsOptions;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.server.QuireServer;
import quire.server.ServerConfig;
import quire.server.ServerMetrics;
import quire.server.batch.BatchInput;
import quire.server.batch.IdSet;

/**
 * Answers a file of requests. The process is a server and its client: a {@link QuireServer} on a free loopback port, with
 * a random key that only this process knows, and an HTTP client that sends it each line's body. So a request is read,
 * checked and answered by the same code as over the network.
 *
 * <p>Each thread takes a line, waits for its answer and writes it. There are twice as many threads as sequences, so that a
 * sequence that ends finds the next request waiting in the engine's queue.
 */
@Command(
        name = "batch",
        mixinStandardHelpOptions = true,
        defaultValueProvider = BatchCommand.ThroughputFirst.class,
        description = {
            "Answer a file of requests, one a line, in the form of OpenAI's batches. Answers are written as they end, in any"
                    + " order; custom_id tells which request each one belongs to.",
            "Exit code: 0 if all requests were answered, 1 if some were refused (their lines say why) or the batch did not"
                    + " end, 2 if a line or an option is wrong."
        })
public final class BatchCommand implements Callable<Integer> {
    /** Requests under way for each sequence that can run. */
    private static final int REQUESTS_PER_SEQUENCE = 2;

    private static final int KEY_BYTES = 32;

    /** No client is slow: the only one is in this process. */
    private static final Duration UNLIMITED = Duration.ofDays(1);

    private static final int TOO_MANY_REQUESTS = 429;
    private static final int UNAVAILABLE = 503;
    private static final int SERVER_ERROR = 500;

    private final ServeCommand.Loader loader;

    @Spec
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private CommandSpec command;

    @Parameters(
            index = "0",
            paramLabel = "IN.jsonl",
            converter = FilePath.class,
            description =
                    "The requests: {\"custom_id\": TEXT, \"method\": \"POST\", \"url\": \"/v1/chat/completions\", \"body\":"
                            + " OBJECT} in each line. Other urls: /v1/completions, /v1/embeddings, /v1/responses.")
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private Path in;

    @Parameters(
            index = "1",
            paramLabel = "OUT.jsonl",
            converter = FilePath.class,
            description = "The answers: a new file, or with --resume one that this command has begun.")
    @SuppressWarnings("NullAway.Init") // picocli sets it
    private Path out;

    @Option(
            names = "--resume",
            description = "Go on with OUT.jsonl if it is there: keep its answers, and compute those that it lacks.")
    private boolean resume;

    @Option(
            names = "--alias",
            paramLabel = "NAME",
            description = "Another name under which requests can ask for the model; repeatable; * accepts every name.")
    private List<String> aliases = List.of();

    @Mixin
    private ModelOption model;

    @Mixin
    private SamplingDefaultsOptions sampling;

    @Mixin
    private EngineOptions options;

    /** Answers with a model from its file. */
    public BatchCommand() {
        this(Engine::open);
    }

    BatchCommand(ServeCommand.Loader loader) {
        this.loader = loader;
    }

    /** Nobody waits for a token or in the queue, so steps and the time in the queue have no bound. */
    static final class ThroughputFirst implements IDefaultValueProvider {
        @Override
        public @Nullable String defaultValue(ArgSpec argument) {
            return argument instanceof OptionSpec option
                            && List.of("--target-itl", "--max-queue-wait").contains(option.longestName())
                    ? "0"
                    : null;
        }
    }

    @Override
    public Integer call() throws IOException, InterruptedException {
        sampling.check();
        EngineConfig engineConfig = options.config(model);
        String key = randomKey();
        int clients = REQUESTS_PER_SEQUENCE * engineConfig.maxSequences();
        ServerConfig serverConfig = serverConfig(key, clients);
        checkFiles();
        IdSet requests = check(serverConfig.maxBodyBytes());
        try (BatchOutput output = open(requests)) {
            int found = output.answered().size();
            if (found == requests.size()) {
                return new Run(output, requests.size()).end();
            }
            if (found > 0) {
                System.err.println(out + " has " + found + " of " + requests.size() + " answers");
            }
            ServerMetrics metrics = new ServerMetrics();
            try (Engine engine = loader.load(model.path(), engineConfig, metrics);
                    QuireServer server = QuireServer.start(engine, serverConfig, metrics);
                    BatchInput input = new BatchInput(in, in.toString(), serverConfig.maxBodyBytes());
                    HttpClient client = HttpClient.newBuilder()
                            .version(HttpClient.Version.HTTP_1_1)
                            .proxy(HttpClient.Builder.NO_PROXY)
                            .build()) {
                Run run = new Run(output, requests.size());
                String address = "http://127.0.0.1:" + server.port();
                try {
                    return run.answer(engine, input, client, address, key, Math.min(clients, requests.size() - found));
                } finally {
                    client.shutdownNow();
                }
            }
        }
    }

    private static String randomKey() {
        byte[] key = new byte[KEY_BYTES];
        new SecureRandom().nextBytes(key);
        return HexFormat.of().formatHex(key);
    }

    private ServerConfig serverConfig(String key, int clients) {
        try {
            ServerConfig.Builder config = ServerConfig.builder();
            return config.port(0)
                    .apiKey(key)
                    .aliases(aliases)
                    .page(false)
                    .samplingDefaults(sampling.defaults())
                    .maxConnections(Math.max(ServerConfig.defaults().maxConnections(), REQUESTS_PER_SEQUENCE * clients))
                    .maxWaitingPreparations(
                            Math.max(ServerConfig.defaults().maxWaitingPreparations(), REQUESTS_PER_SEQUENCE * clients))
                    .bodyGrace(UNLIMITED)
                    .minBodyRate(1)
                    .readTimeout(UNLIMITED)
                    .writeTimeout(UNLIMITED)
                    .drainTimeout(Duration.ZERO)
                    .build();
        } catch (IllegalArgumentException e) {
            throw fault(String.valueOf(e.getMessage()));
        }
    }

    private void checkFiles() throws IOException {
        FilePath.requireFile(command, in.toString(), in);
        if (!Files.isRegularFile(in)) {
            throw fault(in + " is read twice, which a pipe does not allow: name a file");
        }
        if (Files.exists(out)) {
            if (!Files.isRegularFile(out)) {
                throw fault(out + " is no file: name a file");
            }
            if (Files.isSameFile(in, out)) {
                throw fault("the answers cannot be written to the file of the requests, " + in + ": name another one");
            }
            if (!resume) {
                throw fault(out + " is there already: go on with it by --resume, or name another file");
            }
        }
    }

    /** Reads all lines once, and returns their ids. */
    private IdSet check(int maxLineBytes) throws IOException {
        IdSet ids = new IdSet();
        try (BatchInput input = new BatchInput(in, in.toString(), maxLineBytes)) {
            for (BatchInput.Request each = input.next(); each != null; each = input.next()) {
                if (!ids.add(each.id())) {
                    throw input.wrong(
                            "has the custom_id '" + each.id() + "' of an earlier line: give each line its own");
                }
            }
        } catch (IllegalArgumentException e) {
            throw fault(String.valueOf(e.getMessage()));
        }
        if (ids.size() == 0) {
            throw fault(in + " has no request: give one in each line");
        }
        return ids;
    }

    private BatchOutput open(IdSet requests) throws IOException {
        try {
            return BatchOutput.open(out, requests);
        } catch (IllegalArgumentException e) {
            throw fault(String.valueOf(e.getMessage()));
        }
    }

    private ParameterException fault(String message) {
        return new ParameterException(command.commandLine(), message);
    }

    /** The batch while it is computed. */
    private final class Run {
        private final BatchOutput output;
        private final int total;
        private final int found;
        private final long start = System.nanoTime();
        private final LongAdder answers = new LongAdder();
        private final LongAdder tokensIn = new LongAdder();
        private final LongAdder tokensOut = new LongAdder();

        /** Is counted down when all is answered, or when the batch cannot go on. */
        private final CountDownLatch ended = new CountDownLatch(1);

        private final AtomicReference<@Nullable Throwable> failure = new AtomicReference<>();
        private final AtomicInteger exitCode = new AtomicInteger();

        Run(BatchOutput output, int total) {
            this.output = output;
            this.total = total;
            found = output.answered().size();
        }

        /** Answers all requests that are not answered, and returns the exit code. */
        int answer(Engine engine, BatchInput input, HttpClient client, String address, String key, int clients)
                throws IOException, InterruptedException {
            Thread hook = new Thread(this::stop, "stop-batch");
            Runtime.getRuntime().addShutdownHook(hook);
            ServeCommand.stopOnFailure(engine, ended, exitCode);
            CountDownLatch working = new CountDownLatch(clients);
            List<Thread> threads = new ArrayList<>();
            for (int i = 0; i < clients; i++) {
                threads.add(Thread.ofVirtual().name("batch-", i).start(() -> {
                    try {
                        answerLines(engine, input, client, address, key);
                    } catch (IOException | RuntimeException e) {
                        failure.compareAndSet(null, e);
                        ended.countDown();
                    } catch (InterruptedException e) {
                        Thread.currentThread().interrupt(); // the batch has ended
                    } finally {
                        working.countDown();
                        if (working.getCount() == 0) {
                            ended.countDown();
                        }
                    }
                }));
            }
            try {
                showProgress();
            } finally {
                ended.countDown();
                threads.forEach(Thread::interrupt);
                for (Thread each : threads) {
                    each.join();
                }
                removeHook(hook);
            }
            Throwable failed = failure.get();
            if (failed != null && exitCode.get() == 0) {
                throw new IllegalStateException(
                        failed.getMessage() + "; " + answered() + " of " + total + " answers are in " + out
                                + "; --resume goes on with it",
                        failed);
            }
            return end();
        }

        private void removeHook(Thread hook) {
            try {
                Runtime.getRuntime().removeShutdownHook(hook);
            } catch (IllegalStateException e) {
                // the process is being ended, and the hook runs
            }
        }

        private void answerLines(Engine engine, BatchInput input, HttpClient client, String address, String key)
                throws IOException, InterruptedException {
            IdSet before = output.answered();
            for (BatchInput.Request each = input.next(); each != null && ended.getCount() > 0; each = input.next()) {
                if (!before.contains(each.id()) && !answer(each, engine, client, address, key)) {
                    return;
                }
            }
        }

        /** Sends a request until it is answered, and writes the answer; false if the batch has ended. */
        private boolean answer(BatchInput.Request request, Engine engine, HttpClient client, String address, String key)
                throws IOException, InterruptedException {
            HttpRequest http = HttpRequest.newBuilder(URI.create(address + request.url()))
                    .header("Authorization", "Bearer " + key)
                    .header("Content-Type", "application/json")
                    .POST(BodyPublishers.ofByteArray(request.line(), request.bodyStart(), request.bodyLength()))
                    .build();
            while (true) {
                HttpResponse<byte[]> response = client.send(http, BodyHandlers.ofByteArray());
                int status = response.statusCode();
                if (status == TOO_MANY_REQUESTS || status == UNAVAILABLE) {
                    long seconds =
                            response.headers().firstValueAsLong("Retry-After").orElse(1);
                    if (ended.await(Math.max(1, seconds), TimeUnit.SECONDS)) {
                        return false;
                    }
                } else if (status == SERVER_ERROR && engine.failure() != null) {
                    return false; // the request is to be computed again
                } else {
                    return write(request, response);
                }
            }
        }

        private boolean write(BatchInput.Request request, HttpResponse<byte[]> response) throws IOException {
            byte[] body = response.body();
            Map<String, Integer> usage = output.usage(body);
            String requestId = response.headers().firstValue("X-Request-Id").orElseThrow();
            if (!output.append(request.id(), response.statusCode(), requestId, body)) {
                return false;
            }
            answers.increment();
            tokensIn.add(usage.getOrDefault("prompt_tokens", usage.getOrDefault("input_tokens", 0)));
            tokensOut.add(usage.getOrDefault("completion_tokens", usage.getOrDefault("output_tokens", 0)));
            return true;
        }

        private long answered() {
            return found + answers.sum();
        }

        /** Shows how far the batch is until it ends: one line that is rewritten on a terminal, else one every 10 s. */
        private void showProgress() throws InterruptedException {
            boolean terminal = Optional.ofNullable(System.console())
                    .map(Console::isTerminal)
                    .orElse(false);
            while (!ended.await(terminal ? 1 : 10, TimeUnit.SECONDS)) {
                String line = progress();
                System.err.print(terminal ? "\r" + line + "\u001B[K" : line + System.lineSeparator());
                System.err.flush();
            }
            if (terminal) {
                System.err.print("\r\u001B[K");
            }
        }

        private double seconds() {
            return (System.nanoTime() - start) / 1e9;
        }

        private String progress() {
            long now = answers.sum();
            double seconds = seconds();
            String left = now == 0 ? "" : " · " + time(seconds / now * (total - found - now)) + " left";
            return String.format(
                    Locale.ROOT,
                    "%d of %d answered, %d refused or failed · %.0f tokens/s in, %.0f out%s",
                    answered(),
                    total,
                    output.failures(),
                    tokensIn.sum() / seconds,
                    tokensOut.sum() / seconds,
                    left);
        }

        private static String time(double seconds) {
            long whole = Math.round(seconds);
            return String.format(Locale.ROOT, "%d:%02d:%02d", whole / 3600, whole / 60 % 60, whole % 60);
        }

        /** Ends the file with a whole line when the process is told to end, and says how to go on. */
        private void stop() {
            try {
                output.close();
            } catch (IOException e) {
                System.err.println("quire: " + out + ": " + e.getMessage());
            }
            System.err.println(System.lineSeparator() + "quire: stopped; " + answered() + " of " + total
                    + " answers are in " + out + "; --resume goes on with it");
        }

        /** Prints the sum, and returns the exit code. */
        int end() {
            int failures = output.failures();
            double seconds = seconds();
            System.err.println(String.format(
                    Locale.ROOT,
                    "%d of %d requests answered%s, %d of them now · %d tokens in, %d out · %s · %.1f tokens/s in, %.1f out",
                    answered(),
                    total,
                    failures == 0 ? "" : ", " + failures + " of them refused or failed (status_code and error say why)",
                    answers.sum(),
                    tokensIn.sum(),
                    tokensOut.sum(),
                    time(seconds),
                    tokensIn.sum() / seconds,
                    tokensOut.sum() / seconds));
            if (answered() < total) {
                System.err.println("--resume goes on with " + out);
            }
            if (exitCode.get() != 0) {
                return exitCode.get();
            }
            return failures == 0 ? 0 : 1;
        }
    }
}
