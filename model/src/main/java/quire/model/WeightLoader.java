package quire.model;

import java.lang.System.Logger.Level;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.LongConsumer;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import quire.model.format.Gguf;
import quire.model.format.GgufTensor;
import quire.tensor.ElementType;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.NumberCheck;
import quire.tensor.WeightMatrix;
import quire.tensor.Workers;

/** Reads the tensors of a model from its file and packs them. */
final class WeightLoader {
    /** Bytes of weights in one unit of a product. Reading them takes some tens of microseconds, which is short compared
     * with a whole phase. */
    private static final long UNIT_BYTES = 128 << 10;

    private static final System.Logger LOG = System.getLogger(WeightLoader.class.getName());

    private final Gguf file;
    private final ModelConfig config;
    private final Kernels kernels;
    private final Workers workers;
    private final Arena arena;
    private final @Nullable PackedWeights packedWeights;
    private final LongConsumer onLoaded;
    private final Set<String> checked = new HashSet<>();
    private final List<String> zeros = new ArrayList<>();

    /** The weights of a norm. The bias is null if it has none. */
    record NormWeights(FloatMatrix weight, @Nullable FloatMatrix bias) {}

    /**
     * @param packedWeights has matrices that were packed before, or null
     * @param onLoaded see {@link Decoder#load}
     */
    WeightLoader(
            Gguf file,
            ModelConfig config,
            Kernels kernels,
            Workers workers,
            Arena arena,
            @Nullable PackedWeights packedWeights,
            LongConsumer onLoaded) {
        this.file = file;
        this.config = config;
        this.kernels = kernels;
        this.workers = workers;
        this.arena = arena;
        this.packedWeights = packedWeights;
        this.onLoaded = onLoaded;
    }

    /**
     * The data of a tensor. Its numbers are checked when it is asked for first, just before they are packed, so that they
     * are read from the disk once.
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
     * @param order which of the tensor's rows each row of the matrix is; null for those from {@code first} on
     */
    private WeightMatrix part(GgufTensor tensor, int columns, int first, int rows, int @Nullable [] order) {
        ElementType type = tensor.elementType();
        long bytes = type.byteSize((long) rows * columns);
        WeightMatrix packed = packedWeights == null
                ? pack(tensor, columns, first, rows, order)
                : packedWeights.matrix(
                        tensor.name() + "/" + first + "/" + rows + (order == null ? "" : "/" + Arrays.hashCode(order)),
                        type,
                        rows,
                        columns,
                        () -> pack(tensor, columns, first, rows, order));
        report(tensor, bytes);
        setFactor(packed, tensor, first);
        return packed;
    }

    private WeightMatrix pack(GgufTensor tensor, int columns, int first, int rows, int @Nullable [] order) {
        ElementType type = tensor.elementType();
        long rowBytes = type.byteSize(columns);
        MemorySegment source = data(tensor);
        WeightMatrix packed;
        if (order == null) {
            source = source.asSlice(first * rowBytes, rows * rowBytes);
            packed = kernels.pack(type, rows, columns, source, arena, workers);
        } else {
            try (Arena temporary = Arena.ofShared()) {
                MemorySegment ordered = temporary.allocate(rows * rowBytes, 64);
                for (int row = 0; row < rows; row++) {
                    MemorySegment.copy(source, order[row] * rowBytes, ordered, row * rowBytes, rowBytes);
                }
                packed = kernels.pack(type, rows, columns, ordered, arena, workers);
            }
        }
        unload(source);
        return packed;
    }

    /** NVFP4 files have a factor of a matrix, or of each expert's matrix, in a tensor of their own. */
    private void setFactor(WeightMatrix packed, GgufTensor tensor, int firstRow) {
        String name = ModelConfig.factorName(tensor.name());
        if (file.hasTensor(name) && !ModelConfig.isRouter(tensor.name())) {
            GgufTensor factorTensor = file.tensor(name, tensor.rows() / tensor.dims()[1]);
            data(factorTensor); // checks it
            float[] factors = file.floats(factorTensor);
            packed.setFactor(factors[Math.toIntExact(firstRow / tensor.dims()[1])]);
        }
    }

