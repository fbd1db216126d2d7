package quire.engine;

/** How often one sequence's draft tokens are accepted, of late, by drafter. Feeds the {@link Governor}. */
final class Acceptance {
    /** Levels of confidence that a drafter may tell apart. */
    static final int LEVELS = 4;

    /** Most drafters. */
    static final int DRAFTERS = 3;

    /** Comparisons that count; older ones fade. */
    private static final float MEMORY = 32;

    /** What is left of experience after a step without drafts: what nobody tries is not known for ever. */
    private static final float REST = 1 - 1f / 128;

    private final float[] hits = new float[DRAFTERS];
    private final float[] trials = new float[DRAFTERS];

    Acceptance() {}

    void add(int drafter, int accepted, int reached) {
        if (trials[drafter] + reached > MEMORY) {
            float fade = MEMORY / (trials[drafter] + reached);
            hits[drafter] *= fade;
            trials[drafter] *= fade;
        }
        hits[drafter] += accepted;
        trials[drafter] += reached;
    }

    /** A step without drafts has passed: what this sequence showed counts a little less beside what all show. */
    void rest() {
        for (int k = 0; k < DRAFTERS; k++) {
            hits[k] *= REST;
            trials[k] *= REST;
        }
    }

    /** What all sequences together show, moved by what this one does. {@code weight}: comparisons that the former counts. */
    double estimate(int drafter, double overall, double weight) {
        return (overall * weight + hits[drafter]) / (weight + trials[drafter]);
    }
}
