package quire.engine.schedule;

import java.util.function.Consumer;
import quire.engine.EngineConfig;
import quire.engine.FakeModel;
import quire.engine.FakeTokenizer;
import quire.model.Batch;

/**
 * A clock and a model whose steps take as long as those of a model of a billion parameters on two cores. Steps are
 * predicted without error.
 */
final class SlowModel implements StepCost {
    static final long MILLI = 1_000_000;

    private static final int[] ROWS = {1, 8, 12, 16, 24, 32, 64, 512};
    private static final double[] MILLIS = {16.3, 20.5, 26, 31.5, 43.6, 55.7, 112, 920};

    // Of reading the K and V of a position, and of a token that attends to it. Both are four times too high, so that
    // tests
    // do with contexts of a quarter.
    private static final double CONTEXT_NANOS = 6_000;

    private static final double POSITION_NANOS = 320;

    /** The clock. */
    long nanos;

    /** Called a millisecond after the beginning of each step. */
    Runnable inStep = () -> {};

    /** Called before each step. */
    Consumer<Batch> beforeStep = batch -> {};

    FakeModel model(EngineConfig config, int context, int pages) {
        return new FakeModel(
                        FakeTokenizer.VOCABULARY_SIZE,
                        context,
                        config.pageTokens(),
                        pages,
                        config.maxBatchedTokens(),
                        config.maxLogitRows())
                .onForward(batch -> {
                    beforeStep.accept(batch);
                    long contexts = 0;
                    long positions = 0;
                    for (int i = 0; i < batch.sequences(); i++) {
                        int count = batch.rowCount(i);
                        contexts += batch.firstPosition(i) + count;
                        positions += count * (batch.firstPosition(i) + (count + 1L) / 2);
                    }
                    long took = (long) predict(batch.rows(), contexts, positions);
                    nanos += MILLI;
                    inStep.run();
                    nanos += took - MILLI;
                });
    }

    @Override
    public double predict(int rows, long contexts, long positions) {
        if (rows == 0) {
            return 0;
        }
        int above = 1;
        while (ROWS[above] < rows) {
            above++;
        }
        double part = (double) (rows - ROWS[above - 1]) / (ROWS[above] - ROWS[above - 1]);
        return MILLI * (MILLIS[above - 1] + part * (MILLIS[above] - MILLIS[above - 1]))
                + CONTEXT_NANOS * contexts
                + POSITION_NANOS * positions;
    }

    @Override
    public void observe(int rows, long contexts, long positions, long took) {
        // the cost is known
    }

    @Override
    public double[] start() {
        return new double[0];
    }
}
