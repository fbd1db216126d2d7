package quire.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import org.junit.jupiter.api.Test;
import quire.model.format.Gguf;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.KvLayout;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;

class DecoderTest {
    private static final Path STORIES =
            Path.of(System.getProperty("quire.shared", "../shared"), "models/stories260K.gguf");

    @Test
    void forward_realModel_agreesWithTheFormulas() {
        assumeTrue(Files.exists(STORIES));
        try (Gguf file = Gguf.open(STORIES);
                Workers workers = new Workers(2)) {
            ModelConfig config = ModelConfig.from(file);
            KvLayout layout = new KvLayout(KvType.F32, 16, config.kvHeads(), config.headDim());
            try (Decoder decoder = Decoder.load(file, config, Kernels.best(), workers, layout, 8, 64, 4)) {
                ReferenceDecoder reference = new ReferenceDecoder(file, config);
                Random random = new Random(1);
                int[] tokens = random.ints(100, 3, config.vocabularySize()).toArray();
                int[] pages = {5, 2, 7, 0, 1, 6, 3};
                Batch batch = new Batch(64, 4);
                for (int i = 0; i < tokens.length; i++) {
                    batch.clear();
                    batch.add(tokens, i, i + 1, pages, 1);
                    FloatMatrix logits = decoder.forward(batch);
                    double[] expected = reference.next(tokens[i]);
                    double scale = 0;
                    double error = 0;
                    for (int t = 0; t < expected.length; t++) {
                        scale = Math.max(scale, Math.abs(expected[t]));
                        error = Math.max(error, Math.abs(expected[t] - logits.get(0, t)));
                    }
                    assertThat(error / scale).as("position %d", i).isLessThan(1e-4);
                }
            }
        }
    }
}
