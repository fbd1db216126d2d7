package quire.engine;

import java.util.Map;

/**
 * A picture of the engine, consistent in itself: at every moment {@code started} = {@code finished} over all reasons +
 * {@code running} + {@code waiting}. An end that a stream has told is in it.
 *
 * @param running sequences that hold pages
 * @param waiting requests that wait to run, preempted ones included
 * @param usedPages pages held
 * @param totalPages pages in the pool
 * @param started requests accepted so far
 * @param finished requests ended so far, for every reason
 * @param preemptions so far
 * @param promptTokens computed so far for the first time
 * @param generationTokens generated so far
 * @param steps executed so far
 * @param speculation what became of draft tokens
 */
public record EngineStats(
        int running,
        int waiting,
        int usedPages,
        int totalPages,
        long started,
        Map<FinishReason, Long> finished,
        long preemptions,
        long promptTokens,
        long generationTokens,
        long steps,
        SpeculationStats speculation) {
    /** Takes its own copy. */
    public EngineStats {
        finished = Map.copyOf(finished);
    }

    /** Requests ended so far, over all reasons. */
    public long finishedTotal() {
        return finished.values().stream().mapToLong(Long::longValue).sum();
    }
}
