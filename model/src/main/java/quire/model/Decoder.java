package quire.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import java.util.function.LongConsumer;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import quire.model.WeightLoader.NormWeights;
import quire.model.format.Gguf;
import quire.model.format.GgufTensor;
import quire.tensor.Activations;
import quire.tensor.ElementType;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.KvLayout.KvType;
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
 * <p>The parts of a block are in {@link AttentionLayers}, {@link RecurrentLayers}, {@link FeedForwardLayers}, {@link
 * MixtureLayers}, {@link LayerInputs} and {@link ResidualStreams}, which show their own barriers.
 *
 * <p>Memory: the packed weights, a copy of the rows of an embedding that is not also the head, one pool of pages, and
 * activations for {@code maxBatchTokens} rows. All of it is allocated at load; a step allocates nothing.
 */
public final class Decoder implements Model {
    /**
     * If the products of a layer have fewer multiply-adds than this, one worker computes the step alone. Waking the
     * other workers and waiting at the barriers would cost more time than they save.
     */
    private static final long SINGLE_WORKER_MACS = 1 << 20;

    /** What attention and the way around it are multiplied with, so that their sum is as large as each. */
    private static final float HALF_ROOT = (float) StrictMath.sqrt(0.5);

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
    private final int pageTokens;
    private final @Nullable WindowLayers windowLayers;

    private final ElementType embeddingType;
    /** The embedding's rows as in the file; null if tokens are looked up in the head. */
    private final @Nullable MemorySegment embedding;

    private final Layer[] layers;
    private final @Nullable NormWeights outputNorm;
    /** The same as in the file, without the factor of logits. */
    private final @Nullable NormWeights vectorNorm;

    /** Empty if the model gives vectors only. */
    private final List<Projection> head;

    /** What vectors pass at last, and their rows between; empty and null if there is nothing. */
    private final List<Projection> vectorHead;

    private final @Nullable Activations vectorHidden;
    private final List<Projection> firstOfVectors;
    private final List<Projection> lastOfVectors;
    private final List<FloatMatrix> vectorHiddenOutputs;
    private final List<FloatMatrix> vectorOutputs;

    // What embeddings pass; null where there is none.
    private final @Nullable FloatMatrix positionRows;
    private final @Nullable FloatMatrix typeRow;
    private final @Nullable NormWeights embeddingNorm;

    /** Cosines and sines of each rotation that layers use. */
    private final Map<Architecture.Rotation, FloatMatrix> rotations = new EnumMap<>(Architecture.Rotation.class);

    // Activations, one row for each token of the batch.
    private final FloatMatrix residual;
    private final Activations normed;
    /** What feed-forward layers beside attention read, if that is another norm; null if it is the same, or none. */
    private final @Nullable Activations besideNormed;

    private final List<FloatMatrix> projectedOutputs;
    private final FloatMatrix projected;
    /** What a feed-forward layer beside experts computes; null if there is none. */
    private final @Nullable FloatMatrix dense;
    /** The inputs of routers that read others than the experts; null if there are none. */
    private final @Nullable Activations routed;

    // By block; null where it has no such part.
    private final @Nullable AttentionLayers[] attentionLayers;
    private final @Nullable FeedForwardLayers[] feedForwardLayers;

    private final @Nullable MixtureLayers mixtureLayers;
    private final @Nullable RecurrentState recurrentState;
    private final @Nullable RecurrentLayers recurrentLayers;
    private final @Nullable LayerInputs layerInputs;
    private final @Nullable ResidualStreams streams;

    // One row for each row of logits.
    private final int[] logitRows;
    private final FloatMatrix selected;
    private final Activations selectedNormed;
    private final FloatMatrix logits;
    /** Multiply-adds for one row in the products of all layers. */
    private final long multiplyAddsPerRow;

    private final List<FloatMatrix> logitsOutputs;

    private @Nullable Batch batch;

