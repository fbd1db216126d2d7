package quire.server.batch;

import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * What is known of a file beside its content.
 *
 * @param number the order in which files were made
 * @param owner whose file it is; empty if no API key is asked for
 * @param name what the client calls it
 * @param purpose {@link #INPUT} or {@link #OUTPUT}
 * @param createdAt in seconds
 * @param expiresAt when it is deleted, in seconds; null for never
 */
record StoredFile(
        String id,
        long number,
        String owner,
        String name,
        String purpose,
        long bytes,
        long createdAt,
        @Nullable Long expiresAt) {
    static final String INPUT = "batch";
    static final String OUTPUT = "batch_output";

    /** The file in the form of OpenAI's API. */
    ObjectNode json() {
        ObjectNode json = JsonNodeFactory.instance
                .objectNode()
                .put("id", id)
                .put("object", "file")
                .put("bytes", bytes)
                .put("created_at", createdAt);
        if (expiresAt != null) {
            json.put("expires_at", expiresAt);
        }
        return json.put("filename", name).put("purpose", purpose).put("status", "processed");
    }

    /** All that is known, for the database. */
    ObjectNode record() {
        return json().put("number", number).put("owner", owner);
    }

    static StoredFile of(JsonNode record) {
        JsonNode expires = record.get("expires_at");
        return new StoredFile(
                record.get("id").stringValue(),
                record.get("number").longValue(),
                record.get("owner").stringValue(),
                record.get("filename").stringValue(),
                record.get("purpose").stringValue(),
                record.get("bytes").longValue(),
                record.get("created_at").longValue(),
                expires == null ? null : (Long) expires.longValue());
    }
}
