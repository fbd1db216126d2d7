package quire.engine;

import java.nio.file.Path;
import java.time.Duration;
import org.jspecify.annotations.Nullable;
import quire.model.RopeScaling;
import quire.tensor.KvLayout;
import quire.tensor.KvLayout.KvType;

/**
 * The limits of an engine, in tokens, requests, pages or bytes. Use {@link #builder}, which has the defaults:
 *
 * <pre>{@code
 * EngineConfig config = EngineConfig.builder().maxSequences(16).maxContext(8192).build();
 * }</pre>
 *
 * @param maxSequences sequences that run at once; at least 1
 * @param maxBatchedTokens tokens of one step, over all sequences; at least {@code maxSequences}, so that each running
 *     sequence gets a token in every step
 * @param maxContext positions of one sequence, prompt and answer; 2 or more, or 0 for the context that the model was
 *     trained for
 * @param rope what replaces the file's rotation, for texts longer than the model was trained for. A draft model keeps its
 *     own
 * @param maxQueuedRequests requests that may wait; at least 1
 * @param maxQueuedTokens prompt tokens that may wait, over all requests; at least 1. A longer prompt is accepted when
 *     no other request waits
 * @param maxQueueWait how long a request may have to wait, estimated when it arrives; later ones are refused. From 0, which
 *     is no limit, to 1 hour. A request is accepted when no other one waits
 * @param kvCacheBytes memory for KV pages; 0 to let the {@link MemoryPlan} decide
 * @param pageTokens tokens of a page; a positive multiple of 16
 * @param kvType how K and V are stored
 * @param threads threads that compute, the engine thread included; 0 for one thread per core
 * @param targetTokenGap maximum time of a step with decoding sequences, which limits its prompt tokens; from 0, which
 *     is no limit, to 1 hour
 * @param speculation whether and how to use draft tokens
 * @param prefixCache whether requests that begin with the same tokens share KV pages, and pages stay cached after a
 *     request has ended until their memory is needed
 * @param savedStates states of recurrent layers that are saved, so that requests with the same beginning share them too; each
 *     takes as much memory as that of a running sequence. 0 for as many as are useful and a quarter of the memory for KV pages
 *     holds. No effect where no layer is Mamba or a delta net
 * @param kvDisk a file for cached pages, which outlives the engine; null for none. Needs the prefix cache
 * @param kvDiskBytes bytes on disk at most; at least 1. If {@code maxContext} is longer than the pool, what one such sequence
 *     needs beside memory lies in a second file in the same folder, and the first one has the rest
 * @param packedCache a folder in which the packed weights of models are kept, so that later starts map them; null for none
 * @param trace a new file for what the scheduler gets and decides, prompts and answers in tokens included; null for none.
 *     Not together with {@code kvDisk}, whose speed decides too
 */
