package quire.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Map;

/**
 * The arithmetic of a decoder step. Every method runs on the calling thread and computes the share that it is given.
 * The caller divides the work among threads and sets the barriers between methods. {@link
 * quire.tensor.machine.KernelSets} gives the implementation for this machine.
 *
 * <p><b>Only the model's shape decides the order of a sum.</b> The numbers of rows, threads and chunks do not. Each
 * output is one lane, which adds its inputs in ascending order with fused multiply-adds. So a row's result does not
 * depend on the other rows of its batch, and all implementations of these formulas agree to the last bit:
 *
 * <ul>
 *   <li>F32, F16, BF16 weights: {@code y = fma(w[k], x[k], y)} for k ascending, from +0.
 *   <li>quantised weights: for each 32 inputs ascending the sums below, from {@code y = +0}. qx are the activations'
 *       int8 quants and dx is their scale; qw are the weights' integers ({@link ElementType}) after the format's zero
 *       point (Q4_0: 8, Q5_0: 16, Q3_K: 4, Q6_K: 32, TQ1_0, TQ2_0 and Q2_0: 1) is subtracted or its table is applied
 *       (IQ types; MXFP4 and NVFP4: twice the values).
 *       <ul>
 *         <li>one scale for 32 (Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, IQ4_NL, IQ4_XS, MXFP4, IQ3_S, IQ3_XXS,
 *             IQ2_XXS, IQ1_S, TQ1_0, TQ2_0, Q1_0, Q2_0): {@code y = fma(dw × dx, (float) Σ qw × qx, y)}, where dw is the
 *             block's d, or d × (float) s in blocks of 256 (an exact product), or 2^(e − 128) for MXFP4. Then, for formats with a minimum, {@code y = fma(mw, dx × (float) Σ
 *             qx, y)}, where mw is m (Q4_1, Q5_1) or −(dmin × (float) m) (Q4_K, Q5_K).
 *         <li>two scales for 32 (Q2_K, Q3_K, Q6_K, IQ2_S, IQ2_XS, IQ1_M): {@code y = fma(d × dx, (float) (s₀ × I₀ + s₁ × I₁), y)}, where I₀
 *             and I₁ are Σ qw × qx over the two halves of 16 inputs, all in int32. Then, for Q2_K, {@code y =
 *             fma(−(dmin × dx), (float) (m₀ × X₀ + m₁ × X₁), y)}, where X₀ and X₁ are Σ qx over the halves.
 *         <li>two floats as scales for 32 (NVFP4): {@code y = fma(dw × dx, (float) Σ qw × qx, y)} for each 16 inputs,
 *             where dw is half of the scale.
 *       </ul>
 *       Every integer stays below 2²⁴ (the largest is Q6_K's, 2 × 128 × 16 × 32 × 127). So sums of integers are exact
 *       in int32 and in f32, and an implementation may add them in any order. For each 32 inputs, only two products of
 *       scales and one addition are rounded. This error is smaller than that of quantising activations to 8 bits.
 *   <li>{@link #rmsNorm}: 16 partial sums, {@code p[i mod 16] = fma(x[i], x[i], p[i mod 16])} for i ascending; then
 *       {@code p[i] += p[i + 8]}, {@code p[i] += p[i + 4]}, {@code + 2}, {@code + 1}.
 *   <li>exp: a polynomial of fused multiply-adds with an error below 2 ulp, the same in every implementation. ({@code
 *       Math.exp} and the Vector API's exp may give other bits in the interpreter than in compiled code.)
 * </ul>
 *
 * <p>Each call checks its arguments. Shapes or rows that do not fit together throw an {@link IllegalArgumentException}
 * that names both. Memory of a closed arena throws an {@link IllegalStateException}. Where a method reads and writes
 * matrices of one shape, they may be the same matrix.
 */
public interface Kernels {
    /** Short name of the set: {@code avx512vnni}, {@code avx2}, {@code vector} or {@code scalar}. */
    String name();

    /**
     * The machine code that this set assembles, by the function's name: products of every element type, attention for
     * the shapes in use and for some examples, the loops that measure ceilings, and the functions that identify the
     * processor. Empty if the set is compiled Java.
     */
    default Map<String, Assembly> machineCode() {
        return Map.of();
    }

