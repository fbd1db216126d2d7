package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import quire.engine.EngineConfig;
import quire.engine.EngineListener;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.engine.OverloadedException;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.Speculation;

/** More requests than the engine can answer, by a clock that only steps move: 2 ms for a step and 0.1 ms for a token. */
class OverloadTest {
    private static final long MILLI = 1_000_000;
    private static final long SECOND = 1_000 * MILLI;
    private static final int LONG_PROMPT = 300;
    private static final int LONG_ANSWER = 60;

    private final List<Double> waits = new ArrayList<>(); // seconds in the queue, of those who started
    private final SplittableRandom random = new SplittableRandom(11);
    private long nanos;

    private EngineLoop loop(Duration patience) {
        EngineConfig config = EngineConfig.builder()
                .maxSequences(16)
                .maxBatchedTokens(64)
                .maxQueuedRequests(10_000)
                .maxQueueWait(patience)
                .threads(1)
                .speculation(Speculation.off())
                .prefixCache(false) // all prompts are alike
                .build();
        FakeModel model = FakeModel.fitting(config, 512).onForward(batch -> {
            nanos += 2 * MILLI + batch.rows() * MILLI / 10;
        });
        return EngineLoop.builder(model, new FakeTokenizer(), config)
                .listener(new EngineListener() {
                    @Override
                    public void onStart(long queueNanos, int promptTokens) {
                        waits.add(queueNanos * 1e-9);
                    }
                })
                .nanoClock(() -> nanos)
                .build();
    }

    /** Seven of ten requests are short, as in {@code quire bench overload}. */
    private Request request() {
        boolean small = random.nextInt(10) < 7;
        SamplingParams params = SamplingParams.builder()
                .maxTokens(small ? 8 : LONG_ANSWER)
                .ignoreEndOfText(true)
                .build();
        // All prompts differ, so the prefix cache saves nothing.
        int[] prompt = random.ints(small ? 5 : LONG_PROMPT, 0, FakeTokenizer.VOCABULARY_SIZE)
                .toArray();
        return new Request(prompt, params);
    }

    /** What became of the requests of a run. */
    private record Outcome(int accepted, int refused, int largestRetry, double tokensASecond) {}

    /** Requests arrive at random times until the clock has moved by {@code seconds}. */
    private Outcome play(EngineLoop loop, double perSecond, int seconds) {
        int accepted = 0;
        int refused = 0;
        int retry = 0;
        long tokens = loop.tracker().stats().generationTokens();
        long begin = nanos;
        double next = begin;
        while (nanos - begin < seconds * SECOND) {
            for (; next <= nanos; next += -Math.log(1 - random.nextDouble()) / perSecond * SECOND) {
                try {
                    loop.submit(request());
                    accepted++;
                } catch (OverloadedException e) {
                    refused++;
                    retry = Math.max(retry, e.retryAfterSeconds());
                }
            }
            if (loop.doWork() == 0) {
                nanos = (long) Math.ceil(next);
            }
            loop.checkIntegrity();
        }
        double computed = loop.tracker().stats().generationTokens() - tokens;
        return new Outcome(accepted, refused, retry, computed / ((nanos - begin) * 1e-9));
    }

    private double waitedAtMost(double share) {
        Collections.sort(waits);
        return waits.get((int) Math.ceil(share * waits.size()) - 1);
    }

    @Test
    void submit_anyOverload_waitsAreBoundedAndNothingIsLost() {
        List<Double> speeds = new ArrayList<>();
        for (double perSecond : new double[] {100, 200, 400, 1_000}) {
            EngineLoop loop = loop(Duration.ofSeconds(2));
            play(loop, perSecond, 20);
            waits.clear();
            Outcome outcome = play(loop, perSecond, 30);
            speeds.add(outcome.tokensASecond());
            assertThat(outcome.refused()).isPositive();
            assertThat(outcome.largestRetry()).isBetween(2, 4);
            assertThat(waitedAtMost(0.99)).as("at " + perSecond).isBetween(1.0, 3.0);
        }
        assertThat(Collections.min(speeds)).as("of " + speeds).isGreaterThan(0.95 * Collections.max(speeds));
    }

