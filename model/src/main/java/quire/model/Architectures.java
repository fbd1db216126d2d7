package quire.model;

import java.util.Collections;
import java.util.List;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import quire.model.Architecture.HeadNorm;
import quire.model.Mixture.Scoring;
import quire.tensor.Activation;

/**
 * The architectures that Quire computes: one method for each, which describes how it differs from Llama. To add one of
 * the usual kind, add its name and its method.
 */
final class Architectures {
    /** As {@code general.architecture} names them. */
    static final List<String> NAMES = List.of(
            "llama",
            "qwen2",
            "qwen3",
            "phi3",
            "gemma",
            "gemma2",
            "gemma3",
            "granite",
            "smollm3",
            "olmo2",
            "command-r",
            "cohere2",
            "starcoder2",
            "stablelm",
            "glm4",
            "qwen2moe",
            "qwen3moe",
            "gpt-oss",
            "deepseek2",
            "lfm2",
            "granitehybrid",
            "qwen3next",
            "qwen35",
            "qwen35moe",
            "mistral3",
            "qwen2vl",
            "qwen3vl",
            "qwen3vlmoe",
            "seed_oss",
            "arcee",
            "ernie4_5",
            "ernie4_5-moe",
            "exaone",
            "exaone4",
            "internlm2",
            "olmoe",
            "granitemoe",
            "glm4moe",
            "dots1",
            "bailingmoe",
            "bailingmoe2",
            "lfm2moe",
            "minicpm",
            "nemotron",
            "deepseek",
            "minimax-m2",
            "nemotron_h",
            "nemotron_h_moe",
            "hunyuan-dense",
            "hunyuan-moe",
            "gemma4",
            "llama4",
            "falcon-h1",
            "mamba2",
            "mamba",
            "jamba",
            "deci",
            "xverse",
            "orion",
            "chatglm",
            "phi2",
            "falcon",
            "jais2",
            "maincoder",
            "mellum",
            "exaone-moe",
            "gemma3n",
            "gptneox",
            "phimoe",
            "codeshell",
            "gpt2",
            "starcoder",
            "olmo",
            "dbrx",
            "qwen",
            "plamo",
            "openelm",
            "pangu-embedded",
            "bert",
            "nomic-bert",
            "nomic-bert-moe",
            "modern-bert",
            "neo-bert",
            "eurobert",
            "llama-embed",
            "gemma-embedding");

    /** Those whose positions see the whole text, so that they give vectors and no answers. */
    static final List<String> ENCODERS = List.of(
            "bert",
            "nomic-bert",
            "nomic-bert-moe",
            "modern-bert",
            "neo-bert",
            "eurobert",
            "llama-embed",
            "gemma-embedding");

    /** Those whose lists of sizes have a 0 for each block that lacks the part, such as attention. */
    private static final List<String> WITH_ZEROS =
            List.of("lfm2", "lfm2moe", "granitehybrid", "nemotron_h", "nemotron_h_moe", "deci", "jamba");

    /** Those whose blocks may have sizes of their own. */
    private static final List<String> WITH_OWN_SIZES = List.of("gemma4", "deci", "openelm");

    private Architectures() {}

    /** Reads optional numbers of a file by the end of their key. What is read here is not refused elsewhere. */
    interface Keys {
        /** A number that is not negative; {@code absent} if the file has none. */
        float number(String suffix, float absent);

        /** The window in positions, at most the context; 0 if there is none. */
        int window();

        /** Of how many layers the last has no window; 0 if the file lists the layers. */
        int fullEvery(int absent);

        /** For each block, whether it has the window; empty if the file does not list the layers. */
        List<Boolean> windows();

        /** A positive size; {@code absent} if the file has none, or 0. */
        int size(String suffix, int absent);

        /** Yes or no. */
        boolean flag(String suffix, boolean absent);

        /** What the file says of YaRN; null if its rotation is not scaled by it. */
        Architecture.@Nullable Yarn yarn();

        /** The factor of all cosines and sines. */
        float rotationFactor();

        /** The short convolutions of the blocks without attention. */
        Recurrence shortConvolutions();

        /** The Mamba-2 layers in place of attention. */
        Recurrence stateSpaces();

        /** Mamba layers, the first kind, in all blocks or in place of attention. */
        Recurrence selective(boolean inAll);

