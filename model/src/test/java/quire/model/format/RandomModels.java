package quire.model.format;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.function.Function;
import quire.tensor.ElementType;

/**
 * Writes small {@code llama} models with random weights and a byte-level vocabulary, for tests that need a whole model
 * without an external file.
 *
 * <p>A weight depends only on the seed, the name of the tensor and its index. So two types with the same seed are
 * roundings of the same numbers, and an additional bias changes nothing else. Matrices keep the variance of their
 * inputs, so the layers contribute more than the embedding, and attention is neither uniform nor one-hot. Logits have a
 * standard deviation of about 2; the entropy of the next token is about 4 of 5.8 nats. So there are no ties and no
 * loops of one token.
 */
public final class RandomModels {
    /**
     * Ids 0 to 255 are the bytes in GPT-2's order; then come the results of {@link #MERGES}, then the control tokens.
     */
    public static final int VOCABULARY_SIZE;

    /** Begins a text. */
    public static final int BOS;

    /** Ends a text. */
    public static final int EOS;

    /** Begins a turn of the chat template. */
    public static final int IM_START;

    /** Ends a turn of the chat template. */
    public static final int IM_END;

    /** ChatML. */
    public static final String CHAT_TEMPLATE =
            "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'"
                    + " + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    private static final List<String> CONTROLS =
            List.of("<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>", "<|pad|>");

    /** Pairs in the order of their rank; Ġ is a space. */
    private static final List<String> MERGES = List.of(
            "Ġ t", "h e", "i n", "Ġ a", "r e", "o n", "Ġt he", "e r", "Ġ s", "a t", "Ġ w", "Ġ o", "e n", "Ġ c", "i t",
            "i s", "a n", "o r", "e s", "Ġ b", "e d", "Ġ f", "in g", "Ġ p", "o u", "Ġa n", "a l", "a r", "Ġt o", "Ġ m",
            "Ġo f", "Ġ in", "Ġ d", "Ġ h", "Ġan d", "i c", "a s", "l e", "Ġt h", "i on", "o m", "l l", "en t", "Ġ n",
            "Ġ l", "s t", "Ġ re", "v e", "Ġ e", "r o", "l y", "Ġb e", "Ġ g", "Ġ T", "c t", "Ġ S", "i d", "o t", "Ġ I",
            "u t");

    private static final List<String> TOKENS = tokens();

    static {
        VOCABULARY_SIZE = TOKENS.size();
        BOS = TOKENS.indexOf("<|begin_of_text|>");
        EOS = TOKENS.indexOf("<|end_of_text|>");
        IM_START = TOKENS.indexOf("<|im_start|>");
        IM_END = TOKENS.indexOf("<|im_end|>");
    }

    private RandomModels() {}

    /**
     * The shape of the model. For quantised types {@code hidden}, {@code feedForward} and {@code heads × headDim} must
     * be multiples of 32.
     *
     * @param context number of positions in the metadata
     * @param hidden width of the residual stream
     * @param feedForward width of the feed-forward layer
     * @param layers number of blocks
     * @param heads number of query heads
     * @param kvHeads number of key and value heads
     * @param headDim numbers in a head; the heads need not add up to {@code hidden}
     * @param ropeDimensions rotated dimensions of a head
     * @param tied whether the output head is the embedding
     * @param ropeFreqs whether there is a {@code rope_freqs.weight}
     * @param biases whether each matrix of a block has a bias
     */
    public record Shape(
            int context,
            int hidden,
            int feedForward,
            int layers,
            int heads,
            int kvHeads,
            int headDim,
            int ropeDimensions,
            boolean tied,
            boolean ropeFreqs,
            boolean biases) {
        /** The smallest shape without special features: 2 blocks of 4 heads, 2 of them for K and V, not tied. */
        public static Shape tiny() {
            return new Shape(512, 64, 96, 2, 4, 2, 16, 16, false, false, false);
        }

        /**
         * A shape with all special features: heads wider than the residual stream and only half rotated, three query
         * heads for each KV head, tied, with frequencies and biases.
         */
        public static Shape odd() {
            return new Shape(512, 96, 160, 3, 6, 2, 32, 16, true, true, true);
        }

        /** As {@link #tiny}, with rows of whole blocks of 256. */
        public static Shape wide() {
            return new Shape(512, 256, 512, 2, 4, 2, 64, 64, false, false, false);
        }

        /** As {@link #odd}, with rows of whole blocks of 256. */
        public static Shape wideOdd() {
            return new Shape(512, 256, 768, 3, 8, 2, 96, 48, true, true, true);
        }

        /** {@link #tiny}, or {@link #wide} if the type needs it. */
        public static Shape plain(ElementType type) {
            return type.blockElements() > 32 ? wide() : tiny();
        }

        /** {@link #odd}, or {@link #wideOdd} if the type needs it. */
        public static Shape unusual(ElementType type) {
            return type.blockElements() > 32 ? wideOdd() : odd();
        }

        /** The same shape with another context length. */
        public Shape withContext(int context) {
            return new Shape(
                    context,
                    hidden,
                    feedForward,
                    layers,
                    heads,
                    kvHeads,
                    headDim,
                    ropeDimensions,
                    tied,
                    ropeFreqs,
                    biases);
        }

        /** The same shape, tied or not. */
        public Shape withTied(boolean tied) {
            return new Shape(
                    context,
                    hidden,
                    feedForward,
                    layers,
                    heads,
                    kvHeads,
                    headDim,
                    ropeDimensions,
                    tied,
                    ropeFreqs,
                    biases);
        }

        /** The same shape with another number of blocks. */
        public Shape withLayers(int layers) {
            return new Shape(
                    context,
                    hidden,
                    feedForward,
                    layers,
                    heads,
                    kvHeads,
                    headDim,
                    ropeDimensions,
                    tied,
                    ropeFreqs,
                    biases);
        }
    }