    /**
     * The machine code of one function, in memory.
     *
     * @param instructions the instructions
     * @param constants the constants, directly after the instructions; empty if there are none
     */
    record Assembly(MemorySegment instructions, MemorySegment constants) {}

    /** Why this set was chosen; fits one log line. */
    String reason();

    /**
     * Packs a row-major matrix of a file. Runs in parallel on {@code workers}, whose threads must be able to access the
     * source and the arena. Never holds two full copies.
     *
     * @param source the tensor's bytes, exactly {@code type.byteSize(rows × columns)} of them
     * @throws IllegalArgumentException if the source has another size, or a row is not a whole number of blocks
     */
    WeightMatrix pack(ElementType type, int rows, int columns, MemorySegment source, Arena arena, Workers workers);

    /** Size in bytes of a matrix that {@link #pack} makes: {@link WeightMatrix#packedBytes} without packing. */
    long packedBytes(ElementType type, int rows, int columns);

    /**
     * A matrix in the form in which {@link #pack} of the same set has put it into memory: {@link WeightMatrix#packed}. Nothing is
     * copied.
     *
     * @param packed {@link #packedBytes} bytes, which are only read, faster on a cache-line boundary
     * @throws IllegalArgumentException if there are more or fewer bytes, or a row is not a whole number of blocks
     * @throws UnsupportedOperationException if {@link #keepsPacked} is false
     */
    default WeightMatrix ofPacked(ElementType type, int rows, int columns, MemorySegment packed) {
        throw new UnsupportedOperationException("the kernel set " + name() + " packs weights anew each time");
    }

    /** Whether matrices of this set have a packed form that {@link #ofPacked} takes. */
    default boolean keepsPacked() {
        return false;
    }

    /** Whether {@link WeightMatrix#readRow} works for matrices of this set. */
    boolean readsRows();

    /** Quantises rows {@code [from, to)} from f32 to int8, as {@link Activations} defines it. */
    void quantize(Activations x, int from, int to);

    /**
     * {@code y[r][o] = Σ_k w[o][k] × x[r][k]} for r in {@code [0, rows)} and for some parts of the outputs o. If {@code
     * w.type().isQuantized()}, {@link #quantize} must be called for these rows before. A row of x has {@code
     * w.columns()} numbers and a row of y {@code w.rows()}. y and x must not overlap. At last each sum is multiplied by the
     * factor of w, see {@link WeightMatrix#setFactor}.
     *
     * @param from index of the first part to compute
     * @param to end of the parts to compute
     * @param parts number of parts that the outputs are divided into, about equal ones
     */
    void multiply(WeightMatrix w, Activations x, int rows, FloatMatrix y, int from, int to, int parts);

    /** The same for one part. */
    default void multiply(WeightMatrix w, Activations x, int rows, FloatMatrix y, int part, int parts) {
        multiply(w, x, rows, y, part, part + 1, parts);
    }

    /**
     * {@code y[r] = x[r] × s × weight} with {@code s = 1 / sqrt(mean(x[r]²) + epsilon)} for rows {@code [from, to)};
     * weight has one row.
     */
    void rmsNorm(FloatMatrix x, FloatMatrix weight, float epsilon, FloatMatrix y, int from, int to);

    /**
     * {@code y[r] = (x[r] − m) × s × weight} with {@code m = mean(x[r])} and {@code s = 1 / sqrt(mean((x[r] − m)²) +
     * epsilon)} for rows {@code [from, to)}; weight has one row. Both means are sums of 16 partial sums as in {@link
     * #rmsNorm}; those of m are plain additions.
     */
    void layerNorm(FloatMatrix x, FloatMatrix weight, float epsilon, FloatMatrix y, int from, int to);

    /** {@code y[to] = fma(factor, x[from], y[to])} for one row of each matrix. */
    void addRow(FloatMatrix x, int from, float factor, FloatMatrix y, int to);

    /** {@code y[to] = a[rowA] × b[rowB]}, number by number, for one row of each matrix. */
    void multiplyRow(FloatMatrix a, int rowA, FloatMatrix b, int rowB, FloatMatrix y, int to);

    /** {@code y[to] = fma(a[rowA], b[rowB], y[to])}, number by number, for one row of each matrix. */
    void addProduct(FloatMatrix a, int rowA, FloatMatrix b, int rowB, FloatMatrix y, int to);

