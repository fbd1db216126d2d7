package quire.server.page;

import java.util.List;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import quire.engine.Engine;
import quire.engine.EngineStats;
import quire.engine.EngineView;
import quire.server.api.Json;
import quire.server.http.Exchange;
import quire.server.http.HttpException;
import quire.server.http.Response;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * What the engine does at this moment, for the web page: requests, KV pages and counts, nothing of the texts. With API keys, a
 * client sees the ids of its own requests only; the others are bars without a name.
 */
public final class LiveView {
    /** A view is shown to all who ask within this time, so that they cost the engine next to nothing. */
    private static final long MAX_AGE_NANOS = TimeUnit.MILLISECONDS.toNanos(100);

    /** @param nanos when it was taken */
    private record Shot(EngineView view, long nanos) {}

    private final Engine engine;
    private final String model;
    private volatile @Nullable Shot last;

    /**
     * The view of this engine.
     *
     * @param model the name under which its model is served
     */
    public LiveView(Engine engine, String model) {
        this.engine = engine;
        this.model = model;
    }

    /**
     * {@code GET /v1/engine}.
     *
     * @throws HttpException 503 if the engine has ended
     */
    public Response response(Exchange exchange) throws InterruptedException {
        EngineView view = view();
        ObjectNode root =
                JsonNodeFactory.instance.objectNode().put("object", "engine").put("model", model);
        writeStats(view, root.putObject("stats"));
        writeRows(view.running(), exchange.owner(), root.putArray("running"));
        writeRows(view.waiting(), exchange.owner(), root.putArray("waiting"));
        writePages(view.pages(), root.putArray("pages"));
        return Response.json(200, Json.bytes(root));
    }

    private EngineView view() throws InterruptedException {
        Shot shot = last;
        if (shot != null && System.nanoTime() - shot.nanos < MAX_AGE_NANOS) {
            return shot.view;
        }
        try {
            EngineView view = engine.view();
            last = new Shot(view, System.nanoTime());
            return view;
        } catch (IllegalStateException e) {
            throw HttpException.unavailable("The engine has ended.");
        }
    }

    private static void writeStats(EngineView view, ObjectNode out) {
        EngineStats stats = view.stats();
        Runtime java = Runtime.getRuntime();
        out.put("running", stats.running())
                .put("waiting", stats.waiting())
                .put("used_pages", stats.usedPages())
                .put("cached_pages", stats.prefixCache().cachedPages())
                .put("total_pages", stats.totalPages())
                .put("used_window_pages", stats.usedWindowPages())
                .put("total_window_pages", stats.totalWindowPages())
                .put("used_overflow_pages", stats.usedOverflowPages())
                .put("total_overflow_pages", stats.totalOverflowPages())
                .put("page_tokens", view.pageTokens())
                .put("prompt_tokens", stats.promptTokens())
                .put("cached_tokens", stats.prefixCache().hitTokens())
                .put("generation_tokens", stats.generationTokens())
                .put("draft_tokens", stats.speculation().counts().draftTokens())
                .put("accepted_tokens", stats.speculation().counts().acceptedTokens())
                .put("preemptions", stats.preemptions())
                .put("steps", stats.steps())
                .put("heap_bytes", java.totalMemory() - java.freeMemory());
    }

    /** @param owner whose requests have an id; empty for all */
    private static void writeRows(List<EngineView.Row> rows, String owner, ArrayNode out) {
        for (EngineView.Row row : rows) {
            boolean own = owner.isEmpty() || owner.equals(row.tenant());
            out.addObject()
                    .put("id", own && !row.name().isEmpty() ? row.name() : null)
                    .put("priority", row.priority())
                    .put("prompt_tokens", row.promptTokens())
                    .put("cached_tokens", row.cachedTokens())
                    .put("computed_tokens", row.computedTokens())
                    .put("target_tokens", row.targetTokens())
                    .put("max_tokens", row.maxTokens())
                    .put("pages", row.pages())
                    .put("ms", TimeUnit.NANOSECONDS.toMicros(row.nanos()) / 1e3)
                    .put("preempted", row.started() && row.pages() == 0);
        }
    }

    /** Writes pages of one owner that follow each other as {@code [owner, count]}. */
    private static void writePages(int[] owners, ArrayNode out) {
        int from = 0;
        for (int page = 1; page <= owners.length; page++) {
            if (page == owners.length || owners[page] != owners[from]) {
                out.addArray().add(owners[from]).add(page - from);
                from = page;
            }
        }
    }
}
