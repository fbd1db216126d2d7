package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import quire.server.api.InvalidJsonException;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/** Reads a stream of Anthropic's events as a client does, and checks the order, the indexes and the ids of all. */
final class MessagesStream {
    private MessagesStream() {}

    /** The message that the events make, in the form of a whole answer. */
    static ObjectNode message(String stream) {
        List<JsonNode> events = events(stream);
        events.removeIf(event -> type(event).equals("ping"));
        JsonNode start = events.removeFirst();
        assertThat(type(start)).isEqualTo("message_start");
        ObjectNode message = (ObjectNode) start.get("message");
        assertThat(message.get("content").isEmpty()).isTrue();
        assertThat(message.get("stop_reason").isNull()).isTrue();
        assertThat(message.get("usage").get("input_tokens").isNumber()).isTrue();
        ArrayNode content = (ArrayNode) message.get("content");
        int next = 0;
        boolean cut = false;
        while (type(events.get(next)).equals("content_block_start")) {
            assertThat(events.get(next).get("index").intValue()).isEqualTo(content.size());
            ObjectNode block =
                    content.addObject().setAll((ObjectNode) events.get(next++).get("content_block"));
            StringBuilder text = new StringBuilder();
            String field = field(block);
            for (; type(events.get(next)).equals("content_block_delta"); next++) {
                assertThat(events.get(next).get("index").intValue()).isEqualTo(content.size() - 1);
                JsonNode delta = events.get(next).get("delta");
                if (type(delta).equals("signature_delta")) {
                    assertThat(field).isEqualTo("thinking");
                    block.set("signature", delta.get("signature"));
                } else {
                    assertThat(type(delta))
                            .isEqualTo(
                                    switch (field) {
                                        case "text" -> "text_delta";
                                        case "thinking" -> "thinking_delta";
                                        default -> "input_json_delta";
                                    });
                    text.append(delta.get(field.equals("input") ? "partial_json" : field)
                            .stringValue());
                }
            }
            assertThat(text).isNotEmpty();
            if (!field.equals("input")) {
                block.put(field, text.toString());
            } else if (isJson(text.toString())) {
                block.set(field, Json.read(text.toString()));
            } else {
                cut = true;
            }
            assertThat(type(events.get(next))).isEqualTo("content_block_stop");
            assertThat(events.get(next++).get("index").intValue()).isEqualTo(content.size() - 1);
        }
        JsonNode end = events.get(next++);
        assertThat(type(end)).isEqualTo("message_delta");
        message.setAll((ObjectNode) end.get("delta"));
        message.set("usage", end.get("usage"));
        if (cut) { // a whole answer leaves a call out whose input is no object
            assertThat(message.get("stop_reason").stringValue()).isEqualTo("max_tokens");
            content.remove(content.size() - 1);
        }
        assertThat(type(events.get(next++))).isEqualTo("message_stop");
        assertThat(events).hasSize(next);
        return message;
    }

    private static boolean isJson(String text) {
        try {
            Json.parse(text);
            return true;
        } catch (InvalidJsonException e) {
            return false;
        }
    }

    private static String field(ObjectNode block) {
        String type = type(block);
        String field = type.equals("tool_use") ? "input" : type;
        assertThat(field).isIn("text", "thinking", "input");
        assertThat(block.get(field).isEmpty() || block.get(field).asString("").isEmpty())
                .isTrue();
        return field;
    }

    /** The data of all events, each of which has a name equal to its type. */
    static List<JsonNode> events(String stream) {
        List<JsonNode> events = new ArrayList<>();
        assertThat(stream).endsWith("\n\n");
        for (String event : stream.strip().split("\n\n", -1)) {
            List<String> lines = event.lines().toList();
            assertThat(lines).hasSize(2);
            JsonNode data = Json.read(lines.get(1).substring("data: ".length()));
            assertThat(lines.getFirst()).isEqualTo("event: " + type(data));
            events.add(data);
        }
        return events;
    }

    private static String type(JsonNode node) {
        return node.get("type").stringValue();
    }
}
