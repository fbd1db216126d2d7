package quire.engine.schedule;

/** Predicts how long a step of the model takes on this machine. Engine thread only. */
public interface StepCost {
    /** Predicts 0 for every step. */
    StepCost NONE = new StepCost() {
        @Override
        public double predict(int rows, long contexts, long positions) {
            return 0;
        }

        @Override
        public void observe(int rows, long contexts, long positions, long nanos) {}

        @Override
        public double[] start() {
            return new double[0];
        }
    };

    /**
     * Predicts the nanoseconds of a step.
     *
     * @param rows tokens; 0 for no step
     * @param contexts positions of their sequences, each sequence counted once
     * @param positions positions that the tokens attend to, summed over the tokens
     */
    double predict(int rows, long contexts, long positions);

    /**
     * Learns from a step that took {@code nanos} nanoseconds.
     *
     * @see #predict
     */
    void observe(int rows, long contexts, long positions, long nanos);

    /** The numbers that it begins with, for a trace; to be called before the first {@link #observe}. */
    double[] start();
}
