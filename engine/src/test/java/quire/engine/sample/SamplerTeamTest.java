package quire.engine.sample;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import java.lang.foreign.Arena;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.junit.jupiter.api.Test;
import quire.engine.SamplingParams;
import quire.tensor.FloatMatrix;
import quire.tensor.Workers;

class SamplerTeamTest {
    private static final int VOCABULARY = 1 << 14;
    private static final int ROWS = 24;

    @Test
    void choose_manyWorkers_everyUnitOnceAndTheSameTokens() {
        try (Arena arena = Arena.ofShared();
                Workers workers = new Workers(3)) {
            FloatMatrix logits = FloatMatrix.allocate(arena, ROWS, VOCABULARY);
            SplittableRandom random = new SplittableRandom(1);
            for (int row = 0; row < ROWS; row++) {
                for (int token = 0; token < VOCABULARY; token++) {
                    logits.set(row, token, (float) (8 * random.nextDouble()));
                }
            }
            SamplingParams params = SamplingParams.builder().topP(0.9).seed(5).build();
            TokenHistory history = new TokenHistory(params, new int[0]);
            Sampler alone = new Sampler(VOCABULARY);
            SamplerTeam team = new SamplerTeam(workers, VOCABULARY);
            int[] chosen = new int[ROWS];
            AtomicIntegerArray times = new AtomicIntegerArray(ROWS);
            for (int round = 0; round < 20; round++) {
                team.choose(ROWS, (index, sampler) -> {
                    chosen[index] = sampler.choose(logits, index, params, history, 3);
                    times.incrementAndGet(index);
                });
            }
            for (int row = 0; row < ROWS; row++) {
                assertThat(times.get(row)).isEqualTo(20);
                assertThat(chosen[row]).isEqualTo(alone.choose(logits, row, params, history, 3));
            }
        }
    }

    @Test
    void choose_aUnitThrows_theCallerGetsTheException() {
        try (Workers workers = new Workers(2)) {
            SamplerTeam team = new SamplerTeam(workers, VOCABULARY);
            assertThatIllegalStateException()
                    .isThrownBy(() -> team.choose(ROWS, (index, sampler) -> {
                        if (index == 7) {
                            throw new IllegalStateException("unit 7");
                        }
                    }))
                    .withMessage("unit 7");
        }
    }
}
