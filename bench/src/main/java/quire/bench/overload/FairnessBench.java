package quire.bench.overload;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.ConcurrentLinkedQueue;
import quire.bench.client.HttpSocket;
import quire.bench.client.Metrics;
import quire.bench.client.ServerAddress;
import quire.bench.client.StreamedAnswer;
import quire.bench.measure.Bounds;
import quire.bench.measure.Quantiles;

/**
 * Measures what one tenant's long requests cost another tenant with short ones.
 *
 * <pre>
 *   alone     few:  |s|s|s|s| …                        short requests, one after another: time to the first token
 *   beside    many: 600 clients, each with a long request, and the next one when it has its answer
 *             few:  |s |s |s |s | …                    the same short requests
 * </pre>
 */
final class FairnessBench {
    private static final Duration POLL = Duration.ofMillis(20);
    private static final Duration TIMEOUT = Duration.ofMinutes(10);
    private static final double MILLIS = 1000;

    private final ServerAddress server;
    private final LoadRequests requests;
    private final SplittableRandom shorts; // of all short requests: an equal one would find its prompt in the cache
    private final Settings settings;
    private final ConcurrentLinkedQueue<HttpSocket> open = new ConcurrentLinkedQueue<>();
    private volatile boolean ended;

    /**
     * How to measure.
     *
     * @param queued long requests of the other tenant
     * @param measured short requests
     * @param seed of all random numbers
     */
    record Settings(int queued, int measured, long seed) {}

    /** The rows of both measurements, and the bounds. */
    record Result(List<Map<String, Object>> rows, Bounds bounds) {}

    FairnessBench(ServerAddress server, int context, Settings settings) throws IOException {
        this.server = server;
        requests = new LoadRequests(server, context);
        shorts = new SplittableRandom(settings.seed);
        this.settings = settings;
    }

    /**
     * Measures alone, and then beside the other tenant.
     *
     * @param limit of the 99th percentile beside it, in multiples of the one alone
     */
    Result measure(double limit) throws IOException, InterruptedException {
        shortRequests(); // compiles the code
        List<Double> alone = shortRequests();
        List<Thread> clients = new ArrayList<>();
        for (int i = 0; i < settings.queued; i++) {
            SplittableRandom random = new SplittableRandom(settings.seed * 1009 + i);
            clients.add(Thread.ofVirtual().start(() -> askUntilTheEnd(random)));
        }
        List<Double> beside;
        double waiting;
        try {
            while (Metrics.of(server).requests() < settings.queued) {
                if (clients.stream().noneMatch(Thread::isAlive)) {
                    throw new IOException("the server refuses the " + settings.queued + " long requests");
                }
                Thread.sleep(POLL);
            }
            shortRequests(); // compiles the code of larger steps
            beside = shortRequests();
            waiting = Metrics.of(server).requests();
        } finally {
            ended = true;
            for (HttpSocket socket : open) {
                socket.close();
            }
            for (Thread client : clients) {
                client.join();
            }
        }
        double ratio = Quantiles.quantile(beside, 0.99) / Quantiles.quantile(alone, 0.99);
        Bounds bounds = new Bounds()
                .atMost("p99 of the first token beside the other tenant, in multiples of alone", ratio, limit)
                .atLeast("requests of the other tenant at the end", waiting, settings.queued * 0.9);
        return new Result(
                List.of(row("alone", alone), row("beside " + settings.queued + " long ones", beside)), bounds);
    }

    private static Map<String, Object> row(String name, List<Double> firstSeconds) {
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("short_requests", name);
        row.put("answered", firstSeconds.size());
        row.put("first_token_p50_ms", Quantiles.quantile(firstSeconds, 0.5) * MILLIS);
        row.put("first_token_p99_ms", Quantiles.quantile(firstSeconds, 0.99) * MILLIS);
        return row;
    }

    /** Seconds to the first token of short requests, one after another. */
    private List<Double> shortRequests() throws IOException {
        List<Double> seconds = new ArrayList<>();
        try (HttpSocket socket = HttpSocket.open(server, TIMEOUT)) {
            for (int i = 0; i < settings.measured; i++) {
                StreamedAnswer answer = StreamedAnswer.of(
                        socket,
                        requests.next(shorts, LoadRequests.Kind.SHORT, "few").text());
                if (!answer.succeeded()) {
                    throw new IOException("a short request got status "
                            + answer.head().status() + ": " + answer.content().strip());
                }
                seconds.add(answer.firstSeconds());
            }
        }
        return seconds;
    }

    /** Asks for long answers until the measurement has ended, or the server refuses. */
    private void askUntilTheEnd(SplittableRandom random) {
        try (HttpSocket socket = HttpSocket.open(server, TIMEOUT)) {
            open.add(socket);
            while (!ended
                    && StreamedAnswer.of(
                                    socket,
                                    requests.next(random, LoadRequests.Kind.LONG, "many")
                                            .text())
                            .succeeded()) {
                // the next one
            }
        } catch (IOException e) {
            // closed at the end; if it was earlier, too few requests are there then
        }
    }
}
