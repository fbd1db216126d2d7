package quire.engine;

/**
 * What speculation did since an engine's start. The estimate of the speed-up needs many steps; so it exists for an
 * engine and not for a single answer, which has only {@link SpeculationCounts}.
 *
 * @param counts of draft tokens
 * @param nanos nanoseconds that all steps took, drafting included
 * @param nanosWithout nanoseconds that the same tokens would have taken without draft tokens, as the cost model
 *     estimates
 */
public record SpeculationStats(SpeculationCounts counts, long nanos, long nanosWithout) {
    /** The statistics of an engine without speculation. */
    public static final SpeculationStats NONE = new SpeculationStats(SpeculationCounts.NONE, 0, 0);

    /** Estimated time without speculation divided by the time with it; above 1 is faster. 1 before the first step. */
    public double speedup() {
        return nanos == 0 ? 1 : (double) nanosWithout / nanos;
    }
}