    /**
     * The weights of a layer with attention.
     *
     * @param cosSin its rotation; null if it does not rotate
     */
    AttentionLayers.Weights attention(int layer, @Nullable FloatMatrix cosSin) {
        String prefix = "blk." + layer + ".";
        Architecture blocks = config.blocks();
        Architecture.Latent latent = blocks.latent();
        ModelConfig.HeadSizes sizes = config.headSizes(layer);
        int source = config.keyValueLayer(layer);
        boolean stores = source == layer;
        return new AttentionLayers.Weights(
                latent == null ? queriesKeysValues(prefix, sizes, stores) : List.of(),
                latent == null ? null : latent(prefix, latent),
                headNorm(prefix + "attn_q_norm.weight", sizes, sizes.queryWidth(), cosSin != null),
                stores ? headNorm(prefix + "attn_k_norm.weight", sizes, sizes.kvWidth(), cosSin != null) : null,
                blocks.window(layer),
                cosSin,
                blocks.sinks() ? vector(prefix + "attn_sinks.weight", sizes.heads()) : null,
                List.of(projection(prefix + "attn_output", config.attendedWidth(sizes), config.hidden())),
                config.cacheIndex(source),
                stores);
    }

    /** Queries, keys and values, from three tensors or from one; see {@link AttentionLayers.Weights#first}. */
    private List<Projection> queriesKeysValues(String prefix, ModelConfig.HeadSizes sizes, boolean stores) {
        int headDim = sizes.headDim();
        int queryWidth = sizes.queryWidth();
        int kvWidth = sizes.kvWidth();
        int[] ofKeys = pairs(sizes, kvWidth);
        if (config.blocks().gatedAttention()) {
            int[] pairs = pairs(sizes, queryWidth);
            int[] ofQueries = new int[queryWidth];
            int[] ofGates = new int[queryWidth];
            for (int i = 0; i < queryWidth; i++) {
                int head = i / headDim;
                ofQueries[i] = head * headDim + (pairs == null ? i : pairs[i]);
                ofGates[i] = (head + 1) * headDim + i;
            }
            return List.of(
                    chosenRows(prefix + "attn_q", 2 * queryWidth, ofQueries),
                    rows(prefix + "attn_k", kvWidth, 0, kvWidth, ofKeys),
                    rows(prefix + "attn_v", kvWidth, 0, kvWidth, null),
                    chosenRows(prefix + "attn_q", 2 * queryWidth, ofGates));
        }
        boolean fused = file.hasTensor(prefix + "attn_qkv.weight");
        int all = queryWidth + 2 * kvWidth;
        List<Projection> first = new ArrayList<>();
        first.add(rows(
                prefix + (fused ? "attn_qkv" : "attn_q"),
                fused ? all : queryWidth,
                0,
                queryWidth,
                pairs(sizes, queryWidth)));
        if (stores) {
            first.add(rows(
                    prefix + (fused ? "attn_qkv" : "attn_k"),
                    fused ? all : kvWidth,
                    fused ? queryWidth : 0,
                    kvWidth,
                    ofKeys));
        }
        if (stores && (fused || file.hasTensor(prefix + "attn_v.weight"))) {
            first.add(rows(
                    prefix + (fused ? "attn_qkv" : "attn_v"),
                    fused ? all : kvWidth,
                    fused ? queryWidth + kvWidth : 0,
                    kvWidth,
                    null));
        }
        return List.copyOf(first);
    }

    /** The weights of a feed-forward layer without experts. */
    FeedForwardLayers.Weights feedForward(int layer) {
        String prefix = "blk." + layer + ".";
        int width = config.feedForward(layer);
        return new FeedForwardLayers.Weights(
                gateUp(prefix, width),
                List.of(projection(prefix + "ffn_down", width, config.hidden())),
                config.blocks().sparsity(layer));
    }

    /** The matrices into the feed-forward layer, from two tensors or from one; without a gate only one. */
    private List<Projection> gateUp(String prefix, int width) {
        if (!config.blocks().gated()) {
            return List.of(projection(prefix + "ffn_up", config.hidden(), width));
        }
        boolean fused = !file.hasTensor(prefix + "ffn_gate.weight");
        return List.of(
                rows(prefix + (fused ? "ffn_up" : "ffn_gate"), fused ? 2 * width : width, 0, width, null),
                rows(prefix + "ffn_up", fused ? 2 * width : width, fused ? width : 0, width, null));
    }

