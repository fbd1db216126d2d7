package quire.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.jspecify.annotations.Nullable;
import quire.tensor.FloatMatrix;
import quire.tensor.Workers;

/**
 * The cosines and sines of every position. Pair i turns by {@code position / ropeScale / base^(2i / dimensions)},
 * divided by the file's own factor if the file has {@code rope_freqs} (Llama 3's scaling). YaRN divides only slow pairs by
 * {@code ropeScale}.
 *
 * <p>The angles of late positions need double precision. A long context has millions of angles, and computing their
 * sines took a second at every start. So sines are computed only for the first positions and for every {@value
 * #STRIDE}th position; the others follow from the sum of two angles:
 *
 * <pre>
 *   cos(a + b) = cos a cos b − sin a sin b        a: position rounded down to a multiple of {@value #STRIDE}
 *   sin(a + b) = sin a cos b + cos a sin b        b: the rest
 * </pre>
 */
final class Rotations {
    static final int STRIDE = 256;

    private Rotations() {}

    /**
     * The table. Each position has one row, with cos and sin of pair i at 2i and 2i + 1.
     *
     * @param factors one factor for each pair, or null
     */
    static FloatMatrix table(
            ModelConfig shape, @Nullable FloatMatrix factors, int positions, Arena arena, Workers workers) {
        return table(frequencies(shape, factors), shape.blocks().rotationFactor(), positions, arena, workers);
    }

    /**
     * The table for other frequencies.
     *
     * @param magnitude factor of all cosines and sines
     */
    static FloatMatrix table(double[] frequencies, float magnitude, int positions, Arena arena, Workers workers) {
        int dimensions = 2 * frequencies.length;
        FloatMatrix table = FloatMatrix.allocate(arena, positions, dimensions);
        double[][] near = new double[Math.min(STRIDE, positions)][];
        for (int i = 0; i < near.length; i++) {
            near[i] = cosinesAndSines(frequencies, i);
        }
        int strides = Math.ceilDiv(positions, STRIDE);
        workers.run(worker -> {
            int from = Workers.shareStart(strides, 1, worker, workers.count());
            int to = Workers.shareStart(strides, 1, worker + 1, workers.count());
            float[] row = new float[dimensions];
            for (int stride = from; stride < to; stride++) {
                int first = stride * STRIDE;
                double[] far = cosinesAndSines(frequencies, first);
                for (int i = 0; i < Math.min(STRIDE, positions - first); i++) {
                    add(far, near[i], magnitude, row);
                    MemorySegment.copy(
                            row, 0, table.segment(), ValueLayout.JAVA_FLOAT, table.rowOffset(first + i), dimensions);
                }
            }
        });
        return table;
    }

    /** The angle by which each pair turns from one position to the next, in radians. */
    static double[] frequencies(ModelConfig shape, @Nullable FloatMatrix factors) {
        double[] frequencies = frequencies(shape.ropeDimensions(), shape.ropeBase());
        Architecture.Yarn yarn = shape.blocks().yarn();
        for (int i = 0; i < frequencies.length; i++) {
            double factor = factors == null ? 1 : factors.get(0, i);
            double share = yarn == null ? 0 : unscaledShare(yarn, shape, i);
            frequencies[i] = frequencies[i] / factor * (share + (1 - share) / shape.ropeScale());
        }
        return frequencies;
    }

    /**
     * How much of a pair's angle YaRN leaves unscaled: 1 for pairs up to the last one that turns {@code betaFast} times in
     * the original context, 0 from the first one on that turns {@code betaSlow} times, and a line between them.
     */
    private static double unscaledShare(Architecture.Yarn yarn, ModelConfig shape, int pair) {
        double fast = Math.max(0, Math.floor(pairOf(yarn.betaFast(), yarn, shape)));
        double slow = Math.min(shape.ropeDimensions() - 1, Math.ceil(pairOf(yarn.betaSlow(), yarn, shape)));
        return 1 - Math.clamp((pair - fast) / Math.max(0.001, slow - fast), 0.0, 1.0);
    }

    /** The pair, between two pairs in general, that turns so many times in the original context. */
    private static double pairOf(double turns, Architecture.Yarn yarn, ModelConfig shape) {
        double angle = yarn.originalContext() / (turns * 2 * Math.PI);
        return shape.ropeDimensions() * StrictMath.log(angle) / (2 * StrictMath.log(shape.ropeBase()));
    }

    /** The angles of the pairs for a base, without scaling. */
    static double[] frequencies(int dimensions, double base) {
        double[] frequencies = new double[dimensions / 2];
        for (int i = 0; i < frequencies.length; i++) {
            frequencies[i] = 1 / StrictMath.pow(base, 2.0 * i / dimensions);
        }
        return frequencies;
    }

    /** Cosine and sine of each pair at one position. */
    private static double[] cosinesAndSines(double[] frequencies, int position) {
        double[] result = new double[2 * frequencies.length];
        for (int i = 0; i < frequencies.length; i++) {
            result[2 * i] = StrictMath.cos(position * frequencies[i]);
            result[2 * i + 1] = StrictMath.sin(position * frequencies[i]);
        }
        return result;
    }

    /** Cosines and sines of the sums of the angles of two positions. */
    private static void add(double[] a, double[] b, float magnitude, float[] sums) {
        for (int i = 0; i < sums.length; i += 2) {
            sums[i] = (float) (magnitude * (a[i] * b[i] - a[i + 1] * b[i + 1]));
            sums[i + 1] = (float) (magnitude * (a[i + 1] * b[i] + a[i] * b[i + 1]));
        }
    }
}
