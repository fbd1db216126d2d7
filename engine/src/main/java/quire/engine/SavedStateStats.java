package quire.engine;

/**
 * What saved states of recurrent layers are used for. Totals are since the engine's start.
 *
 * @param slots states that can be saved; 0 if a request can begin behind each cached page
 * @param used how many of them have a state
 * @param hits how often a request began with a saved state; those that start again after preemption count again
 * @param written states that were saved. One that moves on with its sequence, behind the next full page, counts once
 * @param evictedUnused states that were written over by others before a request began with them
 */
public record SavedStateStats(int slots, int used, long hits, long written, long evictedUnused) {
    /** There are none. */
    public static final SavedStateStats NONE = new SavedStateStats(0, 0, 0, 0, 0);
}
