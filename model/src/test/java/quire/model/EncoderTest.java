package quire.model;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;
import quire.model.format.FamilyModels;
import quire.model.format.Gguf;
import quire.model.format.RandomModels;
import quire.tensor.ElementType;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;

/** Encoders, whose positions see the whole text: their vectors agree with the formulas and with llama.cpp's. */
class EncoderTest {
    private static final int PAGES = 24;

    @TempDir
    private Path folder;

    @ParameterizedTest
    @FieldSource("quire.model.ModelConfig#ENCODERS")
    void forward_encoder_agreesWithTheFormulas(String architecture) {
        Path file = FamilyModels.write(folder, architecture, ElementType.F32, 17);
        int[] tokens = text(61);
        try (Gguf gguf = Gguf.open(file)) {
            double[][] expected = new ReferenceDecoder(gguf, ModelConfig.from(gguf), false).vectors(tokens);
            List<float[]> vectors = vectors(file, KernelSets.best().name(), KvType.F32, 2, List.of(tokens))
                    .getFirst();
            for (int t = 0; t < tokens.length; t++) {
                for (int i = 0; i < expected[t].length; i++) {
                    assertThat((double) vectors.get(t)[i]).isCloseTo(expected[t][i], within(1e-4));
                }
            }
        }
    }

    /** On every set of kernels, on one or two threads, alone and beside others. */
    @ParameterizedTest
    @FieldSource("quire.model.ModelConfig#ENCODERS")
    void forward_encoderBesideOthers_sameBits(String architecture) {
        Path file = FamilyModels.write(folder, architecture, ElementType.Q4_0, 18);
        List<int[]> texts = Stream.of(1, 17, 90, 16, 33).map(EncoderTest::text).toList();
        List<List<float[]>> alone = new ArrayList<>();
        for (int[] text : texts) {
            alone.addAll(vectors(file, "scalar", KvType.F16, 1, List.of(text)));
        }
        for (String set : KernelSets.names()) {
            if (KernelSets.obstacle(set) == null) {
                List<List<float[]>> together = vectors(file, set, KvType.F16, 2, texts);
                for (int text = 0; text < texts.size(); text++) {
                    for (int t = 0; t < texts.get(text).length; t++) {
                        assertThat(together.get(text).get(t))
                                .as("text %d, position %d on %s", text, t, set)
                                .containsExactly(alone.get(text).get(t));
                    }
                }
            }
        }
    }

    /** The recorded vectors are means of length 1. */
    @ParameterizedTest
    @FieldSource("quire.model.ModelConfig#ENCODERS")
    void forward_encoder_givesTheRecordedVector(String architecture) throws IOException {
        Path file = FamilyModels.write(folder, architecture, ElementType.F32, 41);
        String recorded;
        try (InputStream stream = getClass().getResourceAsStream("recorded/" + architecture + ".json")) {
            recorded = new String(requireNonNull(stream).readAllBytes(), StandardCharsets.UTF_8);
        }
        double[] prompt = numbers(recorded, "prompt");
        double[] expected = numbers(recorded, "vector");
        int[] tokens = new int[prompt.length];
        for (int i = 0; i < tokens.length; i++) {
            tokens[i] = (int) prompt[i];
        }
        List<float[]> vectors = vectors(file, KernelSets.best().name(), KvType.F16, 2, List.of(tokens))
                .getFirst();
        double[] mean = new double[expected.length];
        double squares = 0;
        for (int i = 0; i < mean.length; i++) {
            for (float[] vector : vectors) {
                mean[i] += vector[i];
            }
            squares += mean[i] * mean[i];
        }
        for (int i = 0; i < mean.length; i++) {
            assertThat(mean[i] / Math.sqrt(squares)).isCloseTo(expected[i], within(0.002));
        }
    }

    private static double[] numbers(String json, String key) {
        int from = json.indexOf('[', json.indexOf("\"" + key + "\"")) + 1;
        return Stream.of(json.substring(from, json.indexOf(']', from)).split(",", -1))
                .mapToDouble(Double::parseDouble)
                .toArray();
    }

    private static int[] text(int length) {
        return new Random(length).ints(length, 0, RandomModels.VOCABULARY_SIZE).toArray();
    }

    /** The vectors of all positions of some texts, computed in one step. */
    private static List<List<float[]>> vectors(Path file, String set, KvType kvType, int threads, List<int[]> texts) {
        int rows = texts.stream().mapToInt(text -> text.length).sum();
        try (Gguf gguf = Gguf.open(file);
                Workers workers = new Workers(threads);
                Decoder decoder = Decoder.load(
                        gguf,
                        ModelConfig.from(gguf),
                        KernelSets.named(set),
                        workers,
                        new Decoder.Capacity(kvType, 16, PAGES, rows, texts.size()))) {
            Batch batch = new Batch(rows, texts.size());
            int page = PAGES;
            for (int[] text : texts) {
                int[] pages = new int[Math.ceilDiv(text.length, 16)];
                for (int i = 0; i < pages.length; i++) {
                    pages[i] = --page;
                }
                batch.wantVectors(batch.add(text, 0, text.length, pages, 0));
            }
            decoder.forward(batch);
            List<List<float[]>> vectors = new ArrayList<>();
            for (int s = 0; s < texts.size(); s++) {
                List<float[]> ofText = new ArrayList<>();
                for (int t = 0; t < batch.rowCount(s); t++) {
                    float[] vector = new float[decoder.vectorWidth()];
                    for (int i = 0; i < vector.length; i++) {
                        vector[i] = decoder.vectors().get(batch.firstRow(s) + t, i);
                    }
                    ofText.add(vector);
                }
                vectors.add(ofText);
            }
            return vectors;
        }
    }
}
