package quire.cli;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import quire.engine.Engine;
import quire.engine.EngineStats;
import quire.engine.Output;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.TokenStream;

/**
 * How many times as fast one engine is as another on the same prompts, on a machine that drifts: many short pairs of runs,
 * in random order within a pair, and the median of the pairs' ratios with its quartiles. Every token is compared.
 *
 * <p>What counts is the time of generation: from when the last sequence of a group has its first token to when the first
 * has its last, so that always as many decode as there are prompts.
 *
 * <pre>
 *   sequence 1   |─ prompt ─|x  x  x  x  x  x  x|
 *   sequence 2   |── prompt ───|x  x  x  x  x  x  x|
 *                               |── counted ────|          a run is as many groups as it takes to count a while
 * </pre>
 */
final class PairedSpeed {
    private static final int FEWEST_PAIRS = 5;
    private static final int MOST_MISSED = 1000;
    /** Of a case's time, what is spent on making code and costs known before it. */
    private static final double WARM_UP = 0.3;

    private final double secondsPerCase;
    private final double secondsPerRun;
    private final Random order = new Random(17);

    /** @param secondsPerCase to measure for, at least; slow cases take what {@value #FEWEST_PAIRS} pairs take */
    PairedSpeed(double secondsPerCase) {
        this.secondsPerCase = secondsPerCase;
        secondsPerRun = Math.min(0.1, secondsPerCase / 30);
    }

    /**
     * Prompts to answer at once, and what must come.
     *
     * @param answers at least {@code tokens} of each, unless {@code toTheEnd}
     * @param tokens of an answer at most
     * @param toTheEnd whether the model may end its answer itself
     */
    record Work(List<int[]> prompts, List<int[]> answers, int tokens, boolean toTheEnd) {}

    /** What a run counted. */
    record Run(long tokens, long nanos) {
        double tokensPerSecond() {
            return tokens * 1e9 / nanos;
        }
    }

    /** When each token came. */
    @SuppressWarnings("ArrayRecordComponent") // read, never compared
    private record Timeline(int[] tokens, long[] nanos, int size) {}

    /** Answers all prompts with one engine after the other and compares. */
    Map<String, Object> compare(Engine off, Engine on, Work work) throws InterruptedException {
        for (Engine engine : List.of(on, off)) {
            long end = System.nanoTime() + (long) (WARM_UP * secondsPerCase * 1e9);
            do {
                run(engine, work);
            } while (System.nanoTime() < end);
        }
        EngineStats before = on.stats();
        List<Double> ratios = new ArrayList<>();
        List<Double> speedsOff = new ArrayList<>();
        List<Double> speedsOn = new ArrayList<>();
        long end = System.nanoTime() + (long) (secondsPerCase * 1e9);
        while (ratios.size() < FEWEST_PAIRS || System.nanoTime() < end) {
            boolean offFirst = order.nextBoolean();
            Run first = run(offFirst ? off : on, work);
            Run second = run(offFirst ? on : off, work);
            double speedOff = (offFirst ? first : second).tokensPerSecond();
            double speedOn = (offFirst ? second : first).tokensPerSecond();
            speedsOff.add(speedOff);
            speedsOn.add(speedOn);
            ratios.add(speedOn / speedOff);
        }
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("off_tokens_per_second", quantile(speedsOff, 0.5));
        row.put("on_tokens_per_second", quantile(speedsOn, 0.5));
        row.put("speedup", quantile(ratios, 0.5));
        row.put("lower_quartile", quantile(ratios, 0.25));
        row.put("upper_quartile", quantile(ratios, 0.75));
        row.put("pairs", ratios.size());
        row.putAll(books(before, on.stats()));
        return row;
    }

    /** Tokens of a sequence's step, and draft tokens in it, by the engine's books; prompts' steps are left out. */
    private static Map<String, Object> books(EngineStats before, EngineStats after) {
        double answers = (double) (after.finishedTotal() - before.finishedTotal());
        double generated = after.generationTokens() - before.generationTokens() - answers;
        double drafted = (double)
                (after.speculation().draftTokens() - before.speculation().draftTokens());
        double accepted = (double)
                (after.speculation().acceptedTokens() - before.speculation().acceptedTokens());
        Map<String, Object> row = new LinkedHashMap<>();
        double turns = generated - accepted; // every turn of a sequence gives one token that nobody guessed
        row.put("tokens_a_turn", generated / turns);
        row.put("draft_tokens_a_turn", drafted / turns);
        row.put("accepted_share", drafted == 0 ? 0.0 : accepted / drafted);
        double without = (double)
                (after.speculation().nanosWithout() - before.speculation().nanosWithout());
        double nanos =
                (double) (after.speculation().nanos() - before.speculation().nanos());
        row.put("engines_estimate", nanos == 0 ? 1.0 : without / nanos);
        return row;
    }