    /**
     * Writes a model into a folder.
     *
     * @param type type of the matrices; norms, biases and frequencies are F32
     * @return the file
     */
    public static Path write(Path folder, Shape shape, ElementType type, long seed) {
        String name =
                "random-%08x-%s-%d.gguf".formatted(shape.hashCode(), type.name().toLowerCase(Locale.ROOT), seed);
        return writer(shape, type, seed).write(folder.resolve(name));
    }

    /**
     * Writes a model with the types of usual Q4_K_M files: Q6_K for the output head, the embedding, and attn_v and
     * ffn_down of half of the blocks; Q4_K for the rest.
     *
     * @param shape a shape whose rows are whole blocks of 256
     * @return the file
     */
    public static Path writeMixed(Path folder, Shape shape, long seed) {
        String name = "random-%08x-mixed-%d.gguf".formatted(shape.hashCode(), seed);
        return writer(shape, "Q4_K_M", RandomModels::mixed, seed).write(folder.resolve(name));
    }

    private static ElementType mixed(String stem) {
        boolean evenBlock = stem.matches("blk\\.\\d*[02468]\\..*");
        boolean fine = evenBlock ? stem.endsWith("attn_v") || stem.endsWith("ffn_down") : !stem.startsWith("blk.");
        return fine ? ElementType.Q6_K : ElementType.Q4_K;
    }

    /** The same as a writer, for tests that change something. */
    public static GgufWriter writer(Shape shape, ElementType type, long seed) {
        return writer(shape, type.name(), stem -> type, seed);
    }

    private static GgufWriter writer(Shape shape, String typeName, Function<String, ElementType> typeOf, long seed) {
        GgufWriter writer = new GgufWriter()
                .string("general.architecture", "llama")
                .string("general.name", "random " + typeName)
                .uint32("llama.context_length", shape.context())
                .uint32("llama.embedding_length", shape.hidden())
                .uint32("llama.feed_forward_length", shape.feedForward())
                .uint32("llama.block_count", shape.layers())
                .uint32("llama.attention.head_count", shape.heads())
                .uint32("llama.attention.head_count_kv", shape.kvHeads())
                .uint32("llama.attention.key_length", shape.headDim())
                .uint32("llama.attention.value_length", shape.headDim())
                .float32("llama.attention.layer_norm_rms_epsilon", 1e-5f)
                .float32("llama.rope.freq_base", 10000)
                .uint32("llama.rope.dimension_count", shape.ropeDimensions())
                .uint32("llama.vocab_size", VOCABULARY_SIZE);
        vocabulary(writer);

        int hidden = shape.hidden();
        int queryWidth = shape.heads() * shape.headDim();
        int kvWidth = shape.kvHeads() * shape.headDim();
        int feedForward = shape.feedForward();
        Weights weights = new Weights(writer, typeOf, seed, shape.biases());
        // Normalised states have the length √hidden, so the standard deviation of logits is 2.
        weights.matrix("token_embd", hidden, VOCABULARY_SIZE, 2, false);
        weights.norm("output_norm", hidden);
        if (!shape.tied()) {
            weights.matrix("output", hidden, VOCABULARY_SIZE, 2, false);
        }
        if (shape.ropeFreqs()) {
            weights.frequencies(shape.ropeDimensions() / 2);
        }
        for (int layer = 0; layer < shape.layers(); layer++) {
            String block = "blk." + layer + ".";
            weights.norm(block + "attn_norm", hidden);
            weights.matrix(block + "attn_q", hidden, queryWidth, 1.5, true);
            weights.matrix(block + "attn_k", hidden, kvWidth, 1.5, true);
            weights.matrix(block + "attn_v", hidden, kvWidth, 1.5, true);
            weights.matrix(block + "attn_output", queryWidth, hidden, 1.5, true);
            weights.norm(block + "ffn_norm", hidden);
            weights.matrix(block + "ffn_gate", hidden, feedForward, 1.5, true);
            weights.matrix(block + "ffn_up", hidden, feedForward, 1.5, true);
            weights.matrix(block + "ffn_down", feedForward, hidden, 1.5, true);
        }
        return writer;
    }

