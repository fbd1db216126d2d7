package quire.engine.schedule;

import java.util.Arrays;

/**
 * Estimates how many more tokens an answer will have, from the answers that ended recently.
 *
 * <pre>
 *                                 w · g  +  Σ (length − g)       over the answers that were longer than g tokens
 *   expected rest after g   =     ────────────────────────
 *                                      w  +  their number        w: weight of the assumption that the rest is g tokens
 * </pre>
 *
 * The assumption decides while few answers have ended. Lengths are counted in four classes for each doubling, and old
 * answers fade. Engine thread only; no method allocates.
 */
public final class LengthEstimator {
    private static final int PER_DOUBLING = 4;

    /** How many answers the assumption counts for. */
    private static final double PRIOR_WEIGHT = 2;

    /** Number of answers after which the counts are halved. */
    private static final double MEMORY = 256;

    private final double[] counts = new double[Integer.SIZE * PER_DOUBLING];
    private final double[] tokens = new double[counts.length];
    private double total;
    private int end; // of the classes that have counts

    /** An estimator that has seen no answer. */
    public LengthEstimator() {}

    /** Adds an answer that has ended, for any reason. An answer of 0 tokens is ignored. */
    public void add(int length) {
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

    /** Number of tokens expected after {@code generated} ones, from 1 to {@code most}. */
    public double expectedRest(int generated, int most) {
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
