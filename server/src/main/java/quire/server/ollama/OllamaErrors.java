package quire.server.ollama;

import quire.server.api.Json;
import quire.server.http.ErrorFormat;
import quire.server.http.HttpException;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Errors in Ollama's shape: {@code {"error": "…"}}. */
public final class OllamaErrors implements ErrorFormat {
    /** Ollama's errors. */
    public OllamaErrors() {}

    @Override
    public byte[] body(HttpException e) {
        return Json.bytes(json(e));
    }

    static ObjectNode json(HttpException e) {
        return JsonNodeFactory.instance.objectNode().put("error", message(e));
    }

    /** Clients of this API find out by these words that a conversation is too long. */
    private static String message(HttpException e) {
        HttpException.Excess excess = e.excess();
        return excess == null
                ? e.getMessage()
                : "prompt too long; exceeded max context length by " + (excess.tokens() - excess.most()) + " tokens. "
                        + e.getMessage();
    }
}
