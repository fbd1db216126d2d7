package quire.server.http;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Logs failures that are bugs of Quire: the first of a kind with its stack trace, further ones in one line, so that one
 * bug that many requests meet does not fill the log. Thread-safe.
 */
final class FailureLog {
    /** Failures of more kinds than this are all logged in one line. */
    private static final int MAX_KINDS = 100;

    private final Logger log;
    private final Set<String> kinds = ConcurrentHashMap.newKeySet();

    FailureLog(Logger log) {
        this.log = log;
    }

    /** Logs that a request failed. */
    void add(String requestId, Throwable e) {
        StackTraceElement[] trace = e.getStackTrace();
        String kind = e.getClass().getName() + (trace.length == 0 ? "" : " at " + trace[0]);
        if (kinds.size() < MAX_KINDS && kinds.add(kind)) {
            log.log(Level.ERROR, "request " + requestId + " failed", e);
        } else {
            log.log(
                    Level.ERROR,
                    "request {0} failed as an earlier one did, whose stack trace is above: {1}",
                    requestId,
                    e);
        }
    }
}
