package quire.model;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.function.IntPredicate;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import quire.tensor.Activation;

/**
 * How the blocks of a model compute, apart from their sizes. {@link Decoder} computes every architecture in one pass
 * over its blocks; this description chooses the parts. {@link Architectures} has a method for each architecture.
 *
 * <pre>
 *   x ──┬─▶ norm ─▶ q k v ─▶ head norms ─▶ rotation ─▶ attention ─▶ output ─▶ norm after ─▶ × factor ─▶ + ──┬─▶ …
 *       └──────────────────────────────────────────────────────────────────────────────────────────────┘
 *   x ──┬─▶ norm ─▶ gate, up ─▶ activation ─▶ down ─▶ norm after ─▶ × factor ─▶ +
 *       └────────────────────────────────────────────────────────────────────┘
 *   x ──┬─▶ norm ─▶ attention … ──────▶ + ──┬─▶ …     both parts beside each other, with one norm or with two
 *       ├─▶ norm ─▶ feed-forward … ───▶ +   │
 *       └──────────────────────────────────┘
 * </pre>
 *
 * <p>Some things are no part of it, because the tensors of a file show them: biases, a tied head, and matrices that are
 * stored together (q, k, v; gate and up).
 *
 * @param norm the kind of all norms of the residual stream
 * @param normBefore whether attention and feed-forward read a norm of the residual stream, or the stream itself
 * @param normAfter whether their results pass a norm before they are added
 * @param normSum whether the residual stream itself passes a norm behind each part, in place of norms before or after
 * @param bareFirst whether the first block's attention reads the residual stream without a norm
 * @param encoder whether every position sees all others of its text, later ones too; then there is no head, and a window
 *     reaches half as far in both directions
 * @param vectorHead numbers between two matrices that vectors pass at last; 0 if there are none
 * @param embeddingNorm whether embeddings pass a norm, with rows for their positions and types added before if the file has
 *     them
 * @param headNorm the norms of queries and keys
 * @param parallel whether attention and feed-forward read the same residual stream, so that their results are added together
 * @param twoNorms whether they then read a norm each; else both read the same one
 * @param activation the function of the feed-forward layer
 * @param gated whether its result is multiplied with a second product of the inputs
 * @param halves whether the rotation pairs number i of a head with the number half of the rotated dimensions further;
 *     else with its neighbour
 * @param attentionScale factor of the scores; 0 for {@code 1 / sqrt(headDim)}
 * @param attentionCap soft limit of the scores; 0 for none
 * @param logitCap soft limit of the logits; 0 for none
 * @param embeddingFactor factor of the embeddings
 * @param residualFactor factor of what attention and feed-forward add to the residual stream
 * @param logitFactor factor of the logits
 * @param window how many positions a query sees in the layers with a window, its own included; 0 if no layer has one
 * @param fullEvery of this many layers, the last sees all positions; 0 if all layers have the window, or if {@code windows}
 *     says it
 * @param windows for each block, whether it has the window; empty if {@code fullEvery} says it
 * @param chunked whether windows are chunks: a query sees no positions before the last multiple of the window
 * @param windowBase base of the rotation in layers with a window, without scaling; 0 if it is as in the others
 * @param onlyWindowsRotate whether only the layers with a window rotate queries and keys
 * @param unrotatedEvery of this many layers, the last does not rotate; 0 if all rotate
 * @param rotationFactor factor of the cosines and sines of the rotation
 * @param yarn which pairs YaRN scales; null if all are scaled alike
 * @param sinks whether the file gives each head a score that takes part in its softmax and has no value
 * @param temperature how queries grow with their position; null if they do not
 * @param gatedAttention whether what attention computes is multiplied with the sigmoid of a product of the inputs, whose
 *     matrix is stored with that of the queries, head by head
 * @param valueNorm whether each head's values are normalised, without weights; such layers may have no matrix of values,
 *     whose place the keys take before their norm
 * @param sharingLayers number of last layers without keys and values of their own: they read those of the last other layer
 *     that has a window as they have, or none as they have
 * @param layerInputs numbers of what each layer reads besides the residual stream, see {@link LayerInputs}; 0 for nothing
 * @param streams the residual streams if there are several, see {@link ResidualStreams}; null for one
 * @param sparsity by block: how many standard deviations above the mean the inputs of the activation must be, of which that
 *     limit is subtracted; those below it become 0. {@code -Infinity} leaves them; empty if all blocks do
 * @param learnedPositions whether the file has a row for each position that is added to embeddings
 * @param inputLimit magnitude that queries, keys and values are limited to before their norms and rotation; 0 for none
 * @param mixerNorm name of the norm before attention in the file, without its block
 * @param feedForwardNorm name of the norm before the feed-forward layer in the file, without its block
 * @param outputNorm name of the norm before the head in the file; empty if there is none
 * @param mixture the experts of the feed-forward layers; null if there are none
 * @param latent the latent that keys and values of all heads are made of; null if there is none
 * @param recurrence the layers that have no attention; null if all have it
 * @param parts the parts of each block; empty if all blocks have attention or a recurrence, and a feed-forward layer
 */
