package quire.server.anthropic;

import quire.server.api.Json;
import quire.server.http.ErrorFormat;
import quire.server.http.HttpException;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Errors in Anthropic's shape: {@code {"type": "error", "error": {"type", "message"}}}. */
public final class MessagesErrors implements ErrorFormat {
    /** Anthropic's errors. */
    public MessagesErrors() {}

    @Override
    public byte[] body(HttpException e) {
        return Json.bytes(json(e));
    }

    static ObjectNode json(HttpException e) {
        ObjectNode root = JsonNodeFactory.instance.objectNode().put("type", "error");
        root.putObject("error").put("type", type(e.status())).put("message", message(e));
        return root;
    }

    /** Clients of this API find out by these words that a conversation is too long. */
    private static String message(HttpException e) {
        HttpException.Excess excess = e.excess();
        return excess == null
                ? e.getMessage()
                : "prompt is too long: " + excess.tokens() + " tokens > " + excess.most() + " maximum. "
                        + e.getMessage();
    }

    private static String type(int status) {
        return switch (status) {
            case 401 -> "authentication_error";
            case 403 -> "permission_error";
            case 404 -> "not_found_error";
            case 413 -> "request_too_large";
            case 429 -> "rate_limit_error";
            case 500 -> "api_error";
            case 503 -> "overloaded_error";
            default -> "invalid_request_error";
        };
    }
}