    /** The norms of experts beside a feed-forward layer. The router's factors become part of its norm. */
    Decoder.Beside beside(String prefix) {
        FloatMatrix router = vector(prefix + "ffn_gate_inp.scale", config.hidden());
        float factor = (float) (1 / StrictMath.sqrt(config.hidden()));
        for (int i = 0; i < router.columns(); i++) {
            router.set(0, i, router.get(0, i) * factor);
        }
        return new Decoder.Beside(
                norm(prefix + "post_ffw_norm_1"),
                new NormWeights(router, null),
                norm(prefix + "pre_ffw_norm_2"),
                norm(prefix + "post_ffw_norm_2"));
    }

    /** The inputs of all layers, besides the residual stream. */
    LayerInputs.Table layerInputTable() {
        int width = config.blocks().layerInputs();
        int all = width * config.layers();
        GgufTensor table = file.tensor("per_layer_token_embd.weight", all, config.vocabularySize());
        GgufTensor products = file.tensor("per_layer_model_proj.weight", config.hidden(), all);
        List<Projection> byLayer = new ArrayList<>();
        for (int layer = 0; layer < config.layers(); layer++) {
            byLayer.add(oneOf(config.layers(), part(products, config.hidden(), layer * width, width, null), null));
        }
        return new LayerInputs.Table(
                table.elementType(), rows(table), List.copyOf(byLayer), vector("per_layer_proj_norm.weight", width));
    }

    /** What a layer does with its input. */
    LayerInputs.Weights layerInputs(String prefix) {
        int width = config.blocks().layerInputs();
        return new LayerInputs.Weights(
                List.of(projection(prefix + "inp_gate", config.hidden(), width)),
                List.of(projection(prefix + "proj", width, config.hidden())),
                norm(prefix + "post_norm"));
    }

    /** The matrices that vectors pass at last, one behind another; empty if there are none. */
    List<Projection> vectorHead() {
        int width = config.blocks().vectorHead();
        return width == 0
                ? List.of()
                : List.of(projection("dense_2", config.hidden(), width), projection("dense_3", width, config.hidden()));
    }

    /** A row for each position that embeddings are added to; null if there are none. */
    @Nullable
    FloatMatrix positionRows() {
        return file.hasTensor(ModelConfig.POSITIONS)
                ? rowsOf(ModelConfig.POSITIONS, config.hidden(), config.contextLength())
                : null;
    }

    /** The row of the first type of tokens, the only one that is used; null if there is none. */
    @Nullable
    FloatMatrix typeRow() {
        String name = "token_types.weight";
        return file.hasTensor(name)
                ? decode(file.tensor(name, config.hidden(), file.int64(ModelConfig.TOKEN_TYPES)), config.hidden())
                : null;
    }

    /** What makes the residual streams behind the first, and joins them. */
    ResidualStreams.Ends streamEnds(Architecture.Streams streams) {
        return new ResidualStreams.Ends(
                ofStreams("altup_proj.weight", streams),
                ofStreams("altup_unembd_proj.weight", streams).stream()
                        .map(List::of)
                        .toList());
    }

    private List<Projection> ofStreams(String name, Architecture.Streams streams) {
        int hidden = config.hidden();
        GgufTensor tensor = file.tensor(name, hidden, hidden, streams.count() - 1);
        List<Projection> each = new ArrayList<>();
        for (int i = 0; i < streams.count() - 1; i++) {
            each.add(projection(part(tensor, hidden, i * hidden, hidden, null), null));
        }
        return List.copyOf(each);
    }

    /** What a block does with the residual streams. */
    ResidualStreams.Weights streams(String prefix, Architecture.Streams streams) {
        int hidden = config.hidden();
        int count = streams.count();
        FloatMatrix norm = vector(prefix + "altup_router_norm.weight", hidden);
        for (int i = 0; i < hidden; i++) {
            norm.set(0, i, norm.get(0, i) / hidden);
        }
        return new ResidualStreams.Weights(
                List.of(projection(prefix + "altup_router", hidden, count)),
                norm,
                rowsOf(prefix + "altup_predict_coef.weight", count, count * count),
                rowsOf(prefix + "altup_correct_coef.weight", count, count),
                vector(prefix + "altup_correct_scale.weight", hidden),
                List.of(projection(prefix + "laurel_l", hidden, streams.rank())),
                List.of(projection(prefix + "laurel_r", streams.rank(), hidden)),
                vector(prefix + "laurel_post_norm.weight", hidden));
    }