public record Architecture(
        Norm norm,
        boolean normBefore,
        boolean normAfter,
        boolean normSum,
        boolean bareFirst,
        boolean encoder,
        int vectorHead,
        boolean embeddingNorm,
        HeadNorm headNorm,
        boolean parallel,
        boolean twoNorms,
        Activation activation,
        boolean gated,
        boolean halves,
        float attentionScale,
        float attentionCap,
        float logitCap,
        float embeddingFactor,
        float residualFactor,
        float logitFactor,
        int window,
        int fullEvery,
        List<Boolean> windows,
        boolean chunked,
        float windowBase,
        boolean onlyWindowsRotate,
        int unrotatedEvery,
        float rotationFactor,
        @Nullable Yarn yarn,
        boolean sinks,
        @Nullable Temperature temperature,
        boolean gatedAttention,
        boolean valueNorm,
        int sharingLayers,
        int layerInputs,
        @Nullable Streams streams,
        List<Float> sparsity,
        boolean learnedPositions,
        float inputLimit,
        String mixerNorm,
        String feedForwardNorm,
        String outputNorm,
        @Nullable Mixture mixture,
        @Nullable Latent latent,
        @Nullable Recurrence recurrence,
        List<Part> parts) {

    /** Copies the lists. */
    public Architecture {
        windows = List.copyOf(windows);
        sparsity = List.copyOf(sparsity);
        parts = List.copyOf(parts);
    }

    /** What a block has. */
    public enum Part {
        /** See {@link Recurrence}. */
        RECURRENCE,
        /** Attention. */
        ATTENTION,
        /** A feed-forward layer, with or without experts. */
        FEED_FORWARD,
        /** Attention and a feed-forward layer, as in most models. */
        BOTH,
        /** Nothing: the block passes on what it reads. */
        NONE
    }

    /**
     * Attention with a latent (MLA). A position has one latent for the keys and values of all heads, and one key that is
     * rotated. A head's query has a part for each of them. {@link LatentAttention} shows the products.
     *
     * @param queryRank size of the latent that queries are made of; 0 if they are made of the inputs
     * @param rank size of the latent of keys and values
     * @param plainDim numbers of a query that are not rotated
     * @param rotatedDim numbers of a query, and of the key, that are rotated
     * @param valueDim numbers of a head's values
     */
    public record Latent(int queryRank, int rank, int plainDim, int rotatedDim, int valueDim) {
        /** Numbers of a head's query. */
        int queryDim() {
            return plainDim + rotatedDim;
        }
    }

    /**
     * YaRN's choice of the pairs that are scaled. Pairs that turn more than {@code betaFast} times in the original context
     * keep their angles, those that turn less than {@code betaSlow} times are divided by {@link ModelConfig#ropeScale}, and
     * the pairs between get a mixture of both.
     *
     * @param originalContext number of positions before the context was extended
     * @param betaFast turns
     * @param betaSlow turns
     */
    public record Yarn(int originalContext, float betaFast, float betaSlow) {}

    /**
     * Queries at position p are multiplied with {@code 1 + scale × ln(1 + ⌊(p + offset) / positions⌋)}, so that attention
     * stays sharp in long texts.
     *
     * @param scale factor of the logarithm
     * @param positions number of positions with the same factor
     * @param offset added to the position
     * @param unrotated whether only layers without rotation do this
     */
    public record Temperature(float scale, int positions, int offset, boolean unrotated) {
        /** The factor of a query. */
        float factor(int position) {
            return (float) (1 + scale * StrictMath.log(1 + Math.floorDiv(position + offset, positions)));
        }
    }

    /**
     * Residual streams and the short way around attention beside them.
     *
     * @param count number of streams, at least 2
     * @param rank numbers of a row between the two products of the short way
     */
    public record Streams(int count, int rank) {}

    /** A kind of norm. */
    public enum Norm {
        /** Divides by the root of the mean square. */
        RMS,
        /** Subtracts the mean, then divides by the standard deviation; with a bias if the file has one. */
        LAYER,
        /** The same, without weights. */
        PLAIN_LAYER
    }

    /** The norms of queries and keys: RMS norms, if nothing else is said. */
    public enum HeadNorm {
        /** There are none. */
        NONE,
        /** Each head is normalised for itself, before its rotation. */
        EACH,
        /** Each head is normalised for itself, after its rotation. */
        EACH_ROTATED,
        /** Each head is normalised for itself, without weights, after its rotation; not in layers without rotation. */
        EACH_ROTATED_PLAIN,
        /** Each head has a layer norm with weights of its own, before its rotation. */
        EACH_LAYER,
        /** All heads of a row are normalised together, before their rotation. */
        ALL;

        /** Whether heads are normalised one by one. */
        boolean isEach() {
            return this == EACH || this == EACH_LAYER || followsRotation();
        }

        /** Whether all heads have the same weights. */
        boolean sharesWeights() {
            return isEach() && this != EACH_LAYER;
        }

        /** Whether the rotation comes first. */
        boolean followsRotation() {
            return this == EACH_ROTATED || this == EACH_ROTATED_PLAIN;
        }

        /** Whether the norms have weights. */
        boolean hasWeights() {
            return this != NONE && this != EACH_ROTATED_PLAIN;
        }
    }

    /** How a layer rotates queries and keys. */
    public enum Rotation {
        /** Not at all. */
        NONE,
        /** With the model's base and scaling. */
        GENERAL,
        /** With {@link Architecture#windowBase}. */
        WINDOW
    }

    /** Whether a block has attention or a recurrence. */
    boolean mixes(int layer) {
        return parts.isEmpty() || (parts.get(layer) != Part.FEED_FORWARD && parts.get(layer) != Part.NONE);
    }

    /** Whether a block has attention. */
    boolean attends(int layer) {
        return mixes(layer) && (recurrence == null || recurrence.beside() || !recurrence.isIn(layer));
    }

    /** Whether the attention or recurrence of a block reads a norm of the residual stream. */
    boolean normsMixer(int layer) {
        return normBefore && mixes(layer) && !(bareFirst && layer == 0);
    }

    /** Whether a block has a recurrence. */
    boolean recurs(int layer) {
        return recurrence != null && recurrence.isIn(layer);
    }

    /** Whether a block has a feed-forward layer. */
    boolean feedsForward(int layer) {
        return parts.isEmpty() || parts.get(layer) == Part.FEED_FORWARD || parts.get(layer) == Part.BOTH;
    }

    /** Whether a block has a feed-forward layer with experts. */
    boolean hasExperts(int layer) {
        return mixture != null && mixture.isIn(layer) && feedsForward(layer);
    }

    /** Whether a layer has the window. */
    boolean hasWindow(int layer) {
        boolean listed = windows.isEmpty() ? fullEvery == 0 || (layer + 1) % fullEvery != 0 : windows.get(layer);
        return listed && window > 0;
    }

    /** See {@link #sparsity}. */
    float sparsity(int layer) {
        return sparsity.isEmpty() ? Float.NEGATIVE_INFINITY : sparsity.get(layer);
    }

    /** The window of a layer in positions; 0 if it sees all. */
    public int window(int layer) {
        return hasWindow(layer) ? window : 0;
    }

    /** The rotation of a layer. */
    public Rotation rotation(int layer) {
        boolean hasWindow = hasWindow(layer);
        if ((onlyWindowsRotate && !hasWindow) || (unrotatedEvery > 0 && (layer + 1) % unrotatedEvery == 0)) {
            return Rotation.NONE;
        }
        return hasWindow && windowBase > 0 ? Rotation.WINDOW : Rotation.GENERAL;
    }

    /** The description in words, for display: one short phrase for each part. */
    public List<String> describe() {
        List<String> parts = new ArrayList<>();
        String kind =
                switch (norm) {
                    case RMS -> "RMS norm";
                    case LAYER -> "layer norm";
                    case PLAIN_LAYER -> "layer norm without weights";
                };
        if (encoder) {
            parts.add("every position sees the whole text");
        }
        parts.add(
                normSum
                        ? kind + " of the sum behind each part"
                        : kind + (normBefore ? normAfter ? " before and after" : " before" : " after") + " each part");
        if (headNorm != HeadNorm.NONE) {
            parts.add("queries and keys normalised " + (headNorm.isEach() ? "by head" : "whole")
                    + (headNorm.followsRotation() ? " after their rotation" : "")
                    + (headNorm == HeadNorm.EACH_LAYER ? " with a layer norm" : ""));
        }
        parts.add(
                parallel
                        ? "attention beside feed-forward" + (twoNorms ? ", each with its norm" : "")
                        : this.parts.isEmpty()
                                ? "attention, then feed-forward"
                                : this.parts.contains(Part.BOTH)
                                        ? "attention in " + count(this::mixes) + ", feed-forward in "
                                                + count(this::feedsForward) + " of " + this.parts.size() + " blocks"
                                        : "one part in each block");
        parts.add((gated ? "gated " : "plain ") + activation.label());
        parts.add(
                unrotatedEvery == 1
                        ? learnedPositions ? "learned positions" : "no rotation"
                        : "rotation of " + (halves ? "halves" : "neighbours")
                                + (onlyWindowsRotate ? " in layers with a window" : "")
                                + (unrotatedEvery > 0 ? ", none in every " + unrotatedEvery + "th layer" : ""));
        if (window > 0) {
            parts.add((chunked ? "chunks of " : "window of ") + window + " positions"
                    + (fullEvery > 0 ? ", none in every " + fullEvery + "th layer" : "")
                    + (windows.contains(false) ? " in " + Collections.frequency(windows, true) + " layers" : ""));
        }
        if (yarn != null) {
            parts.add("YaRN from " + yarn.originalContext + " positions");
        }
        if (sinks) {
            parts.add("attention sinks");
        }
        if (temperature != null) {
            parts.add("sharper attention from " + temperature.positions + " positions on"
                    + (temperature.unrotated ? " in layers without rotation" : ""));
        }
        if (gatedAttention) {
            parts.add("attention with a gate");
        }
        if (valueNorm) {
            parts.add("values normalised by head");
        }
        if (sharingLayers > 0) {
            parts.add("the last " + sharingLayers + " layers read keys and values of others");
        }
        if (layerInputs > 0) {
            parts.add("inputs of " + layerInputs + " numbers for each layer");
        }
        if (streams != null) {
            parts.add(streams.count + " residual streams, and a way around attention of rank " + streams.rank);
        }
        long sparse = sparsity.stream().filter(Float::isFinite).count();
        if (sparse > 0) {
            parts.add("sparse activations in " + sparse + " blocks");
        }
        if (latent != null) {
            parts.add("latent attention: a latent of " + latent.rank + " and a rotated key of " + latent.rotatedDim);
        }
        if (recurrence != null) {
            parts.add(recurrence.describe());
        }
        if (mixture != null) {
            parts.add(mixture.describe());
        }
        addNumber(parts, "attention scale", attentionScale, 0);
        addNumber(parts, "queries, keys and values limited to", inputLimit, 0);
        addNumber(parts, "soft cap of scores", attentionCap, 0);
        addNumber(parts, "soft cap of logits", logitCap, 0);
        addNumber(parts, "embeddings ×", embeddingFactor, 1);
        addNumber(parts, "residuals ×", residualFactor, 1);
        addNumber(parts, "logits ×", logitFactor, 1);
        return parts;
    }

    private long count(IntPredicate has) {
        return IntStream.range(0, parts.size()).filter(has).count();
    }

    private static void addNumber(List<String> parts, String name, float value, float usual) {
        if (value != usual) {
            parts.add(name + " " + value);
        }
    }

    /** Sets the parts that differ from Llama's. */
    static final class Builder {
        private Norm norm = Norm.RMS;
        private boolean normBefore = true;
        private boolean normAfter;
        private boolean normSum;
        private boolean bareFirst;
        private boolean encoder;
        private int vectorHead;
        private boolean embeddingNorm;
        private HeadNorm headNorm = HeadNorm.NONE;
        private boolean parallel;
        private boolean twoNorms;
        private Activation activation = Activation.SILU;
        private boolean gated = true;
        private boolean halves;
        private float attentionScale;
        private float attentionCap;
        private float logitCap;
        private float embeddingFactor = 1;
        private float residualFactor = 1;
        private float logitFactor = 1;
        private int window;
        private int fullEvery;
        private List<Boolean> windows = List.of();
        private boolean chunked;
        private float windowBase;
        private boolean onlyWindowsRotate;
        private int unrotatedEvery;
        private float rotationFactor = 1;
        private @Nullable Yarn yarn;
        private boolean sinks;
        private @Nullable Temperature temperature;
        private boolean gatedAttention;
        private boolean valueNorm;
        private int sharingLayers;
        private int layerInputs;
        private @Nullable Streams streams;
        private List<Float> sparsity = List.of();
        private boolean learnedPositions;
        private float inputLimit;
        private String mixerNorm = "attn_norm";
        private String feedForwardNorm = "ffn_norm";
        private String outputNorm = "output_norm";
        private @Nullable Mixture mixture;
        private @Nullable Latent latent;
        private @Nullable Recurrence recurrence;
        private List<Part> parts = List.of();

        Builder layerNorm() {
            norm = Norm.LAYER;
            return this;
        }

        Builder plainLayerNorm() {
            norm = Norm.PLAIN_LAYER;
            return this;
        }

        Builder normBeforeAndAfter() {
            normAfter = true;
            return this;
        }

        Builder normSum() {
            normBefore = false;
            normSum = true;
            return this;
        }

        Builder bareFirst(boolean value) {
            bareFirst = value;
            return this;
        }

        Builder vectorHead(int value) {
            vectorHead = value;
            return this;
        }

        Builder encoder() {
            encoder = true;
            return this;
        }

        Builder embeddingNorm() {
            embeddingNorm = true;
            return this;
        }

        Builder normOnlyAfter() {
            normBefore = false;
            normAfter = true;
            return this;
        }

        Builder headNorm(HeadNorm value) {
            headNorm = value;
            return this;
        }

        Builder parallel() {
            parallel = true;
            return this;
        }

        /** See {@link Architecture#twoNorms}. */
        Builder parallelWithTwoNorms() {
            twoNorms = true;
            return parallel();
        }

        Builder gelu() {
            return activation(Activation.GELU);
        }

        Builder exactGelu() {
            return activation(Activation.EXACT_GELU);
        }

        Builder activation(Activation value) {
            activation = value;
            return this;
        }

        Builder plain() {
            gated = false;
            return this;
        }

        Builder halves() {
            halves = true;
            return this;
        }

        Builder attentionScale(float value) {
            attentionScale = value;
            return this;
        }

        Builder caps(float scores, float logits) {
            attentionCap = scores;
            logitCap = logits;
            return this;
        }

        Builder factors(float embedding, float residual, float logit) {
            embeddingFactor = embedding;
            residualFactor = residual;
            logitFactor = logit;
            return this;
        }

        Builder window(int positions, int every) {
            window = positions;
            fullEvery = every;
            return this;
        }

        Builder windowBase(float base) {
            windowBase = base;
            return this;
        }

        Builder onlyWindowsRotate() {
            onlyWindowsRotate = true;
            return this;
        }

        Builder unrotatedEvery(int layers) {
            unrotatedEvery = layers;
            return this;
        }

        Builder rotationFactor(float value) {
            rotationFactor = value;
            return this;
        }

        Builder yarn(@Nullable Yarn value) {
            yarn = value;
            return this;
        }

        Builder sinks() {
            sinks = true;
            return this;
        }

        Builder temperature(@Nullable Temperature value) {
            temperature = value;
            return this;
        }

        Builder gatedAttention() {
            gatedAttention = true;
            return this;
        }

        /** @param absent of how many layers the last has no window, if the file does not say it */
        Builder window(Architectures.Keys keys, int absent) {
            return window(keys.window(), keys.fullEvery(absent)).windows(keys.windows());
        }

        Builder windows(List<Boolean> value) {
            windows = value;
            return this;
        }

        Builder chunked() {
            chunked = true;
            return this;
        }

        Builder valueNorm() {
            valueNorm = true;
            return this;
        }

        Builder sharingLayers(int value) {
            sharingLayers = value;
            return this;
        }

        Builder layerInputs(int value) {
            layerInputs = value;
            return this;
        }

        Builder streams(Streams value) {
            streams = value;
            return this;
        }

        Builder sparsity(List<Float> value) {
            sparsity = value;
            return this;
        }

        /** Positions are rows of the file, so that nothing rotates. */
        Builder learnedPositions() {
            learnedPositions = true;
            return unrotatedEvery(1);
        }

        Builder inputLimit(float value) {
            inputLimit = value;
            return this;
        }

        Builder mixerNorm(String name) {
            mixerNorm = name;
            return this;
        }

        Builder feedForwardNorm(String name) {
            feedForwardNorm = name;
            return this;
        }

        Builder outputNorm(String name) {
            outputNorm = name;
            return this;
        }

        Builder mixture(@Nullable Mixture value) {
            mixture = value;
            return this;
        }

        Builder latent(Latent value) {
            latent = value;
            return this;
        }

        Builder recurrence(Recurrence value) {
            recurrence = value;
            return this;
        }

        Builder parts(List<Part> value) {
            parts = value;
            return this;
        }

        Architecture build() {
            return new Architecture(
                    norm,
                    normBefore,
                    normAfter,
                    normSum,
                    bareFirst,
                    encoder,
                    vectorHead,
                    embeddingNorm,
                    headNorm,
                    parallel,
                    twoNorms,
                    activation,
                    gated,
                    halves,
                    attentionScale,
                    attentionCap,
                    logitCap,
                    embeddingFactor,
                    residualFactor,
                    logitFactor,
                    window,
                    fullEvery,
                    windows,
                    chunked,
                    windowBase,
                    onlyWindowsRotate,
                    unrotatedEvery,
                    rotationFactor,
                    yarn,
                    sinks,
                    temperature,
                    gatedAttention,
                    valueNorm,
                    sharingLayers,
                    layerInputs,
                    streams,
                    sparsity,
                    learnedPositions,
                    inputLimit,
                    mixerNorm,
                    feedForwardNorm,
                    outputNorm,
                    mixture,
                    latent,
                    recurrence,
                    parts);
        }
    }
}
