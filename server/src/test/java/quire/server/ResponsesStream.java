package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * Reads a stream of a response as a client does, and checks the order, the numbers and the ids of all events, and that all
 * copies of each text agree.
 */
final class ResponsesStream {
    private final List<JsonNode> events;
    private int next;

    private ResponsesStream(List<JsonNode> events) {
        this.events = events;
    }

    /** The response at the end of a stream. */
    static ObjectNode response(String stream) {
        List<JsonNode> events = MessagesStream.events(stream);
        events.removeIf(event -> type(event).equals("keepalive"));
        for (int i = 0; i < events.size(); i++) {
            assertThat(events.get(i).get("sequence_number").intValue()).isEqualTo(i);
        }
        return new ResponsesStream(events).read();
    }

    private ObjectNode read() {
        JsonNode created = take("response.created").get("response");
        assertThat(created.get("status").stringValue()).isEqualTo("in_progress");
        assertThat(created.get("output").isEmpty()).isTrue();
        assertThat(take("response.in_progress").get("response")).isEqualTo(created);
        List<JsonNode> items = new ArrayList<>();
        while (type(events.get(next)).equals("response.output_item.added")) {
            items.add(item(items.size()));
        }
        JsonNode end = events.get(next);
        ObjectNode response = (ObjectNode) end.get("response");
        assertThat(type(end)).isEqualTo("response." + response.get("status").stringValue());
        assertThat(events).hasSize(next + 1);
        assertThat(response.get("id")).isEqualTo(created.get("id"));
        assertThat(response.get("output").values()).containsExactlyElementsOf(items);
        return response;
    }

    /** The item at the end of its events. */
    private JsonNode item(int index) {
        JsonNode added = at(take("response.output_item.added"), index).get("item");
        assertThat(added.get("status").stringValue()).isEqualTo("in_progress");
        String id = added.get("id").stringValue();
        String kind = type(added);
        String text =
                switch (kind) {
                    case "message" -> text(index, id, "response.content_part", "response.output_text");
                    case "reasoning" ->
                        type(events.get(next)).contains("summary")
                                ? text(index, id, "response.reasoning_summary_part", "response.reasoning_summary_text")
                                : text(index, id, "response.content_part", "response.reasoning_text");
                    default -> grown(index, id, "response.function_call_arguments", "arguments");
                };
        JsonNode done = at(take("response.output_item.done"), index).get("item");
        assertThat(done.get("id").stringValue()).isEqualTo(id);
        assertThat(type(done)).isEqualTo(kind);
        if (kind.equals("function_call")) {
            assertThat(done.get("arguments").stringValue()).isEqualTo(text);
            assertThat(done.get("name")).isEqualTo(added.get("name"));
            assertThat(done.get("call_id")).isEqualTo(added.get("call_id"));
        } else {
            String field = kind.equals("reasoning") && !done.get("summary").isEmpty() ? "summary" : "content";
            assertThat(done.get(field).size()).isEqualTo(1);
            assertThat(done.get(field).get(0).get("text").stringValue()).isEqualTo(text);
        }
        return done;
    }

    private String text(int index, String id, String part, String name) {
        JsonNode added = of(take(part + ".added"), index, id).get("part");
        assertThat(added.get("text").stringValue()).isEmpty();
        String text = grown(index, id, name, "text");
        JsonNode done = of(take(part + ".done"), index, id).get("part");
        assertThat(done.get("text").stringValue()).isEqualTo(text);
        assertThat(type(done)).isEqualTo(type(added));
        return text;
    }

    private String grown(int index, String id, String name, String field) {
        StringBuilder text = new StringBuilder();
        while (type(events.get(next)).equals(name + ".delta")) {
            String delta = of(take(name + ".delta"), index, id).get("delta").stringValue();
            assertThat(delta).isNotEmpty();
            text.append(delta);
        }
        JsonNode done = of(take(name + ".done"), index, id);
        assertThat(done.get(field).stringValue()).isEqualTo(text.toString());
        return text.toString();
    }

    private JsonNode of(JsonNode event, int index, String id) {
        assertThat(event.get("item_id").stringValue()).isEqualTo(id);
        if (!type(event).contains("function_call")) {
            assertThat(event.get(type(event).contains("summary") ? "summary_index" : "content_index")
                            .intValue())
                    .isZero();
        }
        return at(event, index);
    }

    private static JsonNode at(JsonNode event, int index) {
        assertThat(event.get("output_index").intValue()).isEqualTo(index);
        return event;
    }

    private JsonNode take(String type) {
        JsonNode event = events.get(next++);
        assertThat(type(event)).isEqualTo(type);
        return event;
    }

    private static String type(JsonNode node) {
        return node.get("type").stringValue();
    }
}
