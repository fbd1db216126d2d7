package quire.model;

import quire.model.format.Gguf;

/** How the vectors of a prompt's positions become one vector, as the key {@code pooling_type} of a file says. */
public enum Pooling {
    /** The vector of the last position. */
    LAST,
    /** The mean of all positions' vectors. */
    MEAN,
    /** The vector of the first position. */
    FIRST,
    /** The vector of the last position, of which a head computes a score: the model ranks texts. */
    RANK;

    /**
     * What a file asks for. {@link #LAST} if it has no such key, or none: only the last position of a decoder has seen the
     * whole prompt. Of an encoder it is then {@link #MEAN}.
     *
     * @throws quire.model.format.ModelFormatException if it is another kind
     */
    public static Pooling of(Gguf file) {
        String architecture = file.string("general.architecture", "");
        String key = architecture + ".pooling_type";
        int kind = file.has(key) ? file.int32(key) : 0;
        return switch (kind) {
            case 0 -> ModelConfig.ENCODERS.contains(architecture) ? MEAN : LAST;
            case 3 -> LAST;
            case 1 -> MEAN;
            case 2 -> FIRST;
            case 4 -> RANK;
            default ->
                throw file.fault("key " + key + ": is " + kind
                        + ", and the kinds of pooling are 0 (none), 1 (mean), 2 (first), 3 (last) and 4 (rank)");
        };
    }
}
