package quire.bench.reproduce;

import java.util.ArrayList;
import java.util.List;
import java.util.function.LongSupplier;
import quire.bench.measure.Quantiles;
import quire.engine.EngineListener;
import quire.engine.FinishReason;

/**
 * The times of requests, tokens and steps. The engine thread writes them; read them when all answers have ended. All
 * requests count as submitted at {@link #begin}, so a latency includes the time in which a policy holds a request back.
 */
final class Recorder implements EngineListener {
    private static final double NANO = 1e-9;

    private final LongSupplier nanoClock;
    private final List<Double> firsts = new ArrayList<>();
    private final List<Double> gaps = new ArrayList<>();
    private final List<Double> latencies = new ArrayList<>();
    private long begin;
    private long steps;
    private long tokens;
    private long sequences;
    private int mostSequences;
    private int preemptions;

    /** @param nanoClock a monotonic clock in nanoseconds */
    Recorder(LongSupplier nanoClock) {
        this.nanoClock = nanoClock;
    }

    /** Forgets everything. No request may run. */
    void begin() {
        firsts.clear();
        gaps.clear();
        latencies.clear();
        steps = 0;
        tokens = 0;
        sequences = 0;
        mostSequences = 0;
        preemptions = 0;
        begin = nanoClock.getAsLong();
    }

    @Override
    public void onStep(int rows, int together, long nanos) {
        steps++;
        sequences += together;
        mostSequences = Math.max(mostSequences, together);
    }

    @Override
    public void onFirstToken(long nanos) {
        tokens++;
        firsts.add(nanos * NANO);
    }

    @Override
    public void onToken(long nanos) {
        tokens++;
        gaps.add(nanos * NANO);
    }

    @Override
    public void onPreempt() {
        preemptions++;
    }

    @Override
    public void onFinish(FinishReason reason, long nanos, int promptTokens, int completionTokens) {
        latencies.add((nanoClock.getAsLong() - begin) * NANO);
    }

    /** Seconds from the beginning to the end of the last answer. */
    double seconds() {
        return latency(1);
    }

    /** A quantile of the seconds from the beginning to the end of an answer. */
    double latency(double q) {
        return Quantiles.quantile(latencies, q);
    }

    /** A quantile of the seconds between two tokens of an answer. */
    double gap(double q) {
        return Quantiles.quantile(gaps, q);
    }

    /** The mean of the seconds from the submission of a request to its first token. */
    double meanFirst() {
        return firsts.stream().mapToDouble(Double::doubleValue).average().orElseThrow();
    }

    /** Tokens generated. */
    long tokens() {
        return tokens;
    }

    /** Steps of the engine. */
    long steps() {
        return steps;
    }

    /** Mean number of sequences in a step. */
    double meanSequences() {
        return (double) sequences / steps;
    }

    /** The largest number of sequences in a step. */
    int mostSequences() {
        return mostSequences;
    }

    /** How often a sequence lost its pages. */
    int preemptions() {
        return preemptions;
    }
}
