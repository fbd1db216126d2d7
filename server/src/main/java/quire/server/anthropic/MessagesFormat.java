package quire.server.anthropic;

import org.jspecify.annotations.Nullable;
import quire.engine.TokenStream;
import quire.server.api.ChatAnswer;
import quire.server.api.ChatFormat;
import quire.server.api.ServerSentEvents;
import quire.server.http.HttpException;
import quire.server.http.RandomId;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * Writes answers as Anthropic's messages. A stream:
 *
 * <pre>
 *   message_start  ( content_block_start  content_block_delta*  content_block_stop )*  message_delta  message_stop
 * </pre>
 */
final class MessagesFormat extends ChatFormat {
    /** Anthropic's servers sign their reasoning. Some clients take reasoning without a signature for text. */
    private static final String SIGNATURE = "cXVpcmU=";

    private final String id = "msg_" + RandomId.next();

    MessagesFormat(ChatAnswer answer) {
        super(answer);
    }

    @Override
    protected JsonNode document(TokenStream ended) {
        ObjectNode message = message();
        ArrayNode content = (ArrayNode) message.get("content");
        for (Part part : parts()) {
            switch (part) {
                case Part.Reasoning(String text) ->
                    content.addObject()
                            .put("type", "thinking")
                            .put("thinking", text)
                            .put("signature", SIGNATURE);
                case Part.Text(String text) ->
                    content.addObject().put("type", "text").put("text", text);
                case Part.Call call -> {
                    JsonNode input = object(call);
                    if (input != null) { // otherwise the answer was cut off within it
                        content.addObject()
                                .put("type", "tool_use")
                                .put("id", call.id())
                                .put("name", call.name())
                                .set("input", input);
                    }
                }
            }
        }
        putStop(message, ended);
        putUsage(message, ended);
        return message;
    }

    @Override
    public void begin(ServerSentEvents events) {
        ObjectNode start = event("message_start");
        ObjectNode message = message();
        putUsage(message, null);
        start.set("message", message);
        send(start, events);
    }

    @Override
    public void waiting(ServerSentEvents events) {
        send(event("ping"), events);
    }

    @Override
    protected void partBegins(int index, Part part, ServerSentEvents events) {
        ObjectNode start = event("content_block_start").put("index", index);
        ObjectNode block = start.putObject("content_block");
        switch (part) {
            case Part.Reasoning(String text) ->
                block.put("type", "thinking").put("thinking", text).put("signature", "");
            case Part.Text(String text) -> block.put("type", "text").put("text", text);
            case Part.Call call -> {
                block.put("type", "tool_use").put("id", call.id()).put("name", call.name());
                block.putObject("input");
            }
        }
        send(start, events);
    }

    @Override
    protected void partGrows(int index, Part part, String piece, ServerSentEvents events) {
        ObjectNode more = event("content_block_delta").put("index", index);
        ObjectNode delta = more.putObject("delta");
        switch (part) {
            case Part.Reasoning begun -> delta.put("type", "thinking_delta").put("thinking", piece);
            case Part.Text begun -> delta.put("type", "text_delta").put("text", piece);
            case Part.Call begun -> delta.put("type", "input_json_delta").put("partial_json", piece);
        }
        send(more, events);
    }

    @Override
    protected void partEnds(int index, Part part, ServerSentEvents events) {
        if (part instanceof Part.Reasoning) {
            ObjectNode more = event("content_block_delta").put("index", index);
            more.putObject("delta").put("type", "signature_delta").put("signature", SIGNATURE);
            send(more, events);
        }
        send(event("content_block_stop").put("index", index), events);
    }

    @Override
    protected void ended(TokenStream ended, ServerSentEvents events) {
        ObjectNode delta = event("message_delta");
        putStop(delta.putObject("delta"), ended);
        putUsage(delta, ended);
        send(delta, events);
        send(event("message_stop"), events);
    }

    @Override
    public void failure(HttpException e, ServerSentEvents events) {
        send(MessagesErrors.json(e), events);
    }

    private static ObjectNode event(String type) {
        return JsonNodeFactory.instance.objectNode().put("type", type);
    }

    private static void send(ObjectNode event, ServerSentEvents events) {
        events.add(event.get("type").stringValue(), event);
    }

    private ObjectNode message() {
        ObjectNode message =
                event("message").put("id", id).put("role", "assistant").put("model", answer().model());
        message.putArray("content");
        return message.putNull("stop_reason").putNull("stop_sequence");
    }

    private void putStop(ObjectNode node, TokenStream ended) {
        TokenStream.Finish finish = ended.finish();
        boolean atSequence = finish.stop() != null && !hasCalls();
        String reason =
                switch (finish.reason()) {
                    case STOP -> hasCalls() ? "tool_use" : atSequence ? "stop_sequence" : "end_turn";
                    case LENGTH, TIMEOUT -> "max_tokens";
                    case CANCELLED, ERROR, BROKEN_LOGITS, CONSTRAINT ->
                        throw new IllegalArgumentException(finish.reason() + " ends a request with an error");
                };
        node.put("stop_reason", reason).put("stop_sequence", atSequence ? finish.stop() : null);
    }

    /** @param ended null at the beginning of a stream, when it is not known yet what the cache has */
    private void putUsage(ObjectNode node, @Nullable TokenStream ended) {
        int cached = ended == null ? 0 : ended.cachedTokens();
        node.putObject("usage")
                .put("input_tokens", answer().promptTokens() - cached)
                .put("cache_creation_input_tokens", 0)
                .put("cache_read_input_tokens", cached)
                .put("output_tokens", ended == null ? 0 : ended.finish().completionTokens())
                .put("service_tier", "standard");
    }
}
