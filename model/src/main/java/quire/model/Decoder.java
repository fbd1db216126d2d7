package quire.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import java.util.function.LongConsumer;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import quire.model.Architecture.HeadNorm;
import quire.model.WeightLoader.NormWeights;
import quire.model.format.Gguf;
import quire.model.format.GgufTensor;
import quire.tensor.Activation;
import quire.tensor.Activations;
import quire.tensor.AttentionCall;
import quire.tensor.ElementType;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.Kernels.AttentionScratch;
import quire.tensor.KvLayout;
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
 * <p>Layers with experts, attention with a latent and recurrent layers have more barriers: see {@link MixtureLayers},
 * {@link LatentAttention} and {@link RecurrentLayers}.
 *
 * <p>Memory: the packed weights, a copy of the rows of the embedding, one pool of pages, and activations for
 * {@code maxBatchTokens} rows. All of it is allocated at load; a step allocates nothing.
 */
public final class Decoder implements Model {
    /**
     * If the products of a layer have fewer multiply-adds than this, one worker computes the step alone. Waking the
     * other workers and waiting at the barriers would cost more time than they save.
     */
    private static final long SINGLE_WORKER_MACS = 1 << 20;

    private static final int PART_HEADS = 12;

    /** So many workers count in the bytes that are planned before it is known how many there are. */
    private static final int MAX_COUNTED_WORKERS = 64;

    private final ModelConfig config;
    private final Architecture blocks;
    private final Kernels kernels;
    private final Workers workers;
    private final Products products;
    private final Workers.Task step = this::step;
    private final Arena arena;
    private final KvCache cache;
    private final int maxBatchTokens;
    private final int maxLogitRows;
    private final float attentionScale;
    private final int headParts;

    private final ElementType embeddingType;
    private final MemorySegment embedding;
    private final Layer[] layers;
    private final NormWeights outputNorm;
    /** The same as in the file, without the factor of logits. */
    private final NormWeights vectorNorm;

    private final List<Projection> head;
    /** Cosines and sines of each rotation that layers use. */
    private final Map<Architecture.Rotation, FloatMatrix> rotations = new EnumMap<>(Architecture.Rotation.class);

    // Activations, one row for each token of the batch.
    private final FloatMatrix residual;
    private final Activations normed;
    private final FloatMatrix queries;
    private final FloatMatrix keys;
    private final FloatMatrix values;
    /** What the sigmoid is computed of that multiplies attention's results; null if there is none. */
    private final @Nullable FloatMatrix attentionGate;
    /** The same memory as queries and keys, with a row for each head or for each token: what head norms work on. */
    private final FloatMatrix queryNormRows;

    private final FloatMatrix keyNormRows;
    private final Activations attended;
    private final FloatMatrix projected;
    private final FloatMatrix gate;
    /** What the activation is multiplied with; ones if the layer has no gate. */
    private final FloatMatrix up;

    private final Activations activated;
    private final @Nullable MixtureLayers mixtureLayers;
    private final @Nullable LatentAttention latentAttention;
    private final @Nullable RecurrentState recurrentState;
    private final @Nullable RecurrentLayers recurrentLayers;

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

    /**
     * The weights of one block; null, or empty lists, where the architecture has none.
     *
     * @param cacheIndex number of the layer among those with keys and values
     */
    private record Layer(
            @Nullable NormWeights attentionNorm,
            List<Projection> qkv,
            LatentAttention.@Nullable Weights latent,
            RecurrentLayers.@Nullable Weights recurrent,
            int cacheIndex,
            @Nullable FloatMatrix queryNorm,
            @Nullable FloatMatrix keyNorm,
            int window,
            @Nullable FloatMatrix cosSin,
            @Nullable FloatMatrix sinks,
            List<Projection> output,
            @Nullable NormWeights afterAttention,
            @Nullable NormWeights feedForwardNorm,
            List<Projection> gateUp,
            List<Projection> down,
            MixtureLayers.@Nullable Weights experts,
            @Nullable NormWeights afterFeedForward) {

        /** The matrices of which each row reads all. */
        List<Projection> projections() {
            return Stream.of(qkv, output, gateUp, down).flatMap(List::stream).toList();
        }
    }

