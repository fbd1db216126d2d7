package quire.bench.overload;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import quire.bench.client.HttpSocket;
import quire.bench.client.Metrics;
import quire.bench.client.ServerAddress;
import quire.bench.client.StreamedAnswer;
import quire.bench.measure.Bounds;
import quire.bench.overload.LoadRequests.LoadRequest;

/**
 * Offers a server multiples of what it can answer.
 *
 * <pre>
 *   capacity    C clients, each asks again when it has its answer (closed loop)   → tokens and requests a second
 *   level 2     requests arrive at twice that rate, whatever becomes of them (open loop, Poisson)
 * </pre>
 *
 * <p>Goodput is what the answers that met the deadline have of tokens, divided by the time from the first arrival to the last
 * one. A level ends when all its requests have ended, so no level loads the next one.
 */
final class OverloadBench {
    private static final Duration POLL = Duration.ofMillis(50);
    private static final long NANOS = 1_000_000_000L;

    private final ServerAddress server;
    private final LoadRequests requests;
    private final Settings settings;

    /**
     * How to measure.
     *
     * @param clients clients that measure the capacity
     * @param seconds time of arrivals of each level
     * @param deadlineSeconds how long an answer may take, to its end, to count
     * @param seed of all random numbers
     */
    record Settings(int clients, int seconds, double deadlineSeconds, long seed) {}

    /** The bounds; {@link OverloadCommand} describes them. */
    record Limits(double goodputShare, double firstSeconds, double refusalSeconds) {}

    /** The rows of the capacity and of each level, and the bounds. */
    record Result(List<Map<String, Object>> rows, Bounds bounds, String failure) {}

    OverloadBench(ServerAddress server, int context, Settings settings) {
        this.server = server;
        this.requests = new LoadRequests(server, context);
        this.settings = settings;
    }

    Result measure(List<Double> levels, Limits limits) throws IOException, InterruptedException {
        closedLoop(settings.seconds); // warm-up: code is compiled, and the engine learns what steps cost
        awaitIdle();
        LevelResult capacity = closedLoop(settings.seconds);
        awaitIdle();
        double perSecond = (double) capacity.offered() / settings.seconds;
        List<Map<String, Object>> rows = new ArrayList<>();
        rows.add(capacity.row("closed loop", perSecond, settings.seconds));
        double peak = (double) capacity.goodTokens() / settings.seconds;
        double least = Double.POSITIVE_INFINITY;
        double first = 0;
        double refusal = 0;
        int withoutRetryAfter = capacity.withoutRetryAfter();
        int failed = capacity.failed();
        String failure = capacity.failure();
        for (double level : levels) {
            LevelResult result = openLoop(level * perSecond, settings.seed + Double.hashCode(level));
            awaitIdle();
            rows.add(result.row(String.format(Locale.ROOT, "× %.3g", level), level * perSecond, settings.seconds));
            double goodput = (double) result.goodTokens() / settings.seconds;
            peak = Math.max(peak, goodput);
            least = level > 1 ? Math.min(least, goodput) : least;
            first = Math.max(first, result.firstP99());
            refusal = Math.max(refusal, result.refusalP99());
            withoutRetryAfter += result.withoutRetryAfter();
            failed += result.failed();
            failure = result.failure().isEmpty() ? failure : result.failure();
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

    /** A fixed number of clients, each with one request at a time. Answers that end after the time count for nothing. */
    private LevelResult closedLoop(int seconds) throws InterruptedException {
        LevelResult result = new LevelResult(settings.deadlineSeconds);
        long end = System.nanoTime() + seconds * NANOS;
        List<Thread> clients = new ArrayList<>();
        for (int i = 0; i < settings.clients; i++) {
            SplittableRandom random = new SplittableRandom(settings.seed * 1009 + i);
            clients.add(Thread.ofVirtual().start(() -> {
                while (System.nanoTime() < end) {
                    ask(requests.next(random), result, end);
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
        LevelResult result = new LevelResult(settings.deadlineSeconds);
        SplittableRandom random = new SplittableRandom(seed);
        long begin = System.nanoTime();
        long end = begin + settings.seconds * NANOS;
        double next = begin;
        try (ExecutorService clients = Executors.newVirtualThreadPerTaskExecutor()) {
            while (true) {
                next += -Math.log(1 - random.nextDouble()) / perSecond * NANOS;
                if (next >= end) {
                    break;
                }
                for (long left = (long) next - System.nanoTime(); left > 0; left = (long) next - System.nanoTime()) {
                    LockSupport.parkNanos(left);
                }
                LoadRequest request = requests.next(random);
                clients.execute(() -> ask(request, result, Long.MAX_VALUE));
            }
            clients.shutdown();
            while (!clients.awaitTermination(1, TimeUnit.MINUTES)) {
                // each request ends by its own timeout
            }
        }
        return result;
    }

    /** Asks, and adds the answer if it has ended before {@code end}. */
    private void ask(LoadRequest request, LevelResult result, long end) {
        // Far behind the deadline: an answer that is late is late, not missing.
        Duration timeout = Duration.ofMillis((long) (settings.deadlineSeconds * 6000) + 30_000);
        try (HttpSocket socket = HttpSocket.open(server, timeout)) {
            StreamedAnswer answer = StreamedAnswer.of(socket, request.text());
            if (System.nanoTime() < end) {
                result.add(answer, request.tokens());
            }
        } catch (IOException e) {
            result.addFailure(e.toString());
        }
    }

    private void awaitIdle() throws IOException, InterruptedException {
        while (Metrics.of(server).requests() > 0) {
            Thread.sleep(POLL);
        }
    }
}
