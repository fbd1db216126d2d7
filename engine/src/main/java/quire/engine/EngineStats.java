package quire.engine;

/**
 * A picture of the engine between two steps.
 *
 * @param running sequences that hold pages
 * @param waiting requests that wait to run, preempted ones included
 * @param usedPages pages held
 * @param totalPages pages in the pool
 * @param started requests accepted so far
 * @param preemptions so far
 * @param promptTokens computed so far for the first time
 * @param generationTokens generated so far
 * @param steps executed so far
 */
public record EngineStats(
        int running,
        int waiting,
        int usedPages,
        int totalPages,
        long started,
        long preemptions,
        long promptTokens,
        long generationTokens,
        long steps) {}
