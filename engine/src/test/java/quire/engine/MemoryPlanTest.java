package quire.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import org.junit.jupiter.api.Test;
import quire.engine.MemoryPlan.Limit;
import quire.engine.MemoryPlan.Shape;
import quire.tensor.KvLayout.KvType;

class MemoryPlanTest {
    private static final Shape LLAMA_2_7B = new Shape(32, 32, 128, 4096);
    private static final long GIB = 1L << 30;

    private static EngineConfig config(int maxSequences, int maxContext, long kvCacheBytes) {
        return EngineConfig.builder()
                .maxSequences(maxSequences)
                .maxBatchedTokens(512)
                .maxContext(maxContext)
                .maxQueuedRequests(100)
                .maxQueuedTokens(1000)
                .kvCacheBytes(kvCacheBytes)
                .threads(1)
                .speculation(Speculation.off())
                .build();
    }

    @Test
    void sequenceBytes_llama2Shape_isTwoGibibytes() {
        MemoryPlan plan = MemoryPlan.of(LLAMA_2_7B, config(64, 0, 0), 0, 0, 100 * GIB);

        assertThat(plan.kvBytesPerToken()).isEqualTo(2L * 32 * 32 * 128 * 2);
        assertThat(plan.sequenceBytes(4096)).isEqualTo(2 * GIB);
        assertThat(plan.describe(4096)).containsPattern("sequence of 4096 tokens +2 GiB");
    }

    @Test
    void kvBytesPerToken_int8Pages_areBytesAndScales() {
        EngineConfig config = EngineConfig.builder()
                .maxSequences(64)
                .maxBatchedTokens(512)
                .maxQueuedRequests(100)
                .maxQueuedTokens(1000)
                .kvType(KvType.Q8_0)
                .threads(1)
                .speculation(Speculation.off())
                .build();
        MemoryPlan plan = MemoryPlan.of(LLAMA_2_7B, config, 0, 0, 100 * GIB);

        assertThat(plan.kvBytesPerToken()).isEqualTo(2L * 32 * 32 * (128 + 4));
        assertThat(plan.describe(4096)).contains("(128 head dim × 1 bytes + a scale of 4 bytes) (Q8_0)");
    }

    @Test
    void sequences_littleMemory_pagesLimitThem() {
        MemoryPlan plan = MemoryPlan.of(LLAMA_2_7B, config(64, 0, 0), 4 * GIB, GIB, 12 * GIB);

        assertThat(plan.pageCount() * plan.pageBytes()).isEqualTo(7 * GIB);
        assertThat(plan.sequences(4096)).isEqualTo(3);
        assertThat(plan.limit(4096)).isEqualTo(Limit.KV_PAGES);
        assertThat(plan.sequences(1024)).isEqualTo(14);
    }

    @Test
    void sequences_muchMemory_maxSequencesLimitsThemAndNoPageIsWasted() {
        MemoryPlan plan = MemoryPlan.of(LLAMA_2_7B, config(4, 1000, 0), 0, 0, 1000 * GIB);

        assertThat(plan.pageCount()).isEqualTo(4 * 63);
        assertThat(plan.sequences(1000)).isEqualTo(4);
        assertThat(plan.limit(1000)).isEqualTo(Limit.MAX_SEQUENCES);
        assertThat(plan.sequences(1001)).isZero();
        assertThat(plan.limit(1001)).isEqualTo(Limit.MAX_CONTEXT);
    }

    @Test
    void pageCount_kvCacheBytes_isUsed() {
        MemoryPlan plan = MemoryPlan.of(LLAMA_2_7B, config(64, 0, GIB), 0, 0, 0);

        assertThat(plan.pageCount()).isEqualTo(128);
        assertThat(plan.maxContext()).isEqualTo(2048);
        assertThat(plan.limit(4096)).isEqualTo(Limit.KV_PAGES);
    }

