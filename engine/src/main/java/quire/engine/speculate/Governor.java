package quire.engine.speculate;

import org.jspecify.annotations.Nullable;
import quire.engine.Speculation;
import quire.engine.schedule.LengthEstimator;
import quire.engine.schedule.Sequence;

/**
 * Decides how many draft tokens each sequence gets in a step. It maximises the expected number of tokens per second.
 * Often the best number is 0.
 *
 * <p><b>Inputs.</b> The cost of a pass, by its rows and their context ({@link CostModel}). The acceptance rate of draft
 * tokens, by drafter, confidence and position over all sequences, and recently for each sequence ({@link
 * AcceptanceRate}). The length of answers ({@link LengthEstimator}): a draft model has to read a prompt first, and its
 * draft tokens must save that time within the rest of the answer.
 *
 * <p><b>The choice.</b> Let d(i) be the number of draft tokens for sequence i. Its draft token p is accepted with
 * probability q(i, p) = α(i, 1) · … · α(i, p). A step over N sequences has the rate
 *
 * <pre>
 *                      N + Σi Σp≤d(i) q(i, p)                 expected tokens
 *   rate(d)  =  ─────────────────────────────────────
 *                T(N) + [T(R + Σd) − T(R)] + drafting         R: rows without draft tokens, prompt rows included; what
 *                                                             prompt rows cost does not depend on the choice
 *                                                             T: cost of rows and of the positions they attend to
 * </pre>
 *
 * Dinkelbach's method maximises such a ratio (<i>On Nonlinear Fractional Programming</i>, 1967). At a given rate λ, a
 * draft token increases the rate if q &gt; λ · cost. The rate of the best choice for λ is the next λ. Two rounds are
 * enough. The cost of one more row is not constant. So each round adds one position after the other, for all sequences
 * in which it increases the rate, and keeps the depth with the best rate. The rate of a choice with drafts must be
 * better than the rate without by a share of {@value #MARGIN}.
 *
 * <p><b>Exploration.</b> Two estimates become outdated if nothing is tried. The first is the acceptance in sequences
 * without drafts. So sometimes the governor probes: one sequence gets more draft tokens than the estimates support. The
 * number varies, because many draft tokens may be cheaper than the cost of few suggests. The smaller the expected loss,
 * the more often this happens. The second is the cost of steps without drafts. So sometimes all drafts pause. Probes
 * and pauses last for several steps in a row, because short steps reach their usual speed only after a few steps.
 *
 * <p><b>The overhead budget.</b> The estimates may be wrong, so the measured result limits the loss. The budget grows
 * by {@value #OVERHEAD_SHARE} of all time. A step with drafts adds the time that the drafts saved, or subtracts the
 * time that they cost. When it is negative, all drafts stop until half of the probing budget's maximum has accumulated.
 * The time that a draft model spends on reading a prompt is charged gradually, over the answer that it reads for. So
 * the total loss is at most {@value #OVERHEAD_SHARE} of the time, plus the initial budget: {@value #MAX_BUDGET_STEPS}
 * steps of one token, but at least 50 ms and at most 250 ms. Exploration has a second budget, of {@value #PROBE_SHARE}
 * of the time, which saved time does not increase.
 *
 * <p>Deterministic: it reads no clock. Engine thread only; a step allocates nothing.
 */
final class Governor implements DraftPolicy {
    private static final double MARGIN = 0.01;

    /** The share of time that drafts may lose. */
    private static final double OVERHEAD_SHARE = 0.015;

    /** The share of time that probes may be expected to lose. They lose all of it only if no draft is ever accepted. */
    private static final double PROBE_SHARE = 0.0075;

    /** The maximum of either budget, in steps of one token and in nanoseconds. */
    private static final double MAX_BUDGET_STEPS = 64;

    private static final double MAX_BUDGET_NANOS = 250e6;

    /**
     * The maximum of the overhead budget is at least this, because external delays do not depend on the length of
     * steps.
     */
    private static final double MIN_OVERHEAD_LIMIT_NANOS = 50e6;

    /** Numbers of draft tokens of successive probes. */
    private static final int[] PROBES = {1, 2, 1, 4, 1, 8};

