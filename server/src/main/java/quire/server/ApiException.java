package quire.server;

import org.jspecify.annotations.Nullable;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** An answer that is an error, in OpenAI's shape: {@code {"error": {"message", "type", "param", "code"}}}. */
final class ApiException extends RuntimeException {
    private static final long serialVersionUID = 1;

    private final int status;
    private final String type;
    private final @Nullable String param;
    private final @Nullable String code;
    private final int retryAfterSeconds;

    private ApiException(
            int status,
            String message,
            String type,
            @Nullable String param,
            @Nullable String code,
            int retryAfterSeconds) {
        super(message, null, false, false);
        this.status = status;
        this.type = type;
        this.param = param;
        this.code = code;
        this.retryAfterSeconds = retryAfterSeconds;
    }

    /** A 400: the request's parameter {@code param} is at fault. */
    static ApiException invalid(@Nullable String param, @Nullable String code, String message) {
        return new ApiException(400, message, "invalid_request_error", param, code, 0);
    }

    /** A 400: the parameter is known but not offered here. */
    static ApiException unsupported(String param, String message) {
        return invalid(param, "unsupported_parameter", message);
    }

    /** A 400: prompt and answer do not fit into the context. */
    static ApiException contextLength(String param, String message) {
        return invalid(param, "context_length_exceeded", message);
    }

    /** Another refusal that the client can mend: 401, 404, 405, 413 … */
    static ApiException refused(int status, @Nullable String code, String message) {
        return new ApiException(status, message, "invalid_request_error", null, code, 0);
    }

    /** A 404 for a model that is not served. */
    static ApiException unknownModel(String asked, String served) {
        return new ApiException(
                404,
                "The model '" + asked + "' does not exist here; this server has '" + served + "'.",
                "invalid_request_error",
                "model",
                "model_not_found",
                0);
    }

    /** A 429: too much is waiting already. */
    static ApiException overloaded(String message, int retryAfterSeconds) {
        return new ApiException(429, message, "rate_limit_error", null, "rate_limit_exceeded", retryAfterSeconds);
    }

    /** A 503: the server is on its way out or broken. */
    static ApiException unavailable(String message) {
        return new ApiException(503, message, "service_unavailable_error", null, "service_unavailable", 5);
    }

    /** A 500: our bug, findable in the log by the request's id. */
    static ApiException internal(String requestId) {
        return new ApiException(
                500,
                "The server failed on this request; its log tells more under " + requestId + ".",
                "server_error",
                null,
                "internal_error",
                0);
    }

    int status() {
        return status;
    }

    /** Seconds for {@code Retry-After}; 0 for no such header. */
    int retryAfterSeconds() {
        return retryAfterSeconds;
    }

    /** The body. */
    ObjectNode toJson() {
        ObjectNode root = JsonNodeFactory.instance.objectNode();
        root.putObject("error")
                .put("message", getMessage())
                .put("type", type)
                .put("param", param)
                .put("code", code);
        return root;
    }
}
