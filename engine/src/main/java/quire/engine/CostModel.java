package quire.engine;

import java.util.Arrays;
import java.util.function.LongSupplier;
import quire.model.Batch;
import quire.model.Model;

/**
 * What a forward pass costs, by its number of tokens: measured a little at the start, then on every pass. Between a few
 * dozen knots it is linear. An observation moves the knots beside it at once and all others a little, since whatever
 * slows one pass down (other programs, a hot CPU, code not yet compiled) mostly slows all.
 *
 * <pre>
 *   nanos │              ___/
 *         │        ___../            a few tokens cost little more than one, for reading the weights is what costs;
 *         │ ______/                  many cost what their arithmetic costs
 *         └─┬─┬─┬──┬────┬────────
 *           1 2 3  …   16   24       knots: every number up to 16, then eight to a doubling
 * </pre>
 */
final class CostModel {
    private static final int DENSE = 16;
    private static final int PER_DOUBLING = 8;

    /** How far one observation moves what it was observed at, and everything else. */
    private static final double NEAR = 0.2;

    private static final double FAR = 0.02;
    /**
     * An observation counts at most as this many times more or less than expected: what is followed is nearer to the
     * median than to the mean, for a pause is not a cost.
     */
    private static final double SURPRISE = 1.3;

    /** Cost of a row beside the first, as long as nothing was measured. */
    private static final double PRIOR_ROW = 0.3;

    private final int[] knots;
    private final double[] nanos;

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
        nanos = new double[count];
        for (int i = 0; i < count; i++) {
            nanos[i] = firstNanos * (1 + PRIOR_ROW * (knots[i] - 1));
        }
    }

    /**
     * Measures a model whose pages nobody owns yet: batches of growing size, until {@code budgetNanos} are spent.
     * Writes into its pages.
     */
    static CostModel measure(Model model, int maxRows, LongSupplier nanoClock, long budgetNanos) {
        int most = Math.min(Math.min(maxRows, model.contextLength()), model.pageCount() * model.pageTokens());
        int[] tokens = new int[most];
        int[] pageTable = new int[model.pageCount()];
        for (int i = 0; i < pageTable.length; i++) {
            pageTable[i] = i;
        }
        Batch batch = new Batch(most, 1);
        long begin = nanoClock.getAsLong();
        CostModel result = new CostModel(maxRows, 1);
        int lastRows = 0;
        double lastNanos = 0;
        for (int rows = 1; rows <= most && nanoClock.getAsLong() - begin < budgetNanos; rows *= 2) {
            double best = Double.POSITIVE_INFINITY;
            for (int i = 0; i < 3 && (i == 0 || nanoClock.getAsLong() - begin < budgetNanos); i++) {
                batch.clear();
                batch.add(tokens, 0, rows, pageTable, Math.min(rows, model.maxLogitRows()));
                long from = nanoClock.getAsLong();
                model.forward(batch);
                best = Math.min(best, (double) (nanoClock.getAsLong() - from));
            }
            best = Math.max(best, lastNanos + 1); // never cheaper than fewer
            result.set(lastRows, lastNanos, rows, best);
            lastRows = rows;
            lastNanos = best;
        }
        return result;
    }

    /** Knots above {@code fromRows} follow the line through both points, or the prior's where there is only one. */
    private void set(int fromRows, double fromNanos, int toRows, double toNanos) {
        double slope = fromRows == 0 ? PRIOR_ROW * toNanos : (toNanos - fromNanos) / (toRows - fromRows);
        for (int i = 0; i < knots.length; i++) {
            if (knots[i] > fromRows) {
                nanos[i] = toNanos + slope * (knots[i] - toRows);
            }
        }
    }

    /** Nanoseconds of a pass over {@code rows} tokens; 0 for none. */
    double predict(int rows) {
        if (rows <= 0) {
            return 0;
        }
        int above = above(rows);
        if (above == 0) {
            return nanos[0];
        }
        int below = above - 1;
        double part = (double) (rows - knots[below]) / (knots[above] - knots[below]);
        return nanos[below] + part * (nanos[above] - nanos[below]);
    }

    /** Learns from a pass that took {@code took} nanoseconds. */
    void observe(int rows, long took) {
        if (took <= 0) {
            return;
        }
        double ratio = Math.clamp(took / predict(rows), 1 / SURPRISE, SURPRISE);
        int above = above(rows);
        for (int i = 0; i < knots.length; i++) {
            double near = i == above ? weight(i, rows, above - 1) : i == above - 1 ? weight(i, rows, above) : 0;
            nanos[i] *= 1 + (FAR + NEAR * near) * (ratio - 1);
        }
    }

    /** How near {@code rows} is to a knot, seen from the knot on the other side: 1 when it is the knot. */
    private double weight(int knot, int rows, int other) {
        return other < 0 ? 1 : 1 - Math.abs((double) (rows - knots[knot]) / (knots[other] - knots[knot]));
    }

    /** The first knot at or above {@code rows}; the last one for more. */
    private int above(int rows) {
        int knot = 0;
        while (knot < knots.length - 1 && knots[knot] < rows) {
            knot++;
        }
        return knot;
    }
}