        /** Mamba-2 layers in all blocks, beside attention or without any. */
        Recurrence stateSpacesInAll(boolean besideAttention);

        /** The parts of each block: those whose numbers of heads, or whose width, are not 0. */
        List<Architecture.Part> attentionOrFeedForward();

        /** The only part of each block: a feed-forward layer or attention where the file gives their size. */
        List<Architecture.Part> parts();

        /**
         * The gated delta net in place of attention.
         *
         * @param alternating see {@link Recurrence}
         */
        Recurrence deltaNet(boolean alternating);

        /** Notes that the model has parts for images, and that its positions in a text rotate as in other models. */
        void textOnly();

        /** The activation that the file names; GELU if it names none. */
        Activation activation();

        /** The residual streams, of which there are several. */
        Architecture.Streams streams();

        /** See {@link Architecture#sparsity}. */
        List<Float> sparsity();

        /** The sizes of attention with a latent. */
        Architecture.Latent latent();

        /** Whether the file has a tensor. */
        boolean hasTensor(String name);

        /** How queries grow with their position; null if they do not. */
        Architecture.@Nullable Temperature temperature();

        /** What positions are divided by; 1 for no scaling. */
        float ropeScale();

        /**
         * The experts of the feed-forward layers; null if there are none.
         *
         * @param scoring what the architecture uses if the file does not say it
         * @param normalised the same
         * @param sharedWidth width of the shared expert; 0 if there is none
         * @param sharedGate whether it has a gate
         */
        @Nullable
        Mixture mixture(Mixture.Scoring scoring, boolean normalised, long sharedWidth, boolean sharedGate);
    }

    /** Whether lists of sizes may have a 0 for each block that lacks the part. */
    static boolean hasZeros(String name) {
        return WITH_ZEROS.contains(name);
    }

    /** Whether some block of an architecture has attention. */
    static boolean hasAttention(String name) {
        return !name.equals("mamba2") && !name.equals("mamba");
    }

    /** Whether heads and feed-forward layers of a block may have other sizes than those of another. */
    static boolean hasOwnSizes(String name) {
        return WITH_OWN_SIZES.contains(name);
    }

    /** Whether each block of an architecture has one part only. */
    static boolean hasParts(String name) {
        return name.startsWith("nemotron_h");
    }