    /**
     * The weights of one block; null where the architecture has none.
     *
     * @param beside the norms of experts beside a feed-forward layer
     * @param factor of the residual stream behind the block
     */
    private record Layer(
            @Nullable NormWeights mixerNorm,
            AttentionLayers.@Nullable Weights attention,
            RecurrentLayers.@Nullable Weights recurrent,
            @Nullable NormWeights afterMixer,
            @Nullable NormWeights feedForwardNorm,
            FeedForwardLayers.@Nullable Weights feedForward,
            MixtureLayers.@Nullable Weights experts,
            @Nullable Beside beside,
            @Nullable NormWeights afterFeedForward,
            LayerInputs.@Nullable Weights inputs,
            ResidualStreams.@Nullable Weights streams,
            float factor) {}

    /**
     * The norms of a block whose experts are beside a feed-forward layer.
     *
     * @param afterDense of the feed-forward layer's result
     * @param router of the residual stream, for the router
     * @param experts of the residual stream, for the experts
     * @param afterExperts of their result
     */
    record Beside(NormWeights afterDense, NormWeights router, NormWeights experts, NormWeights afterExperts) {}

    /**
     * The sizes for which a decoder allocates memory.
     *
     * @param kvType how keys and values are stored
     * @param pageTokens positions in a page
     * @param pageCount pages of the KV pool
     * @param maxBatchTokens rows of a batch
     * @param maxLogitRows rows of logits of a batch
     * @param stateSlots sequences whose state recurrent layers keep
     * @param pageStates whether recurrent layers keep a state beside each page, see {@link Batch.Start#AT_PAGE}
     * @param windowPages pages of the {@link Model#windowLayers}; 0 if a page is to hold all layers
     * @param savedStates states of sequences that can be saved, if layers have states, see {@link Model#savedStates}
     * @param overflow pages in a file, beside those in memory; null for none
     */
    public record Capacity(
            KvType kvType,
            int pageTokens,
            int pageCount,
            int maxBatchTokens,
            int maxLogitRows,
            int stateSlots,
            boolean pageStates,
            int windowPages,
            int savedStates,
            @Nullable Overflow overflow) {
        /** A page holds all layers, and all pages are in memory. */
        public Capacity(
                KvType kvType,
                int pageTokens,
                int pageCount,
                int maxBatchTokens,
                int maxLogitRows,
                int stateSlots,
                boolean pageStates) {
            this(kvType, pageTokens, pageCount, maxBatchTokens, maxLogitRows, stateSlots, pageStates, 0, 0, null);
        }

        /** A state for as many sequences as there are rows of logits, and none beside pages. */
        public Capacity(KvType kvType, int pageTokens, int pageCount, int maxBatchTokens, int maxLogitRows) {
            this(kvType, pageTokens, pageCount, maxBatchTokens, maxLogitRows, maxLogitRows, false, 0, 0, null);
        }

        private int allPages() {
            return Math.addExact(pageCount, overflow == null ? 0 : overflow.pages);
        }
    }

    /**
     * Pages in a file, see {@link Model#overflowPages}. The file is created and has no name afterwards, so its space is free when
     * the process ends.
     *
     * @param pages their number; at least 1
     * @param folder where the file is created
     */
    public record Overflow(int pages, Path folder) {}

    /**
     * Loads and packs the weights. The decoder copies what it needs, so the file may be closed afterwards.
     *
     * @throws quire.model.format.ModelFormatException if a tensor is missing or misshapen
     * @throws IllegalArgumentException if the file of overflow pages cannot be made, with the system's reason
     */
    public static Decoder load(Gguf file, ModelConfig config, Kernels kernels, Workers workers, Capacity capacity) {
        return load(file, config, kernels, workers, capacity, null, bytes -> {});
    }

    /**
     * Loads and packs the weights. The decoder copies what it needs, so the file may be closed afterwards.
     *
     * @param packedCache a folder for the packed weights, where the next load of the same model finds them; null for none
     * @param onLoaded called after each matrix, on this thread, with the number of its bytes in the file; an embedding
     *     that is also the head counts twice if it is copied, see {@link Kernels#readsRows}
     * @throws quire.model.format.ModelFormatException if a tensor is missing or misshapen
     * @throws IllegalArgumentException if the folder for packed weights, or the file of overflow pages, cannot be made, with the
     *     system's reason
     */
    @SuppressWarnings("MustBeClosedChecker") // the decoder owns the arena and closes it
    public static Decoder load(
            Gguf file,
            ModelConfig config,
            Kernels kernels,
            Workers workers,
            Capacity capacity,
            @Nullable Path packedCache,
            LongConsumer onLoaded) {
        Arena arena = new Slabs();
        try {
            config.checkTensors(file);
            PackedWeights cache =
                    packedCache == null ? null : PackedWeights.open(packedCache, file, kernels, workers, arena);
            Decoder decoder = new Decoder(file, config, kernels, workers, capacity, arena, cache, onLoaded);
            if (cache != null) {
                cache.write();
            }
            return decoder;
        } catch (Throwable e) {
            arena.close();
            throw e;
        }
    }

