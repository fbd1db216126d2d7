package quire.server;

import java.util.Map;
import quire.engine.DiskTierStats;
import quire.engine.Engine;
import quire.engine.EngineListener;
import quire.engine.EngineStats;
import quire.engine.FinishReason;
import quire.engine.PrefixCacheStats;
import quire.engine.SavedStateStats;
import quire.engine.SpeculationCounts;
import quire.engine.SpeculationStats;
import quire.server.MetricsText.Histogram;

/**
 * The counts of one model: an {@link EngineListener}. Histograms go on when the model is loaded again; what the engine itself
 * counts begins again.
 */
final class ModelMetrics implements EngineListener {
    private static final String RUNNING = "Requests that hold KV pages.";
    private static final String WAITING = "Requests that wait to run, preempted ones included.";

    private final Histogram firstToken = new Histogram(
            0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640,
            2560);
    private final Histogram interToken = new Histogram(
            0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20,
            40, 80);
    private final Histogram endToEnd =
            new Histogram(0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680);
    private final Histogram queue =
            new Histogram(0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680);
    private final Histogram prefill =
            new Histogram(0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680);
    private final Histogram decode =
            new Histogram(0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680);
    private final Histogram timePerToken = new Histogram(
            0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80);
    private final Histogram stepTokens = new Histogram(1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384);
    private final Histogram maxTokens = tokenHistogram();
    private final Histogram promptTokens = tokenHistogram();
    private final Histogram computedPromptTokens = tokenHistogram();
    private final Histogram generationTokens = tokenHistogram();
    private int brokenInARow;

    private volatile long loadStartNanos = System.nanoTime();
    private volatile boolean loadCancelled;
    private volatile LoadProgress loading = LoadProgress.START;

    /** A load begins. */
    void beginLoad() {
        loadStartNanos = System.nanoTime();
        loading = LoadProgress.START;
    }

    /** Lets a load that is under way fail when it reports the next time. */
    void cancelLoad() {
        loadCancelled = true;
    }

    /** @throws IllegalStateException if the load was cancelled: the engine then closes what it has opened */
    @Override
    public void onLoad(String model, long loadedBytes, long totalBytes) {
        if (loadCancelled) {
            throw new IllegalStateException("loading was cancelled");
        }
        loading = new LoadProgress(model, loadedBytes, totalBytes, (System.nanoTime() - loadStartNanos) * 1e-9);
    }

    /** How far the model is loaded. */
    LoadProgress loading() {
        return loading;
    }

    @Override
    public synchronized void onStart(long queueNanos, int promptTokens) {
        queue.add(queueNanos * 1e-9);
    }

    @Override
    public synchronized void onFirstToken(long nanos) {
        firstToken.add(nanos * 1e-9);
    }

    @Override
    public synchronized void onToken(long nanos) {
        interToken.add(nanos * 1e-9);
    }

    @Override
    public synchronized void onFinish(FinishReason reason, long nanos, int promptTokens, int completionTokens) {
        endToEnd.add(nanos * 1e-9);
        switch (reason) {
            case BROKEN_LOGITS -> brokenInARow++;
            case STOP, LENGTH -> brokenInARow = 0;
            case CANCELLED, TIMEOUT, ERROR, CONSTRAINT -> {}
        }
        this.promptTokens.add(promptTokens);
        generationTokens.add(completionTokens);
    }

    @Override
    public synchronized void onAnswered(
            long promptNanos, long decodeNanos, int computedTokens, int completionTokens, int most) {
        computedPromptTokens.add(computedTokens);
        prefill.add(promptNanos * 1e-9);
        decode.add(decodeNanos * 1e-9);
        if (completionTokens > 1) {
            timePerToken.add(decodeNanos * 1e-9 / (completionTokens - 1));
        }
        maxTokens.add(most);
    }

    @Override
    public synchronized void onStep(int tokens, int sequences, long nanos) {
        stepTokens.add(tokens);
    }

    /** How many answers in a row ended because the model's numbers were not finite. */
    synchronized int brokenInARow() {
        return brokenInARow;
    }