    /** @param layers number of blocks */
    static Architecture of(String name, Keys keys, int hidden, int heads, int layers) {
        Architecture.Builder builder =
                switch (name) {
                    case "llama" -> llama(keys);
                    case "qwen2" -> qwen2();
                    case "qwen3" -> qwen3();
                    case "phi3" -> phi3(keys);
                    case "gemma" -> gemma(hidden);
                    case "gemma2" -> gemma2(keys, hidden, heads, layers);
                    case "gemma3" -> gemma3(keys, hidden, heads, layers);
                    case "granite" -> granite(keys);
                    case "smollm3" -> smollm3();
                    case "olmo2" -> olmo2(keys);
                    case "command-r" -> commandR(keys);
                    case "cohere2" -> cohere2(keys);
                    case "starcoder2" -> starcoder2();
                    case "stablelm" -> stablelm(keys);
                    case "glm4" -> glm4();
                    case "qwen2moe" -> qwen2moe(keys);
                    case "qwen3moe" -> qwen3moe(keys);
                    case "gpt-oss" -> gptOss(keys);
                    case "deepseek2" -> deepseek2(keys);
                    case "lfm2" -> lfm2(keys);
                    case "granitehybrid" -> graniteHybrid(keys);
                    case "qwen3next" -> qwenDelta(keys, false);
                    case "qwen35", "qwen35moe" -> qwenDelta(keys, true);
                    case "mistral3" -> mistral3(keys);
                    case "qwen2vl" -> text(qwen2(), keys);
                    case "qwen3vl" -> text(qwen3(), keys);
                    case "qwen3vlmoe" -> text(qwen3moe(keys), keys);
                    case "seed_oss" -> qwen2().feedForwardNorm("post_attention_norm");
                    case "arcee" ->
                        new Architecture.Builder()
                                .activation(Activation.SQUARED_RELU)
                                .plain();
                    case "ernie4_5", "ernie4_5-moe" -> ernie(keys);
                    case "exaone" -> new Architecture.Builder().halves();
                    case "exaone4" -> exaone4(keys, layers);
                    case "internlm2" -> new Architecture.Builder();
                    case "olmoe" -> olmoe(keys);
                    case "granitemoe" -> graniteMoe(keys);
                    case "glm4moe" -> glm4moe(keys);
                    case "dots1" -> qwen3().mixture(keys.mixture(Scoring.SIGMOID, false, ofExperts(keys), false));
                    case "bailingmoe" -> deepseek(keys);
                    case "bailingmoe2" -> qwen3().mixture(keys.mixture(Scoring.SIGMOID, false, ofExperts(keys), false));
                    case "lfm2moe" -> lfm2(keys).mixture(keys.mixture(Scoring.SIGMOID, true, 0, false));
                    case "minicpm" -> minicpm(keys, hidden, layers);
                    case "nemotron" -> nemotron();
                    case "deepseek" -> deepseek(keys);
                    case "minimax-m2" -> minimaxM2(keys);
                    case "nemotron_h", "nemotron_h_moe" -> nemotronH(keys);
                    case "hunyuan-dense", "hunyuan-moe" -> hunyuan(keys);
                    case "gemma4" -> gemma4(keys, hidden);
                    case "llama4" -> llama4(keys);
                    case "falcon-h1" -> new Architecture.Builder().halves().recurrence(keys.stateSpacesInAll(true));
                    case "mamba2" -> onlyRecurrence(layers).recurrence(keys.stateSpacesInAll(false));
                    case "mamba" -> onlyRecurrence(layers).recurrence(keys.selective(true));
                    case "jamba" -> jamba(keys);
                    case "deci" -> new Architecture.Builder().parts(keys.attentionOrFeedForward());
                    case "xverse", "chatglm" -> new Architecture.Builder();
                    case "orion" -> new Architecture.Builder().halves().layerNorm();
                    case "phi2" -> starcoder2().parallel();
                    case "falcon" -> falcon(keys);
                    case "gptneox" -> gptNeoX(keys, layers);
                    case "codeshell" -> starcoder2();
                    case "gpt2", "starcoder" -> starcoder2().learnedPositions();
                    case "phimoe" -> phimoe(keys);
                    case "olmo" ->
                        new Architecture.Builder().plainLayerNorm().inputLimit(keys.number("attention.clamp_kqv", 0));
                    case "dbrx" -> dbrx(keys);
                    case "qwen", "pangu-embedded" -> qwen2();
                    case "plamo" -> new Architecture.Builder().halves().parallel();
                    case "openelm" -> qwen3();
                    case "jais2" -> nemotron();
                    case "maincoder" -> new Architecture.Builder().headNorm(HeadNorm.EACH_ROTATED);
                    case "mellum" -> qwen3moe(keys).window(keys, 4).windowBase(keys.number("rope.freq_base", 10000));
                    case "exaone-moe" -> exaoneMoe(keys);
                    case "gemma3n" -> gemma3n(keys, hidden, layers);
                    case "bert" -> bert().exactGelu().plain().unrotatedEvery(1);
                    case "nomic-bert" -> bert().halves();
                    case "nomic-bert-moe" -> nomicBertMoe(keys);
                    case "modern-bert" -> modernBert(keys, layers);
                    case "neo-bert" -> new Architecture.Builder().encoder().outputNorm("enc.output_norm");
                    case "eurobert" -> new Architecture.Builder().halves().encoder();
                    case "llama-embed" -> new Architecture.Builder().encoder();
                    case "gemma-embedding" ->
                        gemma3(keys, hidden, heads, layers)
                                .encoder()
                                .vectorHead(
                                        keys.hasTensor("dense_2.weight") ? keys.size("dense_2_feat_out", hidden) : 0);
                    default -> throw new IllegalArgumentException("no description of " + name);
                };
        return builder.yarn(keys.yarn()).rotationFactor(keys.rotationFactor()).build();
    }

    private static Architecture.Builder llama(Keys keys) {
        return new Architecture.Builder()
                .window(keys.window(), 0) // Mistral's first models have a window in all layers
                .mixture(keys.mixture(Scoring.SOFTMAX, true, 0, false)); // Mixtral
    }

