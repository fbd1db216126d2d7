package quire.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import quire.tensor.Activation;
import quire.tensor.Activations;
import quire.tensor.AttentionCall;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.Kernels.AttentionScratch;
import quire.tensor.KvLayout;
import quire.tensor.Workers;

/**
 * Computes attention in all layers whose heads have the same sizes, from the norm before it to the result of the output
 * matrix. Between two barriers (│):
 *
 * <pre>
 *   outputs  q k v │                                       │           │          │ output │
 *   rows           │ norms, rotation, store K and V        │           │ quantise │        │ bias
 *   units                                                  │ attention │
 * </pre>
 *
 * <p>A unit of attention is some query rows and one KV head. If there are few units for the workers, those with a long context
 * are cut into pieces of some segments; the worker that completes the last piece adds the results, always in the same order. Layers may have no keys and values of their own; they read
 * those of an earlier layer.
 */
final class AttentionLayers {
    /** A part of the heads, if all share one KV head. A kernel shares what it loads among no more. */
    private static final int PART_HEADS = 12;
    /** Units of attention are cut until there are so many for each worker. */
    private static final int UNITS_PER_WORKER = 4;
    /** Enough for 16 sequences of 4,096 tokens. */
    private static final int MIN_PARTIAL_SEGMENTS = 128;
    /** Enough for a sequence of 524,288 tokens. Units with more segments are not cut. */
    private static final int MAX_PARTIAL_SEGMENTS = 1024;

    private final Architecture blocks;
    private final ModelConfig.HeadSizes sizes;
    private final float epsilon;
    private final KvCache cache;
    private final KvLayout layout;
    private final Kernels kernels;
    private final Workers workers;
    private final Products products;
    private final @Nullable LatentAttention latentAttention;
    private final int headParts;
    /** Where the numbers of a head have their place in the file. */
    private final int[] order;

    // One row for each token of the batch.
    private final FloatMatrix queries;
    private final FloatMatrix keys;
    private final FloatMatrix values;
    /** What the sigmoid is computed of that multiplies attention's results; null if there is none. */
    private final @Nullable FloatMatrix gate;

    private final Activations attended;
    /** In the order of {@link Weights#first}. */
    private final List<FloatMatrix> firstOutputs;

    // The same memory with a row for each head, or for each token where heads are normalised together.
    private final FloatMatrix queryNormRows;
    private final FloatMatrix keyNormRows;
    private final FloatMatrix valueNormRows;
    /** Weights of norms that have none. */
    private final FloatMatrix ones;

    /** The results of segments of the units that are cut: o of each head, then its maximum and total. */
    private final FloatMatrix partials;
    /** How many pieces of a unit that is cut are complete; 0 between layers. */
    private final AtomicIntegerArray complete;

    // By worker.
    private final AttentionCall[] calls;
    private final AttentionScratch[] scratch;

    /**
     * The weights of one layer.
     *
     * @param first of the inputs: queries, keys, values and, if it has one, the gate; without keys and values in layers that
     *     read those of another layer, and without values where keys are the values; empty with a latent
     * @param latent see {@link LatentAttention}; null if there is none
     * @param queryNorm weights of the norm of queries; null if there is none
     * @param keyNorm the same of keys
     * @param window how many positions a query sees; 0 for all
     * @param cosSin the rotation; null if the layer does not rotate
     * @param sinks a score of each head that has no value; null if there are none
     * @param output from the values of all heads to the layer's result
     * @param cacheIndex number of the layer's keys and values in the cache
     * @param stores whether they are its own
     */
    record Weights(
            List<Projection> first,
            LatentAttention.@Nullable Weights latent,
            @Nullable FloatMatrix queryNorm,
            @Nullable FloatMatrix keyNorm,
            int window,
            @Nullable FloatMatrix cosSin,
            @Nullable FloatMatrix sinks,
            List<Projection> output,
            int cacheIndex,
            boolean stores) {
        /** Multiply-adds for one row. */
        long multiplyAdds() {
            return Products.multiplyAdds(first)
                    + Products.multiplyAdds(output)
                    + (latent == null ? 0 : latent.multiplyAdds());
        }

        /** Where the pages of a sequence are. */
        private int[] table(Batch batch, int sequence) {
            return window > 0 ? batch.windowTable(sequence) : batch.pageTable(sequence);
        }

        /** Whether the inputs need to be quantised. */
        boolean readsQuantized() {
            return Products.anyQuantized(first) || (latent != null && Products.anyQuantized(latent.first()));
        }
    }

