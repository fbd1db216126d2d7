package quire.model.format;

import java.nio.file.Path;
import java.util.List;
import java.util.SplittableRandom;
import quire.tensor.ElementType;

/**
 * Writes small models with random weights of every architecture that Quire computes, with the vocabulary of {@link
 * RandomModels}. Windows are 16 positions long, so that a short text leaves them.
 */
public final class FamilyModels {
    private static final int HIDDEN = 64;
    private static final int FEED_FORWARD = 96;
    private static final int LAYERS = 4;
    private static final int HEADS = 4;
    private static final int KV_HEADS = 2;

    private FamilyModels() {}

    /** Writes a model into a folder. */
    public static Path write(Path folder, String architecture, ElementType type, long seed) {
        return writer(architecture, type, seed).write(folder.resolve(architecture + "-" + type + "-" + seed + ".gguf"));
    }

    /** The same as a writer, for tests that change something. */
    public static GgufWriter writer(String architecture, ElementType type, long seed) {
        return new Family(architecture, type, seed).writer();
    }

    private static final class Family {
        private final String name;
        private final ElementType type;
        private final SplittableRandom random;
        private final GgufWriter writer;

        Family(String name, ElementType type, long seed) {
            this.name = name;
            this.type = type;
            random = new SplittableRandom(seed * 31 + name.hashCode());
            writer = new GgufWriter().string("general.architecture", name);
        }

        GgufWriter writer() {
            boolean layerNorm =
                    List.of("command-r", "cohere2", "starcoder2", "stablelm").contains(name);
            boolean normBias = List.of("starcoder2", "stablelm").contains(name);
            boolean qkvBias = List.of("qwen2", "starcoder2", "stablelm", "glm4").contains(name);
            boolean fused = List.of("phi3", "glm4").contains(name);
            boolean after = List.of("gemma2", "gemma3", "olmo2", "glm4").contains(name);
            boolean before = !name.equals("olmo2");
            boolean oneNorm = List.of("command-r", "cohere2").contains(name);
            int headDim = List.of("qwen3", "gemma").contains(name) ? 32 : 16;
            int rotated = List.of("stablelm", "glm4", "phi3").contains(name) ? 8 : headDim;
            size("context_length", 512);
            size("embedding_length", HIDDEN);
            size("feed_forward_length", FEED_FORWARD);
            size("block_count", LAYERS);
            size("attention.head_count", HEADS);
            size("attention.head_count_kv", KV_HEADS);
            size("attention.key_length", headDim);
            size("attention.value_length", headDim);
            size("rope.dimension_count", rotated);
            number(layerNorm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", 1e-5f);
            number("rope.freq_base", 20000);
            switch (name) {
                case "gemma2" -> {
                    size("attention.sliding_window", 16);
                    number("attn_logit_softcapping", 5);
                    number("final_logit_softcapping", 10);
                }
                case "gemma3" -> {
                    size("attention.sliding_window", 16);
                    size("attention.sliding_window_pattern", 3);
                    writer.string(name + ".rope.scaling.type", "linear");
                    number("rope.scaling.factor", 8);
                }
                case "cohere2" -> {
                    size("attention.sliding_window", 16);
                    number("logit_scale", 0.5f);
                }
                case "command-r" -> number("logit_scale", 0.5f);
                case "llama" -> size("attention.sliding_window", 16);
                case "granite" -> {
                    number("embedding_scale", 2);
                    number("residual_scale", 0.4f);
                    number("attention.scale", 0.1f);
                    number("logit_scale", 4);
                }
                case "phi3" -> {
                    size("rope.scaling.original_context_length", 128);
                    number("rope.scaling.attn_factor", 1.2f);
                    vector("rope_factors_long.weight", rotated / 2, 1, 8);
                    vector("rope_factors_short.weight", rotated / 2, 1, 2);
                }
                default -> {}
            }
            RandomModels.vocabulary(writer);
            matrix("token_embd.weight", HIDDEN, RandomModels.VOCABULARY_SIZE, name.startsWith("gemma") ? 0.25 : 2);
            norm("output_norm", HIDDEN, normBias);
            if (!name.startsWith("gemma") && !name.equals("qwen2")) {
                matrix("output.weight", HIDDEN, RandomModels.VOCABULARY_SIZE, 2);
            }
            for (int layer = 0; layer < LAYERS; layer++) {
                String block = "blk." + layer + ".";
                int queryWidth = HEADS * headDim;
                int kvWidth = KV_HEADS * headDim;
                if (before) {
                    norm(block + "attn_norm", HIDDEN, normBias);
                }
                if (fused) {
                    projection(block + "attn_qkv", HIDDEN, queryWidth + 2 * kvWidth, qkvBias);
                } else {
                    projection(block + "attn_q", HIDDEN, queryWidth, qkvBias);
                    projection(block + "attn_k", HIDDEN, kvWidth, qkvBias);
                    projection(block + "attn_v", HIDDEN, kvWidth, qkvBias);
                }
                switch (name) {
                    case "qwen3", "gemma3" -> {
                        norm(block + "attn_q_norm", headDim, false);
                        norm(block + "attn_k_norm", headDim, false);
                    }
                    case "olmo2" -> {
                        norm(block + "attn_q_norm", queryWidth, false);
                        norm(block + "attn_k_norm", kvWidth, false);
                    }
                    default -> {}
                }
                projection(block + "attn_output", queryWidth, HIDDEN, name.equals("starcoder2"));
                if (after) {
                    norm(block + "post_attention_norm", HIDDEN, false);
                    norm(block + "post_ffw_norm", HIDDEN, false);
                }
                if (before && !oneNorm) {
                    norm(block + "ffn_norm", HIDDEN, normBias);
                }
                boolean plain = name.equals("starcoder2");
                if (!fused && !plain) {
                    projection(block + "ffn_gate", HIDDEN, FEED_FORWARD, false);
                }
                projection(block + "ffn_up", HIDDEN, fused ? 2 * FEED_FORWARD : FEED_FORWARD, plain);
                projection(block + "ffn_down", FEED_FORWARD, HIDDEN, plain);
            }
            return writer;
        }

        private void size(String suffix, long value) {
            writer.uint32(name + "." + suffix, value);
        }

        private void number(String suffix, float value) {
            writer.float32(name + "." + suffix, value);
        }

        private void projection(String stem, int columns, int rows, boolean bias) {
            matrix(stem + ".weight", columns, rows, 1.5);
            if (bias) {
                vector(stem + ".bias", rows, -0.3, 0.3);
            }
        }

        private void norm(String stem, int length, boolean bias) {
            vector(stem + ".weight", length, 0.6, 1.4);
            if (bias) {
                vector(stem + ".bias", length, -0.2, 0.2);
            }
        }

        private void matrix(String tensor, int columns, int rows, double gain) {
            float[] values = new float[columns * rows];
            for (int i = 0; i < values.length; i++) {
                values[i] = (float) (random.nextGaussian() * gain / Math.sqrt(columns));
            }
            writer.tensor(tensor, type, values, columns, rows);
        }

        private void vector(String tensor, int length, double from, double to) {
            float[] values = new float[length];
            for (int i = 0; i < length; i++) {
                values[i] = (float) random.nextDouble(from, to);
            }
            writer.tensor(tensor, ElementType.F32, values, length);
        }
    }
}
