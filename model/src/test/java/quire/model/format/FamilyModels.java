package quire.model.format;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import quire.model.ModelConfig;
import quire.tensor.ElementType;

/**
 * Writes small models with random weights of every architecture that Quire computes, with the vocabulary of {@link
 * RandomModels}. Windows are 16 positions long, so that a short text leaves them.
 */
public final class FamilyModels {
    private static final int WIDE = 256;
    private static final int LAYERS = 4;
    private static final int HEADS = 4;
    private static final int KV_HEADS = 2;

    private static final int EXPERTS = 8;

    /** By block; the second block has no attention. */
    private static final int[] DECI_KV_HEADS = {KV_HEADS, 0, 1, HEADS};

    // Recurrent layers.
    private static final int ATTENTION_LAYER = 2;
    private static final int TAPS = 3;
    private static final int STATE = 24;
    private static final int STEP_RANK = 32;
    private static final int STATE_HEADS = 8;
    private static final int DELTA_KEYS = 16;
    private static final int DELTA_GROUPS = 2;
    private static final int DELTA_HEADS = 4;
    private static final int DELTA_CHANNELS = (2 * DELTA_GROUPS + DELTA_HEADS) * DELTA_KEYS;

    // Attention with a latent.
    private static final int PLAIN = 32;
    private static final int ROTATED = 16;

    /** Models of an architecture that has several kinds. */
    private static final Map<String, String> VARIANT_TO_ARCHITECTURE = Map.ofEntries(
            Map.entry("llama-moe", "llama"),
            Map.entry("llama-yarn", "llama"),
            Map.entry("granitehybrid-dense", "granitehybrid"),
            Map.entry("qwen3moe-groups", "qwen3moe"),
            Map.entry("deepseek2-lite", "deepseek2"),
            Map.entry("qwen3next-fused", "qwen3next"),
            Map.entry("qwen35-further", "qwen35"),
            Map.entry("gemma4-moe", "gemma4"),
            Map.entry("gemma3n-whole", "gemma3n"),
            Map.entry("mamba-normed", "mamba"),
            Map.entry("minicpm-longrope", "minicpm"),
            Map.entry("llama4-chunks", "llama4"),
            Map.entry("exaone4-windows", "exaone4"),
            Map.entry("glm4moe-norms", "glm4moe"),
            Map.entry("stablelm-parallel", "stablelm"),
            Map.entry("falcon-norms", "falcon"),
            Map.entry("gptneox-serial", "gptneox"),
            Map.entry("phimoe-longrope", "phimoe"),
            Map.entry("phimoe-centred", "phimoe"));

    /** All models that give logits: one of each architecture, and variants. Encoders can be written too. */
    public static final List<String> NAMES = Stream.concat(
                    ModelConfig.ARCHITECTURES.stream(),
                    VARIANT_TO_ARCHITECTURE.keySet().stream().sorted())
            .filter(name -> !ModelConfig.ENCODERS.contains(name))
            .toList();

    private FamilyModels() {}

    /** Writes a model into a folder. */
    public static Path write(Path folder, String name, ElementType type, long seed) {
        return writer(name, type, seed).write(folder.resolve(name + "-" + type + "-" + seed + ".gguf"));
    }

    /** The same as a writer, for tests that change something. */
    public static GgufWriter writer(String name, ElementType type, long seed) {
        return new Family(name, type, seed, false).writer();
    }

    /**
     * A model of two blocks whose rows are a multiple of 256 long, as the blocks of some types are, and whose matrices are
     * random bytes (see {@link RandomBlocks}). Rows that must be shorter are Q8_0. Each row uses all experts, so that rounding does
     * not choose others. For architectures without a list of attention heads by block.
     */
    public static GgufWriter wideWriter(String name, ElementType type, long seed) {
        return new Family(name, type, seed, true).writer();
    }

    private static final class Family {
        private final String variant;
        /** The architecture. */
        private final String name;

        private final ElementType type;
        private final boolean wide;
        private final int hidden;
        private final int feedForward;
        /** Of experts. */
        private final int narrow;

        private final int latentWidth;
        private final SplittableRandom random;
        private final GgufWriter writer;

        Family(String variant, ElementType type, long seed, boolean wide) {
            this.variant = variant;
            name = VARIANT_TO_ARCHITECTURE.getOrDefault(variant, variant);
            this.type = type;
            this.wide = wide;
            hidden = wide ? WIDE : 64;
            feedForward = wide ? WIDE : 96;
            narrow = wide ? WIDE : 32;
            latentWidth = wide ? WIDE : 64;
            random = new SplittableRandom(seed * 31 + variant.hashCode());
            writer = new GgufWriter().string("general.architecture", name);
        }

