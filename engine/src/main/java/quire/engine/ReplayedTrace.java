package quire.engine;

import org.jspecify.annotations.Nullable;

/**
 * What became of a trace that was replayed.
 *
 * @param requests that arrived
 * @param steps that computed tokens and were decided as recorded
 * @param preemptions in them
 * @param isWhole whether the trace ends with a whole record; not if the process was killed
 * @param difference the first decision that is not as recorded; null if all are
 */
public record ReplayedTrace(
        long requests,
        long steps,
        long preemptions,
        boolean isWhole,
        @Nullable String difference) {}