    /**
     * Every fourth layer sees all positions, does not rotate and sharpens attention; the others see chunks. The model with 128
     * experts does not normalise heads.
     */
    private static Architecture.Builder llama4(Keys keys) {
        int chunk = 8192;
        int window = keys.window();
        Mixture mixture = keys.mixture(Scoring.SIGMOID, false, keys.size("expert_feed_forward_length", 0), false);
        return new Architecture.Builder()
                .headNorm(mixture != null && mixture.experts() == 128 ? HeadNorm.NONE : HeadNorm.EACH_ROTATED_PLAIN)
                .window(window == 0 ? chunk : window, keys.fullEvery(4))
                .windows(keys.windows())
                .chunked()
                .unrotatedEvery(4)
                .temperature(new Architecture.Temperature(0.1f, chunk, 1, true))
                .mixture(mixture == null ? null : mixture.withWeighedInputs(keys.size("interleave_moe_layer_step", 1)));
    }

    private static Architecture.Builder qwen2() {
        return new Architecture.Builder().halves();
    }

    private static Architecture.Builder qwen3() {
        return new Architecture.Builder().halves().headNorm(HeadNorm.EACH);
    }

    private static Architecture.Builder phi3(Keys keys) {
        return new Architecture.Builder().halves().window(keys.window(), 0);
    }

    /** Converters have added 1 to the weights of the norms. */
    private static Architecture.Builder gemma(int hidden) {
        return new Architecture.Builder().halves().gelu().factors((float) StrictMath.sqrt(hidden), 1, 1);
    }

    private static Architecture.Builder gemma2(Keys keys, int hidden, int heads, int layers) {
        return gemma(hidden)
                .normBeforeAndAfter()
                .attentionScale(layers == 46 ? wholeHeads(hidden, heads) : 0) // 27 B
                .caps(keys.number("attn_logit_softcapping", 50), keys.number("final_logit_softcapping", 30))
                .window(keys, 2);
    }

    private static Architecture.Builder gemma3(Keys keys, int hidden, int heads, int layers) {
        return gemma(hidden)
                .normBeforeAndAfter()
                .headNorm(HeadNorm.EACH)
                .attentionScale(layers == 62 ? wholeHeads(hidden, heads) : 0) // 27 B
                .caps(0, keys.number("final_logit_softcapping", 0))
                .window(keys, 6)
                .windowBase(keys.number("rope.freq_base_swa", 10000));
    }

    /**
     * Layers with a window have shorter heads, and often more for keys and values. The smallest models have inputs of each
     * layer and share keys and values; others have experts beside the feed-forward layer.
     */
    private static Architecture.Builder gemma4(Keys keys, int hidden) {
        Mixture mixture = keys.mixture(Scoring.SOFTMAX, true, 0, false);
        return gemma(hidden)
                .normBeforeAndAfter()
                .headNorm(HeadNorm.EACH)
                .valueNorm()
                .attentionScale(1)
                .caps(0, keys.number("final_logit_softcapping", 0))
                .window(keys, 6)
                .windowBase(keys.number("rope.freq_base_swa", 10000))
                .sharingLayers(keys.size("attention.shared_kv_layers", 0))
                .layerInputs(keys.size("embedding_length_per_layer_input", 0))
                .mixture(mixture == null ? null : mixture.besideDense());
    }

    /** Several residual streams, inputs of each layer, and sparse activations. From layer 20 on, keys and values are shared. */
    private static Architecture.Builder gemma3n(Keys keys, int hidden, int layers) {
        return gemma(hidden)
                .normBeforeAndAfter()
                .headNorm(HeadNorm.EACH)
                .valueNorm()
                .attentionScale(1)
                .caps(0, keys.number("final_logit_softcapping", 30))
                .window(keys, 5)
                .windowBase(keys.number("rope.freq_base_swa", 10000))
                .sharingLayers(keys.size("attention.shared_kv_layers", Math.max(0, layers - 20)))
                .layerInputs(keys.size("embedding_length_per_layer_input", 256))
                .streams(keys.streams())
                .sparsity(keys.sparsity());
    }

