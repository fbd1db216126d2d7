package quire.server.responses;

import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.engine.FinishReason;
import quire.engine.TokenStream;
import quire.server.api.ChatAnswer;
import quire.server.api.ChatFormat;
import quire.server.api.Fields;
import quire.server.api.Json;
import quire.server.api.ServerSentEvents;
import quire.server.http.HttpException;
import quire.server.http.RandomId;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * Writes answers as responses. A stream:
 *
 * <pre>
 *   response.created  response.in_progress  item*  response.completed | response.incomplete | error response.failed
 *
 *   reasoning   output_item.added  content_part.added  reasoning_text.delta*  reasoning_text.done  content_part.done  output_item.done
 *   message     output_item.added  content_part.added  output_text.delta*     output_text.done     content_part.done  output_item.done
 *   call        output_item.added  function_call_arguments.delta*  function_call_arguments.done                       output_item.done
 * </pre>
 *
 * <p>Where the request asks for a summary, the reasoning comes as one: {@code reasoning_summary_part} and {@code
 * reasoning_summary_text} instead of {@code content_part} and {@code reasoning_text}.
 */
final class ResponsesFormat extends ChatFormat {
    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    /**
     * A function within a namespace.
     *
     * @param namespace its name
     * @param name of the function, as the client knows it
     */
    record Function(String namespace, String name) {}

    private final Fields request;
    private final Map<String, Function> functions;
    private final ArrayNode conversation;
    private final StoredResponses.@Nullable Owned stored;
    private final boolean summary;
    private final String random = RandomId.next();
    private final long created = System.currentTimeMillis() / 1000;
    private int sequence;

    /**
     * Writes one answer.
     *
     * @param request its body, of which the response repeats parts
     * @param functions the functions within namespaces by their names in the chat
     * @param conversation the messages before the answer, without the instructions
     * @param stored where the response is kept; null if it is not
     */
    ResponsesFormat(
            ChatAnswer answer,
            Fields request,
            Map<String, Function> functions,
            ArrayNode conversation,
            StoredResponses.@Nullable Owned stored) {
        super(answer);
        this.request = request;
        this.functions = functions;
        this.conversation = conversation;
        this.stored = stored;
        Fields reasoning = request.object("reasoning", "an object");
        this.summary =
                reasoning != null && (reasoning.get("summary") != null || reasoning.get("generate_summary") != null);
    }

    private String id() {
        return "resp_" + random;
    }

    @Override
    public boolean needsOutputs() {
        return true; // to count the tokens of the reasoning
    }

    @Override
    protected JsonNode document(TokenStream ended) {
        ObjectNode response = response(cutOff() ? "incomplete" : "completed");
        if (cutOff()) {
            response.putObject("incomplete_details")
                    .put("reason", ended.finish().reason() == FinishReason.LENGTH ? "max_output_tokens" : "timeout");
        }
        response.putObject("usage")
                .put("input_tokens", answer().promptTokens())
                .set(
                        "input_tokens_details",
                        JSON.objectNode()
                                .put("cached_tokens", ended.cachedTokens())
                                .put("cache_write_tokens", 0))
                .put("output_tokens", ended.finish().completionTokens())
                .set("output_tokens_details", JSON.objectNode().put("reasoning_tokens", reasoningTokens()))
                .put("total_tokens", answer().promptTokens() + ended.finish().completionTokens());
        if (stored != null) {
            stored.put(
                    id(),
                    ResponsesReader.items(response),
                    new StoredResponses.Stored(Json.bytes(response), Json.bytes(withAnswer())));
        }
        return response;
    }

    /** The conversation with this answer. */
    private ArrayNode withAnswer() {
        ObjectNode message = conversation.addObject().put("role", "assistant");
        StringBuilder text = new StringBuilder();
        for (Part part : parts()) {
            switch (part) {
                case Part.Reasoning(String thought) -> message.put("reasoning_content", thought);
                case Part.Text(String more) -> text.append(more);
                case Part.Call call -> {
                    if (object(call) != null) {
                        message.withArray("tool_calls")
                                .addObject()
                                .put("id", call.id())
                                .put("type", "function")
                                .putObject("function")
                                .put("name", call.name())
                                .put("arguments", call.arguments());
                    }
                }
            }
        }
        message.put("content", text.isEmpty() && message.has("tool_calls") ? null : text.toString());
        return conversation;
    }

