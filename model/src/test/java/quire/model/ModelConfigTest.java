package quire.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import quire.model.format.FamilyModels;
import quire.model.format.Gguf;
import quire.model.format.GgufTensor;
import quire.model.format.GgufType;
import quire.model.format.GgufWriter;
import quire.model.format.ModelFormatException;
import quire.model.format.RandomModels;
import quire.model.format.RandomModels.Shape;
import quire.tensor.ElementType;

class ModelConfigTest {
    private static final Shape SHAPE = new Shape(64, 32, 64, 1, 4, 2, 16, 8, false, false, false);

    @TempDir
    Path folder;

    private static GgufWriter model() {
        return RandomModels.writer(SHAPE, ElementType.F32, 1);
    }

    private static ModelConfig config(GgufWriter writer) {
        return config(writer, RopeScaling.OF_FILE);
    }

    private static ModelConfig config(GgufWriter writer, RopeScaling rope) {
        try (Gguf gguf = writer.open()) {
            ModelConfig config = ModelConfig.from(gguf, rope);
            config.checkTensors(gguf);
            return config;
        }
    }

    @ParameterizedTest
    @EnumSource(ElementType.class)
    void from_writtenModel_isItsShape(ElementType type) {
        Shape shape = Shape.unusual(type);
        Path path = RandomModels.write(folder, shape, type, 3);
        try (Gguf gguf = Gguf.open(path)) {
            ModelConfig config = ModelConfig.from(gguf);
            config.checkTensors(gguf);
            assertThat(config)
                    .isEqualTo(new ModelConfig(
                            "llama",
                            "random " + type,
                            RandomModels.VOCABULARY_SIZE,
                            512,
                            shape.hidden(),
                            shape.feedForward(),
                            3,
                            shape.heads(),
                            2,
                            shape.headDim(),
                            1e-5f,
                            shape.ropeDimensions(),
                            10000,
                            1));
        }
    }

    @Test
    void from_optionalKeysAbsent_takesTheirDefaults() {
        ModelConfig config =
                config(RandomModels.writer(new Shape(64, 32, 64, 1, 2, 2, 16, 16, true, true, true), ElementType.F32, 1)
                        .without("general.name")
                        .without("llama.attention.head_count_kv")
                        .without("llama.attention.key_length")
                        .without("llama.attention.value_length")
                        .without("llama.rope.freq_base")
                        .without("llama.rope.dimension_count")
                        .without("llama.vocab_size"));
        assertThat(config.name()).isEmpty();
        assertThat(config.kvHeads()).isEqualTo(2);
        assertThat(config.headDim()).isEqualTo(16);
        assertThat(config.ropeDimensions()).isEqualTo(16);
        assertThat(config.ropeBase()).isEqualTo(10000);
        assertThat(config.vocabularySize()).isEqualTo(RandomModels.VOCABULARY_SIZE);
    }

    @Test
    void from_harmlessVariants_areAccepted() {
        assertThat(config(model().string("llama.rope.scaling.type", "none")).ropeScale())
                .isEqualTo(1);
        assertThat(config(model().string("llama.rope.scaling.type", "linear").float32("llama.rope.scaling.factor", 4))
                        .ropeScale())
                .isEqualTo(4);
        assertThat(config(model().float32("llama.rope.scale_linear", 2)).ropeScale())
                .isEqualTo(2);
        assertThat(config(model().float32("llama.rope.scale_linear", 2).float32("llama.rope.scaling.factor", 3))
                        .ropeScale())
                .isEqualTo(3);
        assertThat(config(model().string("llama.rope.scaling.type", "none").float32("llama.rope.scaling.factor", 3))
                        .ropeScale())
                .isEqualTo(1);
        assertThat(config(model().string("llama.rope.scaling.type", "linear").float32("llama.rope.scaling.factor", 0))
                        .ropeScale())
                .isEqualTo(1);
        assertThat(config(model().without("llama.attention.head_count_kv").int32s("llama.attention.head_count_kv", 2))
                        .kvHeads())
                .isEqualTo(2);
        assertThat(config(model().uint32("llama.attention.sliding_window", 64)).contextLength())
                .isEqualTo(64);
        assertThat(config(model().uint32("llama.expert_count", 0)).layers()).isEqualTo(1);
        assertThat(config(model().float32("llama.logit_scale", 1)).layers()).isEqualTo(1);
        assertThat(config(model().tensor("blk.0.attn_rot_embd", ElementType.F32, new float[8], 8))
                        .layers())
                .isEqualTo(1);
    }

