package quire.model;

import java.lang.System.Logger.Level;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.LongConsumer;
import org.jspecify.annotations.Nullable;
import quire.model.format.Gguf;
import quire.model.format.GgufTensor;
import quire.tensor.Activations;
import quire.tensor.AttentionCall;
import quire.tensor.ElementType;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.Kernels.AttentionScratch;
import quire.tensor.KvLayout;
import quire.tensor.NumberCheck;
import quire.tensor.WeightMatrix;
import quire.tensor.Workers;
import quire.tensor.memory.ReservedMemory;
import quire.tensor.memory.Slabs;

/**
 * A decoder. {@link Architecture} describes what differs between models. It computes one step: a batch of several sequences, with their keys and values in the
 * paged KV cache.
 *
 * <p>All workers run the same code and wait for each other at barriers. There are two ways to divide the work:
 * <ul>
 *   <li>Work on rows (norms, rotary embedding, activation functions, quantising): each worker has a fixed share of the
 *       rows.
 *   <li>Matrix products and attention: the work is cut into units, and each worker takes the next unit when it has
 *       finished one. A unit of a product is some of its outputs; a unit of attention is some query rows and one KV
 *       head.
 * </ul>
 * <p>The division never changes a bit of the result, because {@link Kernels} compute each row and each output
 * independently of the others. Between two barriers (│) a layer does:
 *
 * <pre>
 *   rows     norm, quantise      │ rope, store K and V  │            │ quantise │       │ add, norm, quantise │ …
 *   outputs                  q k v                      │            │          │ o     │           gate, up  │ …
 *   units                                               │ attention  │
 * </pre>
 *
 * <p>Memory: the packed weights, a copy of the rows of the embedding, one pool of pages, and activations for
 * {@code maxBatchTokens} rows. All of it is allocated at load; a step allocates nothing.
 */
public final class Decoder implements Model {
    private static final System.Logger LOG = System.getLogger(Decoder.class.getName());

    /**
     * Bytes of weights in one unit of a product. Reading them takes some tens of microseconds, which is short compared
     * with a whole phase.
     */
    private static final long UNIT_BYTES = 128 << 10;

    /**
     * If the products of a layer have fewer multiply-adds than this, one worker computes the step alone. Waking the
     * other workers and waiting at the barriers would cost more time than they save.
     */
    private static final long SINGLE_WORKER_MACS = 1 << 20;

    private final ModelConfig config;
    private final Architecture blocks;
    private final Kernels kernels;
    private final Workers workers;
    private final Workers.Task step = this::step;
    private final Arena arena;
    private final KvCache cache;
    private final int maxBatchTokens;
    private final int maxLogitRows;
    private final float attentionScale;

    private final ElementType embeddingType;
    private final MemorySegment embedding;
    private final Layer[] layers;
    private final NormWeights outputNorm;
    private final List<Projection> head;
    /** Cosines and sines of each rotation that layers use. */
    private final Map<Architecture.Rotation, FloatMatrix> rotations = new EnumMap<>(Architecture.Rotation.class);

    // Activations, one row for each token of the batch.
    private final FloatMatrix residual;
    private final Activations normed;
    private final FloatMatrix queries;
    private final FloatMatrix keys;
    private final FloatMatrix values;
    /** The same memory as queries and keys, with a row for each head or for each token: what head norms work on. */
    private final FloatMatrix queryNormRows;

    private final FloatMatrix keyNormRows;
    private final Activations attended;
    private final FloatMatrix projected;
    private final FloatMatrix gate;
    /** What the activation is multiplied with; ones if the layer has no gate. */
    private final FloatMatrix up;

    private final Activations activated;

    // One row for each row of logits.
    private final int[] logitRows;
    private final FloatMatrix selected;
    private final Activations selectedNormed;
    private final FloatMatrix logits;
    private final AttentionCall[] attention;
    private final AttentionScratch[] scratch;
    /** Multiply-adds for one row in the products of all layers. */
    private final long multiplyAddsPerRow;

    // The outputs of the products of one phase, in the order of their weights.
    private final List<FloatMatrix> qkvOutputs;
    private final List<FloatMatrix> projectedOutputs;
    private final List<FloatMatrix> gateUpOutputs;
    private final List<FloatMatrix> logitsOutputs;

    private @Nullable Batch batch;

