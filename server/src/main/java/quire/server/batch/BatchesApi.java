package quire.server.batch;

import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.server.api.Fields;
import quire.server.api.Json;
import quire.server.api.Parameter;
import quire.server.api.Parameters;
import quire.server.http.ClientGoneException;
import quire.server.http.Exchange;
import quire.server.http.HttpException;
import quire.server.http.Response;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Handlers of the paths of batches. */
public final class BatchesApi {
    private static final int MAX_LISTED = 100;
    private static final int LISTED = 20;

    // OpenAI's bounds of metadata.
    private static final int MAX_METADATA = 16;
    private static final int MAX_METADATA_NAME = 64;
    private static final int MAX_METADATA_TEXT = 512;

    // OpenAI's bounds of the time after which a file is deleted: an hour to 30 days.
    private static final int LEAST_SECONDS = 3600;
    private static final int MOST_SECONDS = 30 * 24 * 3600;

    private final @Nullable Batches batches;
    private final Parameters parameters;

    /**
     * Handlers of these batches.
     *
     * @param batches null if there are none; requests are refused then
     * @param refuseUnknown whether a request with an unknown parameter is refused
     */
    public BatchesApi(@Nullable Batches batches, boolean refuseUnknown) {
        this.batches = batches;
        this.parameters = new Parameters(BatchParameters.ROWS, refuseUnknown);
    }

    /**
     * The batches.
     *
     * @throws HttpException 501 if there are none
     */
    static Batches on(@Nullable Batches batches) {
        if (batches == null) {
            throw HttpException.refused(
                    501,
                    "batches_off",
                    "This server keeps no files and no batches: start it with --batches DIR (quire serve), or answer the"
                            + " file with quire batch IN.jsonl OUT.jsonl.");
        }
        return batches;
    }

    /** {@code POST /v1/batches}. */
    public void create(Exchange exchange) throws ClientGoneException {
        Fields body = Fields.parse(exchange.body());
        exchange.releaseBody();
        parameters.check(Parameter.Place.BATCHES, body);
        Batches on = on(batches);
        String input = Fields.string(body.require("input_file_id"), "input_file_id");
        String endpoint = Fields.string(body.require("endpoint"), "endpoint");
        if (!BatchInput.URLS.contains(endpoint)) {
            throw HttpException.invalid(
                    "endpoint",
                    "invalid_value",
                    "'endpoint' is '" + shown(endpoint) + "', which a batch cannot answer: give one of "
                            + String.join(", ", BatchInput.URLS) + ".");
        }
        String window = Fields.string(body.require("completion_window"), "completion_window");
        if (!window.equals("24h")) {
            throw HttpException.invalid(
                    "completion_window",
                    "invalid_value",
                    "'completion_window' must be \"24h\", the only one there is.");
        }
        Fields expires = body.object("output_expires_after", "an object");
        ObjectNode created =
                on.create(exchange.owner(), input, endpoint, metadata(body), expires == null ? null : seconds(expires));
        exchange.send(Response.json(200, Json.bytes(created)));
    }

    private static ObjectNode metadata(Fields body) {
        ObjectNode metadata = JsonNodeFactory.instance.objectNode();
        Fields given = body.object("metadata", "an object");
        if (given == null) {
            return metadata;
        }
        Map<String, @Nullable Object> plain = given.plain();
        if (plain.size() > MAX_METADATA) {
            throw HttpException.invalid(
                    "metadata", "invalid_value", "'metadata' has more than " + MAX_METADATA + " entries.");
        }
        plain.forEach((name, value) -> {
            if (!(value instanceof String text)
                    || name.length() > MAX_METADATA_NAME
                    || text.length() > MAX_METADATA_TEXT) {
                throw HttpException.invalid(
                        "metadata",
                        "invalid_value",
                        "'metadata' must have texts of up to " + MAX_METADATA_TEXT + " characters under names of up to "
                                + MAX_METADATA_NAME + ".");
            }
            metadata.put(name, text);
        });
        return metadata;
    }

    /** The seconds of {@code {"anchor": "created_at", "seconds": NUMBER}}. */
    static long seconds(Fields expires) {
        String anchor = expires.string("anchor");
        JsonNode seconds = expires.require("seconds");
        checkAnchor(expires.path("anchor"), anchor);
        return Fields.integer(seconds, expires.path("seconds"), LEAST_SECONDS, MOST_SECONDS);
    }

    private static void checkAnchor(String path, @Nullable String anchor) {
        if (!"created_at".equals(anchor)) {
            throw HttpException.invalid(path, "invalid_value", "'" + path + "' must be \"created_at\".");
        }
    }

    /** The seconds as a form has them in two fields; null if it has none. */
    static @Nullable Long seconds(@Nullable String anchor, @Nullable String seconds) {
        if (anchor == null && seconds == null) {
            return null;
        }
        checkAnchor("expires_after[anchor]", anchor);
        try {
            long number = Long.parseLong(String.valueOf(seconds));
            if (number >= LEAST_SECONDS && number <= MOST_SECONDS) {
                return number;
            }
        } catch (NumberFormatException e) {
            // the error below says what is allowed
        }
        throw HttpException.invalid(
                "expires_after[seconds]",
                "invalid_value",
                "'expires_after[seconds]' must be a number from " + LEAST_SECONDS + " to " + MOST_SECONDS + ".");
    }

    /** {@code GET /v1/batches}. */
    public void list(Exchange exchange) throws ClientGoneException {
        exchange.send(Lists.response(on(batches)
                .batches(exchange.owner(), exchange.query("after"), Lists.limit(exchange, MAX_LISTED, LISTED))));
    }

    /** {@code GET /v1/batches/ID}. */
    public void get(Exchange exchange) throws ClientGoneException {
        exchange.send(Response.json(200, Json.bytes(on(batches).batch(exchange.owner(), exchange.pathRest()))));
    }

    /** {@code POST /v1/batches/ID/cancel}. */
    public void cancel(Exchange exchange) throws ClientGoneException {
        exchange.releaseBody();
        exchange.send(Response.json(200, Json.bytes(on(batches).cancel(exchange.owner(), exchange.pathRest()))));
    }

    private static String shown(String text) {
        return text.length() > 60 ? text.substring(0, 60) + "…" : text;
    }
}