    @Test
    void from_longropeWithoutFactors_isLinear() {
        assertThat(config(longrope()).ropeScale()).isEqualTo(1);
        GgufWriter without =
                longrope().withoutTensor("rope_factors_long.weight").withoutTensor("rope_factors_short.weight");
        assertThat(config(without).ropeScale()).isEqualTo(4);
        assertThat(config(without.without("phi3.rope.scaling.factor")).ropeScale())
                .isEqualTo(1);
        ModelConfig minicpm = config(FamilyModels.writer("minicpm-longrope", ElementType.F32, 1));
        assertThat(minicpm.ropeScale()).isEqualTo(1);
    }

    @Test
    void from_attentionFactor_multipliesRotationsOfEachScaling() {
        GgufWriter linear = model().string("llama.rope.scaling.type", "linear").float32("llama.rope.scaling.factor", 4);
        assertThat(config(linear).blocks().rotationFactor()).isEqualTo(1);
        assertThat(config(linear.float32("llama.rope.scaling.attn_factor", 1.5f))
                        .blocks()
                        .rotationFactor())
                .isEqualTo(1.5f);
        GgufWriter yarn = model().string("llama.rope.scaling.type", "yarn")
                .float32("llama.rope.scaling.factor", 4)
                .float32("llama.rope.scaling.attn_factor", 1.5f);
        assertThat(config(yarn).blocks().rotationFactor())
                .isCloseTo((float) (1.5 * (1 + 0.1 * Math.log(4))), within(1e-6f));
        assertThat(config(yarn.float32("llama.rope.scaling.yarn_log_multiplier", 0.7f))
                        .blocks()
                        .rotationFactor())
                .as("a key of DeepSeek and Mistral 3")
                .isCloseTo((float) (1.5 * (1 + 0.1 * Math.log(4))), within(1e-6f));
    }

    @Test
    void from_yarnWithoutOriginalContext_takesTheContext() {
        GgufWriter yarn =
                context(256).string("llama.rope.scaling.type", "yarn").float32("llama.rope.scaling.factor", 4);
        assertThat(config(yarn).blocks().yarn()).isEqualTo(new Architecture.Yarn(256, 32, 1));
        assertThat(config(yarn.uint32("llama.rope.scaling.original_context_length", 64))
                        .blocks()
                        .yarn())
                .isEqualTo(new Architecture.Yarn(64, 32, 1));
    }

    /** What the operator asks for is computed like the same values in the file, for a longer context. */
    @Test
    void from_ropeOfTheOperator_isAsIfTheFileSaidSo() {
        ModelConfig linear = config(model(), new RopeScaling("", 4, 0, 0));
        assertThat(linear)
                .isEqualTo(config(context(256)
                        .string("llama.rope.scaling.type", "linear")
                        .float32("llama.rope.scaling.factor", 4)));
        ModelConfig yarn = config(model(), new RopeScaling("yarn", 4, 0, 0));
        GgufWriter yarnFile = context(256)
                .string("llama.rope.scaling.type", "yarn")
                .float32("llama.rope.scaling.factor", 4)
                .uint32("llama.rope.scaling.original_context_length", 64);
        assertThat(yarn).isEqualTo(config(yarnFile)).isNotEqualTo(linear);
        assertThat(config(yarnFile, new RopeScaling("", 8, 0, 0)).contextLength())
                .as("eight times the original context")
                .isEqualTo(512);
        assertThat(config(yarnFile, new RopeScaling("none", 0, 0, 0)).ropeScale())
                .isEqualTo(1);
        assertThat(config(model(), new RopeScaling("yarn", 4, 0, 32)).blocks().yarn())
                .isEqualTo(new Architecture.Yarn(32, 32, 1));
        ModelConfig base = config(model(), new RopeScaling("", 0, 5e5f, 0));
        assertThat(base.ropeBase()).isEqualTo(5e5f);
        assertThat(base.contextLength()).isEqualTo(64);
        assertThat(config(
                                longrope()
                                        .withoutTensor("rope_factors_long.weight")
                                        .withoutTensor("rope_factors_short.weight"),
                                new RopeScaling("", 2, 0, 0))
                        .ropeScale())
                .isEqualTo(2);
    }

