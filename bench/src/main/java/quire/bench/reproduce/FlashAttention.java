package quire.bench.reproduce;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;
import quire.bench.report.RunRecord;
import quire.engine.MemoryPlan;
import quire.tensor.Activations;
import quire.tensor.AttentionCall;
import quire.tensor.ElementType;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.KvLayout;
import quire.tensor.WeightMatrix;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;

/**
 * Causal attention of a whole prompt, one head on one thread: the flash kernel over pages against the plain formula.
 *
 * <pre>
 *   flash    for each query, tile by tile of 16 positions: scores, running softmax, sum      extra memory: a few rows
 *   plain    S = Q Kᵀ   n × n, written out;   P = softmax of each row of S;   O = P V         extra memory: S
 * </pre>
 *
 * The two products of the plain formula run in the kernels that compute the model's f32 products.
 */
final class FlashAttention implements AutoCloseable {
    private static final int HEAD_DIM = 64;
    private static final int PAGE_TOKENS = 16;
    private static final float SCALE = 0.125f; // 1 / sqrt(64)
    private static final int SHORTEST = 512;
    private static final int LONGEST = 16_384;
    private static final int LONGEST_QUICK = 2_048;
    /** Up to this many tokens a case runs several times, and the best counts. */
    private static final int SHORT = 4_096;

    private static final int REPEATS = 3;
    private static final double NANO = 1e-9;

    private final Kernels kernels = KernelSets.best();
    private final Arena arena = Arena.ofShared(); // packing runs on workers
    private final int tokens;
    private final FloatMatrix queries;
    private final FloatMatrix keys;
    private final FloatMatrix values;

    /** Random queries, keys and values of a prompt; {@code tokens} is a multiple of 16. */
    FlashAttention(int tokens) {
        this.tokens = tokens;
        SplittableRandom random = new SplittableRandom(tokens);
        queries = randomMatrix(random);
        keys = randomMatrix(random);
        values = randomMatrix(random);
    }

    private FloatMatrix randomMatrix(SplittableRandom random) {
        FloatMatrix matrix = FloatMatrix.allocate(arena, tokens, HEAD_DIM);
        for (int row = 0; row < tokens; row++) {
            for (int column = 0; column < HEAD_DIM; column++) {
                matrix.set(row, column, (float) random.nextGaussian());
            }
        }
        return matrix;
    }

    /**
     * One computation.
     *
     * @param output a row for each token
     * @param seconds its time, without that of storing or packing keys and values
     * @param softmaxSeconds the part of it that is the softmax in Java; 0 where it is a part of the kernel
     * @param extraBytes memory for what is neither input nor output
     */
    record Computed(FloatMatrix output, double seconds, double softmaxSeconds, long extraBytes) {}

    /** The kernel of a model's step. */
    Computed flash() {
        KvLayout layout = new KvLayout(KvLayout.KvType.F16, PAGE_TOKENS, 1, HEAD_DIM);
        int pageCount = tokens / PAGE_TOKENS;
        MemorySegment pages = arena.allocate(pageCount * layout.pageBytes(), 64);
        int[] table = new int[pageCount];
        for (int position = 0; position < tokens; position++) {
            table[position / PAGE_TOKENS] = position / PAGE_TOKENS;
            kernels.storeKv(layout, pages, position / PAGE_TOKENS, position % PAGE_TOKENS, keys, values, position);
        }
        Kernels.AttentionScratch scratch = kernels.attentionScratch(layout, 1, arena);
        FloatMatrix output = FloatMatrix.allocate(arena, tokens, HEAD_DIM);
        AttentionCall call = new AttentionCall(layout, SCALE, queries, output).context(pages, table, 0);
        long begin = System.nanoTime();
        for (int row = 0; row < tokens; row += kernels.attentionRows()) {
            call.rows(row, Math.min(kernels.attentionRows(), tokens - row), row);
            kernels.attend(call, scratch);
        }
        return new Computed(output, (System.nanoTime() - begin) * NANO, 0, scratch.byteSize());
    }

    /** The formula as it is written, with all scores in memory. */
    Computed plain(Workers workers) {
        try (Arena scoresArena = Arena.ofShared()) {
            WeightMatrix keyMatrix = kernels.pack(ElementType.F32, tokens, HEAD_DIM, keys.segment(), arena, workers);
            FloatMatrix transposed = FloatMatrix.allocate(arena, HEAD_DIM, tokens);
            for (int row = 0; row < tokens; row++) {
                for (int column = 0; column < HEAD_DIM; column++) {
                    transposed.set(column, row, values.get(row, column));
                }
            }
            WeightMatrix valueMatrix =
                    kernels.pack(ElementType.F32, HEAD_DIM, tokens, transposed.segment(), arena, workers);
            Activations query = Activations.allocate(arena, tokens, HEAD_DIM, false);
            MemorySegment.copy(
                    queries.segment(),
                    0,
                    query.values().segment(),
                    0,
                    queries.segment().byteSize());
            Activations scores = Activations.allocate(scoresArena, tokens, tokens, false);
            FloatMatrix output = FloatMatrix.allocate(arena, tokens, HEAD_DIM);
            long begin = System.nanoTime();
            kernels.multiply(keyMatrix, query, tokens, scores.values(), 0, 1);
            long scored = System.nanoTime();
            softmax(scores.values());
            long weighed = System.nanoTime();
            kernels.multiply(valueMatrix, scores, tokens, output, 0, 1);
            return new Computed(
                    output,
                    (System.nanoTime() - begin) * NANO,
                    (weighed - scored) * NANO,
                    Activations.byteSize(tokens, tokens, false));
        }
    }