    /** The weights of one block; null where the architecture has none. */
    private record Layer(
            @Nullable NormWeights attentionNorm,
            List<Projection> qkv,
            @Nullable FloatMatrix queryNorm,
            @Nullable FloatMatrix keyNorm,
            int window,
            @Nullable FloatMatrix cosSin,
            List<Projection> output,
            @Nullable NormWeights afterAttention,
            @Nullable NormWeights feedForwardNorm,
            List<Projection> gateUp,
            List<Projection> down,
            @Nullable NormWeights afterFeedForward) {}

    /** The bias is null if the norm has none. */
    private record NormWeights(FloatMatrix weight, @Nullable FloatMatrix bias) {}

    /** @param units the number of units that the product is cut into */
    private record Projection(
            WeightMatrix weights, @Nullable FloatMatrix bias, int units) {}

    /**
     * The sizes for which a decoder allocates memory.
     *
     * @param kvLayout the layout of K and V in a page
     * @param pageCount pages of the KV pool
     * @param maxBatchTokens rows of a batch
     * @param maxLogitRows rows of logits of a batch
     */
    public record Capacity(KvLayout kvLayout, int pageCount, int maxBatchTokens, int maxLogitRows) {}

    /**
     * Loads and packs the weights. The decoder copies what it needs, so the file may be closed afterwards.
     *
     * @throws quire.model.format.ModelFormatException if a tensor is missing or misshapen, or a number in it is infinite or NaN
     */
    public static Decoder load(Gguf file, ModelConfig config, Kernels kernels, Workers workers, Capacity capacity) {
        return load(file, config, kernels, workers, capacity, bytes -> {});
    }

    /**
     * Loads and packs the weights. The decoder copies what it needs, so the file may be closed afterwards.
     *
     * @param onLoaded called after each matrix, on this thread, with the number of its bytes in the file; an embedding
     *     that is also the head counts twice
     * @throws quire.model.format.ModelFormatException if a tensor is missing or misshapen
     */
    @SuppressWarnings("MustBeClosedChecker") // the decoder owns the arena and closes it
    public static Decoder load(
            Gguf file, ModelConfig config, Kernels kernels, Workers workers, Capacity capacity, LongConsumer onLoaded) {
        Arena arena = new Slabs();
        try {
            return new Decoder(file, config, kernels, workers, capacity, arena, onLoaded);
        } catch (Throwable e) {
            arena.close();
            throw e;
        }
    }

    /**
     * Bytes that the weights of a file take in memory: matrices as the kernels pack them, vectors as f32, and the embedding
     * as in the file. An embedding that is also the head counts twice, as rows to look up and packed for the product.
     */
    public static long weightBytes(Gguf file, Kernels kernels) {
        long bytes = 0;
        for (GgufTensor tensor : file.tensors()) {
            boolean embedding = tensor.name().equals("token_embd.weight");
            if (embedding || tensor.type().elementType().isEmpty()) {
                bytes += tensor.byteSize();
            }
            boolean packed = !embedding || !file.hasTensor("output.weight");
            if (packed && tensor.type().elementType().isPresent()) {
                bytes += tensor.rows() == 1
                        ? tensor.elements() * Float.BYTES
                        : kernels.packedBytes(
                                tensor.elementType(),
                                Math.toIntExact(tensor.rows()),
                                Math.toIntExact(tensor.columns()));
            }
        }
        return bytes;
    }

    /** Bytes of a file's matrices: the sum of what {@link #load} passes to {@code onLoaded}. */
    public static long matrixBytes(Gguf file) {
        long bytes = 0;
        for (GgufTensor tensor : file.tensors()) {
            if (tensor.rows() > 1) {
                boolean twice = tensor.name().equals("token_embd.weight") && !file.hasTensor("output.weight");
                bytes += twice ? 2 * tensor.byteSize() : tensor.byteSize();
            }
        }
        return bytes;
    }

