package quire.server.http;

import java.io.Serializable;
import java.util.Map;
import java.util.function.UnaryOperator;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/** An error that is sent as the response. It contains the cause; the API's {@link ErrorFormat} writes it. */
public final class HttpException extends RuntimeException {
    /** Clients ignore a {@code Retry-After} of a minute or more, and come back at once or never. */
    private static final int MAX_RETRY_SECONDS = 59;

    private static final long serialVersionUID = 1;

    private static final int UNAVAILABLE_RETRY_SECONDS = 5;

    /** The code of {@link #brokenModel}. */
    public static final String MODEL_ERROR = "model_error";

    /** A parameter's path within a message. */
    private static final Pattern QUOTED_PATH = Pattern.compile("'([a-z_][a-zA-Z0-9_.\\[\\]]*)'");

    private final int status;
    private final String message;
    private final @Nullable String parameter;
    private final @Nullable String code;
    private final int retryAfterSeconds;
    private final @Nullable Excess excess;

    /**
     * By how much an input is too long for the model's context.
     *
     * @param tokens of the input, or as many as are certain
     * @param most tokens that the input may have
     */
    public record Excess(long tokens, int most) implements Serializable {}

    private HttpException(
            int status,
            String message,
            @Nullable String parameter,
            @Nullable String code,
            int retryAfterSeconds,
            @Nullable Excess excess) {
        super(message, null, false, false);
        this.status = status;
        this.message = message;
        this.parameter = parameter;
        this.code = code;
        this.retryAfterSeconds = retryAfterSeconds;
        this.excess = excess;
    }

    private HttpException(
            int status, String message, @Nullable String parameter, @Nullable String code, int retryAfterSeconds) {
        this(status, message, parameter, code, retryAfterSeconds, null);
    }

    /** A 400: the request's parameter at this path is wrong; null for the request as a whole. */
    public static HttpException invalid(@Nullable String parameter, @Nullable String code, String message) {
        return new HttpException(400, message, parameter, code, 0);
    }

    /**
     * A 400: the context is too small.
     *
     * @param excess by how much the input alone is too long; null if only input and answer together are
     */
    public static HttpException contextLength(String parameter, String message, @Nullable Excess excess) {
        return new HttpException(400, message, parameter, "context_length_exceeded", 0, excess);
    }

    /** A 400: the parameter or its value is not supported. */
    public static HttpException unsupported(String parameter, String message) {
        return invalid(parameter, "unsupported_parameter", message);
    }

    /** A 404: what the parameter names does not exist. */
    public static HttpException notFound(@Nullable String parameter, String code, String message) {
        return new HttpException(404, message, parameter, code, 0);
    }

    /** Another error of the client: 401, 404, 405, 413 … */
    public static HttpException refused(int status, @Nullable String code, String message) {
        return new HttpException(status, message, null, code, 0);
    }

    /**
     * A 429: too many requests wait already.
     *
     * @param retryAfterSeconds when to try again, in the message's words too; the header says at most
     *     {@link #MAX_RETRY_SECONDS}
     */
    public static HttpException overloaded(String message, int retryAfterSeconds) {
        return new HttpException(429, message, null, "rate_limit_exceeded", retryAfterSeconds);
    }

    /** A 503: the server is shutting down or has failed. */
    public static HttpException unavailable(String message) {
        return unavailable(message, UNAVAILABLE_RETRY_SECONDS);
    }

    /**
     * A 503: the server cannot answer yet.
     *
     * @param retryAfterSeconds estimated seconds until it can; the header says at most {@link #MAX_RETRY_SECONDS}
     */
    public static HttpException unavailable(String message, int retryAfterSeconds) {
        return new HttpException(503, message, null, "service_unavailable", retryAfterSeconds);
    }

    /** The value of the header for a number of seconds. */
    public static String retryAfter(int seconds) {
        return Integer.toString(Math.clamp(seconds, 1, MAX_RETRY_SECONDS));
    }

    /** A 500: a bug in Quire. The log contains the details with the request's id. */
    public static HttpException internal(String requestId) {
        return new HttpException(
                500,
                "The server failed on this request. Its log contains the details with the id " + requestId + ".",
                null,
                "internal_error",
                0);
    }

    /**
     * A 500: the model computed numbers that are not finite. Another request may still succeed, but the same one would most
     * probably fail again, so clients are told not to send it again.
     */
    public static HttpException brokenModel(String model) {
        return new HttpException(
                500,
                "The model '" + model
                        + "' computed numbers that are not finite: its weights or its file are damaged. Check the"
                        + " file, or download it again.",
                null,
                MODEL_ERROR,
                0);
    }

    /** A 400: an answer could not go on as its constraint requires. The same request would end so again. */
    public static HttpException constraint(String reason) {
        return new HttpException(
                400,
                "The answer was ended: " + reason
                        + ". Use a simpler schema or expression, or ask for a shorter answer.",
                null,
                "constraint_error",
                0);
    }

    /**
     * The same error with other names of parameters.
     *
     * @param names converts a parameter's path; returns what is no path as it is
     */
    public HttpException renamed(UnaryOperator<String> names) {
        return new HttpException(
                status,
                QUOTED_PATH
                        .matcher(message)
                        .replaceAll(path -> Matcher.quoteReplacement("'" + names.apply(path.group(1)) + "'")),
                parameter == null ? null : names.apply(parameter),
                code,
                retryAfterSeconds,
                excess);
    }

    /** The HTTP status. */
    public int status() {
        return status;
    }

    /** What is wrong and how to mend it. */
    @Override
    public String getMessage() {
        return message;
    }

    /** The path of the request's parameter that is wrong; null if none is. */
    public @Nullable String parameter() {
        return parameter;
    }

    /** A short name of the cause for programs, such as {@code invalid_value}; null if there is none. */
    public @Nullable String code() {
        return code;
    }

    /** By how much the input is too long; null if that is not the error. */
    public @Nullable Excess excess() {
        return excess;
    }

    /** Headers that belong to the status. */
    Map<String, String> headers() {
        return switch (status) {
            case 401 -> Map.of("WWW-Authenticate", "Bearer");
            case 429 -> Map.of("Retry-After", retryAfter(retryAfterSeconds));
            case 500 -> MODEL_ERROR.equals(code) ? Map.of("X-Should-Retry", "false") : Map.of();
            case 503 -> Map.of("Retry-After", retryAfter(retryAfterSeconds), "Connection", "close");
            default -> Map.of();
        };
    }
}
