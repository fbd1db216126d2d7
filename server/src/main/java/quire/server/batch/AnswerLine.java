package quire.server.batch;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.json.JsonFactory;

/**
 * Writes the lines of a batch's result in the form of OpenAI's batches: {@code {"id": TEXT, "custom_id": TEXT, "response":
 * {"status_code": NUMBER, "request_id": TEXT, "body": OBJECT}, "error": null}}, each with the end of its line.
 */
public final class AnswerLine {
    private static final String ID = "batch_req_";

    /** What each line begins with. */
    public static final String BEGINNING = "{\"id\":\"" + ID;

    private static final JsonFactory FACTORY = new JsonFactory();

    private AnswerLine() {}

    /**
     * The line of a request that was answered, or refused.
     *
     * @param customId by which the client knows the request
     * @param body JSON
     */
    public static byte[] of(String customId, int status, String requestId, byte[] body) {
        ByteArrayOutputStream line = new ByteArrayOutputStream(body.length + 256);
        try (JsonGenerator json = FACTORY.createGenerator(ObjectWriteContext.empty(), line)) {
            begin(json, customId, requestId);
            json.writeStartObject();
            json.writeNumberProperty("status_code", status);
            json.writeStringProperty("request_id", requestId);
            json.writeName("body");
            // An end of line is between the parts of JSON only, since strings have it as \n.
            json.writeRawValue(new String(body, StandardCharsets.UTF_8).replace('\n', ' '));
            json.writeEndObject();
            json.writeNullProperty("error");
            json.writeEndObject();
        }
        line.write('\n');
        return line.toByteArray();
    }

    /**
     * The line of a request that was not answered.
     *
     * @param code OpenAI's word for the reason, {@code batch_expired} or {@code batch_cancelled}
     */
    static byte[] unanswered(String customId, String requestId, String code, String message) {
        ByteArrayOutputStream line = new ByteArrayOutputStream(256);
        try (JsonGenerator json = FACTORY.createGenerator(ObjectWriteContext.empty(), line)) {
            begin(json, customId, requestId);
            json.writeNull();
            json.writeName("error");
            json.writeStartObject();
            json.writeStringProperty("code", code);
            json.writeStringProperty("message", message);
            json.writeEndObject();
            json.writeEndObject();
        }
        line.write('\n');
        return line.toByteArray();
    }

    /** Writes all up to the value of {@code response}. */
    private static void begin(JsonGenerator json, String customId, String requestId) {
        json.writeStartObject();
        json.writeStringProperty("id", ID + requestId);
        json.writeStringProperty("custom_id", customId);
        json.writeName("response");
    }
}
