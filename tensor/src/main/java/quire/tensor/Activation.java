package quire.tensor;

/** The function between the matrices of a feed-forward layer. {@link Kernels} defines exp. */
public enum Activation {
    /** {@code x / (1 + exp(−x))}. */
    SILU("SiLU"),
    /**
     * The Gaussian error linear unit in its tanh form, {@code x / (1 + exp(−2 √(2/π) (x + 0.044715 x³)))}. The argument
     * of exp is {@code fma(x × x, A, B) × x}.
     */
    GELU("GELU"),
    /**
     * SiLU with a factor of 1.702 and limits: with g the smaller of x and 7, and u the other factor limited to −7 … 7,
     * the product is {@code g / (1 + exp(−1.702 g)) × (u + 1)}.
     */
    CLAMPED_SILU("clamped SiLU"),
    /** {@code 1 / (1 + exp(−x))}; the product is one division, {@code u / (1 + exp(−x))}, with u the other factor. */
    SIGMOID("sigmoid"),
    /** The square of the larger of x and 0. */
    SQUARED_RELU("squared ReLU");

    /** Factor of x³ in the argument of exp of {@link #GELU}. */
    public static final float GELU_CUBE = (float) (-2 * 0.7978845608028654 * 0.044715);

    /** Factor of x in the argument of exp of {@link #GELU}. */
    public static final float GELU_LINEAR = (float) (-2 * 0.7978845608028654);

    /** Largest magnitude of the factors of {@link #CLAMPED_SILU}. */
    public static final float CLAMP = 7f;

    /** Factor of x in the argument of exp of {@link #CLAMPED_SILU}. */
    public static final float CLAMPED_FACTOR = -1.702f;

    private final String label;

    Activation(String label) {
        this.label = label;
    }

    /** The name for display. */
    public String label() {
        return label;
    }
}