    /**
     * One position of one head of a state space (Mamba-2), with x the value, k the key, q the query and h the state, which has
     * a row for each number of a key: {@code h[n] = fma(k[n], step × x, decay × h[n])} and {@code y = fma(q[n], h[n], y)} for n
     * ascending from y = +0, number by number of the value; at last {@code y = fma(skip, x, y)}.
     */
    void advance(StateCall call);

    /**
     * The same for the delta rule (gated delta net), where the state holds what it returns for a key, and the value corrects it:
     * {@code h[n] = decay × h[n]} and {@code p = fma(k[n], h[n], p)} for n ascending from p = +0; {@code d = step × (x − p)};
     * {@code h[n] = fma(k[n], d, h[n])} and {@code y = fma(q[n], h[n], y)} for n ascending from y = +0. There is no skip.
     */
    void advanceDelta(StateCall call);

    /**
     * The same for Mamba, where each number of the value, in column c of the inputs, has a step of its own, and a decay for each
     * number of a key: {@code h[n] = fma(k[n], step[c] × x, exp(step[c] × rate[n][c]) × h[n])} and {@code y = fma(q[n], h[n], y)}
     * for n ascending from y = +0; at last {@code y = fma(skip[c], x, y)}.
     */
    void advanceSelective(StateCall call);

    /** {@code x[r] = cap − 2 × cap / (exp(x[r] × (2 / cap)) + 1)}, which is cap × tanh(x / cap), for rows {@code [from, to)}. */
    void softCap(FloatMatrix x, float cap, int from, int to);

    /** {@code y[r] += x[r]} for rows {@code [from, to)}. */
    void add(FloatMatrix x, FloatMatrix y, int from, int to);

    /** {@code y[r] += bias} for rows {@code [from, to)}; bias has one row. */
    void addBias(FloatMatrix bias, FloatMatrix y, int from, int to);

    /**
     * {@code out[r] = activation(gate[r]) × up[r]} for rows {@code [from, to)}, as {@link Activation} defines it. {@code
     * out} may be {@code gate}.
     */
    void activate(Activation activation, FloatMatrix gate, FloatMatrix up, FloatMatrix out, int from, int to);

    /**
     * Rotary embedding in place, for rows {@code [from, to)}. A pair (a, b) is the numbers at 2i and 2i + 1 of a head,
     * as in GGUF's llama layout. It becomes {@code (fma(a, cos, −(b × sin)), fma(a, sin, b × cos))}. Dimensions from
     * {@code cosSin.columns()} on do not change.
     *
     * @param x rows of {@code heads × headDim}
     * @param positions position of each row
     * @param cosSin one row for each position: cos and sin of pair i at 2i and 2i + 1
     */
    void rope(FloatMatrix x, int headDim, int[] positions, FloatMatrix cosSin, int from, int to);

    /**
     * Writes K and V of one token into its page, in the layout's type.
     *
     * <ul>
     *   <li>F16: rounded to nearest even and limited to the largest finite value. NaN stays NaN.
     *   <li>Q8_0: a number is stored as {@code d × q}. For each head, {@code m = max|x|} over its numbers, where ±∞
     *       counts as the largest finite number, {@code d = m / 127} and {@code q = rint(min(max(x × (127 / m), −127),
     *       127))}. If m is below 2⁻¹¹⁹, d and all q are 0. If any x is NaN, d is NaN and all q are 0, so the whole
     *       head reads as NaN.
     * </ul>
     *
     * @param pages the pages of one layer, one after the other
     * @param page index of the page
     * @param slot index of the position in the page
     * @param row row of k and v; each has {@code kvHeads × headDim} numbers
     */
    void storeKv(KvLayout layout, MemorySegment pages, int page, int slot, FloatMatrix k, FloatMatrix v, int row);

    /**
     * Allocates working memory for one worker's {@link #attend}, without a soft cap. Its size does not depend on the
     * length of the context.
     */
    default AttentionScratch attentionScratch(KvLayout layout, int heads, Arena arena) {
        return attentionScratch(layout, heads, 0, arena);
    }

    /**
     * Allocates working memory for one worker's {@link #attend}.
     *
     * @param softCap limit of the scores, see {@link #attend}; 0 for none
     */
    AttentionScratch attentionScratch(KvLayout layout, int heads, float softCap, Arena arena);