    /** An upper bound for the bytes of everything else that {@link #load} allocates, except the KV pool. */
    public static long activationBytes(ModelConfig config, int maxBatchTokens, int maxLogitRows) {
        int hidden = config.hidden();
        int queryWidth = config.heads() * config.headDim();
        long kvWidth = (long) config.kvHeads() * config.headDim();
        long inputs = Activations.byteSize(maxBatchTokens, hidden, true)
                + Activations.byteSize(maxBatchTokens, queryWidth, true)
                + Activations.byteSize(maxBatchTokens, config.feedForward(), true)
                + Activations.byteSize(maxLogitRows, hidden, true);
        long perToken = Float.BYTES * (2L * hidden + queryWidth + 2 * kvWidth + 2L * config.feedForward());
        long perLogitRow = Float.BYTES * ((long) hidden + config.vocabularySize());
        int tables = config.blocks().windowBase() > 0 ? 2 : 1;
        long rotations = (long) Float.BYTES * config.contextLength() * config.ropeDimensions() * tables;
        return Math.addExact(
                Math.addExact(inputs, rotations),
                Math.addExact(
                        Math.multiplyExact(perToken, (long) maxBatchTokens),
                        Math.multiplyExact(perLogitRow, (long) maxLogitRows)));
    }

    private Decoder(
            Gguf file,
            ModelConfig config,
            Kernels kernels,
            Workers workers,
            Capacity capacity,
            Arena arena,
            LongConsumer onLoaded) {
        this.arena = arena;
        this.config = config;
        this.kernels = kernels;
        this.workers = workers;
        maxBatchTokens = capacity.maxBatchTokens;
        maxLogitRows = capacity.maxLogitRows;
        blocks = config.blocks();
        attentionScale =
                blocks.attentionScale() > 0 ? blocks.attentionScale() : (float) (1 / StrictMath.sqrt(config.headDim()));

        config.checkTensors(file);
        Loader loader = new Loader(file, config, kernels, workers, arena, onLoaded);
        int hidden = config.hidden();
        int queryWidth = config.heads() * config.headDim();
        int kvWidth = config.kvHeads() * config.headDim();
        GgufTensor embeddings = file.tensor("token_embd.weight", hidden, config.vocabularySize());
        embeddingType = embeddings.elementType();
        embedding = loader.rows(embeddings);
        cache = new KvCache(capacity.kvLayout, config.layers(), capacity.pageCount, arena);
        long poolTokens = (long) capacity.pageCount * capacity.kvLayout.pageTokens();
        int positions = (int) Math.min(config.contextLength(), poolTokens);
        rotations.put(
                Architecture.Rotation.GENERAL,
                Rotations.table(config, loader.rotationFactors(), positions, arena, workers));
        if (blocks.windowBase() > 0) {
            double[] frequencies = Rotations.frequencies(config.ropeDimensions(), blocks.windowBase());
            rotations.put(Architecture.Rotation.WINDOW, Rotations.table(frequencies, 1, positions, arena, workers));
        }
        boolean sharedNorm = blocks.parallel() || !blocks.normBefore();
        layers = new Layer[config.layers()];
        for (int i = 0; i < layers.length; i++) {
            String prefix = "blk." + i + ".";
            layers[i] = new Layer(
                    blocks.normBefore() ? loader.norm(prefix + "attn_norm") : null,
                    loader.queriesKeysValues(prefix),
                    loader.headNorm(prefix + "attn_q_norm.weight", queryWidth),
                    loader.headNorm(prefix + "attn_k_norm.weight", kvWidth),
                    blocks.window(i),
                    rotations.get(blocks.rotation(i)),
                    List.of(loader.projection(prefix + "attn_output", queryWidth, hidden)),
                    blocks.normAfter() ? loader.norm(prefix + "post_attention_norm") : null,
                    sharedNorm ? null : loader.norm(prefix + "ffn_norm"),
                    loader.gateUp(prefix),
                    List.of(loader.projection(prefix + "ffn_down", config.feedForward(), hidden)),
                    blocks.normAfter() ? loader.norm(prefix + "post_ffw_norm") : null);
        }
        outputNorm = loader.norm("output_norm");
        scale(outputNorm.weight, blocks.logitFactor()); // instead of each logit
        if (outputNorm.bias != null) {
            scale(outputNorm.bias, blocks.logitFactor());
        }
        boolean untied = file.optionalTensor("output.weight", hidden, config.vocabularySize())
                .isPresent();
        head = List.of(loader.projection(
                loader.matrix(untied ? "output.weight" : "token_embd.weight", hidden, config.vocabularySize()), null));

        loader.warnOfZeros();
        boolean quantized = loader.sawQuantized;
        residual = FloatMatrix.allocate(arena, maxBatchTokens, hidden);
        normed = Activations.allocate(arena, maxBatchTokens, hidden, quantized);
        queries = FloatMatrix.allocate(arena, maxBatchTokens, queryWidth);
        keys = FloatMatrix.allocate(arena, maxBatchTokens, kvWidth);
        values = FloatMatrix.allocate(arena, maxBatchTokens, kvWidth);
        boolean each = blocks.headNorm() == Architecture.HeadNorm.EACH;
        queryNormRows =
                each ? new FloatMatrix(queries.segment(), maxBatchTokens * config.heads(), config.headDim()) : queries;
        keyNormRows =
                each ? new FloatMatrix(keys.segment(), maxBatchTokens * config.kvHeads(), config.headDim()) : keys;
        attended = Activations.allocate(arena, maxBatchTokens, queryWidth, quantized);
        projected = FloatMatrix.allocate(arena, maxBatchTokens, hidden);
        gate = FloatMatrix.allocate(arena, maxBatchTokens, config.feedForward());
        up = FloatMatrix.allocate(arena, maxBatchTokens, config.feedForward());
        if (!blocks.gated()) {
            for (int row = 0; row < maxBatchTokens; row++) {
                for (int i = 0; i < config.feedForward(); i++) {
                    up.set(row, i, 1f);
                }
            }
        }
        activated = Activations.allocate(arena, maxBatchTokens, config.feedForward(), quantized);
        logitRows = new int[maxLogitRows];
        selected = FloatMatrix.allocate(arena, maxLogitRows, hidden);
        selectedNormed = Activations.allocate(arena, maxLogitRows, hidden, quantized);
        logits = new FloatMatrix(
                ReservedMemory.allocate(arena, (long) maxLogitRows * config.vocabularySize() * Float.BYTES),
                maxLogitRows,
                config.vocabularySize());
        long multiplyAdds = 0;
        for (Layer layer : layers) {
            for (List<Projection> projections : List.of(layer.qkv, layer.output, layer.gateUp, layer.down)) {
                for (Projection projection : projections) {
                    multiplyAdds += (long) projection.weights.rows() * projection.weights.columns();
                }
            }
        }
        multiplyAddsPerRow = multiplyAdds;
        qkvOutputs = List.of(queries, keys, values);
        projectedOutputs = List.of(projected);
        gateUpOutputs = List.of(gate, up);
        logitsOutputs = List.of(logits);
        attention = new AttentionCall[workers.count()];
        scratch = new AttentionScratch[workers.count()];
        for (int i = 0; i < scratch.length; i++) {
            attention[i] = new AttentionCall(capacity.kvLayout, attentionScale, queries, attended.values());
            scratch[i] = kernels.attentionScratch(capacity.kvLayout, config.heads(), blocks.attentionCap(), arena);
        }
    }

