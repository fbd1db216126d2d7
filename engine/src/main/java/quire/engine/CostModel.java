package quire.engine;

import java.util.Arrays;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;
import quire.model.Batch;
import quire.model.Model;

/**
 * What a forward pass costs, by its number of tokens and by what they look back at: measured a little at the start, then on
 * every pass.
 *
 * <pre>
 *   cost  =  base(rows)  +  perPosition × positions          positions: of K and V, summed over the rows
 *
 *   base  │              ___/
 *         │        ___../            a few tokens cost little more than one, for reading the weights is what costs;
 *         │ ______/                  many cost what their arithmetic costs
 *         └─┬─┬─┬──┬────┬────────
 *           1 2 3  …   16   24       knots: every number up to 16, then eight to a doubling; linear in between
 * </pre>
 *
 * An observation that differs from what was expected moves the knots beside it and the price of a position, each by its
 * share of the cost: texts of different lengths tell the two apart. It moves everything else as well, those that
 * {@link #follows follow} included, since whatever slows one pass down or speeds it up (other programs, a hot CPU, code that
 * the compiler has reached at last) does so to all; what matters for a choice is their ratios, and those it leaves alone. A
 * knot that has seldom been seen learns fast: what was measured at the start was measured before the compiler was done.
 */
final class CostModel {
    private static final int DENSE = 16;
    private static final int PER_DOUBLING = 8;

    /** How far one observation moves what it was observed at, once that is well known, and everything else. */
    private static final double NEAR = 0.1;

    private static final double FAR = 0.1;
    /**
     * An observation counts at most as this many times more or less than expected: what is followed is nearer to the
     * median than to the mean, for a pause is not a cost.
     */
    private static final double SURPRISE = 1.3;

    /** Observations of a knot until it may no longer jump, and how far it may until then. */
    private static final int YOUNG = 4;

    private static final double YOUNG_SURPRISE = 2;

    /** Cost of a row beside the first, as long as nothing was measured. */
    private static final double PRIOR_ROW = 0.3;

    /** Rows at which the price of a position is measured, at the beginning and at the end of the largest batch. */
    private static final int CONTEXT_ROWS = 4;

    /** A largest batch that is smaller than this tells nothing about it. */
    private static final int LEAST_CONTEXT = 32;

    /** A knot behind which none is. */
    private static final int NOWHERE = Integer.MAX_VALUE;

    private final int[] knots;
    private final double[] base;
    private final float[] seen;
    private double perPosition;
    private @Nullable CostModel follower;

    /** A model of which nothing is known: a pass of one token takes a millisecond, as with some ten million parameters. */
    static CostModel unknown(int maxRows) {
        return new CostModel(maxRows, 1e6);
    }

    /** @param firstNanos what one token costs */
    CostModel(int maxRows, double firstNanos) {
        int[] rows = new int[maxRows];
        int count = 0;
        for (int row = 1; row < maxRows; ) {
            rows[count++] = row;
            row += row < DENSE ? 1 : Math.max(1, Integer.highestOneBit(row) / PER_DOUBLING);
        }
        rows[count++] = maxRows;
        knots = Arrays.copyOf(rows, count);
        base = new double[count];
        seen = new float[count];
        for (int i = 0; i < count; i++) {
            base[i] = firstNanos * (1 + PRIOR_ROW * (knots[i] - 1));
        }
        perPosition = firstNanos / 20_000;
    }

    /**
     * Measures a model whose pages nobody owns yet: a ladder of batches of growing size, climbed again and again until
     * {@code budgetNanos} are spent; the first time no higher than half of them allow. Writes into its pages.
     */
    static CostModel measure(Model model, int maxRows, LongSupplier nanoClock, long budgetNanos) {
        return new Measurement(model, maxRows, nanoClock, budgetNanos).run();
    }

    /** Nanoseconds of a pass over {@code rows} tokens that look back at nothing; 0 for none. */
    double predict(int rows) {
        return predict(rows, 0);
    }

    /**
     * Nanoseconds of a pass.
     *
     * @param rows tokens; 0 for no pass at all
     * @param positions how many positions they look back at, summed over the rows
     */
    double predict(int rows, long positions) {
        return rows <= 0 ? 0 : base(rows) + perPosition * positions;
    }

    private double base(int rows) {
        int above = above(rows);
        if (above == 0) {
            return base[0];
        }
        int below = above - 1;
        double part = (double) (rows - knots[below]) / (knots[above] - knots[below]);
        return base[below] + part * (base[above] - base[below]);
    }

    /** Learns from a pass that took {@code took} nanoseconds. */
    void observe(int rows, long positions, long took) {
        if (took <= 0 || rows <= 0) {
            return;
        }
        double expected = predict(rows, positions);
        double looking = perPosition * positions / expected;
        int above = above(rows);
        double most = seen[above] < YOUNG ? YOUNG_SURPRISE : SURPRISE;
        double change = Math.clamp(took / expected, 1 / most, most) - 1;
        drift(1 + FAR * change);
        follow(Math.max(NEAR, 1 / (seen[above] + 5)) * change, above);
        for (int i = Math.max(0, above - 1); i <= above; i++) {
            double near = i == above ? weight(i, rows, above - 1) : weight(i, rows, above);
            base[i] *= 1 + near * Math.max(NEAR, 1 / (seen[i] + 5)) * (1 - looking) * change;
            seen[i] += (float) near;
        }
        perPosition *= 1 + NEAR * looking * change;
    }