    /**
     * Maximum number of steps of a probe, and maximum number of nanoseconds that the steps after the first may cost.
     */
    private static final int BURST = 8;

    private static final double BURST_NANOS = 10e6;

    /** A probe is charged with at least this share of its cost, however many tokens it is expected to yield. */
    private static final double MIN_CHARGED_SHARE = 0.25;

    /** Maximum number of steps with drafts between two pauses, and number of such steps before the first pause. */
    private static final int DRAFTING_STEPS = 512;

    private static final int FIRST_DRAFTING_STEPS = 16;

    /** Steps of a pause. */
    private static final int PAUSE_STEPS = 12;

    private static final int ROUNDS = 2;

    /** Weight of the rate over all sequences beside a sequence's own, in comparisons. */
    private static final double SHARED_WEIGHT = 4;

    /** Number of comparisons at a position after which its counts are halved. */
    private static final double MEMORY = 400;

    /** The usual lag of a draft model is at most this many tokens. With a larger lag, it has to read a prompt. */
    private static final int USUAL_LAG = 2;

    /** A later drafter is preferred if its acceptance is higher by this factor. The first one is cheaper. */
    private static final double MUCH_BETTER = 1.2;

    /** Positions that are accepted with a lower probability are not considered. */
    private static final double MIN_PROBABILITY = 0.02;

    /** Assumed acceptance at each confidence level, and its weight in comparisons. */
    private static final double[] PRIOR = {0.4, 0.5, 0.65, 0.8};

    private static final double PRIOR_WEIGHT = 4;

    /** Weight of the rate over all positions beside a position's own, in comparisons. */
    private static final double ALL_POSITIONS_WEIGHT = 12;

    private final Drafter[] drafters;
    private final CostModel cost;
    private final LengthEstimator lengths = new LengthEstimator();
    private final double[][][] hits; // by drafter, confidence, position
    private final double[][][] trials;
    private final double[][] allHits; // over the positions
    private final double[][] allTrials;

    // Of the decision in progress, by index in the drafts.
    private final int[] drafterOf;
    private final double[] reach; // probability that all draft tokens so far are accepted
    private final int[] chosen;
    private final int[] best;

    // Both start full: the first step reduces them to their maximum.
    private double overheadNanos = Double.MAX_VALUE;
    private double probeNanos = Double.MAX_VALUE;
    /** Time spent on reading prompts that running answers have not amortised yet. It does not count as a loss yet. */
    private double unamortisedNanos;

    private boolean stopped; // the overhead budget is used up
    private int draftingSteps;
    private int pauseLeft; // steps
    private int pauses;
    private int nextProbe; // index in the drafts
    private int nextProbeSize; // index in PROBES
    private int burstLeft; // steps
    private @Nullable Sequence probed;

    Governor(Drafter[] drafters, CostModel cost, int maxSequences) {
        this.drafters = drafters;
        this.cost = cost;
        hits = new double[drafters.length][AcceptanceRate.CONFIDENCE_LEVELS][Speculation.MAX_DRAFT_TOKENS];
        trials = new double[drafters.length][AcceptanceRate.CONFIDENCE_LEVELS][Speculation.MAX_DRAFT_TOKENS];
        allHits = new double[drafters.length][AcceptanceRate.CONFIDENCE_LEVELS];
        allTrials = new double[drafters.length][AcceptanceRate.CONFIDENCE_LEVELS];
        drafterOf = new int[maxSequences];
        reach = new double[maxSequences];
        chosen = new int[maxSequences];
        best = new int[maxSequences];
    }

    @Override
    public void decide(StepDrafts drafts) {
        int size = drafts.size();
        if (size == 0 || stopped) {
            return;
        }
        boolean offered = false;
        for (int i = 0; i < size; i++) {
            drafterOf[i] = selectDrafter(drafts, i);
            best[i] = 0;
            offered |= drafterOf[i] != StepDrafts.NO_DRAFTER;
        }
        if (!offered) {
            return;
        }
        double without = size / cost.predict(size, drafts.decodePositions());
        double rate = without;
        double bestRate = without * (1 + MARGIN);
        boolean faster = false;
        for (int round = 0; round < ROUNDS; round++) {
            double found = search(drafts, rate, bestRate);
            if (found > bestRate) {
                bestRate = found;
                faster = true;
            }
            rate = Math.max(rate, found);
        }
        if (faster && pauses()) {
            return;
        }
        if (!probe(drafts, faster ? bestRate : without) && !faster) {
            return;
        }
        for (int i = 0; i < size; i++) {
            if (best[i] > 0) {
                int drafter = drafterOf[i];
                drafts.assign(i, drafter, drafters[drafter].confidence(drafts.sequence(i)), best[i]);
            }
        }
    }

