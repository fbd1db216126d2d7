package quire.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.lang.foreign.Arena;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import quire.tensor.FloatMatrix;
import quire.tensor.Workers;

class RotationsTest {
    /** Half of the distance between floats below 1, plus the error of sums of doubles. */
    private static final double ROUNDING = 0x1.001p-25;

    private static final ModelConfig SHAPE =
            new ModelConfig("llama", "", 10, 1 << 17, 64, 64, 1, 4, 2, 64, 1e-5f, 64, 5e5f, 1);

    @ParameterizedTest
    @ValueSource(ints = {1, Rotations.STRIDE - 1, Rotations.STRIDE, 3 * Rotations.STRIDE + 7, 1 << 17})
    void table_anyPosition_isTheNearestFloatOfItsAngle(int positions) {
        double[] frequencies = Rotations.frequencies(SHAPE, null);
        try (Arena arena = Arena.ofShared();
                Workers workers = new Workers(3)) {
            FloatMatrix table = Rotations.table(SHAPE, null, positions, arena, workers);

            for (int position = positions - 1; position >= 0; position -= 1 + positions / 999) {
                for (int i = 0; i < frequencies.length; i++) {
                    double angle = position * frequencies[i];
                    assertThat((double) table.get(position, 2 * i))
                            .as("cosine of pair %d at %d", i, position)
                            .isCloseTo(StrictMath.cos(angle), within(ROUNDING));
                    assertThat((double) table.get(position, 2 * i + 1))
                            .as("sine of pair %d at %d", i, position)
                            .isCloseTo(StrictMath.sin(angle), within(ROUNDING));
                }
            }
        }
    }

    @Test
    void table_factorsOfTheFile_divideTheFrequencies() {
        try (Arena arena = Arena.ofShared();
                Workers workers = new Workers(1)) {
            FloatMatrix factors = FloatMatrix.allocate(arena, 1, 32);
            for (int i = 0; i < 32; i++) {
                factors.set(0, i, 1 + i);
            }
            FloatMatrix table = Rotations.table(SHAPE, factors, 300, arena, workers);

            double angle = 299 * Rotations.frequencies(SHAPE, null)[3] / 4;
            assertThat((double) table.get(299, 6)).isCloseTo(StrictMath.cos(angle), within(ROUNDING));
        }
    }
}
