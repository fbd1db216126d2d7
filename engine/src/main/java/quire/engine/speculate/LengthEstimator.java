package quire.engine.speculate;

import java.util.Arrays;

/**
 * How much longer an answer is likely to be, from the answers that ended of late.
 *
 * <pre>
 *                          w · g  +  Σ (length − g)          over answers that were longer than the g tokens it has;
 *   expected rest of g  =  ────────────────────────          as long again as it is, w times among them, is what is
 *                             w  +  how many                 assumed as long as few have ended
 * </pre>
 *
 * Lengths are kept in four classes to a doubling; older ones fade. Engine thread only; nothing is allocated in a step.
 */
final class LengthEstimator {
    private static final int PER_DOUBLING = 4;

    /** Answers that the assumption counts. */
    private static final double PRIOR_WEIGHT = 2;

    /** Answers that count. */
    private static final double MEMORY = 256;

    private final double[] counts = new double[Integer.SIZE * PER_DOUBLING];
    private final double[] tokens = new double[counts.length];
    private double total;
    private int end; // of the classes that hold any

    LengthEstimator() {}

    /** Takes an answer that has ended, however it did; one without a token says nothing. */
    void add(int length) {
        if (length == 0) {
            return;
        }
        if (total >= MEMORY) {
            total /= 2;
            Arrays.setAll(counts, i -> counts[i] / 2);
            Arrays.setAll(tokens, i -> tokens[i] / 2);
        }
        int index = index(length);
        counts[index]++;
        tokens[index] += length;
        total++;
        end = Math.max(end, index + 1);
    }

    /** Tokens that are expected to follow {@code generated} others, at least 1 and at most {@code most}. */
    double rest(int generated, int most) {
        double weight = PRIOR_WEIGHT;
        double sum = PRIOR_WEIGHT * generated;
        for (int i = generated == 0 ? 0 : index(generated); i < end; i++) {
            if (tokens[i] > counts[i] * generated) {
                weight += counts[i];
                sum += tokens[i] - counts[i] * generated;
            }
        }
        return Math.clamp(sum / weight, 1.0, Math.max(1.0, most));
    }

    /** The class of a length: its highest bit and the two below. */
    private static int index(int length) {
        int doublings = Integer.SIZE - 1 - Integer.numberOfLeadingZeros(length);
        return doublings * PER_DOUBLING + (int) (((long) length * PER_DOUBLING) >> doublings) - PER_DOUBLING;
    }
}
