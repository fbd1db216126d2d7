package quire.engine.schedule;

/**
 * Bounds the prompt tokens of a step in time, so that a running answer does not pause while a long prompt is computed.
 *
 * <p>A step with decoding sequences may take {@code targetNanos}. Where decoding alone takes more than half of that, the step may take
 * twice the time of decoding alone: then prompts still get half of all time. The number of tokens that fit follows from
 * {@link StepCost}. Where nobody decodes, a step has no bound in time.
 *
 * <pre>
 *   time of a step    | decoding |  prompt tokens  |
 *                     0          d                 max(target, 2 d)
 * </pre>
 *
 * <p>Engine thread only; allocates nothing.
 */
final class PromptPace {
    /** Prompt tokens that fit whatever they cost: fewer would spend most of their time on reading the weights. */
    private static final int LEAST_TOKENS = 8;

    private final StepCost cost;
    private final long targetNanos;

    /**
     * @param cost learns from every step
     * @param targetNanos of a step beside decoding sequences; 0 for no bound
     */
    PromptPace(StepCost cost, long targetNanos) {
        this.cost = cost;
        this.targetNanos = targetNanos;
    }

    /**
     * How many prompt tokens a step computes beside the decoding tokens that are planned already.
     *
     * @param decoding the plan so far
     * @param most tokens that the budget has left, at least 1
     * @param computed tokens of the prompt that are computed already: later ones look back at them
     * @return 1 to {@code most}
     */
    int promptTokens(StepPlan decoding, int most, int computed) {
        if (targetNanos == 0 || decoding.isEmpty() || most <= LEAST_TOKENS) {
            return most;
        }
        int rows = decoding.rows();
        long contexts = decoding.contexts();
        long positions = decoding.positions();
        double allowed = Math.max((double) targetNanos, 2 * cost.predict(rows, contexts, positions));
        int fit = LEAST_TOKENS;
        int tooMany = most + 1;
        while (tooMany - fit > 1) { // halving: fit tokens are allowed, tooMany are not
            int tokens = (fit + tooMany) >>> 1;
            long behind = tokens * (computed + (tokens + 1L) / 2);
            if (cost.predict(rows + tokens, contexts + computed + tokens, positions + behind) <= allowed) {
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