    /** @param layers the weights of these layers; they say which rows are quantised */
    AttentionLayers(
            ModelConfig config,
            ModelConfig.HeadSizes sizes,
            List<Weights> layers,
            KvLayout layout,
            KvCache cache,
            Kernels kernels,
            Workers workers,
            int maxRows,
            Arena arena) {
        blocks = config.blocks();
        this.sizes = sizes;
        epsilon = config.normEpsilon();
        this.layout = layout;
        this.cache = cache;
        this.kernels = kernels;
        this.workers = workers;
        products = new Products(kernels, workers);
        int queryWidth = sizes.queryWidth();
        int kvWidth = sizes.kvWidth();
        queries = FloatMatrix.allocate(arena, maxRows, queryWidth);
        keys = FloatMatrix.allocate(arena, maxRows, kvWidth);
        values = FloatMatrix.allocate(arena, maxRows, kvWidth);
        gate = blocks.gatedAttention() ? FloatMatrix.allocate(arena, maxRows, queryWidth) : null;
        firstOutputs = gate == null ? List.of(queries, keys, values) : List.of(queries, keys, values, gate);
        boolean each = blocks.headNorm().isEach();
        queryNormRows = each ? byHead(queries) : queries;
        keyNormRows = each ? byHead(keys) : keys;
        valueNormRows = byHead(values);
        ones = FloatMatrix.filled(arena, 1, sizes.headDim(), 1f);
        Architecture.Latent latent = blocks.latent();
        latentAttention = latent == null
                ? null
                : new LatentAttention(
                        config,
                        latent,
                        layers.stream()
                                .flatMap(layer -> Stream.ofNullable(layer.latent))
                                .toList(),
                        kernels,
                        workers,
                        maxRows,
                        arena);
        boolean quantized = layers.stream().anyMatch(layer -> Products.anyQuantized(layer.output));
        attended = Activations.allocate(arena, maxRows, config.attendedWidth(sizes), quantized);
        headParts = headParts(sizes);
        order = blocks.halves()
                ? sizes.neighbours()
                : IntStream.range(0, sizes.headDim()).toArray();
        FloatMatrix result = latentAttention == null ? attended.values() : latentAttention.attended();
        float scale =
                blocks.attentionScale() > 0 ? blocks.attentionScale() : (float) (1 / StrictMath.sqrt(sizes.headDim()));
        int segments = partialSegments(config);
        partials =
                FloatMatrix.allocate(arena, workers.count() == 1 ? 0 : segments * sizes.heads(), sizes.headDim() + 2);
        complete = new AtomicIntegerArray(segments * sizes.kvHeads() * headParts);
        calls = new AttentionCall[workers.count()];
        scratch = new AttentionScratch[workers.count()];
        for (int i = 0; i < calls.length; i++) {
            calls[i] = new AttentionCall(layout, scale, inParts(queries), inParts(result));
            scratch[i] = kernels.attentionScratch(layout, sizes.heads() / headParts, blocks.attentionCap(), arena);
        }
    }

    /** An upper bound for the bytes that such layers allocate outside of the Java heap. */
    static long byteSize(ModelConfig config, ModelConfig.HeadSizes sizes, int maxRows) {
        Architecture.Latent latent = config.blocks().latent();
        long perRow = (long) sizes.queryWidth() * (config.blocks().gatedAttention() ? 2 : 1) + 2L * sizes.kvWidth();
        return Activations.byteSize(maxRows, config.attendedWidth(sizes), true)
                + Float.BYTES * (perRow * maxRows + sizes.headDim())
                + (long) Float.BYTES * partialSegments(config) * sizes.heads() * (sizes.headDim() + 2)
                + (latent == null ? 0 : LatentAttention.byteSize(config, latent, maxRows));
    }

