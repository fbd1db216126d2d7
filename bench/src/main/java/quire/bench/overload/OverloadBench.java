package quire.bench.overload;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.SplittableRandom;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Function;
import quire.bench.client.HttpSocket;
import quire.bench.client.Metrics;
import quire.bench.client.ServerAddress;
import quire.bench.client.ServerProcess;
import quire.bench.client.StreamedAnswer;
import quire.bench.measure.Bounds;
import quire.bench.measure.Quantiles;
import quire.bench.overload.LoadRequests.Kind;
import quire.bench.overload.LoadRequests.LoadRequest;

/**
 * Offers a server multiples of what it can answer.
 *
 * <pre>
 *   capacity    C clients, each asks again when it has its answer (closed loop)   → answers a second
 *               a refused one waits first, as Retry-After says
 *   alone       the same with short requests only, and with long ones only
 *   level 2     requests arrive at twice that rate, whatever becomes of them (open loop, Poisson)
 * </pre>
 *
 * <p>Goodput is what the answers are worth that met the deadline and ended within the measured time:
 * {@link LevelResult#work}. A level ends when all its requests have ended, so no level loads the next one. The
 * closed loop is repeated until it no longer gets faster, because a server that has just started has not compiled its code.
 * Clients and server share the machine, so the table has the processors that each of them used. The speed of a shared machine changes
 * by a tenth within minutes, so several rounds say more than long levels.
 */
final class OverloadBench {
    private static final Duration POLL = Duration.ofMillis(50);
    private static final long NANOS = 1_000_000_000L;

    /**
     * Each level is warmed up for this share of the measured time. While a queue grows, a server answers more than it can
     * go on with, because it answers the short requests first.
     */
    private static final double WARM_UP = 1;

    /** The closed loop has settled when it answers less than this factor above the last one. */
    private static final double SETTLED = 1.05;

    private static final int MAX_ROUNDS = 6;

    private final ServerProcess process;
    private final ServerAddress server;
    private final LoadRequests requests;
    private final Settings settings;

    /** Open connections without a request. Clients keep them, as client libraries do. */
    private final ConcurrentLinkedDeque<HttpSocket> idle = new ConcurrentLinkedDeque<>();

    /**
     * How to measure.
     *
     * @param clients clients that measure the capacity
     * @param seconds measured time of each level
     * @param deadlineSeconds how long an answer may take, to its end, to count
     * @param rounds how often each level is measured, by turns; its goodput is the median
     * @param seed of all random numbers
     */
    record Settings(int clients, double seconds, double deadlineSeconds, int rounds, long seed) {}

    /** The bounds; {@link OverloadCommand} describes them. */
    record Limits(double goodputShare, double firstSeconds, double refusalSeconds) {}

    /** The rows of the capacity and of each level, and the bounds. */
    record Result(List<Map<String, Object>> rows, Bounds bounds, String failure) {}

    OverloadBench(ServerProcess process, int context, Settings settings) throws IOException {
        this.process = process;
        this.server = process.address();
        this.requests = new LoadRequests(server, context);
        this.settings = settings;
    }

    Result measure(List<Double> levels, Limits limits) throws IOException, InterruptedException {
        LevelResult capacity = capacity();
        Map<Kind, LevelResult> loops = new EnumMap<>(Kind.class);
        Map<Kind, Double> alone = new EnumMap<>(Kind.class);
        for (Kind kind : Kind.values()) {
            LevelResult loop = closedLoop(random -> requests.next(random, kind, ""));
            awaitIdle();
            loops.put(kind, loop);
            alone.put(kind, checked(loop).goodAnswers());
        }
        List<Map<String, Object>> rows = new ArrayList<>();
        loops.forEach((kind, loop) -> rows.add(loop.row(kind.name().toLowerCase(Locale.ROOT) + " only", alone)));
        rows.add(capacity.row("closed loop", alone));
        Map<Double, List<Double>> levelToWork = new LinkedHashMap<>();
        double first = 0;
        double refusal = 0;
        int withoutRetryAfter = capacity.withoutRetryAfter();
        int failed = capacity.failed();
        String failure = capacity.failure();
        for (int round = 0; round < settings.rounds; round++) {
            for (double level : levels) {
                LevelResult result =
                        openLoop(level * capacity.goodAnswers(), settings.seed + round + Double.hashCode(level));
                awaitIdle();
                rows.add(result.row(String.format(Locale.ROOT, "× %.3g", level), alone));
                levelToWork.computeIfAbsent(level, l -> new ArrayList<>()).add(result.work(alone));
                first = Math.max(first, result.firstP99());
                refusal = Math.max(refusal, result.refusalP99());
                withoutRetryAfter += result.withoutRetryAfter();
                failed += result.failed();
                failure = result.failure().isEmpty() ? failure : result.failure();
            }
        }
        double peak = capacity.work(alone);
        double least = Double.POSITIVE_INFINITY;
        for (Map.Entry<Double, List<Double>> level : levelToWork.entrySet()) {
            double work = Quantiles.median(level.getValue());
            peak = Math.max(peak, work);
            least = level.getKey() > 1 ? Math.min(least, work) : least;
        }
        Bounds bounds = new Bounds();
        if (least < Double.POSITIVE_INFINITY) {
            bounds.atLeast("least goodput above capacity, share of the peak", least / peak, limits.goodputShare);
        }
        bounds.atMost("p99 of the first token of admitted requests, s", first, limits.firstSeconds)
                .atMost("p99 of a refusal, s", refusal, limits.refusalSeconds)
                .atMost("refusals without Retry-After", withoutRetryAfter, 0)
                .atMost("requests without an answer", failed, 0);
        return new Result(rows, bounds, failure);
    }

