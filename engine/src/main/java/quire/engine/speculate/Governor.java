package quire.engine.speculate;

import org.jspecify.annotations.Nullable;
import quire.engine.Speculation;
import quire.engine.schedule.Sequence;

/**
 * Decides by measurement how many draft tokens each sequence gets in a step, so that the expected number of tokens a second
 * is greatest; none included. It sees what a pass costs by its rows and their context ({@link CostModel}), and how
 * often each drafter's guesses are accepted, by position and confidence over all sequences, and lately for each sequence
 * ({@link AcceptanceRate}). A draft model that has a prompt to read first must earn that as well, in what is left of the answer
 * ({@link LengthEstimator}).
 *
 * <p><b>The choice.</b> With d(i) draft tokens for sequence i, of which position p is reached and accepted with
 * probability q(i, p) = α(i, 1) · … · α(i, p), a step over N sequences gives
 *
 * <pre>
 *                      N + Σi Σp≤d(i) q(i, p)                 expected tokens
 *   rate(d)  =  ─────────────────────────────────────
 *                T(N) + [T(R + Σd) − T(R)] + drafting         R: rows without draft tokens, prompts included;
 *                                                             their cost is nobody's choice here
 *                                                             T: of rows, and of the positions they look back at
 * </pre>
 *
 * A ratio is maximised by Dinkelbach's method: for a rate λ, a draft token is worth its cost if q &gt; λ · cost; the best
 * choice for λ has a rate of its own, which is the next λ. The cost of one more row is no constant, so positions are added
 * one level at a time, for all sequences that it pays for, and the best level seen is kept. Two rounds are enough. What is
 * not better than no drafts at all by {@value #MARGIN} is not done.
 *
 * <p><b>Staying informed.</b> Sequences that get nothing would never show that they have become predictable: now and then one
 * gets more than pays, with few tokens and with many in turn, since many may be cheaper than the costs of few let expect; the
 * oftener, the less it is expected to lose. And now and then all get none, so that the cost of doing without stays known. Both
 * for some steps in a row: where steps are short, workers and caches take a few to be as they are when it is the rule.
 *
 * <p><b>Never slower.</b> Whatever costs and chances say beforehand, there are books on what came of it: what drafts have cost
 * is taken off, what they have saved is added, and {@value #SHARE} of all time; below zero nobody gets anything until there is
 * enough for more than a few steps, at most half of what may be saved up. What a draft model's reading cost is lost bit by
 * bit, over the answer that it was read for. So beside what there is to begin with, the time of {@value #MOST_SAVED} steps, but
 * from a twentieth to a quarter of a second, a part of the time as small as that is the most that can be lost, however
 * wrong a guess about guesses is. Trying counts there like the rest, and has a limit for itself, which no savings raise.
 *
 * <p>A pure function of what it is told: time comes in as numbers. Engine thread only; nothing is allocated in a step.
 */
final class Governor implements DraftPolicy {
    private static final double MARGIN = 0.01;

    /** Part of the time that may be lost. */
    private static final double SHARE = 0.015;

    /** Part of the time that trying may be expected to lose: where no guess is right, all of it is lost for ever. */
    private static final double TRYING_SHARE = 0.0075;

    /** Most that is saved up for either, in steps of one token, and at most in nanoseconds. */
    private static final double MOST_SAVED = 64;

    private static final double MOST_SAVED_NANOS = 250e6;

    /** At least so much may be saved up against losses: a pause is no shorter where steps are. */
    private static final double LEAST_SAVED_NANOS = 50e6;

    /** Draft tokens to try. */
    private static final int[] PROBES = {1, 2, 1, 4, 1, 8};

    /** Steps in a row that try the same, and what they may cost together beyond the first. */
    private static final int BURST = 8;

    private static final double BURST_NANOS = 10e6;

    /** Of what more guesses cost, what trying them counts at least, however much they are expected to yield. */
    private static final double LEAST_LOSS = 0.25;

    /** Steps with drafts between two rests at most, and at first; steps of a rest. */
    private static final int WORK = 512;

    private static final int FIRST_WORK = 16;
    private static final int REST = 12;

    private static final int ROUNDS = 2;

