package quire.bench.overload;

import java.util.ArrayList;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;
import quire.bench.client.StreamedAnswer;
import quire.bench.measure.Quantiles;
import quire.bench.overload.LoadRequests.Kind;
import quire.bench.overload.LoadRequests.LoadRequest;

/**
 * What became of the requests of one level of load. Thread-safe while it collects.
 *
 * <pre>
 *   arrivals    |── warm-up ──|────────── measured ──────────|
 *   goodput                   | answers that end here        |     so the queue that is left at the end counts for nothing
 *   the others                | requests that are sent here  |
 * </pre>
 */
final class LevelResult {
    private static final int TOO_MANY_REQUESTS = 429;
    private static final int UNAVAILABLE = 503;
    private static final double MILLIS = 1000;
    private static final double NANO = 1e-9;

    private final double deadlineSeconds;
    private final long from;
    private final long to;
    private final List<Double> first = new ArrayList<>();
    private final List<Double> refusals = new ArrayList<>();
    private int offered;
    private int answered;
    private int late;
    private int withoutRetryAfter;
    private int failed;
    private long goodTokens;
    private final Map<Kind, Integer> goodAnswers = new EnumMap<>(Kind.class);
    private double clientProcessors;
    private OptionalDouble serverProcessors = OptionalDouble.empty();
    private String failure = "";

    /**
     * @param deadlineSeconds how long an answer may take, to its end, to count
     * @param from begin of the measured time, by {@link System#nanoTime}
     * @param to its end
     */
    LevelResult(double deadlineSeconds, long from, long to) {
        this.deadlineSeconds = deadlineSeconds;
        this.from = from;
        this.to = to;
    }

    /**
     * Adds an answer.
     *
     * @param sent when its request was sent, by {@link System#nanoTime}
     * @param ended when it ended
     */
    synchronized void add(StreamedAnswer answer, LoadRequest request, long sent, long ended) {
        if (isMeasured(ended) && answer.succeeded() && answer.totalSeconds() <= deadlineSeconds) {
            goodTokens += request.tokens();
            goodAnswers.merge(request.kind(), 1, Integer::sum);
        }
        if (!isMeasured(sent)) {
            return;
        }
        offered++;
        int status = answer.head().status();
        if (status == TOO_MANY_REQUESTS || status == UNAVAILABLE) {
            refusals.add(answer.totalSeconds());
            withoutRetryAfter += answer.head().headers().containsKey("retry-after") ? 0 : 1;
        } else if (!answer.succeeded()) {
            fail("status " + status + ": " + answer.content().strip());
        } else {
            answered++;
            first.add(answer.firstSeconds());
            late += answer.totalSeconds() > deadlineSeconds ? 1 : 0;
        }
    }

    /**
     * Adds a request that got no answer.
     *
     * @param sent when it was sent, by {@link System#nanoTime}
     */
    synchronized void addFailure(String what, long sent) {
        if (isMeasured(sent)) {
            offered++;
            fail(what);
        }
    }

    private boolean isMeasured(long time) {
        return time - from >= 0 && time - to < 0;
    }

    /** Sets the average number of processors that the clients and the server used during the measured time. */
    synchronized void setProcessors(double clients, OptionalDouble server) {
        clientProcessors = clients;
        serverProcessors = server;
    }

    private void fail(String what) {
        failed++;
        failure = what;
    }

    /** Begin of the measured time, by {@link System#nanoTime}. */
    long from() {
        return from;
    }

    /** End of the measured time, by {@link System#nanoTime}. */
    long end() {
        return to;
    }

    synchronized int offered() {
        return offered;
    }

    synchronized int failed() {
        return failed;
    }

    /** The last failure, for the user; empty if there was none. */
    synchronized String failure() {
        return failure;
    }

    synchronized int withoutRetryAfter() {
        return withoutRetryAfter;
    }

    /** Answers a second that met the deadline. */
    double goodAnswers() {
        return goodAnswers(Kind.SHORT) + goodAnswers(Kind.LONG);
    }

    /** Answers of a kind a second that met the deadline. */
    synchronized double goodAnswers(Kind kind) {
        return goodAnswers.getOrDefault(kind, 0) / seconds();
    }

    /**
     * The answers that met the deadline, in units of what the server can do. A long answer costs more than a short one,
     * but a token of a long answer costs less than a token of a short one. So a count of answers or of tokens changes with
     * the mix of those that were answered, and this does not.
     *
     * @param alone answers a second of each kind, if nothing but that kind is asked for; above 0
     * @return about 1 if the server computes nothing else
     */
    double work(Map<Kind, Double> alone) {
        double work = 0;
        for (Map.Entry<Kind, Double> kind : alone.entrySet()) {
            work += goodAnswers(kind.getKey()) / kind.getValue();
        }
        return work;
    }

    private double seconds() {
        return (to - from) * NANO;
    }

    /** The 99th percentile of the time to the first token of admitted requests; 0 if none was. */
    synchronized double firstP99() {
        return quantile(first, 0.99);
    }

    /** The 99th percentile of the time of a refusal; 0 if there was none. */
    synchronized double refusalP99() {
        return quantile(refusals, 0.99);
    }

    /**
     * A row for the table.
     *
     * @param level its name
     * @param alone as {@link #work} takes it
     */
    synchronized Map<String, Object> row(String level, Map<Kind, Double> alone) {
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("load", level);
        row.put("requests_a_second", offered / seconds());
        row.put("offered", offered);
        row.put("answered", answered);
        row.put("late", late);
        row.put("refused", refusals.size());
        row.put("failed", failed);
        row.put("goodput", work(alone));
        row.put("short_answers_a_second", goodAnswers(Kind.SHORT));
        row.put("long_answers_a_second", goodAnswers(Kind.LONG));
        row.put("tokens_a_second", goodTokens / seconds());
        row.put("first_token_p50_ms", quantile(first, 0.5) * MILLIS);
        row.put("first_token_p99_ms", firstP99() * MILLIS);
        row.put("refusal_p99_ms", refusalP99() * MILLIS);
        row.put("without_retry_after", withoutRetryAfter);
        row.put("client_processors", clientProcessors);
        serverProcessors.ifPresent(value -> row.put("server_processors", value));
        return row;
    }

    private static double quantile(List<Double> values, double q) {
        return values.isEmpty() ? 0 : Quantiles.quantile(values, q);
    }
}
