package quire.server.api;

import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.StringJoiner;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import quire.engine.SpeculationCounts;
import quire.engine.Timeline;
import quire.engine.TokenStream;
import quire.server.http.Exchange;
import quire.server.http.HttpException;
import quire.server.http.Response;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * The timelines of the last requests, by the id that the header {@code X-Request-Id} has. A client sees the requests
 * of its own API key. Thread-safe.
 */
public final class Timelines {
    /** Answers whose timelines are kept; one takes about 2 KB. */
    private static final int MAX_ANSWERS = 1024;

    private final LinkedHashMap<String, List<Timeline>> idToAnswers = new LinkedHashMap<>();
    private int answers;

    /** Keeps none yet. */
    public Timelines() {}

    /** Keeps the timelines of a request, in the place of older ones. */
    synchronized void add(Exchange exchange, List<TokenStream> streams) {
        List<Timeline> added = streams.stream().map(TokenStream::timeline).toList();
        List<Timeline> same = idToAnswers.remove(key(exchange, exchange.id()));
        answers += added.size() - (same == null ? 0 : same.size());
        idToAnswers.put(key(exchange, exchange.id()), added);
        while (answers > MAX_ANSWERS && idToAnswers.size() > 1) {
            answers -= idToAnswers.pollFirstEntry().getValue().size();
        }
    }

    /**
     * What happened to a request that has ended, in short: the value of the header {@code Server-Timing} (W3C Server Timing), which
     * browsers show beside their own times. Of several answers, the first to start, the first token of all and the last end
     * count.
     */
    static String inShort(List<TokenStream> streams) {
        List<Timeline.Event> events = streams.stream()
                .flatMap(stream -> stream.timeline().events().stream())
                .sorted(Comparator.comparingLong(Timeline.Event::nanos))
                .toList();
        long start = 0;
        long token = -1;
        long end = 0;
        int preemptions = 0;
        for (Timeline.Event event : events.reversed()) { // so that the first of a kind is what stays
            switch (event.kind()) {
                case STARTED -> start = event.nanos();
                case FIRST_TOKEN -> token = event.nanos();
                case PREEMPTED -> preemptions++;
                case ENDED -> end = Math.max(end, event.nanos());
                case QUEUED, CHUNK -> {}
            }
        }
        StringJoiner parts = new StringJoiner(", ")
                .add("queue;dur=" + millis(start))
                .add("prompt;dur=" + millis((token < 0 ? end : token) - start));
        if (token >= 0) {
            parts.add("answer;dur=" + millis(end - token));
        }
        int cached = streams.stream().mapToInt(TokenStream::cachedTokens).sum();
        parts.add("cached;desc=\"" + cached + " tokens\"");
        if (preemptions > 0) {
            parts.add("preempted;desc=\"" + preemptions + " times\"");
        }
        return parts.toString();
    }

    private static double millis(long nanos) {
        return TimeUnit.NANOSECONDS.toMicros(nanos) / 1e3;
    }

    private static String key(Exchange exchange, String id) {
        return exchange.owner() + "\n" + id;
    }

    /**
     * What happened to one of the last requests: {@code GET /v1/requests/ID}. Does not block.
     *
     * @throws HttpException 404 if there is no such request
     */
    public Response response(Exchange exchange) {
        String id = exchange.pathRest();
        List<Timeline> found = find(key(exchange, id));
        if (found == null) {
            throw HttpException.notFound(
                    "id",
                    "request_not_found",
                    "There is no request with this id among the last " + MAX_ANSWERS
                            + " answers: send the X-Request-Id of an answer.");
        }
        ObjectNode root = JsonNodeFactory.instance.objectNode().put("id", id).put("object", "request.timeline");
        ArrayNode all = root.putArray("answers");
        for (int i = 0; i < found.size(); i++) {
            ObjectNode answer = all.addObject().put("index", i);
            ArrayNode events = answer.putArray("events");
            found.get(i).events().forEach(event -> write(event, events.addObject()));
            answer.put("events_left_out", found.get(i).leftOut());
            write(found.get(i).speculation(), answer);
        }
        return Response.json(200, Json.bytes(root));
    }

    private synchronized @Nullable List<Timeline> find(String key) {
        return idToAnswers.get(key);
    }

    private static final Map<Timeline.Kind, String> TOKENS = Map.of(
            Timeline.Kind.QUEUED, "prompt_tokens",
            Timeline.Kind.STARTED, "cached_tokens",
            Timeline.Kind.CHUNK, "tokens",
            Timeline.Kind.FIRST_TOKEN, "tokens",
            Timeline.Kind.PREEMPTED, "lost_tokens",
            Timeline.Kind.ENDED, "completion_tokens");

    private static void write(SpeculationCounts counts, ObjectNode out) {
        if (counts.drafters().isEmpty()) {
            return;
        }
        ObjectNode speculation = out.putObject("speculation")
                .put("drafts", counts.drafts())
                .put("draft_tokens", counts.draftTokens())
                .put("accepted_tokens", counts.acceptedTokens());
        write(counts.decisions(), speculation.putArray("decisions"));
        write(counts.draftedAt(), speculation.putArray("drafted_at"));
        write(counts.acceptedAt(), speculation.putArray("accepted_at"));
    }

    /** Writes counts without the zeros at their end. */
    private static void write(List<Long> counts, ArrayNode out) {
        int size = counts.size();
        while (size > 0 && counts.get(size - 1) == 0) {
            size--;
        }
        counts.subList(0, size).forEach(out::add);
    }

    private static void write(Timeline.Event event, ObjectNode out) {
        out.put("event", event.kind().name().toLowerCase(Locale.ROOT))
                .put("ms", millis(event.nanos()))
                .put(TOKENS.getOrDefault(event.kind(), "tokens"), event.tokens())
                .put("pages", event.pages());
    }
}
