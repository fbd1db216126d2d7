package quire.bench.reproduce;

import java.nio.file.Path;
import java.time.Duration;
import quire.engine.Engine;
import quire.engine.EngineConfig;
import quire.engine.MemoryPlan;
import quire.engine.Speculation;
import quire.model.ModelConfig;
import quire.model.format.Gguf;

/**
 * What all reproductions measure with.
 *
 * @param model the GGUF file
 * @param threads worker threads
 * @param quick small workloads, whose figures are not reliable
 * @param requests requests of a workload, at least 1
 * @param prompt tokens of a long prompt
 */
record Setup(Path model, int threads, boolean quick, int requests, int prompt) {
    /** An engine without prefix cache, speculation and bound on steps: each reproduction switches on what it measures. */
    EngineConfig.Builder engine() {
        return EngineConfig.builder()
                .threads(threads)
                .prefixCache(false)
                .speculation(Speculation.off())
                .targetTokenGap(Duration.ZERO);
    }

    /** Positions that the model was trained for. */
    int context() {
        return context(model);
    }

    /** Positions that the model of a file was trained for. */
    static int context(Path model) {
        try (Gguf file = Gguf.open(model)) {
            return ModelConfig.from(file).contextLength();
        }
    }

    /** Bytes of a KV page of 16 tokens in f16. */
    long pageBytes() {
        try (Gguf file = Gguf.open(model)) {
            ModelConfig shape = ModelConfig.from(file);
            MemoryPlan plan = Engine.plan(
                    file,
                    shape,
                    engine().maxContext(Math.min(shape.contextLength(), 32))
                            .maxSequences(1)
                            .build());
            return plan.pageBytes();
        }
    }
}
