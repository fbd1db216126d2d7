package quire.engine.schedule;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;

class LengthEstimatorTest {
    @Test
    void expectedRest_noAnswers_equalsTheLengthSoFar() {
        LengthEstimator lengths = new LengthEstimator();
        assertThat(lengths.expectedRest(10, 1000)).isCloseTo(10, within(1e-9));
        assertThat(lengths.expectedRest(0, 1000)).isCloseTo(1, within(1e-9));
        assertThat(lengths.expectedRest(10, 4)).isCloseTo(4, within(1e-9));
        assertThat(lengths.expectedRest(10, 0)).isCloseTo(1, within(1e-9));
    }

    @Test
    void expectedRest_shortAnswers_isShort() {
        LengthEstimator lengths = new LengthEstimator();
        for (int i = 0; i < 1000; i++) {
            lengths.add(12);
        }
        assertThat(lengths.expectedRest(2, 1000)).isCloseTo(10, within(0.2));
        assertThat(lengths.expectedRest(11, 1000)).isCloseTo(1, within(0.2));
    }

    /** Half of the answers are short, half are long. An answer that is longer than the short ones is a long one. */
    @Test
    void expectedRest_shortAndLong_growsBeyondTheShort() {
        LengthEstimator lengths = new LengthEstimator();
        for (int i = 0; i < 500; i++) {
            lengths.add(10);
            lengths.add(1000);
        }
        assertThat(lengths.expectedRest(2, 10_000)).isCloseTo((8 + 998) / 2.0, within(10.0));
        assertThat(lengths.expectedRest(20, 10_000)).isCloseTo(980, within(20.0));
    }

    @Test
    void add_newLengths_oldOnesFade() {
        LengthEstimator lengths = new LengthEstimator();
        for (int i = 0; i < 10_000; i++) {
            lengths.add(1000);
        }
        for (int i = 0; i < 3000; i++) {
            lengths.add(10);
        }
        assertThat(lengths.expectedRest(2, 10_000)).isLessThan(20);
    }

    @Test
    void add_anyLength_isAccepted() {
        LengthEstimator lengths = new LengthEstimator();
        lengths.add(0);
        lengths.add(1);
        lengths.add(Integer.MAX_VALUE);
        assertThat(lengths.expectedRest(5, Integer.MAX_VALUE)).isBetween(5.0, (double) Integer.MAX_VALUE);
    }
}
