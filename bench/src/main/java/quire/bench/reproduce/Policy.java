package quire.bench.reproduce;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import quire.engine.Request;
import quire.engine.TokenStream;

/**
 * The order in which an engine runs requests, and how many it runs together. Each policy is the real scheduler of the
 * engine, limited to what the policy allows: the kernels, the steps and the KV memory are the same.
 *
 * <pre>
 *   KV memory of 8 pages, the longest request needs 4
 *   ONE_AT_A_TIME   1 sequence
 *   STATIC          2 sequences; the next 2 start when both have ended
 *   RESERVED        2 sequences; the next one starts when one has ended
 *   PAGED           as many as have pages now
 * </pre>
 */
enum Policy {
    /** One sequence in the engine; the others wait in its queue. */
    ONE_AT_A_TIME("one at a time"),
    /**
     * The engine has rows for as many sequences as the memory holds when each reserves the maximum, and gets so many
     * requests. It gets the next ones when the last of them has ended. A sequence that has ended costs nothing while the
     * others go on. Programs that keep computing its row are slower than this.
     */
    STATIC("static batch"),
    /**
     * The same number of rows, and all requests at once: a row that becomes free takes the next request. No sequence can
     * ever lack a page, as if each had reserved the pages of the maximum.
     */
    RESERVED("continuous, maximum reserved"),
    /** All requests at once, and rows for all that the pages hold: Quire as it is. */
    PAGED("continuous, paged");

    private final String label;

    Policy(String label) {
        this.label = label;
    }

    /** In words. */
    String label() {
        return label;
    }

    /**
     * Sequences that run at once.
     *
     * @param slots tokens that the KV memory holds
     * @param longest tokens of the longest request that is allowed; a sequence that reserves the maximum needs them
     * @param most sequences that fit a step, where the policy sets no limit
     * @throws IllegalArgumentException if the memory does not hold one longest request
     */
    int sequences(int slots, int longest, int most) {
        if (slots < longest) {
            throw new IllegalArgumentException(
                    "a KV memory of " + slots + " tokens does not hold a request of " + longest);
        }
        return switch (this) {
            case ONE_AT_A_TIME -> 1;
            case STATIC, RESERVED -> Math.min(most, slots / longest);
            case PAGED -> most;
        };
    }

    /**
     * Submits all requests in order and waits for their ends.
     *
     * @param engine takes a request; it has rows for {@code sequences} sequences
     */
    void answer(Function<Request, TokenStream> engine, List<Request> requests, int sequences)
            throws InterruptedException {
        int together = this == STATIC ? sequences : requests.size();
        for (int begin = 0; begin < requests.size(); begin += together) {
            List<TokenStream> streams = new ArrayList<>();
            try {
                for (Request request : requests.subList(begin, Math.min(requests.size(), begin + together))) {
                    streams.add(engine.apply(request));
                }
                for (TokenStream stream : streams) {
                    awaitEnd(stream);
                }
            } finally {
                streams.forEach(TokenStream::close);
            }
        }
    }

    private static void awaitEnd(TokenStream stream) throws InterruptedException {
        while (stream.next() != null) {
            // only the end matters here: the engine's listener takes the times
        }
        String error = stream.finish().error();
        if (error != null) {
            throw new IllegalStateException(error);
        }
    }
}