    /** What a response has before, during and after its computation. */
    private ObjectNode response(String status) {
        ObjectNode response = JSON.objectNode()
                .put("id", id())
                .put("object", "response")
                .put("created_at", created)
                .put("status", status)
                .put("background", false)
                .putNull("error")
                .putNull("incomplete_details");
        repeat(response, "instructions", JSON.nullNode());
        repeat(response, "max_output_tokens", JSON.nullNode());
        repeat(response, "max_tool_calls", JSON.nullNode());
        response.put("model", answer().model());
        ArrayNode output = response.putArray("output");
        List<Part> parts = parts();
        for (int i = 0; i < parts.size(); i++) {
            boolean last = i == parts.size() - 1;
            output.add(item(i, parts.get(i), last && cutOff() ? "incomplete" : "completed"));
        }
        repeat(response, "parallel_tool_calls", JSON.booleanNode(true));
        repeat(response, "previous_response_id", JSON.nullNode());
        ObjectNode reasoning = response.putObject("reasoning").putNull("effort").putNull("summary");
        Fields asked = request.object("reasoning", "an object");
        if (asked != null) {
            for (String name : List.of("effort", "summary")) {
                JsonNode value = asked.get(name);
                reasoning.set(name, value == null ? JSON.nullNode() : value);
            }
        }
        response.put("service_tier", "default").put("store", stored != null);
        repeat(response, "temperature", JSON.nullNode());
        ObjectNode text = response.putObject("text");
        text.putObject("format").put("type", "text");
        Fields textAsked = request.object("text", "an object");
        if (textAsked != null && textAsked.get("format") != null) {
            text.set("format", textAsked.require("format"));
        }
        repeat(response, "tool_choice", JSON.stringNode("auto"));
        repeat(response, "tools", JSON.arrayNode());
        response.put("top_logprobs", 0);
        repeat(response, "top_p", JSON.nullNode());
        response.put("truncation", "disabled");
        repeat(response, "user", JSON.nullNode());
        repeat(response, "metadata", JSON.objectNode());
        return response;
    }

    private void repeat(ObjectNode response, String name, JsonNode absent) {
        JsonNode value = request.get(name);
        response.set(name, value == null ? absent : value);
    }

    private String itemId(int index, Part part) {
        String prefix =
                switch (part) {
                    case Part.Reasoning begun -> "rs_";
                    case Part.Text begun -> "msg_";
                    case Part.Call begun -> "fc_";
                };
        return prefix + random + index;
    }

    private ObjectNode item(int index, Part part, String status) {
        ObjectNode item = JSON.objectNode().put("id", itemId(index, part));
        boolean begins = status.equals("in_progress");
        switch (part) {
            case Part.Reasoning reasoning -> {
                item.put("type", "reasoning");
                ArrayNode summaries = item.putArray("summary");
                ArrayNode contents = item.putArray("content");
                if (!begins) {
                    (summary ? summaries : contents).add(content(reasoning));
                }
                item.put("status", status);
            }
            case Part.Text text -> {
                item.put("type", "message").put("status", status).put("role", "assistant");
                ArrayNode content = item.putArray("content");
                if (!begins) {
                    content.add(content(text));
                }
            }
            case Part.Call call -> {
                Function function = functions.get(call.name());
                item.put("type", "function_call")
                        .put("status", status)
                        .put("call_id", call.id())
                        .put("name", function == null ? call.name() : function.name())
                        .put("arguments", call.arguments());
                if (function != null) {
                    item.put("namespace", function.namespace());
                }
            }
        }
        return item;
    }