    /** Client libraries ignore a longer Retry-After, and come back after two seconds. */
    @Test
    void submit_queueOfMinutes_saysToRetryWithinOne() {
        Outcome outcome = play(loop(Duration.ofMinutes(10)), 1_000, 20);
        assertThat(outcome.refused()).isPositive();
        assertThat(outcome.largestRetry()).isEqualTo(59);
    }

    @Test
    void submit_lessThanTheCapacity_isNeverRefused() {
        EngineLoop loop = loop(Duration.ofSeconds(1));
        Outcome outcome = play(loop, 20, 60);
        assertThat(outcome.accepted()).isGreaterThan(1_000);
        assertThat(outcome.refused()).isZero();
    }

    @Test
    void checkRoom_fullQueue_refusesAsSubmitWouldUntilItIsShorter() {
        EngineLoop loop = loop(Duration.ofSeconds(1));
        play(loop, 1_000, 20);
        while (isOpen(loop)) {
            loop.submit(request());
        }
        assertThatExceptionOfType(OverloadedException.class)
                .isThrownBy(() -> loop.submit(request()))
                .withMessageMatching("the queue is full: the requests in it need about 1\\.\\d s until they start,"
                        + " more than the 1 s that a request may wait");
        assertThat(loop.tracker().stats().queueSeconds()).isGreaterThan(1);
        while (loop.tracker().stats().queueSeconds() > 1) {
            loop.doWork();
        }
        loop.tracker().checkRoom("");
        loop.submit(request());
    }

    private static boolean isOpen(EngineLoop loop) {
        try {
            loop.tracker().checkRoom("");
            return true;
        } catch (OverloadedException e) {
            return false;
        }
    }

    /**
     * Four rows of a {@link SlowModel}, three times as many requests as it can answer: hardly any waits longer than allowed,
     * whatever its size. The queue holds some twenty requests, so the estimate has little to go by.
     */
    @Test
    void submit_overloadOfASlowModel_waitsAreBounded() {
        SlowModel slow = new SlowModel();
        EngineConfig config = EngineConfig.builder()
                .maxSequences(4)
                .maxQueuedRequests(10_000)
                .maxQueueWait(Duration.ofSeconds(15))
                .threads(1)
                .speculation(Speculation.off())
                .prefixCache(false)
                .build();
        FakeModel model = slow.model(config, 512, 4 * 512 / config.pageTokens());
        List<Double> longWaits = new ArrayList<>();
        EngineLoop loop = EngineLoop.builder(model, new FakeTokenizer(), config)
                .cost(slow)
                .listener(new EngineListener() {
                    @Override
                    public void onStart(long queueNanos, int promptTokens) {
                        (promptTokens == LONG_PROMPT ? longWaits : waits).add(queueNanos * 1e-9);
                    }
                })
                .nanoClock(() -> slow.nanos)
                .build();
        double next = 0;
        while (slow.nanos < 240 * SECOND) {
            for (; next <= slow.nanos; next += -Math.log(1 - random.nextDouble()) / 6 * SECOND) {
                try {
                    loop.submit(request());
                } catch (OverloadedException e) {
                    // as it should be
                }
            }
            if (loop.doWork() == 0) {
                slow.nanos = (long) Math.ceil(next);
            }
            if (slow.nanos < 60 * SECOND) { // until the speed is known
                waits.clear();
                longWaits.clear();
            }
        }
        model.close();
        for (List<Double> ofSize : List.of(waits, longWaits)) {
            Collections.sort(ofSize);
            assertThat(ofSize).hasSizeGreaterThan(50);
            assertThat(ofSize.get(ofSize.size() / 2)).isBetween(9.0, 15.0);
            assertThat(ofSize.get((int) Math.ceil(0.99 * ofSize.size()) - 1)).isBetween(12.0, 18.0);
        }
    }
}