public record EngineConfig(
        int maxSequences,
        int maxBatchedTokens,
        int maxContext,
        RopeScaling rope,
        int maxQueuedRequests,
        long maxQueuedTokens,
        Duration maxQueueWait,
        long kvCacheBytes,
        int pageTokens,
        KvType kvType,
        int threads,
        Duration targetTokenGap,
        Speculation speculation,
        boolean prefixCache,
        int savedStates,
        @Nullable Path kvDisk,
        long kvDiskBytes,
        @Nullable Path packedCache,
        @Nullable Path trace) {
    /** The largest {@code targetTokenGap}. */
    public static final Duration MAX_TARGET_TOKEN_GAP = Duration.ofHours(1);

    /** The largest {@code maxQueueWait}. */
    public static final Duration MAX_QUEUE_WAIT = Duration.ofHours(1);

    /** Rows of logits for the tokens of prompts whose log probabilities are wanted. */
    private static final int SCORED_ROWS = 16;

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
        require(
                !maxQueueWait.isNegative() && maxQueueWait.compareTo(MAX_QUEUE_WAIT) <= 0,
                "maxQueueWait must be 0 to " + MAX_QUEUE_WAIT.toSeconds() + " s, not " + maxQueueWait);
        require(kvCacheBytes >= 0, "kvCacheBytes must not be negative: " + kvCacheBytes);
        require(
                pageTokens > 0 && pageTokens % KvLayout.TILE == 0,
                "pageTokens must be a multiple of " + KvLayout.TILE + ", not " + pageTokens);
        require(threads >= 0, "threads must not be negative: " + threads);
        require(
                !targetTokenGap.isNegative() && targetTokenGap.compareTo(MAX_TARGET_TOKEN_GAP) <= 0,
                "targetTokenGap must be 0 to " + MAX_TARGET_TOKEN_GAP.toSeconds() + " s, not " + targetTokenGap);
        require(savedStates >= 0, "savedStates must not be negative: " + savedStates);
        require(kvDisk == null || prefixCache, "kvDisk has no effect without the prefix cache: leave one of them out");
        require(
                kvDisk == null || trace == null,
                "trace cannot be used with kvDisk, whose speed decides too: leave one of them out");
        require(kvDiskBytes >= 1, "kvDiskBytes must be at least 1, not " + kvDiskBytes);
    }

    /** A copy with other speculation settings. */
    public EngineConfig withSpeculation(Speculation other) {
        return toBuilder().speculation(other).build();
    }

    /** A builder that starts from these limits. */
    public Builder toBuilder() {
        Builder builder = new Builder();
        builder.maxSequences = maxSequences;
        builder.maxBatchedTokens = maxBatchedTokens;
        builder.maxContext = maxContext;
        builder.rope = rope;
        builder.maxQueuedRequests = maxQueuedRequests;
        builder.maxQueuedTokens = maxQueuedTokens;
        builder.maxQueueWait = maxQueueWait;
        builder.kvCacheBytes = kvCacheBytes;
        builder.pageTokens = pageTokens;
        builder.kvType = kvType;
        builder.threads = threads;
        builder.targetTokenGap = targetTokenGap;
        builder.speculation = speculation;
        builder.prefixCache = prefixCache;
        builder.savedStates = savedStates;
        builder.kvDisk = kvDisk;
        builder.kvDiskBytes = kvDiskBytes;
        builder.packedCache = packedCache;
        builder.trace = trace;
        return builder;
    }

    /**
     * Maximum number of rows of logits in a step: one for each sequence, and more for prompts whose log probabilities are
     * wanted and for draft tokens. These are 16. With speculation in automatic mode they are also at least one for each
     * sequence, and with a fixed number of draft tokens that number for each sequence.
     */
    public int maxLogitRows() {
        if (!speculation.isOn()) {
            return Math.min(maxBatchedTokens, maxSequences + SCORED_ROWS);
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

    /** The defaults, as {@link Builder} lists them. */
    public static EngineConfig defaults() {
        return builder().build();
    }

    /** A builder with the defaults. */
    public static Builder builder() {
        return new Builder();
    }

    /** Collects limits; each method is named after the component it sets. */
    public static final class Builder {
        private int maxSequences = 64;
        private int maxBatchedTokens = 512;
        private int maxContext;
        private RopeScaling rope = RopeScaling.OF_FILE;
        private int maxQueuedRequests = 1024;
        private long maxQueuedTokens = 1 << 20;
        private Duration maxQueueWait = Duration.ZERO;
        private long kvCacheBytes;
        private int pageTokens = 16;
        private KvType kvType = KvType.F16;
        private int threads;
        private Duration targetTokenGap = Duration.ofMillis(200);
        private Speculation speculation = Speculation.auto(null);
        private boolean prefixCache = true;
        private int savedStates;
        private @Nullable Path kvDisk;
        private long kvDiskBytes = 4L << 30;
        private @Nullable Path packedCache;
        private @Nullable Path trace;

        private Builder() {}

        /** Sequences that run at once; at least 1. Default: 64. */
        public Builder maxSequences(int value) {
            maxSequences = value;
            return this;
        }

        /** Tokens of one step, over all sequences; at least {@code maxSequences}. Default: 512. */
        public Builder maxBatchedTokens(int value) {
            maxBatchedTokens = value;
            return this;
        }

        /**
         * Positions of one sequence, prompt and answer; 2 or more, or 0 for the context that the model was trained for.
         * Default: 0.
         */
        public Builder maxContext(int value) {
            maxContext = value;
            return this;
        }

        /** What replaces the file's rotation. Default: {@link RopeScaling#OF_FILE}. */
        public Builder rope(RopeScaling value) {
            rope = value;
            return this;
        }

        /** Requests that may wait; at least 1. Default: 1,024. */
        public Builder maxQueuedRequests(int value) {
            maxQueuedRequests = value;
            return this;
        }

        /** Prompt tokens that may wait, over all requests; at least 1. Default: 1,048,576. */
        public Builder maxQueuedTokens(long value) {
            maxQueuedTokens = value;
            return this;
        }

        /**
         * How long a request may have to wait, estimated from the speed of the queue when it arrives. From 0, which is no
         * limit, to 1 hour. Default: 0, so that a program may submit as many requests as the queue has places for.
         */
        public Builder maxQueueWait(Duration value) {
            maxQueueWait = value;
            return this;
        }

        /** Bytes for KV pages; 0 to let the {@link MemoryPlan} decide. Default: 0. */
        public Builder kvCacheBytes(long value) {
            kvCacheBytes = value;
            return this;
        }

        /** Tokens of a page; a positive multiple of 16. Default: 16. */
        public Builder pageTokens(int value) {
            pageTokens = value;
            return this;
        }

        /** How K and V are stored. Default: {@link KvType#F16}. */
        public Builder kvType(KvType value) {
            kvType = value;
            return this;
        }

        /** Threads that compute; 0 for one thread per core. Default: 0. */
        public Builder threads(int value) {
            threads = value;
            return this;
        }

        /**
         * Maximum time of a step with decoding sequences: a long prompt is then computed in smaller chunks. If decoding
         * alone takes more than half of it, the step may take twice as long as decoding alone. From 0, which is no
         * limit, to 1 hour. Default: 200 ms.
         */
        public Builder targetTokenGap(Duration value) {
            targetTokenGap = value;
            return this;
        }

        /** Whether and how to speculate. Default: prompt lookup; the engine chooses the number of draft tokens. */
        public Builder speculation(Speculation value) {
            speculation = value;
            return this;
        }

        /** Whether requests share KV pages of the same beginning, and pages stay cached. Default: true. */
        public Builder prefixCache(boolean value) {
            prefixCache = value;
            return this;
        }

        /** States of recurrent layers that are saved; 0 for a number that fits the memory. Default: 0. */
        public Builder savedStates(int value) {
            savedStates = value;
            return this;
        }

        /**
         * A file for cached pages, which outlives the engine: prompts that begin with the same tokens are not computed
         * again after a restart. One engine at a time uses it. Default: null, for none.
         */
        public Builder kvDisk(@Nullable Path value) {
            kvDisk = value;
            return this;
        }

        /** Size of the file for cached pages at most; at least 1. Default: 4 GiB. */
        public Builder kvDiskBytes(long value) {
            kvDiskBytes = value;
            return this;
        }

        /** A folder for packed weights, which later starts of the same model map. Default: null, for none. */
        public Builder packedCache(@Nullable Path value) {
            packedCache = value;
            return this;
        }

        /**
         * A new file for what the scheduler gets and decides, which {@link Engine#replayTrace} reads. It has prompts and
         * answers in tokens. Default: null, for none.
         */
        public Builder trace(@Nullable Path value) {
            trace = value;
            return this;
        }

        /**
         * The configuration.
         *
         * @throws IllegalArgumentException naming the limit that is out of range, and what is allowed
         */
        public EngineConfig build() {
            return new EngineConfig(
                    maxSequences,
                    maxBatchedTokens,
                    maxContext,
                    rope,
                    maxQueuedRequests,
                    maxQueuedTokens,
                    maxQueueWait,
                    kvCacheBytes,
                    pageTokens,
                    kvType,
                    threads,
                    targetTokenGap,
                    speculation,
                    prefixCache,
                    savedStates,
                    kvDisk,
                    kvDiskBytes,
                    packedCache,
                    trace);
        }
    }
}