    /** Every third layer sees the whole text, the first one of all too. */
    private static Architecture.Builder modernBert(Keys keys, int layers) {
        List<Boolean> listed = keys.windows();
        int every = Math.max(1, keys.fullEvery(3));
        List<Boolean> windows = listed.isEmpty()
                ? IntStream.range(0, layers)
                        .mapToObj(layer -> layer % every != 0)
                        .toList()
                : listed;
        return new Architecture.Builder()
                .layerNorm()
                .halves()
                .bareFirst(!keys.hasTensor("blk.0.attn_norm.weight"))
                .encoder()
                .embeddingNorm()
                .activation(keys.activation())
                .window(keys.window(), 0)
                .windows(windows)
                .windowBase(keys.number("rope.freq_base_swa", keys.number("rope.freq_base", 10000)));
    }

    private static Architecture.Builder nomicBertMoe(Keys keys) {
        Mixture mixture = keys.mixture(Scoring.SOFTMAX, false, 0, false);
        return bert().halves()
                .exactGelu()
                .plain()
                .mixture(mixture == null ? null : mixture.inLastOf(keys.size("moe_every_n_layers", 1)));
    }

    private static Architecture.Builder bert() {
        return new Architecture.Builder()
                .layerNorm()
                .normSum()
                .encoder()
                .embeddingNorm()
                .outputNorm("");
    }

    /** The largest models scale by the width of the residual stream for each head. */
    private static float wholeHeads(int hidden, int heads) {
        return (float) (1 / StrictMath.sqrt((double) hidden / heads));
    }

    private static Architecture.Builder granite(Keys keys) {
        return new Architecture.Builder()
                .attentionScale(keys.number("attention.scale", 0))
                .factors(
                        keys.number("embedding_scale", 1),
                        keys.number("residual_scale", 1),
                        1 / keys.number("logit_scale", 1));
    }

    private static Architecture.Builder smollm3() {
        return new Architecture.Builder().unrotatedEvery(4);
    }

    private static Architecture.Builder olmo2(Keys keys) {
        return new Architecture.Builder()
                .halves()
                .normOnlyAfter()
                .headNorm(HeadNorm.ALL)
                .window(keys, 4)
                // scaling is for the layers without a window
                .windowBase(keys.number("rope.freq_base_swa", keys.number("rope.freq_base", 10000)));
    }

    private static Architecture.Builder commandR(Keys keys) {
        return new Architecture.Builder().layerNorm().parallel().factors(1, 1, keys.number("logit_scale", 1));
    }

    private static Architecture.Builder cohere2(Keys keys) {
        return commandR(keys).window(keys, 4).onlyWindowsRotate();
    }

    private static Architecture.Builder starcoder2() {
        return new Architecture.Builder().halves().layerNorm().gelu().plain();
    }

    /** Only the model of 12 B has parallel blocks and norms of heads; the tensors show both, and a key may say another. */
    private static Architecture.Builder stablelm(Keys keys) {
        boolean said = keys.flag(ModelConfig.PARALLEL, false);
        boolean parallel = keys.hasTensor("blk.0.attn_norm.weight") ? !keys.hasTensor("blk.0.ffn_norm.weight") : said;
        Architecture.Builder builder = new Architecture.Builder().halves().layerNorm();
        if (keys.hasTensor("blk.0.attn_q_norm.weight")) {
            builder.headNorm(HeadNorm.EACH_LAYER);
        }
        return parallel ? builder.parallel() : builder;
    }

    /** In the larger models, feed-forward has the norm that attention has in the smaller ones. */
    private static Architecture.Builder falcon(Keys keys) {
        Architecture.Builder builder = starcoder2().exactGelu();
        return keys.hasTensor("blk.0.attn_norm_2.weight")
                ? builder.parallelWithTwoNorms().mixerNorm("attn_norm_2").feedForwardNorm("attn_norm")
                : builder.parallel();
    }

    /** GPT-NeoX-20B, with 44 blocks, was trained with the other GELU than Pythia. */
    private static Architecture.Builder gptNeoX(Keys keys, int layers) {
        Architecture.Builder builder =
                layers == 44 ? starcoder2() : starcoder2().exactGelu();
        return keys.flag(ModelConfig.PARALLEL, true) ? builder.parallelWithTwoNorms() : builder;
    }

    /** Phi-3.5-MoE, as it was trained. llama.cpp computes RMS norms, and a softmax over all experts. */
    private static Architecture.Builder phimoe(Keys keys) {
        return phi3(keys).layerNorm().mixture(keys.mixture(Scoring.SOFTMAX_OF_NEAR, false, 0, false));
    }