    /** Writes the numbers of this model's engine, taken at one moment, under our names and under those of vLLM. */
    synchronized void write(Engine engine, MetricsText text) {
        EngineStats stats = engine.stats();
        text.gauge("quire_num_requests_running", RUNNING, stats.running());
        text.gauge("quire_num_requests_waiting", WAITING, stats.waiting());
        text.gauge(
                "quire_queue_wait_estimate_seconds",
                "Estimated time until all waiting requests have started.",
                stats.queueSeconds());
        text.gauge(
                "quire_kv_cache_usage_perc",
                "Share of the KV pages that running requests use, 0 to 1.",
                stats.kvUsage());
        text.gauge(
                "quire_kv_window_pages",
                "Pages of layers with a window, which are given back; 0 if a page holds all layers.",
                stats.totalWindowPages());
        text.gauge(
                "quire_kv_window_pages_used",
                "Pages of layers with a window that requests use.",
                stats.usedWindowPages());
        text.gauge(
                "quire_kv_overflow_pages",
                "Pages on disk for a sequence that is longer than the pages in memory; 0 without --kv-disk or if none can be.",
                stats.totalOverflowPages());
        text.gauge(
                "quire_kv_overflow_pages_used",
                "Pages on disk that a running sequence uses.",
                stats.usedOverflowPages());
        PrefixCacheStats prefixCache = stats.prefixCache();
        text.gauge(
                "quire_prefix_cache_usage_perc",
                "Share of the KV pages that no request uses and that stay cached until their memory is needed, 0 to 1.",
                stats.totalPages() == 0 ? 0 : (double) prefixCache.cachedPages() / stats.totalPages());
        text.counter(
                "quire_prefix_cache_queries_total",
                "Prompt tokens of the requests that have started.",
                prefixCache.queriedTokens());
        text.counter(
                "quire_prefix_cache_hits_total",
                "Prompt tokens that were found in the prefix cache and not computed.",
                prefixCache.hitTokens());
        text.counter(
                "quire_prefix_cache_evicted_pages_total",
                "Cached KV pages that gave their memory to other tokens.",
                prefixCache.evictedPages());
        SavedStateStats states = stats.savedStates();
        text.gauge(
                "quire_saved_states",
                "States of recurrent layers that can be saved; 0 if requests can begin behind each cached page.",
                states.slots());
        text.gauge("quire_saved_states_used", "States of recurrent layers that are saved.", states.used());
        text.counter("quire_saved_states_hits_total", "Times that a request began with a saved state.", states.hits());
        text.counter(
                "quire_saved_states_written_total",
                "States that were saved; one that moves on with its request counts once.",
                states.written());
        text.counter(
                "quire_saved_states_evicted_unused_total",
                "Saved states that were written over by others before a request began with them.",
                states.evictedUnused());
        DiskTierStats disk = stats.diskTier();
        text.gauge("quire_kv_disk_slots", "KV pages that the file on disk has room for.", disk.slots());
        text.gauge("quire_kv_disk_pages", "KV pages in the file on disk that can be found.", disk.pages());
        text.counter(
                "quire_kv_disk_hits_total",
                "Prompt tokens whose keys and values were read from the file on disk and not computed.",
                disk.hitTokens());
        text.counter("quire_kv_disk_read_bytes_total", "Bytes of KV pages read from the file.", disk.readBytes());
        text.counter(
                "quire_kv_disk_written_bytes_total", "Bytes of KV pages written to the file.", disk.writtenBytes());
        text.counter(
                "quire_kv_disk_skipped_pages_total",
                "KV pages that were not written to the file, because it was too slow, too small or has failed.",
                disk.skippedPages());
        text.counter(
                "quire_kv_disk_damaged_pages_total",
                "KV pages that could not be used when they were read from the file.",
                disk.damagedPages());
        text.gauge(
                "quire_broken_answers_in_a_row",
                "Answers in a row that ended because the model's numbers were not finite.",
                brokenInARow);
        text.counter("quire_num_preemptions_total", "Times that a request lost its KV pages.", stats.preemptions());
        text.counter(
                "quire_recomputed_tokens_total",
                "Tokens computed again because a request had lost its KV pages.",
                stats.recomputedTokens());
        text.counter("quire_prompt_tokens_total", "Prompt tokens computed, without cached ones.", stats.promptTokens());
        text.counter("quire_generation_tokens_total", "Tokens generated.", stats.generationTokens());
        text.counter("quire_iterations_total", "Steps of the engine.", stats.steps());
        text.counter("quire_request_started_total", "Requests accepted.", stats.started());
        text.head("quire_request_success_total", "Requests ended, by reason.", "counter");
        for (FinishReason reason : FinishReason.values()) {
            text.sample("quire_request_success_total", "finished_reason", name(reason), ended(stats, reason));
        }
        scrape(stats.speculation(), text);
        text.histogram("quire_time_to_first_token_seconds", "From acceptance to the first token.", firstToken);
        text.histogram("quire_inter_token_latency_seconds", "From one token to the next.", interToken);
        text.histogram("quire_e2e_request_latency_seconds", "From acceptance to the end.", endToEnd);
        text.histogram("quire_request_queue_time_seconds", "From acceptance to the first step.", queue);
        text.histogram("quire_request_prompt_tokens", "Prompt tokens of an ended request.", promptTokens);
        text.histogram("quire_request_generation_tokens", "Tokens that an ended request generated.", generationTokens);
        text.histogram(
                "quire_request_prefill_time_seconds", "From the first step to the first token of an answer.", prefill);
        text.histogram("quire_request_decode_time_seconds", "From an answer's first token to its last one.", decode);
        text.histogram(
                "quire_request_time_per_output_token_seconds",
                "Mean time of an answer's tokens after the first one.",
                timePerToken);
        text.histogram(
                "quire_request_max_num_generation_tokens", "The most tokens that an answer could have.", maxTokens);
        text.histogram(
                "quire_request_prefill_kv_computed_tokens",
                "Prompt tokens of an answered request that were computed, without cached ones.",
                computedPromptTokens);
        text.histogram("quire_iteration_tokens_total", "Tokens of a step.", stepTokens);
        writeAsVllm(engine, stats, text.asVllm());
    }