    private ObjectNode content(Part part) {
        return switch (part) {
            case Part.Reasoning(String text) ->
                JSON.objectNode()
                        .put("type", summary ? "summary_text" : "reasoning_text")
                        .put("text", text);
            case Part.Text(String text) -> {
                ObjectNode content =
                        JSON.objectNode().put("type", "output_text").put("text", text);
                content.putArray("annotations");
                content.putArray("logprobs");
                yield content;
            }
            case Part.Call call -> throw new IllegalArgumentException("a call has no content");
        };
    }

    @Override
    public void begin(ServerSentEvents events) {
        send(event("response.created").set("response", response("in_progress")), events);
        send(event("response.in_progress").set("response", response("in_progress")), events);
    }

    /** An event, because some clients do not take a comment for a sign of life. */
    @Override
    public void waiting(ServerSentEvents events) {
        events.add("keepalive", JSON.objectNode().put("type", "keepalive"));
    }

    @Override
    protected void partBegins(int index, Part part, ServerSentEvents events) {
        send(
                event("response.output_item.added")
                        .put("output_index", index)
                        .set("item", item(index, part, "in_progress")),
                events);
        if (!(part instanceof Part.Call)) {
            send(
                    event(index, part, summarised(part) ? "reasoning_summary_part.added" : "content_part.added")
                            .set("part", content(part)),
                    events);
        }
    }

    @Override
    protected void partGrows(int index, Part part, String piece, ServerSentEvents events) {
        ObjectNode delta = event(index, part, textEvent(part) + ".delta").put("delta", piece);
        if (part instanceof Part.Text) {
            delta.putArray("logprobs");
        }
        send(delta, events);
    }

    @Override
    protected void partEnds(int index, Part part, ServerSentEvents events) {
        ObjectNode done = event(index, part, textEvent(part) + ".done");
        switch (part) {
            case Part.Reasoning(String text) -> done.put("text", text);
            case Part.Text(String text) -> done.put("text", text).putArray("logprobs");
            case Part.Call call ->
                done.put("name", item(index, part, "completed").get("name").stringValue())
                        .put("arguments", call.arguments());
        }
        send(done, events);
        if (!(part instanceof Part.Call)) {
            send(
                    event(index, part, summarised(part) ? "reasoning_summary_part.done" : "content_part.done")
                            .set("part", content(part)),
                    events);
        }
        send(
                event("response.output_item.done")
                        .put("output_index", index)
                        .set("item", item(index, part, cutOff() ? "incomplete" : "completed")),
                events);
    }

    @Override
    protected void ended(TokenStream ended, ServerSentEvents events) {
        JsonNode response = document(ended);
        send(event("response." + response.get("status").stringValue()).set("response", response), events);
    }

    /**
     * Two events: OpenAI's client libraries take the first one for an error, and Codex and others the second one. Codex does
     * not try again after an {@code invalid_prompt}.
     */
    @Override
    public void failure(HttpException e, ServerSentEvents events) {
        send(event("error").put("code", e.code()).put("message", e.getMessage()).put("param", e.parameter()), events);
        ObjectNode response = response("failed");
        response.putObject("error")
                .put("code", e.status() < 500 ? "invalid_prompt" : "server_error")
                .put("message", e.getMessage());
        send(event("response.failed").set("response", response), events);
    }

    private boolean summarised(Part part) {
        return summary && part instanceof Part.Reasoning;
    }

    private String textEvent(Part part) {
        return switch (part) {
            case Part.Reasoning begun -> summary ? "reasoning_summary_text" : "reasoning_text";
            case Part.Text begun -> "output_text";
            case Part.Call begun -> "function_call_arguments";
        };
    }

    /** An event about a part. */
    private ObjectNode event(int index, Part part, String name) {
        ObjectNode event =
                event("response." + name).put("item_id", itemId(index, part)).put("output_index", index);
        if (!(part instanceof Part.Call)) {
            event.put(summarised(part) ? "summary_index" : "content_index", 0);
        }
        return event;
    }

    private ObjectNode event(String type) {
        return JSON.objectNode().put("type", type).put("sequence_number", sequence++);
    }

    private static void send(ObjectNode event, ServerSentEvents events) {
        events.add(event.get("type").stringValue(), event);
    }
}