    @Test
    void from_ropeThatHasNoEffect_isRefused() {
        for (RopeScaling rope : List.of(
                new RopeScaling("yarn", 0, 0, 0), new RopeScaling("linear", 0, 0, 0), new RopeScaling("", 0, 0, 32))) {
            assertThatExceptionOfType(ModelFormatException.class)
                    .as(rope.toString())
                    .isThrownBy(() -> config(model(), rope))
                    .withMessageContaining("scale");
        }
        assertThatExceptionOfType(ModelFormatException.class)
                .isThrownBy(() -> config(longrope(), new RopeScaling("linear", 2, 0, 0)))
                .withMessageContaining("rope_factors_long.weight");
    }

    private static GgufWriter context(int positions) {
        return model().without("llama.context_length").uint32("llama.context_length", positions);
    }

    private static GgufWriter longrope() {
        return FamilyModels.writer("phi3", ElementType.F32, 1)
                .string("phi3.rope.scaling.type", "longrope")
                .float32("phi3.rope.scaling.factor", 4);
    }

    /** A change of a valid model, and the words that the message must contain. */
    record Fault(Consumer<GgufWriter> change, List<String> said) {
        @Override
        public String toString() {
            return String.join(", ", said);
        }
    }

    private static Fault fault(Consumer<GgufWriter> change, String... said) {
        return new Fault(change, List.of(said));
    }

    private static Fault size(String key, long value) {
        return fault(
                w -> w.without("llama." + key).uint32("llama." + key, value), "key llama." + key, Long.toString(value));
    }