    /** Writes the vocabulary and the chat template. */
    static void vocabulary(GgufWriter writer) {
        writer.string("tokenizer.ggml.model", "gpt2")
                .string("tokenizer.ggml.pre", "llama-bpe")
                .strings("tokenizer.ggml.tokens", TOKENS)
                .int32s("tokenizer.ggml.token_type", tokenTypes())
                .strings("tokenizer.ggml.merges", MERGES)
                .uint32("tokenizer.ggml.bos_token_id", BOS)
                .uint32("tokenizer.ggml.eos_token_id", EOS)
                .uint32("tokenizer.ggml.eot_token_id", IM_END)
                .bool("tokenizer.ggml.add_bos_token", true)
                .string("tokenizer.chat_template", CHAT_TEMPLATE);
    }

    /** Random tensors, each from its own random stream. */
    private record Weights(GgufWriter writer, Function<String, ElementType> typeOf, long seed, boolean biases) {
        private SplittableRandom random(String name) {
            return new SplittableRandom(seed * 0x9E3779B97F4A7C15L + name.hashCode());
        }

        /** @param gain standard deviation of an output if the standard deviation of the inputs is 1 */
        void matrix(String stem, int columns, int rows, double gain, boolean inBlock) {
            SplittableRandom random = random(stem + ".weight");
            float[] values = new float[columns * rows];
            for (int i = 0; i < values.length; i++) {
                values[i] = (float) (random.nextGaussian() * gain / Math.sqrt(columns));
            }
            writer.tensor(stem + ".weight", typeOf.apply(stem), values, columns, rows);
            if (biases && inBlock) {
                vector(stem + ".bias", rows, -0.2, 0.2);
            }
        }

        void norm(String stem, int length) {
            vector(stem + ".weight", length, 0.75, 1.25);
        }

        void frequencies(int length) {
            vector("rope_freqs.weight", length, 1, 8);
        }

        private void vector(String name, int length, double from, double to) {
            SplittableRandom random = random(name);
            float[] values = new float[length];
            for (int i = 0; i < length; i++) {
                values[i] = (float) random.nextDouble(from, to);
            }
            writer.tensor(name, ElementType.F32, values, length);
        }
    }

    private static List<String> tokens() {
        List<String> tokens = new ArrayList<>();
        // GPT-2 spells a byte as a visible character: itself, or the next free one from U+0100 on.
        List<String> unseen = new ArrayList<>();
        for (int b = 0; b < 256; b++) {
            boolean visible = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
            if (visible) {
                tokens.add(String.valueOf((char) b));
            } else {
                unseen.add(String.valueOf((char) (0x100 + unseen.size())));
            }
        }
        tokens.addAll(unseen);
        for (String merge : MERGES) {
            tokens.add(merge.replace(" ", ""));
        }
        tokens.addAll(CONTROLS);
        return List.copyOf(tokens);
    }

    private static int[] tokenTypes() {
        int[] types = new int[TOKENS.size()];
        Arrays.fill(types, 1); // normal
        Arrays.fill(types, types.length - CONTROLS.size(), types.length, 3); // control
        return types;
    }
}
