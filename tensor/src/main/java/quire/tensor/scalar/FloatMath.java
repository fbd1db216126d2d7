package quire.tensor.scalar;

import quire.tensor.Activation;

/**
 * The exponential of every kernel set. It uses only correctly rounded operations, so the interpreter, compiled code and
 * vector lanes agree to the last bit. {@code Math.exp} and the Vector API's exp do not guarantee this.
 *
 * <p>With {@code n = rint(x / ln 2)} and {@code r = x − n ln 2} (ln 2 in two parts, fused), {@code exp(x) = 2ⁿ ×
 * exp(r)} and |r| ≤ 0.347. {@code exp(r)} is its Taylor polynomial of degree 7; the rest is below 2⁻²⁷ of it. The
 * product with 2ⁿ is two products, so small results become denormal and then 0, and large results become +∞. The error
 * is below 2 ulp. exp(−∞) = 0, exp(0) = 1 and exp(+∞) = +∞; only NaN gives NaN.
 */
public final class FloatMath {
    /**
     * Smaller arguments count as this one, whose exponential rounds to 0. From here on, both factors of 2ⁿ are finite.
     */
    public static final float EXP_LOWEST = -110f;

    /** Larger arguments count as this one, whose exponential is +∞. */
    public static final float EXP_HIGHEST = 90f;
    /** 1 / ln 2. */
    public static final float INVERSE_LN2 = 0x1.715476p0f;
    /** The upper 9 bits of ln 2, so that n × LN2_HIGH is exact. */
    public static final float LN2_HIGH = 0x1.63p-1f;

    /** The rest of ln 2. */
    public static final float LN2_LOW = -2.12194440e-4f;
    /** Adding and then subtracting 1.5 × 2²³ rounds |x| below 2²² to an integer, ties to even. */
    public static final float ROUNDER = 0x1.8p23f;

    /** Coefficients of the polynomial, by their power of r. */
    public static final float C7 = 1f / 5040;

    public static final float C6 = 1f / 720;
    public static final float C5 = 1f / 120;
    public static final float C4 = 1f / 24;
    public static final float C3 = 1f / 6;
    public static final float C2 = 1f / 2;

    private FloatMath() {}

    /** The exponential of x. */
    public static float exp(float x) {
        float z = x < EXP_LOWEST ? EXP_LOWEST : x;
        z = z > EXP_HIGHEST ? EXP_HIGHEST : z;
        float shifted = Math.fma(z, INVERSE_LN2, ROUNDER);
        float n = shifted - ROUNDER;
        float r = Math.fma(n, -LN2_HIGH, z);
        r = Math.fma(n, -LN2_LOW, r);
        float p = Math.fma(C7, r, C6);
        p = Math.fma(p, r, C5);
        p = Math.fma(p, r, C4);
        p = Math.fma(p, r, C3);
        p = Math.fma(p, r, C2);
        p = Math.fma(p, r, 1f);
        p = Math.fma(p, r, 1f);
        int whole = Float.floatToRawIntBits(shifted) - Float.floatToRawIntBits(ROUNDER);
        int half = whole >> 1;
        float power1 = Float.intBitsToFloat((half + 127) << 23);
        float power2 = Float.intBitsToFloat((whole - half + 127) << 23);
        return p * power1 * power2;
    }

    /** One number of {@link quire.tensor.Kernels#activate}. */
    public static float activate(Activation activation, float x, float factor) {
        return switch (activation) {
            case SILU -> x / (1f + exp(-x)) * factor;
            case GELU -> x / (1f + exp(Math.fma(x * x, Activation.GELU_CUBE, Activation.GELU_LINEAR) * x)) * factor;
            case EXACT_GELU -> exactGelu(x) * factor;
            case CLAMPED_SILU -> {
                float g = Math.min(x, Activation.CLAMP);
                float u = Math.max(-Activation.CLAMP, Math.min(Activation.CLAMP, factor));
                yield g / (1f + exp(g * Activation.CLAMPED_FACTOR)) * (u + 1f);
            }
            case SIGMOID -> factor / (1f + exp(-x));
            case SQUARED_RELU -> {
                float positive = Math.max(x, 0f);
                yield positive * positive * factor;
            }
        };
    }

    private static float exactGelu(float x) {
        float m = Math.min(Math.abs(x), Activation.ERF_HIGHEST);
        float e = exp(m * m * -0.5f);
        float t = 1f / Math.fma(m, Activation.ERF_STEP, 1f);
        float p = Activation.erfTail(0);
        for (int i = 1; i < Activation.erfTails(); i++) {
            p = Math.fma(p, t, Activation.erfTail(i));
        }
        return Math.fma(m, p * t * e, x > 0 ? x : 0f); // a NaN stays, because m is one
    }

    /** {@code cap × tanh(x / cap)} as {@link quire.tensor.Kernels#softCap} defines it. */
    public static float softCap(float x, float cap) {
        return cap - 2f * cap / (exp(x * (2f / cap)) + 1f);
    }
}
