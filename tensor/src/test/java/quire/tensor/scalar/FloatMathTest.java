package quire.tensor.scalar;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class FloatMathTest {
    @Test
    void exp_specialValues_areExact() {
        assertThat(FloatMath.exp(Float.NEGATIVE_INFINITY)).isZero();
        assertThat(FloatMath.exp(-0f)).isEqualTo(1f);
        assertThat(FloatMath.exp(0f)).isEqualTo(1f);
        assertThat(FloatMath.exp(Float.POSITIVE_INFINITY)).isEqualTo(Float.POSITIVE_INFINITY);
        assertThat(FloatMath.exp(Float.MAX_VALUE)).isEqualTo(Float.POSITIVE_INFINITY);
        assertThat(FloatMath.exp(-Float.MAX_VALUE)).isZero();
        assertThat(FloatMath.exp(Float.NaN)).isNaN();
    }

    @Test
    void exp_everyThousandthFloat_isWithinTwoUlp() {
        for (long bits = 0; bits < 1L << 31; bits += 997) {
            float magnitude = Float.intBitsToFloat((int) bits);
            if (!Float.isFinite(magnitude)) {
                continue;
            }
            check(magnitude);
            check(-magnitude);
        }
    }

    private static void check(float x) {
        double expected = StrictMath.exp(x);
        float actual = FloatMath.exp(x);
        if (expected > Float.MAX_VALUE) {
            if (actual < Math.nextDown(Float.MAX_VALUE)) {
                throw new AssertionError("exp(" + x + ") = " + actual);
            }
        } else if (!(Math.abs(actual - expected) <= 2 * Math.ulp((float) expected))) {
            throw new AssertionError("exp(" + x + ") = " + actual + ", not " + expected);
        }
    }
}