    static Stream<Fault> faults() {
        return Stream.of(
                fault(w -> w.without("general.architecture"), "key general.architecture", "missing"),
                fault(
                        w -> w.without("general.architecture").string("general.architecture", "rwkv7"),
                        "key general.architecture",
                        "rwkv7",
                        "it lacks the recurrence of RWKV"),
                fault(
                        w -> w.without("general.architecture").string("general.architecture", "new"),
                        "key general.architecture",
                        "new",
                        "computes llama, qwen2"),
                fault(
                        w -> w.without("general.architecture").string("general.architecture", "x".repeat(5000)),
                        "key general.architecture",
                        "xxxxx…, which"),
                fault(
                        w -> w.string("llama.rope.scaling.type", "y".repeat(5000)),
                        "llama.rope.scaling.type",
                        "yyyyy…, which"),
                fault(
                        w -> w.without("llama.block_count").int32s("llama.block_count", 1),
                        "key llama.block_count",
                        "array of 1 int32s"),
                fault(w -> w.without("llama.block_count"), "key llama.block_count", "missing"),
                size("context_length", 0),
                size("context_length", 1L << 31),
                size("embedding_length", 0xFFFF_FFFFL),
                size("embedding_length", 0),
                size("feed_forward_length", 1 << 21),
                size("block_count", 0),
                size("block_count", 2_000_000_000),
                size("attention.head_count", 0),
                size("attention.head_count", 100_000),
                size("attention.head_count_kv", 3),
                size("attention.head_count_kv", 8),
                size("attention.head_count_kv", 0),
                size("attention.key_length", 0),
                size("attention.value_length", 8),
                size("rope.dimension_count", 7),
                size("rope.dimension_count", 18),
                size("vocab_size", 320),
                fault(w -> w.uint32("llama.expert_count", 8), "key llama.expert_used_count", "missing"),
                fault(
                        w -> w.uint32("llama.expert_count", 8).uint32("llama.expert_used_count", 9),
                        "key llama.expert_used_count",
                        "9"),
                fault(
                        w -> w.uint32("llama.expert_count", 8).uint32("llama.expert_used_count", 2),
                        "tensor blk.0.ffn_gate_inp.weight",
                        "missing",
                        "[32, 8]"),
                fault(
                        w -> w.uint32("llama.expert_count", 8)
                                .uint32("llama.expert_used_count", 5)
                                .uint32("llama.expert_group_count", 4)
                                .uint32("llama.expert_group_used_count", 2),
                        "key llama.expert_group_count",
                        "4 (2 used)"),
                fault(
                        w -> w.uint32("llama.expert_count", 8)
                                .uint32("llama.expert_used_count", 2)
                                .uint32("llama.expert_gating_func", 4),
                        "key llama.expert_gating_func",
                        "softmax"),
                fault(
                        w -> w.string("llama.rope.scaling.type", "yarn")
                                .float32("llama.rope.scaling.factor", 4)
                                .float32("llama.rope.scaling.yarn_ext_factor", 0.5f),
                        "key llama.rope.scaling.yarn_ext_factor",
                        "0.5"),
                fault(w -> w.float32("llama.attention.sliding_window", 2), "llama.attention.sliding_window"),
                fault(w -> w.bool("llama.attention.causal", false), "llama.attention.causal"),
                fault(w -> w.float32("llama.logit_scale", 0.5f), "llama.logit_scale", "0.5"),
                fault(w -> w.float32("llama.attention.scale", 0.5f), "llama.attention.scale", "0.5"),
                fault(w -> w.string("llama.rope.scaling.type", "yarn"), "llama.rope.scaling.factor", "missing"),
                fault(w -> w.string("llama.rope.scaling.type", "longrope"), "llama.rope.scaling.type", "longrope"),
                fault(
                        w -> w.string("llama.rope.scaling.type", "linear").float32("llama.rope.scaling.factor", -1),
                        "llama.rope.scaling.factor"),
                fault(w -> w.string("llama.rope.scaling.type", "linear"), "llama.rope.scaling.factor", "missing"),
                fault(
                        w -> w.without("llama.rope.freq_base").float32("llama.rope.freq_base", Float.NaN),
                        "llama.rope.freq_base",
                        "NaN"),
                fault(
                        w -> w.without("llama.attention.layer_norm_rms_epsilon"),
                        "llama.attention.layer_norm_rms_epsilon",
                        "missing"),
                fault(
                        w -> w.without("llama.attention.head_count_kv")
                                .without("llama.block_count")
                                .uint32("llama.block_count", 2)
                                .int32s("llama.attention.head_count_kv", 2, 4),
                        "llama.attention.head_count_kv",
                        "differs between layers (2 and 4)"),
                fault(
                        w -> w.without("tokenizer.ggml.tokens").strings("tokenizer.ggml.tokens", List.of("a", "b")),
                        "tokenizer.ggml.tokens",
                        "2 items",
                        "321"),
                fault(w -> w.withoutTensor("output_norm.weight"), "tensor output_norm.weight", "missing", "[32]"),
                fault(
                        w -> w.without("llama.block_count").uint32("llama.block_count", 2),
                        "tensor blk.1.attn_norm.weight",
                        "missing"),
                fault(
                        w -> w.without("llama.feed_forward_length").uint32("llama.feed_forward_length", 96),
                        "tensor blk.0.ffn_gate.weight",
                        "[32, 64]",
                        "[32, 96]"),
                fault(
                        w -> w.tensor("blk.0.attn_q.bias", ElementType.F32, new float[32], 32),
                        "tensor blk.0.attn_q.bias",
                        "[32]",
                        "[64]"),
                fault(
                        w -> w.tensor("rope_freqs.weight", ElementType.F32, new float[8], 8),
                        "tensor rope_freqs.weight",
                        "[8]",
                        "[4]"),
                fault(
                        w -> w.tensor("blk.0.attn_q_norm.weight", ElementType.F32, new float[16], 16),
                        "tensor blk.0.attn_q_norm.weight",
                        "no part of a llama model"),
                fault(
                        w -> w.withoutTensor("output_norm.weight")
                                .tensor("output_norm.weight", ElementType.Q8_0, new float[32], 32),
                        "tensor output_norm.weight",
                        "Q8_0",
                        "F32"),
                fault(
                        w -> w.withoutTensor("blk.0.attn_v.weight")
                                .tensor("blk.0.attn_v.weight", GgufType.Q8_1.id(), new byte[36 * 32], 32, 32),
                        "tensor blk.0.attn_v.weight",
                        "Q8_1",
                        "F32, F16, BF16, Q4_0, Q4_1, "),
                fault(
                        w -> w.withoutTensor("blk.0.attn_v.weight")
                                .tensor("blk.0.attn_v.weight", GgufType.Q6_K.id(), new byte[210 * 4], 32, 32),
                        "tensor blk.0.attn_v.weight",
                        "rows of 32 numbers",
                        "blocks of 256",
                        "Q6_K"));
    }

    @ParameterizedTest
    @MethodSource("faults")
    void from_unsupportedModel_isRefusedInOneLineWithThePlace(Fault fault) {
        assertRefused(model(), fault);
    }