    /** Comparisons that the experience of all sequences counts beside a sequence's own. */
    private static final double SHARED_WEIGHT = 4;

    /** Comparisons that count at a position. */
    private static final double MEMORY = 400;

    /** Tokens that a draft model has to compute first where it guessed in the last step as well. */
    private static final int USUAL_LAG = 2;

    /** How much oftener a later drafter must be right to be asked instead: guesses that are looked up cost no passes. */
    private static final double MUCH_BETTER = 1.2;

    /** A position that is reached less often than this is not looked at. */
    private static final double LEAST = 0.02;

    /** What is assumed of each level of confidence before anything is known, and how many comparisons that counts. */
    private static final double[] PRIOR = {0.4, 0.5, 0.65, 0.8};

    private static final double PRIOR_WEIGHT = 4;

    /** Comparisons that all positions together count beside a position's own. */
    private static final double ALL_POSITIONS_WEIGHT = 12;

    private final Drafter[] drafters;
    private final CostModel cost;
    private final LengthEstimator lengths = new LengthEstimator();
    private final double[][][] hits; // by drafter, level, position
    private final double[][][] trials;
    private final double[][] allHits; // over the positions
    private final double[][] allTrials;

    // Of the decision under way, by index in the drafts.
    private final int[] drafterOf;
    private final double[] reach;
    private final int[] chosen;
    private final int[] best;

    // As much as can be saved, to begin with: the first step puts a bound to it.
    private double creditNanos = Double.MAX_VALUE;
    private double tryingNanos = Double.MAX_VALUE;
    /** Of what readings cost, what running answers have yet to bear: not lost, for their guesses may earn it. */
    private double investedNanos;

    private boolean broke;
    private int workedSteps;
    private int rest; // steps that the rest under way goes on for
    private int rests;
    private int nextProbe;
    private int nextSize;
    private int burst; // steps that the probe under way goes on for
    private @Nullable Sequence probed; // for whom

    Governor(Drafter[] drafters, CostModel cost, int maxSequences) {
        this.drafters = drafters;
        this.cost = cost;
        hits = new double[drafters.length][AcceptanceRate.LEVELS][Speculation.MAX_DRAFT_TOKENS];
        trials = new double[drafters.length][AcceptanceRate.LEVELS][Speculation.MAX_DRAFT_TOKENS];
        allHits = new double[drafters.length][AcceptanceRate.LEVELS];
        allTrials = new double[drafters.length][AcceptanceRate.LEVELS];
        drafterOf = new int[maxSequences];
        reach = new double[maxSequences];
        chosen = new int[maxSequences];
        best = new int[maxSequences];
    }

    @Override
    public void decide(StepDrafts drafts) {
        int size = drafts.size();
        if (size == 0 || broke) {
            return;
        }
        boolean offered = false;
        for (int i = 0; i < size; i++) {
            drafterOf[i] = pick(drafts, i);
            best[i] = 0;
            offered |= drafterOf[i] != StepDrafts.NO_DRAFTER;
        }
        if (!offered) {
            return;
        }
        double without = size / cost.predict(size, drafts.decodePositions());
        double rate = without;
        double bestRate = without * (1 + MARGIN);
        boolean pays = false;
        for (int round = 0; round < ROUNDS; round++) {
            double found = climb(drafts, rate, bestRate);
            if (found > bestRate) {
                bestRate = found;
                pays = true;
            }
            rate = Math.max(rate, found);
        }
        if (pays && rests()) {
            return;
        }
        if (!probe(drafts, pays ? bestRate : without) && !pays) {
            return;
        }
        for (int i = 0; i < size; i++) {
            if (best[i] > 0) {
                int drafter = drafterOf[i];
                drafts.give(i, drafter, drafters[drafter].level(drafts.sequence(i)), best[i]);
            }
        }
    }

    /** Whether this step, which would pay, does without: each pause between two rests is longer, up to a limit. */
    private boolean rests() {
        if (rest == 0 && ++workedSteps >= Math.min(WORK, FIRST_WORK << Math.min(rests, 8))) {
            workedSteps = 0;
            rest = REST;
            rests++;
        }
        if (rest == 0) {
            return false;
        }
        rest--;
        return true;
    }

