package quire.engine.speculate;

/**
 * How often one sequence's draft tokens are accepted, of late, by drafter: beside how often they were expected to be, so that guesses
 * far behind the first, or unsure ones, do not count against it more than against others. Feeds the {@link Governor}.
 */
final class AcceptanceRate {
    /** Levels of confidence that a drafter may tell apart. */
    static final int LEVELS = 4;

    /** Most drafters. */
    static final int DRAFTERS = 3;

    /** Comparisons that count; older ones fade. */
    private static final float MEMORY = 32;

    /** What is left of experience after a step without drafts: what nobody tries is not known for ever. */
    private static final float REST = 1 - 1f / 128;

    private final float[] hits = new float[DRAFTERS];
    private final float[] expected = new float[DRAFTERS];
    private final float[] trials = new float[DRAFTERS];

    AcceptanceRate() {}

    /**
     * Adds a draft.
     *
     * @param reached positions at which it was compared with what the model chose
     * @param expectedHits how many of those would be right as all sequences' are
     */
    void add(int drafter, int accepted, int reached, double expectedHits) {
        if (trials[drafter] + reached > MEMORY) {
            fade(drafter, MEMORY / (trials[drafter] + reached));
        }
        hits[drafter] += accepted;
        expected[drafter] += (float) expectedHits;
        trials[drafter] += reached;
    }

    /** A step without drafts has passed: what this sequence showed counts a little less beside what all show. */
    void rest() {
        for (int k = 0; k < DRAFTERS; k++) {
            fade(k, REST);
        }
    }

    private void fade(int drafter, float part) {
        hits[drafter] *= part;
        expected[drafter] *= part;
        trials[drafter] *= part;
    }

    /**
     * What all sequences together show, times how much better or worse this one did than that.
     *
     * @param overall the chance that all sequences show where it is asked for, over 0
     * @param weight comparisons with the expected end that count beside the sequence's own
     */
    double estimate(int drafter, double overall, double weight) {
        double prior = weight * overall;
        return Math.min(1, overall * (hits[drafter] + prior) / (expected[drafter] + prior));
    }
}
