package quire.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
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
import quire.tensor.WeightMatrix;
import quire.tensor.Workers;
import quire.tensor.memory.ReservedMemory;
import quire.tensor.memory.Slabs;

/**
 * A decoder of the Llama family. It computes one step: a batch of several sequences, with their keys and values in the
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
    private final FloatMatrix outputNorm;
    private final List<Projection> head;
    private final FloatMatrix cosSin;

    // Activations, one row for each token of the batch.
    private final FloatMatrix residual;
    private final Activations normed;
    private final FloatMatrix queries;
    private final FloatMatrix keys;
    private final FloatMatrix values;
    private final Activations attended;
    private final FloatMatrix projected;
    private final FloatMatrix gate;
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

    /** The weights of one block; biases are null where the file has none. */
    private record Layer(
            FloatMatrix attentionNorm,
            List<Projection> qkv,
            List<Projection> output,
            FloatMatrix feedForwardNorm,
            List<Projection> gateUp,
            List<Projection> down) {}

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
     * @throws quire.model.format.ModelFormatException if a tensor is missing or misshapen
     */
    @SuppressWarnings("MustBeClosedChecker") // the decoder owns the arena and closes it
    public static Decoder load(Gguf file, ModelConfig config, Kernels kernels, Workers workers, Capacity capacity) {
        Arena arena = new Slabs();
        try {
            return new Decoder(file, config, kernels, workers, capacity, arena);
        } catch (Throwable e) {
            arena.close();
            throw e;
        }
    }

    /**
     * Bytes that the weights of a file take in memory: about what they take in the file. An embedding that is also the
     * head counts twice, as rows to look up and packed for the product.
     */
    public static long weightBytes(Gguf file) {
        long bytes = 0;
        for (GgufTensor tensor : file.tensors()) {
            boolean twice = tensor.name().equals("token_embd.weight") && !file.hasTensor("output.weight");
            bytes += twice ? 2 * tensor.byteSize() : tensor.byteSize();
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
        long rotations = (long) Float.BYTES * config.contextLength() * config.ropeDimensions();
        return Math.addExact(
                Math.addExact(inputs, rotations),
                Math.addExact(
                        Math.multiplyExact(perToken, (long) maxBatchTokens),
                        Math.multiplyExact(perLogitRow, (long) maxLogitRows)));
    }

    private Decoder(Gguf file, ModelConfig config, Kernels kernels, Workers workers, Capacity capacity, Arena arena) {
        this.arena = arena;
        this.config = config;
        this.kernels = kernels;
        this.workers = workers;
        maxBatchTokens = capacity.maxBatchTokens;
        maxLogitRows = capacity.maxLogitRows;
        attentionScale = (float) (1 / StrictMath.sqrt(config.headDim()));

        config.checkTensors(file);
        Loader loader = new Loader(file, kernels, workers, arena);
        int hidden = config.hidden();
        int queryWidth = config.heads() * config.headDim();
        int kvWidth = config.kvHeads() * config.headDim();
        GgufTensor embeddings = file.tensor("token_embd.weight", hidden, config.vocabularySize());
        embeddingType = embeddings.elementType();
        embedding = loader.rows(embeddings);
        layers = new Layer[config.layers()];
        for (int i = 0; i < layers.length; i++) {
            String prefix = "blk." + i + ".";
            layers[i] = new Layer(
                    loader.vector(prefix + "attn_norm.weight", hidden),
                    List.of(
                            loader.projection(prefix + "attn_q", hidden, queryWidth),
                            loader.projection(prefix + "attn_k", hidden, kvWidth),
                            loader.projection(prefix + "attn_v", hidden, kvWidth)),
                    List.of(loader.projection(prefix + "attn_output", queryWidth, hidden)),
                    loader.vector(prefix + "ffn_norm.weight", hidden),
                    List.of(
                            loader.projection(prefix + "ffn_gate", hidden, config.feedForward()),
                            loader.projection(prefix + "ffn_up", hidden, config.feedForward())),
                    List.of(loader.projection(prefix + "ffn_down", config.feedForward(), hidden)));
        }
        outputNorm = loader.vector("output_norm.weight", hidden);
        boolean untied = file.optionalTensor("output.weight", hidden, config.vocabularySize())
                .isPresent();
        head = List.of(loader.projection(
                loader.matrix(untied ? "output.weight" : "token_embd.weight", hidden, config.vocabularySize()), null));

        cache = new KvCache(capacity.kvLayout, config.layers(), capacity.pageCount, arena);
        long poolTokens = (long) capacity.pageCount * capacity.kvLayout.pageTokens();
        int positions = (int) Math.min(config.contextLength(), poolTokens);
        cosSin = Rotations.table(
                config,
                loader.optionalVector("rope_freqs.weight", config.ropeDimensions() / 2),
                positions,
                arena,
                workers);

        boolean quantized = loader.sawQuantized;
        residual = FloatMatrix.allocate(arena, maxBatchTokens, hidden);
        normed = Activations.allocate(arena, maxBatchTokens, hidden, quantized);
        queries = FloatMatrix.allocate(arena, maxBatchTokens, queryWidth);
        keys = FloatMatrix.allocate(arena, maxBatchTokens, kvWidth);
        values = FloatMatrix.allocate(arena, maxBatchTokens, kvWidth);
        attended = Activations.allocate(arena, maxBatchTokens, queryWidth, quantized);
        projected = FloatMatrix.allocate(arena, maxBatchTokens, hidden);
        gate = FloatMatrix.allocate(arena, maxBatchTokens, config.feedForward());
        up = FloatMatrix.allocate(arena, maxBatchTokens, config.feedForward());
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
            scratch[i] = kernels.attentionScratch(capacity.kvLayout, config.heads(), arena);
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
            kernels.rmsNorm(residual, layer.attentionNorm, config.normEpsilon(), normed.values(), from, to);
            quantize(normed, from, to);
            workers.barrier(worker);
            multiply(layer.qkv, normed, rows, qkvOutputs);
            workers.barrier(worker);
            addBias(layer.qkv.get(0), queries, from, to);
            addBias(layer.qkv.get(1), keys, from, to);
            addBias(layer.qkv.get(2), values, from, to);
            kernels.rope(queries, config.headDim(), current.positions(), cosSin, from, to);
            kernels.rope(keys, config.headDim(), current.positions(), cosSin, from, to);
            store(current, i, from, to);
            workers.barrier(worker);
            attend(current, i, worker);
            workers.barrier(worker);
            quantize(attended, from, to);
            workers.barrier(worker);
            multiply(layer.output, attended, rows, projectedOutputs);
            workers.barrier(worker);
            addBias(layer.output.get(0), projected, from, to);
            kernels.add(projected, residual, from, to);
            kernels.rmsNorm(residual, layer.feedForwardNorm, config.normEpsilon(), normed.values(), from, to);
            quantize(normed, from, to);
            workers.barrier(worker);
            multiply(layer.gateUp, normed, rows, gateUpOutputs);
            workers.barrier(worker);
            addBias(layer.gateUp.get(0), gate, from, to);
            addBias(layer.gateUp.get(1), up, from, to);
            kernels.swiglu(gate, up, activated.values(), from, to);
            quantize(activated, from, to);
            workers.barrier(worker);
            multiply(layer.down, activated, rows, projectedOutputs);
            workers.barrier(worker);
            addBias(layer.down.get(0), projected, from, to);
            kernels.add(projected, residual, from, to);
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
        kernels.rmsNorm(selected, outputNorm, config.normEpsilon(), selectedNormed.values(), selectedFrom, selectedTo);
        quantize(selectedNormed, selectedFrom, selectedTo);
        workers.barrier(worker);
        if (count > 0) {
            multiply(head, selectedNormed, count, logitsOutputs);
        }
    }

    private void embed(int[] tokens, int from, int to) {
        int hidden = config.hidden();
        long rowBytes = embeddingType.byteSize(hidden);
        for (int row = from; row < to; row++) {
            embeddingType.decode(embedding, tokens[row] * rowBytes, residual.segment(), (long) row * hidden, hidden);
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
    private void attend(Batch current, int layer, int worker) {
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
        private final Kernels kernels;
        private final Workers workers;
        private final Arena arena;
        private boolean sawQuantized;

        Loader(Gguf file, Kernels kernels, Workers workers, Arena arena) {
            this.file = file;
            this.kernels = kernels;
            this.workers = workers;
            this.arena = arena;
        }

        WeightMatrix matrix(String name, int columns, int rows) {
            GgufTensor tensor = file.tensor(name, columns, rows);
            ElementType type = tensor.elementType();
            sawQuantized |= type.isQuantized();
            MemorySegment source = file.data(tensor);
            WeightMatrix packed = kernels.pack(type, rows, columns, source, arena, workers);
            unload(source);
            return packed;
        }

        /** A copy of a matrix as the file stores it. */
        MemorySegment rows(GgufTensor tensor) {
            MemorySegment source = file.data(tensor);
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

        /** Frees the mapped pages. Otherwise the process would appear to use twice the memory while it loads. */
        private static void unload(MemorySegment source) {
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
            tensor.elementType().decode(file.data(tensor), 0, vector.segment(), 0, length);
            return vector;
        }
    }
}
