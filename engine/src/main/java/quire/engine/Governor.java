package quire.engine;

/**
 * Decides by measurement how many draft tokens each sequence gets in a step, so that the expected number of tokens a second
 * is greatest; none included. It sees two things: what a pass costs by its number of rows ({@link CostModel}), and how
 * often each drafter's guesses are accepted, by position and confidence over all sequences, and lately for each sequence
 * ({@link Acceptance}).
 *
 * <p><b>The choice.</b> With d(i) draft tokens for sequence i, of which position p is reached and accepted with
 * probability q(i, p) = α(i, 1) · … · α(i, p), a step over N sequences gives
 *
 * <pre>
 *                      N + Σi Σp≤d(i) q(i, p)                 expected tokens
 *   rate(d)  =  ─────────────────────────────────────
 *                T(N) + [T(R + Σd) − T(R)] + drafting         R: rows without draft tokens, prompts included;
 *                                                             their cost is nobody's choice here
 * </pre>
 *
 * A ratio is maximised by Dinkelbach's method: for a rate λ, a draft token is worth its cost if q &gt; λ · cost; the best
 * choice for λ has a rate of its own, which is the next λ. The cost of one more row is no constant, so positions are added
 * one level at a time, for all sequences that it pays for, and the best level seen is kept. Two rounds are enough. What is
 * not better than no drafts at all by {@value #MARGIN} is not done.
 *
 * <p><b>Staying informed.</b> Sequences that get nothing would never show that they have become predictable: a small part
 * of the time, {@value #PROBE_SHARE}, is saved up for trying. And every {@value #REST}th step goes without drafts, so that
 * the cost of doing without stays known.
 *
 * <p>A pure function of what it is told: time comes in as numbers. Engine thread only; nothing is allocated in a step.
 */
final class Governor implements DraftPolicy {
    private static final double MARGIN = 0.03;
    private static final double PROBE_SHARE = 0.01;
    private static final int PROBE = 2;
    private static final double MOST_CREDIT_NANOS = 200e6;
    private static final int REST = 64;
    private static final int ROUNDS = 2;

    /** Comparisons that the experience of all sequences counts beside a sequence's own. */
    private static final double SHARED_WEIGHT = 4;

    /** Comparisons that count at a position. */
    private static final double MEMORY = 400;

    /** Tokens over which a draft model's reading of a prompt is expected to pay. */
    private static final int HORIZON = 64;

    /** A position that is reached less often than this is not looked at. */
    private static final double LEAST = 0.02;

    /** What is assumed of each level of confidence before anything is known, and how many comparisons that counts. */
    private static final double[] PRIOR = {0.4, 0.5, 0.65, 0.8};

    private static final double PRIOR_WEIGHT = 4;

    private final Drafter[] drafters;
    private final CostModel cost;
    private final double[][][] hits; // by drafter, level, position
    private final double[][][] trials;

    // Of the decision under way, by index in the drafts.
    private final int[] drafterOf;
    private final double[] reach;
    private final int[] chosen;
    private final int[] best;

    private double creditNanos;
    private int busySteps;
    private int nextProbe;

    Governor(Drafter[] drafters, CostModel cost, int maxSequences) {
        this.drafters = drafters;
        this.cost = cost;
        hits = new double[drafters.length][Acceptance.LEVELS][Drafts.MAX];
        trials = new double[drafters.length][Acceptance.LEVELS][Drafts.MAX];
        drafterOf = new int[maxSequences];
        reach = new double[maxSequences];
        chosen = new int[maxSequences];
        best = new int[maxSequences];
    }

    @Override
    public void decide(Drafts drafts) {
        int size = drafts.size();
        if (size == 0) {
            return;
        }
        boolean offered = false;
        for (int i = 0; i < size; i++) {
            drafterOf[i] = pick(drafts, i);
            best[i] = 0;
            offered |= drafterOf[i] != Drafts.NOBODY;
        }
        if (!offered) {
            return;
        }
        double without = size / cost.predict(size);
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
        if (pays && ++busySteps % REST == 0) {
            return;
        }
        if (!pays && !probe(drafts)) {
            return;
        }
        for (int i = 0; i < size; i++) {
            if (best[i] > 0) {
                int drafter = drafterOf[i];
                drafts.give(i, drafter, drafters[drafter].level(drafts.sequence(i)), best[i]);
            }
        }
    }

