package quire.engine;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.model.Pooling;
import quire.model.Ranking;
import quire.model.format.FamilyModels;
import quire.model.format.GgufWriter;
import quire.tensor.ElementType;
import quire.tensor.KvLayout.KvType;

/**
 * Vectors and scores are those that llama.cpp v0.5.0 has recorded of the same files in {@code recorded-vectors.txt}: a line
 * for each model and kind of pooling, and then its numbers for one prompt of 48 tokens. If the models change, they must be
 * recorded again.
 */
@Tag("workers")
class LlamaCppVectorsTest {
    private static final long SEED = 41;

    /** The reference rounds activations of attention to f16. */
    private static final double TOLERANCE = 0.004;

    private static final int RANK = 4;

    @TempDir
    private Path folder;

    @ParameterizedTest
    @CsvSource({"qwen3, 3", "qwen3, 1", "qwen3, 2", "granite, 3", "granite, 1", "gemma3, 3", "starcoder2, 3", "lfm2, 3"
    })
    void vector_ofAPrompt_isTheRecordedOne(String name, int pooling) throws Exception {
        float[] vector = vector(write(name, pooling));
        double[] recorded = recorded(name, pooling);
        double length = length(recorded);
        assertThat(vector).hasSize(recorded.length);
        for (int i = 0; i < recorded.length; i++) {
            assertThat(vector[i] / length).as("number %d", i).isCloseTo(recorded[i] / length, within(TOLERANCE));
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"qwen3", "bert", "neo-bert", "modern-bert"})
    void score_ofARankingModel_isTheRecordedOne(String name) throws Exception {
        Path file = write(name, RANK);
        float[] vector = vector(file);
        double recorded = recorded(name, RANK)[0];
        try (Engine engine = Engine.open(file, config(), EngineListener.NONE)) {
            double score = requireNonNull(engine.ranking()).score(vector);
            assertThat(score).isCloseTo(recorded, within(TOLERANCE));
        }
    }

    private static double length(double[] numbers) {
        return Math.sqrt(Arrays.stream(numbers).map(number -> number * number).sum());
    }

    private static EngineConfig config() {
        return EngineConfig.builder()
                .maxSequences(2)
                .maxBatchedTokens(64) // an encoder reads a whole prompt in a step
                .maxContext(64)
                .kvType(KvType.F16)
                .threads(1)
                .speculation(Speculation.off())
                .build();
    }

    private static float[] vector(Path file) throws InterruptedException {
        int[] prompt = new int[48];
        prompt[0] = 256;
        for (int i = 0; i < 47; i++) {
            prompt[i + 1] = (i * i * 7 + 11 * i + 3) % 256;
        }
        try (Engine engine = Engine.open(file, config(), EngineListener.NONE)) {
            Ranking ranking = engine.ranking();
            Pooling pooling = ranking == null ? engine.pooling() : ranking.pooling();
            try (TokenStream stream = engine.submit(Request.forVector(prompt, pooling, null, Scheduling.DEFAULT))) {
                assertThat(stream.next()).isNull();
                assertThat(stream.finish().reason()).isEqualTo(FinishReason.STOP);
                return stream.vector();
            }
        }
    }

    /** A model with a kind of pooling, and with a head for two labels if it ranks. */
    private Path write(String name, int pooling) {
        GgufWriter writer = FamilyModels.writer(name, ElementType.F32, SEED)
                .without(name + ".pooling_type")
                .uint32(name + ".pooling_type", pooling);
        SplittableRandom random = new SplittableRandom(SEED);
        if (pooling == RANK && !name.equals("qwen3")) {
            writer.tensor("cls.weight", ElementType.F32, numbers(random, 64 * 64, 1), 64, 64)
                    .tensor("cls.output.weight", ElementType.F32, numbers(random, 64, 1), 64, 1);
            if (!name.equals("modern-bert")) {
                writer.tensor("cls.bias", ElementType.F32, numbers(random, 64, 1), 64)
                        .tensor("cls.output.bias", ElementType.F32, numbers(random, 1, 1), 1);
            } else {
                writer.tensor("cls.norm.weight", ElementType.F32, numbers(random, 64, 1), 64);
            }
        } else if (pooling == RANK) {
            writer.tensor("cls.output.weight", ElementType.F32, numbers(random, 128, 0.25), 64, 2)
                    .strings(name + ".classifier.output_labels", List.of("yes", "no"))
                    .string("tokenizer.chat_template.rerank", "Q: {query} D: {document} A:");
        }
        return writer.write(folder.resolve(name + "-" + pooling + ".gguf"));
    }

    private static float[] numbers(SplittableRandom random, int count, double spread) {
        float[] numbers = new float[count];
        for (int i = 0; i < count; i++) {
            numbers[i] = (float) ((random.nextDouble() - 0.5) * spread);
        }
        return numbers;
    }

    private static double[] recorded(String name, int pooling) throws IOException {
        Map<String, double[]> all = new TreeMap<>();
        try (BufferedReader lines = new BufferedReader(new InputStreamReader(
                requireNonNull(LlamaCppVectorsTest.class.getResourceAsStream("recorded-vectors.txt")),
                StandardCharsets.UTF_8))) {
            lines.lines().forEach(line -> {
                String[] parts = line.split(" ", -1);
                all.put(
                        parts[0],
                        Arrays.stream(parts)
                                .skip(1)
                                .mapToDouble(Double::parseDouble)
                                .toArray());
            });
        }
        return requireNonNull(all.get(name + "-" + pooling), name + "-" + pooling + " is not recorded");
    }
}