    /** Numbers in rows, which are no matrix of a product. */
    private FloatMatrix rowsOf(String name, int columns, int rows) {
        FloatMatrix all = decode(file.tensor(name, columns, rows), columns * rows);
        return new FloatMatrix(all.segment(), rows, columns);
    }

    /** The factor of the residual stream behind a block. */
    float blockFactor(String prefix) {
        FloatMatrix factor = optionalVector(prefix + "layer_output_scale.weight", 1);
        return factor == null ? 1 : factor.get(0, 0);
    }

    /**
     * Some rows of a matrix with their bias.
     *
     * @param total rows of the tensor
     * @param order of the rows, as {@link #pairs} gives it; null to leave them
     */
    private Projection rows(String stem, int total, int first, int count, int @Nullable [] order) {
        if (order != null) {
            return chosenRows(
                    stem, total, IntStream.of(order).map(row -> first + row).toArray());
        }
        GgufTensor tensor = file.tensor(stem + ".weight", config.hidden(), total);
        FloatMatrix bias = optionalVector(stem + ".bias", total);
        if (bias != null && total > count) {
            bias = chosen(bias, IntStream.range(first, first + count).toArray());
        }
        return projection(part(tensor, config.hidden(), first, count, null), bias);
    }

    /**
     * Chosen rows of a matrix with their bias.
     *
     * @param total rows of the tensor
     * @param order which of them each row is
     */
    private Projection chosenRows(String stem, int total, int[] order) {
        GgufTensor tensor = file.tensor(stem + ".weight", config.hidden(), total);
        FloatMatrix bias = optionalVector(stem + ".bias", total);
        return projection(
                part(tensor, config.hidden(), 0, order.length, order), bias == null ? null : chosen(bias, order));
    }

    private FloatMatrix chosen(FloatMatrix numbers, int[] order) {
        FloatMatrix chosen = FloatMatrix.allocate(arena, 1, order.length);
        for (int i = 0; i < order.length; i++) {
            chosen.set(0, i, numbers.get(0, order[i]));
        }
        return chosen;
    }

    /** The order of rows of whole heads, see {@link ModelConfig.HeadSizes#neighbours}; null for the file's. */
    private int @Nullable [] pairs(ModelConfig.HeadSizes sizes, int width) {
        if (!config.blocks().halves()) {
            return null;
        }
        int[] ofHead = sizes.neighbours();
        return IntStream.range(0, width)
                .map(i -> i - i % ofHead.length + ofHead[i % ofHead.length])
                .toArray();
    }

    /** The weights of a norm of queries or keys, in the order of their numbers; null if there is none. */
    private @Nullable FloatMatrix headNorm(String name, ModelConfig.HeadSizes sizes, int width, boolean rotated) {
        Architecture.HeadNorm kind = config.blocks().headNorm();
        if (!kind.hasWeights()) {
            return kind == Architecture.HeadNorm.NONE || !rotated ? null : ones(sizes.headDim());
        }
        int length = kind.sharesWeights() ? sizes.headDim() : width;
        FloatMatrix weights = kind == Architecture.HeadNorm.EACH_LAYER
                ? decode(file.tensor(name, sizes.headDim(), width / sizes.headDim()), width)
                : vector(name, length);
        int[] order = pairs(sizes, length);
        return order == null ? weights : chosen(weights, order);
    }

    private FloatMatrix ones(int length) {
        return FloatMatrix.filled(arena, 1, length, 1f);
    }

    NormWeights norm(String stem) {
        if (config.blocks().norm() == Architecture.Norm.PLAIN_LAYER) {
            return new NormWeights(ones(config.hidden()), null);
        }
        FloatMatrix bias = config.blocks().norm() == Architecture.Norm.LAYER
                ? optionalVector(stem + ".bias", config.hidden())
                : null;
        return new NormWeights(vector(ModelConfig.normName(file, stem), config.hidden()), bias);
    }

    /** The file's own factors of the rotation; null if it has none. Long factors are for a context that was extended. */
    @Nullable
    FloatMatrix rotationFactors() {
        String longOrShort = config.usesLongFactors(file) ? ModelConfig.LONG_FACTORS : ModelConfig.SHORT_FACTORS;
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
        report(tensor, source.byteSize());
        unload(source);
        return copy;
    }

    /** Reports a part of a matrix that was loaded. */
    private void report(GgufTensor tensor, long bytes) {
        if (ModelConfig.isMatrix(tensor)) {
            onLoaded.accept(bytes);
        }
    }

