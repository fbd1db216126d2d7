package quire.server.http;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import org.junit.jupiter.api.Test;

/** How long a sender may take: here 1000 bytes a second, with a grace of 5 seconds. */
class PaceTest {
    private static final long SECOND = 1_000_000_000;

    /** A clock may begin anywhere, also just before it overflows. */
    private static final long START = Long.MAX_VALUE - SECOND;

    private final Pace pace = new Pace(START, Duration.ofSeconds(5), 1000);

    private long left(double seconds) {
        return pace.nanosLeft(START + (long) (seconds * SECOND));
    }

    private void add(double seconds, int bytes) {
        pace.add(START + (long) (seconds * SECOND), bytes);
    }

    @Test
    void sender_silent_hasTheGrace() {
        assertThat(left(4.9)).isPositive();
        assertThat(left(5)).isZero();
    }

    @Test
    void sender_thatSentFast_savesNoTime() {
        add(1, 8_000_000);
        assertThat(left(5.9)).isPositive();
        assertThat(left(6.1)).isNegative();
    }

    @Test
    void sender_atTheMinimumPace_maySendForEver() {
        for (int second = 1; second < 1000; second++) {
            add(second, 1000);
            assertThat(left(second)).isEqualTo(5 * SECOND);
        }
    }

    @Test
    void sender_atHalfThePace_hasTwiceTheGrace() {
        int second = 0;
        while (left(second) > 0) {
            add(second, 500);
            second++;
        }
        assertThat(second).isEqualTo(9); // the bytes of second 0 add nothing to a whole grace
    }
}