    /** The first drafter that offers something, unless a later one guesses much better here. */
    private int pick(Drafts drafts, int index) {
        int picked = Drafts.NOBODY;
        double bestChance = 0;
        for (int k = 0; k < drafters.length; k++) {
            if (drafts.offered(index, k) > 0) {
                Sequence sequence = drafts.sequence(index);
                double chance = chance(sequence, k, drafters[k].level(sequence), 0);
                if (picked == Drafts.NOBODY || chance > 1.5 * bestChance) {
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
    private double climb(Drafts drafts, double rate, double atLeast) {
        int size = drafts.size();
        for (int i = 0; i < size; i++) {
            reach[i] = 1;
            chosen[i] = 0;
        }
        double tokens = size;
        double drafting = 0;
        int rows = 0;
        double baseNanos = cost.predict(size);
        double restNanos = cost.predict(drafts.rows());
        double bestRate = 0;
        for (int level = 0; level < Drafts.MAX; level++) {
            double rowNanos =
                    Math.max(0, cost.predict(drafts.rows() + rows + size) - cost.predict(drafts.rows() + rows)) / size;
            boolean any = false;
            for (int k = 0; k < drafters.length; k++) {
                CostModel own = drafters[k].cost();
                int members = 0;
                int lag = 0;
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
                        lag += level == 0 ? drafters[k].lag(sequence) : 1;
                    }
                }
                if (own != null && members > 0) {
                    drafting += level > 0 || lag <= 2 * members
                            ? own.predict(lag)
                            : own.predict(2 * members) + own.predict(lag) / HORIZON;
                }
                any |= members > 0;
            }
            if (!any) {
                break;
            }
            double extra = Math.max(0, cost.predict(drafts.rows() + rows) - restNanos);
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

    /** Spends what was saved up on trying one sequence; false when there is too little. */
    private boolean probe(Drafts drafts) {
        int size = drafts.size();
        for (int step = 0; step < size; step++) {
            int i = (nextProbe + step) % size;
            int k = drafterOf[i];
            if (k == Drafts.NOBODY) {
                continue;
            }
            int tokens = Math.min(Math.min(PROBE, drafts.offered(i, k)), drafts.room());
            CostModel own = drafters[k].cost();
            double price = Math.max(0, cost.predict(drafts.rows() + tokens) - cost.predict(drafts.rows()));
            if (own != null) {
                price += own.predict(drafters[k].lag(drafts.sequence(i))) + (tokens - 1) * own.predict(1);
            }
            if (tokens > 0 && price <= creditNanos) {
                creditNanos -= price;
                best[i] = tokens;
                nextProbe = i + 1;
                return true;
            }
        }
        return false;
    }

    private double chance(Sequence sequence, int drafter, int level, int position) {
        double seen = trials[drafter][level][position];
        double overall =
                (hits[drafter][level][position] + PRIOR_WEIGHT * prior(drafter, level)) / (seen + PRIOR_WEIGHT);
        return sequence.acceptance.estimate(drafter, overall, SHARED_WEIGHT);
    }

    private double prior(int drafter, int level) {
        return drafters[drafter].cost() == null ? PRIOR[level] : PRIOR[PRIOR.length - 1];
    }

    @Override
    public void learn(Drafts drafts) {
        creditNanos = Math.min(MOST_CREDIT_NANOS, creditNanos + PROBE_SHARE * drafts.nanos());
        for (int i = 0; i < drafts.size(); i++) {
            int k = drafts.drafter(i);
            if (k == Drafts.NOBODY || drafts.reached(i) == 0) {
                continue;
            }
            drafts.sequence(i).acceptance.add(k, drafts.accepted(i), drafts.reached(i));
            double[] hit = hits[k][drafts.level(i)];
            double[] trial = trials[k][drafts.level(i)];
            for (int position = 0; position < drafts.reached(i); position++) {
                if (trial[position] >= MEMORY) {
                    hit[position] /= 2;
                    trial[position] /= 2;
                }
                trial[position]++;
                hit[position] += position < drafts.accepted(i) ? 1 : 0;
            }
        }
    }
}
