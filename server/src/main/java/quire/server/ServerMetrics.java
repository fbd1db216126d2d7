package quire.server;

import java.nio.charset.StandardCharsets;
import org.jspecify.annotations.Nullable;
import quire.engine.EngineListener;
import quire.engine.FinishReason;
import quire.server.batch.Batches;
import quire.server.http.Response;

/**
 * Metrics for Prometheus, at {@code /metrics}: an {@link EngineListener} that counts. Names are those of vLLM with {@code
 * quire_} in place of {@code vllm:}. What vLLM has too is there under its own name as well, so that routers and dashboards
 * made for vLLM read it ({@code docs/metrics.md}).
 *
 * <p>All engine counts of one scrape are taken at the same moment, under the engine's lock, so that requests started =
 * finished by reason + running + waiting. Metrics libraries read one value after the other, which cannot guarantee
 * this. An event costs one uncontended lock and no allocation.
 */
public final class ServerMetrics implements EngineListener {
    private static final String CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

    private final ModelMetrics model = new ModelMetrics();
    private final HttpMetrics http = new HttpMetrics();

    private final Runnable beforeLoad;

    /** Empty metrics. */
    public ServerMetrics() {
        this(() -> {});
    }

    /**
     * Empty metrics.
     *
     * @param beforeLoad runs before each report of a load, on the thread that loads. The load waits for it, and fails with
     *     what it throws
     */
    public ServerMetrics(Runnable beforeLoad) {
        this.beforeLoad = beforeLoad;
    }

    @Override
    public void onLoad(String name, long loadedBytes, long totalBytes) {
        beforeLoad.run();
        model.onLoad(name, loadedBytes, totalBytes);
    }

    @Override
    public void onStart(long queueNanos, int promptTokens) {
        model.onStart(queueNanos, promptTokens);
    }

    @Override
    public void onFirstToken(long nanos) {
        model.onFirstToken(nanos);
    }

    @Override
    public void onToken(long nanos) {
        model.onToken(nanos);
    }

    @Override
    public void onFinish(FinishReason reason, long nanos, int promptTokens, int completionTokens) {
        model.onFinish(reason, nanos, promptTokens, completionTokens);
    }

    @Override
    public void onAnswered(long promptNanos, long decodeNanos, int computedTokens, int completionTokens, int most) {
        model.onAnswered(promptNanos, decodeNanos, computedTokens, completionTokens, most);
    }

    @Override
    public void onStep(int tokens, int sequences, long nanos) {
        model.onStep(tokens, sequences, nanos);
    }

    /** The counts of the model of a server that has one. */
    ModelMetrics model() {
        return model;
    }

    /** How far that model is loaded. */
    LoadProgress loading() {
        return model.loading();
    }

    /** How many answers of it in a row ended because its numbers were not finite. */
    int brokenInARow() {
        return model.brokenInARow();
    }

    /** Counts requests over HTTP. */
    HttpMetrics http() {
        return http;
    }

    /** The response for {@code GET /metrics}. */
    Response response(ServedModels models, @Nullable Batches batches) {
        MetricsText text = new MetricsText();
        models.write(text);
        MetricsText ofServer = models.isOne() ? text.of(models.first()) : text;
        http.write(ofServer, text);
        if (batches != null) {
            write(ofServer, batches.counts());
        }
        ProcessMetrics.write(text);
        return Response.of(200, CONTENT_TYPE, text.toString().getBytes(StandardCharsets.UTF_8));
    }

    private static void write(MetricsText text, Batches.Counts batches) {
        text.head("quire_batches", "Batches that are kept, by status.", "gauge");
        batches.statusToBatches().forEach((status, count) -> text.sample("quire_batches", "status", status, count));
        text.gauge(
                "quire_batch_requests_waiting",
                "Requests of batches that have no answer yet, those that run included.",
                (double) batches.waiting());
        text.counter(
                "quire_batch_requests_answered_total",
                "Requests of batches that were answered or refused.",
                batches.answered());
    }
}
