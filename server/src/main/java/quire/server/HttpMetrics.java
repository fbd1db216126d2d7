package quire.server;

import java.util.Comparator;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.atomic.LongAdder;
import org.jspecify.annotations.Nullable;
import quire.server.MetricsText.Histogram;
import quire.server.http.RequestCounter;
import quire.server.http.Route;

/**
 * Counts requests over HTTP. Beside Quire's own names there are those of Prometheus' instrumentation of FastAPI, which
 * dashboards of vLLM ask for. As there, requests for operators (probes, metrics, the page) are left out of these.
 *
 * <p>Without locks: the event loop, which serves all connections, must not wait for a thread that counts or writes.
 */
final class HttpMetrics implements RequestCounter {
    /** Any other method counts as one, so that clients cannot make as many series as they like. */
    private static final Set<String> METHODS = Set.of("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS");

    private static final int CLASSES = 5;
    private static final double[] BOUNDS = {0.1, 0.5, 1};

    /** What is counted together. */
    private record Kind(String handler, String method) {}

    private static final class Counts {
        final AtomicLongArray byClass = new AtomicLongArray(CLASSES);
        final AtomicLongArray byBound = new AtomicLongArray(BOUNDS.length + 1);
        final LongAdder nanos = new LongAdder();
    }

    private final Map<Integer, LongAdder> statusToResponses = new ConcurrentSkipListMap<>();
    private final Map<Kind, Counts> kindToCounts =
            new ConcurrentSkipListMap<>(Comparator.comparing(Kind::handler).thenComparing(Kind::method));

    @Override
    public void onResponse(int status) {
        statusToResponses.computeIfAbsent(status, s -> new LongAdder()).increment();
    }

    @Override
    public void onEnd(@Nullable Route route, String method, int status, long nanos) {
        if (route != null && route.open()) {
            return;
        }
        Kind kind = new Kind(
                route == null ? "none" : route.paths().getFirst(), METHODS.contains(method) ? method : "other");
        Counts counts = kindToCounts.computeIfAbsent(kind, k -> new Counts());
        counts.byClass.incrementAndGet(status / 100 - 1);
        counts.byBound.incrementAndGet(Histogram.bucket(BOUNDS, nanos * 1e-9));
        counts.nanos.add(nanos);
    }

    /**
     * Writes all counts.
     *
     * @param own for the names of Quire
     * @param plain for names without any labels but their own
     */
    void write(MetricsText own, MetricsText plain) {
        own.head("quire_http_responses_total", "HTTP responses, by status.", "counter");
        statusToResponses.forEach((status, count) ->
                own.sample("quire_http_responses_total", "status", Integer.toString(status), count.sum()));
        kindToCounts.forEach((kind, counts) -> {
            MetricsText text = plain.with("handler", kind.handler()).with("method", kind.method());
            text.head("http_requests_total", "Requests that ended, by path, method and class of status.", "counter");
            for (int i = 0; i < CLASSES; i++) {
                long count = counts.byClass.get(i);
                if (count > 0) {
                    text.sample("http_requests_total", "status", (i + 1) + "xx", count);
                }
            }
            text.histogram(
                    "http_request_duration_seconds",
                    "From the head of a request to the end of its answer.",
                    BOUNDS,
                    counts.byBound::get,
                    counts.nanos.sum() * 1e-9);
        });
    }
}
