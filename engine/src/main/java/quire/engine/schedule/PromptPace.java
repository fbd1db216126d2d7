package quire.engine.schedule;

/**
 * Limits the prompt tokens of a step by time, so that a long prompt does not delay the next tokens of running answers.
 *
 * <p>A step with decoding sequences may take {@code targetNanos}. If decoding alone takes more than half of that, the
 * step may take twice as long as decoding alone, so that prompts get half of the time. {@link StepCost} predicts how
 * many tokens fit. A step without decoding sequences has no limit.
 *
 * <pre>
 *   time of a step    | decoding |  prompt tokens  |
 *                     0          d                 max(target, 2 d)
 *
 *   a light step      | decoding | a quarter |
 * </pre>
 *
 * <p>A light step gives a short prompt its first token beside long ones. It leaves prompts a quarter of the time, also
 * where no sequence decodes. For {@value #EXPECTED_TARGETS} targets after a short prompt, the next one is expected: the
 * steps for long prompts alone are then about as short, because a request waits for the step under way. They have enough
 * tokens that a token costs at most {@value #EFFICIENT} times as much as in a large step, and decoding takes at most two
 * thirds of them.
 *
 * <p>Engine thread only; allocates nothing.
 */
public final class PromptPace {
    /**
     * A step has at least this many prompt tokens. With fewer, most of its time would be spent on reading the weights.
     */
    public static final int LEAST_TOKENS = 8;

    /** A light step leaves prompts this share of the time. */
    private static final double LIGHT = 0.25;

    private static final int EXPECTED_TARGETS = 10;

    /** What one step would do is done in at most this many; see {@link Turns}. */
    static final int MOST_PARTS = 8;

    /** The cost of a token in steps while short prompts are expected, at most, in multiples of that in a large step. */
    private static final double EFFICIENT = 1.1;

    private final StepCost cost;
    private final long targetNanos;

    /**
     * @param cost learns from every step
     * @param targetNanos maximum number of nanoseconds of a step with decoding sequences; 0 for no limit
     */
    PromptPace(StepCost cost, long targetNanos) {
        this.cost = cost;
        this.targetNanos = targetNanos;
    }

    /**
     * Returns how many prompt tokens a step computes beside the decoding tokens planned already.
     *
     * @param decoding the plan so far
     * @param most tokens left in the budget, at least 1
     * @param computed tokens of the prompt that are computed already; later ones attend to them
     * @return 1 to {@code most}
     */
    int promptTokens(StepPlan decoding, int most, int computed) {
        return decoding.isEmpty() ? most : promptTokens(decoding, most, computed, 1);
    }

    /** The same for a light step. */
    int lightTokens(StepPlan decoding, int most, int computed) {
        return promptTokens(decoding, most, computed, LIGHT);
    }

    /** How long after a short prompt the next one is expected, in nanoseconds. */
    long expectedNanos() {
        return EXPECTED_TARGETS * targetNanos;
    }

    /** Whether steps are limited by time. */
    boolean isLimited() {
        return targetNanos > 0;
    }

    /**
     * The longest that a step with decoding sequences may take, in nanoseconds.
     *
     * @param decoding sequences
     * @param contexts their positions
     */
    long stepNanos(int decoding, long contexts) {
        return Math.max(targetNanos, (long) (2 * cost.predict(decoding, contexts, contexts)));
    }

    /** How many tokens of a prompt such a step may have; 1 to {@code most}. */
    int wholeTokens(int decoding, long contexts, int computed, int most) {
        return fit(cost, (double) stepNanos(decoding, contexts), decoding, contexts, contexts, computed, most);
    }

    /** How many tokens of a prompt can be computed without the decoding sequences in half of the time of such a step. */
    int guestTokens(int decoding, long contexts, int computed, int most) {
        return fit(cost, stepNanos(decoding, contexts) / 2.0, 0, 0, 0, computed, most);
    }

