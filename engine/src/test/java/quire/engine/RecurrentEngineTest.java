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

    /** The plan counts no tables and no states for pages that are not cached. */
    @Test
    void plan_statesTooLargeForPages_isThatWithoutPrefixCache() {
        EngineConfig config = EngineConfig.builder()
                .maxSequences(2)
                .maxContext(64)
                .threads(1)
                .speculation(Speculation.off())
                .build();
        EngineConfig without = config.toBuilder().prefixCache(false).build();
        try (Gguf file = Gguf.open(FamilyModels.write(folder, "granitehybrid", ElementType.F32, 1))) {
            ModelConfig shape = ModelConfig.from(file);
            assertThat(shape.cachesPages()).isFalse();
            assertThat(String.join(", ", shape.blocks().describe())).contains("so no prefix cache");
            MachineMemory machine = new MachineMemory(64L << 30, "in a test", 60L << 30, "left by others");
            JavaMemory java = JavaMemory.here(1);
            assertThat(Engine.plan(file, shape, config, machine, java).lines())
                    .isEqualTo(Engine.plan(file, shape, without, machine, java).lines());
        }
    }
}
