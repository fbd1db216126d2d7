package quire.bench.reproduce;

import java.util.ArrayList;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import quire.bench.measure.OfflineBench;
import quire.bench.measure.TimedEngine;
import quire.bench.report.RunRecord;
import quire.bench.reproduce.PoolSimulation.Reservation;
import quire.bench.reproduce.PoolSimulation.StepCost;
import quire.engine.Engine;
import quire.engine.EngineConfig;

/**
 * Anyscale's comparison of batching policies on this machine, its parts, and the same on an A100 by arithmetic.
 *
 * <pre>
 *   tokens/s = tokens a step ÷ seconds a step
 *   paged ÷ static = (reserved ÷ static tokens a step)  ×  (paged ÷ reserved tokens a step)  ×  (static ÷ paged seconds a step)
 *                     scheduling: no stragglers              memory: a larger batch                kernels: what a larger step costs
 * </pre>
 */
final class ContinuousBatching {
    // Anyscale's workload on an A100 of 40 GB with OPT-13B. Smaller machines and contexts get a fraction of all of it.
    private static final int PROMPT = 512;
    private static final double MEAN_OUTPUT = 128;
    private static final int[] CAPS = {32, 128, 512, 1536};
    private static final int A100_REQUESTS = 1000;
    private static final int LEAST_SHRINK = 4;
    private static final int CONTEXT = 4096;

    private static final int MOST_SEQUENCES = 64;
    private static final int STEP_TOKENS = 512;
    private static final int PAGE_TOKENS = 16;
    private static final int WARM_OUTPUT = 8;
    private static final long SEED = 3;

    // OPT-13B in fp16, and NVIDIA's data sheet of the A100 with 40 GB.
    private static final double PARAMETERS = 12.85e9;
    private static final double KV_BYTES = 2 * 40 * 5120 * 2;
    private static final double BYTES_PER_SECOND = 1.555e12;
    private static final double FLOPS = 312e12;

    private static final int[] ROWS = {1, 2, 4, 8, 16, 32, 64};
    /** Short prompts, so that all sequences soon decode together. */
    private static final int COST_CONTEXT = 32;

    private static final int COST_STEPS = 24;

    private final Setup setup;
    private final int shrink;

    private ContinuousBatching(Setup setup) {
        this.setup = setup;
        shrink = Math.max(LEAST_SHRINK, (CONTEXT + setup.context() - 1) / setup.context());
    }

    /** Tokens a second, and what they consist of. */
    private record Speed(double tokensPerStep, double secondsPerStep) {
        double tokensPerSecond() {
            return tokensPerStep / secondsPerStep;
        }
    }

    static Report report(Setup setup) throws InterruptedException {
        return new ContinuousBatching(setup).measure();
    }

    private Report measure() throws InterruptedException {
        List<Map<String, Object>> rows = new ArrayList<>();
        List<Map<String, Object>> parts = new ArrayList<>();
        for (int cap : setup.quick() ? new int[] {CAPS[0], CAPS[3]} : CAPS) {
            parts.add(parts("here, answers to " + cap / shrink, measureAll(cap / shrink, rows)));
        }
        for (int cap : CAPS) {
            parts.add(parts("A100 by arithmetic, answers to " + cap, simulateAll(cap)));
        }
        List<Map<String, Object>> costs = costs();
        return new Report(
                        "Continuous batching",
                        "Anyscale, How continuous batching enables 23x throughput in LLM inference (2023): OPT-13B on an A100"
                                + " of 40 GB, 1,000 requests at once, prompts of 512 tokens, exponential answers with a mean"
                                + " of 128 tokens, cut at 32, 128, 512 and 1,536. vLLM made up to 23 times as many tokens a"
                                + " second as static batches of Hugging Face's pipelines.")
                .note(
                        "Here: " + setup.requests() + " requests at once, all lengths and the KV memory divided by "
                                + shrink
                                + ": prompts of " + PROMPT / shrink + " tokens, mean answer "
                                + Math.round(MEAN_OUTPUT / shrink)
                                + " tokens before the cut, " + slots()
                                + " KV slots for every policy. Latencies count from the"
                                + " moment at which all requests are there. A sequence of a static batch that has ended costs nothing"
                                + " more; Hugging Face's pipelines compute it to the end of the batch and are slower than this.")
                .table("Policies", rows)
                .chart("Tokens a second by the longest answer", rows, "policy", "longest_answer", "tokens_per_second")
                .note(
                        "What the gain of paged over static consists of. Scheduling: no row waits for the longest answer of its"
                                + " group. Memory: more sequences fit. Kernels: a step with more rows costs more; 1 means that it"
                                + " costs the same. The product is the gain. Lines of the A100 are arithmetic and not measured:"
                                + " a simulation of the same policies with 15,700 slots, where a step takes the time to read the"
                                + " weights (or to compute its tokens, if that is longer) and the live keys and values.")
                .table("The gain of continuous paged over static batches", parts)
                .note(
                        "The factor of the kernels is why the gain is smaller on a CPU: it has less arithmetic for each byte"
                                + " that it reads from memory, so a step's time grows with its rows much earlier, and the prompts,"
                                + " which are all the same work for every policy, take a larger share. The paper's 23 also contains"
                                + " the slow steps of the program that it compares with; in this engine all policies have the same"
                                + " kernels.")
                .table("Time of a decoding step by its rows, relative to one row", costs)
                .chart("Time of a step, relative to one row", series(costs), "where", "rows", "relative_time");
    }

