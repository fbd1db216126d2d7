package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import quire.engine.EngineConfig;
import quire.engine.EngineStats;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.Speculation;
import quire.engine.TokenStream;

/** Simulations: answers of exponential lengths, of which each may be eight times as long, and few pages. */
class PageReserveTest {
    private static final int REQUESTS = 400;
    private static final int MEAN_ANSWER = 60;
    private static final int MAX_ANSWER = 8 * MEAN_ANSWER;
    private static final int PAGES = 150;

    /** What became of a run. */
    private record Outcome(EngineStats stats, double meanBatch) {}

    private static Outcome play(PageReserve reserve, long seed) {
        EngineConfig config = EngineConfig.builder()
                .maxSequences(64)
                .maxBatchedTokens(128)
                .maxQueuedRequests(REQUESTS)
                .maxQueuedTokens(1 << 20)
                .threads(1)
                .speculation(Speculation.off())
                .prefixCache(false)
                .build();
        long[] rows = {0};
        try (FakeModel model =
                new FakeModel(FakeTokenizer.VOCABULARY_SIZE, 1024, config.pageTokens(), PAGES, 128, 64)) {
            model.onForward(batch -> rows[0] += batch.sequences());
            EngineLoop loop = EngineLoop.builder(model, new FakeTokenizer(), config)
                    .reserve(reserve)
                    .nanoClock(() -> 0)
                    .build();
            SplittableRandom random = new SplittableRandom(seed);
            List<TokenStream> streams = new ArrayList<>();
            List<Integer> lengths = new ArrayList<>();
            for (int i = 0; i < REQUESTS; i++) {
                int[] prompt = random.ints(1 + random.nextInt(60), 0, FakeTokenizer.VOCABULARY_SIZE)
                        .toArray();
                SamplingParams params = SamplingParams.builder()
                        .maxTokens(MAX_ANSWER)
                        .temperature(0)
                        .ignoreEndOfText(true)
                        .build();
                streams.add(loop.submit(new Request(prompt, params)));
                lengths.add((int) Math.min(MAX_ANSWER, 1 - MEAN_ANSWER * Math.log(1 - random.nextDouble())));
            }
            // The engine learns the length of an answer when its reader closes it.
            int[] read = new int[REQUESTS];
            while (loop.doWork() > 0) {
                loop.checkIntegrity();
                for (int i = 0; i < REQUESTS; i++) {
                    while (streams.get(i).poll() != null) {
                        if (++read[i] == lengths.get(i)) {
                            streams.get(i).close();
                        }
                    }
                }
            }
            EngineStats stats = loop.tracker().stats();
            return new Outcome(stats, (double) rows[0] / stats.steps());
        }
    }

    @Test
    void reserve_answersMuchShorterThanAllowed_wastesLessThanNoneAndRunsMoreThanTheLongest() {
        for (long seed = 0; seed < 4; seed++) {
            Outcome adaptive = play(new PageReserve(), seed);
            Outcome none = play(new PageReserve(0, 0), seed);
            Outcome longest = play(new PageReserve(1e9, 1e9), seed);

            assertThat(longest.stats.recomputedTokens()).isZero();
            assertThat(none.stats.recomputedTokens()).isGreaterThan(1_000);
            assertThat(adaptive.stats.recomputedTokens()).isLessThan(none.stats.recomputedTokens() * 7 / 10);
            assertThat(adaptive.meanBatch).isGreaterThan(3 * longest.meanBatch);
            assertThat(adaptive.stats.steps()).isLessThan(longest.stats.steps());
        }
    }

    /** Nothing is known at first, so pages run out; each preemption makes the reserve larger, and time smaller. */
    @Test
    void pages_afterAPreemption_areMoreAndGetFewer() {
        PageReserve reserve = new PageReserve();
        int calm = expectedRest(reserve);
        reserve.preempted();
        reserve.step();
        int tight = expectedRest(reserve);
        for (int i = 0; i < 2_000; i++) {
            reserve.step();
        }
        assertThat(tight).isGreaterThan(calm * 4 / 3);
        assertThat(expectedRest(reserve)).isLessThan(calm);
    }

    private static int expectedRest(PageReserve reserve) {
        Sequence sequence = Sequences.started(new int[] {1, 2, 3}, 100_000);
        reserve.estimate(sequence);
        return sequence.expectedRest;
    }
}
