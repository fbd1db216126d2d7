package quire.server.http;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * One line in the log for each request, without any of its content, at level INFO under the name {@value #NAME}:
 *
 * <pre>
 *   127.0.0.1 POST /v1/chat/completions 200 in=12 out=34 first=0.120s total=1.400s id=req_abc
 *   127.0.0.1 POST /v1/chat/completions 200 in=12 out=3 first=0.120s total=0.180s id=req_def end=client-left
 * </pre>
 *
 * <p>{@code in} and {@code out} are tokens of the prompt and of the answer, {@code first} is the time to the first of
 * these, and {@code -} stands for what the request did not have. Times begin when the head of the request has come.
 */
final class RequestLog {
    static final String NAME = "quire.server.requests";

    private static final Logger LOG = System.getLogger(NAME);

    /** How a request ended. */
    enum End {
        /** The client got all of its answer. */
        WHOLE,
        /** The client closed the connection before it had all of its answer. */
        CLIENT_LEFT,
        /** The server ended the connection: it stops, it failed, or the client did not read. */
        CUT_SHORT
    }

    /**
     * What is logged of a request.
     *
     * @param client its address
     * @param method of HTTP
     * @param path without the query
     * @param status of the response; 0 if there was none
     * @param promptTokens −1 if unknown
     * @param completionTokens −1 if unknown
     * @param firstTokenNanos from the head of the request to its first token; −1 if there was none
     * @param totalNanos from the head of the request to the end of the response
     * @param id of the request
     */
    record Entry(
            String client,
            String method,
            @Nullable String path,
            int status,
            int promptTokens,
            int completionTokens,
            long firstTokenNanos,
            long totalNanos,
            String id,
            End end) {}

    private RequestLog() {}

    static void write(Entry entry) {
        LOG.log(Level.INFO, () -> line(entry));
    }

    static String line(Entry entry) {
        return plain(entry.client) + " " + plain(entry.method) + " " + plain(entry.path) + " "
                + (entry.status == 0 ? "-" : String.valueOf(entry.status)) + " in=" + count(entry.promptTokens)
                + " out=" + count(entry.completionTokens) + " first=" + seconds(entry.firstTokenNanos) + " total="
                + seconds(entry.totalNanos) + " id=" + entry.id
                + switch (entry.end) {
                    case WHOLE -> "";
                    case CLIENT_LEFT -> " end=client-left";
                    case CUT_SHORT -> " end=cut-short";
                };
    }

    private static String count(int tokens) {
        return tokens < 0 ? "-" : String.valueOf(tokens);
    }

    private static String seconds(long nanos) {
        return nanos < 0 ? "-" : String.format(Locale.ROOT, "%.3fs", nanos * 1e-9);
    }

    /** Text of the client that cannot break the line or its fields. */
    private static String plain(@Nullable String text) {
        if (text == null || text.isEmpty()) {
            return "-";
        }
        String plain = text.replaceAll("[^\\x21-\\x7e]", "?");
        return plain.length() > 100 ? plain.substring(0, 100) + "..." : plain;
    }
}
