package quire.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Map;

/**
 * The arithmetic of a decoder step. Every method runs on the calling thread over the share it is given; the caller
 * splits the work and puts the barriers.
 *
 * <p><b>The order of every sum is fixed by the model's shape alone</b>, never by how many rows, threads or chunks there
 * are: one output is one lane, summed over the inputs in ascending order with fused multiply-adds. So a row's numbers
 * never depend on its neighbours, and sets that follow these formulas agree to the last bit. The formulas:
 *
 * <ul>
 *   <li>F32, F16, BF16 weights: {@code y = fma(w[k], x[k], y)} for k ascending, from +0.
 *   <li>quantised weights: for each 32 inputs ascending the sums below, from {@code y = +0}. qx are the activations'
 *       int8 quants and dx is their scale; qw are the weights' integers ({@link ElementType}) after the format's zero point
 *       (Q4_0: 8, Q5_0: 16, Q3_K: 4, Q6_K: 32) or table (IQ4_NL, IQ4_XS; MXFP4: twice the values).
 *       <ul>
 *         <li>one scale for 32 (Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, IQ4_NL, IQ4_XS, MXFP4): {@code y = fma(dw × dx,
 *             (float) Σ qw × qx, y)}, where dw is the block's d, d × (float) s in blocks of 256 (an exact product), or
 *             2^(e − 128) for MXFP4. Then for formats with a minimum {@code y = fma(mw, dx × (float) Σ qx, y)}, where mw
 *             is m (Q4_1, Q5_1) or −(dmin × (float) m) (Q4_K, Q5_K).
 *         <li>two scales for 32 (Q2_K, Q3_K, Q6_K): {@code y = fma(d × dx, (float) (s₀ × I₀ + s₁ × I₁), y)}, where I₀
 *             and I₁ are Σ qw × qx over the two halves of 16, all in int32. Then for Q2_K {@code y = fma(−(dmin × dx),
 *             (float) (m₀ × X₀ + m₁ × X₁), y)}, where X₀ and X₁ are Σ qx over the halves.
 *       </ul>
 *       Every integer here stays below 2²⁴ (the largest is Q6_K's, 2 × 128 × 16 × 32 × 127), so sums are exact in
 *       int32 and in f32, in any order, and a set may compute them as its instructions like. What is rounded are two
 *       products of scales and one addition for 32 inputs: less than the rounding of activations to 8 bits costs.
 *   <li>{@link #rmsNorm}: 16 partial sums, {@code p[i mod 16] = fma(x[i], x[i], p[i mod 16])} for i ascending; then
 *       {@code p[i] += p[i + 8]}, {@code p[i] += p[i + 4]}, {@code + 2}, {@code + 1}.
 *   <li>exp: a polynomial of fused multiply-adds, below 2 ulp, the same in every set ({@code Math.exp} and the Vector
 *       API's exp may differ between interpreter and compiled code).
 * </ul>
 *
 * <p>Arguments are checked once a call: shapes or rows that do not fit are an {@link IllegalArgumentException} that
 * names both; memory whose arena is closed is an {@link IllegalStateException}. Where a method reads and writes matrices
 * of one shape, they may be the same matrix.
 */
public interface Kernels {
    /** Short name of the set: {@code avx512vnni}, {@code vector}, {@code scalar}. */
    String name();

    /**
     * The machine code that this set assembles, name to code: products of every element type, attention of the shapes in use
     * and of some examples, the loops that measure ceilings, the questions to the processor. Empty where a compiler makes it.
     */
    default Map<String, Assembly> machineCode() {
        return Map.of();
    }

    /**
     * Machine code as it lies in memory.
     *
     * @param instructions what is executed
     * @param constants what it loads, right behind it; empty where it loads none
     */
    record Assembly(MemorySegment instructions, MemorySegment constants) {}

    /** Why this set was chosen, for one log line. */
    String reason();

    /**
     * Packs a row-major matrix as it lies in a file. Runs in parallel on {@code workers} (source and arena must be open
     * to their threads); never holds two full copies.
     *
     * @param source the tensor's bytes, exactly {@code type.byteSize(rows × columns)}
     * @throws IllegalArgumentException if the source has another size, or a row is not a whole number of blocks
     */
    WeightMatrix pack(ElementType type, int rows, int columns, MemorySegment source, Arena arena, Workers workers);