    @Override
    public int vocabularySize() {
        return config.vocabularySize();
    }

    @Override
    public int contextLength() {
        return config.contextLength();
    }

    @Override
    public int pageTokens() {
        return cache.layout().pageTokens();
    }

    @Override
    public int pageCount() {
        return cache.pageCount();
    }

    @Override
    public int maxBatchTokens() {
        return maxBatchTokens;
    }

    @Override
    public int maxLogitRows() {
        return maxLogitRows;
    }

    @Override
    public FloatMatrix forward(Batch next) {
        if (next.rows() > maxBatchTokens || next.logitCount() > maxLogitRows) {
            throw new IllegalArgumentException("a batch of " + next.rows() + " tokens and " + next.logitCount()
                    + " logits rows does not fit " + maxBatchTokens + " and " + maxLogitRows);
        }
        int selectedCount = 0;
        for (int s = 0; s < next.sequences(); s++) {
            int end = next.firstRow(s) + next.rowCount(s);
            for (int row = end - next.logitRows(s); row < end; row++) {
                logitRows[selectedCount++] = row;
            }
        }
        batch = next;
        workers.run(step, workersFor(next.rows()));
        batch = null;
        return logits;
    }

    /** The number of workers that compute a step of {@code rows} rows. */
    int workersFor(int rows) {
        return rows * multiplyAddsPerRow < layers.length * SINGLE_WORKER_MACS ? 1 : workers.count();
    }

