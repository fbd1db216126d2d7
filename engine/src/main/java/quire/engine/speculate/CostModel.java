package quire.engine.speculate;

import java.util.Arrays;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;
import quire.engine.schedule.StepCost;
import quire.model.Batch;
import quire.model.Model;

/**
 * Predicts the time of a forward pass from its number of tokens and the positions that they attend to. A short
 * measurement at the start gives the first values. Every pass updates them.
 *
 * <pre>
 *   cost  =  base(rows)  +  perContext × contexts            contexts: positions whose K and V are read, each once
 *                        +  perPosition × positions          positions: attended to, summed over the rows
 *
 *   base  │              ___/
 *         │        ___../            few tokens cost little more than one: reading the weights dominates;
 *         │ ______/                  many tokens cost what their arithmetic costs
 *         └─┬─┬─┬──┬────┬────────
 *           1 2 3  …   64   72       knots: every number up to 64, then eight to a doubling; linear in between
 * </pre>
 *
 * <p><b>Base.</b> A knot is the median of its last {@value #RECENT} passes: one delayed pass does not change it, a
 * lasting change does. A knot without recent passes is estimated: from the nearest measured knot below, and the ratio
 * of the two at the start. The start's values are too high, because the code is not compiled yet, but their ratios
 * hold. A model that {@link #follows} another is scaled with it until its own first pass. No other rule moves a knot,
 * so knots cannot drift.
 *
 * <p><b>Coefficients.</b> Passes over sequences of different lengths separate the coefficients of contexts and
 * positions from the base. Draft tokens separate the two coefficients from each other, because the rows of a draft
 * share one context.
 */
public final class CostModel implements StepCost {
    /**
     * Up to this number of rows every number is a knot. Usual batches have fewer sequences, and the cost of one draft
     * token must not disappear in the rounding to a knot.
     */
    private static final int DENSE = 64;

    private static final int PER_DOUBLING = 8;

    /** More rows than any step has. */
    private static final int MOST_ROWS = 1 << 24;

    /** Passes that a knot is the median of. */
    private static final int RECENT = 9;

    /** The first passes at a knot count as at most twice their prediction. */
    private static final int FIRST_PASSES = 4;

    private static final double FIRST_PASSES_FACTOR = 2;

    /**
     * The start's values are at most this many times too high. Without a least value, predictions that are too low could
     * limit what the next passes are counted as, and so get lower and lower.
     */
    private static final double MOST_TOO_HIGH = 1000;

    /**
     * Number of passes after which an unused knot loses its measurements. They may have become too high, and the engine
     * never uses a size that looks expensive.
     */
    private static final int MAX_UNUSED_PASSES = 1 << 15;

    // Of the regression on contexts and positions.
    private static final double MEAN_GAIN = 0.02;
    private static final double FADE = 0.999;
    private static final double PRIOR_SQUARES = 1e5;

    /** Assumed cost of each further row, as a share of the first, before any measurement. */
    private static final double PRIOR_ROW = 0.3;

    /**
     * Assumed cost of a row of a large pass, as a share of the first row, where the start measured only sizes that are
     * bound by reading the weights. Processors compute 4 to 8 rows in the time in which they read the weights once.
     */
    private static final double LARGE_ROW = 0.25;

    /** A pass that takes this many times as long as one row is bound by its arithmetic, and so are larger ones. */
    private static final double ARITHMETIC_BINDS = 2;

    /** The base is at least this share of the time of a pass. This limits the share that is attributed to attention. */
    private static final double LEAST_BASE = 0.1;

    /** The coefficients are measured with this many rows and with one row, at the start and at the end of a context. */
    private static final int CONTEXT_ROWS = 4;

    /** The start measures at least so many sizes, however long they take: one alone does not show whether reading binds. */
    private static final int LEAST_SIZES = 2;

    /** The start measures each size at most so often. A small model is ready before the time for it is over. */
    private static final int MOST_ROUNDS = 6;

    /** Shortest context with which the coefficients can be measured. */
    private static final int LEAST_CONTEXT = 32;

    private final int[] knots;
    private final double[] initial; // the base that the start measured
    private final double[] base;
    private final double[][] recent; // by knot: the costs of its last passes, a ring
    private final int[] observed; // by knot: passes measured
    private final long[] lastObserved;
    private final double[] sorted = new double[RECENT];
    private long passes;
    private @Nullable CostModel leader;

