package quire.model;

import java.util.List;

/**
 * What the operator asks of the rotation instead of what the file says, so that a model reads longer texts than it was
 * trained for. The model's context grows with the scale. {@link #OF_FILE} changes nothing.
 *
 * @param type one of {@link #TYPES}; empty for the file's, or linear if the file has none and there is a scale
 * @param scale how many times longer the context becomes, 1 to 1000; 0 for the file's
 * @param base base of the rotation's frequencies, 1 to 1e12; 0 for the file's
 * @param originalContext positions that the model was trained for before any scaling; 0 for the file's
 */
public record RopeScaling(String type, float scale, float base, int originalContext) {
    /** The types of scaling. Linear divides all positions by the scale, YaRN only those of pairs that turn slowly. */
    public static final List<String> TYPES = List.of("none", "linear", "yarn");

    /** The largest scale. */
    public static final int MAX_SCALE = 1000;

    /** The largest base. */
    public static final float MAX_BASE = 1e12f;

    /** The rotation as the file describes it. */
    public static final RopeScaling OF_FILE = new RopeScaling("", 0, 0, 0);

    /**
     * Checks the ranges.
     *
     * @throws IllegalArgumentException naming the value and what is allowed
     */
    public RopeScaling {
        // The conditions are written so that NaN fails too.
        require(type.isEmpty() || TYPES.contains(type), "type must be one of " + TYPES + ", not " + type);
        require(scale == 0 || (scale >= 1 && scale <= MAX_SCALE), "scale must be 1 to " + MAX_SCALE + ", not " + scale);
        require(base == 0 || (base >= 1 && base <= MAX_BASE), "base must be 1 to 1e12, not " + base);
        require(originalContext >= 0, "originalContext must not be negative: " + originalContext);
        require(!type.equals("none") || scale == 0, "a scale has no effect with the type none");
    }

    private static void require(boolean condition, String fault) {
        if (!condition) {
            throw new IllegalArgumentException(fault);
        }
    }

    /** Whether the positions are scaled otherwise than the file says. */
    boolean replacesScaling() {
        return !type.isEmpty() || scale > 0 || originalContext > 0;
    }
}