    /** Writes what routers look for of a model that is not in memory. */
    static void writeAbsent(int waiting, MetricsText text) {
        text.gauge("quire_num_requests_running", RUNNING, 0);
        text.gauge("quire_num_requests_waiting", WAITING, waiting);
        MetricsText vllm = text.asVllm();
        vllm.gauge("num_requests_running", "Requests that run.", 0);
        vllm.gauge("num_requests_waiting", "Requests that wait.", waiting);
        vllm.gauge("kv_cache_usage_perc", "Share of the KV pages in use, 0 to 1.", 0);
        writeWaiting(0, waiting, vllm);
        writeSleepState(false, vllm);
        writeAdapters(vllm);
    }

    /**
     * Writes which requests wait for what.
     *
     * @param capacity those that wait for room among the running ones
     * @param deferred those that nothing could be computed of even if there was room
     */
    private static void writeWaiting(int capacity, int deferred, MetricsText vllm) {
        vllm.head("num_requests_waiting_by_reason", "Requests that wait, by what they wait for.", "gauge");
        vllm.sample("num_requests_waiting_by_reason", "reason", "capacity", capacity);
        vllm.sample("num_requests_waiting_by_reason", "reason", "deferred", deferred);
    }

    /** Writes whether the model is in memory: one that is not sleeps without its weights. */
    private static void writeSleepState(boolean loaded, MetricsText vllm) {
        vllm.head(
                "engine_sleep_state",
                "1 for the state of the model: in memory is awake, unloaded discard_all.",
                "gauge");
        vllm.sample("engine_sleep_state", "sleep_state", "awake", loaded ? 1 : 0);
        vllm.sample("engine_sleep_state", "sleep_state", "weights_offloaded", 0);
        vllm.sample("engine_sleep_state", "sleep_state", "discard_all", loaded ? 0 : 1);
    }

    /** Writes that no LoRA adapter can be loaded: endpoint pickers count an error at each scrape without this metric. */
    private static void writeAdapters(MetricsText vllm) {
        vllm.head("lora_requests_info", "LoRA adapters: none. The value is the time of this answer.", "gauge");
        vllm.info(
                "lora_requests_info",
                Map.of("max_lora", "0", "running_lora_adapters", "", "waiting_lora_adapters", ""),
                System.currentTimeMillis() / 1000);
    }

    private static long ended(EngineStats stats, FinishReason... reasons) {
        long ended = 0;
        for (FinishReason reason : reasons) {
            ended += stats.finished().getOrDefault(reason, 0L);
        }
        return ended;
    }

    /** Reasons that vLLM does not have count as its reason for the same kind of end, as dashboards ask for those. */
    private static void writeEndedAsVllm(EngineStats stats, MetricsText text) {
        text.head("request_success_total", "Requests ended, by reason.", "counter");
        text.sample("request_success_total", "finished_reason", "stop", ended(stats, FinishReason.STOP));
        text.sample("request_success_total", "finished_reason", "length", ended(stats, FinishReason.LENGTH));
        text.sample(
                "request_success_total",
                "finished_reason",
                "abort",
                ended(stats, FinishReason.CANCELLED, FinishReason.TIMEOUT));
        text.sample(
                "request_success_total",
                "finished_reason",
                "error",
                ended(stats, FinishReason.ERROR, FinishReason.BROKEN_LOGITS, FinishReason.CONSTRAINT));
    }