    static double quantile(List<Double> values, double q) {
        double[] sorted =
                values.stream().mapToDouble(Double::doubleValue).sorted().toArray();
        double at = q * (sorted.length - 1);
        int below = (int) at;
        int above = Math.min(below + 1, sorted.length - 1);
        return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
    }

    /** Groups of answers, until enough time was counted. */
    Run run(Engine engine, Work work) throws InterruptedException {
        long tokens = 0;
        long nanos = 0;
        int missed = 0;
        do {
            List<Timeline> timelines = answer(engine, work);
            check(work, timelines);
            long from = Long.MIN_VALUE;
            long to = Long.MAX_VALUE;
            for (Timeline timeline : timelines) {
                from = Math.max(from, timeline.nanos[0]);
                to = Math.min(to, timeline.nanos[timeline.size - 1]);
            }
            if (to <= from) { // the first answers ended before the last prompt was read
                if (++missed > MOST_MISSED) {
                    throw new IllegalStateException("all answers are over too soon to count: give --tokens more");
                }
                continue;
            }
            for (Timeline timeline : timelines) {
                for (int i = 0; i < timeline.size; i++) {
                    tokens += timeline.nanos[i] > from && timeline.nanos[i] <= to ? 1 : 0;
                }
            }
            nanos += to - from;
        } while (nanos < secondsPerRun * 1e9);
        return new Run(tokens, nanos);
    }

    private static void check(Work work, List<Timeline> timelines) {
        for (int i = 0; i < timelines.size(); i++) {
            Timeline timeline = timelines.get(i);
            int[] expected = work.answers.get(i);
            int length = work.toTheEnd ? expected.length : work.tokens;
            if (timeline.size != length || !Arrays.equals(timeline.tokens, 0, length, expected, 0, length)) {
                throw new IllegalStateException("answer " + i + " differs from the one that was recorded without"
                        + " speculation: a bug, please report it");
            }
        }
    }

    /** The answers alone, not timed. */
    static List<int[]> record(Engine engine, List<int[]> prompts, int tokens, boolean toTheEnd)
            throws InterruptedException {
        return answer(engine, new Work(prompts, List.of(), tokens, toTheEnd)).stream()
                .map(timeline -> Arrays.copyOf(timeline.tokens, timeline.size))
                .toList();
    }

    private static List<Timeline> answer(Engine engine, Work work) throws InterruptedException {
        try (ExecutorService readers = Executors.newVirtualThreadPerTaskExecutor()) {
            List<Future<Timeline>> futures = new ArrayList<>();
            for (int[] prompt : work.prompts) {
                Callable<Timeline> reader = () -> read(engine, prompt, work);
                futures.add(readers.submit(reader));
            }
            List<Timeline> timelines = new ArrayList<>();
            for (Future<Timeline> future : futures) {
                timelines.add(future.get());
            }
            return timelines;
        } catch (ExecutionException e) {
            throw new IllegalStateException(e.getCause());
        }
    }

    private static Timeline read(Engine engine, int[] prompt, Work work) throws InterruptedException {
        SamplingParams params = SamplingParams.builder()
                .maxTokens(Math.min(work.tokens, engine.maxContext() - prompt.length))
                .temperature(0)
                .ignoreEndOfText(!work.toTheEnd)
                .build();
        int[] tokens = new int[params.maxTokens()];
        long[] nanos = new long[tokens.length];
        int size = 0;
        try (TokenStream stream = engine.submit(new Request(prompt, params))) {
            for (Output output = stream.next(); output != null; output = stream.next()) {
                nanos[size] = System.nanoTime();
                tokens[size++] = output.token();
            }
            if (stream.finish().error() != null) {
                throw new IllegalStateException(stream.finish().error());
            }
        }
        return new Timeline(tokens, nanos, size);
    }
}