    /** The code that each worker runs. */
    private void step(int worker) {
        Batch current = batch;
        if (current == null) {
            throw new IllegalStateException("no batch");
        }
        int rows = current.rows();
        int from = Workers.shareStart(rows, 1, worker, workers.active());
        int to = Workers.shareStart(rows, 1, worker + 1, workers.active());

        embed(current.tokens(), from, to);
        for (int i = 0; i < layers.length; i++) {
            Layer layer = layers[i];
            norm(residual, layer.attentionNorm, normed.values(), from, to);
            quantize(normed, from, to);
            workers.barrier(worker);
            multiply(layer.qkv, normed, rows, qkvOutputs);
            workers.barrier(worker);
            addBias(layer.qkv.get(0), queries, from, to);
            addBias(layer.qkv.get(1), keys, from, to);
            addBias(layer.qkv.get(2), values, from, to);
            normHeads(layer.queryNorm, queryNormRows, from, to);
            normHeads(layer.keyNorm, keyNormRows, from, to);
            if (layer.cosSin != null) {
                kernels.rope(queries, config.headDim(), current.positions(), layer.cosSin, from, to);
                kernels.rope(keys, config.headDim(), current.positions(), layer.cosSin, from, to);
            }
            store(current, i, from, to);
            workers.barrier(worker);
            attend(current, i, layer.window, worker);
            workers.barrier(worker);
            quantize(attended, from, to);
            workers.barrier(worker);
            multiply(layer.output, attended, rows, projectedOutputs);
            workers.barrier(worker);
            addBranch(layer.output.get(0), layer.afterAttention, from, to);
            if (!blocks.parallel()) {
                norm(residual, layer.feedForwardNorm, normed.values(), from, to);
                quantize(normed, from, to);
            }
            workers.barrier(worker);
            multiply(layer.gateUp, normed, rows, gateUpOutputs);
            workers.barrier(worker);
            addBias(layer.gateUp.get(0), gate, from, to);
            if (blocks.gated()) {
                addBias(layer.gateUp.get(1), up, from, to);
            }
            kernels.activate(blocks.activation(), gate, up, activated.values(), from, to);
            quantize(activated, from, to);
            workers.barrier(worker);
            multiply(layer.down, activated, rows, projectedOutputs);
            workers.barrier(worker);
            addBranch(layer.down.get(0), layer.afterFeedForward, from, to);
        }

        // Copy the rows that need logits together, so that the norm and the head compute no others. Other workers may
        // have written them.
        workers.barrier(worker);
        int count = current.logitCount();
        int selectedFrom = Workers.shareStart(count, 1, worker, workers.active());
        int selectedTo = Workers.shareStart(count, 1, worker + 1, workers.active());
        for (int i = selectedFrom; i < selectedTo; i++) {
            MemorySegment.copy(
                    residual.segment(),
                    residual.rowOffset(logitRows[i]),
                    selected.segment(),
                    selected.rowOffset(i),
                    (long) config.hidden() * Float.BYTES);
        }
        norm(selected, outputNorm, selectedNormed.values(), selectedFrom, selectedTo);
        quantize(selectedNormed, selectedFrom, selectedTo);
        workers.barrier(worker);
        if (count > 0) {
            multiply(head, selectedNormed, count, logitsOutputs);
        }
        if (blocks.logitCap() > 0) {
            workers.barrier(worker);
            kernels.softCap(logits, blocks.logitCap(), selectedFrom, selectedTo);
        }
    }

    /** Norms rows of x to rows of y; without weights, copies them. */
    private void norm(FloatMatrix x, @Nullable NormWeights weights, FloatMatrix y, int from, int to) {
        if (weights == null) {
            long at = x.rowOffset(from);
            MemorySegment.copy(x.segment(), at, y.segment(), at, x.rowOffset(to) - at);
        } else if (blocks.norm() == Architecture.Norm.RMS) {
            kernels.rmsNorm(x, weights.weight, config.normEpsilon(), y, from, to);
        } else {
            kernels.layerNorm(x, weights.weight, config.normEpsilon(), y, from, to);
            if (weights.bias != null) {
                kernels.addBias(weights.bias, y, from, to);
            }
        }
    }

    /** Norms the heads of some tokens, if the layer has such norms. */
    private void normHeads(@Nullable FloatMatrix weight, FloatMatrix heads, int from, int to) {
        if (weight != null) {
            int each = heads.rows() / maxBatchTokens;
            kernels.rmsNorm(heads, weight, config.normEpsilon(), heads, from * each, to * each);
        }
    }

    /** Adds the result of attention or feed-forward to the residual stream. */
    private void addBranch(Projection last, @Nullable NormWeights after, int from, int to) {
        addBias(last, projected, from, to);
        if (after != null) {
            norm(projected, after, projected, from, to);
        }
        if (blocks.residualFactor() == 1) {
            kernels.add(projected, residual, from, to);
        } else {
            for (int row = from; row < to; row++) {
                kernels.addRow(projected, row, blocks.residualFactor(), residual, row);
            }
        }
    }