    private int slots() {
        return Paging.SLOTS / shrink / PAGE_TOKENS * PAGE_TOKENS;
    }

    private Map<Policy, Speed> measureAll(int cap, List<Map<String, Object>> rows) throws InterruptedException {
        List<Length> lengths = Length.exponential(setup.requests(), PROMPT / shrink, MEAN_OUTPUT / shrink, cap, SEED);
        Map<Policy, Speed> speeds = new EnumMap<>(Policy.class);
        for (Policy policy : Policy.values()) {
            System.err.println("  answers to " + cap + ", " + policy.label());
            Recorder recorder = new Recorder(System::nanoTime);
            run(setup, policy, lengths, slots(), PROMPT / shrink + cap, recorder);
            Speed speed =
                    new Speed((double) recorder.tokens() / recorder.steps(), recorder.seconds() / recorder.steps());
            speeds.put(policy, speed);
            Map<String, Object> row = new LinkedHashMap<>();
            row.put("policy", policy.label());
            row.put("longest_answer", cap);
            row.put("tokens_per_second", speed.tokensPerSecond());
            row.put("latency_p50_s", recorder.latency(0.5));
            row.put("latency_p99_s", recorder.latency(0.99));
            row.put("mean_sequences", recorder.meanSequences());
            row.put("tokens_a_step", speed.tokensPerStep());
            row.put("ms_a_step", 1e3 * speed.secondsPerStep());
            row.put("preemptions", recorder.preemptions());
            rows.add(row);
        }
        return speeds;
    }

    /**
     * Answers requests under a policy with an engine of its own.
     *
     * @param slots tokens of the KV memory
     * @param longest tokens of the longest allowed request
     * @param recorder gets the times, without those of the warm-up
     */
    static void run(Setup setup, Policy policy, List<Length> lengths, int slots, int longest, Recorder recorder)
            throws InterruptedException {
        int sequences = policy.sequences(slots, longest, Math.min(MOST_SEQUENCES, lengths.size()));
        EngineConfig config = setup.engine()
                .maxSequences(sequences)
                .maxBatchedTokens(STEP_TOKENS)
                .maxContext(longest)
                .kvCacheBytes(slots / PAGE_TOKENS * setup.pageBytes())
                .build();
        try (Engine engine = Engine.open(setup.model(), config, recorder)) {
            Requests requests = new Requests(engine.tokenizer(), SEED);
            policy.answer(
                    engine::submit,
                    requests.of(List.of(new Length(longest - WARM_OUTPUT, WARM_OUTPUT))),
                    sequences); // warms up
            recorder.begin();
            policy.answer(engine::submit, requests.of(lengths), sequences);
        }
    }