    /**
     * Whether this step has no drafts although they would be faster. The time between two pauses doubles, up to a
     * limit.
     */
    private boolean pauses() {
        if (pauseLeft == 0
                && ++draftingSteps >= Math.min(DRAFTING_STEPS, FIRST_DRAFTING_STEPS << Math.min(pauses, 8))) {
            draftingSteps = 0;
            pauseLeft = PAUSE_STEPS;
            pauses++;
        }
        if (pauseLeft == 0) {
            return false;
        }
        pauseLeft--;
        return true;
    }

    /** The first drafter that offers something, unless a later one has a much higher acceptance for this sequence. */
    private int selectDrafter(StepDrafts drafts, int index) {
        int selected = StepDrafts.NO_DRAFTER;
        double bestProbability = 0;
        for (int k = 0; k < drafters.length; k++) {
            if (drafts.offered(index, k) > 0) {
                Sequence sequence = drafts.sequence(index);
                double probability = probability(sequence, k, drafters[k].confidence(sequence), 0);
                if (selected == StepDrafts.NO_DRAFTER || probability > MUCH_BETTER * bestProbability) {
                    selected = k;
                    bestProbability = probability;
                }
            }
        }
        return selected;
    }

    /**
     * Adds one position after the other, for all sequences in which it increases {@code rate}. Stores the choice with
     * the best rate in {@link #best} if that rate is above {@code atLeast}. Returns the best rate.
     */
    private double search(StepDrafts drafts, double rate, double atLeast) {
        int size = drafts.size();
        for (int i = 0; i < size; i++) {
            reach[i] = 1;
            chosen[i] = 0;
        }
        double tokens = size;
        double drafting = 0;
        int rows = 0;
        long positions = drafts.positions();
        double baseNanos = cost.predict(size, drafts.decodePositions());
        double stepNanos = cost.predict(drafts.rows(), drafts.contexts(), positions);
        double bestRate = 0;
        for (int depth = 0; depth < Speculation.MAX_DRAFT_TOKENS; depth++) {
            double rowNanos =
                    Math.max(0, cost.predict(drafts.rows() + rows + size) - cost.predict(drafts.rows() + rows)) / size;
            boolean any = false;
            for (int k = 0; k < drafters.length; k++) {
                CostModel own = drafters[k].cost();
                int members = 0;
                int computed = 0;
                double catchingUp = 0;
                long context = 0;
                double perMember = own == null ? 0 : own.predict(size) / size;
                for (int i = 0; i < size && rows < drafts.room(); i++) {
                    if (drafterOf[i] != k || chosen[i] != depth || drafts.offered(i, k) <= depth) {
                        continue;
                    }
                    Sequence sequence = drafts.sequence(i);
                    reach[i] *= probability(sequence, k, drafters[k].confidence(sequence), depth);
                    // Half the cost is enough: the next position may be cheaper, since the cost curve has steps.
                    if (reach[i] >= Math.max(MIN_PROBABILITY, rate * (rowNanos + perMember) / 2)) {
                        chosen[i]++;
                        rows++;
                        members++;
                        tokens += reach[i];
                        context += sequence.length();
                        int lag = drafters[k].lag(sequence);
                        computed += depth == 0 ? Math.min(lag, USUAL_LAG) : 1;
                        if (own != null && lag > USUAL_LAG) {
                            catchingUp +=
                                    own.predict(lag) / expectedRest(sequence) * (depth == 0 ? 1 + reach[i] : reach[i]);
                        }
                    }
                }
                if (own != null && members > 0) {
                    drafting += own.predict(computed, context) + catchingUp;
                }
                positions += context;
                any |= members > 0;
            }
            if (!any) {
                break;
            }
            double extra = Math.max(0, cost.predict(drafts.rows() + rows, drafts.contexts(), positions) - stepNanos);
            double now = tokens / (baseNanos + extra + drafting);
            if (now > bestRate) {
                bestRate = now;
                if (now > atLeast) {
                    System.arraycopy(chosen, 0, best, 0, size);
                }
            }
        }
        return bestRate;
    }