        GgufWriter writer() {
            if (name.equals("gemma4")) {
                return gemma4(variant.equals("gemma4-moe"));
            }
            if (name.startsWith("mamba")) {
                return mamba();
            }
            if (ModelConfig.ENCODERS.contains(name)) {
                return encoder();
            }
            if (name.equals("gemma3n")) {
                return gemma3n(variant.equals("gemma3n-whole"));
            }
            if (name.equals("openelm")) {
                return openelm();
            }
            boolean normBias = List.of(
                            "starcoder2",
                            "stablelm",
                            "nemotron",
                            "orion",
                            "phi2",
                            "falcon",
                            "jais2",
                            "gptneox",
                            "codeshell",
                            "gpt2",
                            "starcoder",
                            "phimoe")
                    .contains(name);
            boolean layerNorm = (normBias && !name.equals("phimoe"))
                    || List.of("command-r", "cohere2", "olmo", "dbrx").contains(name);
            boolean learned = List.of("gpt2", "starcoder").contains(name);
            boolean normed = !name.equals("olmo"); // with weights
            boolean attentionBias = List.of(
                            "starcoder2",
                            "phi2",
                            "jais2",
                            "gpt-oss",
                            "gptneox",
                            "codeshell",
                            "gpt2",
                            "starcoder",
                            "phimoe",
                            "pangu-embedded")
                    .contains(name);
            boolean deci = name.equals("deci");
            boolean qkvBias = List.of(
                            "qwen2",
                            "qwen2moe",
                            "starcoder2",
                            "stablelm",
                            "glm4",
                            "gpt-oss",
                            "qwen2vl",
                            "seed_oss",
                            "glm4moe",
                            "chatglm",
                            "phi2",
                            "jais2",
                            "gptneox",
                            "codeshell",
                            "gpt2",
                            "starcoder",
                            "phimoe",
                            "qwen",
                            "pangu-embedded")
                    .contains(name);
            boolean fused = List.of("phi3", "glm4", "chatglm").contains(name);
            boolean fusedQkv = fused
                    || learned
                    || List.of("bailingmoe2", "phi2", "falcon", "gptneox", "codeshell", "dbrx", "qwen")
                            .contains(name);
            boolean after =
                    List.of("gemma2", "gemma3", "olmo2", "glm4", "exaone4").contains(name);
            boolean moe = List.of(
                            "qwen3vlmoe",
                            "ernie4_5-moe",
                            "olmoe",
                            "granitemoe",
                            "glm4moe",
                            "dots1",
                            "bailingmoe",
                            "bailingmoe2",
                            "lfm2moe",
                            "deepseek",
                            "minimax-m2",
                            "hunyuan-moe",
                            "mellum",
                            "exaone-moe",
                            "phimoe",
                            "dbrx")
                    .contains(name);
            boolean gptOss = name.equals("gpt-oss");
            boolean experts = gptOss
                    || moe
                    || List.of(
                                    "llama-moe",
                                    "qwen2moe",
                                    "qwen3moe",
                                    "qwen3moe-groups",
                                    "deepseek2",
                                    "deepseek2-lite",
                                    "granitehybrid",
                                    "qwen3next",
                                    "qwen3next-fused",
                                    "qwen35moe",
                                    "nemotron_h_moe",
                                    "llama4",
                                    "llama4-chunks",
                                    "jamba")
                            .contains(variant);
            boolean delta = List.of("qwen3next", "qwen35", "qwen35moe").contains(name);
            boolean latent = name.equals("deepseek2");
            boolean dense = variant.equals("granitehybrid-dense");
            boolean shortConvolutions = name.startsWith("lfm2");
            boolean hybrid = delta
                    || List.of("lfm2", "lfm2moe", "granitehybrid", "jamba").contains(name);
            boolean lite = variant.equals("deepseek2-lite");
            boolean before = !List.of("olmo2", "exaone4").contains(name);
            int firstWithExperts = latent
                            || List.of(
                                            "ernie4_5-moe",
                                            "glm4moe",
                                            "dots1",
                                            "bailingmoe2",
                                            "lfm2moe",
                                            "deepseek",
                                            "exaone-moe")
                                    .contains(name)
                    ? 1
                    : 0;
            int kvHeads = List.of("dots1", "olmoe", "gptneox", "gpt2", "qwen").contains(name)
                    ? HEADS
                    : name.equals("starcoder") ? 1 : KV_HEADS;
            boolean parallelStableLm = variant.equals("stablelm-parallel");
            boolean oneNorm = parallelStableLm
                    || List.of("command-r", "cohere2", "phi2", "falcon", "plamo")
                            .contains(name);
            boolean falconH1 = name.equals("falcon-h1");
            int headDim =
                    wide ? WIDE / HEADS : List.of("qwen3", "qwen3moe", "gemma").contains(name) ? 32 : 16;
            int rotated = delta
                            || List.of(
                                            "stablelm",
                                            "glm4",
                                            "phi3",
                                            "glm4moe",
                                            "bailingmoe2",
                                            "minimax-m2",
                                            "nemotron",
                                            "chatglm",
                                            "phi2",
                                            "gptneox")
                                    .contains(name)
                    ? 8
                    : headDim;
            size("context_length", 1024);
            size("embedding_length", hidden);
            size("feed_forward_length", name.equals("qwen") ? 2L * feedForward : feedForward);
            boolean further = variant.equals("qwen35-further");
            // Only the model with 64 blocks has windows.
            int layers = wide ? 2 : variant.equals("exaone4-windows") ? 64 : LAYERS;
            size("block_count", further ? layers + 1 : layers);
            size("attention.head_count", HEADS);
            size("attention.head_count_kv", latent ? 1 : kvHeads);
            size("attention.key_length", latent ? latentWidth + ROTATED : headDim);
            size("attention.value_length", latent ? latentWidth : headDim);
            size("rope.dimension_count", latent ? ROTATED : rotated);
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
                    size("attention.sliding_window_pattern", wide ? 2 : 3);
                    writer.string(name + ".rope.scaling.type", "linear");
                    number("rope.scaling.factor", 8);
                }
                case "cohere2" -> {
                    size("attention.sliding_window", 16);
                    number("logit_scale", 0.5f);
                }
                case "command-r" -> number("logit_scale", 0.5f);
                case "gptneox" -> writer.bool("gptneox.use_parallel_residual", !variant.equals("gptneox-serial"));
                case "stablelm" -> writer.bool("stablelm.use_parallel_residual", parallelStableLm);
                case "olmo", "dbrx" -> number("attention.clamp_kqv", 1.2f);
                case "phimoe" -> {
                    if (variant.equals("phimoe-longrope")) {
                        longrope(rotated);
                    }
                }
                case "llama" -> {
                    if (!wide) { // llama.cpp does not apply it
                        size("attention.sliding_window", 16);
                    }
                }
                case "deci" -> {
                    for (String key :
                            List.of("attention.head_count", "attention.head_count_kv", "feed_forward_length")) {
                        writer.without("deci." + key);
                    }
                    writer.int32s("deci.attention.head_count", HEADS, 0, HEADS, HEADS)
                            .int32s("deci.attention.head_count_kv", KV_HEADS, 0, 1, HEADS)
                            .int32s("deci.feed_forward_length", feedForward, 32, 2 * feedForward, feedForward);
                }
                case "falcon-h1" -> stateSpaceSizes();
                case "mellum" -> {
                    size("attention.sliding_window", 16);
                    yarn(8);
                }
                case "exaone-moe" -> size("attention.sliding_window", 16);
                case "exaone4" -> size("attention.sliding_window", 16);
                case "llama4" -> {
                    size("expert_feed_forward_length", narrow);
                    size("interleave_moe_layer_step", 2);
                    if (variant.equals("llama4-chunks")) {
                        size("attention.sliding_window", 16);
                    }
                }
                case "qwen2moe" -> {
                    size("expert_feed_forward_length", narrow);
                    size("expert_shared_feed_forward_length", sharedWidth());
                }
                case "qwen3moe" -> size("expert_feed_forward_length", 2L * narrow);
                case "deepseek2" -> {
                    if (!lite) {
                        size("attention.q_lora_rank", queryRank());
                        size("expert_gating_func", 2);
                        if (!wide) { // without groups, because all experts are used
                            size("expert_group_count", 4);
                            size("expert_group_used_count", 2);
                        }
                        writer.bool("deepseek2.expert_weights_norm", true);
                        number("expert_weights_scale", 2.5f);
                    }
                    size("attention.kv_lora_rank", latentWidth);
                    size("attention.key_length_mla", PLAIN + ROTATED);
                    size("attention.value_length_mla", values());
                    size("leading_dense_block_count", 1);
                    size("expert_feed_forward_length", narrow);
                    size("expert_shared_count", 2);
                    yarn(8);
                    number("rope.scaling.yarn_log_multiplier", lite ? 0.0707f : 0.1f);
                }
                case "nemotron_h", "nemotron_h_moe" -> {
                    writer.without(name + ".attention.head_count_kv")
                            .int32s(name + ".attention.head_count_kv", 0, 0, KV_HEADS, 0)
                            .without(name + ".feed_forward_length")
                            .int32s(name + ".feed_forward_length", 0, feedForward, 0, feedForward);
                    number("attention.layer_norm_epsilon", 1e-5f);
                    stateSpaceSizes();
                    if (experts) {
                        size("expert_feed_forward_length", narrow);
                        size("expert_shared_count", 1);
                        size("expert_shared_feed_forward_length", sharedWidth());
                        size("expert_gating_func", 2);
                        writer.bool(name + ".expert_weights_norm", true);
                        number("expert_weights_scale", 1.5f);
                    }
                }
                case "granitehybrid" -> {
                    writer.without("granitehybrid.attention.head_count_kv")
                            .int32s("granitehybrid.attention.head_count_kv", 0, 0, KV_HEADS, 0);
                    number("embedding_scale", 2);
                    number("residual_scale", 0.4f);
                    number("attention.scale", 0.1f);
                    number("logit_scale", 4);
                    stateSpaceSizes();
                    if (!dense) {
                        writer.bool("granitehybrid.rope.scaling.finetuned", false);
                        size("expert_shared_feed_forward_length", sharedWidth());
                    }
                }
                case "qwen3next", "qwen35", "qwen35moe" -> {
                    size("ssm.conv_kernel", TAPS + 1);
                    size("ssm.inner_size", DELTA_HEADS * DELTA_KEYS);
                    size("ssm.state_size", DELTA_KEYS);
                    size("ssm.time_step_rank", DELTA_HEADS);
                    size("ssm.group_count", DELTA_GROUPS);
                    size("full_attention_interval", ATTENTION_LAYER + 1);
                    if (!name.equals("qwen3next")) {
                        writer.int32s(name + ".rope.dimension_sections", 2, 1, 1, 0);
                    }
                    if (experts) {
                        size("expert_feed_forward_length", narrow);
                        size("expert_shared_feed_forward_length", sharedWidth());
                    }
                    if (further) {
                        size("nextn_predict_layers", 1);
                    }
                }
                case "jamba" -> {
                    writer.without("jamba.attention.head_count_kv")
                            .int32s("jamba.attention.head_count_kv", 0, 0, KV_HEADS, 0);
                    selectiveSizes();
                }
                case "lfm2", "lfm2moe" -> {
                    writer.without(name + ".attention.head_count_kv")
                            .int32s(name + ".attention.head_count_kv", 0, 0, KV_HEADS, 0);
                    size("shortconv.l_cache", TAPS);
                }
                case "gpt-oss" -> {
                    size("attention.sliding_window", 16);
                    size("expert_feed_forward_length", narrow);
                    yarn(16);
                }
                case "mistral3" -> {
                    yarn(16);
                    writer.without("mistral3.rope.scaling.original_context_length");
                    size("rope.scaling.original_context_length", 16);
                    number("rope.scaling.yarn_log_multiplier", 0.7f);
                    number("attention.temperature_scale", 0.1f);
                }
                case "qwen2vl", "qwen3vl", "qwen3vlmoe" -> writer.int32s(name + ".rope.dimension_sections", 3, 3, 2, 0);
                case "minicpm" -> {
                    number("logit_scale", 0.5f);
                    if (variant.equals("minicpm-longrope")) {
                        longrope(rotated);
                    }
                }
                case "granite", "granitemoe" -> {
                    number("embedding_scale", 2);
                    number("residual_scale", 0.4f);
                    number("attention.scale", 0.1f);
                    number("logit_scale", 4);
                }
                case "phi3" -> longrope(rotated);
                default -> {}
            }
            if (experts) {
                size("expert_count", EXPERTS);
                int used = variant.equals("phimoe-centred")
                        ? 1
                        : List.of("hunyuan-moe", "phimoe").contains(name) ? 2 : name.equals("llama4") ? 1 : 3;
                size("expert_used_count", wide ? EXPERTS : used);
            }
            if (moe) {
                otherExperts(firstWithExperts);
            }
            switch (variant) {
                case "llama-yarn" -> {
                    yarn(4);
                    number("rope.scaling.attn_factor", 1.1f);
                    number("rope.scaling.yarn_beta_fast", 24);
                    number("rope.scaling.yarn_beta_slow", 2);
                }
                case "qwen3moe-groups" -> {
                    size("expert_group_count", 4);
                    size("expert_group_used_count", 2);
                    size("expert_gating_func", 2);
                    number("expert_weights_scale", 1.5f);
                }
                default -> {}
            }
            RandomModels.vocabulary(writer);
            matrix(
                    "token_embd.weight",
                    hidden,
                    RandomModels.VOCABULARY_SIZE,
                    name.startsWith("gemma") ? wide ? 1 : 0.25 : 2);
            if (learned) {
                floats("position_embd.weight", hidden, 1024);
            }
            if (normed) {
                norm(shortConvolutions ? "token_embd_norm" : "output_norm", hidden, normBias);
            }
            boolean alwaysTied = wide && List.of("command-r", "cohere2").contains(name);
            if (!name.startsWith("gemma") && !name.equals("qwen2") && !shortConvolutions && !alwaysTied) {
                matrix("output.weight", hidden, RandomModels.VOCABULARY_SIZE, 2);
            }
            if (List.of("phi2", "phimoe").contains(name)) {
                vector("output.bias", RandomModels.VOCABULARY_SIZE, -1, 1);
            }
            for (int layer = 0; layer < layers; layer++) {
                String block = "blk." + layer + ".";
                int queryWidth = HEADS * headDim;
                int kvWidth = deci ? DECI_KV_HEADS[layer] * headDim : kvHeads * headDim;
                if (deci && kvWidth == 0) {
                    norm(block + "ffn_norm", hidden, false);
                    feedForward(block, 32);
                    continue;
                }
                if (before && normed) {
                    norm(block + "attn_norm", hidden, normBias);
                }
                if (variant.equals("falcon-norms")) {
                    norm(block + "attn_norm_2", hidden, true);
                }
                if (name.startsWith("nemotron_h")) {
                    onlyPart(block, layer, queryWidth, kvWidth, experts);
                    continue;
                }
                boolean recurrent = hybrid && layer != ATTENTION_LAYER;
                if (falconH1) {
                    stateSpace(block);
                }
                if (recurrent) {
                    if (shortConvolutions) {
                        shortConvolution(block);
                    } else if (name.equals("jamba")) {
                        selective(block);
                    } else if (delta) {
                        deltaNet(block);
                    } else {
                        stateSpace(block);
                    }
                } else if (latent) {
                    latent(block, lite);
                } else if (fusedQkv) {
                    projection(block + "attn_qkv", hidden, queryWidth + 2 * kvWidth, qkvBias);
                } else {
                    projection(block + "attn_q", hidden, delta ? 2 * queryWidth : queryWidth, qkvBias);
                    projection(block + "attn_k", hidden, kvWidth, qkvBias);
                    projection(block + "attn_v", hidden, kvWidth, qkvBias);
                }
                if (!recurrent) {
                    switch (name) {
                        case "qwen3",
                                "qwen3moe",
                                "gemma3",
                                "lfm2",
                                "lfm2moe",
                                "qwen3next",
                                "qwen35",
                                "qwen35moe",
                                "qwen3vl",
                                "qwen3vlmoe",
                                "exaone4",
                                "dots1",
                                "bailingmoe2",
                                "hunyuan-dense",
                                "hunyuan-moe",
                                "maincoder",
                                "mellum",
                                "exaone-moe" -> {
                            norm(block + "attn_q_norm", headDim, false);
                            norm(block + "attn_k_norm", headDim, false);
                        }
                        case "glm4moe" -> {
                            if (variant.equals("glm4moe-norms")) {
                                norm(block + "attn_q_norm", headDim, false);
                                norm(block + "attn_k_norm", headDim, false);
                            }
                        }
                        case "stablelm" -> {
                            if (parallelStableLm) {
                                headNorms(block + "attn_q_norm.weight", headDim, HEADS);
                                headNorms(block + "attn_k_norm.weight", headDim, kvHeads);
                            }
                        }
                        case "olmo2", "olmoe", "minimax-m2" -> {
                            norm(block + "attn_q_norm", queryWidth, false);
                            norm(block + "attn_k_norm", kvWidth, false);
                        }
                        default -> {}
                    }
                    projection(block + "attn_output", latent ? HEADS * values() : queryWidth, hidden, attentionBias);
                }
                if (gptOss) {
                    vector(block + "attn_sinks.weight", HEADS, -2, 2);
                    norm(block + "post_attention_norm", hidden, false);
                }
                if (after) {
                    norm(block + "post_attention_norm", hidden, false);
                    norm(block + "post_ffw_norm", hidden, false);
                }
                if (delta || List.of("seed_oss", "glm4moe").contains(name)) {
                    norm(block + "post_attention_norm", hidden, false);
                } else if (falconH1) { // without the end that others have
                    vector(block + "ffn_norm", hidden, 0.6, 1.4);
                } else if (name.equals("dbrx")) {
                    norm(block + "attn_output_norm", hidden, false);
                } else if (before && !oneNorm && !gptOss && normed) {
                    norm(block + "ffn_norm", hidden, normBias);
                }
                boolean interleaved = List.of("llama4", "jamba").contains(name) && layer % 2 == 0;
                if (experts && layer >= firstWithExperts && !interleaved) {
                    experts(block);
                    continue;
                }
                if (deci) {
                    feedForward(block, layer == 2 ? 2 * feedForward : feedForward);
                    continue;
                }
                boolean plain = learned
                        || List.of("starcoder2", "arcee", "nemotron", "phi2", "falcon", "jais2", "gptneox", "codeshell")
                                .contains(name);
                boolean bias = normBias && plain && !name.equals("falcon");
                if (!fused && !plain) {
                    projection(block + "ffn_gate", hidden, feedForward, false);
                }
                projection(block + "ffn_up", hidden, fused ? 2 * feedForward : feedForward, bias);
                projection(block + "ffn_down", feedForward, hidden, bias);
            }
            if (further) {
                // A real file has a whole block here.
                norm("blk." + LAYERS + ".nextn.enorm", hidden, false);
                matrix("blk." + LAYERS + ".nextn.eh_proj.weight", 2 * hidden, hidden, 1.5);
            }
            return writer;
        }

        /** Blocks have heads and widths of their own. */
        private GgufWriter openelm() {
            int[] heads = {2, 4, 4, 8};
            int[] kvHeads = {1, 2, 1, 2};
            int[] widths = {64, 96, 32, 128};
            size("context_length", 1024);
            size("embedding_length", hidden);
            size("block_count", LAYERS);
            writer.int32s("openelm.attention.head_count", heads)
                    .int32s("openelm.attention.head_count_kv", kvHeads)
                    .int32s("openelm.feed_forward_length", widths);
            size("attention.key_length", 16);
            size("attention.value_length", 16);
            size("rope.dimension_count", 16);
            number("attention.layer_norm_rms_epsilon", 1e-6f);
            number("rope.freq_base", 20000);
            RandomModels.vocabulary(writer);
            matrix("token_embd.weight", hidden, RandomModels.VOCABULARY_SIZE, 2);
            norm("output_norm", hidden, false);
            for (int layer = 0; layer < LAYERS; layer++) {
                String block = "blk." + layer + ".";
                norm(block + "attn_norm", hidden, false);
                projection(block + "attn_qkv", hidden, (heads[layer] + 2 * kvHeads[layer]) * 16, false);
                norm(block + "attn_q_norm", 16, false);
                norm(block + "attn_k_norm", 16, false);
                projection(block + "attn_output", heads[layer] * 16, hidden, false);
                norm(block + "ffn_norm", hidden, false);
                feedForward(block, widths[layer]);
            }
            return writer;
        }

        /** Every second layer has a window and shorter heads. */
        private GgufWriter gemma4(boolean moe) {
            int inputs = 32;
            sizes();
            if (moe) {
                writer.int32s(name + ".attention.head_count_kv", KV_HEADS, 1, KV_HEADS, 1);
                size("feed_forward_length", feedForward);
                size("expert_count", EXPERTS);
                size("expert_used_count", 3);
                size("expert_feed_forward_length", narrow);
            } else {
                size("attention.head_count_kv", 1);
                writer.int32s(
                        name + ".feed_forward_length", feedForward, feedForward, 2 * feedForward, 2 * feedForward);
            }
            size("attention.key_length", 32);
            size("attention.value_length", 32);
            size("attention.key_length_swa", 16);
            size("attention.value_length_swa", 16);
            size("rope.dimension_count", 32);
            size("rope.dimension_count_swa", 16);
            size("attention.shared_kv_layers", moe ? 0 : 2);
            size("embedding_length_per_layer_input", moe ? 0 : inputs);
            size("attention.sliding_window", 16);
            writer.bools(name + ".attention.sliding_window_pattern", true, false, true, false);
            number("attention.layer_norm_rms_epsilon", 1e-6f);
            number("rope.freq_base", 20000);
            number("rope.freq_base_swa", 5000);
            number("final_logit_softcapping", 4);
            RandomModels.vocabulary(writer);
            matrix("token_embd.weight", hidden, RandomModels.VOCABULARY_SIZE, 1.5);
            norm("output_norm", hidden, false);
            float[] factors = new float[16];
            Arrays.fill(factors, 0, 4, 1f);
            Arrays.fill(factors, 4, factors.length, 1e30f);
            writer.tensor("rope_freqs.weight", ElementType.F32, factors, factors.length);
            if (!moe) {
                matrix("per_layer_token_embd.weight", inputs * LAYERS, RandomModels.VOCABULARY_SIZE, 1);
                matrix("per_layer_model_proj.weight", hidden, inputs * LAYERS, 1.5);
                norm("per_layer_proj_norm", inputs, false);
            }
            for (int layer = 0; layer < LAYERS; layer++) {
                String block = "blk." + layer + ".";
                boolean window = layer % 2 == 0;
                int headDim = window ? 16 : 32;
                int kvWidth = headDim * (moe && window ? KV_HEADS : 1);
                norm(block + "attn_norm", hidden, false);
                projection(block + "attn_q", hidden, HEADS * headDim, false);
                norm(block + "attn_q_norm", headDim, false);
                if (moe || layer < 2) {
                    projection(block + "attn_k", hidden, kvWidth, false);
                    norm(block + "attn_k_norm", headDim, false);
                    if (!moe || window) {
                        projection(block + "attn_v", hidden, kvWidth, false);
                    }
                }
                projection(block + "attn_output", HEADS * headDim, hidden, false);
                int width = !moe && layer >= 2 ? 2 * feedForward : feedForward;
                feedForward(block, width);
                for (String each : List.of("post_attention_norm", "ffn_norm", "post_ffw_norm")) {
                    norm(block + each, hidden, false);
                }
                vector(block + "layer_output_scale.weight", 1, 0.6, 0.9);
                if (moe) {
                    for (String each : List.of("post_ffw_norm_1", "pre_ffw_norm_2", "post_ffw_norm_2")) {
                        norm(block + each, hidden, false);
                    }
                    projection(block + "ffn_gate_inp", hidden, EXPERTS, false);
                    vector(block + "ffn_gate_inp.scale", hidden, 4, 12);
                    tensor(block + "ffn_gate_up_exps.weight", 1.5, hidden, 64, EXPERTS);
                    tensor(block + "ffn_down_exps.weight", 1.5, 32, hidden, EXPERTS);
                    vector(block + "ffn_down_exps.scale", EXPERTS, 0.5, 1.5);
                } else {
                    projection(block + "inp_gate", hidden, inputs, false);
                    projection(block + "proj", inputs, hidden, false);
                    norm(block + "post_norm", hidden, false);
                }
            }
            return writer;
        }

        private void longrope(int rotated) {
            size("rope.scaling.original_context_length", 128);
            number("rope.scaling.attn_factor", 1.2f);
            vector("rope_factors_long.weight", rotated / 2, 1, 8);
            vector("rope_factors_short.weight", rotated / 2, 1, 2);
            if (!variant.equals("phi3")) { // whose first files do not name it
                writer.string(name + ".rope.scaling.type", "longrope");
            }
        }

        private GgufWriter encoder() {
            boolean bert = name.equals("bert");
            boolean moe = name.equals("nomic-bert-moe");
            boolean nomic = moe || name.equals("nomic-bert");
            boolean modern = name.equals("modern-bert");
            boolean neo = name.equals("neo-bert");
            boolean gemma = name.equals("gemma-embedding");
            boolean sums = bert || nomic;
            int kvHeads = gemma || name.equals("llama-embed") ? KV_HEADS : HEADS;
            int queries = HEADS * 16;
            int keys = kvHeads * 16;
            sizes();
            size("feed_forward_length", feedForward);
            size("attention.head_count_kv", kvHeads);
            size("attention.key_length", 16);
            size("attention.value_length", 16);
            number(sums || modern ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", 1e-5f);
            writer.bool(name + ".attention.causal", false);
            size("pooling_type", 1);
            if (sums) {
                writer.uint32("tokenizer.ggml.token_type_count", 2);
            }
            if (!bert) {
                number("rope.freq_base", 1000);
            }
            if (modern || gemma) {
                number("rope.freq_base_swa", 200);
                size("attention.sliding_window", 16);
            }
            if (moe) {
                size("expert_count", EXPERTS);
                size("expert_used_count", 2);
                size("moe_every_n_layers", 2);
            }
            if (gemma) {
                writer.bools(name + ".attention.sliding_window_pattern", true, false, true, false);
                size("dense_2_feat_in", hidden);
                size("dense_2_feat_out", 2L * hidden);
                size("dense_3_feat_in", 2L * hidden);
                size("dense_3_feat_out", hidden);
            }
            RandomModels.vocabulary(writer);
            matrix("token_embd.weight", hidden, RandomModels.VOCABULARY_SIZE, gemma ? 0.5 : 4);
            if (sums || modern) {
                norm("token_embd_norm", hidden, sums);
            }
            if (sums) {
                floats("token_types.weight", hidden, 2);
            } else {
                norm(neo ? "enc.output_norm" : "output_norm", hidden, false);
            }
            if (bert) {
                floats("position_embd.weight", hidden, 512);
            }
            if (gemma) {
                matrix("dense_2.weight", hidden, 2 * hidden, 1);
                matrix("dense_3.weight", 2 * hidden, hidden, 1);
            }
            for (int layer = 0; layer < LAYERS; layer++) {
                String block = "blk." + layer + ".";
                if (!sums && !(modern && layer == 0)) {
                    norm(block + "attn_norm", hidden, false);
                }
                if (nomic || modern || neo) {
                    projection(block + "attn_qkv", hidden, queries + 2 * keys, false);
                } else {
                    projection(block + "attn_q", hidden, queries, bert);
                    projection(block + "attn_k", hidden, keys, bert);
                    projection(block + "attn_v", hidden, keys, bert);
                }
                projection(block + "attn_output", queries, hidden, bert);
                if (sums) {
                    norm(block + "attn_output_norm", hidden, true);
                    norm(block + "layer_output_norm", hidden, true);
                } else {
                    norm(block + "ffn_norm", hidden, false);
                }
                if (gemma) {
                    norm(block + "attn_q_norm", 16, false);
                    norm(block + "attn_k_norm", 16, false);
                    norm(block + "post_attention_norm", hidden, false);
                    norm(block + "post_ffw_norm", hidden, false);
                }
                if (moe && layer % 2 == 1) {
                    projection(block + "ffn_gate_inp", hidden, EXPERTS, false);
                    tensor(block + "ffn_up_exps.weight", 1.5, hidden, feedForward, EXPERTS);
                    tensor(block + "ffn_down_exps.weight", 1.5, feedForward, hidden, EXPERTS);
                    continue;
                }
                if (modern || neo) {
                    projection(block + "ffn_up", hidden, 2 * feedForward, false);
                } else {
                    projection(block + "ffn_up", hidden, feedForward, bert);
                }
                if (!bert && !modern && !neo && !moe) {
                    projection(block + "ffn_gate", hidden, feedForward, false);
                }
                projection(block + "ffn_down", feedForward, hidden, bert);
            }
            return writer;
        }

        /** @param whole with the sizes that llama.cpp takes for granted */
        private GgufWriter gemma3n(boolean whole) {
            int layers = whole ? 22 : 6;
            int inputs = whole ? 256 : 32;
            int rank = whole ? 64 : 32;
            int streams = whole ? 4 : 3;
            int width = whole ? 256 : feedForward;
            int every = whole ? 5 : 2; // the last of so many layers has no window
            sizes();
            writer.without(name + ".block_count");
            size("block_count", layers);
            size("attention.head_count_kv", KV_HEADS);
            size("feed_forward_length", width);
            size("attention.key_length", 16);
            size("attention.value_length", 16);
            size("attention.shared_kv_layers", 2);
            size("embedding_length_per_layer_input", inputs);
            size("altup.num_inputs", streams);
            size("altup.active_idx", 0);
            size("attention.sliding_window", 16);
            boolean[] windows = new boolean[layers];
            for (int layer = 0; layer < layers; layer++) {
                windows[layer] = layer % every != every - 1;
            }
            writer.bools(name + ".attention.sliding_window_pattern", windows);
            number("attention.layer_norm_rms_epsilon", 1e-6f);
            number("rope.freq_base", 20000);
            if (!whole) {
                number("rope.freq_base_swa", 5000);
                float[] sparsity = new float[layers];
                Arrays.fill(sparsity, Float.NEGATIVE_INFINITY);
                Arrays.fill(sparsity, 0, 3, 0.8f);
                writer.float32s(name + ".activation_sparsity_scale", sparsity);
            }
            number("final_logit_softcapping", whole ? 30 : 4);
            RandomModels.vocabulary(writer);
            matrix("token_embd.weight", hidden, RandomModels.VOCABULARY_SIZE, 1.5);
            norm("output_norm", hidden, false);
            matrix("per_layer_token_embd.weight", inputs * layers, RandomModels.VOCABULARY_SIZE, 1);
            matrix("per_layer_model_proj.weight", hidden, inputs * layers, 1.5);
            norm("per_layer_proj_norm", inputs, false);
            tensor("altup_proj.weight", 1.5, hidden, hidden, streams - 1);
            tensor("altup_unembd_proj.weight", 1.5, hidden, hidden, streams - 1);
            for (int layer = 0; layer < layers; layer++) {
                String block = "blk." + layer + ".";
                norm(block + "attn_norm", hidden, false);
                projection(block + "attn_q", hidden, HEADS * 16, false);
                projection(block + "attn_k", hidden, KV_HEADS * 16, false); // in all, as converters write it
                projection(block + "attn_v", hidden, KV_HEADS * 16, false);
                norm(block + "attn_q_norm", 16, false);
                norm(block + "attn_k_norm", 16, false);
                projection(block + "attn_output", HEADS * 16, hidden, false);
                feedForward(block, width);
                for (String each : List.of(
                        "post_attention_norm",
                        "ffn_norm",
                        "post_ffw_norm",
                        "post_norm",
                        "altup_router_norm",
                        "laurel_post_norm",
                        "altup_correct_scale")) {
                    // so many blocks of random weights would make a chaos of the smallest rounding
                    double least = whole && each.contains("post") ? 0.3 : 0.6;
                    vector(block + each + ".weight", hidden, least, least + 0.2);
                }
                projection(block + "inp_gate", hidden, inputs, false);
                projection(block + "proj", inputs, hidden, false);
                matrix(block + "altup_router.weight", hidden, streams, 60);
                floats(block + "altup_predict_coef.weight", 0.2, streams, streams * streams);
                floats(block + "altup_correct_coef.weight", 0.2, streams, streams);
                projection(block + "laurel_l", hidden, rank, false);
                projection(block + "laurel_r", rank, hidden, false);
            }
            return writer;
        }

        /** As converters write it, with sizes of 0 for what it lacks. */
        private GgufWriter mamba() {
            size("context_length", 512);
            size("embedding_length", hidden);
            int layers = wide ? 2 : LAYERS;
            size("block_count", layers);
            size("attention.head_count", 0);
            size("feed_forward_length", 0);
            number("attention.layer_norm_rms_epsilon", 1e-5f);
            if (name.equals("mamba")) {
                selectiveSizes();
            } else {
                stateSpaceSizes();
            }
            RandomModels.vocabulary(writer);
            matrix("token_embd.weight", hidden, RandomModels.VOCABULARY_SIZE, 2);
            norm("output_norm", hidden, false);
            for (int layer = 0; layer < layers; layer++) {
                norm("blk." + layer + ".attn_norm", hidden, false);
                if (name.equals("mamba")) {
                    selective("blk." + layer + ".");
                } else {
                    stateSpace("blk." + layer + ".");
                }
            }
            return writer;
        }

        /** The sizes that all models have. */
        private void sizes() {
            size("context_length", 512);
            size("embedding_length", hidden);
            size("block_count", LAYERS);
            size("attention.head_count", HEADS);
        }

        private void feedForward(String block, int width) {
            projection(block + "ffn_gate", hidden, width, false);
            projection(block + "ffn_up", hidden, width, false);
            projection(block + "ffn_down", width, hidden, false);
        }

        private void onlyPart(String block, int layer, int queryWidth, int kvWidth, boolean experts) {
            if (layer == 0) {
                stateSpace(block);
            } else if (layer == ATTENTION_LAYER) {
                projection(block + "attn_q", hidden, queryWidth, false);
                projection(block + "attn_k", hidden, kvWidth, false);
                projection(block + "attn_v", hidden, kvWidth, false);
                projection(block + "attn_output", queryWidth, hidden, false);
            } else if (experts) {
                experts(block);
            } else {
                projection(block + "ffn_up", hidden, feedForward, false);
                projection(block + "ffn_down", feedForward, hidden, false);
            }
        }

        private void otherExperts(int leadingDense) {
            if (!List.of("olmoe", "granitemoe", "phimoe", "dbrx").contains(name)) {
                size(
                        "expert_feed_forward_length",
                        List.of("minimax-m2", "hunyuan-moe").contains(name) ? feedForward : narrow);
            }
            if (leadingDense > 0) {
                size("leading_dense_block_count", leadingDense);
            }
            switch (name) {
                case "ernie4_5-moe" -> {
                    size("expert_shared_feed_forward_length", sharedWidth());
                    size("interleave_moe_layer_step", 1);
                }
                case "exaone-moe" -> {
                    size("expert_shared_count", 1);
                    size("expert_shared_feed_forward_length", sharedWidth());
                    size("expert_gating_func", 2);
                    writer.bool(name + ".expert_weights_norm", true);
                    number("expert_weights_scale", 1.25f);
                }
                case "glm4moe", "dots1", "bailingmoe2" -> {
                    size("expert_shared_count", 2);
                    size("expert_gating_func", 2);
                    writer.bool(name + ".expert_weights_norm", true);
                    number("expert_weights_scale", 1.25f);
                }
                case "hunyuan-moe" -> size("expert_shared_feed_forward_length", sharedWidth());
                case "bailingmoe", "deepseek" -> {
                    size("expert_shared_count", 2);
                    number("expert_weights_scale", 2);
                }
                case "lfm2moe", "minimax-m2" -> size("expert_gating_func", 2);
                default -> {}
            }
            if (name.equals("bailingmoe2")) {
                size("expert_group_count", 4);
                size("expert_group_used_count", 2);
            }
        }

        private boolean hasGate() {
            return !name.equals("nemotron_h_moe");
        }

        private boolean hasSharedExperts() {
            return List.of(
                            "qwen2moe",
                            "deepseek2",
                            "granitehybrid",
                            "qwen3next",
                            "qwen35moe",
                            "ernie4_5-moe",
                            "glm4moe",
                            "dots1",
                            "bailingmoe",
                            "bailingmoe2",
                            "deepseek",
                            "nemotron_h_moe",
                            "hunyuan-moe",
                            "llama4",
                            "exaone-moe")
                    .contains(name);
        }

        private int sharedWidth() {
            return name.equals("llama4") ? narrow : 2 * narrow;
        }

        private boolean hasSelectionBias() {
            return List.of(
                            "deepseek2",
                            "ernie4_5-moe",
                            "glm4moe",
                            "dots1",
                            "bailingmoe2",
                            "lfm2moe",
                            "glm4moe-norms",
                            "minimax-m2",
                            "nemotron_h_moe",
                            "exaone-moe")
                    .contains(variant);
        }

        private void yarn(float factor) {
            writer.string(name + ".rope.scaling.type", "yarn");
            number("rope.scaling.factor", factor);
            size("rope.scaling.original_context_length", 64);
        }

        private void shortConvolution(String block) {
            projection(block + "shortconv.in_proj", hidden, 3 * hidden, false);
            floats(block + "shortconv.conv.weight", TAPS, hidden);
            projection(block + "shortconv.out_proj", hidden, hidden, false);
        }

        private void stateSpaceSizes() {
            size("ssm.conv_kernel", TAPS + 1);
            size("ssm.inner_size", 2L * hidden);
            size("ssm.state_size", STATE);
            size("ssm.time_step_rank", STATE_HEADS);
            size("ssm.group_count", stateGroups());
        }

        private void selectiveSizes() {
            size("ssm.conv_kernel", TAPS + 1);
            size("ssm.inner_size", 2L * hidden);
            size("ssm.state_size", STATE);
            size("ssm.time_step_rank", STEP_RANK);
            if (variant.equals("mamba-normed")) {
                writer.bool("mamba.ssm.dt_b_c_rms", true);
            }
        }

        private void selective(String block) {
            int width = 2 * hidden;
            projection(block + "ssm_in", hidden, 2 * width, false);
            floats(block + "ssm_conv1d.weight", TAPS + 1, width);
            vector(block + "ssm_conv1d.bias", width, -0.2, 0.2);
            projection(block + "ssm_x", width, STEP_RANK + 2 * STATE, false);
            matrix(block + "ssm_dt.weight", STEP_RANK, width, 0.5);
            vector(block + "ssm_dt.bias", width, -3, 0);
            if (name.equals("jamba")) {
                norm(block + "ssm_dt_norm", STEP_RANK, false);
                norm(block + "ssm_b_norm", STATE, false);
                norm(block + "ssm_c_norm", STATE, false);
            }
            float[] rates = new float[STATE * width];
            for (int i = 0; i < rates.length; i++) {
                rates[i] = (float) random.nextDouble(-3, -0.1);
            }
            writer.tensor(block + "ssm_a", ElementType.F32, rates, STATE, width);
            vector(block + "ssm_d", width, -1, 1);
            projection(block + "ssm_out", width, hidden, false);
        }

        private int stateGroups() {
            return List.of("granitehybrid-dense", "nemotron_h", "falcon-h1", "mamba2")
                            .contains(variant)
                    ? 2
                    : 1;
        }

        private void stateSpace(String block) {
            int width = 2 * hidden;
            int groups = stateGroups();
            int channels = width + 2 * groups * STATE;
            projection(block + "ssm_in", hidden, width + channels + STATE_HEADS, false);
            floats(block + "ssm_conv1d.weight", TAPS + 1, channels);
            vector(block + "ssm_conv1d.bias", channels, -0.2, 0.2);
            vector(block + "ssm_dt.bias", STATE_HEADS, -1, 1);
            column(block + "ssm_a", -3, -0.1);
            column(block + "ssm_d", -1, 1);
            if (name.equals("falcon-h1")) { // has no norm
                projection(block + "ssm_out", width, hidden, false);
                return;
            }
            float[] norms = new float[width];
            for (int i = 0; i < width; i++) {
                norms[i] = (float) random.nextDouble(0.6, 1.4);
            }
            writer.tensor(block + "ssm_norm.weight", ElementType.F32, norms, width / groups, groups);
            projection(block + "ssm_out", width, hidden, false);
        }

        private void deltaNet(String block) {
            int width = DELTA_HEADS * DELTA_KEYS;
            if (variant.equals("qwen3next-fused")) {
                projection(block + "ssm_in", hidden, DELTA_CHANNELS + width, false);
            } else {
                projection(block + "attn_qkv", hidden, DELTA_CHANNELS, false);
                projection(block + "attn_gate", hidden, width, false);
            }
            if (name.equals("qwen3next")) {
                projection(block + "ssm_ba", hidden, 2 * DELTA_HEADS, false);
            } else {
                projection(block + "ssm_alpha", hidden, DELTA_HEADS, false);
                projection(block + "ssm_beta", hidden, DELTA_HEADS, false);
            }
            floats(block + "ssm_conv1d.weight", TAPS + 1, DELTA_CHANNELS);
            vector(block + "ssm_dt.bias", DELTA_HEADS, -1, 1);
            vector(block + "ssm_a", DELTA_HEADS, -1, -0.05);
            norm(block + "ssm_norm", DELTA_KEYS, false);
            projection(block + "ssm_out", width, hidden, false);
        }

        private void column(String tensor, double from, double to) {
            float[] values = new float[STATE_HEADS];
            for (int i = 0; i < values.length; i++) {
                values[i] = (float) random.nextDouble(from, to);
            }
            writer.tensor(tensor, ElementType.F32, values, 1, STATE_HEADS);
        }

        /** A matrix that stays f32 in every file. */
        private void floats(String tensor, int columns, int rows) {
            floats(tensor, 1.5, columns, rows);
        }

        private void floats(String tensor, double gain, int columns, int rows) {
            float[] values = new float[columns * rows];
            for (int i = 0; i < values.length; i++) {
                values[i] = (float) (random.nextGaussian() * gain / Math.sqrt(columns));
            }
            writer.tensor(tensor, ElementType.F32, values, columns, rows);
        }

        private void latent(String block, boolean lite) {
            int width = HEADS * (PLAIN + ROTATED);
            if (lite) {
                projection(block + "attn_q", hidden, width, false);
            } else {
                projection(block + "attn_q_a", hidden, queryRank(), false);
                norm(block + "attn_q_a_norm", queryRank(), false);
                projection(block + "attn_q_b", queryRank(), width, false);
            }
            projection(block + "attn_kv_a_mqa", hidden, latentWidth + ROTATED, false);
            norm(block + "attn_kv_a_norm", latentWidth, false);
            tensor(block + "attn_k_b.weight", 1.5, PLAIN, latentWidth, HEADS);
            tensor(block + "attn_v_b.weight", 1.5, latentWidth, values(), HEADS);
        }

        private int queryRank() {
            return wide ? WIDE : 96;
        }

        private int values() {
            return wide ? WIDE / HEADS : 32;
        }

        private void experts(String block) {
            boolean gptOss = name.equals("gpt-oss");
            int width =
                    switch (name) {
                        case "qwen3moe" -> 2 * narrow;
                        case "llama",
                                "granitehybrid",
                                "granitemoe",
                                "olmoe",
                                "minimax-m2",
                                "hunyuan-moe",
                                "jamba",
                                "phimoe",
                                "dbrx" -> feedForward;
                        default -> narrow;
                    };
            projection(block + "ffn_gate_inp", hidden, EXPERTS, gptOss);
            if (hasSelectionBias()) {
                vector(block + "exp_probs_b.bias", EXPERTS, -0.3, 0.3);
            }
            if (variant.equals("qwen3moe-groups")) {
                vector(block + "exp_probs_b.bias", EXPERTS, -0.3, 0.3);
                tensor(block + "ffn_gate_up_exps.weight", 1.5, hidden, 2 * width, EXPERTS);
            } else {
                if (hasGate()) {
                    tensor(block + "ffn_gate_exps.weight", 1.5, hidden, width, EXPERTS);
                }
                tensor(block + "ffn_up_exps.weight", 1.5, hidden, width, EXPERTS);
            }
            tensor(block + "ffn_down_exps.weight", 1.5, width, hidden, EXPERTS);
            if (gptOss) {
                biases(block + "ffn_gate_exps.bias", width);
                biases(block + "ffn_up_exps.bias", width);
                biases(block + "ffn_down_exps.bias", hidden);
            }
            if (List.of("qwen2moe", "qwen3next", "qwen35moe").contains(name)) {
                vector(block + "ffn_gate_inp_shexp.weight", hidden, -0.3, 0.3);
            }
            if (hasSharedExperts()) {
                if (hasGate()) {
                    projection(block + "ffn_gate_shexp", hidden, sharedWidth(), false);
                }
                projection(block + "ffn_up_shexp", hidden, sharedWidth(), false);
                projection(block + "ffn_down_shexp", sharedWidth(), hidden, false);
            }
        }

        private void biases(String tensor, int length) {
            float[] values = new float[length * EXPERTS];
            for (int i = 0; i < values.length; i++) {
                values[i] = (float) random.nextDouble(-0.3, 0.3);
            }
            writer.tensor(tensor, ElementType.F32, values, length, EXPERTS);
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

        /** Weights of each head. */
        private void headNorms(String tensor, int length, int heads) {
            float[] values = new float[length * heads];
            for (int i = 0; i < values.length; i++) {
                values[i] = (float) random.nextDouble(0.6, 1.4);
            }
            writer.tensor(tensor, ElementType.F32, values, length, heads);
        }

        private void matrix(String tensor, int columns, int rows, double gain) {
            tensor(tensor, gain, columns, rows);
        }

        /** @param dims inputs first */
        private void tensor(String tensor, double gain, int... dims) {
            int count = IntStream.of(dims).reduce(1, (a, b) -> a * b);
            long[] sizes = IntStream.of(dims).asLongStream().toArray();
            if (wide) {
                // random blocks with larger weights make a chaos of the smallest rounding
                double spread = Math.min(gain, tensor.startsWith("token_embd") ? 2 : 1) / Math.sqrt(dims[0]);
                ElementType fitting = dims[0] % type.blockElements() == 0 ? type : ElementType.Q8_0;
                byte[] blocks = RandomBlocks.of(fitting, count, spread, random);
                writer.tensor(tensor, GgufType.of(fitting).id(), blocks, sizes);
                return;
            }
            float[] values = new float[count];
            for (int i = 0; i < values.length; i++) {
                values[i] = (float) (random.nextGaussian() * gain / Math.sqrt(dims[0]));
            }
            if (variant.equals("phimoe-centred")) {
                centre(tensor, values, dims);
            }
            writer.tensor(tensor, type, values, sizes);
        }

        /**
         * Makes what is added to the residual stream have the mean 0, and the scores of experts multiples of the first one's that
         * are far apart. Then a layer norm is an RMS norm, and the best expert has the weight 1.
         */
        private static void centre(String tensor, float[] values, int[] dims) {
            int columns = dims[0];
            if (tensor.startsWith("token_embd")) {
                for (int row = 0; row < dims[1]; row++) {
                    subtractMean(values, row * columns, 1, columns);
                }
            } else if (tensor.contains("attn_output") || tensor.contains("ffn_down")) {
                int rows = dims[1];
                for (int expert = 0; expert < values.length / (rows * columns); expert++) {
                    for (int column = 0; column < columns; column++) {
                        subtractMean(values, expert * rows * columns + column, columns, rows);
                    }
                }
            } else if (tensor.contains("ffn_gate_inp")) {
                for (int i = columns; i < values.length; i++) {
                    int expert = i / columns;
                    values[i] = values[i % columns] * (expert % 2 == 0 ? 1 : -1) / (1 + expert / 2);
                }
            }
        }

        private static void subtractMean(float[] values, int first, int stride, int count) {
            double mean = 0;
            for (int i = 0; i < count; i++) {
                mean += values[first + i * stride] / count;
            }
            for (int i = 0; i < count; i++) {
                values[first + i * stride] -= (float) mean;
            }
        }

        private void vector(String tensor, int length, double from, double to) {
            float[] values = new float[length];
            for (int i = 0; i < length; i++) {
                values[i] = (float) random.nextDouble(from, to);
            }
            if (variant.equals("phimoe-centred") && tensor.contains("attn_output.bias")) {
                subtractMean(values, 0, 1, length);
            }
            writer.tensor(tensor, ElementType.F32, values, length);
        }
    }
}
