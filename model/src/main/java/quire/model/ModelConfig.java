package quire.model;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import quire.model.Architecture.Part;
import quire.model.Architecture.Yarn;
import quire.model.Mixture.Scoring;
import quire.model.format.Gguf;
import quire.model.format.GgufTensor;
import quire.model.format.GgufType;
import quire.model.format.GgufValueType;
import quire.tensor.Activation;
import quire.tensor.KvLayout;
import quire.tensor.KvLayout.KvType;

/**
 * The shape of a decoder and the description of its blocks, read from the metadata of a file. All sizes are positive, and so small
 * that the product of any three of them fits a long.
 *
 * @param architecture {@code llama} …
 * @param name the model's name, for display
 * @param vocabularySize number of token ids
 * @param contextLength number of positions that the model was trained for
 * @param hidden width of the residual stream
 * @param feedForward width of the feed-forward layer
 * @param layers number of blocks
 * @param heads number of query heads
 * @param kvHeads number of key and value heads; divides {@code heads}
 * @param headDim numbers in a head, even; with a latent, in what a position stores
 * @param normEpsilon epsilon of RMSNorm
 * @param ropeDimensions how many dimensions of a head are rotated, even
 * @param ropeBase base of the rotation's frequencies
 * @param ropeScale positions are divided by it (linear scaling), or those of some pairs (YaRN); 1 for no scaling
 * @param blocks how the blocks compute
 * @param ownHeads the sizes of each block's heads; empty if all have those above
 * @param ownWidths the width of each block's feed-forward layer; empty if all have the one above
 */
