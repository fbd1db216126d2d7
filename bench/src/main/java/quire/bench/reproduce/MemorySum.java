package quire.bench.reproduce;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import quire.engine.EngineConfig;
import quire.engine.JavaMemory;
import quire.engine.MachineMemory;
import quire.engine.MemoryPlan;

/** The KV bytes of Llama-2-7B, and how many sequences memories hold: arithmetic of {@link MemoryPlan}. */
final class MemorySum {
    private static final int CONTEXT = 4096;
    /** Mean of prompt and answer in ShareGPT's conversations. */
    private static final int MEAN_TOKENS = 499;

    private static final MemoryPlan.Shape LLAMA_2_7B = new MemoryPlan.Shape(32, 32, 128, CONTEXT);
    private static final int VOCABULARY = 32_000;
    private static final long WEIGHT_BYTES = 2 * 6_738_415_616L;

    private MemorySum() {}

    static Report report() {
        MemoryPlan any = plan(80L << 30);
        List<Map<String, Object>> rows = new ArrayList<>();
        for (int gibibytes : new int[] {24, 40, 80}) {
            MemoryPlan plan = plan((long) gibibytes << 30);
            Map<String, Object> row = new LinkedHashMap<>();
            row.put("memory", gibibytes + " GiB");
            row.put("for_KV", MemoryPlan.size(((long) gibibytes << 30) - WEIGHT_BYTES));
            row.put("maximum_reserved", plan.sequences(CONTEXT));
            row.put("paged", plan.sequences(MEAN_TOKENS));
            row.put("ratio", (double) plan.sequences(MEAN_TOKENS) / plan.sequences(CONTEXT));
            rows.add(row);
        }
        return new Report(
                        "The memory sum",
                        "Llama-2-7B in fp16 needs 2 GiB of keys and values for one sequence of 4,096 tokens.")
                .put("bytes_per_token", any.kvBytesPerToken())
                .put("sequence_bytes", any.sequenceBytes(CONTEXT))
                .note("2 × 32 layers × 32 KV heads × 128 head dim × 2 bytes = " + any.kvBytesPerToken()
                        + " bytes a token; × 4,096 tokens = " + MemoryPlan.size(any.sequenceBytes(CONTEXT))
                        + ". The weights take " + MemoryPlan.size(WEIGHT_BYTES)
                        + ", and the rest of the memory is for KV.")
                .table("Sequences that fit at once", rows)
                .note(
                        "Without paging, each sequence reserves 4,096 tokens. With paging, a sequence holds the pages of its"
                                + " own tokens; here each has " + MEAN_TOKENS
                                + ", the mean of prompt and whole answer in ShareGPT's conversations. This is arithmetic, the same"
                                + " as that of quire plan.");
    }

    private static MemoryPlan plan(long memory) {
        EngineConfig config = EngineConfig.builder()
                .maxSequences(1 << 12)
                .maxBatchedTokens(1 << 12)
                .kvCacheBytes(memory - WEIGHT_BYTES)
                .build();
        JavaMemory largeHeap = new JavaMemory(1L << 40, 0, 0, 0, 0, 0);
        return MemoryPlan.of(
                new MemoryPlan.Model(LLAMA_2_7B, VOCABULARY, WEIGHT_BYTES, 0),
                null,
                config,
                MachineMemory.of(1L << 41),
                largeHeap);
    }
}