    /** The closed loop, repeated until it no longer gets faster. */
    private LevelResult capacity() throws IOException, InterruptedException {
        LevelResult last = closedLoop(requests::next);
        awaitIdle();
        for (int round = 1; round < MAX_ROUNDS; round++) {
            LevelResult next = closedLoop(requests::next);
            awaitIdle();
            boolean settled = next.goodAnswers() < SETTLED * last.goodAnswers();
            last = next;
            if (settled) {
                break;
            }
        }
        return checked(last);
    }

    private LevelResult checked(LevelResult loop) throws IOException {
        if (loop.goodAnswers() == 0) {
            throw new IOException("no answer met the deadline of " + settings.deadlineSeconds + " s within "
                    + settings.seconds + " s: raise --deadline and --seconds");
        }
        return loop;
    }

    /** The result of a level that begins now; its measured time begins after the warm-up. */
    private LevelResult level() {
        long from = System.nanoTime() + (long) (settings.seconds * WARM_UP * NANOS);
        return new LevelResult(settings.deadlineSeconds, from, from + (long) (settings.seconds * NANOS));
    }

    /** Starts to measure the processors of a level. Wait for the thread before the level's row is read. */
    private Thread measureProcessors(LevelResult level) {
        return Thread.ofVirtual().start(() -> {
            sleepUntil(level.from());
            double clients = clientSeconds();
            OptionalDouble servers = process.processorSeconds();
            sleepUntil(level.end());
            double usedByClients = clientSeconds() - clients;
            OptionalDouble later = process.processorSeconds();
            level.setProcessors(
                    usedByClients / settings.seconds,
                    servers.isPresent() && later.isPresent()
                            ? OptionalDouble.of((later.getAsDouble() - servers.getAsDouble()) / settings.seconds)
                            : OptionalDouble.empty());
        });
    }

    private static double clientSeconds() {
        return ServerProcess.processorSeconds(ProcessHandle.current()).orElse(Double.NaN);
    }

    private static void sleepUntil(long time) {
        for (long left = time - System.nanoTime(); left > 0; left = time - System.nanoTime()) {
            LockSupport.parkNanos(left);
        }
    }

    /** A fixed number of clients, each with one request at a time. Returns when all have ended. */
    private LevelResult closedLoop(Function<SplittableRandom, LoadRequest> mix) throws InterruptedException {
        LevelResult result = level();
        List<Thread> clients = new ArrayList<>();
        clients.add(measureProcessors(result));
        for (int i = 0; i < settings.clients; i++) {
            SplittableRandom random = new SplittableRandom(settings.seed * 1009 + i);
            clients.add(Thread.ofVirtual().start(() -> {
                while (System.nanoTime() - result.end() < 0) {
                    long pause = ask(mix.apply(random), result);
                    sleepUntil(Math.min(result.end(), System.nanoTime() + pause));
                }
            }));
        }
        for (Thread client : clients) {
            client.join();
        }
        return result;
    }

    /** Requests arrive at random times, independent of answers. Returns when all have ended. */
    private LevelResult openLoop(double perSecond, long seed) throws InterruptedException {
        SplittableRandom random = new SplittableRandom(seed);
        long begin = System.nanoTime();
        LevelResult result = level();
        Thread processors = measureProcessors(result);
        double next = 0; // nanoseconds after the begin
        try (ExecutorService clients = Executors.newVirtualThreadPerTaskExecutor()) {
            while (true) {
                next += -Math.log(1 - random.nextDouble()) / perSecond * NANOS;
                long time = begin + (long) next;
                if (time - result.end() >= 0) {
                    break;
                }
                sleepUntil(time);
                LoadRequest request = requests.next(random);
                clients.execute(() -> ask(request, result));
            }
            clients.shutdown();
            while (!clients.awaitTermination(1, TimeUnit.MINUTES)) {
                // each request ends by its own timeout
            }
        }
        processors.join();
        return result;
    }

    /** Asks, and adds the answer. Returns how long an honest client then waits before it asks again, in nanoseconds. */
    private long ask(LoadRequest request, LevelResult result) {
        // Far behind the deadline: an answer that is late is late, not missing.
        Duration timeout = Duration.ofMillis((long) (settings.deadlineSeconds * 6000) + 30_000);
        long sent = System.nanoTime();
        try {
            HttpSocket kept = idle.pollFirst();
            HttpSocket socket = kept == null ? HttpSocket.open(server, timeout) : kept;
            boolean usable = false;
            try {
                StreamedAnswer answer = StreamedAnswer.of(socket, request.text());
                result.add(answer, request, sent, System.nanoTime());
                usable = answer.complete()
                        && !"close".equalsIgnoreCase(answer.head().headers().get("connection"));
                return answer.retryAfterSeconds() * NANOS;
            } finally {
                if (usable) {
                    idle.addFirst(socket);
                } else {
                    socket.close();
                }
            }
        } catch (IOException e) {
            result.addFailure(e.toString(), sent);
            return 0;
        }
    }

    /** Closes the connections of a level, and waits until the server has no requests. */
    private void awaitIdle() throws IOException, InterruptedException {
        for (HttpSocket socket = idle.poll(); socket != null; socket = idle.poll()) {
            socket.close();
        }
        while (Metrics.of(server).requests() > 0) {
            Thread.sleep(POLL);
        }
    }
}