    /** Frees the mapped pages of what was loaded. Otherwise the process would appear to use twice the memory while it loads. */
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

    /**
     * The weights of a recurrent layer.
     *
     * @param index its number among such layers
     */
    RecurrentLayers.Weights recurrent(String prefix, int index, Recurrence recurrence) {
        int width = recurrence.width();
        if (recurrence.kind() == Recurrence.Kind.DELTA_NET) {
            return deltaNet(prefix, index, recurrence);
        }
        if (recurrence.kind() == Recurrence.Kind.SELECTIVE) {
            return selective(prefix, index, recurrence);
        }
        if (recurrence.hasStates()) {
            return stateSpace(prefix, index, recurrence);
        }
        String first = prefix + "shortconv.in_proj";
        return new RecurrentLayers.Weights(
                index,
                List.of(
                        rows(first, 3 * width, 0, width, null),
                        rows(first, 3 * width, width, width, null),
                        rows(first, 3 * width, 2 * width, width, null)),
                taps(prefix + "shortconv.conv.weight", recurrence.taps(), width),
                null,
                null,
                List.of(projection(prefix + "shortconv.out_proj", width, config.hidden())));
    }

    private RecurrentLayers.Weights stateSpace(String prefix, int index, Recurrence recurrence) {
        int width = recurrence.width();
        int channels = recurrence.channels();
        int heads = recurrence.heads();
        int groups = recurrence.groups();
        String first = prefix + "ssm_in";
        int all = width + channels + heads;
        FloatMatrix bias = optionalVector(prefix + "ssm_conv1d.bias", channels);
        List<FloatMatrix> byGroup = new ArrayList<>();
        Optional<FloatMatrix> norms = file.optionalTensor(prefix + "ssm_norm.weight", width / groups, groups)
                .map(tensor -> decode(tensor, width));
        for (int group = 0; group < groups && norms.isPresent(); group++) {
            FloatMatrix own = FloatMatrix.allocate(arena, 1, width / groups);
            MemorySegment.copy(
                    norms.get().segment(),
                    group * own.segment().byteSize(),
                    own.segment(),
                    0,
                    own.segment().byteSize());
            byGroup.add(own);
        }
        return new RecurrentLayers.Weights(
                index,
                List.of(
                        rows(first, all, 0, width, null),
                        rows(first, all, width + channels, heads, null),
                        rows(first, all, width, channels, null)),
                taps(prefix + "ssm_conv1d.weight", recurrence.taps(), channels),
                new StateSpace.Weights(
                        bias == null ? FloatMatrix.allocate(arena, 1, channels) : bias,
                        vector(prefix + "ssm_dt.bias", heads),
                        decode(file.tensor(prefix + "ssm_a", 1, heads), heads),
                        decode(file.tensor(prefix + "ssm_d", 1, heads), heads),
                        List.copyOf(byGroup)),
                null,
                List.of(projection(prefix + "ssm_out", width, config.hidden())));
    }

    /** Falcon Mamba says by a key that its parts are normalised without weights; Jamba's files have weights. */
    private RecurrentLayers.Weights selective(String prefix, int index, Recurrence recurrence) {
        int width = recurrence.width();
        int keys = recurrence.stateSize();
        int rank = recurrence.stepRank();
        String first = prefix + "ssm_in";
        FloatMatrix bias = optionalVector(prefix + "ssm_conv1d.bias", width);
        boolean normed = file.hasTensor(prefix + "ssm_dt_norm.weight")
                || file.bool(config.architecture() + ".ssm.dt_b_c_rms", false);
        return new RecurrentLayers.Weights(
                index,
                List.of(rows(first, 2 * width, width, width, null), rows(first, 2 * width, 0, width, null)),
                taps(prefix + "ssm_conv1d.weight", recurrence.taps(), width),
                new StateSpace.Weights(
                        bias == null ? FloatMatrix.allocate(arena, 1, width) : bias,
                        FloatMatrix.allocate(arena, 1, 1),
                        taps(prefix + "ssm_a", keys, width),
                        vector(prefix + "ssm_d", width),
                        List.of()),
                new SelectiveInputs.Weights(
                        List.of(projection(prefix + "ssm_x", width, rank + 2 * keys)),
                        List.of(projection(prefix + "ssm_dt", rank, width)),
                        normed
                                ? new SelectiveInputs.Norms(
                                        normWeights(prefix + "ssm_dt_norm.weight", rank),
                                        normWeights(prefix + "ssm_b_norm.weight", keys),
                                        normWeights(prefix + "ssm_c_norm.weight", keys))
                                : null),
                List.of(projection(prefix + "ssm_out", width, config.hidden())));
    }