    @Test
    void of_weightsOverMemory_saysHowToMendIt() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> MemoryPlan.of(LLAMA_2_7B, config(64, 0, 0), 14 * GIB, GIB, 8 * GIB))
                .withMessageContaining("14 GiB of weights")
                .withMessageContaining("kvCacheBytes");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> MemoryPlan.of(LLAMA_2_7B, config(64, 0, 1 << 20), 0, 0, 8 * GIB))
                .withMessageContaining("one page takes 8 MiB");
    }

    @Test
    void of_contextBeyondTheModel_isRefusedBeforeTheMemoryIsLookedAt() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> MemoryPlan.of(LLAMA_2_7B, config(64, 4097, 1), 14 * GIB, GIB, 8 * GIB))
                .withMessage("maxContext is 4097, but the model was trained for 4096 positions: choose at most that,"
                        + " or 0");
    }

    @Test
    void of_contextBeyondThePages_isRefusedWithBothSizesAndWhatWouldDo() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> MemoryPlan.of(LLAMA_2_7B, config(64, 4096, GIB), 0, 0, 100 * GIB))
                .withMessage("maxContext is 4096 tokens, which take 2 GiB of KV pages, but kvCacheBytes is 1 GiB: set"
                        + " kvCacheBytes to at least 2147483648 bytes, or maxContext to at most 2048");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> MemoryPlan.of(LLAMA_2_7B, config(64, 4096, 0), 4 * GIB, GIB, 6 * GIB))
                .withMessageContaining("but only 1 GiB of memory are left for them")
                .withMessageContaining("maxContext to at most 2048");
        assertThat(MemoryPlan.of(LLAMA_2_7B, config(64, 4096, 2 * GIB), 0, 0, 0).maxContext())
                .isEqualTo(4096);
    }

    @Test
    void of_onePage_isRefused() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> MemoryPlan.of(LLAMA_2_7B, config(64, 0, 8 << 20), 0, 0, 0))
                .withMessageContaining("one KV page of 16 tokens")
                .withMessageContaining("kvCacheBytes");
    }

    @Test
    void lines_anyPlan_addUpToAtMostTheAvailableMemory() {
        for (int maxSequences = 1; maxSequences < 100; maxSequences += 7) {
            MemoryPlan plan = MemoryPlan.of(LLAMA_2_7B, config(maxSequences, 0, 0), 4 * GIB, GIB / 3, 23 * GIB);
            long sum = plan.lines().stream()
                    .filter(line -> line.name().equals("weights")
                            || line.name().equals("activations")
                            || line.name().equals("KV pages"))
                    .mapToLong(MemoryPlan.Line::bytes)
                    .sum();

            assertThat(sum).isGreaterThan(6 * GIB).isLessThanOrEqualTo(23 * GIB);
        }
    }

    @Test
    void size_anyNumber_hasBinaryUnits() {
        assertThat(MemoryPlan.size(0)).isEqualTo("0 B");
        assertThat(MemoryPlan.size(100)).isEqualTo("100 B");
        assertThat(MemoryPlan.size(1536)).isEqualTo("1.5 KiB");
        assertThat(MemoryPlan.size(10 << 10)).isEqualTo("10 KiB");
        assertThat(MemoryPlan.size(2 * GIB)).isEqualTo("2 GiB");
        assertThat(MemoryPlan.size(Long.MAX_VALUE)).isEqualTo("8 EiB");
    }

    @Test
    void availableBytesHere_thisMachine_isLessThanPhysicalMemory() {
        assertThat(MemoryPlan.availableBytesHere()).isNotNegative().isLessThan(1L << 50);
    }

    @Test
    void of_draftModel_isInTheSum() {
        MemoryPlan alone = MemoryPlan.of(LLAMA_2_7B, config(64, 0, 0), 4 * GIB, GIB, 12 * GIB);
        MemoryPlan.Shape small = new MemoryPlan.Shape(16, 8, 64, 4096);
        MemoryPlan.Draft draft = new MemoryPlan.Draft(small, GIB, GIB / 2);
        MemoryPlan plan = MemoryPlan.of(LLAMA_2_7B, config(64, 0, 0), 4 * GIB, GIB, draft, 12 * GIB);

        assertThat(plan.kvBytesPerToken()).isEqualTo(alone.kvBytesPerToken() + 2 * 16 * 8 * 64 * 2);
        assertThat(plan.pageCount()).isLessThan(alone.pageCount());
        assertThat(plan.pageCount() * plan.pageBytes()).isLessThanOrEqualTo(12 * GIB - 5 * GIB - 3 * GIB / 2);
        long sum = 0;
        for (MemoryPlan.Line line : plan.lines()) {
            if (line.name().matches("(draft )?(weights|activations|KV pages)")) {
                sum += line.bytes();
            }
        }
        assertThat(sum).isEqualTo(6 * GIB + GIB / 2 + plan.pageCount() * plan.pageBytes());
    }
}
