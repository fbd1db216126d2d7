package quire.bench.prefix;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import quire.bench.measure.TimedEngine;
import quire.engine.PrefixCacheStats;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.model.text.Tokenizer;

/**
 * Compares the prefix cache switched on and off, on one engine: two engines have different memory addresses.
 *
 * <pre>
 *   prompt    [ shared | own ]       hits wanted h: shared = h × prompt tokens; every request has its own rest
 *   round     off: one alone, then a group     on: one alone, then a group     …     best of all rounds
 * </pre>
 *
 * The shared tokens are in the cache before the first round. Prompts are random, so nothing else hits. With 0 % hits the
 * cache only costs, and the difference is small: there the rounds are compared in pairs, and the median counts.
 */
public final class PrefixBench {
    private static final double NANO = 1e-9;

    private final TimedEngine engine;
    private final int promptTokens;
    private final int answerTokens;
    private final int together;
    private final SplittableRandom random = new SplittableRandom(11);

    /**
     * Measures this engine, which must have no other requests.
     *
     * @param engine has the prefix cache, and room for {@code together} requests at once
     * @param promptTokens tokens of each prompt
     * @param answerTokens tokens of each answer
     * @param together requests of a group
     */
    public PrefixBench(TimedEngine engine, int promptTokens, int answerTokens, int together) {
        this.engine = engine;
        this.promptTokens = promptTokens;
        this.answerTokens = answerTokens;
        this.together = together;
    }

    /** What a round took. */
    private record Round(double secondsToFirst, double requestsPerSecond) {}

    /**
     * Measures one share of hits.
     *
     * @param hits wanted share of the prompt, 0 to below 1
     * @return columns with units in their names
     */
    public Map<String, Object> measure(double hits, int rounds) throws InterruptedException {
        int[] shared = tokens((int) Math.round(hits * promptTokens));
        round(shared, true); // fills the cache
        PrefixCacheStats before = engine.engine().stats().prefixCache();
        List<Round> off = new ArrayList<>();
        List<Round> on = new ArrayList<>();
        for (int i = 0; i < rounds; i++) {
            boolean first = i % 2 == 0;
            (first ? off : on).add(round(shared, !first));
            (first ? on : off).add(round(shared, first));
        }
        PrefixCacheStats after = engine.engine().stats().prefixCache();
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("wanted_hits", hits);
        // Half of the rounds have no cache, and their prompts count as queried.
        row.put(
                "hits",
                2.0 * (after.hitTokens() - before.hitTokens()) / (after.queriedTokens() - before.queriedTokens()));
        row.put("first_token_seconds_off", best(off, true));
        row.put("first_token_seconds_on", best(on, true));
        row.put("first_token_speedup", ratio(off, on, hits, true));
        row.put("requests_per_second_off", best(off, false));
        row.put("requests_per_second_on", best(on, false));
        row.put("throughput_speedup", ratio(off, on, hits, false));
        return row;
    }

    private static double best(List<Round> rounds, boolean first) {
        return first
                ? rounds.stream().mapToDouble(Round::secondsToFirst).min().orElseThrow()
                : rounds.stream().mapToDouble(Round::requestsPerSecond).max().orElseThrow();
    }

    private static double ratio(List<Round> off, List<Round> on, double hits, boolean first) {
        if (hits > 0) {
            return first ? best(off, true) / best(on, true) : best(on, false) / best(off, false);
        }
        double[] ratios = new double[off.size()];
        for (int i = 0; i < ratios.length; i++) {
            ratios[i] = first
                    ? off.get(i).secondsToFirst / on.get(i).secondsToFirst
                    : on.get(i).requestsPerSecond / off.get(i).requestsPerSecond;
        }
        Arrays.sort(ratios);
        return (ratios[(ratios.length - 1) / 2] + ratios[ratios.length / 2]) / 2;
    }

    private Round round(int[] shared, boolean caching) throws InterruptedException {
        engine.engine().setPrefixCaching(caching);
        double first = engine.answer(requests(shared, 1)).nanosToFirst() * NANO;
        List<Request> requests = requests(shared, together);
        long begin = System.nanoTime();
        engine.answer(requests);
        return new Round(first, together / ((System.nanoTime() - begin) * NANO));
    }

    private List<Request> requests(int[] shared, int count) {
        SamplingParams params = SamplingParams.builder()
                .maxTokens(answerTokens)
                .temperature(0)
                .ignoreEndOfText(true)
                .build();
        List<Request> requests = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            int[] prompt = Arrays.copyOf(shared, promptTokens);
            int[] own = tokens(promptTokens - shared.length);
            System.arraycopy(own, 0, prompt, shared.length, own.length);
            requests.add(new Request(prompt, params));
        }
        return requests;
    }

    private int[] tokens(int count) {
        Tokenizer tokenizer = engine.engine().tokenizer();
        return random.ints(count, 0, tokenizer.vocabularySize())
                .map(token -> tokenizer.isControl(token) ? 0 : token)
                .toArray();
    }
}
