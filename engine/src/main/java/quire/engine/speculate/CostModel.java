package quire.engine.speculate;

import java.util.Arrays;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;
import quire.engine.schedule.StepCost;
import quire.model.Batch;
import quire.model.Model;

/**
 * What a forward pass costs, by its number of tokens and by what they look back at: measured a little at the start, then on
 * every pass.
 *
 * <pre>
 *   cost  =  base(rows)  +  perContext × contexts            contexts: of K and V, each sequence's read once
 *                        +  perPosition × positions          positions: looked back at, summed over the rows
 *
 *   base  │              ___/
 *         │        ___../            a few tokens cost little more than one, for reading the weights is what costs;
 *         │ ______/                  many cost what their arithmetic costs
 *         └─┬─┬─┬──┬────┬────────
 *           1 2 3  …   64   72       knots: every number up to 64, then eight to a doubling; linear in between
 * </pre>
 *
 * A knot is the median of its last {@value #RECENT} passes, so that a pause is no cost, and a change is believed once it is
 * the rule. Where no pass has come by for long, the knot keeps the ratio that the start measured to the nearest below that knows
 * better: the start is cold, and other programs come and go, but what was measured in the same second is good for its
 * ratios. A model that {@link #follows} another does so too until it has run. Nothing moves for any other reason, so nothing
 * drifts. Texts of different lengths tell the prices of contexts and positions from that of the rows, and guesses, whose rows
 * share a context, the one from the other.
 */
public final class CostModel implements StepCost {
    /** As many as usually decode together: what one guess more costs must not be taken for what there is without it. */
    private static final int DENSE = 64;

    private static final int PER_DOUBLING = 8;

    /** Passes that a knot is known by. */
    private static final int RECENT = 9;

    /** So many passes at a knot count as at most so many times dearer or cheaper than expected. */
    private static final int YOUNG = 4;

    private static final double YOUNG_SURPRISE = 2;

    /** Passes after which what a knot knows is forgotten: it may be wrong by now, and nobody tries what looks dear. */
    private static final int FORGOTTEN = 1 << 15;

    // Of the regression on contexts and positions.
    private static final double MEAN_GAIN = 0.02;
    private static final double FADE = 0.999;
    private static final double PRIOR_SQUARES = 1e5;

    /** Cost of a row beside the first, as long as nothing was measured. */
    private static final double PRIOR_ROW = 0.3;

    /** Part of a pass that its rows cost at least, whatever looking back is thought to. */
    private static final double LEAST_ALONE = 0.1;

    /** Rows, beside one, at which the prices are measured, at the beginning and at the end of the largest batch. */
    private static final int CONTEXT_ROWS = 4;

    /** A largest batch that is smaller than this tells nothing about it. */
    private static final int LEAST_CONTEXT = 32;

    private final int[] knots;
    private final double[] initial; // base, as the start measured it
    private final double[] base;
    private final double[][] recent; // by knot: what its last passes cost, a ring
    private final int[] observed; // passes that the knot knows of
    private final long[] lastObserved;
    private final double[] sorted = new double[RECENT];
    private long passes;
    private @Nullable CostModel leader;

    /** Of the first knot that knows of a pass: what it costs beside what it did at the start. 0 while there is none. */
    private double firstRatio;

    private final double[] meanContexts;
    private final double[] meanPositions;
    private final double[] meanNanos;
    // Sums over passes of products of deviations from the means: of contexts (c), positions (p) and nanoseconds (n).
    private double cc;
    private double cp;
    private double pp;
    private double cn;
    private double pn;
    private double priorPerContext;
    private double priorPerPosition;
    private double perContext;
    private double perPosition;

    /** A model of which nothing is known: a pass of one token takes a millisecond, as with some ten million parameters. */
    public static CostModel unknown(int maxRows) {
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
        initial = new double[count];
        base = new double[count];
        recent = new double[count][RECENT];
        observed = new int[count];
        lastObserved = new long[count];
        for (int i = 0; i < count; i++) {
            initial[i] = firstNanos * (1 + PRIOR_ROW * (knots[i] - 1));
            base[i] = initial[i];
        }
        meanContexts = new double[count];
        meanPositions = new double[count];
        meanNanos = new double[count];
        setUnknownPrices(firstNanos);
    }

