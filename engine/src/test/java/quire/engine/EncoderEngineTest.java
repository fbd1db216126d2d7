package quire.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;
import quire.model.ModelConfig;
import quire.model.Pooling;
import quire.model.format.FamilyModels;
import quire.model.format.Gguf;
import quire.model.format.RandomModels;
import quire.tensor.ElementType;

/** The vectors of encoders, whose prompts are computed in one step each. */
@Timeout(60)
class EncoderEngineTest {
    private static final int BATCHED = 64;
    private static final List<Pooling> POOLINGS = List.of(Pooling.MEAN, Pooling.FIRST, Pooling.LAST);

    @TempDir
    private Path folder;

    @ParameterizedTest
    @FieldSource("quire.model.ModelConfig#ENCODERS")
    void vector_besideOthers_isBitIdentical(String architecture) throws Exception {
        Path file = FamilyModels.write(folder, architecture, ElementType.Q4_0, 5);
        List<Request> requests = IntStream.range(0, 40)
                .mapToObj(i -> request(1 + i * i * 7 % BATCHED, i % 3 == 0 ? 1 : i, POOLINGS.get(i % 3)))
                .toList();
        List<List<Integer>> alone = vectors(file, requests, config(1, 512, 1, 0), 1);
        assertThat(alone.stream().distinct().count()).isGreaterThan(30);
        assertThat(vectors(file, requests, config(7, BATCHED, 2, 0), requests.size()))
                .isEqualTo(alone);
        long scarce = 6 * pageBytes(file);
        assertThat(vectors(file, requests, config(40, BATCHED, 1, scarce), requests.size()))
                .isEqualTo(alone);
    }

    @Test
    void submit_whatAnEncoderCannotDo_isRefused() throws Exception {
        Path file = FamilyModels.write(folder, "bert", ElementType.Q4_0, 5);
        try (Engine engine = Engine.open(file, config(4, BATCHED, 1, 0), EngineListener.NONE)) {
            assertThat(engine.cachesPrefixes()).isFalse();
            assertThat(engine.pooling()).isEqualTo(Pooling.MEAN);
            assertThat(engine.maxContext()).isEqualTo(BATCHED);
            assertThatThrownBy(() -> engine.submit(new Request(
                            new int[] {1, 2}, SamplingParams.builder().build())))
                    .isInstanceOf(InvalidRequestException.class)
                    .hasMessageContaining("encoder");
            assertThatThrownBy(() -> engine.submit(request(BATCHED + 1, 1, Pooling.MEAN)))
                    .isInstanceOf(InvalidRequestException.class)
                    .hasMessageContaining("maxBatchedTokens");
        }
    }

    private static Request request(int length, int seed, Pooling pooling) {
        int[] prompt =
                new Random(seed).ints(length, 0, RandomModels.VOCABULARY_SIZE).toArray();
        return Request.forVector(prompt, pooling, null, Scheduling.DEFAULT);
    }

    private static EngineConfig config(int sequences, int batched, int threads, long kvCacheBytes) {
        return EngineConfig.builder()
                .maxSequences(sequences)
                .maxBatchedTokens(batched)
                .kvCacheBytes(kvCacheBytes)
                .threads(threads)
                .build();
    }

    private static long pageBytes(Path file) {
        try (Gguf gguf = Gguf.open(file)) {
            return Engine.plan(gguf, ModelConfig.from(gguf), config(40, BATCHED, 1, 0))
                    .pageBytes();
        }
    }

    /** @param together how many requests are sent before the first vector is read */
    private static List<List<Integer>> vectors(Path file, List<Request> requests, EngineConfig config, int together)
            throws Exception {
        List<List<Integer>> vectors = new ArrayList<>();
        try (Engine engine = Engine.open(file, config, EngineListener.NONE)) {
            for (int first = 0; first < requests.size(); first += together) {
                List<TokenStream> streams = requests.subList(first, first + together).stream()
                        .map(engine::submit)
                        .toList();
                for (TokenStream stream : streams) {
                    assertThat(stream.next()).isNull();
                    float[] vector = stream.vector();
                    vectors.add(IntStream.range(0, vector.length)
                            .mapToObj(i -> Float.floatToRawIntBits(vector[i]))
                            .toList());
                    assertThat(vector).isNotEmpty();
                }
            }
            assertThat(engine.stats().usedPages()).isZero();
        }
        return vectors;
    }
}
