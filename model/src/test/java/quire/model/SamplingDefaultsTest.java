package quire.model;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Map;
import org.junit.jupiter.api.Test;
import quire.model.format.Gguf;
import quire.model.format.GgufValueType;
import quire.model.format.GgufWriter;

class SamplingDefaultsTest {
    private static SamplingDefaults.Recommendation read(GgufWriter writer) {
        try (Gguf file = writer.open()) {
            return SamplingDefaults.from(file);
        }
    }

    private static GgufWriter file() {
        return new GgufWriter().string("general.architecture", "llama");
    }

    @Test
    void from_fileWithoutRecommendation_isEmpty() {
        SamplingDefaults.Recommendation read = read(file());

        assertThat(read.values()).isEqualTo(SamplingDefaults.NONE);
        assertThat(read.warnings()).isEmpty();
        assertThat(read.values().describe()).isEqualTo("none");
    }

    @Test
    void from_allValues_areTheNumbersThatTheFileMeans() {
        SamplingDefaults.Recommendation read = read(file().float32("general.sampling.temp", 0.6f)
                .integer("general.sampling.top_k", GgufValueType.INT32, 20)
                .float64("general.sampling.top_p", 0.95)
                .float32("general.sampling.min_p", 0.05f)
                .float32("general.sampling.penalty_repeat", 1.1f));

        assertThat(read.values().values())
                .isEqualTo(Map.of(
                        "temperature", 0.6, "top_k", 20, "top_p", 0.95, "min_p", 0.05, "repetition_penalty", 1.1));
        assertThat(read.values().describe())
                .isEqualTo("temperature 0.6, top_k 20, top_p 0.95, min_p 0.05, repetition_penalty 1.1");
        assertThat(read.warnings()).isEmpty();
    }

    @Test
    void from_anyNumericType_isRead() {
        for (GgufValueType type : new GgufValueType[] {
            GgufValueType.UINT8,
            GgufValueType.INT8,
            GgufValueType.UINT16,
            GgufValueType.INT16,
            GgufValueType.UINT32,
            GgufValueType.INT32,
            GgufValueType.UINT64,
            GgufValueType.INT64
        }) {
            SamplingDefaults values = read(file().integer("general.sampling.temp", type, 1)
                            .integer("general.sampling.top_k", type, 40))
                    .values();
            assertThat(values.temperature()).as("%s", type).hasValue(1);
            assertThat(values.topK()).as("%s", type).hasValue(40);
        }
        assertThat(read(file().float32("general.sampling.top_k", 40)).values().topK())
                .hasValue(40);
    }

    @Test
    void from_negativeTopK_keepsAllTokens() {
        assertThat(read(file().integer("general.sampling.top_k", GgufValueType.INT32, -1))
                        .values()
                        .topK())
                .hasValue(0);
    }

    @Test
    void from_unusableValues_areAbsentWithAWarningEach() {
        SamplingDefaults.Recommendation read = read(file().float32("general.sampling.temp", -1)
                .float32("general.sampling.top_k", 1.5f)
                .float32("general.sampling.top_p", Float.NaN)
                .string("general.sampling.min_p", "0.1")
                .float32s("general.sampling.penalty_repeat", 1.1f));

        assertThat(read.values()).isEqualTo(SamplingDefaults.NONE);
        assertThat(read.warnings()).hasSize(5);
        assertThat(read.warnings()).anyMatch(warning -> warning.contains("general.sampling.temp is -1.0"));
    }

    @Test
    void from_largeUnsignedTopK_isAbsent() {
        SamplingDefaults.Recommendation read =
                read(file().integer("general.sampling.top_k", GgufValueType.UINT64, -1)); // 2^64 − 1

        assertThat(read.values()).isEqualTo(SamplingDefaults.NONE);
        assertThat(read.warnings()).hasSize(1);
    }

    @Test
    void from_otherKeys_areNamedInOneWarning() {
        SamplingDefaults.Recommendation read = read(file().float32("general.sampling.xtc_probability", 0.5f)
                .uint32("general.sampling.mirostat", 2)
                .float32("general.sampling.temp", 0.5f));

        assertThat(read.values().temperature()).hasValue(0.5);
        assertThat(read.warnings()).hasSize(1);
        assertThat(read.warnings().getFirst()).endsWith("general.sampling.mirostat, general.sampling.xtc_probability");
    }

    @Test
    void orElse_firstValueThatIsThere_counts() {
        SamplingDefaults first =
                read(file().float32("general.sampling.temp", 0)).values();
        SamplingDefaults second = read(file().float32("general.sampling.temp", 0.5f)
                        .uint32("general.sampling.top_k", 3))
                .values();

        SamplingDefaults all = first.orElse(second).orElse(SamplingDefaults.NEUTRAL);

        assertThat(all.values())
                .isEqualTo(
                        Map.of("temperature", 0.0, "top_k", 3, "top_p", 1.0, "min_p", 0.0, "repetition_penalty", 1.0));
    }
}
