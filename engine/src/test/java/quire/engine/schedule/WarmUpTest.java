package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import quire.engine.EngineConfig;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.Speculation;

/** The warm-up of constraints beside requests. */
class WarmUpTest {
    private static final long STEP_NANOS = Duration.ofMillis(50).toNanos();

    /** The clock goes on when it is read, so the number of readings shows who waits. */
    private final AtomicInteger readings = new AtomicInteger();

    @Test
    void warmUp_besideARequest_waitsForItButNotForEver() {
        EngineConfig config = EngineConfig.builder()
                .maxSequences(2)
                .maxBatchedTokens(16)
                .threads(1)
                .speculation(Speculation.off())
                .build();
        try (FakeModel model = FakeModel.fitting(config, 64, FakeTokenizer.VOCABULARY_SIZE)) {
            EngineLoop loop = EngineLoop.builder(model, new FakeTokenizer(), config)
                    .nanoClock(() -> readings.incrementAndGet() * STEP_NANOS)
                    .build();
            loop.warmUp(); // the first one of a process has more parts
            int idle = readingsOfWarmUp(loop);

            loop.submit(new Request(
                    new int[4],
                    SamplingParams.builder()
                            .maxTokens(3)
                            .temperature(0)
                            .ignoreEndOfText(true)
                            .build()));
            loop.doWork();
            assertThat(readingsOfWarmUp(loop)).isGreaterThanOrEqualTo(4 * idle);

            while (loop.doWork() > 0) {}
            assertThat(readingsOfWarmUp(loop)).isEqualTo(idle);
        }
    }

    private int readingsOfWarmUp(EngineLoop loop) {
        int before = readings.get();
        loop.warmUp();
        return readings.get() - before;
    }
}
