package quire.engine;

/**
 * Decides by measurement how many draft tokens each sequence gets in a step, so that the expected number of tokens a second
 * is greatest; none included. It sees two things: what a pass costs by its rows and their context ({@link CostModel}), and how
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
 *                                                             T: of rows, and of the positions they look back at
 * </pre>
 *
 * A ratio is maximised by Dinkelbach's method: for a rate λ, a draft token is worth its cost if q &gt; λ · cost; the best
 * choice for λ has a rate of its own, which is the next λ. The cost of one more row is no constant, so positions are added
 * one level at a time, for all sequences that it pays for, and the best level seen is kept. Two rounds are enough. What is
 * not better than no drafts at all by {@value #MARGIN} is not done.
 *
 * <p><b>Staying informed.</b> Sequences that get nothing would never show that they have become predictable: a small part
 * of the time, {@value #PROBE_SHARE}, is saved up for trying, and more of it for the first {@value #FIRST_PROBES} times; with
 * few tokens and with many in turn, since many may be cheaper than the costs of few let expect. And every {@value #REST}th step goes without drafts, in the beginning more of
 * them, so that the cost of doing without stays known.
 *
 * <p>A pure function of what it is told: time comes in as numbers. Engine thread only; nothing is allocated in a step.
 */
final class Governor implements DraftPolicy {
    private static final double MARGIN = 0.03;
    private static final double PROBE_SHARE = 0.01;
    private static final double FIRST_PROBE_SHARE = 0.05;
    private static final int FIRST_PROBES = 8;
    private static final int[] PROBES = {1, 2, 1, 4, 1, 8};
    private static final double MOST_CREDIT_NANOS = 200e6;
    private static final int REST = 64;
    private static final int FIRST_REST = 4;
    private static final int ROUNDS = 2;

    /** Comparisons that the experience of all sequences counts beside a sequence's own. */
    private static final double SHARED_WEIGHT = 4;

    /** Comparisons that count at a position. */
    private static final double MEMORY = 400;

    /** Tokens that a draft model has to compute first where it guessed in the last step as well. */
    private static final int USUAL_LAG = 2;

    /** Most tokens over which its reading of a prompt is expected to pay. */
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
    private int rests;
    private int nextProbe;
    private int probes;

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
        double without = size / cost.predict(size, drafts.positions());
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

    /** Whether this step, which would pay, does without: each pause between two such is longer, up to a limit. */
    private boolean rests() {
        if (++busySteps < Math.min(REST, FIRST_REST << Math.min(rests / 4, 8))) {
            return false;
        }
        busySteps = 0;
        rests++;
        return true;
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
        long positions = drafts.positions();
        double baseNanos = cost.predict(size, positions);
        double restNanos = cost.predict(drafts.rows(), positions);
        double bestRate = 0;
        for (int level = 0; level < Drafts.MAX; level++) {
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
                        int lag = level == 0 ? drafters[k].lag(sequence) : 1;
                        computed += Math.min(lag, USUAL_LAG);
                        catchingUp += own == null || lag <= USUAL_LAG ? 0 : own.predict(lag) / horizon(sequence);
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
            double extra = Math.max(0, cost.predict(drafts.rows() + rows, positions) - restNanos);
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
     * Tokens that an answer is expected to go on for: as many as it has, at most as many as it may. So a draft model reads a
     * prompt once the answer is long enough for that to be a small loss if it ends soon.
     */
    private static int horizon(Sequence sequence) {
        int left = sequence.maxNewTokens - sequence.generated();
        return Math.clamp(Math.min(sequence.generated(), left), 1, HORIZON);
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
            int tokens = Math.min(Math.min(PROBES[probes % PROBES.length], drafts.offered(i, k)), drafts.room());
            double price = price(drafts, i, tokens);
            if (tokens > 0 && price <= creditNanos) {
                creditNanos -= price;
                best[i] = tokens;
                nextProbe = i + 1;
                probes++;
                return true;
            }
        }
        return false;
    }

    /** What guesses for one sequence alone cost. */
    private double price(Drafts drafts, int index, int tokens) {
        Sequence sequence = drafts.sequence(index);
        long context = sequence.length();
        Drafter drafter = drafters[drafterOf[index]];
        CostModel own = drafter.cost();
        double drafting =
                own == null ? 0 : own.predict(drafter.lag(sequence), context) + (tokens - 1) * own.predict(1, context);
        double with = cost.predict(drafts.rows() + tokens, drafts.positions() + tokens * context);
        return drafting + Math.max(0, with - cost.predict(drafts.rows(), drafts.positions()));
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
        double share = probes < FIRST_PROBES ? FIRST_PROBE_SHARE : PROBE_SHARE;
        creditNanos = Math.min(MOST_CREDIT_NANOS, creditNanos + share * drafts.nanos());
        for (int i = 0; i < drafts.size(); i++) {
            int k = drafts.drafter(i);
            if (k == Drafts.NOBODY || drafts.reached(i) == 0) {
                drafts.sequence(i).acceptance.rest();
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
