package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;

class QueueSpeedTest {
    private static final long SECOND = 1_000_000_000L;

    private final QueueSpeed speed = new QueueSpeed();
    private long now = 5 * SECOND;

    /** A step of a second, in which requests wait or not. */
    private void step(boolean waiting) {
        speed.step(waiting, now, now + SECOND);
        now += SECOND;
    }

    @Test
    void seconds_nothingHasWaited_isZero() {
        speed.started(10);
        step(false);
        speed.started(1_000);
        step(false);
        assertThat(speed.seconds(1_000_000)).isZero();
    }

    @Test
    void seconds_steadyStarts_isTokensBySpeed() {
        for (int i = 0; i < 20; i++) {
            step(true);
            step(true);
            speed.started(30);
            speed.started(70);
        }
        assertThat(speed.seconds(500)).isCloseTo(10, within(0.2));
    }

    /** A burst, then a time without starts: the estimate grows, it does not stay at the speed of the burst. */
    @Test
    void seconds_queueThatNoLongerMoves_grows() {
        step(true);
        speed.started(100);
        assertThat(speed.seconds(100)).isCloseTo(1, within(1e-9));
        for (int i = 0; i < 4; i++) {
            step(true);
        }
        assertThat(speed.seconds(100)).isCloseTo(5, within(1e-9));
    }

    @Test
    void seconds_changedSpeed_isForgotten() {
        for (int i = 0; i < 100; i++) {
            step(true);
            speed.started(1_000);
        }
        for (int i = 0; i < 300; i++) {
            step(true);
            speed.started(10);
        }
        assertThat(speed.seconds(10)).isBetween(0.75, 1.0);
    }

    /** The time before the queue had a request, and idle time, do not count. */
    @Test
    void seconds_timeWithoutWaiting_doesNotCount() {
        for (int i = 0; i < 20; i++) {
            step(false);
            now += 100 * SECOND;
            step(true);
            speed.started(100);
        }
        assertThat(speed.seconds(100)).isCloseTo(1, within(1e-9));
    }

    /** Requests wait one and a half times as long as the speed says, and then exactly as long. */
    @Test
    void seconds_requestsThatWaitedLonger_isAsMuchLonger() {
        step(true);
        speed.started(100);
        for (int i = 0; i < 200; i++) {
            speed.waited(10, 15);
        }
        assertThat(speed.seconds(100)).isCloseTo(1.5, within(0.01));
        assertThat(speed.uncorrectedSeconds(100)).isCloseTo(1, within(1e-9));
        for (int i = 0; i < 200; i++) {
            speed.waited(10, 10);
        }
        assertThat(speed.seconds(100)).isCloseTo(1, within(0.01));
    }

    /** Half of the requests wait longer by a fifth, and half shorter: the estimate holds for most of them. */
    @Test
    void seconds_waitsThatVary_isTheirMeanAndDeviation() {
        step(true);
        speed.started(100);
        for (int i = 0; i < 200; i++) {
            speed.waited(10, i % 2 == 0 ? 12 : 8);
        }
        assertThat(speed.seconds(100)).isBetween(1.15, 1.25);
    }

    /** A request that came when the speed was not known says nothing about the estimate. */
    @Test
    void waited_withoutAnEstimate_changesNothing() {
        step(true);
        speed.started(100);
        speed.waited(0, 15);
        assertThat(speed.seconds(100)).isCloseTo(1, within(1e-9));
    }

    @Test
    void tokens_answers_countWithTheirLimitOrTheMean() {
        assertThat(speed.tokens(10, 5)).isEqualTo(15);
        assertThat(speed.tokens(10, 1_000_000)).isEqualTo(10 + 128);
        for (int i = 0; i < 200; i++) {
            speed.ended(40);
        }
        assertThat(speed.tokens(10, 1_000_000)).isEqualTo(10 + 40);
    }
}
