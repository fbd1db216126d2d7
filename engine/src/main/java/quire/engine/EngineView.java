package quire.engine;

import java.util.List;

/**
 * What an engine does at one moment, between two steps: its requests, and who holds which KV page. It has nothing of the
 * texts.
 *
 * @param stats the counts at that moment
 * @param running the sequences that run, in the engine's order
 * @param waiting the first {@value #MAX_WAITING} requests that wait, in the engine's order
 * @param pageTokens positions of a KV page
 * @param pages for each page of the pool: {@link #FREE}, {@link #CACHED}, {@link #SHARED}, or the index in {@code running}
 *     of the only sequence that holds it. Not a copy
 */
@SuppressWarnings("ArrayRecordComponent") // views are not compared
public record EngineView(EngineStats stats, List<Row> running, List<Row> waiting, int pageTokens, int[] pages) {
    /** The most requests in {@link #waiting}. */
    public static final int MAX_WAITING = 200;

    /** Nobody holds the page, and nothing is in it. */
    public static final int FREE = -1;

    /** Nobody holds the page; the prefix cache finds it until its memory is needed. */
    public static final int CACHED = -2;

    /** Several sequences hold the page, since their texts begin alike. */
    public static final int SHARED = -3;

    /**
     * One request.
     *
     * @param name its {@link Request#name}
     * @param tenant who pays for it
     * @param priority requests with a lower number come first
     * @param promptTokens tokens of the prompt
     * @param cachedTokens those of them that were found in the prefix cache
     * @param computedTokens tokens of prompt and answer whose keys and values are in its pages
     * @param targetTokens tokens of prompt and answer so far
     * @param maxTokens the most tokens of prompt and answer
     * @param pages KV pages that it holds
     * @param nanos nanoseconds since it was accepted
     * @param started whether it has run before; a waiting one that has was preempted
     */
    public record Row(
            String name,
            String tenant,
            int priority,
            int promptTokens,
            int cachedTokens,
            int computedTokens,
            int targetTokens,
            int maxTokens,
            int pages,
            long nanos,
            boolean started) {}

    /** Copies the lists. */
    public EngineView {
        running = List.copyOf(running);
        waiting = List.copyOf(waiting);
    }
}