public record ModelConfig(
        String architecture,
        String name,
        int vocabularySize,
        int contextLength,
        int hidden,
        int feedForward,
        int layers,
        int heads,
        int kvHeads,
        int headDim,
        float normEpsilon,
        int ropeDimensions,
        float ropeBase,
        float ropeScale,
        Architecture blocks,
        List<HeadSizes> ownHeads,
        List<Integer> ownWidths) {

    /**
     * The sizes of the heads of a block.
     *
     * @param heads number of query heads
     * @param kvHeads number of key and value heads; divides {@code heads}
     * @param headDim numbers in a head, even
     * @param ropeDimensions how many of them are rotated, even
     */
    public record HeadSizes(int heads, int kvHeads, int headDim, int ropeDimensions) {
        /** Numbers of the queries of a row. */
        int queryWidth() {
            return heads * headDim;
        }

        /** Numbers of the keys, or of the values, of a row. */
        int kvWidth() {
            return kvHeads * headDim;
        }

        /**
         * Where the numbers of a head come from if the rotation pairs halves in the file: here the numbers of a pair are
         * neighbours. Scores are sums over the numbers of a head, so queries and keys may have another order than the file's.
         */
        int[] neighbours() {
            int half = ropeDimensions / 2;
            int[] order = new int[headDim];
            for (int i = 0; i < headDim; i++) {
                order[i] = i >= 2 * half ? i : i / 2 + i % 2 * half;
            }
            return order;
        }

        /** How a page holds keys and values. */
        public KvLayout layout(KvType type, int pageTokens) {
            return new KvLayout(type, pageTokens, kvHeads, headDim);
        }
    }

    private static final String KV_HEADS = "attention.head_count_kv";
    /** How many of the blocks predict further tokens. */
    private static final String FURTHER_BLOCKS = "nextn_predict_layers";

    /** Those whose experts have the width of a feed-forward layer, unless the file says another. */
    private static final Set<String> EXPERTS_AS_WIDE = Set.of(
            "llama",
            "mistral3",
            "granitehybrid",
            "granitemoe",
            "olmoe",
            "minimax-m2",
            "hunyuan-moe",
            "nomic-bert-moe",
            "jamba",
            "phimoe",
            "dbrx");

    /** Those whose files count gate and up as one layer that is twice as wide. */
    private static final Set<String> COUNT_BOTH = Set.of("qwen");

    /** The number of types of tokens. */
    static final String TOKEN_TYPES = "tokenizer.ggml.token_type_count";

    private static final String SECTIONS = "rope.dimension_sections";
    /** How many last layers read keys and values of others. */
    private static final String SHARING_LAYERS = "attention.shared_kv_layers";

    private static final Pattern KEYS_VALUES = Pattern.compile("\\.attn_[kv](_norm)?\\.");
    private static final Pattern BLOCK = Pattern.compile("blk\\.(\\d{1,9})\\.");

    /** Has a row for each position. */
    static final String POSITIONS = "position_embd.weight";
    /** Whether attention and feed-forward are beside each other. */
    static final String PARALLEL = "use_parallel_residual";

    /** Characters of a value of the file that a message shows. */
    private static final int SHOWN_CHARS = 60;

    /** The architectures that Quire can compute, as {@code general.architecture} names them. */
    public static final List<String> ARCHITECTURES = Architectures.NAMES;

    /** Those of {@link #ARCHITECTURES} whose positions see the whole text, so that they give vectors and no answers. */
    public static final List<String> ENCODERS = Architectures.ENCODERS;

    // Several times the sizes of the largest published models, and small enough that products of sizes fit a long.
    private static final int MAX_VOCABULARY = 1 << 22;
    private static final int MAX_CONTEXT = 1 << 24;
    private static final int MAX_WIDTH = 1 << 20;
    private static final int MAX_LAYERS = 1 << 10;
    private static final int MAX_HEADS = 1 << 10;
    private static final int MAX_HEAD_DIM = 1 << 10;
    private static final int MAX_EXPERTS = 1 << 12;
    private static final int MAX_TAPS = 16;
    private static final int MAX_STATE = 1 << 12;
    private static final int MAX_STREAMS = 16;

    /** The factor with which a twentieth of normally distributed numbers is above the limit. */
    private static final float TWENTIETH = 1.6448534f;

    /** So many first blocks of Gemma 3n have sparse activations, unless the file says it. */
    private static final int SPARSE_BLOCKS = 10;

    /** Ends of the names of tensors that have rows and are no matrix of a product. */
    private static final List<String> NO_MATRICES = List.of(
            ".bias",
            ".conv.weight",
            ".ssm_conv1d.weight",
            ".ssm_a",
            ".ssm_d",
            ".ssm_norm.weight",
            ".attn_q_norm.weight",
            ".attn_k_norm.weight",
            ".altup_predict_coef.weight",
            ".altup_correct_coef.weight",
            POSITIONS,
            "token_types.weight");

    // Factors and limits that some other architectures use; 1 and 0 change nothing.
    private static final List<String> FACTORS = List.of("embedding_scale", "residual_scale", "logit_scale");
    private static final List<String> LIMITS_AND_SCALES = List.of(
            "attention.scale",
            "attention.clamp_kqv",
            "attention.max_alibi_bias",
            "attention.temperature_scale",
            "rope.scaling.alpha",
            "attn_logit_softcapping",
            "final_logit_softcapping");

    static final String LONG_FACTORS = "rope_factors_long.weight";
    static final String SHORT_FACTORS = "rope_factors_short.weight";

    /** Architectures whose files may have factors of the rotation for short and for long contexts. */
    private static final List<String> LONGROPE = List.of("phi3", "minicpm", "phimoe");

    private static final String CONVERT = "; convert the model again with a current converter";
    private static final String ANOTHER_MODEL = ", which this version cannot compute; use another model";

    /** @throws IllegalArgumentException if a size is out of range or two sizes do not fit together */
    public ModelConfig {
        checkRange("vocabularySize", vocabularySize, MAX_VOCABULARY);
        checkRange("contextLength", contextLength, MAX_CONTEXT);
        checkRange("hidden", hidden, MAX_WIDTH);
        checkRange("feedForward", feedForward, MAX_WIDTH);
        checkRange("layers", layers, MAX_LAYERS);
        checkRange("heads", heads, MAX_HEADS);
        checkRange("kvHeads", kvHeads, heads);
        checkRange("headDim", headDim, MAX_HEAD_DIM);
        checkRange("ropeDimensions", ropeDimensions, headDim);
        ownHeads = List.copyOf(ownHeads);
        ownWidths = List.copyOf(ownWidths);
        if (heads % kvHeads != 0) {
            throw new IllegalArgumentException("heads is " + heads + ", not a multiple of kvHeads, " + kvHeads);
        }
        if (headDim % 2 != 0 || ropeDimensions % 2 != 0) {
            throw new IllegalArgumentException(
                    "headDim is " + headDim + " and ropeDimensions " + ropeDimensions + "; both must be even");
        }
        // The condition is written so that NaN fails too.
        if (!(normEpsilon >= 0 && normEpsilon <= 1)) {
            throw new IllegalArgumentException("normEpsilon is " + normEpsilon + ", not 0 to 1");
        }
        if (!(ropeBase >= 1 && ropeBase <= 1e12f)) {
            throw new IllegalArgumentException("ropeBase is " + ropeBase + ", not 1 to 1e12");
        }
        if (!(ropeScale > 0 && ropeScale <= 1e6f)) {
            throw new IllegalArgumentException("ropeScale is " + ropeScale + ", not above 0 and up to 1e6");
        }
    }

    /** The shape of a model with Llama's blocks. */
    public ModelConfig(
            String architecture,
            String name,
            int vocabularySize,
            int contextLength,
            int hidden,
            int feedForward,
            int layers,
            int heads,
            int kvHeads,
            int headDim,
            float normEpsilon,
            int ropeDimensions,
            float ropeBase,
            float ropeScale) {
        this(
                architecture,
                name,
                vocabularySize,
                contextLength,
                hidden,
                feedForward,
                layers,
                heads,
                kvHeads,
                headDim,
                normEpsilon,
                ropeDimensions,
                ropeBase,
                ropeScale,
                new Architecture.Builder().build(),
                List.of(),
                List.of());
    }

    /**
     * The model for sequences of at most so many positions. Some files have factors of the rotation for short contexts and
     * for long ones. Those for short ones are right if no sequence is longer than the model was trained for before its context
     * was extended; the result then has that shorter context. In all other cases it is this model.
     *
     * @param positions of the longest sequence; 0 for the model's context
     * @param file the file of this model
     */
    public ModelConfig upTo(int positions, Gguf file) {
        boolean hasBoth = file.hasTensor(SHORT_FACTORS) && file.hasTensor(LONG_FACTORS);
        boolean isShort = positions > 0 && positions < contextLength && positions <= originalContext(file);
        if (!hasBoth || !isShort || !usesLongFactors(file)) {
            return this;
        }
        return new ModelConfig(
                architecture,
                name,
                vocabularySize,
                positions,
                hidden,
                feedForward,
                layers,
                heads,
                kvHeads,
                headDim,
                normEpsilon,
                ropeDimensions,
                ropeBase,
                ropeScale,
                blocks,
                ownHeads,
                ownWidths);
    }

    /** Whether the context was extended beyond the one that the model was trained for at first. */
    boolean usesLongFactors(Gguf file) {
        return originalContext(file) < contextLength;
    }

    private long originalContext(Gguf file) {
        String key = architecture + ".rope.scaling.original_context_length";
        return file.has(key) ? file.int64(key) : Long.MAX_VALUE;
    }

    /**
     * The number of weights in the tensors of a file that compute a token: of the experts, only those that are chosen, and
     * of embeddings none unless it is the output head too.
     */
    public long activeWeights(Gguf file) {
        Mixture mixture = blocks.mixture();
        long active = 0;
        for (GgufTensor tensor : usedTensors(file)) {
            boolean looksUp = isLookedUp(tensor) && !isHead(tensor, file);
            if (mixture != null && isOfExperts(tensor)) {
                active += tensor.elements() / mixture.experts() * mixture.used();
            } else if (!looksUp) {
                active += tensor.elements();
            }
        }
        return active;
    }

    /**
     * The tensors of a file that compute the next token. The blocks behind the last, which would predict the tokens after it,
     * are left out, matrices of keys and values in layers that read those of another layer, and the head of an encoder.
     */
    static List<GgufTensor> usedTensors(Gguf file) {
        String architecture = file.string("general.architecture", "");
        String further = architecture + "." + FURTHER_BLOCKS;
        String shared = architecture + "." + SHARING_LAYERS;
        List<GgufTensor> all = List.copyOf(file.tensors());
        boolean encoder = ENCODERS.contains(architecture);
        if (!file.has(further) && !file.has(shared) && !encoder) {
            return all;
        }
        long last = file.int64(architecture + ".block_count") - (file.has(further) ? file.int64(further) : 0);
        long own = last - (file.has(shared) ? file.int64(shared) : 0);
        return all.stream()
                .filter(tensor -> blockOf(tensor.name()) < last)
                .filter(tensor -> !encoder || !tensor.name().equals("output.weight"))
                .filter(tensor -> blockOf(tensor.name()) < own
                        || !KEYS_VALUES.matcher(tensor.name()).find())
                .toList();
    }

    /** The tensors of a file that are left out, see {@link #usedTensors}. */
    public static List<GgufTensor> unusedTensors(Gguf file) {
        List<GgufTensor> unused = new ArrayList<>(file.tensors());
        unused.removeAll(usedTensors(file));
        return unused;
    }

    /** The number of the block that a tensor belongs to; −1 for none. */
    private static int blockOf(String tensor) {
        Matcher matcher = BLOCK.matcher(tensor);
        return matcher.lookingAt() ? Integer.parseInt(matcher.group(1)) : -1;
    }

    /** Whether a tensor has a part for each expert of a layer. */
    static boolean isOfExperts(GgufTensor tensor) {
        return tensor.name().contains("_exps.");
    }

    /** Whether a tensor has a row for each token, which is looked up. */
    static boolean isLookedUp(GgufTensor tensor) {
        return tensor.name().equals("token_embd.weight") || tensor.name().equals("per_layer_token_embd.weight");
    }

    /** Whether a tensor that is looked up is the output head too. */
    static boolean isHead(GgufTensor tensor, Gguf file) {
        return tensor.name().equals("token_embd.weight")
                && !file.hasTensor("output.weight")
                && !ENCODERS.contains(file.string("general.architecture", ""));
    }

    /** Whether a tensor is a router. A tensor {@code .scale} beside it belongs to its norm. */
    static boolean isRouter(String tensor) {
        return tensor.endsWith(".ffn_gate_inp.weight");
    }

    /** The sizes of the heads of a block. */
    public HeadSizes headSizes(int layer) {
        return ownHeads.isEmpty() ? new HeadSizes(heads, kvHeads, headDim, ropeDimensions) : ownHeads.get(layer);
    }

    /** The sizes of heads that blocks with attention have, each once. */
    List<HeadSizes> allHeadSizes() {
        return IntStream.range(0, layers)
                .filter(blocks::attends)
                .mapToObj(this::headSizes)
                .distinct()
                .toList();
    }

    /** How many dimensions of a head are rotated in layers with a window. */
    int windowRopeDimensions() {
        return IntStream.range(0, layers)
                .filter(blocks::hasWindow)
                .map(layer -> headSizes(layer).ropeDimensions())
                .findFirst()
                .orElse(ropeDimensions);
    }

    /** The width of the feed-forward layer of a block. */
    int feedForward(int layer) {
        return ownWidths.isEmpty() ? feedForward : ownWidths.get(layer);
    }

    /** Whether a block has a feed-forward layer without experts, alone or beside experts. */
    boolean isDense(int layer) {
        Mixture mixture = blocks.mixture();
        return blocks.feedsForward(layer) && (!blocks.hasExperts(layer) || (mixture != null && mixture.beside()));
    }

    /** The widths of the feed-forward layers without experts, each once. */
    List<Integer> denseWidths() {
        return IntStream.range(0, layers)
                .filter(this::isDense)
                .mapToObj(this::feedForward)
                .distinct()
                .toList();
    }

    /** The number of values that attention gives for a row, of all heads. */
    int attendedWidth(HeadSizes sizes) {
        Architecture.Latent latent = blocks.latent();
        return latent == null ? sizes.queryWidth() : sizes.heads() * latent.valueDim();
    }

    /** The layer whose keys and values a layer with attention reads: itself, or the last one that others share. */
    int keyValueLayer(int layer) {
        int own = layers - blocks.sharingLayers();
        int source = layer < own ? layer : own - 1;
        while (layer >= own && blocks.hasWindow(source) != blocks.hasWindow(layer)) {
            source--;
        }
        return source;
    }

    /** The number of a layer among those with keys and values of their own. */
    int cacheIndex(int layer) {
        return (int) IntStream.range(0, layer).filter(this::hasKeysAndValues).count();
    }

    private boolean hasKeysAndValues(int layer) {
        return blocks.attends(layer) && layer < layers - blocks.sharingLayers();
    }

    /** The sizes of the heads of all blocks with keys and values of their own. */
    public List<HeadSizes> cachedHeadSizes() {
        return IntStream.range(0, layers)
                .filter(this::hasKeysAndValues)
                .mapToObj(this::headSizes)
                .toList();
    }

    /** For all blocks with keys and values of their own, whether they have the window. */
    public List<Boolean> cachedHaveWindow() {
        return IntStream.range(0, layers)
                .filter(this::hasKeysAndValues)
                .mapToObj(blocks::hasWindow)
                .toList();
    }

    /** Bytes that recurrent layers keep of each running sequence; 0 if there are none. */
    public long stateBytes() {
        Recurrence recurrence = blocks.recurrence();
        return recurrence == null ? 0 : RecurrentState.slotBytes(recurrence);
    }

    /** Bytes of the state that lies beside a page when pages are cached; 0 if there are no recurrent layers. */
    public long pageStateBytes() {
        Recurrence recurrence = blocks.recurrence();
        return recurrence == null ? 0 : RecurrentState.checkpointBytes(recurrence);
    }

    /** Bytes of a state that is saved, so that sequences can begin behind a page; 0 if each page has a state, or none needs one. */
    public long savedStateBytes() {
        Recurrence recurrence = blocks.recurrence();
        return recurrence == null ? 0 : RecurrentState.savedBytes(recurrence);
    }

    /** Whether a tensor is a matrix of a product, or the embedding; others are kept as vectors of f32. */
    static boolean isMatrix(GgufTensor tensor) {
        String name = tensor.name();
        return tensor.rows() > 1 && NO_MATRICES.stream().noneMatch(name::endsWith);
    }

    private static void checkRange(String what, int value, int max) {
        if (value < 1 || value > max) {
            throw new IllegalArgumentException(what + " is " + value + ", not 1 to " + max);
        }
    }

    /**
     * Reads the shape from the metadata of a file, which may have no tensors.
     *
     * @throws quire.model.format.ModelFormatException if Quire cannot compute the architecture or one of its features,
     *     or if a value is missing or out of range
     */
    public static ModelConfig from(Gguf gguf) {
        return from(gguf, RopeScaling.OF_FILE);
    }

    /**
     * The same with another rotation than the file's.
     *
     * @throws quire.model.format.ModelFormatException also if the model has no rotation that could be scaled, or if its file
     *     has factors for each pair, which belong to its own scaling
     */
    public static ModelConfig from(Gguf gguf, RopeScaling rope) {
        String architecture = gguf.string("general.architecture");
        if (!ARCHITECTURES.contains(architecture)) {
            String said = "key general.architecture: is " + gguf.describe("general.architecture", SHOWN_CHARS);
            String missing = MissingParts.of(architecture);
            throw gguf.fault(
                    missing == null
                            ? said + ", which this version does not know (it computes "
                                    + String.join(", ", ARCHITECTURES) + "); use a model of one of these"
                            : said + ", which this version cannot compute: it lacks " + missing
                                    + "; use another model");
        }
        return new Reader(gguf, architecture, rope, new HashSet<>()).read();
    }

    /**
     * Checks that the file has exactly the tensors of such a model, in shapes and types that Quire can compute. An
     * unknown tensor is refused too: it means that the network is a different one.
     *
     * @throws quire.model.format.ModelFormatException naming the first tensor that is missing, has a wrong shape or an
     *     unsupported type, or is unknown
     */
    public void checkTensors(Gguf gguf) {
        Set<String> known = new HashSet<>();
        checkMatrix(gguf, known, "token_embd", hidden, vocabularySize);
        if (!blocks.outputNorm().isEmpty()) {
            checkNorm(gguf, known, blocks.outputNorm(), hidden);
        }
        if (blocks.vectorHead() > 0) {
            checkMatrix(gguf, known, "dense_2", hidden, blocks.vectorHead());
            checkMatrix(gguf, known, "dense_3", blocks.vectorHead(), hidden);
        }
        if (gguf.hasTensor("output.weight") && !blocks.encoder()) {
            checkMatrix(gguf, known, "output", hidden, vocabularySize);
        }
        checkVector(gguf, known, "output.bias", false, vocabularySize);
        if (blocks.embeddingNorm()) {
            checkNorm(gguf, known, "token_embd_norm", hidden);
            // without rotation, only these say where a token is
            checkVector(gguf, known, POSITIONS, blocks.unrotatedEvery() == 1, hidden, contextLength);
            if (gguf.hasTensor("token_types.weight")) {
                long types = gguf.int64(TOKEN_TYPES);
                checkVector(gguf, known, "token_types.weight", true, hidden, types);
            }
        }
        if (blocks.learnedPositions()) {
            checkVector(gguf, known, POSITIONS, true, hidden, contextLength);
        }
        checkVector(gguf, known, "rope_freqs.weight", false, ropeDimensions / 2);
        if (LONGROPE.contains(architecture)) {
            checkVector(gguf, known, LONG_FACTORS, false, ropeDimensions / 2);
            checkVector(gguf, known, SHORT_FACTORS, false, ropeDimensions / 2);
        }
        for (int layer = 0; layer < layers; layer++) {
            String block = "blk." + layer + ".";
            if (blocks.layerInputs() > 0 || blocks.sharingLayers() > 0 || blocks.valueNorm()) {
                checkVector(gguf, known, block + "layer_output_scale.weight", false, 1);
            }
            if (blocks.normsMixer(layer)) {
                checkNorm(gguf, known, block + blocks.mixerNorm(), hidden);
            }
            Recurrence recurrence = blocks.recurrence();
            if (blocks.attends(layer)) {
                checkAttention(gguf, known, layer);
            }
            if (recurrence != null && blocks.recurs(layer)) {
                checkRecurrent(gguf, known, block, recurrence);
            }
            if (blocks.normSum()) {
                checkNorm(gguf, known, block + "attn_output_norm", hidden);
                checkNorm(gguf, known, block + "layer_output_norm", hidden);
            }
            if (blocks.normAfter()) {
                checkNorm(gguf, known, block + "post_attention_norm", hidden);
                checkNorm(gguf, known, block + "post_ffw_norm", hidden);
            }
            if (!blocks.feedsForward(layer)) {
                continue;
            }
            if (blocks.normBefore() && (!blocks.parallel() || blocks.twoNorms())) {
                checkNorm(gguf, known, block + blocks.feedForwardNorm(), hidden);
            }
            Mixture mixture = blocks.mixture();
            if (mixture != null && blocks.hasExperts(layer)) {
                checkMixture(gguf, known, block, mixture);
            }
            if (isDense(layer)) {
                checkDense(gguf, known, block, feedForward(layer));
            }
        }
        if (blocks.layerInputs() > 0) {
            checkLayerInputs(gguf, known);
        }
        if (blocks.streams() != null) {
            checkStreams(gguf, known, blocks.streams());
        }
        for (GgufTensor tensor : usedTensors(gguf)) {
            // Old converters wrote the frequencies of the rotation into each block; they follow from the metadata.
            if (!known.contains(tensor.name())
                    && !tensor.name().endsWith(".attn_rot_embd")
                    && !Ranking.isPart(gguf, tensor.name())) {
                throw gguf.fault("tensor " + tensor.name() + ": is no part of a " + architecture + " model of " + layers
                        + " blocks" + ANOTHER_MODEL);
            }
        }
    }

    private void checkDense(Gguf gguf, Set<String> known, String block, int width) {
        if (blocks.gated() && gguf.hasTensor(block + "ffn_gate.weight")) {
            checkMatrix(gguf, known, block + "ffn_gate", hidden, width);
            checkMatrix(gguf, known, block + "ffn_up", hidden, width);
        } else {
            // a file without a gate has both matrices in one
            checkMatrix(gguf, known, block + "ffn_up", hidden, blocks.gated() ? 2 * width : width);
        }
        checkMatrix(gguf, known, block + "ffn_down", width, hidden);
    }

    private void checkLayerInputs(Gguf gguf, Set<String> known) {
        int width = blocks.layerInputs();
        checkMatrix(gguf, known, "per_layer_token_embd", width * layers, vocabularySize);
        checkMatrix(gguf, known, "per_layer_model_proj", hidden, width * layers);
        checkVector(gguf, known, "per_layer_proj_norm.weight", true, width);
        for (int layer = 0; layer < layers; layer++) {
            String block = "blk." + layer + ".";
            checkMatrix(gguf, known, block + "inp_gate", hidden, width);
            checkMatrix(gguf, known, block + "proj", width, hidden);
            checkNorm(gguf, known, block + "post_norm", hidden);
        }
    }

    private void checkStreams(Gguf gguf, Set<String> known, Architecture.Streams streams) {
        int count = streams.count();
        for (String stem : List.of("altup_proj", "altup_unembd_proj")) {
            gguf.tensor(stem + ".weight", hidden, hidden, count - 1);
            known.add(stem + ".weight");
        }
        for (int layer = 0; layer < layers; layer++) {
            String block = "blk." + layer + ".";
            checkMatrix(gguf, known, block + "altup_router", hidden, count);
            checkNorm(gguf, known, block + "altup_router_norm", hidden);
            checkVector(gguf, known, block + "altup_predict_coef.weight", true, count, (long) count * count);
            checkVector(gguf, known, block + "altup_correct_coef.weight", true, count, count);
            checkVector(gguf, known, block + "altup_correct_scale.weight", true, hidden);
            checkMatrix(gguf, known, block + "laurel_l", hidden, streams.rank());
            checkMatrix(gguf, known, block + "laurel_r", streams.rank(), hidden);
            checkNorm(gguf, known, block + "laurel_post_norm", hidden);
        }
    }

    private void checkAttention(Gguf gguf, Set<String> known, int layer) {
        String block = "blk." + layer + ".";
        HeadSizes sizes = headSizes(layer);
        int queryWidth = sizes.queryWidth();
        int kvWidth = sizes.kvWidth();
        boolean stores = keyValueLayer(layer) == layer;
        Architecture.Latent latent = blocks.latent();
        if (latent != null) {
            checkLatent(gguf, known, block, latent);
        } else if (gguf.hasTensor(block + "attn_qkv.weight") && !blocks.gatedAttention()) {
            checkMatrix(gguf, known, block + "attn_qkv", hidden, queryWidth + 2 * kvWidth);
        } else {
            checkMatrix(gguf, known, block + "attn_q", hidden, blocks.gatedAttention() ? 2 * queryWidth : queryWidth);
            // Some files have them in layers that read those of another layer.
            if (stores || gguf.hasTensor(block + "attn_k.weight")) {
                checkMatrix(gguf, known, block + "attn_k", hidden, kvWidth);
            }
            if ((stores && !blocks.valueNorm()) || gguf.hasTensor(block + "attn_v.weight")) {
                checkMatrix(gguf, known, block + "attn_v", hidden, kvWidth);
            }
        }
        if (blocks.headNorm() == Architecture.HeadNorm.EACH_LAYER) {
            checkVector(gguf, known, block + "attn_q_norm.weight", true, sizes.headDim(), sizes.heads());
            checkVector(gguf, known, block + "attn_k_norm.weight", stores, sizes.headDim(), sizes.kvHeads());
        } else if (blocks.headNorm().hasWeights()) {
            boolean each = blocks.headNorm().isEach();
            checkVector(gguf, known, block + "attn_q_norm.weight", true, each ? sizes.headDim() : queryWidth);
            checkVector(gguf, known, block + "attn_k_norm.weight", stores, each ? sizes.headDim() : kvWidth);
        }
        checkMatrix(gguf, known, block + "attn_output", attendedWidth(sizes), hidden);
        if (blocks.sinks()) {
            checkVector(gguf, known, block + "attn_sinks.weight", true, sizes.heads());
        }
    }

    private void checkRecurrent(Gguf gguf, Set<String> known, String block, Recurrence recurrence) {
        int width = recurrence.width();
        if (recurrence.kind() == Recurrence.Kind.DELTA_NET) {
            checkDeltaNet(gguf, known, block, recurrence);
            return;
        }
        if (recurrence.kind() == Recurrence.Kind.SELECTIVE) {
            checkSelective(gguf, known, block, recurrence);
            return;
        }
        if (recurrence.hasStates()) {
            int channels = recurrence.channels();
            int ofHeads = recurrence.heads();
            checkMatrix(gguf, known, block + "ssm_in", hidden, width + channels + ofHeads);
            checkVector(gguf, known, block + "ssm_conv1d.weight", true, recurrence.taps(), channels);
            checkVector(gguf, known, block + "ssm_conv1d.bias", false, channels);
            checkVector(gguf, known, block + "ssm_dt.bias", true, ofHeads);
            checkVector(gguf, known, block + "ssm_a", true, 1, ofHeads);
            checkVector(gguf, known, block + "ssm_d", true, 1, ofHeads);
            int groups = recurrence.groups();
            checkVector(gguf, known, block + "ssm_norm.weight", !recurrence.beside(), width / groups, groups);
            checkMatrix(gguf, known, block + "ssm_out", width, hidden);
            return;
        }
        checkMatrix(gguf, known, block + "shortconv.in_proj", hidden, 3 * width);
        checkVector(gguf, known, block + "shortconv.conv.weight", true, recurrence.taps(), width);
        checkMatrix(gguf, known, block + "shortconv.out_proj", width, hidden);
    }

    private void checkSelective(Gguf gguf, Set<String> known, String block, Recurrence recurrence) {
        int width = recurrence.width();
        int keys = recurrence.stateSize();
        int rank = recurrence.stepRank();
        boolean normed = gguf.hasTensor(block + "ssm_dt_norm.weight");
        checkMatrix(gguf, known, block + "ssm_in", hidden, 2 * width);
        checkVector(gguf, known, block + "ssm_conv1d.weight", true, recurrence.taps(), width);
        checkVector(gguf, known, block + "ssm_conv1d.bias", false, width);
        checkMatrix(gguf, known, block + "ssm_x", width, rank + 2 * keys);
        checkVector(gguf, known, block + "ssm_dt_norm.weight", normed, rank);
        checkVector(gguf, known, block + "ssm_b_norm.weight", normed, keys);
        checkVector(gguf, known, block + "ssm_c_norm.weight", normed, keys);
        checkMatrix(gguf, known, block + "ssm_dt", rank, width);
        checkVector(gguf, known, block + "ssm_a", true, keys, width);
        checkVector(gguf, known, block + "ssm_d", true, width);
        checkMatrix(gguf, known, block + "ssm_out", width, hidden);
    }

    private void checkDeltaNet(Gguf gguf, Set<String> known, String block, Recurrence recurrence) {
        int width = recurrence.width();
        int channels = recurrence.channels();
        int ofHeads = recurrence.heads();
        if (gguf.hasTensor(block + "ssm_in.weight")) {
            checkMatrix(gguf, known, block + "ssm_in", hidden, channels + width);
        } else {
            checkMatrix(gguf, known, block + "attn_qkv", hidden, channels);
            checkMatrix(gguf, known, block + "attn_gate", hidden, width);
        }
        if (gguf.hasTensor(block + "ssm_ba.weight")) {
            checkMatrix(gguf, known, block + "ssm_ba", hidden, 2 * ofHeads);
        } else {
            checkMatrix(gguf, known, block + "ssm_alpha", hidden, ofHeads);
            checkMatrix(gguf, known, block + "ssm_beta", hidden, ofHeads);
        }
        checkVector(gguf, known, block + "ssm_conv1d.weight", true, recurrence.taps(), channels);
        checkVector(gguf, known, block + "ssm_dt.bias", true, ofHeads);
        checkVector(gguf, known, block + "ssm_a", true, ofHeads);
        checkVector(gguf, known, block + "ssm_norm.weight", true, recurrence.headDim());
        checkMatrix(gguf, known, block + "ssm_out", width, hidden);
    }

    private void checkLatent(Gguf gguf, Set<String> known, String block, Architecture.Latent latent) {
        int width = heads * latent.queryDim();
        if (gguf.hasTensor(block + "attn_q.weight")) {
            checkMatrix(gguf, known, block + "attn_q", hidden, width);
        } else {
            checkMatrix(gguf, known, block + "attn_q_a", hidden, latent.queryRank());
            checkVector(gguf, known, block + "attn_q_a_norm.weight", true, latent.queryRank());
            checkMatrix(gguf, known, block + "attn_q_b", latent.queryRank(), width);
        }
        checkMatrix(gguf, known, block + "attn_kv_a_mqa", hidden, latent.rank() + latent.rotatedDim());
        checkVector(gguf, known, block + "attn_kv_a_norm.weight", true, latent.rank());
        gguf.tensor(block + "attn_k_b.weight", latent.plainDim(), latent.rank(), heads);
        gguf.tensor(block + "attn_v_b.weight", latent.rank(), latent.valueDim(), heads);
        known.add(block + "attn_k_b.weight");
        known.add(block + "attn_v_b.weight");
    }

    private void checkMixture(Gguf gguf, Set<String> known, String block, Mixture mixture) {
        int experts = mixture.experts();
        int width = mixture.width();
        checkMatrix(gguf, known, block + "ffn_gate_inp", hidden, experts);
        checkVector(gguf, known, block + "exp_probs_b.bias", false, experts);
        if (mixture.beside()) {
            checkVector(gguf, known, block + "ffn_gate_inp.scale", true, hidden);
            checkNorm(gguf, known, block + "post_ffw_norm_1", hidden);
            checkNorm(gguf, known, block + "pre_ffw_norm_2", hidden);
            checkNorm(gguf, known, block + "post_ffw_norm_2", hidden);
        }
        if (blocks.gated() && gguf.hasTensor(block + "ffn_gate_up_exps.weight")) {
            checkExperts(gguf, known, block + "ffn_gate_up_exps", hidden, 2 * width, experts);
        } else {
            if (blocks.gated()) {
                checkExperts(gguf, known, block + "ffn_gate_exps", hidden, width, experts);
            }
            checkExperts(gguf, known, block + "ffn_up_exps", hidden, width, experts);
        }
        checkExperts(gguf, known, block + "ffn_down_exps", width, hidden, experts);
        if (mixture.sharedGate()) {
            gguf.tensor(block + "ffn_gate_inp_shexp.weight", hidden);
            known.add(block + "ffn_gate_inp_shexp.weight");
        }
        if (mixture.sharedWidth() > 0) {
            if (blocks.gated()) {
                checkMatrix(gguf, known, block + "ffn_gate_shexp", hidden, mixture.sharedWidth());
            }
            checkMatrix(gguf, known, block + "ffn_up_shexp", hidden, mixture.sharedWidth());
            checkMatrix(gguf, known, block + "ffn_down_shexp", mixture.sharedWidth(), hidden);
        }
    }

    private static void checkExperts(Gguf gguf, Set<String> known, String stem, int columns, int rows, int experts) {
        gguf.tensor(stem + ".weight", columns, rows, experts);
        known.add(stem + ".weight");
        checkVector(gguf, known, stem + ".bias", false, rows, experts);
        checkFactors(gguf, known, stem, experts);
    }

    /** The name of the tensor with the factors of a tensor {@code STEM.weight}. */
    static String factorName(String tensor) {
        return tensor.replaceFirst("\\.weight$", ".scale");
    }

    /**
     * The factors of matrices, which NVFP4 files may have, and those of their inputs. The latter are for processors that
     * compute with inputs of 4 bits; here they change nothing.
     */
    private static void checkFactors(Gguf gguf, Set<String> known, String stem, int count) {
        String name = factorName(stem + ".weight");
        checkVector(gguf, known, name, false, count);
        checkVector(gguf, known, stem + ".input_scale", false, count);
        if (gguf.hasTensor(name)) {
            for (float factor : gguf.floats(gguf.tensor(name, count))) {
                if (!Float.isFinite(factor)) {
                    throw gguf.fault("tensor " + name + ": has the factor " + factor + "; convert the model again");
                }
            }
        }
    }

    /** A matrix {@code stem.weight} and, if the file has one, its bias {@code stem.bias}. */
    private static void checkMatrix(Gguf gguf, Set<String> known, String stem, int columns, int rows) {
        gguf.tensor(stem + ".weight", columns, rows);
        known.add(stem + ".weight");
        // Embeddings have no bias.
        if (stem.startsWith("blk.")) {
            checkVector(gguf, known, stem + ".bias", false, rows);
        }
        if (!stem.endsWith("token_embd") && !isRouter(stem + ".weight")) {
            checkFactors(gguf, known, stem, 1);
        }
    }

    /** The weights of a norm and, for a layer norm, its bias if the file has one. */
    private void checkNorm(Gguf gguf, Set<String> known, String stem, int length) {
        if (blocks.norm() == Architecture.Norm.PLAIN_LAYER) {
            return;
        }
        checkVector(gguf, known, normName(gguf, stem), true, length);
        if (blocks.norm() == Architecture.Norm.LAYER) {
            checkVector(gguf, known, stem + ".bias", false, length);
        }
    }

    /** The name of the weights of a norm. Files of Falcon-H1 have one without the usual end. */
    static String normName(Gguf gguf, String stem) {
        boolean usual = gguf.hasTensor(stem + ".weight") || !gguf.hasTensor(stem);
        return usual ? stem + ".weight" : stem;
    }

    private static void checkVector(Gguf gguf, Set<String> known, String name, boolean required, long... dims) {
        Optional<GgufTensor> vector = required ? Optional.of(gguf.tensor(name, dims)) : gguf.optionalTensor(name, dims);
        if (vector.isPresent()) {
            GgufType type = vector.get().type();
            if (type != GgufType.F32 && type != GgufType.F16 && type != GgufType.BF16) {
                throw gguf.fault(
                        "tensor " + name + ": has type " + type + " where a vector needs F32, F16 or BF16" + CONVERT);
            }
            known.add(name);
        }
    }

    /** Reads the keys of one architecture and checks their ranges. */
    private record Reader(Gguf gguf, String architecture, RopeScaling rope, Set<String> described)
            implements Architectures.Keys {

        ModelConfig read() {
            refuseWhatIsNotComputed();
            checkRope();
            int hidden = sizeUpTo("embedding_length", MAX_WIDTH);
            if (!Architectures.hasAttention(architecture)) {
                return withoutAttention(hidden);
            }
            // Files whose layers all have experts may have no other width.
            int feedForward = gguf.has(key("feed_forward_length")) || !gguf.has(key("expert_count"))
                    ? largest("feed_forward_length", MAX_WIDTH)
                    : sizeUpTo("expert_feed_forward_length", MAX_WIDTH);
            if (COUNT_BOTH.contains(architecture)) {
                if (feedForward % 2 != 0) {
                    throw refuse("feed_forward_length", "is " + feedForward + ", which is odd");
                }
                feedForward /= 2;
            }
            int layers = layers();
            int heads = largest("attention.head_count", MAX_HEADS);
            int kvHeads = gguf.has(key(KV_HEADS)) ? largest(KV_HEADS, MAX_HEADS) : heads;
            if (kvHeads > heads || heads % kvHeads != 0) {
                throw refuse(KV_HEADS, "is " + kvHeads + ", which does not divide the " + heads + " heads");
            }
            boolean hasLatent = gguf.has(key("attention.kv_lora_rank"));
            if (hasLatent && kvHeads != 1) {
                throw refuse(
                        KV_HEADS, "is " + kvHeads + " where keys and values are made of one latent and 1 is expected");
            }
            int headDim = hasLatent ? latent().rank() + latent().rotatedDim() : headDim(hidden, heads);
            int ropeDimensions =
                    gguf.has(key("rope.dimension_count")) ? sizeUpTo("rope.dimension_count", headDim) : headDim;
            if (ropeDimensions % 2 != 0) {
                throw refuse("rope.dimension_count", "is " + ropeDimensions + ", which is odd");
            }
            Architecture blocks = Architectures.of(architecture, this, hidden, heads, layers);
            Mixture mixture = blocks.mixture();
            if (mixture != null && mixture.denseLayers() > layers) {
                throw refuse("leading_dense_block_count", "is " + mixture.denseLayers() + " of " + layers + " blocks");
            }
            List<HeadSizes> ownHeads = ownHeads(blocks, heads, headDim, ropeDimensions);
            checkSharing(blocks, layers, ownHeads);
            refuseFactors();
            if (!rope.equals(RopeScaling.OF_FILE) && blocks.unrotatedEvery() == 1) {
                throw doesNotRotate();
            }
            boolean layerNorm = blocks.norm() != Architecture.Norm.RMS;
            return new ModelConfig(
                    architecture,
                    gguf.string("general.name", ""),
                    vocabularySize(),
                    contextLength(),
                    hidden,
                    feedForward,
                    layers,
                    heads,
                    kvHeads,
                    headDim,
                    number(epsilonKey(layerNorm), 0, 1),
                    ropeDimensions,
                    ropeBase(),
                    ropeScale(),
                    blocks,
                    ownHeads,
                    ownWidths());
        }

        /** The shape of a model that has neither heads nor feed-forward layers; the sizes of these have no meaning. */
        private ModelConfig withoutAttention(int hidden) {
            Architecture blocks = Architectures.of(architecture, this, hidden, 1, layers());
            refuseFactors();
            if (!rope.equals(RopeScaling.OF_FILE)) {
                throw doesNotRotate();
            }
            return new ModelConfig(
                    architecture,
                    gguf.string("general.name", ""),
                    vocabularySize(),
                    contextLength(),
                    hidden,
                    1,
                    layers(),
                    1,
                    1,
                    2,
                    number(epsilonKey(false), 0, 1),
                    2,
                    ropeBase(),
                    ropeScale(),
                    blocks,
                    List.of(),
                    List.of());
        }

        private RuntimeException doesNotRotate() {
            return gguf.fault(
                    "the model does not rotate positions, so that other scaling or another base has no effect;"
                            + " leave them out");
        }

        /** A size, of the block where it is largest if blocks may have sizes of their own. */
        private int largest(String suffix, int max) {
            return hasOwnSizes(suffix)
                    ? inRange(suffix, IntStream.of(perLayer(suffix)).max().orElse(0), max)
                    : sizeUpTo(suffix, max);
        }

        private boolean hasOwnSizes(String suffix) {
            return Architectures.hasOwnSizes(architecture)
                    && gguf.has(key(suffix))
                    && gguf.type(key(suffix)) == GgufValueType.ARRAY;
        }

        private List<Integer> ownWidths() {
            return hasOwnSizes("feed_forward_length")
                    ? IntStream.of(perLayer("feed_forward_length"))
                            .map(width -> width == 0 && Architectures.hasZeros(architecture)
                                    ? 0
                                    : inRange("feed_forward_length", width, MAX_WIDTH))
                            .boxed()
                            .toList()
                    : List.of();
        }

        /** The sizes of each block's heads; empty if they are the same in all. */
        private List<HeadSizes> ownHeads(Architecture blocks, int heads, int headDim, int ropeDimensions) {
            if (!Architectures.hasOwnSizes(architecture)) {
                return List.of();
            }
            int windowDim = gguf.has(key("attention.key_length_swa"))
                    ? headDim("attention.key_length_swa", "attention.value_length_swa")
                    : headDim;
            int windowRotated = gguf.has(key("rope.dimension_count_swa"))
                    ? sizeUpTo("rope.dimension_count_swa", windowDim)
                    : Math.min(ropeDimensions, windowDim);
            if (windowRotated % 2 != 0) {
                throw refuse("rope.dimension_count_swa", "is " + windowRotated + ", which is odd");
            }
            int[] kvHeads = new int[layers()];
            Arrays.fill(kvHeads, gguf.has(key(KV_HEADS)) ? largest(KV_HEADS, MAX_HEADS) : heads);
            if (hasOwnSizes(KV_HEADS)) {
                kvHeads = perLayer(KV_HEADS);
            }
            List<HeadSizes> sizes = new ArrayList<>();
            for (int layer = 0; layer < kvHeads.length; layer++) {
                if (!blocks.attends(layer)) {
                    sizes.add(new HeadSizes(heads, 1, headDim, ropeDimensions)); // has no heads
                    continue;
                }
                int own = hasOwnSizes("attention.head_count") ? perLayer("attention.head_count")[layer] : heads;
                int shared = inRange(KV_HEADS, kvHeads[layer], heads);
                if (own < 1 || own % shared != 0) {
                    throw refuse(KV_HEADS, "is " + shared + ", which does not divide the " + own + " heads");
                }
                boolean window = blocks.hasWindow(layer);
                sizes.add(new HeadSizes(
                        own, shared, window ? windowDim : headDim, window ? windowRotated : ropeDimensions));
            }
            return sizes;
        }

        /** Checks that each layer without keys and values of its own has a layer with the same heads before. */
        private void checkSharing(Architecture blocks, int layers, List<HeadSizes> sizes) {
            int own = layers - blocks.sharingLayers();
            for (int layer = Math.max(own, 0); layer < layers; layer++) {
                boolean window = blocks.hasWindow(layer);
                int source = own - 1;
                while (source >= 0 && blocks.hasWindow(source) != window) {
                    source--;
                }
                if (source < 0 || (!sizes.isEmpty() && !sizes.get(source).equals(sizes.get(layer)))) {
                    throw refuse(
                            SHARING_LAYERS,
                            "is " + blocks.sharingLayers() + " of " + layers + " layers, which leaves none "
                                    + (window ? "with" : "without") + " a window and with the same heads that layer "
                                    + layer + " could share keys and values with");
                }
            }
        }

        /** Files of Nemotron-H may have the epsilon of RMS norms under the other name, and those of Phi-MoE have that of layer norms. */
        private String epsilonKey(boolean layerNorm) {
            String ofLayerNorm = "attention.layer_norm_epsilon";
            String ofRms = "attention.layer_norm_rms_epsilon";
            boolean other =
                    architecture.equals("phimoe") || (architecture.startsWith("nemotron_h") && !gguf.has(key(ofRms)));
            return layerNorm != other ? ofLayerNorm : ofRms;
        }

        @Override
        public float number(String suffix, float absent) {
            described.add(suffix);
            // Converters write 0 for "none".
            float value = gguf.has(key(suffix)) ? number(suffix, 0, 1e12f) : absent;
            return value == 0 ? Math.min(absent, 1) : value;
        }

        @Override
        public int window() {
            described.add("attention.sliding_window");
            String key = key("attention.sliding_window");
            long window = gguf.has(key) ? gguf.int64(key) : 0;
            if (window < 0) {
                throw refuse("attention.sliding_window", "is " + window + ", not 0 or more positions");
            }
            return (int) Math.min(window, contextLength());
        }

        @Override
        public int fullEvery(int absent) {
            String suffix = "attention.sliding_window_pattern";
            if (!gguf.has(key(suffix))) {
                return absent;
            }
            return gguf.type(key(suffix)) == GgufValueType.ARRAY ? 0 : sizeUpTo(suffix, MAX_LAYERS);
        }

        @Override
        public List<Boolean> windows() {
            String suffix = "attention.sliding_window_pattern";
            if (!gguf.has(key(suffix)) || gguf.type(key(suffix)) != GgufValueType.ARRAY) {
                return List.of();
            }
            boolean[] windows = gguf.bools(key(suffix));
            if (windows.length != sizeUpTo("block_count", MAX_LAYERS)) {
                throw refuse(suffix, "has " + windows.length + " items, not one for each block");
            }
            return IntStream.range(0, layers()).mapToObj(i -> windows[i]).toList();
        }

        @Override
        public int size(String suffix, int absent) {
            // Converters write 0 for "none".
            boolean none = !gguf.has(key(suffix))
                    || (gguf.type(key(suffix)) != GgufValueType.ARRAY && gguf.int64(key(suffix)) == 0);
            return none ? absent : sizeUpTo(suffix, MAX_WIDTH);
        }

        @Override
        public boolean flag(String suffix, boolean absent) {
            described.add(suffix);
            return gguf.bool(key(suffix), absent);
        }

        @Override
        public Architecture.Latent latent() {
            described.add("attention.kv_lora_rank");
            int queryDim = sizeUpTo("attention.key_length_mla", MAX_HEAD_DIM);
            int rotatedDim = sizeUpTo("rope.dimension_count", MAX_HEAD_DIM);
            if (rotatedDim >= queryDim) {
                throw refuse(
                        "rope.dimension_count",
                        "is " + rotatedDim + " of the " + queryDim
                                + " numbers of a query, which leaves none for the latent");
            }
            int rank = sizeUpTo("attention.kv_lora_rank", MAX_HEAD_DIM - rotatedDim);
            if (rank % 2 != 0) {
                throw refuse("attention.kv_lora_rank", "is " + rank + ", which is odd");
            }
            return new Architecture.Latent(
                    size("attention.q_lora_rank", 0),
                    rank,
                    queryDim - rotatedDim,
                    rotatedDim,
                    sizeUpTo("attention.value_length_mla", MAX_HEAD_DIM));
        }

        @Override
        public Activation activation() {
            String name = gguf.string(key("hidden_activation"), "gelu");
            return switch (name) {
                case "gelu" -> Activation.EXACT_GELU; // as transformers names it
                case "silu" -> Activation.SILU;
                default ->
                    throw gguf.fault("key " + key("hidden_activation") + ": is "
                            + gguf.describe(key("hidden_activation"), SHOWN_CHARS) + ANOTHER_MODEL);
            };
        }

        @Override
        public Architecture.Streams streams() {
            if (gguf.has(key("altup.active_idx")) && gguf.int64(key("altup.active_idx")) != 0) {
                throw gguf.fault("key " + key("altup.active_idx") + ": is "
                        + gguf.describe(key("altup.active_idx"), SHOWN_CHARS) + ANOTHER_MODEL);
            }
            int count = size("altup.num_inputs", 4);
            if (count < 2 || count > MAX_STREAMS) {
                throw refuse("altup.num_inputs", "is " + count + ", not 2 to " + MAX_STREAMS);
            }
            String name = "blk.0.laurel_l.weight"; // only the tensor shows the rank
            long rank = gguf.tensors().stream()
                    .filter(tensor -> tensor.name().equals(name))
                    .mapToLong(GgufTensor::rows)
                    .findFirst()
                    .orElse(64);
            if (rank > MAX_WIDTH) {
                throw gguf.fault("tensor " + name + ": has " + rank + " rows, not 1 to " + MAX_WIDTH + CONVERT);
            }
            return new Architecture.Streams(count, (int) rank);
        }

        @Override
        public List<Float> sparsity() {
            String suffix = "activation_sparsity_scale";
            int layers = layers();
            if (!gguf.has(key(suffix))) {
                return IntStream.range(0, layers)
                        .mapToObj(layer -> layer < SPARSE_BLOCKS ? TWENTIETH : Float.NEGATIVE_INFINITY)
                        .toList();
            }
            float[] scales = gguf.float32s(key(suffix));
            if (scales.length != sizeUpTo("block_count", MAX_LAYERS)) {
                throw refuse(suffix, "has " + scales.length + " items, not one for each block");
            }
            List<Float> byBlock = new ArrayList<>();
            for (int layer = 0; layer < layers; layer++) {
                float scale = scales[layer];
                if (scale != Float.NEGATIVE_INFINITY && !(Math.abs(scale) <= 10)) {
                    throw refuse(suffix, "is " + scale + " in block " + layer + ", not -10 to 10");
                }
                byBlock.add(scale);
            }
            return byBlock;
        }

        @Override
        public boolean hasTensor(String name) {
            return gguf.hasTensor(name);
        }

        @Override
        public Architecture.@Nullable Temperature temperature() {
            float scale = number("attention.temperature_scale", 0);
            return scale == 0
                    ? null
                    : new Architecture.Temperature(
                            scale,
                            size("rope.scaling.original_context_length", sizeUpTo("context_length", MAX_CONTEXT)),
                            0,
                            false);
        }

        @Override
        public @Nullable Yarn yarn() {
            if (!scaling().equals("yarn")) {
                return null;
            }
            if (number("rope.scaling.yarn_ext_factor", 1) != 1) {
                throw gguf.fault("key " + key("rope.scaling.yarn_ext_factor") + ": is "
                        + gguf.float32(key("rope.scaling.yarn_ext_factor")) + ANOTHER_MODEL);
            }
            return new Yarn(
                    originalContext(),
                    number("rope.scaling.yarn_beta_fast", 32),
                    number("rope.scaling.yarn_beta_slow", 1));
        }

        @Override
        public float rotationFactor() {
            double factor = number("rope.scaling.attn_factor", 1);
            if (scaling().equals("yarn")) {
                // With a latent, a factor of all scores replaces the one of the rotated numbers. Others ignore the key.
                boolean latent = described.contains("attention.kv_lora_rank");
                double multiplier =
                        latent || architecture.equals("mistral3") ? number("rope.scaling.yarn_log_multiplier", 0) : 0;
                double log = 0.1 * StrictMath.log(Math.max(1, ropeScale()));
                double usual = latent && multiplier != 0 ? 1 : (1 + log) / (1 + multiplier * log);
                factor *= number("rope.scaling.yarn_attn_factor", (float) usual);
            }
            return (float) factor;
        }

        @Override
        public @Nullable Mixture mixture(Scoring scoring, boolean normalised, long sharedWidth, boolean sharedGate) {
            described.add("expert_count");
            int experts = size("expert_count", 0);
            if (experts < 2) {
                return null;
            }
            int used = sizeUpTo("expert_used_count", experts);
            int width = size("expert_feed_forward_length", 0);
            if (width == 0) {
                // Qwen's experts share the width of a feed-forward layer.
                width = sizeUpTo("feed_forward_length", MAX_WIDTH);
                boolean own = EXPERTS_AS_WIDE.contains(architecture);
                width = own ? width : width / used;
            }
            if (experts > MAX_EXPERTS || width < 1) {
                throw refuse("expert_count", "is " + experts + " experts of width " + width);
            }
            if (sharedWidth > MAX_WIDTH) {
                throw refuse("expert_shared_count", "makes the shared expert " + sharedWidth + " wide");
            }
            int groups = size("expert_group_count", 1);
            int groupsUsed = size("expert_group_used_count", groups);
            boolean fit = experts % groups == 0
                    && groupsUsed <= groups
                    && (groups == 1 || experts / groups > 1)
                    && (long) experts / groups * groupsUsed >= used;
            if (!fit) {
                throw refuse(
                        "expert_group_count",
                        "is " + groups + " (" + groupsUsed + " used), which does not divide " + experts
                                + " experts so that " + used + " can be chosen");
            }
            return new Mixture(
                    experts,
                    used,
                    width,
                    scoring(scoring),
                    flag("expert_weights_norm", normalised),
                    number("expert_weights_scale", 1),
                    groups,
                    groupsUsed,
                    (int) sharedWidth,
                    sharedGate,
                    size("leading_dense_block_count", 0),
                    1,
                    false,
                    false);
        }

        private Scoring scoring(Scoring absent) {
            return switch (size("expert_gating_func", 0)) {
                case 0 -> absent;
                case 1 -> Scoring.SOFTMAX;
                case 2 -> Scoring.SIGMOID;
                case 3 -> Scoring.SOFTMAX_OF_CHOSEN;
                default ->
                    throw gguf.fault("key " + key("expert_gating_func") + ": is "
                            + gguf.describe(key("expert_gating_func"), SHOWN_CHARS)
                            + ", which this version cannot compute (it computes 1, 2 and 3: softmax, sigmoid and softmax"
                            + " of the chosen experts); use another model");
            };
        }

        private String key(String suffix) {
            return architecture + "." + suffix;
        }

        private RuntimeException refuse(String suffix, String what) {
            return gguf.fault("key " + key(suffix) + ": " + what + CONVERT);
        }

        private int sizeUpTo(String suffix, int max) {
            String key = key(suffix);
            boolean isList = gguf.has(key) && gguf.type(key) == GgufValueType.ARRAY;
            // The number of blocks itself must be a number: the length of a list is compared with it.
            if (isList && !suffix.equals("block_count")) {
                return sameInAllLayers(suffix, max);
            }
            return inRange(suffix, gguf.int64(key), max);
        }

        private int inRange(String suffix, long value, int max) {
            if (value < 1 || value > max) {
                throw refuse(suffix, "is " + value + ", not 1 to " + max);
            }
            return (int) value;
        }

        /**
         * Some converters write one number for each layer. If all are equal, the model is an ordinary one. A 0 may stand for
         * a layer without attention, or without a feed-forward layer.
         */
        private int sameInAllLayers(String suffix, int max) {
            boolean zeros = Architectures.hasZeros(architecture);
            int same = 0;
            for (int value : perLayer(suffix)) {
                if (value == 0 && zeros) {
                    continue;
                }
                if (same != 0 && value != same) {
                    throw gguf.fault("key " + key(suffix) + ": differs between layers (" + same + " and " + value + ")"
                            + ANOTHER_MODEL);
                }
                same = inRange(suffix, value, max);
            }
            return inRange(suffix, same, max);
        }

        /** The number of blocks, without those that predict further tokens. */
        private int layers() {
            int all = sizeUpTo("block_count", MAX_LAYERS);
            int further = size(FURTHER_BLOCKS, 0);
            if (further >= all) {
                throw refuse(FURTHER_BLOCKS, "is " + further + " of " + all + " blocks");
            }
            return all - further;
        }

        private int[] perLayer(String suffix) {
            String key = key(suffix);
            if (gguf.length(key) != sizeUpTo("block_count", MAX_LAYERS)) {
                throw refuse(suffix, "has " + gguf.length(key) + " items, not one for each block");
            }
            return Arrays.copyOf(gguf.int32s(key), layers());
        }

        @Override
        public Recurrence shortConvolutions() {
            int taps = sizeUpTo("shortconv.l_cache", MAX_TAPS);
            if (taps < 2) {
                throw refuse("shortconv.l_cache", "is " + taps + ", not 2 to " + MAX_TAPS);
            }
            return new Recurrence(
                    Recurrence.Kind.CONVOLUTION,
                    taps,
                    sizeUpTo("embedding_length", MAX_WIDTH),
                    0,
                    0,
                    false,
                    0,
                    0,
                    false,
                    layersWithoutAttention());
        }

        @Override
        public Recurrence stateSpaces() {
            List<Boolean> layers = Architectures.hasParts(architecture)
                    ? parts().stream().map(Part.RECURRENCE::equals).toList()
                    : layersWithoutAttention();
            return states(Recurrence.Kind.STATE_SPACE, false, false, layers);
        }

        @Override
        public Recurrence selective(boolean inAll) {
            int taps = sizeUpTo("ssm.conv_kernel", MAX_TAPS);
            int width = sizeUpTo("ssm.inner_size", MAX_WIDTH);
            if (taps < 2) {
                throw refuse("ssm.conv_kernel", "is " + taps + ", not 2 to " + MAX_TAPS);
            }
            int shared = 64; // numbers of a part that a worker computes
            return new Recurrence(
                    Recurrence.Kind.SELECTIVE,
                    taps,
                    width,
                    width % shared == 0 ? width / shared : 1,
                    1,
                    false,
                    sizeUpTo("ssm.state_size", MAX_STATE),
                    sizeUpTo("ssm.time_step_rank", MAX_WIDTH),
                    false,
                    inAll ? Collections.nCopies(layers(), true) : layersWithoutAttention());
        }

        @Override
        public Recurrence stateSpacesInAll(boolean besideAttention) {
            return states(Recurrence.Kind.STATE_SPACE, false, besideAttention, Collections.nCopies(layers(), true));
        }

        @Override
        public List<Part> attentionOrFeedForward() {
            int[] heads = numbers("attention.head_count");
            int[] kvHeads = numbers(KV_HEADS);
            int[] widths = numbers("feed_forward_length");
            List<Part> parts = new ArrayList<>();
            for (int i = 0; i < layers(); i++) {
                if (heads[i] > 0 && kvHeads[i] == 0) {
                    throw gguf.fault("key " + key(KV_HEADS) + ": is 0 in block " + i
                            + ", which has a matrix in place of attention" + ANOTHER_MODEL);
                }
                parts.add(
                        heads[i] > 0
                                ? widths[i] > 0 ? Part.BOTH : Part.ATTENTION
                                : widths[i] > 0 ? Part.FEED_FORWARD : Part.NONE);
            }
            if (!parts.contains(Part.BOTH) && !parts.contains(Part.ATTENTION)) {
                throw refuse("attention.head_count", "leaves no block with attention");
            }
            return parts;
        }

        /** A number for each block, which may be the same in all. */
        private int[] numbers(String suffix) {
            if (gguf.type(key(suffix)) == GgufValueType.ARRAY) {
                return perLayer(suffix);
            }
            int[] same = new int[layers()];
            Arrays.fill(same, sizeUpTo(suffix, MAX_WIDTH));
            return same;
        }

        @Override
        public List<Part> parts() {
            int[] kvHeads = listed(KV_HEADS, "attention");
            int[] widths = listed("feed_forward_length", "a feed-forward layer");
            List<Part> parts = IntStream.range(0, layers())
                    .mapToObj(i ->
                            widths[i] != 0 ? Part.FEED_FORWARD : kvHeads[i] != 0 ? Part.ATTENTION : Part.RECURRENCE)
                    .toList();
            if (!parts.contains(Part.ATTENTION)) {
                throw refuse(KV_HEADS, "leaves no block with attention");
            }
            return parts;
        }

        @Override
        public Recurrence deltaNet(boolean alternating) {
            Recurrence states = states(Recurrence.Kind.DELTA_NET, alternating, false, layersBetweenAttention());
            if (states.headDim() != states.stateSize()) {
                throw refuse(
                        "ssm.state_size",
                        "is " + states.stateSize() + ", but the width of values, " + states.width() + ", is "
                                + states.heads() + " heads of " + states.headDim());
            }
            return states;
        }

        /** All blocks but every fourth, or as often as the file says. */
        private List<Boolean> layersBetweenAttention() {
            if (gguf.has(key("attention.recurrent_layers"))) {
                throw gguf.fault("key " + key("attention.recurrent_layers") + ": lists the layers without attention"
                        + ANOTHER_MODEL);
            }
            int every = size("full_attention_interval", 4);
            if (every > layers()) {
                throw refuse(
                        "full_attention_interval",
                        "is " + every + ", which leaves none of " + layers() + " blocks with attention");
            }
            return IntStream.rangeClosed(1, layers())
                    .mapToObj(block -> block % every != 0)
                    .toList();
        }

        @Override
        public void textOnly() {
            described.add(SECTIONS);
        }

        private Recurrence states(Recurrence.Kind kind, boolean alternating, boolean beside, List<Boolean> layers) {
            int taps = sizeUpTo("ssm.conv_kernel", MAX_TAPS);
            int width = sizeUpTo("ssm.inner_size", MAX_WIDTH);
            int heads = sizeUpTo("ssm.time_step_rank", MAX_HEADS);
            int groups = sizeUpTo("ssm.group_count", heads);
            if (taps < 2) {
                throw refuse("ssm.conv_kernel", "is " + taps + ", not 2 to " + MAX_TAPS);
            }
            if (width % heads != 0 || heads % groups != 0) {
                throw refuse(
                        "ssm.time_step_rank",
                        "is " + heads + ", which does not divide a width of " + width + " into heads for " + groups
                                + " groups");
            }
            return new Recurrence(
                    kind,
                    taps,
                    width,
                    heads,
                    groups,
                    alternating,
                    sizeUpTo("ssm.state_size", MAX_STATE),
                    0,
                    beside,
                    layers);
        }

        /** The blocks whose number of KV heads is 0. */
        private List<Boolean> layersWithoutAttention() {
            return IntStream.of(listed(KV_HEADS, "attention"))
                    .mapToObj(count -> count == 0)
                    .toList();
        }

        private int[] listed(String suffix, String part) {
            if (!gguf.has(key(suffix)) || gguf.type(key(suffix)) != GgufValueType.ARRAY) {
                throw refuse(suffix, "has no number for each block, which says where " + part + " is");
            }
            return perLayer(suffix);
        }

        private float number(String suffix, float min, float max) {
            float value = gguf.float32(key(suffix));
            if (!(value >= min && value <= max)) {
                throw refuse(suffix, "is " + value + ", not " + min + " to " + max);
            }
            return value;
        }

        private int headDim(int hidden, int heads) {
            int headDim;
            if (gguf.has(key("attention.key_length"))) {
                headDim = sizeUpTo("attention.key_length", MAX_HEAD_DIM);
            } else if (hidden % heads == 0 && hidden / heads <= MAX_HEAD_DIM) {
                headDim = hidden / heads;
            } else {
                throw refuse(
                        "embedding_length",
                        "is " + hidden + ", which " + heads + " heads do not divide into at most " + MAX_HEAD_DIM
                                + " each");
            }
            checkHeadDim(headDim, "attention.key_length", "attention.value_length");
            return headDim;
        }

        private int headDim(String keys, String values) {
            int headDim = sizeUpTo(keys, MAX_HEAD_DIM);
            checkHeadDim(headDim, keys, values);
            return headDim;
        }

        private void checkHeadDim(int headDim, String keys, String values) {
            if (gguf.has(key(values))) {
                int valueDim = sizeUpTo(values, MAX_HEAD_DIM);
                if (valueDim != headDim) {
                    throw gguf.fault("key " + key(values) + ": is " + valueDim + " where the keys' length is " + headDim
                            + ANOTHER_MODEL);
                }
            }
            if (headDim % 2 != 0) {
                throw refuse(keys, "is " + headDim + ", which is odd");
            }
        }

        /**
         * The size of the vocabulary: rows of the embedding, number of tokens, {@code vocab_size}. Those that exist
         * must agree.
         */
        private int vocabularySize() {
            OptionalInt size = OptionalInt.empty();
            String from = "";
            if (gguf.has(key("vocab_size"))) {
                size = OptionalInt.of(sizeUpTo("vocab_size", MAX_VOCABULARY));
                from = "key " + key("vocab_size");
            }
            if (gguf.has("tokenizer.ggml.tokens")) {
                int tokens = gguf.length("tokenizer.ggml.tokens");
                if (tokens < 1 || tokens > MAX_VOCABULARY) {
                    throw gguf.fault("key tokenizer.ggml.tokens: has " + tokens + " items, not 1 to " + MAX_VOCABULARY
                            + CONVERT);
                }
                if (size.isPresent() && size.getAsInt() != tokens) {
                    throw gguf.fault("key tokenizer.ggml.tokens: has " + tokens + " items where " + from + " says "
                            + size.getAsInt() + CONVERT);
                }
                size = OptionalInt.of(tokens);
                from = "key tokenizer.ggml.tokens";
            }
            for (GgufTensor tensor : gguf.tensors()) {
                if (tensor.name().equals("token_embd.weight")) {
                    long rows = tensor.rows();
                    if (rows > MAX_VOCABULARY || (size.isPresent() && size.getAsInt() != rows)) {
                        throw gguf.fault("tensor token_embd.weight: has " + rows + " rows where "
                                + (size.isPresent()
                                        ? from + " says " + size.getAsInt()
                                        : "at most " + MAX_VOCABULARY + " are allowed")
                                + CONVERT);
                    }
                    size = OptionalInt.of((int) rows);
                }
            }
            return size.orElseThrow(() -> gguf.fault("key " + key("vocab_size")
                    + ": is missing, and so are tokenizer.ggml.tokens and token_embd.weight" + CONVERT));
        }

        /** A factor of the scaling; converters write 0 for "none". */
        private float factor(String key) {
            float value = number(key, 0, 1e6f);
            return value == 0 ? 1 : value;
        }

        private String ropeFactorKey() {
            boolean old = !gguf.has(key("rope.scaling.factor")) && gguf.has(key("rope.scale_linear"));
            return old ? "rope.scale_linear" : "rope.scaling.factor";
        }

        /** The type of scaling: what the operator asks for, or as the file names it. */
        private String scaling() {
            if (!rope.type().isEmpty()) {
                return rope.type();
            }
            String type = gguf.string(key("rope.scaling.type"), gguf.has(key(ropeFactorKey())) ? "linear" : "none");
            boolean unscaled = type.equals("none") || type.equals("longrope"); // checkRope refuses factors of longrope
            return unscaled && rope.scale() > 0 ? "linear" : type;
        }

        private float ropeBase() {
            if (rope.base() > 0) {
                return rope.base();
            }
            return gguf.has(key("rope.freq_base")) ? number("rope.freq_base", 1, RopeScaling.MAX_BASE) : 10000f;
        }

        /** The positions that the model was trained for before any scaling. */
        private int originalContext() {
            return rope.originalContext() > 0
                    ? rope.originalContext()
                    : size("rope.scaling.original_context_length", sizeUpTo("context_length", MAX_CONTEXT));
        }

        /** The context of the file, or a longer one by the scale that the operator asks for. */
        private int contextLength() {
            int ofFile = sizeUpTo("context_length", MAX_CONTEXT);
            if (!rope.replacesScaling()) {
                return ofFile;
            }
            return (int) Math.clamp((double) originalContext() * ropeScale(), ofFile, (double) MAX_CONTEXT);
        }

        /** What the operator asks for is computed or refused. */
        private void checkRope() {
            if (!rope.replacesScaling()) {
                return;
            }
            for (String name : List.of("rope_freqs.weight", LONG_FACTORS, SHORT_FACTORS)) {
                if (gguf.hasTensor(name)) {
                    throw gguf.fault("tensor " + name + ": scales the rotation already, for a context of "
                            + sizeUpTo("context_length", MAX_CONTEXT) + " positions; leave other scaling out");
                }
            }
            boolean scaled = rope.scale() > 0 || gguf.has(key(ropeFactorKey()));
            if (!scaled && !rope.type().equals("none")) {
                throw gguf.fault(
                        "other scaling of the rotation needs a scale, how many times longer the context becomes,"
                                + " since the file has none; give one");
            }
        }

        /** The factor of linear scaling or of YaRN. Llama 3's scaling has no key; it is the tensor {@code rope_freqs.weight}. */
        @Override
        public float ropeScale() {
            String factorKey = ropeFactorKey();
            return switch (scaling()) {
                case "none" -> 1;
                case "linear", "yarn" -> rope.scale() > 0 ? rope.scale() : factor(factorKey);
                case "longrope" -> {
                    if (LONGROPE.contains(architecture)) {
                        boolean tensors = gguf.hasTensor(LONG_FACTORS);
                        yield tensors || !gguf.has(key(factorKey)) ? 1 : factor(factorKey); // else it is linear
                    }
                    throw gguf.fault("key " + key("rope.scaling.type") + ": is longrope" + ANOTHER_MODEL);
                }
                default ->
                    throw gguf.fault("key " + key("rope.scaling.type") + ": is "
                            + gguf.describe(key("rope.scaling.type"), SHOWN_CHARS)
                            + ", which this version cannot compute (it computes none, linear, yarn and Llama 3's"
                            + " rope_freqs.weight); use another model");
            };
        }

        /**
         * Refuses features that Quire does not compute. Without them the text would be wrong in ways that are hard to
         * notice.
         */
        private void refuseWhatIsNotComputed() {
            boolean encoder = ENCODERS.contains(architecture);
            if (gguf.bool(key("attention.causal"), !encoder) == encoder) {
                throw gguf.fault("key " + key("attention.causal") + ": attends to "
                        + (encoder ? "earlier positions only" : "later positions too") + ANOTHER_MODEL);
            }
        }

        /** Refuses factors, limits and a window that the architecture's description does not have. */
        private void refuseFactors() {
            if (!described.contains(SECTIONS) && gguf.has(key(SECTIONS))) {
                throw gguf.fault(
                        "key " + key(SECTIONS) + ": rotates by several positions (for images)" + ANOTHER_MODEL);
            }
            if (!described.contains("attention.kv_lora_rank") && gguf.has(key("attention.kv_lora_rank"))) {
                throw gguf.fault(
                        "key " + key("attention.kv_lora_rank") + ": has keys and values of a latent" + ANOTHER_MODEL);
            }
            if (!architecture.equals("llama4") && size("interleave_moe_layer_step", 1) != 1) {
                throw gguf.fault("key " + key("interleave_moe_layer_step") + ": is "
                        + size("interleave_moe_layer_step", 1) + ANOTHER_MODEL);
            }
            if (!described.contains(PARALLEL) && gguf.bool(key(PARALLEL), false)) {
                throw gguf.fault("key " + key(PARALLEL) + ": has parallel residuals" + ANOTHER_MODEL);
            }
            if (!described.contains("expert_count") && size("expert_count", 0) > 1) {
                throw gguf.fault("key " + key("expert_count") + ": is a mixture of " + size("expert_count", 0)
                        + " experts" + ANOTHER_MODEL);
            }
            for (String suffix : FACTORS) {
                refuseUnlessNeutral(suffix, 1);
            }
            for (String suffix : LIMITS_AND_SCALES) {
                refuseUnlessNeutral(suffix, 0);
            }
            if (!described.contains("attention.sliding_window") && window() > 0 && window() < contextLength()) {
                throw gguf.fault("key " + key("attention.sliding_window") + ": the model attends to its last "
                        + window() + " positions only" + ANOTHER_MODEL);
            }
        }

        private void refuseUnlessNeutral(String suffix, float neutral) {
            // Converters write 0 for "none".
            float value = described.contains(suffix) ? 0 : gguf.float32(key(suffix), 0);
            if (value != 0 && value != neutral) {
                throw gguf.fault("key " + key(suffix) + ": is " + value + ANOTHER_MODEL);
            }
        }
    }
}
