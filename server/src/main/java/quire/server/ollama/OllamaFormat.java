package quire.server.ollama;

import org.jspecify.annotations.Nullable;
import quire.engine.TokenStream;
import quire.server.api.ChatAnswer;
import quire.server.api.ChatFormat;
import quire.server.api.ServerSentEvents;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Writes answers in Ollama's JSON. A stream is a line for each piece of text and for each call, and a last one. */
final class OllamaFormat extends ChatFormat {
    /** The content type of a stream. */
    static final String LINES = "application/x-ndjson";

    private final String model;
    private final boolean chat;
    private final long startNanos = System.nanoTime();
    private long firstNanos = -1;
    private int calls;

    /**
     * Writes one answer.
     *
     * @param model the name that was asked for
     * @param chat whether the request came to {@code /api/chat}, and not to {@code /api/generate}
     */
    OllamaFormat(ChatAnswer answer, String model, boolean chat) {
        super(answer);
        this.model = model;
        this.chat = chat;
    }

    static ObjectNode head(String model) {
        return JsonNodeFactory.instance.objectNode().put("model", model).put("created_at", OllamaReader.now());
    }

    @Override
    public String streamType() {
        return LINES;
    }

    @Override
    protected JsonNode document(TokenStream ended) {
        StringBuilder thinking = new StringBuilder();
        StringBuilder text = new StringBuilder();
        ObjectNode root = head(model);
        ObjectNode message = chat ? root.putObject("message").put("role", "assistant") : root;
        for (Part part : parts()) {
            switch (part) {
                case Part.Reasoning(String thought) -> thinking.append(thought);
                case Part.Text(String more) -> text.append(more);
                case Part.Call call -> putCall(message, call);
            }
        }
        message.put(chat ? "content" : "response", text.toString());
        if (!thinking.isEmpty()) {
            message.put("thinking", thinking.toString());
        }
        return putEnd(root, ended);
    }

    /** Adds a call, unless the answer was cut off within it: its arguments would be no object. */
    private boolean putCall(ObjectNode message, Part.Call call) {
        JsonNode arguments = object(call);
        if (arguments == null) {
            return false;
        }
        ObjectNode function = message.withArray("tool_calls")
                .addObject()
                .put("id", call.id())
                .putObject("function")
                .put("index", calls++)
                .put("name", call.name());
        function.set("arguments", arguments);
        return true;
    }

    @Override
    public void begin(ServerSentEvents events) {}

    /** White space before the next line, which every reader of JSON skips. */
    @Override
    public void waiting(ServerSentEvents events) {
        events.space();
    }

    @Override
    protected void partBegins(int index, Part part, ServerSentEvents events) {}

    @Override
    protected void partGrows(int index, Part part, String piece, ServerSentEvents events) {
        switch (part) {
            case Part.Reasoning begun -> events.line(line("", piece));
            case Part.Text begun -> events.line(line(piece, null));
            case Part.Call begun -> {} // clients expect a whole call
        }
    }

    @Override
    protected void partEnds(int index, Part part, ServerSentEvents events) {
        if (part instanceof Part.Call call) {
            ObjectNode line = line("", null);
            if (putCall((ObjectNode) line.get("message"), call)) {
                events.line(line);
            }
        }
    }

    @Override
    protected void ended(TokenStream ended, ServerSentEvents events) {
        ObjectNode line = line("", null);
        line.remove("done");
        events.line(putEnd(line, ended));
    }

    @Override
    public void failure(HttpException e, ServerSentEvents events) {
        events.line(OllamaErrors.json(e));
    }

    private ObjectNode line(String text, @Nullable String thinking) {
        if (firstNanos < 0) {
            firstNanos = System.nanoTime();
        }
        ObjectNode root = head(model);
        ObjectNode message = chat ? root.putObject("message").put("role", "assistant") : root;
        message.put(chat ? "content" : "response", text);
        if (thinking != null) {
            message.put("thinking", thinking);
        }
        return root.put("done", false);
    }

    private ObjectNode putEnd(ObjectNode root, TokenStream ended) {
        long now = System.nanoTime();
        long first = firstNanos < 0 ? startNanos : firstNanos; // not told apart in a whole answer
        return root.put("done", true)
                .put("done_reason", cutOff() ? "length" : "stop")
                .put("total_duration", now - startNanos)
                .put("load_duration", 0)
                .put("prompt_eval_count", answer().promptTokens())
                .put("prompt_eval_duration", first - startNanos)
                .put("eval_count", ended.finish().completionTokens())
                .put("eval_duration", now - first);
    }
}
