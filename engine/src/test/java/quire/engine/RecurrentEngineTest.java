package quire.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import quire.model.ModelConfig;
import quire.model.format.FamilyModels;
import quire.model.format.Gguf;
import quire.tensor.ElementType;

/** What an engine does not do with a model that has recurrent layers. */
class RecurrentEngineTest {
    @TempDir
    private Path folder;

    @Test
    void open_recurrentDraftModel_isRefused() {
        Path file = FamilyModels.write(folder, "llama", ElementType.F32, 1);
        Path draft = FamilyModels.write(folder, "lfm2", ElementType.F32, 1);
        EngineConfig config = EngineConfig.builder()
                .maxSequences(2)
                .maxContext(64)
                .threads(1)
                .speculation(Speculation.auto(draft))
                .build();

        assertThatThrownBy(() -> Engine.open(file, config, EngineListener.NONE))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("the draft model " + draft)
                .hasMessageContaining("recurrent layers");
    }

    /** The number of saved states: what is useful, what was asked for, what a quarter of the KV cache holds, and none. */
    @Test
    void plan_savedStates_fitTheMemory() {
        EngineConfig config = EngineConfig.builder()
                .maxSequences(2)
                .maxContext(64)
                .threads(1)
                .speculation(Speculation.off())
                .build();
        try (Gguf file = Gguf.open(FamilyModels.write(folder, "granitehybrid", ElementType.F32, 1))) {
            long bytes = ModelConfig.from(file).savedStateBytes();
            assertThat(bytes).isPositive();
            assertThat(savedStates(file, config)).isEqualTo(8);
            assertThat(savedStates(file, config.toBuilder().savedStates(3).build()))
                    .isEqualTo(3);
            EngineConfig small = config.toBuilder().kvCacheBytes(4 * 5 * bytes).build();
            assertThat(savedStates(file, small)).isEqualTo(5);
            assertThat(savedStates(file, config.toBuilder().prefixCache(false).build()))
                    .isZero();
            MemoryPlan plan = plan(file, config);
            assertThat(plan.toString()).contains("saved states").contains("4 for each of maxSequences (2)");
            assertThat(plan.engineBytes())
                    .isEqualTo(plan(file, config.toBuilder().savedStates(1).build())
                                    .engineBytes()
                            + 7 * bytes);
            EngineConfig tooMany =
                    config.toBuilder().savedStates(Integer.MAX_VALUE).build();
            assertThatThrownBy(() -> plan(file, tooMany))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContainingAll("savedStates is 2147483647", "choose less");
        }
        try (Gguf file = Gguf.open(FamilyModels.write(folder, "lfm2", ElementType.F32, 1))) {
            assertThat(savedStates(file, config)).isZero();
        }
    }

    private static int savedStates(Gguf file, EngineConfig config) {
        return plan(file, config).savedStates();
    }

    private static MemoryPlan plan(Gguf file, EngineConfig config) {
        MachineMemory machine = new MachineMemory(64L << 30, "in a test", 60L << 30, "left by others");
        return Engine.plan(file, ModelConfig.from(file), config, machine, JavaMemory.here(1));
    }
}
