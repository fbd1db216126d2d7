package quire.engine;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import quire.model.ModelConfig;
import quire.model.format.Gguf;
import quire.model.format.RandomModels;
import quire.tensor.ElementType;
import quire.tensor.KvLayout.KvType;

/**
 * A model whose numbers are finite, but too large for one token: only its embedding has a number in the column that the
 * first norm multiplies with the largest float.
 */
@Timeout(60)
class BrokenLogitsTest {
    private static final int DAMAGED_TOKEN = 5;

    @TempDir
    private Path folder;

    private Path damaged(boolean whole) {
        RandomModels.Shape shape = RandomModels.Shape.tiny().withTied(false);
        float[] rows = new float[shape.hidden() * RandomModels.VOCABULARY_SIZE];
        Random random = new Random(1);
        for (int i = 0; i < rows.length; i++) {
            rows[i] = (float) random.nextGaussian();
        }
        for (int i = 0; i < rows.length; i += shape.hidden()) {
            rows[i] = 0;
        }
        rows[DAMAGED_TOKEN * shape.hidden()] = 8;
        float[] norm = new float[shape.hidden()];
        Arrays.fill(norm, 1);
        norm[0] = whole ? 1 : Float.MAX_VALUE;
        return RandomModels.writer(shape, ElementType.F32, 3)
                .withoutTensor("token_embd.weight")
                .withoutTensor("blk.0.attn_norm.weight")
                .tensor("blk.0.attn_norm.weight", ElementType.F32, norm, shape.hidden())
                .tensor("token_embd.weight", ElementType.F32, rows, shape.hidden(), RandomModels.VOCABULARY_SIZE)
                .write(folder.resolve(whole ? "whole.gguf" : "damaged.gguf"));
    }

    private static Request request(int token, int promptTokens, int maxTokens) {
        int[] prompt = new int[promptTokens];
        Arrays.fill(prompt, token);
        return new Request(
                prompt,
                SamplingParams.builder()
                        .maxTokens(maxTokens)
                        .temperature(0)
                        .logprobs(2)
                        .ignoreEndOfText(true)
                        .build());
    }

    private static Answer answer(Engine engine, Request request) throws InterruptedException {
        try (TokenStream stream = engine.submit(request)) {
            return Answer.read(stream);
        }
    }

    @Test
    void forward_givesNoNumbers_failsThisRequestAndHarmsNoOther() throws Exception {
        Path damaged = damaged(false);
        Path whole = damaged(true);
        Request healthy = request(DAMAGED_TOKEN + 1, 5, 20);
        for (KvType type : KvType.values()) {
            EngineConfig.Builder builder = EngineConfig.builder()
                    .maxSequences(2)
                    .maxContext(64)
                    .kvType(type)
                    .threads(1)
                    .speculation(Speculation.off());
            // Four pages, so that the later requests get those of the broken ones.
            EngineConfig few;
            try (Gguf file = Gguf.open(damaged)) {
                few = builder.kvCacheBytes(4
                                * Engine.plan(file, ModelConfig.from(file), builder.build())
                                        .pageBytes())
                        .build();
            }
            Answer expected;
            try (Engine engine = Engine.open(whole, few, EngineListener.NONE)) {
                expected = answer(engine, healthy);
            }
            assertThat(expected.tokens()).doesNotContain(DAMAGED_TOKEN);
            try (Engine engine = Engine.open(damaged, few, EngineListener.NONE)) {
                for (int round = 0; round < 2; round++) {
                    TokenStream.Finish finish =
                            answer(engine, request(DAMAGED_TOKEN, 50, 5)).finish();
                    assertThat(finish.reason()).isEqualTo(FinishReason.BROKEN_LOGITS);
                    assertThat(finish.error()).contains("NaN").contains("broken");

                    assertThat(answer(engine, healthy)).as("%s", type).isEqualTo(expected);
                }
                assertThat(engine.failure()).isNull();
                assertThat(engine.stats().finished()).containsEntry(FinishReason.BROKEN_LOGITS, 2L);
                assertThat(engine.stats().usedPages()).isZero();
            }
        }
    }
}