    /**
     * The same numbers as vLLM has them, whose label {@code engine} is the number of an engine in its process. Older tools
     * read names that vLLM itself has given up.
     */
    private void writeAsVllm(Engine engine, EngineStats stats, MetricsText text) {
        double usage = stats.kvUsage();
        long queried = stats.prefixCache().queriedTokens();
        long hits = stats.prefixCache().hitTokens();
        text.gauge("num_requests_running", "Requests that run.", stats.running());
        text.gauge("num_requests_waiting", "Requests that wait.", stats.waiting());
        writeWaiting(stats.waiting(), 0, text);
        text.gauge("num_requests_swapped", "0: a request without memory is computed again, not swapped.", 0);
        writeSleepState(true, text);
        writeAdapters(text);
        text.gauge("kv_cache_usage_perc", "Share of the KV pages in use, 0 to 1.", usage);
        text.gauge("gpu_cache_usage_perc", "kv_cache_usage_perc under its older name.", usage);
        text.gauge("cpu_cache_usage_perc", "0: there is no memory for swapped KV pages.", 0);
        text.head("cache_config_info", "The KV cache. The value is always 1.", "gauge");
        text.info(
                "cache_config_info",
                Map.of(
                        "block_size", Integer.toString(engine.pageTokens()),
                        "num_gpu_blocks", Integer.toString(stats.totalPages()),
                        "enable_prefix_caching", engine.cachesPrefixes() ? "True" : "False"),
                1);
        text.counter("prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.", queried);
        text.counter("prefix_cache_hits_total", "Prompt tokens found in the prefix cache.", hits);
        text.counter("gpu_prefix_cache_queries_total", "prefix_cache_queries_total under its older name.", queried);
        text.counter("gpu_prefix_cache_hits_total", "prefix_cache_hits_total under its older name.", hits);
        text.gauge(
                "gpu_prefix_cache_hit_rate",
                "Share of the prompt tokens that were found in the prefix cache.",
                queried == 0 ? 0 : (double) hits / queried);
        text.counter("num_preemptions_total", "Times that a request lost its KV pages.", stats.preemptions());
        text.counter("prompt_tokens_total", "Prompt tokens, cached ones included.", queried);
        writeCached(stats, text);
        writeSpeculationAsVllm(stats.speculation().counts(), text);
        text.counter("generation_tokens_total", "Tokens generated.", stats.generationTokens());
        writeEndedAsVllm(stats, text);
        text.histogram("time_to_first_token_seconds", "From acceptance to the first token.", firstToken);
        text.histogram("inter_token_latency_seconds", "From one token to the next.", interToken);
        text.histogram(
                "time_per_output_token_seconds", "inter_token_latency_seconds under its older name.", interToken);
        text.histogram("e2e_request_latency_seconds", "From acceptance to the end.", endToEnd);
        text.histogram("request_queue_time_seconds", "From acceptance to the first step.", queue);
        text.histogram("request_prefill_time_seconds", "From the first step to the first token.", prefill);
        text.histogram("request_decode_time_seconds", "From the first token to the last one.", decode);
        text.histogram(
                "request_time_per_output_token_seconds", "Mean time of tokens after the first one.", timePerToken);
        text.histogram("request_prompt_tokens", "Prompt tokens of an ended request.", promptTokens);
        text.histogram("request_generation_tokens", "Tokens that an ended request generated.", generationTokens);
        text.histogram("request_max_num_generation_tokens", "The most tokens that an answer could have.", maxTokens);
        text.histogram(
                "request_prefill_kv_computed_tokens",
                "Prompt tokens of an answered request that were computed.",
                computedPromptTokens);
        text.histogram("iteration_tokens_total", "Tokens of a step.", stepTokens);
    }

