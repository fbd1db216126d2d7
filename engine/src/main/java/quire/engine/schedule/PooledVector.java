package quire.engine.schedule;

import quire.engine.sample.BrokenLogitsException;
import quire.model.Pooling;
import quire.tensor.FloatMatrix;

/**
 * The vector of a prompt, made of the vectors of its positions while steps compute them. Positions are added one by one in
 * ascending order, each once, so neither chunks nor preemption change a bit.
 */
final class PooledVector {
    private final Pooling pooling;
    private final int promptLength;
    private double[] sum = {}; // its size is known at the first position
    private int next; // the positions before it need not be added any more

    PooledVector(Pooling pooling, int promptLength) {
        this.pooling = pooling;
        this.promptLength = promptLength;
    }

    Pooling pooling() {
        return pooling;
    }

    /** Whether the next position must be computed for this vector, so that no cached page may stand for it. */
    boolean needsNextPosition() {
        return switch (pooling) {
            case LAST, RANK -> false;
            case MEAN -> next < promptLength;
            case FIRST -> next == 0;
        };
    }

    /** Whether one of the positions {@code [from, to)} is part of this vector. */
    boolean wants(int from, int to) {
        return switch (pooling) {
            case LAST, RANK -> to == promptLength;
            case MEAN -> to > next;
            case FIRST -> next == 0;
        };
    }

    /**
     * Adds what is part of this vector.
     *
     * @param vectors of the step
     * @param row of {@code position} in it
     * @param position the first of {@code count}
     * @throws BrokenLogitsException if the vector is not finite
     */
    void add(FloatMatrix vectors, int row, int position, int count) {
        if (wants(position, position + count)) {
            if (sum.length == 0) {
                sum = new double[vectors.columns()];
            }
            int from =
                    Math.max(position, pooling == Pooling.MEAN || pooling == Pooling.FIRST ? next : promptLength - 1);
            int to = pooling == Pooling.FIRST ? 1 : position + count;
            for (int at = from; at < to; at++) {
                for (int i = 0; i < sum.length; i++) {
                    float number = vectors.get(row + at - position, i);
                    if (!Float.isFinite(number)) {
                        throw new BrokenLogitsException(
                                "number " + i + " of the vector of position " + at + " is " + number);
                    }
                    sum[i] += number;
                }
            }
        }
        skip(position, count);
    }

    /** Counts positions without adding them, when recorded steps are repeated without a model. */
    void skip(int position, int count) {
        next = Math.max(next, position + count);
    }

    /** The vector, once all positions were added. */
    float[] result() {
        int count = pooling == Pooling.MEAN ? promptLength : 1;
        float[] vector = new float[sum.length];
        for (int i = 0; i < vector.length; i++) {
            vector[i] = (float) (sum[i] / count);
        }
        return vector;
    }
}
