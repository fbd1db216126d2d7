package quire.model;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.model.format.Gguf;
import quire.model.format.GgufTensor;
import quire.model.format.GgufWriter;
import quire.model.format.RandomModels;
import quire.tensor.ElementType;

class ModelFactsTest {
    private static ModelFacts of(GgufWriter writer) {
        try (Gguf file = writer.open()) {
            return ModelFacts.of(file, ModelConfig.from(file));
        }
    }

    private static GgufWriter tiny() {
        return RandomModels.writer(RandomModels.Shape.tiny(), ElementType.Q8_0, 1);
    }

    @Test
    void of_file_areItsOwnNumbers(@TempDir Path folder) throws Exception {
        Path path = RandomModels.write(folder, RandomModels.Shape.tiny(), ElementType.Q8_0, 1);
        try (Gguf file = Gguf.open(path)) {
            ModelConfig shape = ModelConfig.from(file);
            ModelFacts facts = ModelFacts.of(file, shape);
            assertThat(facts.architecture()).isEqualTo("llama");
            assertThat(facts.parameters())
                    .isEqualTo(file.tensors().stream()
                            .mapToLong(GgufTensor::elements)
                            .sum())
                    .isPositive();
            assertThat(facts.weights()).isEqualTo("Q8_0"); // the norms are F32
            assertThat(facts.layers()).isEqualTo(shape.layers());
            assertThat(facts.width()).isEqualTo(shape.hidden());
            assertThat(facts.vocabularySize()).isEqualTo(RandomModels.VOCABULARY_SIZE);
            assertThat(facts.fileBytes()).isEqualTo(Files.size(path));
        }
    }

    @ParameterizedTest
    @CsvSource({"15, Q4_K_M", "29, IQ2_M", "7, Q8_0", "0, Q8_0", "4000000, Q8_0"})
    void weights_ofAFileThatNamesAMixture_areIt(int fileType, String weights) {
        assertThat(of(tiny().uint32("general.file_type", fileType)).weights()).isEqualTo(weights);
    }

    @Test
    void weights_ofAFileWithANoteOfAnotherKind_areThoseOfItsTensors() {
        assertThat(of(tiny().string("general.file_type", "Q4_K_M")).weights()).isEqualTo("Q8_0");
        assertThat(of(tiny().strings("general.file_type", List.of("a", "b"))).weights())
                .isEqualTo("Q8_0");
    }
}