    private static void assertRefused(GgufWriter writer, Fault fault) {
        fault.change().accept(writer);
        assertThatThrownBy(() -> config(writer))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageStartingWith("test.gguf: ")
                .hasMessageContainingAll(fault.said().toArray(String[]::new))
                .message()
                .hasLineCount(1);
    }

    /** A change of a valid model with a latent, and the words that the message must contain. */
    static Stream<Fault> latentFaults() {
        return Stream.of(
                fault(w -> set(w, "deepseek2.attention.kv_lora_rank", 63), "attention.kv_lora_rank", "63", "odd"),
                fault(w -> set(w, "deepseek2.attention.kv_lora_rank", 2000), "attention.kv_lora_rank", "2000"),
                fault(
                        w -> set(w, "deepseek2.attention.head_count_kv", 4),
                        "attention.head_count_kv",
                        "4",
                        "one latent"),
                fault(w -> set(w, "deepseek2.rope.dimension_count", 48), "rope.dimension_count", "48"),
                fault(w -> set(w, "deepseek2.expert_shared_count", 1 << 20), "expert_shared_count"),
                fault(w -> set(w, "deepseek2.leading_dense_block_count", 5), "leading_dense_block_count", "5 of 4"),
                fault(w -> w.withoutTensor("blk.1.attn_k_b.weight"), "tensor blk.1.attn_k_b.weight", "missing"));
    }

    @ParameterizedTest
    @MethodSource("latentFaults")
    void from_unsupportedLatent_isRefusedInOneLineWithThePlace(Fault fault) {
        assertRefused(FamilyModels.writer("deepseek2", ElementType.F32, 1), fault);
    }

    /** Gives a key another value. */
    private static void set(GgufWriter writer, String key, long value) {
        writer.without(key).uint32(key, value);
    }

    static Stream<Fault> recurrentFaults() {
        return Stream.of(
                fault(w -> set(w, "lfm2.shortconv.l_cache", 1), "shortconv.l_cache", "not 2 to 16"),
                fault(w -> set(w, "lfm2.shortconv.l_cache", 17), "shortconv.l_cache", "not 1 to 16"),
                fault(w -> set(w, "lfm2.shortconv.l_cache", 4), "tensor blk.0.shortconv.conv.weight", "3", "4"),
                fault(w -> set(w, "lfm2.attention.head_count_kv", 2), "attention.head_count_kv", "where attention is"),
                fault(w -> kvHeads(w, 0, 0, 0, 0), "attention.head_count_kv", "is 0"),
                fault(w -> kvHeads(w, 0, 0, 2, 4), "attention.head_count_kv", "differs between layers (2 and 4)"),
                fault(w -> kvHeads(w, 0, 0, 2), "attention.head_count_kv", "has 3 items"),
                fault(w -> kvHeads(w, 0, 2, 0, 0), "tensor blk.1.attn_q.weight", "missing"));
    }

    private static void kvHeads(GgufWriter writer, int... heads) {
        writer.without("lfm2.attention.head_count_kv").int32s("lfm2.attention.head_count_kv", heads);
    }

    @ParameterizedTest
    @MethodSource("recurrentFaults")
    void from_unsupportedRecurrence_isRefusedInOneLineWithThePlace(Fault fault) {
        assertRefused(FamilyModels.writer("lfm2", ElementType.F32, 1), fault);
    }

    static Stream<Fault> stateFaults() {
        return Stream.of(
                fault(w -> set(w, "granitehybrid.ssm.conv_kernel", 1), "ssm.conv_kernel", "not 2 to 16"),
                fault(w -> set(w, "granitehybrid.ssm.time_step_rank", 7), "ssm.time_step_rank", "7", "128"),
                fault(w -> set(w, "granitehybrid.ssm.group_count", 3), "ssm.time_step_rank", "8", "3 groups"),
                fault(w -> set(w, "granitehybrid.ssm.group_count", 9), "ssm.group_count", "not 1 to 8"),
                fault(w -> set(w, "granitehybrid.ssm.state_size", 5000), "ssm.state_size", "not 1 to 4096"),
                fault(w -> set(w, "granitehybrid.ssm.state_size", 16), "tensor blk.0.ssm_in.weight"),
                fault(w -> w.withoutTensor("blk.1.ssm_a"), "tensor blk.1.ssm_a", "missing"));
    }