    /** Multiplies all numbers of one row. */
    private static void scale(FloatMatrix vector, float factor) {
        for (int i = 0; i < vector.columns(); i++) {
            vector.set(0, i, vector.get(0, i) * factor);
        }
    }

    private void embed(int[] tokens, int from, int to) {
        int hidden = config.hidden();
        long rowBytes = embeddingType.byteSize(hidden);
        for (int row = from; row < to; row++) {
            embeddingType.decode(embedding, tokens[row] * rowBytes, residual.segment(), (long) row * hidden, hidden);
            if (blocks.embeddingFactor() != 1) {
                for (int i = 0; i < hidden; i++) {
                    residual.set(row, i, residual.get(row, i) * blocks.embeddingFactor());
                }
            }
        }
    }

    private void quantize(Activations x, int from, int to) {
        if (x.isQuantized()) {
            kernels.quantize(x, from, to);
        }
    }

    /** Computes products of the same rows, in units. */
    private void multiply(List<Projection> projections, Activations x, int rows, List<FloatMatrix> outputs) {
        int first = 0;
        int unit = workers.claim();
        for (int i = 0; i < projections.size(); i++) {
            Projection projection = projections.get(i);
            for (; unit < first + projection.units; unit = workers.claim()) {
                kernels.multiply(projection.weights, x, rows, outputs.get(i), unit - first, projection.units);
            }
            first += projection.units;
        }
    }

    private void addBias(Projection projection, FloatMatrix y, int from, int to) {
        FloatMatrix bias = projection.bias;
        if (bias != null) {
            kernels.addBias(bias, y, from, to);
        }
    }

    private void store(Batch current, int layer, int from, int to) {
        KvLayout layout = cache.layout();
        MemorySegment pages = cache.layer(layer);
        for (int s = 0; s < current.sequences(); s++) {
            int first = current.firstRow(s);
            int end = Math.min(to, first + current.rowCount(s));
            int[] pageTable = current.pageTable(s);
            for (int row = Math.max(from, first); row < end; row++) {
                int position = current.positions()[row];
                int page = pageTable[position / layout.pageTokens()];
                kernels.storeKv(layout, pages, page, position % layout.pageTokens(), keys, values, row);
            }
        }
    }

    /** Computes attention, in units of some rows of a sequence and one KV head. */
    private void attend(Batch current, int layer, int window, int worker) {
        MemorySegment pages = cache.layer(layer);
        int unit = 0;
        int claimed = workers.claim();
        for (int s = 0; s < current.sequences(); s++) {
            int firstRow = current.firstRow(s);
            int rowCount = current.rowCount(s);
            for (int done = 0; done < rowCount; done += kernels.attentionRows()) {
                int count = Math.min(kernels.attentionRows(), rowCount - done);
                for (int kvHead = 0; kvHead < config.kvHeads(); kvHead++) {
                    if (unit++ == claimed) {
                        kernels.attend(
                                attention[worker]
                                        .layer(window, blocks.attentionCap(), null)
                                        .context(pages, current.pageTable(s), kvHead)
                                        .rows(firstRow + done, count, current.firstPosition(s) + done),
                                scratch[worker]);
                        claimed = workers.claim();
                    }
                }
            }
        }
    }

    @Override
    public void close() {
        arena.close();
    }

    /** Reads tensors from the file and packs them. */
    private static final class Loader {
        private final Gguf file;
        private final ModelConfig config;
        private final Kernels kernels;
        private final Workers workers;
        private final Arena arena;
        private final LongConsumer onLoaded;
        private boolean sawQuantized;
        private final Set<String> checked = new HashSet<>();
        private final List<String> zeros = new ArrayList<>();

        Loader(Gguf file, ModelConfig config, Kernels kernels, Workers workers, Arena arena, LongConsumer onLoaded) {
            this.file = file;
            this.config = config;
            this.kernels = kernels;
            this.workers = workers;
            this.arena = arena;
            this.onLoaded = onLoaded;
        }

