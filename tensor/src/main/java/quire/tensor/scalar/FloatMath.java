package quire.tensor.scalar;

/**
 * The exponential of every kernel set, made of correctly rounded operations only, so that interpreter, compiled code and
 * vector lanes agree to the last bit ({@code Math.exp} and the Vector API's own do not promise that).
 *
 * <p>With {@code n = rint(x / ln 2)} and {@code r = x − n ln 2} (ln 2 in two parts, fused), {@code exp(x) = 2ⁿ × exp(r)},
 * |r| ≤ 0.347. {@code exp(r)} is its Taylor sum to r⁷: what is left out is below 2⁻²⁷ of it. 2ⁿ is multiplied in two
 * halves, so results glide through the denormals to 0 and overflow to +∞. Error below 2 ulp; exp(−∞) = 0, exp(0) = 1,
 * exp(+∞) = +∞, NaN only for NaN.
 */
public final class FloatMath {
    /** Arguments are clamped to this range: below it exp is 0, above it +∞, and 2ⁿ stays within two finite halves. */
    public static final float EXP_LOWEST = -110f;

    public static final float EXP_HIGHEST = 90f;
    public static final float INVERSE_LN2 = 0x1.715476p0f;
    /** ln 2 to 9 bits: n × LN2_HIGH is exact. */
    public static final float LN2_HIGH = 0x1.63p-1f;

    public static final float LN2_LOW = -2.12194440e-4f;
    /** Adding and subtracting 1.5 × 2²³ rounds to an integer, ties to even, for |x| below 2²². */
    public static final float ROUNDER = 0x1.8p23f;

    public static final float C7 = 1f / 5040;
    public static final float C6 = 1f / 720;
    public static final float C5 = 1f / 120;
    public static final float C4 = 1f / 24;
    public static final float C3 = 1f / 6;
    public static final float C2 = 1f / 2;

    private FloatMath() {}

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

    public static float silu(float x) {
        return x / (1f + exp(-x));
    }
}