    /** What looking back is thought to cost beside a pass of one token, as long as nothing was measured. */
    private void setUnknownPrices(double firstNanos) {
        setPrices(firstNanos / 40_000, firstNanos / 40_000);
    }

    private void setPrices(double ofContext, double ofPosition) {
        priorPerContext = ofContext;
        perContext = ofContext;
        priorPerPosition = ofPosition;
        perPosition = ofPosition;
    }

    /**
     * Measures a model whose pages nobody owns yet: a ladder of batches of growing size, climbed again and again until
     * {@code budgetNanos} are spent; the first time no higher than half of them allow. Writes into its pages.
     */
    public static CostModel measure(Model model, int maxRows, LongSupplier nanoClock, long budgetNanos) {
        return new Measurement(model, maxRows, nanoClock, budgetNanos).run();
    }

    /** Nanoseconds of a pass over {@code rows} tokens that look back at nothing; 0 for none. */
    double predict(int rows) {
        return predict(rows, 0, 0);
    }

    /** Nanoseconds of a pass over one token of each of {@code rows} sequences, which look back at {@code positions} together. */
    double predict(int rows, long positions) {
        return predict(rows, positions, positions);
    }

    @Override
    public double predict(int rows, long contexts, long positions) {
        // No pass costs more than one for each of its rows; those that are seldom can, with workers asleep and code
        // cold.
        return rows <= 0 ? 0 : scale() * (Math.min(rows * base[0], base(rows)) + lookingBack(contexts, positions));
    }

    private double lookingBack(long contexts, long positions) {
        return perContext * (double) contexts + perPosition * (double) positions;
    }