    /**
     * Into how many a step can be divided: 1 to {@value #MOST_PARTS}.
     *
     * @param lost how much longer they may take in all, as a share
     * @param decoding sequences
     * @param contexts their positions
     * @param tokens of a prompt
     * @param computed tokens of the prompt that are computed already
     */
    int parts(double lost, int decoding, long contexts, int tokens, int computed) {
        double whole = partNanos(decoding, contexts, tokens, computed, 1);
        int parts = Math.clamp(decoding + tokens, 1, MOST_PARTS);
        while (parts > 1 && parts * partNanos(decoding, contexts, tokens, computed, parts) > (1 + lost) * whole) {
            parts--;
        }
        return parts;
    }

    private double partNanos(int decoding, long contexts, int tokens, int computed, int parts) {
        int ofPrompt = tokens / parts;
        long read = ofPrompt == 0 ? 0 : computed + ofPrompt;
        long attended = ofPrompt * (computed + (ofPrompt + 1L) / 2);
        return cost.predict(
                Math.ceilDiv(decoding + tokens, parts), contexts / parts + read, contexts / parts + attended);
    }

    /** Whether all decoding sequences take at most half of the time of a step of so many tokens. */
    boolean isCheap(int decoding, long contexts, int tokens) {
        return 2 * cost.predict(decoding, contexts, contexts) <= cost.predict(Math.max(1, tokens), 0, 0);
    }

    /** The same for a step with long prompts only, while short ones are expected. */
    int expectingTokens(StepPlan decoding, int most, int computed) {
        int rows = decoding.rows();
        double alone = cost.predict(rows, decoding.contexts(), decoding.positions());
        double share = Math.max(LIGHT, alone / 2 / Math.max(1, Math.max(targetNanos - alone, alone)));
        int tokens = promptTokens(decoding, most, computed, share);
        double efficient = EFFICIENT * cost.predict(rows + most, 0, 0) / (rows + most);
        while (tokens < most && cost.predict(rows + tokens, 0, 0) > efficient * (rows + tokens)) {
            tokens = Math.min(most, tokens + LEAST_TOKENS);
        }
        return tokens;
    }

    private int promptTokens(StepPlan decoding, int most, int computed, double share) {
        if (targetNanos == 0 || most <= LEAST_TOKENS) {
            return most;
        }
        int rows = decoding.rows();
        long contexts = decoding.contexts();
        long positions = decoding.positions();
        double alone = cost.predict(rows, contexts, positions);
        double allowed = alone + share * Math.max(targetNanos - alone, alone);
        return fit(cost, allowed, rows, contexts, positions, computed, most);
    }

    /**
     * The most tokens of a prompt that a pass can compute in a time, but at least {@link #LEAST_TOKENS}.
     *
     * @param allowed nanoseconds of the pass
     * @param rows of the pass without the prompt; {@code contexts} and {@code positions} too, as in {@link
     *     StepCost#predict}
     * @param computed tokens of the prompt that are computed already; later ones attend to them
     * @param most the most tokens to return
     */
    public static int fit(
            StepCost cost, double allowed, int rows, long contexts, long positions, int computed, int most) {
        int fit = Math.min(LEAST_TOKENS, most);
        int tooMany = most + 1;
        while (tooMany - fit > 1) { // bisection: fit tokens are allowed, tooMany are not
            int tokens = (fit + tooMany) >>> 1;
            long attended = tokens * (computed + (tokens + 1L) / 2);
            if (cost.predict(rows + tokens, contexts + computed + tokens, positions + attended) <= allowed) {
                fit = tokens;
            } else {
                tooMany = tokens;
            }
        }
        return fit;
    }

    /** Learns from an executed step. */
    void learn(StepPlan done, long nanos) {
        if (targetNanos > 0) {
            cost.observe(done.rows(), done.contexts(), done.positions(), nanos);
        }
    }
}