    /** Turns each row of scores into weights; a query sees the positions up to its own. */
    private static void softmax(FloatMatrix scores) {
        int columns = scores.columns();
        float[] row = new float[columns];
        for (int query = 0; query < scores.rows(); query++) {
            MemorySegment.copy(scores.segment(), ValueLayout.JAVA_FLOAT, scores.rowOffset(query), row, 0, columns);
            float largest = Float.NEGATIVE_INFINITY;
            for (int key = 0; key <= query; key++) {
                largest = Math.max(largest, row[key]);
            }
            float sum = 0;
            for (int key = 0; key < columns; key++) {
                row[key] = key <= query ? (float) Math.exp((row[key] - largest) * SCALE) : 0;
                sum += row[key];
            }
            for (int key = 0; key < columns; key++) {
                row[key] /= sum;
            }
            MemorySegment.copy(row, 0, scores.segment(), ValueLayout.JAVA_FLOAT, scores.rowOffset(query), columns);
        }
    }

    static Report report(Setup setup) {
        List<Map<String, Object>> rows = new ArrayList<>();
        int longest = setup.quick() ? LONGEST_QUICK : LONGEST;
        try (Workers workers = new Workers(1)) {
            try (FlashAttention warm = new FlashAttention(SHORTEST)) {
                for (int i = 0; i < REPEATS; i++) {
                    warm.flash();
                    warm.plain(workers);
                }
            }
            for (int tokens = SHORTEST; tokens <= longest; tokens *= 2) {
                System.err.println("  " + tokens + " tokens");
                rows.add(measure(tokens, workers));
            }
        }
        List<Map<String, Object>> points = new ArrayList<>();
        for (Map<String, Object> row : rows) {
            for (String way : List.of("flash", "plain", "plain_without_softmax")) {
                Map<String, Object> point = new LinkedHashMap<>();
                point.put("way", way.replace('_', ' '));
                point.put("tokens", RunRecord.number(row, "tokens"));
                point.put("ms", RunRecord.number(row, way + "_ms"));
                points.add(point);
            }
        }
        return new Report(
                        "Flash attention",
                        "Dao et al., FlashAttention (NeurIPS 2022): attention without writing out the scores is two to four"
                                + " times as fast on a GPU and needs memory that grows with the tokens and not with their"
                                + " square.")
                .note("One causal head of " + HEAD_DIM
                        + " numbers, a whole prompt, one thread, random numbers. Flash is the"
                        + " kernel of every step, over f16 pages. The plain formula writes all scores in f32; its two"
                        + " products run in the kernels of the model's f32 products, its softmax in Java, so the columns"
                        + " show its time without the softmax too. It computes the upper half of the scores as well, as the"
                        + " formula with a mask does, and the flash kernel does not: that alone is a factor of two.")
                .table("Time and memory beside inputs and output", rows)
                .chart("Time by the length of the prompt", points, "way", "tokens", "ms")
                .note(
                        "On a CPU the caches are large and memory is near, so writing out scores costs less time than on a"
                                + " GPU. The memory is the same argument on both: at 16,384 tokens the scores of one head take a"
                                + " gibibyte.");
    }

    private static Map<String, Object> measure(int tokens, Workers workers) {
        Computed flash = null;
        Computed plain = null;
        for (int i = 0; i < (tokens <= SHORT ? REPEATS : 1); i++) {
            try (FlashAttention attention = new FlashAttention(tokens)) {
                flash = faster(flash, attention.flash());
                plain = faster(plain, attention.plain(workers));
            }
        }
        if (flash == null || plain == null) {
            throw new IllegalStateException("nothing was measured");
        }
        double products = plain.seconds - plain.softmaxSeconds;
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("tokens", tokens);
        row.put("flash_ms", 1e3 * flash.seconds);
        row.put("plain_ms", 1e3 * plain.seconds);
        row.put("plain_without_softmax_ms", 1e3 * products);
        row.put("times_as_fast", plain.seconds / flash.seconds);
        row.put("without_softmax", products / flash.seconds);
        row.put("flash_memory", MemoryPlan.size(flash.extraBytes));
        row.put("plain_memory", MemoryPlan.size(plain.extraBytes));
        return row;
    }

    private static Computed faster(@Nullable Computed best, Computed next) {
        return best == null || next.seconds < best.seconds ? next : best;
    }

    @Override
    public void close() {
        arena.close();
    }
}
