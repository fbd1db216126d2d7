package quire.bench.measure;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import quire.engine.EngineStats;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.SpeculationCounts;
import quire.engine.SpeculationStats;

/**
 * Compares the speed of one engine with draft tokens and without, on the same prompts.
 *
 * <p>The speed of a shared machine changes within minutes. So the comparison consists of many short pairs of runs, one
 * with draft tokens and one without, in random order. The result is the median over the pairs of the ratio of their
 * speeds, with its quartiles. Both runs use one engine, because the speeds of two engines differ by up to 10 % with the
 * addresses of their memory. Every token is compared with the answer that was recorded without speculation.
 *
 * <p>Only generation counts, measured in whole steps ({@link TimedEngine}): as many sequences decode in the whole
 * measured time as there are prompts. A run repeats groups of answers until it has measured long enough.
 *
 * <pre>
 *   sequence 1   |─ prompt x|xx |x  |xxx|x  |xx |
 *   sequence 2   |── prompt ─ xx|xx |x  |x  |x  |xx |
 *                               |── measured ───|
 * </pre>
 */
public final class PairedSpeed {
    private static final int MIN_PAIRS = 5;
    /** A run fails after this many successive groups without a measurable time. */
    private static final int MAX_UNMEASURED_GROUPS = 1000;
    /** Warm-up before each case, as a share of the case's time: code is compiled, and the engine learns costs. */
    private static final double WARM_UP = 0.3;

    private final double secondsPerCase;
    private final double secondsPerRun;
    private final Random order = new Random(17);

    /**
     * @param secondsPerCase seconds for a comparison; it has at least {@value #MIN_PAIRS} pairs, even if they take
     *     longer
     */
    public PairedSpeed(double secondsPerCase) {
        this.secondsPerCase = secondsPerCase;
        secondsPerRun = Math.min(0.1, secondsPerCase / 30);
    }

    /**
     * Prompts to answer at the same time, and the expected answers.
     *
     * @param prompts the tokens of each prompt
     * @param answers the expected tokens: whole answers if {@code toTheEnd}, else at least {@code tokens} of each
     * @param tokens the maximum length of an answer
     * @param toTheEnd whether the model may end an answer before {@code tokens}
     */
    public record Work(List<int[]> prompts, List<int[]> answers, int tokens, boolean toTheEnd) {}

    /** Tokens of a run and the time in which they came. */
    public record Run(long tokens, long nanos) {
        /** Tokens a second, over all sequences. */
        public double tokensPerSecond() {
            return tokens * 1e9 / nanos;
        }
    }

    /**
     * Answers all prompts with draft tokens and without, alternating. Afterwards the engine speculates.
     *
     * @return a row of a table: both speeds, the median of their ratio with quartiles, the number of pairs, and the
     *     counts of {@link DraftCounts}
     * @throws IllegalStateException if an answer differs from the expected one
     */
    public Map<String, Object> compare(TimedEngine engine, Work work) throws InterruptedException {
        for (boolean speculating : new boolean[] {true, false}) {
            engine.engine().setSpeculating(speculating);
            long end = System.nanoTime() + (long) (WARM_UP * secondsPerCase * 1e9);
            do {
                run(engine, work);
            } while (System.nanoTime() < end);
        }
        DraftCounts counts = new DraftCounts();
        List<Double> ratios = new ArrayList<>();
        List<Double> speedsOff = new ArrayList<>();
        List<Double> speedsOn = new ArrayList<>();
        long end = System.nanoTime() + (long) (secondsPerCase * 1e9);
        while (ratios.size() < MIN_PAIRS || System.nanoTime() < end) {
            boolean first = order.nextBoolean();
            double speedOn = 0;
            double speedOff = 0;
            for (boolean speculating : new boolean[] {first, !first}) {
                engine.engine().setSpeculating(speculating);
                EngineStats before = engine.engine().stats();
                double speed = run(engine, work).tokensPerSecond();
                if (speculating) {
                    speedOn = speed;
                    counts.add(before, engine.engine().stats());
                } else {
                    speedOff = speed;
                }
            }
            speedsOff.add(speedOff);
            speedsOn.add(speedOn);
            ratios.add(speedOn / speedOff);
        }
        engine.engine().setSpeculating(true);
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("off_tokens_per_second", Quantiles.median(speedsOff));
        row.put("on_tokens_per_second", Quantiles.median(speedsOn));
        row.put("speedup", Quantiles.median(ratios));
        row.put("lower_quartile", Quantiles.quantile(ratios, 0.25));
        row.put("upper_quartile", Quantiles.quantile(ratios, 0.75));
        row.put("pairs", ratios.size());
        row.putAll(counts.row());
        return row;
    }

