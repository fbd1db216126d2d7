package quire.server.api;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import tools.jackson.databind.JsonNode;

/** Collects server-sent events that are written together. */
public final class ServerSentEvents {
    private static final byte[] DATA = "data: ".getBytes(StandardCharsets.US_ASCII);
    private static final byte[] END = "\n\n".getBytes(StandardCharsets.US_ASCII);

    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();

    /** Starts without events. */
    ServerSentEvents() {}

    /** Adds an event of JSON. */
    public void add(JsonNode data) {
        add(Json.bytes(data));
    }

    /** Adds an event of JSON with a name. */
    public void add(String event, JsonNode data) {
        bytes.writeBytes(("event: " + event + "\n").getBytes(StandardCharsets.UTF_8));
        add(data);
    }

    /** Adds an event of text in one line. */
    public void add(String data) {
        add(data.getBytes(StandardCharsets.UTF_8));
    }

    /** Adds a comment in one line. */
    public void comment(String text) {
        bytes.writeBytes((": " + text).getBytes(StandardCharsets.UTF_8));
        bytes.writeBytes(END);
    }

    private void add(byte[] data) {
        bytes.writeBytes(DATA);
        bytes.writeBytes(data);
        bytes.writeBytes(END);
    }

    /** Bytes of all events. */
    int size() {
        return bytes.size();
    }

    /** Removes all events and returns their bytes. */
    byte[] take() {
        byte[] all = bytes.toByteArray();
        bytes.reset();
        return all;
    }
}