    @ParameterizedTest
    @MethodSource("stateFaults")
    void from_unsupportedStateSpace_isRefusedInOneLineWithThePlace(Fault fault) {
        assertRefused(FamilyModels.writer("granitehybrid", ElementType.F32, 1), fault);
    }

    static Stream<Fault> deltaFaults() {
        return Stream.of(
                fault(w -> set(w, "qwen35.ssm.conv_kernel", 17), "ssm.conv_kernel", "not 1 to 16"),
                fault(w -> set(w, "qwen35.ssm.state_size", 8), "ssm.state_size", "8", "4 heads of 16"),
                fault(w -> set(w, "qwen35.ssm.group_count", 3), "ssm.time_step_rank", "4", "3 groups"),
                fault(w -> set(w, "qwen35.nextn_predict_layers", 5), "nextn_predict_layers", "5 of 5 blocks"),
                fault(w -> set(w, "qwen35.nextn_predict_layers", 0), "tensor blk.4.attn_norm.weight", "missing"),
                fault(w -> set(w, "qwen35.full_attention_interval", 5), "full_attention_interval", "none of 4 blocks"),
                fault(w -> set(w, "qwen35.full_attention_interval", 2), "tensor blk.1.attn_q.weight", "missing"),
                fault(w -> w.bool("qwen35.attention.recurrent_layers", true), "recurrent_layers", "lists the layers"),
                fault(w -> w.withoutTensor("blk.0.ssm_beta.weight"), "tensor blk.0.ssm_beta.weight", "missing"),
                fault(w -> w.withoutTensor("blk.0.attn_gate.weight"), "tensor blk.0.attn_gate.weight", "missing"));
    }

    @ParameterizedTest
    @MethodSource("deltaFaults")
    void from_unsupportedDeltaNet_isRefusedInOneLineWithThePlace(Fault fault) {
        assertRefused(FamilyModels.writer("qwen35-further", ElementType.F32, 1), fault);
    }

    static Stream<Fault> partFaults() {
        String kvHeads = "nemotron_h_moe.attention.head_count_kv";
        String widths = "nemotron_h_moe.feed_forward_length";
        return Stream.of(
                fault(w -> w.without(kvHeads).uint32(kvHeads, 2), "head_count_kv", "where attention is"),
                fault(
                        w -> w.without(widths).uint32(widths, 96),
                        "feed_forward_length",
                        "where a feed-forward layer is"),
                fault(w -> w.without(widths).int32s(widths, 0, 96, 0), "feed_forward_length", "has 3 items"),
                fault(w -> w.without(kvHeads).int32s(kvHeads, 0, 2, 0, 0), "head_count_kv", "no block with attention"),
                fault(w -> w.without(widths).int32s(widths, 0, 0, 0, 96), "tensor blk.1.ssm_in.weight", "missing"),
                fault(
                        w -> w.withoutTensor("blk.1.ffn_up_shexp.weight"),
                        "tensor blk.1.ffn_up_shexp.weight",
                        "missing"));
    }

    @ParameterizedTest
    @MethodSource("partFaults")
    void from_unsupportedParts_isRefusedInOneLineWithThePlace(Fault fault) {
        assertRefused(FamilyModels.writer("nemotron_h_moe", ElementType.F32, 1), fault);
    }

    static Stream<Fault> ownSizeFaults() {
        String windows = "gemma4.attention.sliding_window_pattern";
        String shared = "gemma4.attention.shared_kv_layers";
        String widths = "gemma4.feed_forward_length";
        String kvHeads = "gemma4.attention.head_count_kv";
        return Stream.of(
                fault(w -> set(w, shared, 4), "shared_kv_layers", "is 4 of 4 layers", "with a window"),
                fault(w -> set(w, shared, 3), "shared_kv_layers", "without a window", "layer 1"),
                fault(w -> set(w, shared, 1), "tensor blk.2.attn_k.weight", "missing"),
                fault(w -> w.without(windows).bools(windows, true, false), windows, "has 2 items"),
                fault(w -> w.without(windows).bools(windows, true, true, true, true), "tensor blk.1.attn_q.weight"),
                fault(w -> set(w, "gemma4.attention.key_length_swa", 15), "value_length_swa", "length is 15"),
                fault(w -> set(w, "gemma4.attention.value_length_swa", 32), "value_length_swa", "32", "16"),
                fault(w -> set(w, "gemma4.rope.dimension_count_swa", 18), "dimension_count_swa", "not 1 to 16"),
                fault(w -> w.without(widths).int32s(widths, 96, 96, 192, 0), "feed_forward_length", "is 0"),
                fault(w -> w.without(widths).int32s(widths, 96, 96, 96, 192), "tensor blk.2.ffn_gate.weight"),
                fault(w -> w.without(kvHeads).int32s(kvHeads, 1, 1, 1, 3), "head_count_kv", "3", "4 heads"),
                fault(w -> w.without(kvHeads).int32s(kvHeads, 1, 1, 1, 2), "shared_kv_layers", "layer 3"),
                fault(w -> set(w, "gemma4.embedding_length_per_layer_input", 64), "per_layer_token_embd.weight"),
                fault(w -> w.withoutTensor("blk.0.post_norm.weight"), "tensor blk.0.post_norm.weight", "missing"));
    }

