package quire.engine;

import quire.tensor.KvLayout.KvType;

/**
 * The limits of an engine, all counted in tokens, requests, pages or bytes.
 *
 * @param maxSequences most sequences running at once
 * @param maxBatchedTokens tokens of one step, over all sequences
 * @param maxContext positions of one sequence, prompt and answer; 0 for the model's own
 * @param maxQueuedRequests requests that may wait
 * @param maxQueuedTokens prompt tokens that may wait, over all requests
 * @param kvCacheBytes memory for KV pages; 0 for what the plan finds room for
 * @param pageTokens tokens of a page, a multiple of 16
 * @param kvType how K and V are stored
 * @param threads worker threads, the engine's own included; 0 for one a core
 */
public record EngineConfig(
        int maxSequences,
        int maxBatchedTokens,
        int maxContext,
        int maxQueuedRequests,
        long maxQueuedTokens,
        long kvCacheBytes,
        int pageTokens,
        KvType kvType,
        int threads) {

    /** The defaults. */
    public static EngineConfig defaults() {
        return new EngineConfig(64, 512, 0, 1024, 1 << 20, 0, 16, KvType.F16, 0);
    }
}