    /**
     * Draft tokens and turns over several runs, from the counters of the engine. A turn is one step's work for one
     * sequence that gets its next token.
     */
    static final class DraftCounts {
        private double turns;
        private double generated;
        private double drafted;
        private double accepted;
        private double nanos;
        private double nanosWithout;

        void add(EngineStats before, EngineStats after) {
            SpeculationStats old = before.speculation();
            SpeculationStats now = after.speculation();
            turns += turns(after) - turns(before);
            generated += after.generationTokens() - before.generationTokens();
            drafted += now.counts().draftTokens() - old.counts().draftTokens();
            accepted += now.counts().acceptedTokens() - old.counts().acceptedTokens();
            nanos += now.nanos() - old.nanos();
            nanosWithout += now.nanosWithout() - old.nanosWithout();
        }

        /**
         * For each turn: generated and draft tokens; the share of accepted ones; the speed-up by the engine's estimate.
         */
        Map<String, Object> row() {
            Map<String, Object> row = new LinkedHashMap<>();
            row.put("tokens_a_turn", generated / turns);
            row.put("draft_tokens_a_turn", drafted / turns);
            row.put("accepted_share", drafted == 0 ? 0.0 : accepted / drafted);
            row.put("engines_estimate", nanos == 0 ? 1.0 : nanosWithout / nanos);
            return row;
        }
    }

    /**
     * Number of turns. The step that ends a prompt is a turn, because it may have draft tokens already. The engine
     * counts one decision on the number of draft tokens (which may be 0) for every turn. Without a drafter it counts no
     * decisions, and every turn generates one token.
     */
    private static double turns(EngineStats stats) {
        SpeculationCounts speculation = stats.speculation().counts();
        return speculation.drafters().isEmpty()
                ? stats.generationTokens()
                : speculation.decisions().stream().mapToLong(Long::longValue).sum();
    }

    /** Answers the prompts as a group, again and again, until the measured time is long enough. */
    public Run run(TimedEngine engine, Work work) throws InterruptedException {
        long tokens = 0;
        long nanos = 0;
        int unmeasured = 0; // groups in a row
        do {
            TimedEngine.Group group = answer(engine, work);
            check(work, group.answers());
            if (group.nanos() > 0) {
                unmeasured = 0;
                tokens += group.tokens();
                nanos += group.nanos();
            } else if (++unmeasured > MAX_UNMEASURED_GROUPS) {
                throw new IllegalStateException(
                        "the answers are too short to measure: some end before all have begun to decode");
            }
        } while (nanos < secondsPerRun * 1e9);
        return new Run(tokens, nanos);
    }

    private static void check(Work work, List<int[]> answers) {
        for (int i = 0; i < answers.size(); i++) {
            int[] answer = answers.get(i);
            int[] expected = work.answers.get(i);
            int length = work.toTheEnd ? expected.length : work.tokens;
            if (answer.length != length || !Arrays.equals(answer, 0, length, expected, 0, length)) {
                throw new IllegalStateException("answer " + i + " differs from the one that was recorded without"
                        + " speculation: this is a bug, please report it");
            }
        }
    }

    /** Answers the prompts as a group, without measuring. */
    public static List<int[]> record(TimedEngine engine, List<int[]> prompts, int tokens, boolean toTheEnd)
            throws InterruptedException {
        return answer(engine, new Work(prompts, List.of(), tokens, toTheEnd)).answers();
    }

    private static TimedEngine.Group answer(TimedEngine engine, Work work) throws InterruptedException {
        List<Request> requests = new ArrayList<>();
        for (int[] prompt : work.prompts) {
            SamplingParams params = SamplingParams.builder()
                    .maxTokens(Math.min(work.tokens, engine.engine().maxContext() - prompt.length))
                    .temperature(0)
                    .ignoreEndOfText(!work.toTheEnd)
                    .build();
            requests.add(new Request(prompt, params));
        }
        return engine.answer(requests);
    }
}