    /** Fills the int8 form of rows {@code [from, to)} from the f32 form, as {@link Activations} says. */
    void quantize(Activations x, int from, int to);

    /**
     * {@code y[r][o] = Σ_k w[o][k] × x[r][k]} for r in {@code [0, rows)} and this part's share of the outputs. Before,
     * {@link #quantize} must have covered the rows when {@code w.type().isQuantized()}. Rows of x are {@code w.columns()}
     * wide, rows of y {@code w.rows()}; y is none of x's memory.
     *
     * @param part in {@code [0, parts)}
     */
    void multiply(WeightMatrix w, Activations x, int rows, FloatMatrix y, int part, int parts);

    /**
     * {@code y[r] = x[r] × s × weight} with {@code s = 1 / sqrt(mean(x[r]²) + epsilon)} for rows {@code [from, to)};
     * weight has one row.
     */
    void rmsNorm(FloatMatrix x, FloatMatrix weight, float epsilon, FloatMatrix y, int from, int to);

    /** {@code y[r] += x[r]} for rows {@code [from, to)}. */
    void add(FloatMatrix x, FloatMatrix y, int from, int to);

    /** {@code y[r] += bias} for rows {@code [from, to)}; bias has one row. */
    void addBias(FloatMatrix bias, FloatMatrix y, int from, int to);

    /** {@code out[r] = gate[r] / (1 + exp(−gate[r])) × up[r]} for rows {@code [from, to)}. */
    void swiglu(FloatMatrix gate, FloatMatrix up, FloatMatrix out, int from, int to);

    /**
     * Rotary embedding in place. Pairs lie side by side (2i, 2i + 1), as GGUF's llama layout has them; dimensions past
     * {@code cosSin.columns()} stay as they are. A pair (a, b) becomes {@code fma(a, cos, −(b × sin))} and {@code fma(a, sin, b × cos)}.
     *
     * @param x rows of {@code heads × headDim}
     * @param positions position of each row
     * @param cosSin one row a position: cos and sin of pair i at 2i and 2i + 1
     */
    void rope(FloatMatrix x, int headDim, int[] positions, FloatMatrix cosSin, int from, int to);

    /**
     * Writes K and V of one token into its page, rounding to the layout's type.
     *
     * <ul>
     *   <li>F16: to nearest even, saturating to the largest finite value; NaN stays NaN.
     *   <li>Q8_0: for each head {@code m = max|x|} over its numbers, ±∞ counted as the largest finite one; {@code d = m / 127},
     *       {@code q = rint(min(max(x × (127 / m), −127), 127))}. If m is below 2⁻¹¹⁹, d and all q are 0; if an x is NaN, d is
     *       NaN and all q are 0, so that it is not lost. The number is {@code d × q}.
     * </ul>
     *
     * @param pages the pages of one layer, back to back
     * @param page which page
     * @param slot which position in it
     * @param row row of k and v, each {@code kvHeads × headDim} wide
     */
    void storeKv(KvLayout layout, MemorySegment pages, int page, int slot, FloatMatrix k, FloatMatrix v, int row);

    /** Working memory of one worker's {@link #attend}: its size depends on the layout alone, never on the context. */
    AttentionScratch attentionScratch(KvLayout layout, int heads, Arena arena);

    /** Opaque working memory. */
    interface AttentionScratch {
        /** Bytes held. */
        long byteSize();
    }

    /** Query rows that one call of {@link #attend} takes at most. */
    int attentionRows();

    /**
     * Causal flash attention of consecutive query rows of one sequence over its pages, for the query heads of one KV
     * head: tiled at absolute positions, online softmax, one pass.
     *
     * <p>For each query, over its tiles ascending: {@code s[j] = scale × Σ_d q[d] k[j][d]} (fma, d ascending, then the
     * product); {@code m' = max(m, max_j s[j])}; {@code c = exp(m − m')}; {@code l = l × c}, {@code o = o × c}; then for j ascending
     * {@code p = exp(s[j] − m')}, {@code l += p}, {@code o[d] = fma(p, v[j][d], o[d])}; at the end {@code o[d] / l}. Only
     * positions up to the query's own are read.
     *
     * <p>Q8_0 pages: k and v above are the integers. The scales come in once a position and head:
     * {@code s[j] = (scale × Σ_d q[d] k[j][d]) × dk[j]}, and {@code p × dv[j]} takes the place of p in o, not in l.
     */
    void attend(AttentionCall call, AttentionScratch scratch);
}
