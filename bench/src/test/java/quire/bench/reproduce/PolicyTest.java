package quire.bench.reproduce;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import quire.engine.FinishReason;
import quire.engine.Logprobs;
import quire.engine.Output;
import quire.engine.Request;
import quire.engine.SpeculationCounts;
import quire.engine.TokenStream;
import quire.model.format.RandomModels;
import quire.tensor.ElementType;

class PolicyTest {
    private final List<String> log = new ArrayList<>();

    @Test
    void sequences_maximumReserved_isWhatTheMemoryHolds() {
        assertThat(Policy.ONE_AT_A_TIME.sequences(1000, 300, 64)).isEqualTo(1);
        assertThat(Policy.STATIC.sequences(1000, 300, 64)).isEqualTo(3);
        assertThat(Policy.RESERVED.sequences(1000, 300, 64)).isEqualTo(3);
        assertThat(Policy.RESERVED.sequences(1000, 10, 64)).isEqualTo(64);
        assertThat(Policy.PAGED.sequences(1000, 300, 64)).isEqualTo(64);
        assertThatThrownBy(() -> Policy.PAGED.sequences(299, 300, 64)).hasMessageContaining("does not hold");
    }

    @Test
    void answer_static_submitsTheNextGroupWhenTheLastAnswerOfThisOneHasEnded() throws InterruptedException {
        assertThat(order(Policy.STATIC)).containsExactly("+0", "+1", "-0", "-1", "+2", "+3", "-2", "-3", "+4", "-4");
    }

    @Test
    void answer_otherPolicies_submitAllAtOnce() throws InterruptedException {
        for (Policy policy : List.of(Policy.ONE_AT_A_TIME, Policy.RESERVED, Policy.PAGED)) {
            assertThat(order(policy))
                    .as("%s", policy)
                    .containsExactly("+0", "+1", "+2", "+3", "+4", "-0", "-1", "-2", "-3", "-4");
        }
    }

    @Test
    void simulate_stragglersAndMemory_areTheDifferencesOfThePolicies() {
        // The memory holds two sequences of the longest request, and five of those that come.
        List<Length> lengths = new ArrayList<>();
        for (int i = 0; i < 16; i++) {
            lengths.add(new Length(16, i % 2 == 0 ? 4 : 12));
        }
        // Alone: 8 × (4 + 12) steps. Pairs that wait: 8 × 12. Two rows that never wait: half of 128.
        assertThat(steps(Policy.ONE_AT_A_TIME, lengths)).isEqualTo(128);
        assertThat(steps(Policy.STATIC, lengths)).isEqualTo(96);
        assertThat(steps(Policy.RESERVED, lengths)).isBetween(64, 70);
        assertThat(steps(Policy.PAGED, lengths)).isBetween(26, 40);
    }

    private static int steps(Policy policy, List<Length> lengths) {
        return ContinuousBatching.simulate(policy, lengths, 256, 128, (tokens, live) -> 0)
                .steps();
    }

    @Test
    void run_anyPolicy_keepsItsLimits(@TempDir Path folder) throws InterruptedException {
        Path model = RandomModels.write(folder, RandomModels.Shape.tiny(), ElementType.Q8_0, 1);
        Setup setup = new Setup(model, 1, true, 6, 32);
        List<Length> lengths = List.of(
                new Length(8, 20),
                new Length(8, 2),
                new Length(8, 2),
                new Length(8, 2),
                new Length(8, 2),
                new Length(8, 3));
        for (Policy policy : Policy.values()) {
            Recorder recorder = new Recorder(System::nanoTime);
            ContinuousBatching.run(setup, policy, lengths, 64, 32, recorder);
            assertThat(recorder.tokens()).as("%s", policy).isEqualTo(31);
            int most = policy.sequences(64, 32, 6);
            assertThat(recorder.mostSequences()).as("%s", policy).isBetween(1, most);
            if (policy == Policy.ONE_AT_A_TIME) {
                assertThat(recorder.steps()).isEqualTo(31);
            } else if (policy == Policy.STATIC) {
                assertThat(recorder.steps()).isGreaterThanOrEqualTo(20 + 2 + 3);
            }
        }
    }

    @Test
    void recorder_events_becomeQuantiles() {
        long[] now = {5_000_000_000L};
        Recorder recorder = new Recorder(() -> now[0]);
        recorder.begin();
        recorder.onStep(10, 2, 0);
        recorder.onFirstToken(1_000_000_000L);
        recorder.onStep(3, 1, 0);
        recorder.onToken(500_000_000L);
        recorder.onPreempt();
        now[0] += 2_000_000_000L;
        recorder.onFinish(FinishReason.LENGTH, 0, 9, 2);
        assertThat(recorder.seconds()).isCloseTo(2, within(1e-9));
        assertThat(recorder.gap(0.99)).isCloseTo(0.5, within(1e-9));
        assertThat(recorder.meanFirst()).isCloseTo(1, within(1e-9));
        assertThat(recorder.meanSequences()).isEqualTo(1.5);
        assertThat(recorder.mostSequences()).isEqualTo(2);
        assertThat(recorder.preemptions()).isEqualTo(1);
        recorder.begin();
        assertThat(recorder.tokens()).isZero();
    }

    private List<String> order(Policy policy) throws InterruptedException {
        log.clear();
        List<Request> requests = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            requests.add(Requests.request(new int[] {i}, 1));
        }
        policy.answer(request -> new LoggedStream(request.prompt()[0]), requests, 2);
        return log;
    }

    /** Logs its begin and its end. */
    private final class LoggedStream implements TokenStream {
        private final int number;

        LoggedStream(int number) {
            this.number = number;
            log.add("+" + number);
        }

        @Override
        public @Nullable Output next() {
            log.add("-" + number);
            return null;
        }

        @Override
        public boolean await(Duration timeout) {
            return true;
        }

        @Override
        public @Nullable Output poll() {
            return null;
        }

        @Override
        public Finish finish() {
            return new Finish(FinishReason.LENGTH, "", null, 1, 1, null);
        }

        @Override
        public List<Logprobs> promptLogprobs() {
            return List.of();
        }

        @Override
        public SpeculationCounts speculation() {
            return SpeculationCounts.NONE;
        }

        @Override
        public int cachedTokens() {
            return 0;
        }

        @Override
        public void close() {}
    }
}