    /**
     * If all heads share one KV head, they are divided into parts, so that several workers can attend for one row.
     */
    private static int headParts(ModelConfig.HeadSizes sizes) {
        int parts = 1;
        while (sizes.kvHeads() == 1 && (sizes.heads() % parts != 0 || sizes.heads() / parts > PART_HEADS)) {
            parts++;
        }
        return parts;
    }

    /** How many segments of one row have results at a time: those of the longest context, or of some shorter ones. */
    private static int partialSegments(ModelConfig config) {
        int segments = Math.ceilDiv(config.contextLength(), KvLayout.SEGMENT);
        return Math.clamp(segments, MIN_PARTIAL_SEGMENTS, MAX_PARTIAL_SEGMENTS);
    }

    /** The same memory with a row for each part of the heads. */
    private FloatMatrix inParts(FloatMatrix rows) {
        return new FloatMatrix(rows.segment(), rows.rows() * headParts, rows.columns() / headParts);
    }

    /** The same memory with a row for each head. */
    private FloatMatrix byHead(FloatMatrix rows) {
        return new FloatMatrix(rows.segment(), rows.rows() * (rows.columns() / sizes.headDim()), sizes.headDim());
    }

    /**
     * Computes a layer for all rows of the batch. Called by every worker after a barrier.
     *
     * @param x the inputs, quantised if a matrix needs that
     * @param from first row of this worker
     * @param to end of the rows of this worker
     * @param result gets the results; the worker's own rows are written without a barrier after them
     */
    void compute(int worker, Weights layer, Activations x, Batch batch, int from, int to, List<FloatMatrix> result) {
        int rows = batch.rows();
        if (layer.latent != null && latentAttention != null) {
            latentAttention.queriesKeysValues(worker, layer.latent, x, rows, from, to, queries, keys, values);
        } else {
            queriesKeysValues(worker, layer, x, rows, from, to);
        }
        if (layer.cosSin != null) {
            kernels.rope(queries, sizes.headDim(), batch.positions(), layer.cosSin, from, to);
            if (layer.stores) {
                kernels.rope(keys, sizes.headDim(), batch.positions(), layer.cosSin, from, to);
            }
        }
        if (blocks.headNorm().followsRotation()) {
            normHeads(layer, from, to);
        }
        if (blocks.temperature() != null
                && (layer.cosSin == null || !blocks.temperature().unrotated())) {
            scaleQueries(blocks.temperature(), batch.positions(), from, to);
        }
        if (layer.stores) {
            store(batch, layer, from, to);
        }
        workers.barrier(worker);
        attend(batch, layer, worker);
        workers.barrier(worker);
        if (layer.latent != null && latentAttention != null) {
            latentAttention.values(worker, layer.latent, rows, from, to, attended.values());
        }
        if (gate != null) {
            kernels.activate(Activation.SIGMOID, gate, attended.values(), attended.values(), from, to);
        }
        products.quantize(attended, from, to);
        workers.barrier(worker);
        products.multiply(worker, layer.output, attended, rows, result);
        workers.barrier(worker);
        products.addBias(layer.output.getFirst(), result.getFirst(), from, to);
    }

    /** Queries, keys and values before their rotation. */
    private void queriesKeysValues(int worker, Weights layer, Activations x, int rows, int from, int to) {
        products.multiply(worker, layer.first, x, rows, firstOutputs);
        workers.barrier(worker);
        for (int i = 0; i < layer.first.size(); i++) {
            products.addBias(layer.first.get(i), firstOutputs.get(i), from, to);
        }
        if (layer.stores && layer.first.size() == 2) {
            keysAsValues(from, to);
        }
        if (blocks.inputLimit() > 0) {
            limit(queries, from, to);
            limit(keys, from, to);
            limit(values, from, to);
        }
        if (!blocks.headNorm().followsRotation()) {
            normHeads(layer, from, to);
        }
        if (blocks.valueNorm() && layer.stores) {
            norm(ones, valueNormRows, from, to);
        }
    }

    /** Copies keys to values, whose numbers have the file's order. */
    private void keysAsValues(int from, int to) {
        for (int row = from; row < to; row++) {
            for (int i = 0; i < keys.columns(); i++) {
                int inHead = i % sizes.headDim();
                values.set(row, i - inHead + order[inHead], keys.get(row, i));
            }
        }
    }

