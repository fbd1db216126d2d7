package quire.engine.speculate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.nio.file.Path;
import java.util.SplittableRandom;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.engine.EngineConfig;
import quire.engine.EngineListener;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.engine.Request;
import quire.engine.Requests;
import quire.engine.SamplingParams;
import quire.engine.Speculation;
import quire.engine.SpeculationStats;
import quire.engine.schedule.EngineLoop;
import quire.model.Batch;

/** Compares the estimated speed-up with the real one, in engines whose models take simulated time. */
class SpeculationStatsTest {
    private static final int CONTEXT = 1024;
    private static final int PAGE = 16;
    private static final int BATCH = 128;

    /** An engine in simulated time. */
    private static final class Simulation implements AutoCloseable {
        private final FakeModel model;
        private final FakeModel draft;
        private final EngineLoop loop;
        private long now;
        private long stepNanos;

        /**
         * @param sequences maximum number of sequences that run at once
         * @param differing the draft model differs at one position in this many
         * @param draftTokens as in {@link Speculation}
         */
        Simulation(int sequences, int differing, int draftTokens) {
            model = model(sequences, cost(1_000_000, 20_000, 25));
            draft = model(sequences, cost(100_000, 4_000, 5)).differing(differing);
            EngineConfig plain = Requests.config(sequences, BATCH, PAGE);
            EngineConfig config = draftTokens == Speculation.OFF
                    ? plain.withSpeculation(Speculation.off())
                    : plain.withSpeculation(new Speculation(draftTokens, false, Path.of("fake"), null));
            CostModel cost = CostModel.measure(model, BATCH, () -> now, 100_000_000);
            CostModel draftCost = CostModel.measure(draft, BATCH, () -> now, 100_000_000);
            EngineListener listener = new EngineListener() {
                @Override
                public void onStep(int tokens, int active, long nanos) {
                    stepNanos += nanos;
                }
            };
            loop = EngineLoop.builder(model, new FakeTokenizer(), config)
                    .drafts(context -> Speculator.of(
                            new Speculator.Setup(config, cost, new Speculator.Draft(draft, draftCost), DraftPolicy::of),
                            context))
                    .listener(listener)
                    .nanoClock(() -> now)
                    .build();
        }

        private static FakeModel model(int sequences, Consumer<Batch> cost) {
            return new FakeModel(FakeTokenizer.VOCABULARY_SIZE, CONTEXT, PAGE, sequences * CONTEXT / PAGE, BATCH, BATCH)
                    .onForward(cost);
        }

        private Consumer<Batch> cost(long fixed, long row, long position) {
            return batch -> {
                now += fixed + row * batch.rows();
                for (int i = 0; i < batch.rows(); i++) {
                    now += position * (batch.positions()[i] + 1);
                }
            };
        }

        /** Runs requests; returns the nanoseconds that they took. */
        long run(int requests, int promptTokens, int answerTokens) {
            SplittableRandom random = new SplittableRandom(8);
            for (int i = 0; i < requests; i++) {
                int[] prompt = random.ints(promptTokens, 0, FakeTokenizer.VOCABULARY_SIZE)
                        .toArray();
                loop.submit(new Request(
                        prompt,
                        SamplingParams.builder()
                                .maxTokens(answerTokens)
                                .temperature(0)
                                .ignoreEndOfText(true)
                                .build()));
            }
            long begin = now;
            while (loop.doWork() > 0) {
                loop.checkIntegrity();
            }
            return now - begin;
        }

        @Override
        public void close() {
            model.close();
            draft.close();
        }
    }

    private static long nanos(
            int sequences, int differing, int draftTokens, int requests, int promptTokens, int answerTokens) {
        try (Simulation simulation = new Simulation(sequences, differing, draftTokens)) {
            return simulation.run(requests, promptTokens, answerTokens);
        }
    }

    /**
     * Steps of all kinds: beside prompts of others, while the draft model reads a prompt, with few and many accepted.
     */
    @ParameterizedTest(
            name = "{0} at once, prompts of {1}, answers of {2}, one draft token in {3} wrong, {4} draft tokens")
    @CsvSource({
        "1, 20, 200, 4, 4", "1, 600, 60, 4, 4", "1, 600, 60, 1000, 4", "1, 600, 60, 1, 2",
        "8, 20, 200, 4, 4", "8, 600, 60, 4, 4", "8, 600, 60, 1000, 4", "8, 600, 60, 1, 2",
        "8, 300, 100, 2, -1", "8, 600, 60, 3, -1", "4, 900, 60, 2, -1", "4, 300, 200, 8, -1"
    })
    void speedup_anyWork_isAccurate(int sequences, int prompt, int answer, int differing, int draftTokens) {
        int requests = 20 * sequences; // so that the last ones, which run beside fewer, have little weight
        long without = nanos(sequences, differing, Speculation.OFF, requests, prompt, answer);
        try (Simulation on = new Simulation(sequences, differing, draftTokens)) {
            double truth = (double) without / on.run(requests, prompt, answer);
            SpeculationStats stats = on.loop.tracker().stats().speculation();
            assertThat(stats.counts().draftTokens()).isPositive();
            assertThat(stats.nanos()).isEqualTo(on.stepNanos);
            assertThat(stats.speedup()).isCloseTo(truth, within(0.03));
        }
    }

    /** The overhead budget limits the loss even if the draft model reads long prompts for nothing. */
    @Test
    void auto_longPromptsAndBadDrafts_losesAtMostTheBudget() {
        int[] prompts = {50, 300, 900};
        int[] together = {1, 4, 8};
        for (int i = 0; i < together.length; i++) {
            for (int differing = 1; differing <= 3; differing++) {
                int sequences = together[i];
                int prompt = prompts[(i + differing) % prompts.length]; // each pair of two of these numbers once
                int requests = 16 * sequences;
                long without = nanos(sequences, differing, Speculation.OFF, requests, prompt, 100);
                long with = nanos(sequences, differing, Speculation.AUTO, requests, prompt, 100);
                assertThat(with - without)
                        .as("%d at once, prompts of %d, one draft token in %d wrong", sequences, prompt, differing)
                        .isLessThan(65_000_000 + without / 50); // 64 steps at the start, and a fiftieth of the time
            }
        }
    }

    @Test
    void auto_longPromptsAndGoodDrafts_readsThem() {
        long without = nanos(4, 1000, Speculation.OFF, 40, 300, 200);
        double truth = (double) without / nanos(4, 1000, Speculation.AUTO, 40, 300, 200);
        assertThat(truth).isGreaterThan(1.3);
    }

    @Test
    void setOn_offAndOnAgain_hasNoDraftsInBetween() {
        try (Simulation simulation = new Simulation(4, 4, 4)) {
            simulation.loop.drafts().setOn(false);
            long nanos = simulation.run(8, 20, 100);
            SpeculationStats off = simulation.loop.tracker().stats().speculation();
            assertThat(off.counts().draftTokens()).isZero();
            assertThat(off.speedup()).isEqualTo(1);
            assertThat(nanos).isEqualTo(nanos(4, 4, Speculation.OFF, 8, 20, 100));

            simulation.loop.drafts().setOn(true);
            assertThat(simulation.run(8, 20, 100)).isLessThan(nanos);
            assertThat(simulation.loop.tracker().stats().speculation().counts().acceptedTokens())
                    .isPositive();
        }
    }
}
