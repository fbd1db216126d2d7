package quire.server.openai;

import quire.engine.FinishReason;
import quire.engine.TokenStream;
import quire.server.api.ChatAnswer;
import quire.server.api.ChatFormat;
import quire.server.api.ServerSentEvents;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Writes the text of a gap in llama.cpp's JSON: whole, or as events of which the last one has the counts. */
final class InfillFormat extends ChatFormat {
    InfillFormat(ChatAnswer answer) {
        super(answer);
    }

    @Override
    protected JsonNode document(TokenStream ended) {
        StringBuilder text = new StringBuilder();
        for (Part part : parts()) {
            if (part instanceof Part.Text(String piece)) {
                text.append(piece);
            }
        }
        return end(text.toString(), ended);
    }

    @Override
    public void begin(ServerSentEvents events) {}

    @Override
    protected void partBegins(int index, Part part, ServerSentEvents events) {}

    @Override
    protected void partGrows(int index, Part part, String piece, ServerSentEvents events) {
        events.add(content(piece, false));
    }

    @Override
    protected void partEnds(int index, Part part, ServerSentEvents events) {}

    @Override
    protected void ended(TokenStream ended, ServerSentEvents events) {
        events.add(end("", ended));
    }

    @Override
    public void failure(HttpException e, ServerSentEvents events) {
        events.add("error", OpenAiErrors.json(e));
    }

    private static ObjectNode content(String text, boolean isEnd) {
        return JsonNodeFactory.instance.objectNode().put("content", text).put("stop", isEnd);
    }

    private ObjectNode end(String text, TokenStream ended) {
        FinishReason reason = ended.finish().reason();
        ObjectNode root = content(text, true)
                .put("model", answer().model())
                .put("stop_type", reason == FinishReason.STOP ? "eos" : "limit")
                .put("truncated", false)
                .put("tokens_predicted", ended.finish().completionTokens())
                .put("tokens_evaluated", answer().promptTokens());
        root.putObject("timings")
                .put("prompt_n", answer().promptTokens())
                .put("predicted_n", ended.finish().completionTokens());
        return root;
    }
}
