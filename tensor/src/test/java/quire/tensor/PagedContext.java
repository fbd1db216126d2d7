package quire.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.SplittableRandom;

/**
 * A sequence of random keys and values in shuffled pages, whose unused slots are NaN; and its attention by the textbook
 * formula in double precision, with K, V and, for int8 pages, the query rounded to their type.
 */
public final class PagedContext {
    public final KvLayout layout;
    public final MemorySegment pages;
    public final int[] pageTable;
    public final FloatMatrix k;
    public final FloatMatrix v;

    private PagedContext(KvLayout layout, MemorySegment pages, int[] pageTable, FloatMatrix k, FloatMatrix v) {
        this.layout = layout;
        this.pages = pages;
        this.pageTable = pageTable;
        this.k = k;
        this.v = v;
    }

    /** Stores {@code context} random positions with {@code kernels}. */
    public static PagedContext random(
            Kernels kernels, Arena arena, KvLayout layout, int context, SplittableRandom random) {
        int count = (context + layout.pageTokens() - 1) / layout.pageTokens();
        MemorySegment pages = arena.allocate(count * layout.pageBytes(), 64);
        for (long i = 0; i < pages.byteSize() / 2; i++) {
            pages.setAtIndex(ValueLayout.JAVA_SHORT, i, (short) 0x7fff); // NaN as f16; two of them are NaN as f32
        }
        int[] table = new int[count];
        for (int i = 0; i < count; i++) {
            table[i] = (i * 5 + 2) % count;
            for (int j = 0; j < i; j++) {
                if (table[j] == table[i]) {
                    table[i] = (table[i] + 1) % count;
                    j = -1;
                }
            }
        }
        int width = layout.kvHeads() * layout.headDim();
        FloatMatrix k = Samples.matrix(arena, context, width, random);
        FloatMatrix v = Samples.matrix(arena, context, width, random);
        for (int position = 0; position < context; position++) {
            int page = table[position / layout.pageTokens()];
            kernels.storeKv(layout, pages, page, position % layout.pageTokens(), k, v, position);
        }
        return new PagedContext(layout, pages, table, k, v);
    }

    /**
     * The attention of one query at {@code position}; behind it, how much rounding of weights to integers may change each number: a
     * weight times V's scale by half of a step, which is a 127th of the largest in its tile, and a number of V is at most 127.
     */
    public double[] attention(FloatMatrix q, int row, int head, int heads, int position, double scale) {
        int headDim = layout.headDim();
        int kvHead = head / (heads / layout.kvHeads());
        double[] scores = new double[position + 1];
        double max = Double.NEGATIVE_INFINITY;
        for (int j = 0; j <= position; j++) {
            for (int d = 0; d < headDim; d++) {
                double query = layout.type().isQuantized()
                        ? quantized(q, row, head * headDim, d)
                        : q.get(row, head * headDim + d);
                scores[j] += scale * query * stored(k, j, kvHead, d);
            }
            max = Math.max(max, scores[j]);
        }
        double sum = 0;
        double[] out = new double[headDim + 1];
        double largest = 0;
        for (int j = 0; j <= position; j++) {
            double p = Math.exp(scores[j] - max);
            sum += p;
            if (layout.type().isQuantized()) {
                largest = Math.max(j % KvLayout.TILE == 0 ? 0 : largest, p * scale(v, j, kvHead * headDim));
                if (j == position || j % KvLayout.TILE == KvLayout.TILE - 1) {
                    out[headDim] += (j % KvLayout.TILE + 1) * largest / 2;
                }
            }
            for (int d = 0; d < headDim; d++) {
                out[d] += p * stored(v, j, kvHead, d);
            }
        }
        for (int d = 0; d <= headDim; d++) {
            out[d] /= sum;
        }
        return out;
    }

    private double stored(FloatMatrix x, int position, int kvHead, int dimension) {
        int first = kvHead * layout.headDim();
        float value = x.get(position, first + dimension);
        return switch (layout.type()) {
            case F32 -> value;
            case F16 -> Float.float16ToFloat(Float.floatToFloat16(value));
            case Q8_0 -> quantized(x, position, first, dimension);
        };
    }

    /** A number of the head that begins at column {@code first}, as int8 and back. */
    private double quantized(FloatMatrix x, int row, int first, int dimension) {
        float max = (float) (127 * scale(x, row, first));
        return scale(x, row, first) * Math.rint(x.get(row, first + dimension) * (127f / max));
    }

    private double scale(FloatMatrix x, int row, int first) {
        float max = 0;
        for (int d = first; d < first + layout.headDim(); d++) {
            max = Math.max(max, Math.abs(x.get(row, d)));
        }
        return max / 127.0;
    }
}