    /** Limits the magnitude of the numbers of some rows. */
    private void limit(FloatMatrix rows, int from, int to) {
        float limit = blocks.inputLimit();
        for (int row = from; row < to; row++) {
            for (int i = 0; i < rows.columns(); i++) {
                rows.set(row, i, Math.clamp(rows.get(row, i), -limit, limit));
            }
        }
    }

    /** Norms the queries and keys of some tokens, if the layer has such norms. */
    private void normHeads(Weights layer, int from, int to) {
        normHeads(layer.queryNorm, queries, queryNormRows, from, to);
        if (layer.stores) {
            normHeads(layer.keyNorm, keys, keyNormRows, from, to);
        }
    }

    private void normHeads(@Nullable FloatMatrix weight, FloatMatrix tokens, FloatMatrix heads, int from, int to) {
        if (weight != null && blocks.headNorm() == Architecture.HeadNorm.EACH_LAYER) {
            int each = heads.rows() / tokens.rows();
            kernels.layerNorm(heads, ones, epsilon, heads, from * each, to * each);
            for (int row = from; row < to; row++) {
                kernels.multiplyRow(tokens, row, weight, 0, tokens, row);
            }
        } else {
            norm(weight, heads, from, to);
        }
    }

    private void norm(@Nullable FloatMatrix weight, FloatMatrix heads, int from, int to) {
        if (weight != null) {
            int each = heads.rows() / queries.rows();
            kernels.rmsNorm(heads, weight, epsilon, heads, from * each, to * each);
        }
    }

    private void scaleQueries(Architecture.Temperature temperature, int[] positions, int from, int to) {
        for (int row = from; row < to; row++) {
            float factor = temperature.factor(positions[row]);
            for (int i = 0; factor != 1 && i < queries.columns(); i++) {
                queries.set(row, i, queries.get(row, i) * factor);
            }
        }
    }

    private void store(Batch batch, Weights layer, int from, int to) {
        MemorySegment pages = cache.layer(layer.cacheIndex);
        for (int s = 0; s < batch.sequences(); s++) {
            int first = batch.firstRow(s);
            int end = Math.min(to, first + batch.rowCount(s));
            int[] pageTable = layer.table(batch, s);
            for (int row = Math.max(from, first); row < end; row++) {
                int position = batch.positions()[row];
                int page = pageTable[position / layout.pageTokens()];
                kernels.storeKv(layout, pages, page, position % layout.pageTokens(), keys, values, row);
            }
        }
    }

    /** Sets the window of a position of an encoder. Returns the last position that it sees. */
    private int seeBothWays(AttentionCall call, Weights layer, int position, int last) {
        if (layer.window == 0) {
            return last;
        }
        int half = layer.window / 2;
        int seen = Math.min(last, position + half);
        call.layer(seen - position + half + 1, false, blocks.attentionCap(), layer.sinks);
        return seen;
    }