    /** Base of the first measured knot divided by its initial base; 0 before the first measured pass. */
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

    /**
     * A cost model without measurements. A pass of one token is assumed to take 1 ms, as with about ten million
     * parameters.
     *
     * @param maxRows tokens of the largest pass
     */
    public static CostModel unknown(int maxRows) {
        return new CostModel(maxRows, 1e6);
    }

    /** @param firstNanos assumed cost of a pass of one token */
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
        setDefaultCoefficients(firstNanos);
    }

    /** Sets the assumed coefficients of attention, from the cost of a pass of one token. */
    private void setDefaultCoefficients(double firstNanos) {
        setCoefficients(firstNanos / 40_000, firstNanos / 40_000);
    }

    private void setCoefficients(double ofContext, double ofPosition) {
        priorPerContext = ofContext;
        perContext = ofContext;
        priorPerPosition = ofPosition;
        perPosition = ofPosition;
    }

    /**
     * Measures a model before its first request. Runs batches of 1, 2, 4 … rows, {@value #MOST_ROUNDS} times or until
     * {@code budgetNanos} are spent. The first round stops growing when half of the budget is spent, but not before {@value
     * #LEAST_SIZES} sizes. Overwrites all pages.
     *
     * @param maxRows tokens of the largest pass
     * @param nanoClock a monotonic clock
     */
    public static CostModel measure(Model model, int maxRows, LongSupplier nanoClock, long budgetNanos) {
        return new Measurement(model, maxRows, nanoClock, budgetNanos).run();
    }

    /** Nanoseconds of a pass over {@code rows} tokens without attention; 0 for 0 rows. */
    double predict(int rows) {
        return predict(rows, 0, 0);
    }

    /**
     * Nanoseconds of a pass over one token of each of {@code rows} sequences that have {@code positions} positions
     * together.
     */
    double predict(int rows, long positions) {
        return predict(rows, positions, positions);
    }

    @Override
    public double predict(int rows, long contexts, long positions) {
        // The measured time of a rare size may be too high, because its code was not compiled or workers slept. The
        // time of as many passes of one row is an upper bound.
        return rows <= 0 ? 0 : scale() * (Math.min(rows * base[0], base(rows)) + attention(contexts, positions));
    }

    private double attention(long contexts, long positions) {
        return perContext * (double) contexts + perPosition * (double) positions;
    }

    /** The ratio of measured to initial cost of the followed model, which applies until this model's own first pass. */
    private double scale() {
        return firstRatio == 0 && leader != null && leader.firstRatio > 0 ? leader.firstRatio : 1;
    }

    private double base(int rows) {
        return between(base, rows);
    }

    /** A value for {@code rows} from the values of the knots around it. */
    private double between(double[] values, int rows) {
        int above = above(rows);
        if (above == 0) {
            return values[0];
        }
        int below = above - 1;
        double part = (double) (rows - knots[below]) / (knots[above] - knots[below]);
        return values[below] + part * (values[above] - values[below]);
    }

    @Override
    public void observe(int rows, long contexts, long positions, long took) {
        if (took <= 0 || rows <= 0) {
            return;
        }
        int above = above(rows);
        int knot = above > 0 && rows - knots[above - 1] < knots[above] - rows ? above - 1 : above;
        double nanos = took;
        if (observed[knot] < FIRST_PASSES) {
            // No lower limit: a pass may be delayed, but it never takes less time than it costs. A limit from a
            // prediction
            // that is too high would raise the next prediction, without end.
            nanos = Math.min(nanos, FIRST_PASSES_FACTOR * predict(rows, contexts, positions));
        }
        updateCoefficients(knot, contexts, positions, nanos);
        double alone = Math.max(nanos - attention(contexts, positions), nanos * LEAST_BASE);
        // The ratio is the start's. The ratio of today's values would depend on the knot's own last value: below an
        // expensive neighbour, the value would get smaller with every pass, down to zero.
        double value = alone * initial[knot] / between(initial, rows);
        addToKnot(knot, Math.max(value, initial[knot] / MOST_TOO_HIGH));
        extrapolate();
    }

    /**
     * Estimates the coefficients of contexts and positions by least squares, from deviations from the means at the same
     * knot. Old passes fade. The start's coefficients enter with a weight of {@value #PRIOR_SQUARES} in the sum of
     * squares (ridge regression: Hoerl and Kennard, 1970). While every sequence has one row, contexts equal positions,
     * and the two share the cost.
     */
    private void updateCoefficients(int knot, long contexts, long positions, double nanos) {
        double gain = Math.max(MEAN_GAIN, 1.0 / (observed[knot] + 1));
        double c = contexts - meanContexts[knot];
        double p = positions - meanPositions[knot];
        double excess = nanos - meanNanos[knot];
        meanContexts[knot] += gain * c;
        meanPositions[knot] += gain * p;
        meanNanos[knot] += gain * excess;
        if (observed[knot] == 0) {
            return;
        }
        double n = Math.min(excess, meanNanos[knot]); // limits the weight of a delayed pass
        cc = FADE * cc + c * c;
        cp = FADE * cp + c * p;
        pp = FADE * pp + p * p;
        cn = FADE * cn + c * n;
        pn = FADE * pn + p * n;
        double ridgeCc = cc + PRIOR_SQUARES;
        double ridgePp = pp + PRIOR_SQUARES;
        double ofContexts = cn + PRIOR_SQUARES * priorPerContext * firstRatio;
        double ofPositions = pn + PRIOR_SQUARES * priorPerPosition * firstRatio;
        double determinant = ridgeCc * ridgePp - cp * cp; // positive: cp² ≤ cc · pp
        perContext = (ridgePp * ofContexts - cp * ofPositions) / determinant;
        perPosition = (ridgeCc * ofPositions - cp * ofContexts) / determinant;
        if (perContext < 0) {
            perContext = 0;
            perPosition = Math.max(0, ofPositions / ridgePp);
        } else if (perPosition < 0) {
            perContext = Math.max(0, ofContexts / ridgeCc);
            perPosition = 0;
        }
    }

    /** Adds a pass to a knot. */
    private void addToKnot(int knot, double nanos) {
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
     * Sets the knots without measurements: they keep their initial ratio to the nearest measured knot below. A knot
     * loses its measurements if they are old, or if a larger pass has cost less since.
     */
    private void extrapolate() {
        int cheapest = -1; // of the measured knots above
        for (int i = base.length - 1; i >= 0; i--) {
            boolean disproved = cheapest >= 0 && base[cheapest] < base[i];
            if (passes - lastObserved[i] > MAX_UNUSED_PASSES
                    || (disproved && lastObserved[i] < lastObserved[cheapest])) {
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

    @Override
    public double[] start() {
        double[] numbers = new double[2 + 2 * knots.length];
        numbers[0] = priorPerContext;
        numbers[1] = priorPerPosition;
        for (int i = 0; i < knots.length; i++) {
            numbers[2 + 2 * i] = knots[i];
            numbers[3 + 2 * i] = initial[i];
        }
        return numbers;
    }

    /**
     * The cost model that began with such numbers.
     *
     * @throws IllegalArgumentException if these are not the numbers of a {@link #start}
     */
    public static CostModel ofStart(double[] numbers) {
        int last = numbers.length - 2;
        if (last < 2 || numbers[last] < 1 || numbers[last] > MOST_ROWS) {
            throw new IllegalArgumentException("these are not the numbers of a cost model");
        }
        CostModel model = new CostModel((int) numbers[last], 1);
        if (numbers.length != 2 + 2 * model.knots.length) {
            throw new IllegalArgumentException("the cost model has " + model.knots.length
                    + " sizes of steps, but there are " + numbers.length + " numbers");
        }
        for (int i = 0; i < model.knots.length; i++) {
            model.initial[i] = numbers[3 + 2 * i];
            model.base[i] = numbers[3 + 2 * i];
        }
        model.setCoefficients(numbers[0], numbers[1]);
        return model;
    }

    /** A copy of the initial measurements. The copy and this model are then updated by different passes. */
    public CostModel copyOfStart() {
        return ofStart(start());
    }

    /** Scales this model with another one on the same machine until its own first pass. Returns this model. */
    public CostModel follows(CostModel other) {
        leader = other;
        return this;
    }

    /** The first knot at or above {@code rows}; the last one if there is none. */
    private int above(int rows) {
        if (rows <= DENSE) {
            return Math.min(rows, knots.length) - 1; // every number is a knot
        }
        int found = Arrays.binarySearch(knots, rows);
        return Math.min(found >= 0 ? found : -found - 1, knots.length - 1);
    }

    /** The measurement at the start. The shortest time of each batch counts. */
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
        private final double[] nanos = new double[Integer.SIZE]; // element r: of a batch of 2^r rows
        private int sizes;

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
            while (sizes < nanos.length - 1 && 1 << sizes <= maxBatch) {
                nanos[sizes++] = Double.POSITIVE_INFINITY;
            }
        }

        CostModel run() {
            long begin = nanoClock.getAsLong();
            double near = Double.POSITIVE_INFINITY;
            double far = Double.POSITIVE_INFINITY;
            double farOfOne = Double.POSITIVE_INFINITY;
            int rows = Math.min(CONTEXT_ROWS, maxBatch);
            for (int round = 0; round < MOST_ROUNDS; round++) {
                if (round > 0 && nanoClock.getAsLong() - begin >= budgetNanos) {
                    break;
                }
                for (int size = 0; size < sizes; size++) {
                    nanos[size] = Math.min(nanos[size], time(0, 1 << size));
                    long spent = nanoClock.getAsLong() - begin;
                    if (round == 0 && spent > budgetNanos / 2 && size + 1 >= LEAST_SIZES) {
                        sizes = size + 1;
                    } else if (round > 0 && spent >= budgetNanos) {
                        break;
                    }
                }
                int context = 1 << (sizes - 1);
                if (context >= LEAST_CONTEXT && nanoClock.getAsLong() - begin < budgetNanos) {
                    near = Math.min(near, time(0, rows));
                    far = Math.min(far, time(context - rows, context));
                    farOfOne = Math.min(farOfOne, time(context - 1, context));
                }
            }
            if (far < Double.POSITIVE_INFINITY) {
                int context = 1 << (sizes - 1);
                // Each further position costs the batch one context and, for each of its rows, one position.
                double ofSome = Math.max(0, far - near) / (context - rows);
                double ofOne = Math.clamp((farOfOne - nanos[0]) / (context - 1), ofSome / rows, ofSome);
                double ofPosition = (ofSome - ofOne) / (rows - 1);
                result.setCoefficients(ofOne - ofPosition + 1e-3, ofPosition + 1e-3);
            } else {
                result.setDefaultCoefficients(nanos[0]);
            }
            setBase();
            return result;
        }

        private double time(int from, int to) {
            batch.clear();
            batch.add(tokens, from, to, pageTable, Math.min(to - from, model.maxLogitRows()));
            batch.setState(0, 0, 0, Batch.Start.ANY);
            long begin = nanoClock.getAsLong();
            model.forward(batch);
            return (double) (nanoClock.getAsLong() - begin);
        }

        /**
         * Interpolates the knots between two measured sizes. Knots above the largest one are extrapolated with the last
         * slope. A large model leaves time for few sizes, whose slope is nearly 0, because reading the weights binds them.
         * Then {@link #LARGE_ROW} bounds the extrapolated knots from below: steps that are too long at first would stop all
         * streams for seconds, and steps that are too short are soon corrected.
         */
        private void setBase() {
            int lastRows = 0;
            double lastNanos = 0;
            for (int size = 0; size < sizes; size++) {
                int rows = 1 << size;
                long positions = (long) rows * (rows + 1) / 2; // each row attends to those before it
                double alone = Math.max(nanos[size] - result.attention(rows, positions), nanos[size] * LEAST_BASE);
                // A batch never costs more than as many passes of one row. If it did here, it was delayed.
                double possible = size == 0 ? alone : Math.min(alone, rows * result.initial[0]);
                double took = Math.max(possible, lastNanos + 1); // more rows never cost less
                double slope = lastRows == 0 ? PRIOR_ROW * took : (took - lastNanos) / (rows - lastRows);
                for (int i = 0; i < result.knots.length; i++) {
                    if (result.knots[i] > lastRows) {
                        result.initial[i] = took + slope * (result.knots[i] - rows);
                    }
                }
                lastRows = rows;
                lastNanos = took;
            }
            double first = result.initial[0];
            if (lastNanos < ARITHMETIC_BINDS * first) {
                for (int i = 0; i < result.knots.length; i++) {
                    if (result.knots[i] > lastRows) {
                        result.initial[i] = Math.max(result.initial[i], LARGE_ROW * first * result.knots[i]);
                    }
                }
            }
            System.arraycopy(result.initial, 0, result.base, 0, result.base.length);
        }
    }
}
