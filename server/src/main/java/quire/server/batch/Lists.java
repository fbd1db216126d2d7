package quire.server.batch;

import org.jspecify.annotations.Nullable;
import quire.server.api.Json;
import quire.server.http.Exchange;
import quire.server.http.HttpException;
import quire.server.http.Response;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Reads what a client asks of a list, and writes a part of it. */
final class Lists {
    private Lists() {}

    /** The parameter {@code limit} of the query, from 1. */
    static int limit(Exchange exchange, int most, int absent) {
        String text = exchange.query("limit");
        if (text == null) {
            return absent;
        }
        try {
            int limit = Integer.parseInt(text);
            if (limit >= 1 && limit <= most) {
                return limit;
            }
        } catch (NumberFormatException e) {
            // the error below says what is allowed
        }
        throw HttpException.invalid("limit", "invalid_value", "'limit' must be a number from 1 to " + most + ".");
    }

    /** A part of a list in the form of OpenAI's API. */
    static Response response(Batches.Page page) {
        ObjectNode root = JsonNodeFactory.instance.objectNode().put("object", "list");
        ArrayNode data = root.putArray("data");
        page.entries().forEach(data::add);
        root.put("first_id", id(page.entries().isEmpty() ? null : page.entries().getFirst()));
        root.put("last_id", id(page.entries().isEmpty() ? null : page.entries().getLast()));
        root.put("has_more", page.more());
        return Response.json(200, Json.bytes(root));
    }

    private static @Nullable String id(@Nullable ObjectNode entry) {
        return entry == null ? null : entry.get("id").stringValue();
    }
}