        /**
         * The data of a tensor. Its numbers are checked when it is asked for first, just before they are packed, so that
         * they are read from the disk once.
         *
         * @throws quire.model.format.ModelFormatException if a number is infinite or NaN
         */
        private MemorySegment data(GgufTensor tensor) {
            MemorySegment data = file.data(tensor);
            if (checked.add(tensor.name())) {
                NumberCheck check = NumberCheck.of(tensor.elementType(), data, workers);
                if (!check.isFinite()) {
                    throw file.fault(tensor.describe(check)
                            + ": the file is damaged, download it again. quire inspect --check lists all such tensors");
                }
                if (check.isZero() && tensor.rows() > 1) {
                    zeros.add(tensor.name());
                }
            }
            return data;
        }

        /** Warns of matrices that are 0 throughout, as in a file of full length whose download broke off. */
        void warnOfZeros() {
            if (!zeros.isEmpty()) {
                LOG.log(
                        Level.WARNING,
                        file.file() + ": all numbers are 0 in " + String.join(", ", zeros)
                                + ": the file may be damaged, compare its checksum (quire inspect --check prints it)");
            }
        }

        WeightMatrix matrix(String name, int columns, int rows) {
            return part(file.tensor(name, columns, rows), columns, 0, rows, null);
        }

        /**
         * A matrix of some rows of a tensor.
         *
         * @param order which of these rows each row of the matrix is; null if they keep their order
         */
        private WeightMatrix part(GgufTensor tensor, int columns, int first, int rows, int @Nullable [] order) {
            ElementType type = tensor.elementType();
            sawQuantized |= type.isQuantized();
            long rowBytes = type.byteSize(columns);
            MemorySegment source = data(tensor).asSlice(first * rowBytes, rows * rowBytes);
            if (order == null) {
                WeightMatrix packed = kernels.pack(type, rows, columns, source, arena, workers);
                unload(source);
                return packed;
            }
            try (Arena temporary = Arena.ofShared()) {
                MemorySegment ordered = temporary.allocate(source.byteSize(), 64);
                for (int row = 0; row < rows; row++) {
                    MemorySegment.copy(source, order[row] * rowBytes, ordered, row * rowBytes, rowBytes);
                }
                WeightMatrix packed = kernels.pack(type, rows, columns, ordered, arena, workers);
                unload(source);
                return packed;
            }
        }

        /** Queries, keys and values, from three tensors or from one. */
        List<Projection> queriesKeysValues(String prefix) {
            int headDim = config.headDim();
            int queryWidth = config.heads() * headDim;
            int kvWidth = config.kvHeads() * headDim;
            boolean fused = file.hasTensor(prefix + "attn_qkv.weight");
            int all = queryWidth + 2 * kvWidth;
            return List.of(
                    rows(prefix + (fused ? "attn_qkv" : "attn_q"), fused ? all : queryWidth, 0, queryWidth, true),
                    rows(
                            prefix + (fused ? "attn_qkv" : "attn_k"),
                            fused ? all : kvWidth,
                            fused ? queryWidth : 0,
                            kvWidth,
                            true),
                    rows(
                            prefix + (fused ? "attn_qkv" : "attn_v"),
                            fused ? all : kvWidth,
                            fused ? queryWidth + kvWidth : 0,
                            kvWidth,
                            false));
        }

        /** The matrices into the feed-forward layer, from two tensors or from one; without a gate only one. */
        List<Projection> gateUp(String prefix) {
            int width = config.feedForward();
            if (!config.blocks().gated()) {
                return List.of(projection(prefix + "ffn_up", config.hidden(), width));
            }
            boolean fused = !file.hasTensor(prefix + "ffn_gate.weight");
            return List.of(
                    rows(prefix + (fused ? "ffn_up" : "ffn_gate"), fused ? 2 * width : width, 0, width, false),
                    rows(prefix + "ffn_up", fused ? 2 * width : width, fused ? width : 0, width, false));
        }

        /**
         * Some rows of a matrix with their bias.
         *
         * @param total rows of the tensor
         * @param rotated whether the rows are heads that are rotated
         */
        private Projection rows(String stem, int total, int first, int count, boolean rotated) {
            int[] order = rotated ? pairs(count) : null;
            GgufTensor tensor = file.tensor(stem + ".weight", config.hidden(), total);
            FloatMatrix bias = optionalVector(stem + ".bias", total);
            if (bias != null && (total > count || order != null)) {
                FloatMatrix own = FloatMatrix.allocate(arena, 1, count);
                for (int i = 0; i < count; i++) {
                    own.set(0, i, bias.get(0, first + (order == null ? i : order[i])));
                }
                bias = own;
            }
            return projection(part(tensor, config.hidden(), first, count, order), bias);
        }

