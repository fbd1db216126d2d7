package quire.server.openai;

import quire.server.api.Json;
import quire.server.http.ErrorFormat;
import quire.server.http.HttpException;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Errors in OpenAI's shape: {@code {"error": {"message", "type", "param", "code"}}}. */
public final class OpenAiErrors implements ErrorFormat {
    private final String tooLong;

    /** OpenAI's errors. */
    public OpenAiErrors() {
        this("");
    }

    /** @param tooLong what stands before the message if the input is too long */
    private OpenAiErrors(String tooLong) {
        this.tooLong = tooLong;
    }

    /** The errors of {@code /v1/responses}. Clients find out by other words that a conversation is too long. */
    public static OpenAiErrors ofResponses() {
        return new OpenAiErrors("The input exceeds the context window of this model. ");
    }

    @Override
    public byte[] body(HttpException e) {
        return Json.bytes(json(e, e.excess() == null ? "" : tooLong));
    }

    static ObjectNode json(HttpException e) {
        return json(e, "");
    }

    private static ObjectNode json(HttpException e, String before) {
        ObjectNode root = JsonNodeFactory.instance.objectNode();
        root.putObject("error")
                .put("message", before + e.getMessage())
                .put("type", HttpException.MODEL_ERROR.equals(e.code()) ? e.code() : type(e.status()))
                .put("param", e.parameter())
                .put("code", e.code());
        return root;
    }

    /** Some clients try again after a {@code server_error}, also one within a stream, so what will not go away is none. */
    private static String type(int status) {
        return switch (status) {
            case 429 -> "rate_limit_error";
            case 500 -> "server_error";
            case 503 -> "service_unavailable_error";
            default -> "invalid_request_error";
        };
    }
}