    /**
     * Bytes that the weights of a file take in memory: matrices as the kernels pack them, vectors as f32, and embeddings
     * as in the file. An embedding that is also the head is only packed for the product, and tokens are looked up there; it
     * counts twice if the kernels do not read rows back.
     */
    public static long weightBytes(Gguf file, Kernels kernels) {
        long bytes = 0;
        for (GgufTensor tensor : ModelConfig.usedTensors(file)) {
            boolean head = ModelConfig.isHead(tensor, file);
            if (isCopied(tensor, file, kernels) || tensor.type().elementType().isEmpty()) {
                bytes += tensor.byteSize();
            }
            boolean packed = head || !ModelConfig.isLookedUp(tensor);
            if (packed && tensor.type().elementType().isPresent()) {
                bytes += packedBytes(tensor, kernels);
            }
        }
        return bytes;
    }

    /** Whether the rows of an embedding are kept as the file has them, because they cannot be read from a packed head. */
    private static boolean isCopied(GgufTensor tensor, Gguf file, Kernels kernels) {
        return ModelConfig.isLookedUp(tensor) && !(kernels.readsRows() && ModelConfig.isHead(tensor, file));
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
     * of embeddings no more than a row, which does not count.
     */
    public static long activeWeightBytes(Gguf file, ModelConfig config, Kernels kernels) {
        Mixture mixture = config.blocks().mixture();
        long bytes = weightBytes(file, kernels);
        for (GgufTensor tensor : ModelConfig.usedTensors(file)) {
            if (isCopied(tensor, file, kernels)) {
                bytes -= tensor.byteSize();
            }
            if (mixture != null && ModelConfig.isOfExperts(tensor)) {
                long all = packedBytes(tensor, kernels);
                bytes -= all - all / mixture.experts() * mixture.used();
            }
        }
        return bytes;
    }

    /** Bytes of a file's matrices: the sum of what {@link #load} passes to {@code onLoaded}. */
    public static long matrixBytes(Gguf file, Kernels kernels) {
        long bytes = 0;
        for (GgufTensor tensor : ModelConfig.usedTensors(file)) {
            if (ModelConfig.isMatrix(tensor)) {
                boolean twice = ModelConfig.isHead(tensor, file) && isCopied(tensor, file, kernels);
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
            boolean onlyLookedUp = ModelConfig.isLookedUp(tensor) && !ModelConfig.isHead(tensor, file);
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
        long inputs =
                Activations.byteSize(maxBatchTokens, hidden, true) + Activations.byteSize(maxLogitRows, hidden, true);
        for (ModelConfig.HeadSizes sizes : config.allHeadSizes()) {
            inputs += AttentionLayers.byteSize(config, sizes, maxBatchTokens);
        }
        for (int width : config.denseWidths()) {
            inputs += FeedForwardLayers.byteSize(width, maxBatchTokens);
        }
        int ofLayers = config.blocks().layerInputs();
        if (ofLayers > 0) {
            inputs += LayerInputs.byteSize(config.layers(), ofLayers, maxBatchTokens, MAX_COUNTED_WORKERS);
        }
        Architecture.Streams streams = config.blocks().streams();
        if (streams != null) {
            inputs += ResidualStreams.byteSize(hidden, streams, maxBatchTokens);
        }
        if (config.blocks().twoNorms()) {
            inputs += Activations.byteSize(maxBatchTokens, hidden, true);
        }
        if (config.blocks().vectorHead() > 0) {
            inputs += Activations.byteSize(maxBatchTokens, config.blocks().vectorHead(), true);
        }
        long perToken = Float.BYTES * 2L * hidden;
        long perLogitRow = Float.BYTES * ((long) hidden + config.vocabularySize());
        int tables = config.blocks().windowBase() > 0 ? 2 : 1;
        Mixture mixture = config.blocks().mixture();
        long experts = mixture == null ? 0 : MixtureLayers.byteSize(mixture, hidden, maxBatchTokens);
        if (mixture != null && mixture.beside()) {
            experts +=
                    Activations.byteSize(maxBatchTokens, hidden, true) + (long) Float.BYTES * hidden * maxBatchTokens;
        }
        Recurrence recurrence = config.blocks().recurrence();
        long recurrent =
                recurrence == null ? 0 : RecurrentLayers.byteSize(recurrence, maxBatchTokens, MAX_COUNTED_WORKERS);
        long rotations = (long) Float.BYTES * config.contextLength() * config.ropeDimensions() * tables;
        return Math.addExact(
                Math.addExact(Math.addExact(inputs, rotations), Math.addExact(experts, recurrent)),
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
            @Nullable PackedWeights packedWeights,
            LongConsumer onLoaded) {
        this.arena = arena;
        this.config = config;
        this.kernels = kernels;
        this.workers = workers;
        products = new Products(kernels, workers);
        maxBatchTokens = capacity.maxBatchTokens;
        maxLogitRows = capacity.maxLogitRows;
        pageTokens = capacity.pageTokens;
        blocks = config.blocks();

        WeightLoader loader = new WeightLoader(file, config, kernels, workers, arena, packedWeights, onLoaded);
        int hidden = config.hidden();
        GgufTensor embeddings = file.tensor("token_embd.weight", hidden, config.vocabularySize());
        embeddingType = embeddings.elementType();
        embedding = isCopied(embeddings, file, kernels) ? loader.rows(embeddings) : null;
        cache = new KvCache(
                config.cachedHeadSizes().stream()
                        .map(sizes -> sizes.layout(capacity.kvType, pageTokens))
                        .toList(),
                config.cachedHaveWindow(),
                capacity.pageCount,
                capacity.windowPages,
                capacity.overflow,
                arena);
        windowLayers = capacity.windowPages == 0
                ? null
                : new WindowLayers(blocks.window(), blocks.chunked(), capacity.windowPages);
        long poolTokens = (long) capacity.allPages() * pageTokens;
        int positions = (int) Math.min(config.contextLength(), poolTokens);
        rotations.put(
                Architecture.Rotation.GENERAL,
                Rotations.table(config, loader.rotationFactors(), positions, arena, workers));
        if (blocks.windowBase() > 0) {
            double[] frequencies = Rotations.frequencies(config.windowRopeDimensions(), blocks.windowBase());
            rotations.put(Architecture.Rotation.WINDOW, Rotations.table(frequencies, 1, positions, arena, workers));
        }
        Mixture mixture = blocks.mixture();
        Recurrence recurrence = blocks.recurrence();
        int withState = 0;
        boolean sharedNorm = (blocks.parallel() && !blocks.twoNorms()) || !blocks.normBefore();
        layers = new Layer[config.layers()];
        for (int i = 0; i < layers.length; i++) {
            String prefix = "blk." + i + ".";
            boolean feedsForward = blocks.feedsForward(i);
            Mixture experts = blocks.hasExperts(i) ? mixture : null;
            Recurrence recurrent = blocks.recurs(i) ? recurrence : null;
            layers[i] = new Layer(
                    blocks.normsMixer(i) ? loader.norm(prefix + blocks.mixerNorm()) : null,
                    blocks.attends(i) ? loader.attention(i, rotations.get(blocks.rotation(i))) : null,
                    recurrent == null ? null : loader.recurrent(prefix, withState++, recurrent),
                    blocks.normSum()
                            ? loader.norm(prefix + "attn_output_norm")
                            : blocks.normAfter() ? loader.norm(prefix + "post_attention_norm") : null,
                    sharedNorm || !feedsForward ? null : loader.norm(prefix + blocks.feedForwardNorm()),
                    config.isDense(i) ? loader.feedForward(i) : null,
                    experts == null ? null : loader.mixture(prefix, experts),
                    experts != null && experts.beside() ? loader.beside(prefix) : null,
                    blocks.normSum()
                            ? loader.norm(prefix + "layer_output_norm")
                            : blocks.normAfter() ? loader.norm(prefix + "post_ffw_norm") : null,
                    blocks.layerInputs() > 0 ? loader.layerInputs(prefix) : null,
                    blocks.streams() == null ? null : loader.streams(prefix, blocks.streams()),
                    loader.blockFactor(prefix));
        }
        positionRows = blocks.embeddingNorm() || blocks.learnedPositions() ? loader.positionRows() : null;
        typeRow = blocks.embeddingNorm() ? loader.typeRow() : null;
        embeddingNorm = blocks.embeddingNorm() ? loader.norm("token_embd_norm") : null;
        boolean hasOutputNorm = !blocks.outputNorm().isEmpty();
        outputNorm = hasOutputNorm ? loader.norm(blocks.outputNorm()) : null;
        vectorNorm = blocks.logitFactor() == 1 || !hasOutputNorm ? outputNorm : loader.norm(blocks.outputNorm());
        if (outputNorm != null) {
            scale(outputNorm.weight(), blocks.logitFactor(), 0, 1); // instead of each logit
        }
        if (outputNorm != null && outputNorm.bias() != null) {
            scale(outputNorm.bias(), blocks.logitFactor(), 0, 1);
        }
        boolean untied = file.optionalTensor("output.weight", hidden, config.vocabularySize())
                .isPresent();
        head = blocks.encoder()
                ? List.of()
                : List.of(loader.projection(
                        loader.matrix(untied ? "output.weight" : "token_embd.weight", hidden, config.vocabularySize()),
                        loader.optionalVector("output.bias", config.vocabularySize())));
        vectorHead = loader.vectorHead();
        loader.warnOfZeros();

        List<MixtureLayers.Weights> expertLayers = all(Layer::experts);
        mixtureLayers = mixture == null
                ? null
                : new MixtureLayers(config, mixture, expertLayers, kernels, workers, maxBatchTokens, arena);
        List<RecurrentLayers.Weights> statefulLayers = all(Layer::recurrent);
        if (recurrence == null) {
            recurrentState = null;
            recurrentLayers = null;
        } else {
            recurrentState = new RecurrentState(
                    recurrence,
                    capacity.stateSlots,
                    recurrence.hasStates() ? capacity.savedStates : 0,
                    capacity.pageStates && !recurrence.hasStates() ? capacity.allPages() : 0,
                    pageTokens,
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
        layerInputs = blocks.layerInputs() == 0
                ? null
                : new LayerInputs(
                        config,
                        blocks.layerInputs(),
                        loader.layerInputTable(),
                        all(Layer::inputs),
                        kernels,
                        workers,
                        maxBatchTokens,
                        arena);
        streams = blocks.streams() == null
                ? null
                : new ResidualStreams(
                        config,
                        blocks.streams(),
                        loader.streamEnds(blocks.streams()),
                        all(Layer::streams),
                        kernels,
                        workers,
                        maxBatchTokens,
                        arena);
        attentionLayers = new AttentionLayers[layers.length];
        for (ModelConfig.HeadSizes sizes : config.allHeadSizes()) {
            List<AttentionLayers.Weights> weights = IntStream.range(0, layers.length)
                    .filter(i -> config.headSizes(i).equals(sizes))
                    .mapToObj(i -> layers[i].attention)
                    .filter(Objects::nonNull)
                    .toList();
            AttentionLayers attention = new AttentionLayers(
                    config,
                    sizes,
                    weights,
                    sizes.layout(capacity.kvType, pageTokens),
                    cache,
                    kernels,
                    workers,
                    maxBatchTokens,
                    arena);
            for (int i = 0; i < layers.length; i++) {
                if (config.headSizes(i).equals(sizes)) {
                    attentionLayers[i] = attention;
                }
            }
        }
        feedForwardLayers = new FeedForwardLayers[layers.length];
        for (int width : config.denseWidths()) {
            List<FeedForwardLayers.Weights> weights = IntStream.range(0, layers.length)
                    .filter(i -> config.feedForward(i) == width)
                    .mapToObj(i -> layers[i].feedForward)
                    .filter(Objects::nonNull)
                    .toList();
            FeedForwardLayers dense =
                    new FeedForwardLayers(blocks, width, weights, kernels, workers, maxBatchTokens, arena);
            for (int i = 0; i < layers.length; i++) {
                if (config.feedForward(i) == width) {
                    feedForwardLayers[i] = dense;
                }
            }
        }
        residual = FloatMatrix.allocate(arena, maxBatchTokens, hidden);
        normed = Activations.allocate(
                arena,
                maxBatchTokens,
                hidden,
                Stream.of(layers).anyMatch(Decoder::readsQuantized)
                        || (layerInputs != null && layerInputs.readsQuantized())
                        || (streams != null && streams.readsQuantized())
                        || Products.anyQuantized(vectorHead));
        besideNormed = blocks.twoNorms()
                ? Activations.allocate(
                        arena, maxBatchTokens, hidden, Stream.of(layers).anyMatch(Decoder::feedsForwardQuantized))
                : null;
        vectorHidden = vectorHead.isEmpty()
                ? null
                : Activations.allocate(
                        arena,
                        maxBatchTokens,
                        vectorHead.getFirst().weights().rows(),
                        Products.anyQuantized(vectorHead.subList(1, 2)));
        firstOfVectors = vectorHidden == null ? List.of() : vectorHead.subList(0, 1);
        lastOfVectors = vectorHidden == null ? List.of() : vectorHead.subList(1, 2);
        vectorHiddenOutputs = vectorHidden == null ? List.of() : List.of(vectorHidden.values());
        vectorOutputs = List.of(normed.values());
        projected = FloatMatrix.allocate(arena, maxBatchTokens, hidden);
        projectedOutputs = List.of(projected);
        boolean beside = mixture != null && mixture.beside();
        dense = beside ? FloatMatrix.allocate(arena, maxBatchTokens, hidden) : null;
        boolean routersQuantized = expertLayers.stream().anyMatch(each -> Products.anyQuantized(each.first()));
        routed = beside ? Activations.allocate(arena, maxBatchTokens, hidden, routersQuantized) : null;
        logitRows = new int[maxLogitRows];
        selected = FloatMatrix.allocate(arena, maxLogitRows, hidden);
        selectedNormed = Activations.allocate(arena, maxLogitRows, hidden, Products.anyQuantized(head));
        logits = new FloatMatrix(
                ReservedMemory.allocate(arena, (long) maxLogitRows * config.vocabularySize() * Float.BYTES),
                maxLogitRows,
                config.vocabularySize());
        long multiplyAdds = 0;
        for (Layer layer : layers) {
            multiplyAdds += layer.attention == null ? 0 : layer.attention.multiplyAdds();
            multiplyAdds += layer.recurrent == null ? 0 : layer.recurrent.multiplyAdds();
            multiplyAdds += layer.feedForward == null ? 0 : layer.feedForward.multiplyAdds();
            multiplyAdds += layer.inputs == null ? 0 : layer.inputs.multiplyAdds();
            multiplyAdds += layer.streams == null ? 0 : layer.streams.multiplyAdds();
            multiplyAdds += mixture == null || layer.experts == null ? 0 : layer.experts.multiplyAdds(mixture);
        }
        multiplyAddsPerRow = multiplyAdds;
        logitsOutputs = List.of(logits);
    }

    /** A part of all layers that have it. */
    private <T> List<T> all(Function<Layer, @Nullable T> part) {
        return Stream.of(layers).map(part).filter(Objects::nonNull).toList();
    }

    /** Whether a block's feed-forward layer needs quantised rows. */
    private static boolean feedsForwardQuantized(Layer layer) {
        return (layer.feedForward != null && Products.anyQuantized(layer.feedForward.gateUp()))
                || (layer.experts != null && layer.experts.readsQuantized());
    }

    /** Whether a block needs quantised rows of the residual stream or of their norm. */
    private static boolean readsQuantized(Layer layer) {
        return (layer.attention != null && layer.attention.readsQuantized())
                || (layer.recurrent != null && Products.anyQuantized(layer.recurrent.first()))
                || feedsForwardQuantized(layer)
                || (layer.inputs != null && Products.anyQuantized(layer.inputs.gate()))
                || (layer.streams != null && ResidualStreams.readsQuantized(layer.streams));
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
        return pageTokens;
    }

    @Override
    public int pageCount() {
        return cache.pageCount();
    }

    @Override
    public int overflowPages() {
        return cache.overflowPages();
    }

    @Override
    public @Nullable WindowLayers windowLayers() {
        return windowLayers;
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
    public void copyWindowPage(int from, int to) {
        cache.copyWindow(from, to);
    }

    @Override
    public boolean isRecurrent() {
        return recurrentState != null;
    }

    @Override
    public int savedStates() {
        return recurrentState == null ? 0 : recurrentState.savedStates();
    }

    @Override
    public boolean isEncoder() {
        return blocks.encoder();
    }

    @Override
    public long pageBytes() {
        return cache.pageBytes() + (recurrentState == null ? 0 : recurrentState.pageBytes());
    }

    @Override
    public void exportPage(int page, int windowPage, MemorySegment to) {
        cache.exportPage(page, windowPage, to);
        if (recurrentState != null) {
            recurrentState.exportPage(page, to.asSlice(cache.pageBytes()));
        }
    }

    @Override
    public void importPage(int page, int windowPage, MemorySegment from) {
        cache.importPage(page, windowPage, from);
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
        completeEmbeddings(current.positions(), from, to);
        if (layerInputs != null) {
            norm(residual, null, normed.values(), from, to);
            products.quantize(normed, from, to);
            workers.barrier(worker);
            layerInputs.begin(worker, current.tokens(), normed, rows, from, to);
            if (streams != null) {
                streams.begin(worker, residual, normed, rows, from, to);
            }
        }
        for (int i = 0; i < layers.length; i++) {
            Layer layer = layers[i];
            AttentionLayers attention = attentionLayers[i];
            if (layer.streams != null && streams != null) {
                streams.predict(worker, layer.streams, rows, from, to, residual);
            }
            if (blocks.mixes(i)) {
                norm(residual, layer.mixerNorm, normed.values(), from, to);
                products.quantize(normed, from, to);
                if (besideNormed != null) { // now, since attention changes the residual stream
                    norm(residual, layer.feedForwardNorm, besideNormed.values(), from, to);
                    products.quantize(besideNormed, from, to);
                }
                workers.barrier(worker);
                if (layer.streams != null && streams != null) {
                    streams.goAround(worker, layer.streams, normed, rows, from, to);
                }
                if (layer.recurrent != null && recurrentLayers != null) {
                    recurrentLayers.compute(worker, layer.recurrent, normed, current, from, to, projectedOutputs);
                    products.addBias(layer.recurrent.output().getFirst(), projected, from, to);
                    addBranch(layer.afterMixer, from, to);
                }
                if (layer.attention != null && attention != null) {
                    attention.compute(worker, layer.attention, normed, current, from, to, projectedOutputs);
                    addBranch(layer.afterMixer, from, to);
                }
                if (streams != null) {
                    kernels.add(streams.around(), residual, from, to);
                    scale(residual, HALF_ROOT, from, to);
                }
            }
            if (blocks.feedsForward(i)) {
                if (!blocks.parallel()) {
                    norm(residual, layer.feedForwardNorm, normed.values(), from, to);
                    products.quantize(normed, from, to);
                }
                workers.barrier(worker);
                Activations inputs = besideNormed == null ? normed : besideNormed;
                FeedForwardLayers feedForward = feedForwardLayers[i];
                if (layer.feedForward != null && feedForward != null) {
                    feedForward.compute(worker, layer.feedForward, inputs, rows, from, to, projectedOutputs);
                    if (layer.beside != null) {
                        expertsBeside(worker, layer, layer.beside, rows, from, to);
                    }
                } else if (layer.experts != null && mixtureLayers != null) {
                    mixtureLayers.compute(worker, layer.experts, inputs, inputs, rows, from, to, projected);
                }
                addBranch(layer.afterFeedForward, from, to);
            }
            if (layer.streams != null && streams != null) {
                streams.correct(worker, layer.streams, rows, from, to, residual);
            }
            if (layer.inputs != null && layerInputs != null) {
                norm(residual, null, normed.values(), from, to);
                products.quantize(normed, from, to);
                workers.barrier(worker);
                layerInputs.compute(worker, i, layer.inputs, normed, rows, from, to, projectedOutputs);
                if (streams == null) {
                    addBranch(layer.inputs.norm(), from, to);
                } else {
                    norm(projected, layer.inputs.norm(), projected, from, to);
                    streams.add(projected, from, to);
                }
            }
            scale(residual, layer.factor, from, to);
        }

        if (streams != null) {
            streams.end(worker, rows, from, to, residual);
        }

        // Nobody reads the last layer's inputs any more, so the vectors take their place.
        normVectors(current, from, to);
        if (vectorHidden != null) {
            products.quantize(normed, from, to);
            workers.barrier(worker);
            products.multiply(worker, firstOfVectors, normed, rows, vectorHiddenOutputs);
            workers.barrier(worker);
            products.quantize(vectorHidden, from, to);
            workers.barrier(worker);
            products.multiply(worker, lastOfVectors, vectorHidden, rows, vectorOutputs);
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
        products.quantize(selectedNormed, selectedFrom, selectedTo);
        workers.barrier(worker);
        if (head.isEmpty()) {
            return;
        }
        if (count > 0) {
            products.multiply(worker, head, selectedNormed, count, logitsOutputs);
        }
        if (head.getFirst().bias() != null || blocks.logitCap() > 0) {
            workers.barrier(worker);
            products.addBias(head.getFirst(), logits, selectedFrom, selectedTo);
        }
        if (blocks.logitCap() > 0) {
            kernels.softCap(logits, blocks.logitCap(), selectedFrom, selectedTo);
        }
    }

    /** Adds the rows of their positions and of their type to embeddings, and norms them, as far as the model has these. */
    private void completeEmbeddings(int[] positions, int from, int to) {
        for (int row = from; row < to && positionRows != null; row++) {
            kernels.addRow(positionRows, positions[row], 1, residual, row);
        }
        if (typeRow != null) {
            kernels.addBias(typeRow, residual, from, to);
        }
        if (embeddingNorm != null) {
            norm(residual, embeddingNorm, residual, from, to);
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

    /** Adds what experts compute to the result of the feed-forward layer beside them, each after its own norm. */
    private void expertsBeside(int worker, Layer layer, Beside norms, int rows, int from, int to) {
        if (layer.experts == null || mixtureLayers == null || dense == null || routed == null) {
            throw new IllegalStateException("a layer has the norms of experts and none");
        }
        norm(projected, norms.afterDense, dense, from, to);
        norm(residual, norms.router, routed.values(), from, to);
        norm(residual, norms.experts, normed.values(), from, to);
        products.quantize(routed, from, to);
        products.quantize(normed, from, to);
        workers.barrier(worker);
        mixtureLayers.compute(worker, layer.experts, routed, normed, rows, from, to, projected);
        norm(projected, norms.afterExperts, projected, from, to);
        kernels.add(dense, projected, from, to);
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

    /** Adds the result of attention or feed-forward to the residual stream; the norm is of the result, or of the sum. */
    private void addBranch(@Nullable NormWeights after, int from, int to) {
        if (after != null && !blocks.normSum()) {
            norm(projected, after, projected, from, to);
        }
        if (blocks.residualFactor() == 1) {
            kernels.add(projected, residual, from, to);
        } else {
            for (int row = from; row < to; row++) {
                kernels.addRow(projected, row, blocks.residualFactor(), residual, row);
            }
        }
        if (after != null && blocks.normSum()) {
            norm(residual, after, residual, from, to);
        }
    }

    /** Multiplies all numbers of some rows. */
    private static void scale(FloatMatrix matrix, float factor, int from, int to) {
        for (int row = from; row < to && factor != 1; row++) {
            for (int i = 0; i < matrix.columns(); i++) {
                matrix.set(row, i, matrix.get(row, i) * factor);
            }
        }
    }

    private void embed(int[] tokens, int from, int to) {
        int hidden = config.hidden();
        long rowBytes = embeddingType.byteSize(hidden);
        MemorySegment rows = embedding;
        for (int row = from; row < to; row++) {
            long target = (long) row * hidden;
            if (rows == null) {
                head.getFirst().weights().readRow(tokens[row], residual.segment(), target);
            } else {
                embeddingType.decode(rows, tokens[row] * rowBytes, residual.segment(), target, hidden);
            }
        }
        scale(residual, blocks.embeddingFactor(), from, to);
    }

    @Override
    public void close() {
        arena.close();
    }
}
