package quire.bench.overload;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import quire.bench.client.StreamedAnswer;
import quire.bench.measure.Quantiles;

/** What became of the requests of one level of load. Thread-safe while it collects. */
final class LevelResult {
    private static final int TOO_MANY_REQUESTS = 429;
    private static final int UNAVAILABLE = 503;
    private static final double MILLIS = 1000;

    private final double deadlineSeconds;
    private final List<Double> first = new ArrayList<>();
    private final List<Double> refusals = new ArrayList<>();
    private int offered;
    private int answered;
    private int late;
    private int withoutRetryAfter;
    private int failed;
    private long goodTokens;
    private String failure = "";

    /** @param deadlineSeconds how long an answer may take, to its end, to count */
    LevelResult(double deadlineSeconds) {
        this.deadlineSeconds = deadlineSeconds;
    }

    /** Adds an answer. */
    synchronized void add(StreamedAnswer answer, int tokens) {
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
            if (answer.totalSeconds() <= deadlineSeconds) {
                goodTokens += tokens;
            } else {
                late++;
            }
        }
    }

    /** Adds a request that got no answer. */
    synchronized void addFailure(String what) {
        offered++;
        fail(what);
    }

    private void fail(String what) {
        failed++;
        failure = what;
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

    /** Tokens of all answers that met the deadline. */
    synchronized long goodTokens() {
        return goodTokens;
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
     * @param perSecond requests offered in a second
     * @param seconds the time that the tokens are divided by
     */
    synchronized Map<String, Object> row(String level, double perSecond, double seconds) {
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("load", level);
        row.put("requests_a_second", perSecond);
        row.put("offered", offered);
        row.put("answered", answered);
        row.put("late", late);
        row.put("refused", refusals.size());
        row.put("failed", failed);
        row.put("goodput_tokens_a_second", goodTokens / seconds);
        row.put("first_token_p50_ms", quantile(first, 0.5) * MILLIS);
        row.put("first_token_p99_ms", firstP99() * MILLIS);
        row.put("refusal_p99_ms", refusalP99() * MILLIS);
        row.put("without_retry_after", withoutRetryAfter);
        return row;
    }

    private static double quantile(List<Double> values, double q) {
        return values.isEmpty() ? 0 : Quantiles.quantile(values, q);
    }
}