    private static Architecture.Builder dbrx(Keys keys) {
        return new Architecture.Builder()
                .halves()
                .layerNorm()
                .inputLimit(keys.number("attention.clamp_kqv", 0))
                .feedForwardNorm("attn_output_norm")
                .mixture(keys.mixture(Scoring.SOFTMAX, true, 0, false));
    }

    private static Architecture.Builder glm4() {
        return new Architecture.Builder().normBeforeAndAfter();
    }

    private static Architecture.Builder qwen2moe(Keys keys) {
        return qwen2().mixture(keys.mixture(
                Scoring.SOFTMAX, false, sharedWidth(keys, keys.size("feed_forward_length", 0)), true));
    }

    private static Architecture.Builder qwen3moe(Keys keys) {
        return qwen3().mixture(keys.mixture(Scoring.SOFTMAX, true, 0, false));
    }

    private static Architecture.Builder gptOss(Keys keys) {
        return new Architecture.Builder()
                .halves()
                .window(keys, 2)
                .sinks()
                .feedForwardNorm("post_attention_norm")
                .activation(Activation.CLAMPED_SILU)
                .mixture(keys.mixture(Scoring.SOFTMAX_OF_CHOSEN, false, 0, false));
    }

    /** DeepSeek V2 and V3. YaRN's factor is in the scores of all positions, if the file has one for them. */
    private static Architecture.Builder deepseek2(Keys keys) {
        Architecture.Latent latent = keys.latent();
        double logScale = StrictMath.log(Math.max(1, keys.ropeScale()));
        double forScores = keys.number("rope.scaling.yarn_log_multiplier", 0);
        double scoreFactor = keys.rotationFactor() * (1 + forScores * logScale);
        return new Architecture.Builder()
                .latent(latent)
                .attentionScale((float) (scoreFactor * scoreFactor / StrictMath.sqrt(latent.queryDim())))
                .mixture(keys.mixture(Scoring.SOFTMAX, false, ofExperts(keys), false));
    }

    private static Architecture.Builder lfm2(Keys keys) {
        return new Architecture.Builder()
                .halves()
                .headNorm(HeadNorm.EACH)
                .window(keys.window(), 0)
                .outputNorm("token_embd_norm")
                .recurrence(keys.shortConvolutions());
    }

    /** Granite 4. The file says whether its attention rotates. */
    private static Architecture.Builder graniteHybrid(Keys keys) {
        return granite(keys)
                .unrotatedEvery(keys.flag("rope.scaling.finetuned", true) ? 0 : 1)
                .mixture(keys.mixture(Scoring.SOFTMAX, true, sharedWidth(keys, 0), false))
                .recurrence(keys.stateSpaces());
    }

    /** Qwen3-Next and Qwen3.5, with or without experts. Converters of the latter order its heads so that they alternate. */
    private static Architecture.Builder qwenDelta(Keys keys, boolean alternating) {
        keys.textOnly();
        return qwen3().gatedAttention()
                .feedForwardNorm("post_attention_norm")
                .mixture(keys.mixture(
                        Scoring.SOFTMAX, true, sharedWidth(keys, keys.size("feed_forward_length", 0)), true))
                .recurrence(keys.deltaNet(alternating));
    }

    /** A model that can see too, for text. */
    private static Architecture.Builder text(Architecture.Builder builder, Keys keys) {
        keys.textOnly();
        return builder;
    }

    /** Ministral 3 and Devstral 2. */
    private static Architecture.Builder mistral3(Keys keys) {
        return new Architecture.Builder()
                .temperature(keys.temperature())
                .mixture(keys.mixture(Scoring.SOFTMAX, true, sharedWidth(keys, 0), false));
    }

    private static Architecture.Builder ernie(Keys keys) {
        keys.textOnly();
        return new Architecture.Builder().mixture(keys.mixture(Scoring.SOFTMAX, true, sharedWidth(keys, 0), false));
    }

    /** Only the model of 32 B has windows; without them, all layers rotate. */
    private static Architecture.Builder exaone4(Keys keys, int layers) {
        Architecture.Builder builder =
                new Architecture.Builder().halves().normOnlyAfter().headNorm(HeadNorm.EACH);
        int window = keys.window();
        return layers == 64
                ? builder.window(window == 0 ? 4096 : window, keys.fullEvery(4))
                        .windows(keys.windows())
                        .onlyWindowsRotate()
                : builder;
    }

