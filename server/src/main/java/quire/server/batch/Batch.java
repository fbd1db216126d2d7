package quire.server.batch;

import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * A batch. Its fields are guarded by the lock of {@link Batches}.
 *
 * <pre>
 *   validating ─▶ in_progress ─▶ finalizing ─▶ completed
 *       │  │           │    └─ time is up ───▶ expired       (through finalizing)
 *       │  └───────────┴─▶ cancelling ───────▶ cancelled
 *       └─▶ failed
 * </pre>
 */
final class Batch {
    /** What a batch does. */
    enum Status {
        VALIDATING,
        IN_PROGRESS,
        FINALIZING,
        CANCELLING,
        COMPLETED,
        FAILED,
        EXPIRED,
        CANCELLED;

        /** Whether nothing happens any more. */
        boolean isEnd() {
            return compareTo(COMPLETED) >= 0;
        }

        String word() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /**
     * What is wrong with a batch.
     *
     * @param code a short name for programs
     * @param line of the input file; 0 for the file as a whole
     */
    record Fault(String code, String message, long line) {}

    final String id;
    final long number;
    final String owner;
    final String endpoint;
    final String inputFileId;
    final ObjectNode metadata;
    final long createdAt;
    final long expiresAt;

    /** Seconds after which the files of the result are deleted; null for never. */
    final @Nullable Long outputSeconds;

    /** When it came into each status, in seconds. */
    private final Map<Status, Long> times = new EnumMap<>(Status.class);

    private Status status = Status.VALIDATING;

    /** The status that it will have when its result is written; null while its requests are answered. */
    @Nullable
    Status outcome;

    int total;
    int completed;
    int failed;
    List<Fault> faults = List.of();

    @Nullable
    String outputFileId;

    @Nullable
    String errorFileId;

    // Not stored.

    /** Requests that are being answered. */
    final List<BatchLine> underWay = new ArrayList<>();

    /** Where the next request is read; null if the file is not open. */
    @Nullable
    BatchInput input;

    /** Whether all requests were read. */
    boolean exhausted;

    /** When writing the result is tried again, in milliseconds. */
    long retryAtMillis;

    Batch(
            String id,
            long number,
            String owner,
            String endpoint,
            String inputFileId,
            ObjectNode metadata,
            long createdAt,
            long expiresAt,
            @Nullable Long outputSeconds) {
        this.id = id;
        this.number = number;
        this.owner = owner;
        this.endpoint = endpoint;
        this.inputFileId = inputFileId;
        this.metadata = metadata;
        this.createdAt = createdAt;
        this.expiresAt = expiresAt;
        this.outputSeconds = outputSeconds;
    }

    Status status() {
        return status;
    }

    /** Changes the status at this time, in seconds. */
    void become(Status next, long seconds) {
        status = next;
        times.put(next, seconds);
    }

    /** Requests that have no result. */
    int open() {
        return status.isEnd() ? 0 : total - completed - failed;
    }

    /** The batch in the form of OpenAI's API. */
    ObjectNode json() {
        ObjectNode json = JsonNodeFactory.instance
                .objectNode()
                .put("id", id)
                .put("object", "batch")
                .put("endpoint", endpoint);
        if (faults.isEmpty()) {
            json.putNull("errors");
        } else {
            ArrayNode data = json.putObject("errors").put("object", "list").putArray("data");
            for (Fault fault : faults) {
                ObjectNode entry = data.addObject()
                        .put("code", fault.code)
                        .put("message", fault.message)
                        .putNull("param");
                if (fault.line == 0) {
                    entry.putNull("line");
                } else {
                    entry.put("line", fault.line);
                }
            }
        }
        json.put("input_file_id", inputFileId)
                .put("completion_window", "24h")
                .put("status", status.word())
                .put("output_file_id", status.isEnd() ? outputFileId : null)
                .put("error_file_id", status.isEnd() ? errorFileId : null)
                .put("created_at", createdAt);
        for (Status each : Status.values()) {
            if (each != Status.VALIDATING) {
                json.put(each.word() + "_at", times.get(each));
            }
        }
        json.put("expires_at", expiresAt);
        json.putObject("request_counts")
                .put("total", total)
                .put("completed", completed)
                .put("failed", failed);
        json.set("metadata", metadata);
        return json;
    }

    /** All that is known, for the database. */
    ObjectNode record() {
        return json().put("number", number)
                .put("owner", owner)
                .put("outcome", outcome == null ? null : outcome.name())
                .put("output_file_id", outputFileId)
                .put("error_file_id", errorFileId)
                .put("output_seconds", outputSeconds);
    }

    static Batch of(JsonNode record) {
        Batch batch = new Batch(
                record.get("id").stringValue(),
                record.get("number").longValue(),
                record.get("owner").stringValue(),
                record.get("endpoint").stringValue(),
                record.get("input_file_id").stringValue(),
                (ObjectNode) record.get("metadata"),
                record.get("created_at").longValue(),
                record.get("expires_at").longValue(),
                seconds(record, "output_seconds"));
        batch.status = Status.valueOf(record.get("status").stringValue().toUpperCase(Locale.ROOT));
        for (Status each : Status.values()) {
            Long time = each == Status.VALIDATING ? null : seconds(record, each.word() + "_at");
            if (time != null) {
                batch.times.put(each, time);
            }
        }
        String outcome = text(record, "outcome");
        batch.outcome = outcome == null ? null : Status.valueOf(outcome);
        JsonNode counts = record.get("request_counts");
        batch.total = counts.get("total").intValue();
        batch.completed = counts.get("completed").intValue();
        batch.failed = counts.get("failed").intValue();
        List<Fault> faults = new ArrayList<>();
        for (JsonNode fault : record.at("/errors/data").values()) {
            Long line = seconds(fault, "line");
            faults.add(new Fault(
                    fault.get("code").stringValue(), fault.get("message").stringValue(), line == null ? 0 : line));
        }
        batch.faults = List.copyOf(faults);
        batch.outputFileId = text(record, "output_file_id");
        batch.errorFileId = text(record, "error_file_id");
        return batch;
    }

    private static @Nullable Long seconds(JsonNode record, String name) {
        JsonNode value = record.get(name);
        return value == null || value.isNull() ? null : (Long) value.longValue();
    }

    private static @Nullable String text(JsonNode record, String name) {
        JsonNode value = record.get(name);
        return value == null || value.isNull() ? null : value.stringValue();
    }
}