        /**
         * The order in which rotated pairs are neighbours, for rows of whole heads; null if they already are. Scores are
         * sums over the numbers of a head, so queries and keys may have another order than the file's.
         */
        private int @Nullable [] pairs(int width) {
            if (!config.blocks().halves()) {
                return null;
            }
            int half = config.ropeDimensions() / 2;
            int[] order = new int[width];
            for (int i = 0; i < width; i++) {
                int inHead = i % config.headDim();
                int from = inHead >= 2 * half ? inHead : inHead / 2 + inHead % 2 * half;
                order[i] = i - inHead + from;
            }
            return order;
        }

        /** The weights of a norm of queries or keys, in the order of their numbers; null if there is none. */
        @Nullable
        FloatMatrix headNorm(String name, int width) {
            if (config.blocks().headNorm() == Architecture.HeadNorm.NONE) {
                return null;
            }
            int length = config.blocks().headNorm() == Architecture.HeadNorm.EACH ? config.headDim() : width;
            FloatMatrix weights = vector(name, length);
            int[] order = pairs(length);
            if (order == null) {
                return weights;
            }
            FloatMatrix ordered = FloatMatrix.allocate(arena, 1, length);
            for (int i = 0; i < length; i++) {
                ordered.set(0, i, weights.get(0, order[i]));
            }
            return ordered;
        }

        NormWeights norm(String stem) {
            FloatMatrix bias = config.blocks().norm() == Architecture.Norm.LAYER
                    ? optionalVector(stem + ".bias", config.hidden())
                    : null;
            return new NormWeights(vector(stem + ".weight", config.hidden()), bias);
        }

        /** The file's own factors of the rotation; null if it has none. Long factors are for a context that was extended. */
        @Nullable
        FloatMatrix rotationFactors() {
            String original = config.architecture() + ".rope.scaling.original_context_length";
            boolean extended = file.has(original) && file.int64(original) < config.contextLength();
            String longOrShort = extended ? "rope_factors_long.weight" : "rope_factors_short.weight";
            String name = file.hasTensor(longOrShort) ? longOrShort : "rope_freqs.weight";
            return optionalVector(name, config.ropeDimensions() / 2);
        }

        /** A copy of a matrix as the file stores it. */
        MemorySegment rows(GgufTensor tensor) {
            MemorySegment source = data(tensor);
            MemorySegment copy = arena.allocate(source.byteSize(), 64);
            workers.run(worker -> {
                int parts = Math.toIntExact(Math.ceilDiv(source.byteSize(), UNIT_BYTES));
                int from = Workers.shareStart(parts, 1, worker, workers.count());
                int to = Workers.shareStart(parts, 1, worker + 1, workers.count());
                long first = from * UNIT_BYTES;
                long bytes = Math.min(to * UNIT_BYTES, source.byteSize()) - first;
                MemorySegment.copy(source, first, copy, first, bytes);
            });
            unload(source);
            return copy;
        }

        /**
         * Frees the mapped pages of a matrix that was loaded. Otherwise the process would appear to use twice the memory
         * while it loads.
         */
        private void unload(MemorySegment source) {
            onLoaded.accept(source.byteSize());
            if (source.isMapped()) {
                source.unload();
            }
        }

        Projection projection(String name, int columns, int rows) {
            return projection(matrix(name + ".weight", columns, rows), optionalVector(name + ".bias", rows));
        }

        Projection projection(WeightMatrix weights, @Nullable FloatMatrix bias) {
            // Each worker gets the same number of units; otherwise the others wait for the last unit of a few.
            long each = Math.max(1, Math.ceilDiv(weights.packedBytes(), UNIT_BYTES * workers.count()));
            return new Projection(weights, bias, Math.toIntExact(each * workers.count()));
        }

        FloatMatrix vector(String name, int length) {
            return decode(file.tensor(name, length), length);
        }

        @Nullable
        FloatMatrix optionalVector(String name, int length) {
            return file.optionalTensor(name, length)
                    .map(tensor -> decode(tensor, length))
                    .orElse(null);
        }

        private FloatMatrix decode(GgufTensor tensor, int length) {
            FloatMatrix vector = FloatMatrix.allocate(arena, 1, length);
            tensor.elementType().decode(data(tensor), 0, vector.segment(), 0, length);
            return vector;
        }
    }
}