    private static Map<Policy, Speed> simulateAll(int cap) {
        List<Length> lengths = Length.exponential(A100_REQUESTS, PROMPT, MEAN_OUTPUT, cap, SEED);
        Map<Policy, Speed> speeds = new EnumMap<>(Policy.class);
        for (Policy policy : Policy.values()) {
            PoolSimulation.Result result =
                    simulate(policy, lengths, Paging.SLOTS, PROMPT + cap, ContinuousBatching::a100Seconds);
            speeds.put(policy, new Speed(result.tokensPerStep(), result.seconds() / result.steps()));
        }
        return speeds;
    }

    /** The steps of a policy without a model. What reserves the maximum never lacks a page. */
    static PoolSimulation.Result simulate(Policy policy, List<Length> lengths, int slots, int longest, StepCost cost) {
        int sequences = policy.sequences(slots, longest, lengths.size());
        return new PoolSimulation(Reservation.PAGED, slots, longest, sequences, policy == Policy.STATIC, cost)
                .play(lengths);
    }

    /** The time of a step on an A100, by arithmetic. */
    private static double a100Seconds(int tokens, long live) {
        return Math.max(2 * PARAMETERS / BYTES_PER_SECOND, 2 * PARAMETERS * tokens / FLOPS)
                + live * KV_BYTES / BYTES_PER_SECOND;
    }

    private static Map<String, Object> parts(String where, Map<Policy, Speed> speeds) {
        Speed one = speed(speeds, Policy.ONE_AT_A_TIME);
        Speed grouped = speed(speeds, Policy.STATIC);
        Speed reserved = speed(speeds, Policy.RESERVED);
        Speed paged = speed(speeds, Policy.PAGED);
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("where", where);
        row.put("gain", paged.tokensPerSecond() / grouped.tokensPerSecond());
        row.put("scheduling", reserved.tokensPerStep / grouped.tokensPerStep);
        row.put("memory", paged.tokensPerStep / reserved.tokensPerStep);
        row.put("kernels", grouped.secondsPerStep / paged.secondsPerStep);
        row.put("gain_over_one_at_a_time", paged.tokensPerSecond() / one.tokensPerSecond());
        return row;
    }

    private static Speed speed(Map<Policy, Speed> speeds, Policy policy) {
        Speed speed = speeds.get(policy);
        if (speed == null) {
            throw new IllegalStateException(policy + " was not measured");
        }
        return speed;
    }

    private List<Map<String, Object>> costs() throws InterruptedException {
        EngineConfig config = setup.engine()
                .maxSequences(MOST_SEQUENCES)
                .maxBatchedTokens(STEP_TOKENS)
                .maxContext(COST_CONTEXT + COST_STEPS)
                .build();
        List<Map<String, Object>> rows = new ArrayList<>();
        try (TimedEngine engine = TimedEngine.open(setup.model(), config)) {
            OfflineBench bench = new OfflineBench(engine);
            double one = 0;
            for (int count : ROWS) {
                double cold = bench.decodeTokensPerSecond(count, COST_CONTEXT, COST_STEPS);
                double warm = bench.decodeTokensPerSecond(count, COST_CONTEXT, COST_STEPS);
                double seconds = count / Math.max(cold, warm);
                one = count == 1 ? seconds : one;
                Map<String, Object> row = new LinkedHashMap<>();
                row.put("rows", count);
                row.put("ms_here", 1e3 * seconds);
                row.put("here", seconds / one);
                row.put("A100_by_arithmetic", a100Seconds(count, (long) count * PROMPT) / a100Seconds(1, PROMPT));
                rows.add(row);
            }
        }
        return rows;
    }

    /** A row for each place and number of rows. */
    private static List<Map<String, Object>> series(List<Map<String, Object>> costs) {
        List<Map<String, Object>> points = new ArrayList<>();
        for (String where : List.of("here", "A100_by_arithmetic")) {
            for (Map<String, Object> cost : costs) {
                Map<String, Object> point = new LinkedHashMap<>();
                point.put("where", where.replace('_', ' '));
                point.put("rows", RunRecord.number(cost, "rows"));
                point.put("relative_time", RunRecord.number(cost, where));
                points.add(point);
            }
        }
        return points;
    }
}
