package quire.bench.measure;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import quire.engine.FinishReason;

/** The events come as from an engine thread: a step, then its tokens and ends, sequence by sequence. */
class TimedEngineTest {
    private long now;
    private final TimedEngine.Clock clock = new TimedEngine.Clock(() -> now);

    @BeforeEach
    void beginGroup() {
        clock.begin(2);
        clock.submitted();
    }

    @Test
    void clock_groupIsNotComplete_firstStepWaits() throws InterruptedException {
        clock.begin(2);
        Thread engine = Thread.ofPlatform().start(() -> step(100));
        while (engine.getState() != Thread.State.WAITING) {
            Thread.onSpinWait();
        }
        clock.submitted();
        engine.join();
        first();
        first();
        step(200);
        tokens(2);
        end();
        assertThat(clock.nanos()).isEqualTo(100);
    }

    @Test
    void clock_stepsOfSeveralTokens_countsWholeSteps() {
        step(100);
        first();
        tokens(1);
        step(200); // the last first token comes with one more; this step computed a prompt, so it does not count
        tokens(2);
        first();
        tokens(1);
        step(300);
        tokens(1);
        tokens(2);
        step(400); // the first sequence ends before the other gets its tokens of this step
        tokens(1);
        end();
        tokens(3);
        step(500);
        tokens(1);
        end();
        assertThat(clock.tokens()).isEqualTo(7);
        assertThat(clock.nanos()).isEqualTo(200);
    }

    @Test
    void clock_timeBetweenTokensOfAStep_countsForTheNextStep() {
        step(100);
        first();
        now += 7;
        first();
        step(200);
        now += 9;
        tokens(2);
        end();
        assertThat(clock.tokens()).isEqualTo(2);
        assertThat(clock.nanos()).isEqualTo(100);
    }

    @Test
    void clock_answerEndsInItsFirstStep_countsNothing() {
        step(100);
        first();
        first();
        tokens(8);
        end();
        step(200);
        tokens(5);
        end();
        assertThat(clock.tokens()).isZero();
        assertThat(clock.nanos()).isZero();
    }

    @Test
    void clock_answerEndsBeforeTheLastBegins_countsNothing() {
        step(100);
        first();
        end();
        step(200);
        first();
        step(300);
        tokens(1);
        end();
        assertThat(clock.tokens()).isZero();
        assertThat(clock.nanos()).isNegative();
    }

    @Test
    void clock_nextGroup_startsFromZero() {
        step(100);
        first();
        first();
        step(200);
        tokens(2);
        end();
        clock.begin(1);
        clock.submitted();
        step(1000);
        first();
        step(1010);
        tokens(4);
        end();
        assertThat(clock.tokens()).isEqualTo(4);
        assertThat(clock.nanos()).isEqualTo(10);
    }

    private void step(long end) {
        now = end;
        clock.onStep(0, 0, 0);
    }

    private void first() {
        clock.onFirstToken(0);
    }

    private void tokens(int count) {
        for (int i = 0; i < count; i++) {
            clock.onToken(0);
        }
    }

    private void end() {
        clock.onFinish(FinishReason.LENGTH, 0, 0, 0);
    }
}