    /**
     * Working memory of {@link #attend} for one worker. Its contents are private to the kernel set that allocated it.
     */
    interface AttentionScratch {
        /** Size in bytes. */
        long byteSize();
    }

    /** Maximum number of rows that one call of {@link #attend} takes. */
    int attentionRows();

    /**
     * Causal flash attention: consecutive rows of one sequence attend to its pages, for the query heads that share one
     * KV head. One pass with an online softmax over tiles of {@link KvLayout#TILE} positions, which begin at fixed
     * positions.
     *
     * <p>For each query and each of its tiles in ascending order: {@code s[j] = scale × Σ_d q[d] k[j][d]} (fma for d
     * ascending, then the product), {@code m' = max(m, max_j s[j])}, {@code c = exp(m − m')}, {@code p[j] = exp(s[j] − m')},
     * {@code l = fma(l, c, Σ_j p[j])}, {@code o = o × c}, and for j ascending {@code o[d] = fma(p[j], v[j][d], o[d])}. The sum
     * of p over the 16 positions of a tile is {@code p[j] += p[j + 8]}, {@code p[j] += p[j + 4]}, {@code + 2}, {@code + 1}, where
     * positions that the query does not see count as 0. The result is {@code o[d] / l}. A query reads only the positions up to
     * its own.
     *
     * <p>So it is within one segment of {@link KvLayout#SEGMENT} positions. Each further segment that the query sees begins anew
     * with m = −∞ and l = o = 0, and its results are added in ascending order: {@code m = max(m₁, m₂)}, {@code c₁ = exp(m₁ −
     * m)}, {@code c₂ = exp(m₂ − m)}, {@code l = fma(l₂, c₂, l₁ × c₁)}, {@code o = fma(o₂, c₂, o₁ × c₁)}. So several workers
     * can compute one query: see {@link #attendSegment}.
     *
     * <p>Three things may differ from this:
     *
     * <ul>
     *   <li>a window w: the query at position i sees only positions from {@code i − w + 1} on. It begins with the tile of
     *       that position, where earlier positions have a score of −∞. If windows are chunks, the first position is the last
     *       multiple of w instead.
     *   <li>a soft cap: after its scale, a score becomes {@code cap − 2 × cap / (exp(s × (2 / cap)) + 1)}.
     *   <li>sinks: a number for each query head, with which m begins in the first segment that the query sees, and l begins
     *       with 1 (instead of −∞ and 0).
     * </ul>
     *
     * <p>With Q8_0 pages, the products are those of integers. k and v are the stored ones, and each query is quantised as {@link
     * #storeKv} does it, with scale dq. So {@code s[j] = ((float) Σ_d q[d] k[j][d] × (dq × scale)) × dk[j]}. For o (not for l),
     * a tile's weights are quantised with one scale: {@code p'[j] = p[j] × dv[j]}, or 0 where the query does not see the position,
     * {@code t = max_j p'[j] / 127}, {@code w[j] = rint(p'[j] × (127 / max_j p'[j]))}, where t and w are 0 if the maximum is below
     * 2⁻¹¹⁹ and t is NaN if any p' is. Then {@code o[d] = fma((float) Σ_j w[j] v[j][d], t, o[d] × c)}. All sums of integers stay
     * below 2²⁴, so they are exact.
     *
     * @param call what is computed; K and V are stored up to the position of its last row
     * @param scratch this worker's, made by this set for the same layout
     */
    void attend(AttentionCall call, AttentionScratch scratch);

    /**
     * Computes one segment of {@link #attend}: for each row of the call and each query head of its KV head, a row of {@code
     * partials}, which follow each other from {@code at} on. It has o, then m and l. The rows of queries that see nothing of
     * the segment are not defined.
     *
     * @param segment number of the segment
     * @param partials rows of {@code headDim + 2}
     */
    void attendSegment(AttentionCall call, AttentionScratch scratch, int segment, FloatMatrix partials, int at);

    /**
     * Adds the results of {@link #attendSegment} and writes those of {@link #attend}, to the bit.
     *
     * @param partials the results of all segments from the first that the first row sees to that of the last row's position, one
     *     segment after the other from row {@code at} on; they are overwritten
     */
    void mergeSegments(AttentionCall call, AttentionScratch scratch, FloatMatrix partials, int at);
}