    private static Architecture.Builder exaoneMoe(Keys keys) {
        int width = keys.size("expert_feed_forward_length", 0);
        return qwen3().window(keys, 4)
                .onlyWindowsRotate()
                .mixture(keys.mixture(Scoring.SIGMOID, false, sharedWidth(keys, width), false));
    }

    private static Architecture.Builder olmoe(Keys keys) {
        return new Architecture.Builder()
                .halves()
                .headNorm(HeadNorm.ALL)
                .mixture(keys.mixture(Scoring.SOFTMAX, false, 0, false));
    }

    private static Architecture.Builder graniteMoe(Keys keys) {
        return granite(keys).mixture(keys.mixture(Scoring.SOFTMAX, true, sharedWidth(keys, 0), false));
    }

    /** GLM-4.5 to 4.7. Only the larger ones norm the heads. */
    private static Architecture.Builder glm4moe(Keys keys) {
        return new Architecture.Builder()
                .halves()
                .headNorm(keys.hasTensor("blk.0.attn_q_norm.weight") ? HeadNorm.EACH : HeadNorm.NONE)
                .feedForwardNorm("post_attention_norm")
                .mixture(keys.mixture(Scoring.SIGMOID, false, ofExperts(keys), false));
    }

    /** The first DeepSeek with experts, and Ling. */
    private static Architecture.Builder deepseek(Keys keys) {
        return new Architecture.Builder().mixture(keys.mixture(Scoring.SOFTMAX, false, ofExperts(keys), false));
    }

    /** Older files have no factors. */
    private static Architecture.Builder minicpm(Keys keys, int hidden, int layers) {
        return new Architecture.Builder()
                .factors(
                        keys.number("embedding_scale", 12),
                        keys.number("residual_scale", (float) (1.4 / StrictMath.sqrt(layers))),
                        1 / keys.number("logit_scale", 256f / hidden));
    }

    private static Architecture.Builder nemotron() {
        return new Architecture.Builder()
                .halves()
                .layerNorm()
                .activation(Activation.SQUARED_RELU)
                .plain();
    }

    /** Nemotron Nano 2 and 3. Each block is Mamba-2, attention without rotation, or a feed-forward layer. */
    private static Architecture.Builder nemotronH(Keys keys) {
        return new Architecture.Builder()
                .unrotatedEvery(1)
                .activation(Activation.SQUARED_RELU)
                .plain()
                .feedForwardNorm("attn_norm")
                .parts(keys.parts())
                .recurrence(keys.stateSpaces())
                .mixture(keys.mixture(Scoring.SIGMOID, false, sharedWidth(keys, 0), false));
    }

    private static Architecture.Builder onlyRecurrence(int layers) {
        return new Architecture.Builder()
                .unrotatedEvery(1)
                .parts(Collections.nCopies(layers, Architecture.Part.RECURRENCE));
    }

    /** The file does not say which layers have experts: all, or every second one as in the models that were published. */
    private static Architecture.Builder jamba(Keys keys) {
        Mixture mixture = keys.mixture(Scoring.SOFTMAX, false, 0, false);
        boolean inFirst = keys.hasTensor("blk.0.ffn_gate_inp.weight");
        return new Architecture.Builder()
                .unrotatedEvery(1)
                .recurrence(keys.selective(false))
                .mixture(mixture == null ? null : mixture.inLastOf(inFirst ? 1 : 2));
    }

    private static Architecture.Builder hunyuan(Keys keys) {
        return new Architecture.Builder()
                .halves()
                .headNorm(HeadNorm.EACH_ROTATED)
                .mixture(keys.mixture(Scoring.SOFTMAX, true, sharedWidth(keys, 0), false));
    }

    private static Architecture.Builder minimaxM2(Keys keys) {
        return new Architecture.Builder()
                .halves()
                .headNorm(HeadNorm.ALL)
                .mixture(keys.mixture(Scoring.SIGMOID, true, 0, false));
    }

    /** The width of shared experts that are as wide as the others. */
    private static long ofExperts(Keys keys) {
        return (long) keys.size("expert_shared_count", 0) * keys.size("expert_feed_forward_length", 0);
    }

    private static int sharedWidth(Keys keys, int absent) {
        return keys.size("expert_shared_feed_forward_length", absent);
    }
}
