package quire.server.openai;

import quire.server.api.Json;
import quire.server.http.ErrorFormat;
import quire.server.http.HttpException;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Errors in OpenAI's shape: {@code {"error": {"message", "type", "param", "code"}}}. */
public final class OpenAiErrors implements ErrorFormat {
    /** OpenAI's errors. */
    public OpenAiErrors() {}

    @Override
    public byte[] body(HttpException e) {
        return Json.bytes(json(e));
    }

    static ObjectNode json(HttpException e) {
        ObjectNode root = JsonNodeFactory.instance.objectNode();
        root.putObject("error")
                .put("message", e.getMessage())
                .put("type", type(e.status()))
                .put("param", e.parameter())
                .put("code", e.code());
        return root;
    }

    private static String type(int status) {
        return switch (status) {
            case 429 -> "rate_limit_error";
            case 500 -> "server_error";
            case 503 -> "service_unavailable_error";
            default -> "invalid_request_error";
        };
    }
}