    /** Where prompt tokens came from. The file of KV pages is for vLLM what a KV connector brings. */
    private static void writeCached(EngineStats stats, MetricsText text) {
        long queried = stats.prefixCache().queriedTokens();
        long hits = stats.prefixCache().hitTokens();
        long fromDisk = stats.diskTier().hitTokens();
        text.counter("prompt_tokens_cached_total", "Prompt tokens that were found and not computed.", hits);
        text.head("prompt_tokens_by_source_total", "Prompt tokens, by where they came from.", "counter");
        text.sample("prompt_tokens_by_source_total", "source", "local_compute", queried - hits);
        text.sample("prompt_tokens_by_source_total", "source", "local_cache_hit", hits - fromDisk);
        text.sample("prompt_tokens_by_source_total", "source", "external_kv_transfer", fromDisk);
        text.head("prompt_tokens_cached_by_source_total", "Prompt tokens found, by what held them.", "counter");
        text.sample("prompt_tokens_cached_by_source_total", "source", "device", hits - fromDisk);
        text.sample("prompt_tokens_cached_by_source_total", "source", "host", 0);
        text.sample("prompt_tokens_cached_by_source_total", "source", "disk", fromDisk);
        text.sample("prompt_tokens_cached_by_source_total", "source", "p2p", 0);
        text.sample("prompt_tokens_cached_by_source_total", "source", "external_unspecified", 0);
        text.counter(
                "external_prefix_cache_queries_total",
                "Prompt tokens looked up in the file of KV pages.",
                stats.diskTier().slots() == 0 ? 0 : queried - (hits - fromDisk));
        text.counter("external_prefix_cache_hits_total", "Prompt tokens found in the file of KV pages.", fromDisk);
        text.counter("mm_cache_queries_total", "0: prompts are texts.", 0);
        text.counter("mm_cache_hits_total", "0: prompts are texts.", 0);
    }

    /** Draft tokens of all drafters together; nothing if there is no drafter. */
    private static void writeSpeculationAsVllm(SpeculationCounts counts, MetricsText text) {
        if (counts.drafters().isEmpty()) {
            return;
        }
        text.counter("spec_decode_num_drafts_total", "Times that draft tokens were proposed.", counts.drafts());
        text.counter("spec_decode_num_draft_tokens_total", "Draft tokens verified.", counts.draftTokens());
        text.counter("spec_decode_num_accepted_tokens_total", "Draft tokens accepted.", counts.acceptedTokens());
        text.series(
                "spec_decode_num_accepted_tokens_per_pos_total",
                "Draft tokens accepted, by position in the draft.",
                "position",
                counts.acceptedAt());
    }

    /** Counts of speculation; nothing if there is no drafter. */
    private static void scrape(SpeculationStats speculation, MetricsText text) {
        SpeculationCounts stats = speculation.counts();
        if (stats.drafters().isEmpty()) {
            return;
        }
        text.head(
                "quire_spec_decode_num_drafts_total",
                "Times that a drafter proposed draft tokens for a request.",
                "counter");
        stats.drafters()
                .forEach(drafter ->
                        text.sample("quire_spec_decode_num_drafts_total", "drafter", drafter.name(), drafter.drafts()));
        text.head("quire_spec_decode_num_draft_tokens_total", "Draft tokens verified.", "counter");
        stats.drafters()
                .forEach(drafter -> text.sample(
                        "quire_spec_decode_num_draft_tokens_total", "drafter", drafter.name(), drafter.draftTokens()));
        text.head(
                "quire_spec_decode_num_accepted_tokens_total",
                "Draft tokens that became part of an answer.",
                "counter");
        stats.drafters()
                .forEach(drafter -> text.sample(
                        "quire_spec_decode_num_accepted_tokens_total",
                        "drafter",
                        drafter.name(),
                        drafter.acceptedTokens()));
        text.series(
                "quire_spec_decode_num_draft_tokens_per_pos_total",
                "Draft tokens verified, by position in the draft.",
                "position",
                stats.draftedAt());
        text.series(
                "quire_spec_decode_num_accepted_tokens_per_pos_total",
                "Draft tokens that became part of an answer, by position in the draft.",
                "position",
                stats.acceptedAt());
        text.series(
                "quire_spec_decode_decisions_total",
                "Times that a decoding request got this number of draft tokens in a step.",
                "draft_tokens",
                stats.decisions());
        text.gauge(
                "quire_spec_decode_speedup",
                "Estimated time of all steps without speculation, divided by the time they took.",
                speculation.speedup());
    }

    private static String name(FinishReason reason) {
        return switch (reason) {
            case STOP -> "stop";
            case LENGTH -> "length";
            case CANCELLED -> "abort";
            case TIMEOUT -> "timeout";
            case ERROR -> "error";
            case BROKEN_LOGITS -> "broken_logits";
            case CONSTRAINT -> "constraint";
        };
    }

    private static Histogram tokenHistogram() {
        return new Histogram(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000);
    }
}