    /** The weights of a norm; ones if the file has none. */
    private FloatMatrix normWeights(String name, int length) {
        FloatMatrix weights = optionalVector(name, length);
        return weights == null ? ones(length) : weights;
    }

    /**
     * Older files of Qwen3-Next have queries, keys, values and gates in one matrix, group by group; all have steps and
     * corrections so, or in two matrices.
     */
    private RecurrentLayers.Weights deltaNet(String prefix, int index, Recurrence recurrence) {
        int width = recurrence.width();
        int channels = recurrence.channels();
        int heads = recurrence.heads();
        int groups = recurrence.groups();
        Projection gate;
        Projection inputs;
        if (file.hasTensor(prefix + "ssm_in.weight")) {
            int keys = recurrence.stateSize();
            int values = width / groups;
            int all = channels + width;
            int[] ofInputs = IntStream.concat(
                            IntStream.concat(ofGroups(groups, all, 0, keys), ofGroups(groups, all, keys, keys)),
                            ofGroups(groups, all, 2 * keys, values))
                    .toArray();
            inputs = chosenRows(prefix + "ssm_in", all, ofInputs);
            gate = chosenRows(
                    prefix + "ssm_in",
                    all,
                    ofGroups(groups, all, 2 * keys + values, values).toArray());
        } else {
            inputs = projection(prefix + "attn_qkv", config.hidden(), channels);
            gate = projection(prefix + "attn_gate", config.hidden(), width);
        }
        Projection steps;
        Projection corrections;
        if (file.hasTensor(prefix + "ssm_ba.weight")) {
            int ofGroup = heads / groups;
            corrections = chosenRows(
                    prefix + "ssm_ba",
                    2 * heads,
                    ofGroups(groups, 2 * heads, 0, ofGroup).toArray());
            steps = chosenRows(
                    prefix + "ssm_ba",
                    2 * heads,
                    ofGroups(groups, 2 * heads, ofGroup, ofGroup).toArray());
        } else {
            corrections = projection(prefix + "ssm_beta", config.hidden(), heads);
            steps = projection(prefix + "ssm_alpha", config.hidden(), heads);
        }
        return new RecurrentLayers.Weights(
                index,
                List.of(gate, steps, inputs, corrections),
                taps(prefix + "ssm_conv1d.weight", recurrence.taps(), channels),
                new StateSpace.Weights(
                        FloatMatrix.allocate(arena, 1, channels),
                        vector(prefix + "ssm_dt.bias", heads),
                        vector(prefix + "ssm_a", heads),
                        FloatMatrix.allocate(arena, 1, heads),
                        List.of(vector(prefix + "ssm_norm.weight", recurrence.headDim()))),
                null,
                List.of(projection(prefix + "ssm_out", width, config.hidden())));
    }

    /** Of each group of equally many of all rows, {@code count} rows from {@code first} on. */
    private static IntStream ofGroups(int groups, int all, int first, int count) {
        return IntStream.range(0, groups * count).map(i -> i / count * (all / groups) + first + i % count);
    }

    /**
     * The weights of a convolution, or the rates of Mamba. The file has all positions, or all numbers of a key, of a number
     * together; here a row is one of them.
     */
    private FloatMatrix taps(String name, int taps, int width) {
        GgufTensor tensor = file.tensor(name, taps, width);
        FloatMatrix all = FloatMatrix.allocate(arena, width, taps);
        tensor.elementType().decode(data(tensor), 0, all.segment(), 0, width * taps);
        FloatMatrix rows = FloatMatrix.allocate(arena, taps, width);
        for (int tap = 0; tap < taps; tap++) {
            for (int i = 0; i < width; i++) {
                rows.set(tap, i, all.get(i, tap));
            }
        }
        return rows;
    }