    @ParameterizedTest
    @MethodSource("ownSizeFaults")
    void from_unsupportedSizesOfBlocks_isRefusedInOneLineWithThePlace(Fault fault) {
        assertRefused(FamilyModels.writer("gemma4", ElementType.F32, 1), fault);
    }

    static Stream<Fault> emptyBlockFaults() {
        String heads = "deci.attention.head_count";
        String kvHeads = "deci.attention.head_count_kv";
        return Stream.of(
                fault(w -> w.without(heads).int32s(heads, 4, 4, 4, 4), "head_count_kv", "in place of attention"),
                fault(w -> w.without(heads).int32s(heads, 0, 0, 0, 0), "attention.head_count", "is 0"),
                fault(w -> w.without(kvHeads).int32s(kvHeads, 2, 0, 3, 4), "head_count_kv", "3", "4 heads"));
    }

    @ParameterizedTest
    @MethodSource("emptyBlockFaults")
    void from_unsupportedEmptyBlocks_isRefusedInOneLineWithThePlace(Fault fault) {
        assertRefused(FamilyModels.writer("deci", ElementType.F32, 1), fault);
    }

    static Stream<Fault> streamFaults() {
        return Stream.of(
                fault(w -> set(w, "gemma3n.altup.active_idx", 1), "altup.active_idx", "is 1"),
                fault(w -> set(w, "gemma3n.altup.num_inputs", 17), "altup.num_inputs", "not 2 to 16"),
                fault(w -> set(w, "gemma3n.altup.num_inputs", 2), "altup_proj.weight"),
                fault(w -> set(w, "gemma3n.attention.shared_kv_layers", 6), "shared_kv_layers", "none"),
                fault(
                        w -> w.without("gemma3n.activation_sparsity_scale")
                                .float32s("gemma3n.activation_sparsity_scale", 1, 1),
                        "activation_sparsity_scale",
                        "has 2 items"),
                fault(
                        w -> w.without("gemma3n.activation_sparsity_scale")
                                .float32s("gemma3n.activation_sparsity_scale", 1, 1, 1, 1, Float.NaN, 1),
                        "activation_sparsity_scale",
                        "block 4"));
    }

    @ParameterizedTest
    @MethodSource("streamFaults")
    void from_unsupportedStreams_isRefusedInOneLineWithThePlace(Fault fault) {
        assertRefused(FamilyModels.writer("gemma3n", ElementType.F32, 1), fault);
    }

    @Test
    void from_encoder_isRefusedIfItIsCausalOrHasAnotherActivation() {
        assertRefused(
                FamilyModels.writer("bert", ElementType.F32, 1),
                fault(
                        w -> w.without("bert.attention.causal").bool("bert.attention.causal", true),
                        "earlier positions"));
        assertRefused(
                FamilyModels.writer("modern-bert", ElementType.F32, 1),
                fault(w -> w.string("modern-bert.hidden_activation", "tanh"), "hidden_activation", "tanh"));
        assertRefused(
                FamilyModels.writer("bert", ElementType.F32, 1),
                fault(w -> w.withoutTensor("position_embd.weight"), "position_embd.weight"));
    }

