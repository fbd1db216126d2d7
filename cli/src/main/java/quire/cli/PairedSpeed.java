package quire.cli;

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
 * How many times as fast an engine is with drafts as without on the same prompts, on a machine that drifts: many short pairs of
 * runs, in random order within a pair, and the median of the pairs' ratios with its quartiles. One engine, since two differ by a
 * tenth in where their memory lies. Every token is compared.
 *
 * <p>What counts is the time of generation, by whole steps ({@link TimedEngine}): from when the last sequence of a group
 * has its first token to when the first has its last, so that always as many decode as there are prompts. The step with
 * the last first token does not count, however many tokens it yields: its time is a prompt's.
 *
 * <pre>
 *   sequence 1   |─ prompt x|xx |x  |xxx|x  |xx |
 *   sequence 2   |── prompt ─ xx|xx |x  |x  |x  |xx |
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

    /** Answers all prompts with drafts and without, in turns, and compares; the engine is left with them. */
    Map<String, Object> compare(TimedEngine engine, Work work) throws InterruptedException {
        for (boolean speculating : new boolean[] {true, false}) {
            engine.engine().setSpeculating(speculating);
            long end = System.nanoTime() + (long) (WARM_UP * secondsPerCase * 1e9);
            do {
                run(engine, work);
            } while (System.nanoTime() < end);
        }
        Books books = new Books();
        List<Double> ratios = new ArrayList<>();
        List<Double> speedsOff = new ArrayList<>();
        List<Double> speedsOn = new ArrayList<>();
        long end = System.nanoTime() + (long) (secondsPerCase * 1e9);
        while (ratios.size() < FEWEST_PAIRS || System.nanoTime() < end) {
            boolean first = order.nextBoolean();
            double speedOn = 0;
            double speedOff = 0;
            for (boolean speculating : new boolean[] {first, !first}) {
                engine.engine().setSpeculating(speculating);
                EngineStats before = engine.engine().stats();
                double speed = run(engine, work).tokensPerSecond();
                if (speculating) {
                    speedOn = speed;
                    books.add(before, engine.engine().stats());
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
        row.put("off_tokens_per_second", quantile(speedsOff, 0.5));
        row.put("on_tokens_per_second", quantile(speedsOn, 0.5));
        row.put("speedup", quantile(ratios, 0.5));
        row.put("lower_quartile", quantile(ratios, 0.25));
        row.put("upper_quartile", quantile(ratios, 0.75));
        row.put("pairs", ratios.size());
        row.putAll(books.row());
        return row;
    }

    /** What a sequence's steps gave it and took from drafts, by the engine's books over some runs. */
    static final class Books {
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
     * How often a sequence was to get its next token: at the end of its prompt, where it may have a draft already, as
     * well as after. Every such turn is a decision on how much to guess, though it be nothing; where nobody guesses, no
     * decisions are kept and every turn gives one token.
     */
    private static double turns(EngineStats stats) {
        SpeculationCounts speculation = stats.speculation().counts();
        return speculation.drafters().isEmpty()
                ? stats.generationTokens()
                : speculation.decisions().stream().mapToLong(Long::longValue).sum();
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
    Run run(TimedEngine engine, Work work) throws InterruptedException {
        long tokens = 0;
        long nanos = 0;
        int missed = 0; // groups one after the other
        do {
            TimedEngine.Group group = answer(engine, work);
            check(work, group.answers());
            if (group.nanos() > 0) {
                missed = 0;
                tokens += group.tokens();
                nanos += group.nanos();
            } else if (++missed > MOST_MISSED) {
                throw new IllegalStateException("answers are over before all have begun to decode: too short to count");
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
                        + " speculation: a bug, please report it");
            }
        }
    }

    /** The answers alone, not timed. */
    static List<int[]> record(TimedEngine engine, List<int[]> prompts, int tokens, boolean toTheEnd)
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