    /** The weights of a layer whose keys and values are made of a latent. */
    LatentAttention.Weights latent(String prefix, Architecture.Latent latent) {
        int hidden = config.hidden();
        int heads = config.heads();
        boolean direct = file.hasTensor(prefix + "attn_q.weight");
        int width = heads * latent.queryDim();
        Projection query = direct
                ? projection(prefix + "attn_q", hidden, width)
                : projection(prefix + "attn_q_a", hidden, latent.queryRank());
        GgufTensor down = file.tensor(prefix + "attn_kv_a_mqa.weight", hidden, latent.rank() + latent.rotatedDim());
        return new LatentAttention.Weights(
                List.of(
                        query,
                        projection(part(down, hidden, 0, latent.rank(), null), null),
                        projection(part(down, hidden, latent.rank(), latent.rotatedDim(), null), null)),
                direct ? null : vector(prefix + "attn_q_a_norm.weight", latent.queryRank()),
                direct ? List.of() : List.of(projection(prefix + "attn_q_b", latent.queryRank(), width)),
                vector(prefix + "attn_kv_a_norm.weight", latent.rank()),
                heads(prefix + "attn_k_b.weight", latent.plainDim(), latent.rank()),
                heads(prefix + "attn_v_b.weight", latent.rank(), latent.valueDim()));
    }

    /** A matrix for each head. */
    private List<Projection> heads(String name, int columns, int rows) {
        GgufTensor tensor = file.tensor(name, columns, rows, config.heads());
        List<Projection> heads = new ArrayList<>();
        for (int head = 0; head < config.heads(); head++) {
            heads.add(oneOf(config.heads(), part(tensor, columns, head * rows, rows, null), null));
        }
        return heads;
    }

    /** One of several matrices that are multiplied together: they have a unit for each worker together, at least. */
    private Projection oneOf(int count, WeightMatrix weights, @Nullable FloatMatrix bias) {
        long units = Math.max(Math.ceilDiv(weights.packedBytes(), UNIT_BYTES), Math.ceilDiv(workers.count(), count));
        return new Projection(weights, bias, Math.toIntExact(units));
    }

    /** The weights of a layer with experts. */
    MixtureLayers.Weights mixture(String prefix, Mixture mixture) {
        int hidden = config.hidden();
        int width = mixture.width();
        List<Projection> first =
                new ArrayList<>(List.of(projection(prefix + "ffn_gate_inp", hidden, mixture.experts())));
        if (mixture.sharedGate()) {
            first.add(projection(matrix(prefix + "ffn_gate_inp_shexp.weight", hidden, 1), null));
        }
        int shared = mixture.sharedWidth();
        boolean gated = config.blocks().gated();
        if (shared > 0) {
            if (gated) {
                first.add(projection(prefix + "ffn_gate_shexp", hidden, shared));
            }
            first.add(projection(prefix + "ffn_up_shexp", hidden, shared));
        }
        boolean fused = gated && file.hasTensor(prefix + "ffn_gate_up_exps.weight");
        String gate = prefix + (!gated ? "ffn_up_exps" : fused ? "ffn_gate_up_exps" : "ffn_gate_exps");
        String up = prefix + (fused ? "ffn_gate_up_exps" : "ffn_up_exps");
        int total = fused ? 2 * width : width;
        return new MixtureLayers.Weights(
                List.copyOf(first),
                optionalVector(prefix + "exp_probs_b.bias", mixture.experts()),
                experts(gate, mixture, hidden, total, 0, width),
                gated ? experts(up, mixture, hidden, total, fused ? width : 0, width) : List.of(),
                experts(prefix + "ffn_down_exps", mixture, width, hidden, 0, hidden),
                shared > 0 ? projection(prefix + "ffn_down_shexp", shared, hidden) : null);
    }

    /**
     * Some rows of each expert of a tensor, with their biases.
     *
     * @param total rows of an expert in the tensor
     */
    private List<Projection> experts(String stem, Mixture mixture, int columns, int total, int first, int count) {
        GgufTensor tensor = file.tensor(stem + ".weight", columns, total, mixture.experts());
        Optional<GgufTensor> biases = file.optionalTensor(stem + ".bias", total, mixture.experts());
        List<Projection> experts = new ArrayList<>();
        for (int expert = 0; expert < mixture.experts(); expert++) {
            WeightMatrix weights = part(tensor, columns, expert * total + first, count, null);
            FloatMatrix bias = null;
            if (biases.isPresent()) {
                bias = FloatMatrix.allocate(arena, 1, count);
                ElementType type = biases.get().elementType();
                long from = type.byteSize((long) expert * total + first);
                type.decode(data(biases.get()), from, bias.segment(), 0, count);
            }
            experts.add(oneOf(mixture.used(), weights, bias));
        }
        return experts;
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