    /**
     * The sizes for which a decoder allocates memory.
     *
     * @param kvLayout the layout of K and V in a page
     * @param pageCount pages of the KV pool
     * @param maxBatchTokens rows of a batch
     * @param maxLogitRows rows of logits of a batch
     * @param stateSlots sequences whose state recurrent layers keep
     * @param pageStates whether recurrent layers keep a state beside each page, see {@link Batch.Start#AT_PAGE}
     */
    public record Capacity(
            KvLayout kvLayout,
            int pageCount,
            int maxBatchTokens,
            int maxLogitRows,
            int stateSlots,
            boolean pageStates) {
        /** A state for as many sequences as there are rows of logits, and none beside pages. */
        public Capacity(KvLayout kvLayout, int pageCount, int maxBatchTokens, int maxLogitRows) {
            this(kvLayout, pageCount, maxBatchTokens, maxLogitRows, maxLogitRows, false);
        }
    }

    /**
     * Loads and packs the weights. The decoder copies what it needs, so the file may be closed afterwards.
     *
     * @throws quire.model.format.ModelFormatException if a tensor is missing or misshapen
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
        for (GgufTensor tensor : ModelConfig.usedTensors(file)) {
            boolean embedding = tensor.name().equals("token_embd.weight");
            if (embedding || tensor.type().elementType().isEmpty()) {
                bytes += tensor.byteSize();
            }
            boolean packed = !embedding || !file.hasTensor("output.weight");
            if (packed && tensor.type().elementType().isPresent()) {
                bytes += packedBytes(tensor, kernels);
            }
        }
        return bytes;
    }

    private static long packedBytes(GgufTensor tensor, Kernels kernels) {
        if (!ModelConfig.isMatrix(tensor)) {
            return tensor.elements() * Float.BYTES;
        }
        // The matrices of experts or heads are packed one by one.
        long matrixRows = tensor.dims()[1];
        return tensor.rows()
                / matrixRows
                * kernels.packedBytes(
                        tensor.elementType(), Math.toIntExact(matrixRows), Math.toIntExact(tensor.columns()));
    }

    /**
     * The part of {@link #weightBytes} that a step of one token reads: of the experts, only those that compute a row, and
     * of the embedding no more than a row, which does not count.
     */
    public static long activeWeightBytes(Gguf file, ModelConfig config, Kernels kernels) {
        Mixture mixture = config.blocks().mixture();
        long bytes = weightBytes(file, kernels)
                - file.tensor("token_embd.weight", config.hidden(), config.vocabularySize())
                        .byteSize();
        for (GgufTensor tensor : ModelConfig.usedTensors(file)) {
            if (mixture != null && ModelConfig.isOfExperts(tensor)) {
                long all = packedBytes(tensor, kernels);
                bytes -= all - all / mixture.experts() * mixture.used();
            }
        }
        return bytes;
    }

    /** Bytes of a file's matrices: the sum of what {@link #load} passes to {@code onLoaded}. */
    public static long matrixBytes(Gguf file) {
        long bytes = 0;
        for (GgufTensor tensor : ModelConfig.usedTensors(file)) {
            if (ModelConfig.isMatrix(tensor)) {
                boolean twice = tensor.name().equals("token_embd.weight") && !file.hasTensor("output.weight");
                bytes += twice ? 2 * tensor.byteSize() : tensor.byteSize();
            }
        }
        return bytes;
    }

    /**
     * The matrices of one quantised type in a file.
     *
     * @param type their type
     * @param weights number of their weights
     * @param fileBytes their size in the file
     * @param packedBytes their size in memory, as the kernels pack them
     */
    public record PackedType(ElementType type, long weights, long fileBytes, long packedBytes) {
        private PackedType plus(PackedType other) {
            return new PackedType(
                    type, weights + other.weights, fileBytes + other.fileBytes, packedBytes + other.packedBytes);
        }
    }

    /** The sizes of a file's quantised matrices by type, without an embedding that is no head. */
    public static List<PackedType> packedTypes(Gguf file, Kernels kernels) {
        Map<ElementType, PackedType> types = new EnumMap<>(ElementType.class);
        for (GgufTensor tensor : ModelConfig.usedTensors(file)) {
            boolean onlyLookedUp = tensor.name().equals("token_embd.weight") && file.hasTensor("output.weight");
            boolean quantized =
                    tensor.type().elementType().map(ElementType::isQuantized).orElse(false);
            if (quantized && ModelConfig.isMatrix(tensor) && !onlyLookedUp) {
                ElementType type = tensor.elementType();
                types.merge(
                        type,
                        new PackedType(type, tensor.elements(), tensor.byteSize(), packedBytes(tensor, kernels)),
                        PackedType::plus);
            }
        }
        return List.copyOf(types.values());
    }