    /**
     * Number of tokens that the answer is expected to get from now on. The cost of reading its prompt is spread over
     * them.
     */
    private double expectedRest(Sequence sequence) {
        return lengths.expectedRest(sequence.generated(), sequence.maxNewTokens() - sequence.generated());
    }

    /**
     * Adds draft tokens for one sequence beyond the best choice, if the probing budget allows it. Returns whether it
     * did.
     *
     * @param rate tokens per nanosecond without a probe
     */
    private boolean probe(StepDrafts drafts, double rate) {
        int size = drafts.size();
        int given = 0;
        long givenPositions = 0;
        for (int i = 0; i < size; i++) {
            given += best[i];
            givenPositions += (long) best[i] * drafts.sequence(i).length();
        }
        int room = drafts.room() - given;
        int rows = drafts.rows() + given;
        long positions = drafts.positions() + givenPositions;
        boolean wanted = false;
        for (int step = 0; step < size; step++) {
            int i = (nextProbe + step) % size;
            int k = drafterOf[i];
            int probe = k == StepDrafts.NO_DRAFTER ? 0 : Math.min(PROBES[nextProbeSize], drafts.offered(i, k));
            int more = Math.min(probe - best[i], room);
            wanted |= more > 0;
            Sequence sequence = drafts.sequence(i);
            if (more > 0
                    && ((burstLeft > 0 && sequence == probed) || chargeProbe(drafts, i, more, rows, positions, rate))) {
                best[i] += more;
                nextProbe = i;
                probed = sequence;
                if (drafters[k].lag(sequence) > USUAL_LAG) {
                    return true; // the draft model reads first; the probe begins afterwards
                }
                if (--burstLeft == 0) {
                    nextProbe++;
                    probed = null;
                    nextProbeSize = (nextProbeSize + 1) % PROBES.length;
                }
                return true;
            }
        }
        if (!wanted) { // every sequence has at least this many draft tokens already
            burstLeft = 0;
            nextProbeSize = (nextProbeSize + 1) % PROBES.length;
        }
        return false;
    }

    /**
     * Charges the probing budget for some steps with {@code tokens} more draft tokens. Returns false if the budget is
     * too small for one step.
     *
     * @param rows of the step without them
     * @param positions that those rows attend to
     */
    private boolean chargeProbe(StepDrafts drafts, int index, int tokens, int rows, long positions, double rate) {
        Sequence sequence = drafts.sequence(index);
        long context = sequence.length();
        Drafter drafter = drafters[drafterOf[index]];
        CostModel own = drafter.cost();
        int lag = drafter.lag(sequence);
        double reading = own == null || lag <= USUAL_LAG ? 0 : own.predict(lag, context);
        double drafting = own == null ? 0 : tokens * own.predict(1, context);
        double with = cost.predict(rows + tokens, drafts.contexts(), positions + tokens * context);
        double verifying = Math.max(0, with - cost.predict(rows, drafts.contexts(), positions));
        double reached = 1;
        double yield = 0;
        for (int position = 0; position < best[index] + tokens; position++) {
            reached *= probability(sequence, drafterOf[index], drafter.confidence(sequence), position);
            yield += position < best[index] ? 0 : reached;
        }
        double price = drafting + verifying;
        double step = Math.max(1, Math.max(MIN_CHARGED_SHARE * price, price - yield / rate));
        int steps = (int) Math.min(Math.min(BURST, 1 + BURST_NANOS / step), (probeNanos - reading) / step);
        if (steps < 1) {
            return false;
        }
        probeNanos -= reading + steps * step;
        burstLeft = steps;
        return true;
    }

