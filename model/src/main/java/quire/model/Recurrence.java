package quire.model;

import java.util.List;

/**
 * Layers that have a recurrence in place of attention. What such a layer remembers of a text does not grow with it. All have
 * a short convolution, which keeps the inputs of a sequence's last positions; Mamba, Mamba-2 and the gated delta net have a
 * state behind it.
 *
 * <pre>
 *   short convolution
 *   x ──┬─▶ b ─▶ × ─▶ convolution over the last {@code taps} positions ─▶ × ─▶ output
 *       ├─▶ x ───┘                                                      │
 *       └─▶ c ──────────────────────────────────────────────────────────┘
 *
 *   Mamba
 *   x ──┬─▶ convolution ─▶ SiLU ──┬─▶ value ─────────────▶ state ─▶ × ─▶ output
 *       │                         ├─▶ key, query ─▶ norm ───┤       │
 *       │                         └─▶ norm ─▶ product ─▶ step       │
 *       └─▶ gate ─▶ SiLU ───────────────────────────────────────────┘
 *
 *   Mamba-2
 *   x ──┬─▶ value, key, query ─▶ convolution ─▶ SiLU ─▶ state ─▶ × ─▶ norm by group ─▶ output
 *       ├─▶ step ───────────────────────────────────────┘       │
 *       └─▶ gate ─▶ SiLU ───────────────────────────────────────┘
 *
 *   gated delta net
 *   x ──┬─▶ query, key, value ─▶ convolution ─▶ SiLU ─▶ norm of query and key ─▶ state ─▶ norm by head ─▶ × ─▶ output
 *       ├─▶ step, decay ───────────────────────────────────────────────────────────┘                       │
 *       └─▶ gate ─▶ SiLU ──────────────────────────────────────────────────────────────────────────────────┘
 * </pre>
 *
 * @param kind what the layers compute
 * @param taps number of positions that the convolution adds, the row's own included
 * @param width numbers of a row between the layer's inputs and outputs
 * @param heads heads that divide the width, each with a state; 0 for short convolutions. Mamba has no heads: these are the
 *     parts of its width that workers share out
 * @param groups number of keys and queries that heads share; 0 for short convolutions
 * @param alternating whether heads 0, {@code groups}, 2 × {@code groups} … share a key and a query; else the heads that
 *     follow each other
 * @param stateSize numbers of a key; 0 for short convolutions
 * @param stepRank numbers of a row that the steps of Mamba are made of; 0 for others
 * @param beside whether such layers have attention too, which reads the same inputs and is added
 * @param layers for each block, whether it is such a layer
 */
public record Recurrence(
        Kind kind,
        int taps,
        int width,
        int heads,
        int groups,
        boolean alternating,
        int stateSize,
        int stepRank,
        boolean beside,
        List<Boolean> layers) {
    /** What the layers compute. */
    public enum Kind {
        /** Short convolutions alone. */
        CONVOLUTION,
        /** Mamba, the first one: every number of a value has a step, and for each number of a key a decay, of its own. */
        SELECTIVE,
        /** Mamba-2. */
        STATE_SPACE,
        /** The gated delta net of Qwen3-Next and Qwen3.5. */
        DELTA_NET
    }

    /** Copies the list. */
    public Recurrence {
        layers = List.copyOf(layers);
    }

    /** Whether a block is such a layer. */
    boolean isIn(int layer) {
        return layers.get(layer);
    }

    /** Number of such layers. */
    int count() {
        return (int) layers.stream().filter(Boolean::booleanValue).count();
    }

    /** Numbers of a row that the convolution computes, each for itself. */
    int channels() {
        return kind == Kind.SELECTIVE ? width : width + 2 * groups * stateSize;
    }

    /** Numbers of a row that states are advanced with: values, keys and queries. */
    int inputWidth() {
        return width + 2 * groups * stateSize;
    }

    /** Numbers of a row that say how states change: a step and a decay for each head, or a step for each number. */
    int factorWidth() {
        return kind == Kind.SELECTIVE ? width : 2 * heads;
    }

    /** Where the value of a head begins in a row of {@link #inputWidth}. */
    int valueColumn(int head) {
        return head * headDim() + (kind == Kind.DELTA_NET ? 2 * groups * stateSize : 0);
    }

    /** Where the key of a head begins. */
    int keyColumn(int head) {
        return group(head) * stateSize + (kind == Kind.DELTA_NET ? groups * stateSize : width);
    }

    /** Where the query of a head begins. */
    int queryColumn(int head) {
        return group(head) * stateSize + (kind == Kind.DELTA_NET ? 0 : width + groups * stateSize);
    }

    private int group(int head) {
        return alternating ? head % groups : head / (heads / groups);
    }

    /** Number of the parts of a row that are normalised behind the state, each for itself. */
    int normGroups() {
        return kind == Kind.DELTA_NET ? heads : groups;
    }

    /** Numbers of a head's value. */
    int headDim() {
        return width / heads;
    }

    /** Whether heads have a state, which is too large for a copy beside each page. */
    boolean hasStates() {
        return kind != Kind.CONVOLUTION;
    }

    /** In words, for display. */
    String describe() {
        String where = beside ? " beside attention" : " in " + count() + " of " + layers.size() + " layers";
        return switch (kind) {
            case CONVOLUTION -> "short convolutions of " + taps + " positions" + where;
            case SELECTIVE -> "Mamba with states of " + stateSize + " × " + width + where;
            case STATE_SPACE -> "Mamba-2 with " + heads + " states of " + stateSize + " × " + headDim() + where;
            case DELTA_NET -> "gated delta net with " + heads + " states of " + stateSize + " × " + headDim() + where;
        };
    }
}
