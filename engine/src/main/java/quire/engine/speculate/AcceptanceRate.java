package quire.engine.speculate;

/**
 * Statistics on how often one sequence's draft tokens were accepted recently, by drafter.
 *
 * <p>They are relative: accepted tokens are divided by the number expected at the rate of all sequences. So draft
 * tokens at late positions, or with low confidence, do not make a sequence look worse than others.
 */
final class AcceptanceRate {
    /** Number of confidence levels that a drafter may distinguish. */
    static final int CONFIDENCE_LEVELS = 4;

    /** Maximum number of drafters of an engine. */
    static final int MAX_DRAFTERS = 4;

    /** Number of comparisons that count; older ones fade. */
    private static final float MEMORY = 32;

    /** What remains of the statistics after a step without a draft, so that old observations lose weight. */
    private static final float DECAY = 1 - 1f / 128;

    private final float[] hits = new float[MAX_DRAFTERS];
    private final float[] expected = new float[MAX_DRAFTERS];
    private final float[] trials = new float[MAX_DRAFTERS];

    AcceptanceRate() {}

    /**
     * Adds a draft.
     *
     * @param compared draft tokens that were compared with the model's choice
     * @param expectedHits how many of those would be accepted at the rate of all sequences
     */
    void add(int drafter, int accepted, int compared, double expectedHits) {
        if (trials[drafter] + compared > MEMORY) {
            fade(drafter, MEMORY / (trials[drafter] + compared));
        }
        hits[drafter] += accepted;
        expected[drafter] += (float) expectedHits;
        trials[drafter] += compared;
    }

    /** A step without a draft has passed. */
    void decay() {
        for (int k = 0; k < MAX_DRAFTERS; k++) {
            fade(k, DECAY);
        }
    }

    private void fade(int drafter, float factor) {
        hits[drafter] *= factor;
        expected[drafter] *= factor;
        trials[drafter] *= factor;
    }

    /**
     * The probability that a draft token of this sequence is accepted: the probability over all sequences, times the
     * ratio of this sequence's accepted tokens to the number expected.
     *
     * @param overall the probability over all sequences, above 0
     * @param weight number of comparisons with the expected outcome that are added to the sequence's own
     */
    double estimate(int drafter, double overall, double weight) {
        double prior = weight * overall;
        return Math.min(1, overall * (hits[drafter] + prior) / (expected[drafter] + prior));
    }
}