    private void drift(double factor) {
        for (int i = 0; i < base.length; i++) {
            base[i] *= factor;
        }
        perPosition *= factor;
        if (follower != null) {
            follower.drift(factor);
        }
    }

    /**
     * What no pass has shown goes all the way with what one has: measured in the same cold minute, only its ratio means
     * something. Otherwise a size that once looked too dear would be avoided, and look so for ever.
     */
    private void follow(double change, int above) {
        for (int i = 0; i < base.length; i++) {
            if (i < above - 1 || i > above) {
                base[i] *= 1 + change / (1 + seen[i]);
            }
        }
        if (follower != null) {
            follower.follow(change, NOWHERE);
        }
    }

    /** From now on moves with another model on the same machine, even while nobody runs this one. Returns itself. */
    CostModel follows(CostModel other) {
        other.follower = this;
        return this;
    }

    /** How near {@code rows} is to a knot, seen from the knot on the other side: 1 when it is the knot. */
    private double weight(int knot, int rows, int other) {
        return other < 0 ? 1 : 1 - Math.abs((double) (rows - knots[knot]) / (knots[other] - knots[knot]));
    }

    /** The first knot at or above {@code rows}, found by halving; the last one for more. */
    private int above(int rows) {
        if (rows <= DENSE) {
            return Math.min(rows, knots.length) - 1; // the knots are every number
        }
        int found = Arrays.binarySearch(knots, rows);
        return Math.min(found >= 0 ? found : -found - 1, knots.length - 1);
    }

    /** The measurement at the start. Of the times that a batch took, the shortest counts. */
    private static final class Measurement {
        private final Model model;
        private final LongSupplier nanoClock;
        private final long budgetNanos;
        private final int most;
        private final int[] tokens;
        private final int[] pageTable;
        private final Batch batch;
        private final int maxBatch;
        private final CostModel result;
        private final double[] nanos = new double[Integer.SIZE]; // by rung: 2 to that power rows
        private int rungs;

        Measurement(Model model, int maxRows, LongSupplier nanoClock, long budgetNanos) {
            this.model = model;
            this.nanoClock = nanoClock;
            this.budgetNanos = budgetNanos;
            most = Math.min(model.contextLength(), model.pageCount() * model.pageTokens());
            tokens = new int[most];
            pageTable = new int[model.pageCount()];
            Arrays.setAll(pageTable, i -> i);
            maxBatch = Math.min(most, maxRows);
            batch = new Batch(maxBatch, 1);
            result = new CostModel(maxRows, 1);
            while (rungs < nanos.length - 1 && 1 << rungs <= maxBatch) {
                nanos[rungs++] = Double.POSITIVE_INFINITY;
            }
        }

        CostModel run() {
            long begin = nanoClock.getAsLong();
            double near = Double.POSITIVE_INFINITY;
            double far = Double.POSITIVE_INFINITY;
            int rows = Math.min(CONTEXT_ROWS, maxBatch);
            for (int round = 0; round == 0 || nanoClock.getAsLong() - begin < budgetNanos; round++) {
                for (int rung = 0; rung < rungs; rung++) {
                    nanos[rung] = Math.min(nanos[rung], time(0, 1 << rung));
                    long spent = nanoClock.getAsLong() - begin;
                    if (round == 0 && spent > budgetNanos / 2) {
                        rungs = rung + 1;
                    } else if (spent >= budgetNanos) {
                        break;
                    }
                }
                int context = 1 << (rungs - 1);
                if (context >= LEAST_CONTEXT && nanoClock.getAsLong() - begin < budgetNanos) {
                    near = Math.min(near, time(0, rows));
                    far = Math.min(far, time(context - rows, context));
                }
            }
            setBase();
            result.perPosition = far < Double.POSITIVE_INFINITY
                    ? Math.max(0, far - near) / ((double) rows * ((1 << (rungs - 1)) - rows)) + 1e-3
                    : nanos[0] / 20_000;
            return result;
        }

        private double time(int from, int to) {
            batch.clear();
            batch.add(tokens, from, to, pageTable, Math.min(to - from, model.maxLogitRows()));
            long begin = nanoClock.getAsLong();
            model.forward(batch);
            return (double) (nanoClock.getAsLong() - begin);
        }

        /** Knots follow the line between two rungs, behind the last that of the last two, or the prior's. */
        private void setBase() {
            int lastRows = 0;
            double lastNanos = 0;
            for (int rung = 0; rung < rungs; rung++) {
                int rows = 1 << rung;
                double took = Math.max(nanos[rung], lastNanos + 1); // never cheaper than fewer
                double slope = lastRows == 0 ? PRIOR_ROW * took : (took - lastNanos) / (rows - lastRows);
                for (int i = 0; i < result.knots.length; i++) {
                    if (result.knots[i] > lastRows) {
                        result.base[i] = took + slope * (result.knots[i] - rows);
                    }
                }
                lastRows = rows;
                lastNanos = took;
            }
        }
    }
}