    /** What a model that has not run yet takes from the one it follows. */
    private double scale() {
        return firstRatio == 0 && leader != null && leader.firstRatio > 0 ? leader.firstRatio : 1;
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

    @Override
    public void observe(int rows, long contexts, long positions, long took) {
        if (took <= 0 || rows <= 0) {
            return;
        }
        int above = above(rows);
        int knot = above > 0 && rows - knots[above - 1] < knots[above] - rows ? above - 1 : above;
        double expected = predict(rows, contexts, positions);
        double most = observed[knot] < YOUNG ? YOUNG_SURPRISE : Double.POSITIVE_INFINITY;
        double nanos = Math.clamp((double) took, expected / most, expected * most);
        look(knot, contexts, positions, nanos);
        double alone = Math.max(nanos - lookingBack(contexts, positions), nanos * LEAST_ALONE);
        take(knot, alone * base[knot] / base(rows));
        setOthers();
    }

    /**
     * Regresses the prices of contexts and positions by least squares, everything from its mean at the same knot, older passes
     * fading; what the start measured counts as {@value #PRIOR_SQUARES} of a sum of squares (ridge regression: Hoerl and
     * Kennard, 1970). As long as every sequence has one row, the two are the same number, and share what it costs.
     */
    private void look(int knot, long contexts, long positions, double nanos) {
        double gain = Math.max(MEAN_GAIN, 1.0 / (observed[knot] + 1));
        double c = contexts - meanContexts[knot];
        double p = positions - meanPositions[knot];
        double dearer = nanos - meanNanos[knot];
        meanContexts[knot] += gain * c;
        meanPositions[knot] += gain * p;
        meanNanos[knot] += gain * dearer;
        if (observed[knot] == 0) {
            return;
        }
        double n = Math.min(dearer, meanNanos[knot]); // a pause is no cost
        cc = FADE * cc + c * c;
        cp = FADE * cp + c * p;
        pp = FADE * pp + p * p;
        cn = FADE * cn + c * n;
        pn = FADE * pn + p * n;
        double left = cc + PRIOR_SQUARES;
        double right = pp + PRIOR_SQUARES;
        double ofContexts = cn + PRIOR_SQUARES * priorPerContext * firstRatio;
        double ofPositions = pn + PRIOR_SQUARES * priorPerPosition * firstRatio;
        double determinant = left * right - cp * cp; // positive: cp² ≤ cc · pp
        perContext = (right * ofContexts - cp * ofPositions) / determinant;
        perPosition = (left * ofPositions - cp * ofContexts) / determinant;
        if (perContext < 0) {
            perContext = 0;
            perPosition = Math.max(0, ofPositions / right);
        } else if (perPosition < 0) {
            perContext = Math.max(0, ofContexts / left);
            perPosition = 0;
        }
    }

    /** Takes a pass into a knot. */
    private void take(int knot, double nanos) {
        recent[knot][observed[knot] % RECENT] = nanos;
        observed[knot]++;
        lastObserved[knot] = passes++;
        int count = Math.min(observed[knot], RECENT);
        for (int size = 0; size < count; size++) { // by insertion: the JDK's sorts may allocate
            int place = size;
            for (; place > 0 && sorted[place - 1] > recent[knot][size]; place--) {
                sorted[place] = sorted[place - 1];
            }
            sorted[place] = recent[knot][size];
        }
        base[knot] = sorted[(count - 1) / 2];
    }

    /**
     * Lets knots that know nothing keep their ratio to the nearest below that does. What is long ago is not known, nor what a
     * larger pass has since disproved by costing less.
     */
    private void setOthers() {
        int cheapest = -1; // of the knots above that know
        for (int i = base.length - 1; i >= 0; i--) {
            boolean disproved = cheapest >= 0 && base[cheapest] < base[i];
            if (passes - lastObserved[i] > FORGOTTEN || (disproved && lastObserved[i] < lastObserved[cheapest])) {
                observed[i] = 0;
            }
            if (observed[i] > 0 && !disproved) {
                cheapest = i;
            }
        }
        double ratio = 0;
        for (int i = 0; i < base.length; i++) {
            if (observed[i] > 0) {
                double own = base[i] / initial[i];
                if (ratio == 0) {
                    firstRatio = own;
                    for (int below = 0; below < i; below++) {
                        base[below] = initial[below] * own;
                    }
                }
                ratio = own;
            } else if (ratio > 0) {
                base[i] = initial[i] * ratio;
            }
        }
        double least = Double.POSITIVE_INFINITY;
        for (int i = base.length - 1; i >= 0; i--) {
            if (observed[i] > 0) {
                least = Math.min(least, base[i]);
            } else {
                base[i] = Math.min(base[i], least);
            }
        }
    }

    /** A model that knows as much as this one did at the start, and learns from other passes. */
    public CostModel copyOfStart() {
        CostModel copy = new CostModel(knots[knots.length - 1], 1);
        System.arraycopy(initial, 0, copy.initial, 0, initial.length);
        System.arraycopy(initial, 0, copy.base, 0, initial.length);
        copy.setPrices(priorPerContext, priorPerPosition);
        return copy;
    }

    /** From now on, until it has run, moves with another model on the same machine. Returns itself. */
    public CostModel follows(CostModel other) {
        leader = other;
        return this;
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
            double farOfOne = Double.POSITIVE_INFINITY;
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
                    farOfOne = Math.min(farOfOne, time(context - 1, context));
                }
            }
            if (far < Double.POSITIVE_INFINITY) {
                int context = 1 << (rungs - 1);
                double ofSome = Math.max(0, far - near) / (context - rows); // rows × a position, and a context
                double ofOne = Math.clamp((farOfOne - nanos[0]) / (context - 1), ofSome / rows, ofSome);
                double ofPosition = (ofSome - ofOne) / (rows - 1);
                result.setPrices(ofOne - ofPosition + 1e-3, ofPosition + 1e-3);
            } else {
                result.setUnknownPrices(nanos[0]);
            }
            setBase();
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
                long positions = (long) rows * (rows + 1) / 2; // that each looks back at those before it
                double alone = Math.max(nanos[rung] - result.lookingBack(rows, positions), nanos[rung] * LEAST_ALONE);
                double took = Math.max(alone, lastNanos + 1); // never cheaper than fewer
                double slope = lastRows == 0 ? PRIOR_ROW * took : (took - lastNanos) / (rows - lastRows);
                for (int i = 0; i < result.knots.length; i++) {
                    if (result.knots[i] > lastRows) {
                        result.initial[i] = took + slope * (result.knots[i] - rows);
                        result.base[i] = result.initial[i];
                    }
                }
                lastRows = rows;
                lastNanos = took;
            }
        }
    }
}
