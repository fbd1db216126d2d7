package quire.engine.schedule;

/** What a step of the model costs on this machine. Engine thread only. */
public interface StepCost {
    /** Every step costs nothing. */
    StepCost NONE = new StepCost() {
        @Override
        public double predict(int rows, long contexts, long positions) {
            return 0;
        }

        @Override
        public void observe(int rows, long contexts, long positions, long nanos) {}
    };

    /**
     * Predicts the nanoseconds of a step.
     *
     * @param rows tokens; 0 for no step at all
     * @param contexts how many positions their sequences have, each counted once
     * @param positions how many positions they look back at, summed over the rows
     */
    double predict(int rows, long contexts, long positions);

    /** Learns from a step that took {@code nanos} nanoseconds. */
    void observe(int rows, long contexts, long positions, long nanos);
}
