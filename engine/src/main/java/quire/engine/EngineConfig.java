package quire.engine;

import quire.tensor.KvLayout;
import quire.tensor.KvLayout.KvType;

/**
 * The limits of an engine, all counted in tokens, requests, pages or bytes.
 *
 * @param maxSequences most sequences running at once
 * @param maxBatchedTokens tokens of one step, over all sequences; at least maxSequences, so that none starves
 * @param maxContext positions of one sequence, prompt and answer; 0 for the model's own
 * @param maxQueuedRequests requests that may wait
 * @param maxQueuedTokens prompt tokens that may wait, over all requests; a single longer prompt may wait alone
 * @param kvCacheBytes memory for KV pages; 0 for what the plan finds room for
 * @param pageTokens tokens of a page, a multiple of 16
 * @param kvType how K and V are stored
 * @param threads worker threads, the engine's own included; 0 for one a core
 * @param speculation whether and how tokens are guessed ahead
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
        int threads,
        Speculation speculation) {

    /** The same without speculation. */
    public EngineConfig(
            int maxSequences,
            int maxBatchedTokens,
            int maxContext,
            int maxQueuedRequests,
            long maxQueuedTokens,
            long kvCacheBytes,
            int pageTokens,
            KvType kvType,
            int threads) {
        this(
                maxSequences,
                maxBatchedTokens,
                maxContext,
                maxQueuedRequests,
                maxQueuedTokens,
                kvCacheBytes,
                pageTokens,
                kvType,
                threads,
                Speculation.off());
    }

    /**
     * Checks the ranges.
     *
     * @throws IllegalArgumentException naming the limit and what is allowed
     */
    public EngineConfig {
        require(maxSequences >= 1, "maxSequences must be at least 1, not " + maxSequences);
        require(
                maxBatchedTokens >= maxSequences,
                "maxBatchedTokens (" + maxBatchedTokens + ") must be at least maxSequences (" + maxSequences
                        + "): every running sequence gets a token in every step");
        require(maxContext == 0 || maxContext >= 2, "maxContext must be 0 or at least 2, not " + maxContext);
        require(maxQueuedRequests >= 1, "maxQueuedRequests must be at least 1, not " + maxQueuedRequests);
        require(maxQueuedTokens >= 1, "maxQueuedTokens must be at least 1, not " + maxQueuedTokens);
        require(kvCacheBytes >= 0, "kvCacheBytes must not be negative: " + kvCacheBytes);
        require(
                pageTokens > 0 && pageTokens % KvLayout.TILE == 0,
                "pageTokens must be a multiple of " + KvLayout.TILE + ", not " + pageTokens);
        require(threads >= 0, "threads must not be negative: " + threads);
    }

    /** The same with another way of guessing ahead. */
    public EngineConfig withSpeculation(Speculation other) {
        return new EngineConfig(
                maxSequences,
                maxBatchedTokens,
                maxContext,
                maxQueuedRequests,
                maxQueuedTokens,
                kvCacheBytes,
                pageTokens,
                kvType,
                threads,
                other);
    }

    /**
     * Rows of logits of a step: one a sequence, and with speculation one a draft token; as many again as sequences (16 at
     * least), or what a fixed number of draft tokens needs.
     */
    public int maxLogitRows() {
        if (!speculation.isOn()) {
            return maxSequences;
        }
        long drafts = speculation.draftTokens() == Speculation.AUTO
                ? Math.max(Speculation.MAX_DRAFT_TOKENS, maxSequences)
                : (long) maxSequences * speculation.draftTokens();
        return (int) Math.min(maxBatchedTokens, maxSequences + drafts);
    }

    private static void require(boolean condition, String fault) {
        if (!condition) {
            throw new IllegalArgumentException(fault);
        }
    }

    /** The defaults. */
    public static EngineConfig defaults() {
        return new EngineConfig(64, 512, 0, 1024, 1 << 20, 0, 16, KvType.F16, 0, Speculation.auto(null));
    }
}
