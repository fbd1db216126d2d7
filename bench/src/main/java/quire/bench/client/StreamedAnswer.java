package quire.bench.client;

import java.io.IOException;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * An answer that was read event by event, and when its events came.
 *
 * <pre>
 *   sent        head   event   event          event   [DONE]
 *   |──── first ───────|       |── longest gap ──|
 *   |──────────────────────── total ────────────────────|
 * </pre>
 *
 * <p>Comments between events do not count as events: a stream that sends only comments is silent.
 *
 * @param head status and headers
 * @param content the data of all events, or the body of an error, without identifiers, times and usage, which may
 *     differ each time
 * @param events number of events with data, without {@code [DONE]}
 * @param complete whether the answer has its end: {@code [DONE]} for a stream
 * @param firstSeconds from the sending of the request to the first event; to the end of the head for an error
 * @param gapSeconds the longest time between two events
 * @param totalSeconds from the sending of the request to the end of the answer
 */
public record StreamedAnswer(
        HttpSocket.Head head,
        String content,
        int events,
        boolean complete,
        double firstSeconds,
        double gapSeconds,
        double totalSeconds) {
    private static final String DATA = "data: ";
    private static final String DONE = "[DONE]";
    private static final double NANO = 1e-9;

    /** What may differ between two answers to the same request; {@code usage} counts draft tokens. */
    private static final Pattern IDENTITY = Pattern.compile(
            "\"(id|created)\":(\"[^\"]*\"|\\d+),?|\"request_id\":\"[^\"]*\",?|,\"usage\":\\{.*\\}(?=\\}$)");

    /** What {@code Retry-After} says; 0 if it is not there or no number of seconds. */
    public int retryAfterSeconds() {
        String value = head.headers().getOrDefault("retry-after", "");
        return value.matches("\\d{1,6}") ? Integer.parseInt(value) : 0;
    }

    /** Sends a request and reads its answer, streamed or whole. */
    public static StreamedAnswer of(HttpSocket socket, String request) throws IOException {
        long sent = System.nanoTime();
        socket.send(request);
        HttpSocket.Head head = socket.head();
        boolean stream = head.headers().getOrDefault("content-type", "").startsWith("text/event-stream");
        long first = System.nanoTime();
        long last = first;
        long gap = 0;
        int events = 0;
        boolean done = false;
        StringBuilder content = new StringBuilder();
        for (String line = socket.bodyLine(); line != null; line = socket.bodyLine()) {
            String data = stream ? data(line) : line;
            if (data == null) {
                continue;
            }
            done = data.equals(DONE);
            long now = System.nanoTime();
            if (events == 0) {
                first = now;
            } else {
                gap = Math.max(gap, now - last);
            }
            last = now;
            if (!done) {
                events++;
                content.append(withoutIdentity(data)).append('\n');
            }
        }
        return new StreamedAnswer(
                head,
                content.toString(),
                events,
                done || !stream,
                (first - sent) * NANO,
                gap * NANO,
                (System.nanoTime() - sent) * NANO);
    }

    private static @Nullable String data(String line) {
        return line.startsWith(DATA) ? line.substring(DATA.length()) : null;
    }

    /** A line of an answer without identifiers, times and usage. */
    public static String withoutIdentity(String json) {
        return IDENTITY.matcher(json).replaceAll("");
    }

    /** Whether this is a whole answer and no error. */
    public boolean succeeded() {
        return head.status() == 200 && complete;
    }
}
