package quire.model;

/**
 * Feed-forward layers that are a mixture of experts. A router gives each expert a score for each row, and only the
 * experts with the highest scores compute the row. Of equal scores, the lower number wins.
 *
 * <pre>
 *   x ──▶ router ─▶ scores ─▶ the best of the best groups ─▶ weights ──┐
 *     ├─▶ gate, up ─▶ activation ─▶ down     of each chosen expert  ─▶ × ─▶ + ─▶ result
 *     └─▶ gate, up ─▶ activation ─▶ down     of the shared expert ─▶ × gate ─┘
 * </pre>
 *
 * <p>Biases of the router and of experts, and a bias that counts only when experts are chosen, are no part of it,
 * because the tensors of a file show them.
 *
 * @param experts number of experts of a layer
 * @param used number of experts that compute a row
 * @param width width of an expert's feed-forward layer
 * @param scoring what makes a weight of a router's output
 * @param normalised whether the weights of a row are divided by their sum
 * @param scale factor of the weights
 * @param groups number of groups that divide the experts, each of the same size; 1 for none
 * @param groupsUsed number of groups that a row's experts may come from: those with the largest sum of their two highest
 *     scores
 * @param sharedWidth width of the expert that computes every row; 0 if there is none
 * @param sharedGate whether that expert's result is multiplied with the sigmoid of a product
 * @param denseLayers number of first layers that have a feed-forward layer without experts
 * @param every of this many further layers, the last has experts; 1 if all have
 * @param weighsInputs whether an expert's inputs are multiplied with its weight, in place of its results
 * @param beside whether layers with experts have a feed-forward layer beside them, each with norms of its own
 */
public record Mixture(
        int experts,
        int used,
        int width,
        Scoring scoring,
        boolean normalised,
        float scale,
        int groups,
        int groupsUsed,
        int sharedWidth,
        boolean sharedGate,
        int denseLayers,
        int every,
        boolean weighsInputs,
        boolean beside) {

    /** What makes a weight of a router's output. */
    public enum Scoring {
        /** The softmax over all experts. */
        SOFTMAX("softmax"),
        /** The sigmoid. */
        SIGMOID("sigmoid"),
        /** The softmax over the chosen experts. */
        SOFTMAX_OF_CHOSEN("softmax of the chosen"),
        /**
         * The softmax over the expert and those with nearly its score: of the experts that are not chosen before it, those
         * whose distance to it is at most {@link #NEAR} of the larger of its score and the magnitude of their own. So most
         * weights are 1.
         */
        SOFTMAX_OF_NEAR("softmax of those near it");

        /** See {@link #SOFTMAX_OF_NEAR}. */
        static final double NEAR = 0.02;

        private final String label;

        Scoring(String label) {
            this.label = label;
        }

        /** The name for display. */
        public String label() {
            return label;
        }
    }

    /** The same beside a feed-forward layer. */
    Mixture besideDense() {
        return with(every, weighsInputs, true);
    }

    /** The same in the last of every so many layers. */
    Mixture inLastOf(int layers) {
        return with(layers, weighsInputs, beside);
    }

    /** The same with weights before experts, in the last of every so many layers. */
    Mixture withWeighedInputs(int everySoMany) {
        return with(everySoMany, true, beside);
    }

    private Mixture with(int layers, boolean before, boolean besideFeedForward) {
        return new Mixture(
                experts,
                used,
                width,
                scoring,
                normalised,
                scale,
                groups,
                groupsUsed,
                sharedWidth,
                sharedGate,
                denseLayers,
                layers,
                before,
                besideFeedForward);
    }

    /** Whether the feed-forward layer of a block has experts. */
    boolean isIn(int layer) {
        return layer >= denseLayers && (layer + 1) % every == 0;
    }

    /** The description in words, for display. */
    String describe() {
        return used + " of " + experts + " experts of width " + width + " by " + scoring.label()
                + (normalised ? ", normalised" : "")
                + (groups > 1 ? ", from " + groupsUsed + " of " + groups + " groups" : "")
                + (scale == 1 ? "" : ", × " + scale)
                + (weighsInputs ? ", weights before experts" : "")
                + (sharedWidth > 0 ? ", and a shared one of " + sharedWidth + (sharedGate ? " with a gate" : "") : "")
                + (beside ? ", beside a feed-forward layer" : "")
                + (every > 1 ? ", in every " + every + "th layer" : "")
                + (denseLayers > 0 ? ", not in the first " + denseLayers + " layers" : "");
    }
}