    /** The first drafter that offers something, unless a later one guesses much better here. */
    private int pick(StepDrafts drafts, int index) {
        int picked = StepDrafts.NO_DRAFTER;
        double bestChance = 0;
        for (int k = 0; k < drafters.length; k++) {
            if (drafts.offered(index, k) > 0) {
                Sequence sequence = drafts.sequence(index);
                double chance = chance(sequence, k, drafters[k].level(sequence), 0);
                if (picked == StepDrafts.NO_DRAFTER || chance > MUCH_BETTER * bestChance) {
                    picked = k;
                    bestChance = chance;
                }
            }
        }
        return picked;
    }

    /**
     * Adds positions level by level for all sequences that they pay for at {@code rate}. Keeps the level with the best
     * rate in {@link #best} if it is over {@code atLeast}; returns that rate.
     */
    private double climb(StepDrafts drafts, double rate, double atLeast) {
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
        double restNanos = cost.predict(drafts.rows(), drafts.contexts(), positions);
        double bestRate = 0;
        for (int level = 0; level < Speculation.MAX_DRAFT_TOKENS; level++) {
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
                    if (drafterOf[i] != k || chosen[i] != level || drafts.offered(i, k) <= level) {
                        continue;
                    }
                    Sequence sequence = drafts.sequence(i);
                    reach[i] *= chance(sequence, k, drafters[k].level(sequence), level);
                    // Half the cost is asked of the reach: the curve's steps may make the next level cheaper.
                    if (reach[i] >= Math.max(LEAST, rate * (rowNanos + perMember) / 2)) {
                        chosen[i]++;
                        rows++;
                        members++;
                        tokens += reach[i];
                        context += sequence.length();
                        int lag = drafters[k].lag(sequence);
                        computed += level == 0 ? Math.min(lag, USUAL_LAG) : 1;
                        if (own != null && lag > USUAL_LAG) {
                            catchingUp +=
                                    own.predict(lag) / tokensToCome(sequence) * (level == 0 ? 1 + reach[i] : reach[i]);
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
            double extra = Math.max(0, cost.predict(drafts.rows() + rows, drafts.contexts(), positions) - restNanos);
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
     * Tokens that an answer is expected to go on for. Over them a draft model's reading of its prompt is spread, a token's
     * share on every token that a step yields.
     */
    private double tokensToCome(Sequence sequence) {
        return lengths.rest(sequence.generated(), sequence.maxNewTokens() - sequence.generated());
    }

    /**
     * Spends what was saved up on trying more for one sequence than pays; false when there is too little.
     *
     * @param rate tokens a nanosecond that there are otherwise
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
        boolean anybody = false;
        for (int step = 0; step < size; step++) {
            int i = (nextProbe + step) % size;
            int k = drafterOf[i];
            int wanted = k == StepDrafts.NO_DRAFTER ? 0 : Math.min(PROBES[nextSize], drafts.offered(i, k));
            int more = Math.min(wanted - best[i], room);
            anybody |= more > 0;
            Sequence sequence = drafts.sequence(i);
            if (more > 0 && ((burst > 0 && sequence == probed) || pay(drafts, i, more, rows, positions, rate))) {
                best[i] += more;
                nextProbe = i;
                probed = sequence;
                if (drafters[k].lag(sequence) > USUAL_LAG) {
                    return true; // tries nothing before it has read
                }
                if (--burst == 0) {
                    nextProbe++;
                    probed = null;
                    nextSize = (nextSize + 1) % PROBES.length;
                }
                return true;
            }
        }
        if (!anybody) { // who gets as many anyway need not be tried with so few
            burst = 0;
            nextSize = (nextSize + 1) % PROBES.length;
        }
        return false;
    }

    /**
     * Pays for a {@link #burst} of {@code tokens} more from what is saved up for trying; false if that is too little.
     *
     * @param rows of the step otherwise, and the positions they look back at
     */
    private boolean pay(StepDrafts drafts, int index, int tokens, int rows, long positions, double rate) {
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
            reached *= chance(sequence, drafterOf[index], drafter.level(sequence), position);
            yield += position < best[index] ? 0 : reached;
        }
        double price = drafting + verifying;
        double step = Math.max(1, Math.max(LEAST_LOSS * price, price - yield / rate));
        int steps = (int) Math.min(Math.min(BURST, 1 + BURST_NANOS / step), (tryingNanos - reading) / step);
        if (steps < 1) {
            return false;
        }
        tryingNanos -= reading + steps * step;
        burst = steps;
        return true;
    }

    private double chance(Sequence sequence, int drafter, int level, int position) {
        return DraftState.of(sequence).acceptance.estimate(drafter, overall(drafter, level, position), SHARED_WEIGHT);
    }

    /** What all sequences show at a position. */
    private double overall(int drafter, int level, int position) {
        double anywhere = (allHits[drafter][level] + PRIOR_WEIGHT * prior(drafter, level))
                / (allTrials[drafter][level] + PRIOR_WEIGHT);
        return (hits[drafter][level][position] + ALL_POSITIONS_WEIGHT * anywhere)
                / (trials[drafter][level][position] + ALL_POSITIONS_WEIGHT);
    }

    private double prior(int drafter, int level) {
        return drafters[drafter].cost() == null ? PRIOR[level] : PRIOR[PRIOR.length - 1];
    }

    /** What was read in this step is borne by the tokens to come, as it was decided. */
    private void spreadReading(StepDrafts drafts) {
        for (int i = 0; i < drafts.size(); i++) {
            Sequence sequence = drafts.sequence(i);
            bear(
                    sequence,
                    Math.min(
                            DraftState.of(sequence).readingNanos,
                            (1 + drafts.accepted(i)) * DraftState.of(sequence).readingNanosPerToken));
            CostModel own = drafts.drafter(i) == StepDrafts.NO_DRAFTER ? null : drafters[drafts.drafter(i)].cost();
            if (own != null && drafts.read(i) > USUAL_LAG) {
                bear(sequence, -own.predict(drafts.read(i)));
                DraftState.of(sequence).readingNanosPerToken =
                        DraftState.of(sequence).readingNanos / tokensToCome(sequence);
            }
        }
    }

    private void bear(Sequence sequence, double nanos) {
        DraftState.of(sequence).readingNanos -= nanos;
        investedNanos -= nanos;
    }

    @Override
    public void ended(Sequence sequence) {
        bear(sequence, DraftState.of(sequence).readingNanos);
        lengths.add(sequence.generated());
    }

    @Override
    public void learn(StepDrafts drafts) {
        double mostTrying = Math.min(MOST_SAVED * cost.predict(1), MOST_SAVED_NANOS);
        double most = Math.max(mostTrying, LEAST_SAVED_NANOS);
        double saved = drafts.nanosWithout() - drafts.nanos();
        creditNanos = Math.min(most, creditNanos + SHARE * drafts.nanos() + saved);
        tryingNanos = Math.min(mostTrying, tryingNanos + TRYING_SHARE * drafts.nanos());
        spreadReading(drafts);
        broke = creditNanos + investedNanos < (broke ? mostTrying / 2 : 0);
        for (int i = 0; i < drafts.size(); i++) {
            int k = drafts.drafter(i);
            if (k == StepDrafts.NO_DRAFTER || drafts.reached(i) == 0) {
                DraftState.of(drafts.sequence(i)).acceptance.rest();
                continue;
            }
            double expected = 0;
            for (int position = 0; position < drafts.reached(i); position++) {
                expected += overall(k, drafts.level(i), position);
            }
            DraftState.of(drafts.sequence(i)).acceptance.add(k, drafts.accepted(i), drafts.reached(i), expected);
            remember(k, drafts.level(i), drafts.accepted(i), drafts.reached(i));
        }
    }

    private void remember(int drafter, int level, int accepted, int reached) {
        double[] hit = hits[drafter][level];
        double[] trial = trials[drafter][level];
        for (int position = 0; position < reached; position++) {
            if (trial[position] >= MEMORY) {
                hit[position] /= 2;
                trial[position] /= 2;
            }
            trial[position]++;
            hit[position] += position < accepted ? 1 : 0;
        }
        if (allTrials[drafter][level] >= MEMORY) {
            allHits[drafter][level] /= 2;
            allTrials[drafter][level] /= 2;
        }
        allTrials[drafter][level] += reached;
        allHits[drafter][level] += accepted;
    }
}