    /** A key says it for GPT-NeoX, the tensors for StableLM, and no other architecture may have it. */
    @Test
    void from_parallelBlocks_followTheKeyOrTheTensors() {
        String key = ".use_parallel_residual";
        assertThat(phrases(FamilyModels.writer("gptneox", ElementType.F32, 1).without("gptneox" + key)))
                .contains("attention beside feed-forward, each with its norm", "plain exact GELU");
        assertThat(phrases(FamilyModels.writer("gptneox-serial", ElementType.F32, 1)))
                .contains("attention, then feed-forward");
        assertThat(phrases(FamilyModels.writer("stablelm-parallel", ElementType.F32, 1)
                        .without("stablelm" + key)
                        .bool("stablelm" + key, false)))
                .contains("attention beside feed-forward", "queries and keys normalised by head with a layer norm");
        assertThat(phrases(FamilyModels.writer("stablelm", ElementType.F32, 1)
                        .without("stablelm" + key)
                        .bool("stablelm" + key, true)))
                .contains("attention, then feed-forward");
        assertRefused(model(), fault(w -> w.bool("llama" + key, true), "use_parallel_residual"));
    }

    private static List<String> phrases(GgufWriter writer) {
        return config(writer).blocks().describe();
    }

    @Test
    void from_gateAndUpCountedTogether_areHalves() {
        GgufWriter writer = FamilyModels.writer("qwen", ElementType.F32, 1);
        assertThat(config(writer).feedForward()).isEqualTo(96);
        assertRefused(
                writer,
                fault(
                        w -> w.without("qwen.feed_forward_length").uint32("qwen.feed_forward_length", 193),
                        "feed_forward_length",
                        "odd"));
    }

    @Test
    void unusedTensors_keysAndValuesThatOthersShare_areListed() {
        try (Gguf gguf = FamilyModels.writer("gemma3n", ElementType.F32, 1).open()) {
            assertThat(ModelConfig.unusedTensors(gguf))
                    .extracting(GgufTensor::name)
                    .containsExactlyInAnyOrder(
                            "blk.4.attn_k.weight",
                            "blk.4.attn_v.weight",
                            "blk.4.attn_k_norm.weight",
                            "blk.5.attn_k.weight",
                            "blk.5.attn_v.weight",
                            "blk.5.attn_k_norm.weight");
        }
    }

    @Test
    void unusedTensors_blocksThatPredictFurtherTokens_areListed() {
        try (Gguf gguf =
                FamilyModels.writer("qwen35-further", ElementType.F32, 1).open()) {
            assertThat(ModelConfig.unusedTensors(gguf))
                    .extracting(GgufTensor::name)
                    .containsExactly("blk.4.nextn.enorm.weight", "blk.4.nextn.eh_proj.weight");
        }
    }

    @Test
    void constructor_sizesThatDoNotFit_areRefused() {
        assertThatThrownBy(() -> shape(4, 3, 16, 16)).hasMessageContaining("kvHeads");
        assertThatThrownBy(() -> shape(4, 2, 15, 14)).hasMessageContaining("even");
        assertThatThrownBy(() -> shape(4, 2, 16, 18)).hasMessageContaining("ropeDimensions");
        assertThatThrownBy(() -> shape(0, 2, 16, 16)).hasMessageContaining("heads");
    }

    private static ModelConfig shape(int heads, int kvHeads, int headDim, int ropeDimensions) {
        return new ModelConfig("llama", "", 10, 10, 64, 64, 1, heads, kvHeads, headDim, 0, ropeDimensions, 1e4f, 1);
    }

    @Test
    void from_storiesModel_isTheDocumentedShape() {
        try (Gguf gguf = Gguf.open(shared("models/stories260K.gguf"))) {
            ModelConfig config = ModelConfig.from(gguf);
            config.checkTensors(gguf);
            assertThat(config)
                    .isEqualTo(
                            new ModelConfig("llama", "stories260K", 512, 512, 64, 172, 5, 8, 4, 8, 1e-5f, 8, 10000, 1));
        }
    }

    @Test
    void from_vocabularyOnlyFile_readsTheShapeAndMissesTheTensors() {
        try (Gguf gguf = Gguf.open(shared("vocab/deepseek-coder.gguf"))) {
            ModelConfig config = ModelConfig.from(gguf);
            assertThat(config.vocabularySize()).isEqualTo(32256);
            assertThat(config.ropeScale()).isEqualTo(4);
            assertThatThrownBy(() -> config.checkTensors(gguf))
                    .isInstanceOf(ModelFormatException.class)
                    .hasMessageContaining("no tensors");
        }
    }

    private static Path shared(String name) {
        Path path = Path.of(System.getProperty("quire.shared", "../shared"), name);
        assumeTrue(Files.exists(path), () -> path + " is not there");
        return path;
    }
}