    /**
     * Claims and computes units. All workers walk through the same units. Whether one is cut depends on the workers and on the
     * other sequences, and changes no result.
     */
    private void attend(Batch batch, Weights layer, int worker) {
        AttentionCall call = calls[worker].layer(layer.window, blocks.chunked(), blocks.attentionCap(), layer.sinks);
        MemorySegment pages = cache.layer(layer.cacheIndex);
        int heads = sizes.kvHeads() * headParts;
        long total = workers.active() == 1 ? 0 : work(batch, call) * heads;
        int unit = 0;
        int claimed = workers.claim();
        int cut = 0; // segments of one row that are cut so far
        for (int s = 0; s < batch.sequences(); s++) {
            int rowCount = batch.rowCount(s);
            int last = batch.firstPosition(s) + rowCount - 1;
            for (int done = 0; done < rowCount; done += kernels.attentionRows()) {
                int count = Math.min(kernels.attentionRows(), rowCount - done);
                int row = batch.firstRow(s) + done;
                int position = batch.firstPosition(s) + done;
                int segments = segments(call, position, count);
                long wanted = total == 0
                        ? 1
                        : Math.ceilDiv((long) count * segments * UNITS_PER_WORKER * workers.active(), total);
                int pieces = (int) Math.min(segments, wanted);
                if ((long) (cut + segments * count) * sizes.heads() > partials.rows() || blocks.encoder()) {
                    pieces = 1;
                }
                for (int head = 0; head < heads; head++) {
                    for (int piece = 0; piece < pieces; piece++) {
                        if (unit++ == claimed) {
                            call.context(pages, layer.table(batch, s), head / headParts);
                            if (pieces > 1) {
                                int at = (cut * heads + head * segments * count) * (sizes.heads() / heads);
                                attendPiece(call, worker, head, row, count, position, piece, pieces, at);
                                if (complete.incrementAndGet(cut * heads + head) == pieces) {
                                    complete.set(cut * heads + head, 0);
                                    merge(call, worker, head, row, count, position, at);
                                }
                            } else if (headParts == 1 && !blocks.encoder()) {
                                kernels.attend(call.rows(row, count, position), scratch[worker]);
                            } else {
                                attendEach(call, layer, worker, head, row, count, position, last);
                            }
                            claimed = workers.claim();
                        }
                    }
                }
                cut += pieces > 1 ? segments * count : 0;
            }
        }
    }

    /** The segments of all rows of a batch, for one head. */
    private long work(Batch batch, AttentionCall call) {
        long work = 0;
        for (int s = 0; s < batch.sequences(); s++) {
            work += (long) batch.rowCount(s) * segments(call, batch.firstPosition(s), batch.rowCount(s));
        }
        return work;
    }

    /** How many segments some rows see together. */
    private static int segments(AttentionCall call, int position, int count) {
        return (position + count - 1) / KvLayout.SEGMENT - call.firstSegment(position) + 1;
    }

    /** Computes rows one by one, because they are parts of the heads or see later positions. */
    private void attendEach(
            AttentionCall call, Weights layer, int worker, int head, int row, int count, int position, int last) {
        for (int i = 0; i < count; i++) {
            int seen = blocks.encoder() ? seeBothWays(call, layer, position + i, last) : position + i;
            kernels.attend(call.rows(inParts(row + i, head), 1, seen), scratch[worker]);
        }
    }

    /** Computes some of the segments of a unit. Their results begin with row {@code at}. */
    private void attendPiece(
            AttentionCall call, int worker, int head, int row, int count, int position, int piece, int pieces, int at) {
        int segments = segments(call, position, count);
        int group = sizes.heads() / (sizes.kvHeads() * headParts);
        int first = call.firstSegment(position);
        int from = Workers.shareStart(segments, 1, piece, pieces);
        int to = Workers.shareStart(segments, 1, piece + 1, pieces);
        for (int segment = from; segment < to; segment++) {
            if (headParts == 1) {
                int target = at + segment * count * group;
                kernels.attendSegment(
                        call.rows(row, count, position), scratch[worker], first + segment, partials, target);
            } else {
                for (int i = 0; i < count; i++) {
                    int own = first + segment - call.firstSegment(position + i);
                    int target = at + (i * segments + own) * group;
                    if (own >= 0 && first + segment <= (position + i) / KvLayout.SEGMENT) {
                        kernels.attendSegment(
                                call.rows(inParts(row + i, head), 1, position + i),
                                scratch[worker],
                                first + segment,
                                partials,
                                target);
                    }
                }
            }
        }
    }

    /** Adds the results of all segments of a unit. */
    private void merge(AttentionCall call, int worker, int head, int row, int count, int position, int at) {
        if (headParts == 1) {
            kernels.mergeSegments(call.rows(row, count, position), scratch[worker], partials, at);
        } else {
            int segments = segments(call, position, count);
            int group = sizes.heads() / (sizes.kvHeads() * headParts);
            for (int i = 0; i < count; i++) {
                int target = at + i * segments * group;
                kernels.mergeSegments(
                        call.rows(inParts(row + i, head), 1, position + i), scratch[worker], partials, target);
            }
        }
    }

    /** The row of {@link #inParts(FloatMatrix)} for a part of the heads. */
    private int inParts(int row, int head) {
        return row * headParts + head % headParts;
    }
}