    /**
     * An upper bound for the bytes of everything else that {@link #load} allocates, except the KV pool and the states of
     * recurrent layers.
     */
    public static long activationBytes(ModelConfig config, int maxBatchTokens, int maxLogitRows) {
        int hidden = config.hidden();
        long queryWidth =
                (long) config.heads() * config.headDim() * (config.blocks().gatedAttention() ? 2 : 1);
        long kvWidth = (long) config.kvHeads() * config.headDim();
        long inputs = Activations.byteSize(maxBatchTokens, hidden, true)
                + Activations.byteSize(maxBatchTokens, config.attendedWidth(), true)
                + Activations.byteSize(maxBatchTokens, config.denseWidth(), true)
                + Activations.byteSize(maxLogitRows, hidden, true);
        long perToken = Float.BYTES * (2L * hidden + queryWidth + 2 * kvWidth + 2L * config.denseWidth());
        long perLogitRow = Float.BYTES * ((long) hidden + config.vocabularySize());
        int tables = config.blocks().windowBase() > 0 ? 2 : 1;
        Mixture mixture = config.blocks().mixture();
        long experts = mixture == null ? 0 : MixtureLayers.byteSize(mixture, hidden, maxBatchTokens);
        Architecture.Latent latent = config.blocks().latent();
        long latents = latent == null ? 0 : LatentAttention.byteSize(config, latent, maxBatchTokens);
        Recurrence recurrence = config.blocks().recurrence();
        long recurrent =
                recurrence == null ? 0 : RecurrentLayers.byteSize(recurrence, maxBatchTokens, MAX_COUNTED_WORKERS);
        long rotations = (long) Float.BYTES * config.contextLength() * config.ropeDimensions() * tables;
        return Math.addExact(
                Math.addExact(
                        Math.addExact(inputs, rotations), Math.addExact(Math.addExact(experts, latents), recurrent)),
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
        products = new Products(kernels, workers);
        maxBatchTokens = capacity.maxBatchTokens;
        maxLogitRows = capacity.maxLogitRows;
        blocks = config.blocks();
        attentionScale =
                blocks.attentionScale() > 0 ? blocks.attentionScale() : (float) (1 / StrictMath.sqrt(config.headDim()));

        config.checkTensors(file);
        WeightLoader loader = new WeightLoader(file, config, kernels, workers, arena, onLoaded);
        int hidden = config.hidden();
        int queryWidth = config.heads() * config.headDim();
        int kvWidth = config.kvHeads() * config.headDim();
        GgufTensor embeddings = file.tensor("token_embd.weight", hidden, config.vocabularySize());
        embeddingType = embeddings.elementType();
        embedding = loader.rows(embeddings);
        cache = new KvCache(capacity.kvLayout, config.attentionLayers(), capacity.pageCount, arena);
        long poolTokens = (long) capacity.pageCount * capacity.kvLayout.pageTokens();
        int positions = (int) Math.min(config.contextLength(), poolTokens);
        rotations.put(
                Architecture.Rotation.GENERAL,
                Rotations.table(config, loader.rotationFactors(), positions, arena, workers));
        if (blocks.windowBase() > 0) {
            double[] frequencies = Rotations.frequencies(config.ropeDimensions(), blocks.windowBase());
            rotations.put(Architecture.Rotation.WINDOW, Rotations.table(frequencies, 1, positions, arena, workers));
        }
        Mixture mixture = blocks.mixture();
        Architecture.Latent latent = blocks.latent();
        Recurrence recurrence = blocks.recurrence();
        int withAttention = 0;
        int withState = 0;
        boolean sharedNorm = blocks.parallel() || !blocks.normBefore();
        layers = new Layer[config.layers()];
        for (int i = 0; i < layers.length; i++) {
            String prefix = "blk." + i + ".";
            MixtureLayers.Weights experts =
                    mixture != null && blocks.hasExperts(i) ? loader.mixture(prefix, mixture) : null;
            boolean dense = blocks.feedsForward(i) && experts == null;
            boolean attends = blocks.attends(i);
            RecurrentLayers.Weights recurrent = recurrence == null || attends || !blocks.mixes(i)
                    ? null
                    : loader.recurrent(prefix, withState++, recurrence);
            layers[i] = new Layer(
                    blocks.normBefore() && blocks.mixes(i) ? loader.norm(prefix + "attn_norm") : null,
                    attends && latent == null ? loader.queriesKeysValues(prefix) : List.of(),
                    attends && latent != null ? loader.latent(prefix, latent) : null,
                    recurrent,
                    withAttention,
                    attends ? loader.headNorm(prefix + "attn_q_norm.weight", queryWidth) : null,
                    attends ? loader.headNorm(prefix + "attn_k_norm.weight", kvWidth) : null,
                    blocks.window(i),
                    rotations.get(blocks.rotation(i)),
                    attends && blocks.sinks() ? loader.vector(prefix + "attn_sinks.weight", config.heads()) : null,
                    attends
                            ? List.of(loader.projection(prefix + "attn_output", config.attendedWidth(), hidden))
                            : List.of(),
                    blocks.normAfter() ? loader.norm(prefix + "post_attention_norm") : null,
                    sharedNorm || !blocks.feedsForward(i) ? null : loader.norm(prefix + blocks.feedForwardNorm()),
                    dense ? loader.gateUp(prefix) : List.of(),
                    dense ? List.of(loader.projection(prefix + "ffn_down", config.feedForward(), hidden)) : List.of(),
                    experts,
                    blocks.normAfter() ? loader.norm(prefix + "post_ffw_norm") : null);
            withAttention += attends ? 1 : 0;
        }
        outputNorm = loader.norm(blocks.outputNorm());
        vectorNorm = blocks.logitFactor() == 1 ? outputNorm : loader.norm(blocks.outputNorm());
        scale(outputNorm.weight(), blocks.logitFactor()); // instead of each logit
        if (outputNorm.bias() != null) {
            scale(outputNorm.bias(), blocks.logitFactor());
        }
        boolean untied = file.optionalTensor("output.weight", hidden, config.vocabularySize())
                .isPresent();
        head = List.of(loader.projection(
                loader.matrix(untied ? "output.weight" : "token_embd.weight", hidden, config.vocabularySize()), null));
        loader.warnOfZeros();

        List<MixtureLayers.Weights> expertLayers =
                Stream.of(layers).map(Layer::experts).filter(Objects::nonNull).toList();
        mixtureLayers = mixture == null
                ? null
                : new MixtureLayers(config, mixture, expertLayers, kernels, workers, maxBatchTokens, arena);
        List<LatentAttention.Weights> latentLayers =
                Stream.of(layers).map(Layer::latent).filter(Objects::nonNull).toList();
        latentAttention = latent == null
                ? null
                : new LatentAttention(config, latent, latentLayers, kernels, workers, maxBatchTokens, arena);
        List<RecurrentLayers.Weights> statefulLayers =
                Stream.of(layers).map(Layer::recurrent).filter(Objects::nonNull).toList();
        if (recurrence == null) {
            recurrentState = null;
            recurrentLayers = null;
        } else {
            recurrentState = new RecurrentState(
                    recurrence,
                    capacity.stateSlots,
                    capacity.pageStates && !recurrence.hasStates() ? capacity.pageCount : 0,
                    capacity.kvLayout.pageTokens(),
                    arena);
            recurrentLayers = new RecurrentLayers(
                    recurrence,
                    recurrentState,
                    statefulLayers,
                    config.normEpsilon(),
                    kernels,
                    workers,
                    maxBatchTokens,
                    arena);
        }
        residual = FloatMatrix.allocate(arena, maxBatchTokens, hidden);
        normed = Activations.allocate(
                arena,
                maxBatchTokens,
                hidden,
                reads(Layer::qkv)
                        || reads(Layer::gateUp)
                        || statefulLayers.stream().anyMatch(each -> Products.anyQuantized(each.first()))
                        || latentLayers.stream().anyMatch(each -> Products.anyQuantized(each.first()))
                        || expertLayers.stream().anyMatch(each -> Products.anyQuantized(each.first())));
        queries = FloatMatrix.allocate(arena, maxBatchTokens, queryWidth);
        keys = FloatMatrix.allocate(arena, maxBatchTokens, kvWidth);
        values = FloatMatrix.allocate(arena, maxBatchTokens, kvWidth);
        attentionGate = blocks.gatedAttention() ? FloatMatrix.allocate(arena, maxBatchTokens, queryWidth) : null;
        boolean each = blocks.headNorm().isEach();
        queryNormRows =
                each ? new FloatMatrix(queries.segment(), maxBatchTokens * config.heads(), config.headDim()) : queries;
        keyNormRows =
                each ? new FloatMatrix(keys.segment(), maxBatchTokens * config.kvHeads(), config.headDim()) : keys;
        attended = Activations.allocate(arena, maxBatchTokens, config.attendedWidth(), reads(Layer::output));
        projected = FloatMatrix.allocate(arena, maxBatchTokens, hidden);
        int feedForward = config.denseWidth();
        gate = FloatMatrix.allocate(arena, maxBatchTokens, feedForward);
        up = FloatMatrix.allocate(arena, maxBatchTokens, feedForward);
        if (!blocks.gated()) {
            for (int row = 0; row < maxBatchTokens; row++) {
                for (int i = 0; i < feedForward; i++) {
                    up.set(row, i, 1f);
                }
            }
        }
        activated = Activations.allocate(arena, maxBatchTokens, feedForward, reads(Layer::down));
        logitRows = new int[maxLogitRows];
        selected = FloatMatrix.allocate(arena, maxLogitRows, hidden);
        selectedNormed = Activations.allocate(arena, maxLogitRows, hidden, Products.anyQuantized(head));
        logits = new FloatMatrix(
                ReservedMemory.allocate(arena, (long) maxLogitRows * config.vocabularySize() * Float.BYTES),
                maxLogitRows,
                config.vocabularySize());
        long multiplyAdds = 0;
        for (Layer layer : layers) {
            multiplyAdds += Products.multiplyAdds(layer.projections());
            if (mixture != null && layer.experts != null) {
                multiplyAdds += layer.experts.multiplyAdds(mixture);
            }
            multiplyAdds += layer.latent == null ? 0 : layer.latent.multiplyAdds();
            multiplyAdds += layer.recurrent == null ? 0 : layer.recurrent.multiplyAdds();
        }
        multiplyAddsPerRow = multiplyAdds;
        qkvOutputs =
                attentionGate == null ? List.of(queries, keys, values) : List.of(queries, keys, values, attentionGate);
        projectedOutputs = List.of(projected);
        gateUpOutputs = List.of(gate, up);
        logitsOutputs = List.of(logits);
        headParts = headParts(config);
        FloatMatrix attentionOutput = latentAttention == null ? attended.values() : latentAttention.attended();
        attention = new AttentionCall[workers.count()];
        scratch = new AttentionScratch[workers.count()];
        for (int i = 0; i < scratch.length; i++) {
            attention[i] =
                    new AttentionCall(capacity.kvLayout, attentionScale, inParts(queries), inParts(attentionOutput));
            scratch[i] = kernels.attentionScratch(
                    capacity.kvLayout, config.heads() / headParts, blocks.attentionCap(), arena);
        }
    }

    /**
     * If all heads share one KV head, they are divided into parts, so that several workers can attend for one row. A part
     * has at most {@value #PART_HEADS} heads: a kernel shares what it loads among no more.
     */
    private static int headParts(ModelConfig config) {
        int parts = 1;
        while (config.kvHeads() == 1 && (config.heads() % parts != 0 || config.heads() / parts > PART_HEADS)) {
            parts++;
        }
        return parts;
    }

    /** The same memory with a row for each part of the heads. */
    private FloatMatrix inParts(FloatMatrix rows) {
        return new FloatMatrix(rows.segment(), rows.rows() * headParts, rows.columns() / headParts);
    }

    /** Whether a matrix of this kind needs quantised inputs in some layer. */
    private boolean reads(Function<Layer, List<Projection>> projections) {
        return Stream.of(layers).map(projections).anyMatch(Products::anyQuantized);
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
    public int vectorWidth() {
        return config.hidden();
    }

    @Override
    public FloatMatrix vectors() {
        return normed.values();
    }

    @Override
    public void copyPage(int from, int to) {
        cache.copy(from, to);
    }

    @Override
    public boolean isRecurrent() {
        return recurrentState != null;
    }

    @Override
    public long pageBytes() {
        return cache.pageBytes() + (recurrentState == null ? 0 : recurrentState.pageBytes());
    }

    @Override
    public void exportPage(int page, MemorySegment to) {
        cache.exportPage(page, to);
        if (recurrentState != null) {
            recurrentState.exportPage(page, to.asSlice(cache.pageBytes()));
        }
    }

    @Override
    public void importPage(int page, MemorySegment from) {
        cache.importPage(page, from);
        if (recurrentState != null) {
            recurrentState.importPage(page, from.asSlice(cache.pageBytes()));
        }
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
        if (recurrentState != null) {
            recurrentState.begin(next);
        }
        batch = next;
        workers.run(step, workersFor(next.rows()));
        batch = null;
        if (recurrentState != null) {
            recurrentState.end(next);
        }
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
            if (blocks.mixes(i)) {
                norm(residual, layer.attentionNorm, normed.values(), from, to);
                products.quantize(normed, from, to);
                workers.barrier(worker);
                if (layer.recurrent != null && recurrentLayers != null) {
                    recurrentLayers.compute(worker, layer.recurrent, normed, current, from, to, projectedOutputs);
                    products.addBias(layer.recurrent.output().getFirst(), projected, from, to);
                } else {
                    attention(worker, layer, current, from, to);
                }
                addBranch(layer.afterAttention, from, to);
            }
            if (blocks.feedsForward(i)) {
                if (!blocks.parallel()) {
                    norm(residual, layer.feedForwardNorm, normed.values(), from, to);
                    products.quantize(normed, from, to);
                }
                workers.barrier(worker);
                if (layer.experts != null && mixtureLayers != null) {
                    mixtureLayers.compute(worker, layer.experts, normed, rows, from, to, projected);
                } else {
                    feedForward(worker, layer, rows, from, to);
                }
                addBranch(layer.afterFeedForward, from, to);
            }
        }

        // Nobody reads the last layer's inputs any more, so the vectors take their place.
        normVectors(current, from, to);

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
        products.quantize(selectedNormed, selectedFrom, selectedTo);
        workers.barrier(worker);
        if (count > 0) {
            products.multiply(head, selectedNormed, count, logitsOutputs);
        }
        if (blocks.logitCap() > 0) {
            workers.barrier(worker);
            kernels.softCap(logits, blocks.logitCap(), selectedFrom, selectedTo);
        }
    }

    /** Norms the rows of the last layer's results whose vectors are wanted. */
    private void normVectors(Batch current, int from, int to) {
        for (int s = 0; s < current.sequences(); s++) {
            int first = Math.max(from, current.firstRow(s));
            int end = Math.min(to, current.firstRow(s) + current.rowCount(s));
            if (current.wantsVectors(s) && first < end) {
                norm(residual, vectorNorm, normed.values(), first, end);
            }
        }
    }

    /** An attention layer, from the norm to its result. */
    private void attention(int worker, Layer layer, Batch current, int from, int to) {
        int rows = current.rows();
        if (layer.latent != null && latentAttention != null) {
            latentAttention.queriesKeysValues(worker, layer.latent, normed, rows, from, to, queries, keys, values);
        } else {
            queriesKeysValues(worker, layer, rows, from, to);
        }
        if (layer.cosSin != null) {
            kernels.rope(queries, config.headDim(), current.positions(), layer.cosSin, from, to);
            kernels.rope(keys, config.headDim(), current.positions(), layer.cosSin, from, to);
        }
        if (blocks.headNorm() == HeadNorm.EACH_ROTATED) {
            normHeads(layer, from, to);
        }
        if (blocks.temperature() != null) {
            scaleQueries(blocks.temperature(), current.positions(), from, to);
        }
        store(current, layer.cacheIndex, from, to);
        workers.barrier(worker);
        attend(current, layer, worker);
        workers.barrier(worker);
        if (layer.latent != null && latentAttention != null) {
            latentAttention.values(worker, layer.latent, rows, from, to, attended.values());
        }
        if (attentionGate != null) {
            kernels.activate(Activation.SIGMOID, attentionGate, attended.values(), attended.values(), from, to);
        }
        products.quantize(attended, from, to);
        workers.barrier(worker);
        products.multiply(layer.output, attended, rows, projectedOutputs);
        workers.barrier(worker);
        products.addBias(layer.output.get(0), projected, from, to);
    }

    private void scaleQueries(Architecture.Temperature temperature, int[] positions, int from, int to) {
        for (int row = from; row < to; row++) {
            float factor = temperature.factor(positions[row]);
            for (int i = 0; factor != 1 && i < queries.columns(); i++) {
                queries.set(row, i, queries.get(row, i) * factor);
            }
        }
    }

    /** Queries, keys and values before their rotation. */
    private void queriesKeysValues(int worker, Layer layer, int rows, int from, int to) {
        products.multiply(layer.qkv, normed, rows, qkvOutputs);
        workers.barrier(worker);
        products.addBias(layer.qkv.get(0), queries, from, to);
        products.addBias(layer.qkv.get(1), keys, from, to);
        products.addBias(layer.qkv.get(2), values, from, to);
        if (attentionGate != null) {
            products.addBias(layer.qkv.get(3), attentionGate, from, to);
        }
        if (blocks.headNorm() != HeadNorm.EACH_ROTATED) {
            normHeads(layer, from, to);
        }
    }

    /** A feed-forward layer without experts, from the norm to its result. */
    private void feedForward(int worker, Layer layer, int rows, int from, int to) {
        products.multiply(layer.gateUp, normed, rows, gateUpOutputs);
        workers.barrier(worker);
        products.addBias(layer.gateUp.get(0), gate, from, to);
        if (blocks.gated()) {
            products.addBias(layer.gateUp.get(1), up, from, to);
        }
        kernels.activate(blocks.activation(), gate, up, activated.values(), from, to);
        products.quantize(activated, from, to);
        workers.barrier(worker);
        products.multiply(layer.down, activated, rows, projectedOutputs);
        workers.barrier(worker);
        products.addBias(layer.down.get(0), projected, from, to);
    }

    /** Norms rows of x to rows of y; without weights, copies them. */
    private void norm(FloatMatrix x, @Nullable NormWeights weights, FloatMatrix y, int from, int to) {
        if (weights == null) {
            long at = x.rowOffset(from);
            MemorySegment.copy(x.segment(), at, y.segment(), at, x.rowOffset(to) - at);
        } else if (blocks.norm() == Architecture.Norm.RMS) {
            kernels.rmsNorm(x, weights.weight(), config.normEpsilon(), y, from, to);
        } else {
            kernels.layerNorm(x, weights.weight(), config.normEpsilon(), y, from, to);
            if (weights.bias() != null) {
                kernels.addBias(weights.bias(), y, from, to);
            }
        }
    }

    /** Norms the queries and keys of some tokens, if the layer has such norms. */
    private void normHeads(Layer layer, int from, int to) {
        normHeads(layer.queryNorm, queryNormRows, from, to);
        normHeads(layer.keyNorm, keyNormRows, from, to);
    }

    private void normHeads(@Nullable FloatMatrix weight, FloatMatrix heads, int from, int to) {
        if (weight != null) {
            int each = heads.rows() / maxBatchTokens;
            kernels.rmsNorm(heads, weight, config.normEpsilon(), heads, from * each, to * each);
        }
    }

    /** Adds the result of attention or feed-forward to the residual stream. */
    private void addBranch(@Nullable NormWeights after, int from, int to) {
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
    private void attend(Batch current, Layer layer, int worker) {
        MemorySegment pages = cache.layer(layer.cacheIndex);
        int unit = 0;
        int claimed = workers.claim();
        for (int s = 0; s < current.sequences(); s++) {
            int firstRow = current.firstRow(s);
            int rowCount = current.rowCount(s);
            for (int done = 0; done < rowCount; done += kernels.attentionRows()) {
                int count = Math.min(kernels.attentionRows(), rowCount - done);
                for (int head = 0; head < config.kvHeads() * headParts; head++) {
                    if (unit++ == claimed) {
                        AttentionCall call = attention[worker]
                                .layer(layer.window, blocks.attentionCap(), layer.sinks)
                                .context(pages, current.pageTable(s), head / headParts);
                        int position = current.firstPosition(s) + done;
                        if (headParts == 1) {
                            kernels.attend(call.rows(firstRow + done, count, position), scratch[worker]);
                        } else {
                            for (int i = 0; i < count; i++) {
                                int row = (firstRow + done + i) * headParts + head;
                                kernels.attend(call.rows(row, 1, position + i), scratch[worker]);
                            }
                        }
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
}