    /** The probability that a sequence's draft token is accepted at a position, if those before it are. */
    private double probability(Sequence sequence, int drafter, int confidence, int position) {
        double shared = sharedProbability(drafter, confidence, position);
        return DraftState.of(sequence).acceptance.estimate(drafter, shared, SHARED_WEIGHT);
    }

    /** The same probability over all sequences. */
    private double sharedProbability(int drafter, int confidence, int position) {
        double anywhere = (allHits[drafter][confidence] + PRIOR_WEIGHT * prior(drafter, confidence))
                / (allTrials[drafter][confidence] + PRIOR_WEIGHT);
        return (hits[drafter][confidence][position] + ALL_POSITIONS_WEIGHT * anywhere)
                / (trials[drafter][confidence][position] + ALL_POSITIONS_WEIGHT);
    }

    private double prior(int drafter, int confidence) {
        return drafters[drafter].cost() == null ? PRIOR[confidence] : PRIOR[PRIOR.length - 1];
    }

    /**
     * Amortises earlier costs of reading prompts over the new tokens, and adds the cost of reading prompts in this
     * step.
     */
    private void amortiseReading(StepDrafts drafts) {
        for (int i = 0; i < drafts.size(); i++) {
            DraftState state = DraftState.of(drafts.sequence(i));
            amortise(state, Math.min(state.readingNanos, (1 + drafts.accepted(i)) * state.readingNanosPerToken));
            CostModel own = drafts.drafter(i) == StepDrafts.NO_DRAFTER ? null : drafters[drafts.drafter(i)].cost();
            if (own != null && drafts.catchUp(i) > USUAL_LAG) {
                amortise(state, -own.predict(drafts.catchUp(i)));
                state.readingNanosPerToken = state.readingNanos / expectedRest(drafts.sequence(i));
            }
        }
    }

    private void amortise(DraftState state, double nanos) {
        state.readingNanos -= nanos;
        unamortisedNanos -= nanos;
    }

    @Override
    public void ended(Sequence sequence) {
        DraftState state = DraftState.of(sequence);
        amortise(state, state.readingNanos);
        if (!sequence.wantsVector()) {
            lengths.add(sequence.generated());
        }
    }

    @Override
    public void learn(StepDrafts drafts) {
        double maxProbe = Math.min(MAX_BUDGET_STEPS * cost.predict(1), MAX_BUDGET_NANOS);
        double maxOverhead = Math.max(maxProbe, MIN_OVERHEAD_LIMIT_NANOS);
        double saved = drafts.nanosWithout() - drafts.nanos();
        overheadNanos = Math.min(maxOverhead, overheadNanos + OVERHEAD_SHARE * drafts.nanos() + saved);
        probeNanos = Math.min(maxProbe, probeNanos + PROBE_SHARE * drafts.nanos());
        amortiseReading(drafts);
        stopped = overheadNanos + unamortisedNanos < (stopped ? maxProbe / 2 : 0);
        for (int i = 0; i < drafts.size(); i++) {
            AcceptanceRate own = DraftState.of(drafts.sequence(i)).acceptance;
            int k = drafts.drafter(i);
            if (k == StepDrafts.NO_DRAFTER || drafts.compared(i) == 0) {
                own.decay();
                continue;
            }
            double expected = 0;
            for (int position = 0; position < drafts.compared(i); position++) {
                expected += sharedProbability(k, drafts.confidence(i), position);
            }
            own.add(k, drafts.accepted(i), drafts.compared(i), expected);
            record(k, drafts.confidence(i), drafts.accepted(i), drafts.compared(i));
        }
    }

    /** Adds a draft to the statistics over all sequences. */
    private void record(int drafter, int confidence, int accepted, int compared) {
        double[] hit = hits[drafter][confidence];
        double[] trial = trials[drafter][confidence];
        for (int position = 0; position < compared; position++) {
            if (trial[position] >= MEMORY) {
                hit[position] /= 2;
                trial[position] /= 2;
            }
            trial[position]++;
            hit[position] += position < accepted ? 1 : 0;
        }
        if (allTrials[drafter][confidence] >= MEMORY) {
            allHits[drafter][confidence] /= 2;
            allTrials[drafter][confidence] /= 2;
        }
        allTrials[drafter][confidence] += compared;
        allHits[drafter][confidence] += accepted;
    }
}
