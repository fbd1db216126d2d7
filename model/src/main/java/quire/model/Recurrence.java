package quire.model;

import java.util.List;

/**
 * Layers that have a short convolution in place of attention. Such a layer keeps the inputs of a sequence's last
 * positions, so what it remembers does not grow with the text.
 *
 * <pre>
 *   x ──┬─▶ b ─▶ × ─▶ convolution over the last {@code taps} positions ─▶ × ─▶ output
 *       ├─▶ x ───┘                                                      │
 *       └─▶ c ──────────────────────────────────────────────────────────┘
 * </pre>
 *
 * @param taps number of positions that the convolution adds, the row's own included
 * @param width numbers of a row that the convolution computes, each for itself
 * @param layers for each block, whether it is such a layer
 */
public record Recurrence(int taps, int width, List<Boolean> layers) {
    /** Copies the list. */
    public Recurrence {
        layers = List.copyOf(layers);
    }

    /** Whether a block is such a layer; the others have attention. */
    boolean isIn(int layer) {
        return layers.get(layer);
    }

    /** Number of such layers. */
    int count() {
        return (int) layers.stream().filter(Boolean::booleanValue).count();
    }

    /** In words, for display. */
    String describe() {
        return "short convolutions of " + taps + " positions in " + count() + " of " + layers.size() + " layers";
    }
}
