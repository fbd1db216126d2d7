package quire.bench.speculation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class AcceptanceRulesTest {
    @Test
    void coupling_anyDistributions_equalsTheDoubleSum() {
        SplittableRandom random = new SplittableRandom(2);
        for (int round = 0; round < 100; round++) {
            double[] p = distribution(random, 1 + random.nextInt(9));
            double[] q = distribution(random, p.length);
            double expected = 0;
            double most = 0;
            for (int i = 0; i < p.length; i++) {
                double sum = 0;
                for (int j = 0; j < p.length; j++) {
                    sum += Math.max(p[j] / p[i], q[j] / q[i]);
                }
                expected += p[i] > 0 && q[i] > 0 ? 1 / sum : 0;
                most += Math.min(p[i], q[i]);
            }
            double coupling = AcceptanceRules.coupling(p, q);
            assertThat(coupling).isCloseTo(expected, within(1e-9));
            assertThat(coupling).isBetween(most / 2 - 1e-9, most + 1e-9);
        }
    }

    private static double[] distribution(SplittableRandom random, int size) {
        double[] values = new double[size];
        double sum = 0;
        for (int i = 0; i < size; i++) {
            values[i] = random.nextInt(4) == 0 && i > 0 ? 0 : random.nextDouble() + 1e-3;
            sum += values[i];
        }
        for (int i = 0; i < size; i++) {
            values[i] /= sum;
        }
        return values;
    }
}
