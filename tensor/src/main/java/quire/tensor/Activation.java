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
     * The Gaussian error linear unit in its exact form, {@code x Φ(x)} with Φ the normal distribution. With m the smaller of
     * |x| and {@link #ERF_HIGHEST}, and {@code t = 1 / fma(m, ERF_STEP, 1)}, the negative of the distribution's tail is {@code
     * q = p × t × exp(m × m × −0.5)}, where p is a polynomial in t with the coefficients {@link #erfTail}, the highest power
     * first, by fused multiply-adds (Abramowitz and Stegun, 7.1.26). The result is {@code fma(m, q, x)} for positive x and
     * {@code fma(m, q, 0)} for others. Its error is below 3 × 10⁻⁷ times the larger of |x| and 1.
     */
    EXACT_GELU("exact GELU"),
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

    /** Larger magnitudes count as this one in {@link #EXACT_GELU}, where the distribution's tail has rounded to 0. */
    public static final float ERF_HIGHEST = 30f;

    /** Factor of the magnitude in the divisor of t in {@link #EXACT_GELU}. */
    public static final float ERF_STEP = (float) (0.3275911 * 0.7071067811865476);

    /** Negatives of half the coefficients of {@link #EXACT_GELU}'s polynomial, the highest power first. */
    private static final float[] ERF_TAIL = {
        (float) (-1.061405429 / 2),
        (float) (1.453152027 / 2),
        (float) (-1.421413741 / 2),
        (float) (0.284496736 / 2),
        (float) (-0.254829592 / 2)
    };

    /** Largest magnitude of the factors of {@link #CLAMPED_SILU}. */
    public static final float CLAMP = 7f;

    /** Factor of x in the argument of exp of {@link #CLAMPED_SILU}. */
    public static final float CLAMPED_FACTOR = -1.702f;

    private final String label;

    Activation(String label) {
        this.label = label;
    }

    /** The number of coefficients of {@link #erfTail}. */
    public static int erfTails() {
        return ERF_TAIL.length;
    }

    /** A coefficient of {@link #EXACT_GELU}'s polynomial; the first is that of the highest power. */
    public static float erfTail(int index) {
        return ERF_TAIL[index];
    }

    /** The name for display. */
    public String label() {
        return label;
    }
}
