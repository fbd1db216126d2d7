package quire.server.http;

import java.util.Map;

/** A whole response: its status, its body, and headers beside those that every response has. */
public final class Response {
    private final int status;
    private final String contentType;
    private final byte[] body;
    private final Map<String, String> headers;

    private Response(int status, String contentType, byte[] body, Map<String, String> headers) {
        this.status = status;
        this.contentType = contentType;
        this.body = body;
        this.headers = headers;
    }

    /** A response with a body; the caller does not change {@code body} any more. */
    public static Response of(int status, String contentType, byte[] body) {
        return new Response(status, contentType, body, Map.of());
    }

    /** A response of JSON. */
    public static Response json(int status, byte[] body) {
        return of(status, "application/json", body);
    }

    /** An error as {@code format} writes it, with the headers that belong to its status. */
    static Response error(HttpException e, ErrorFormat format) {
        return json(e.status(), format.body(e)).withHeaders(e.headers());
    }

    /** This response with other headers. */
    public Response withHeaders(Map<String, String> value) {
        return new Response(status, contentType, body, Map.copyOf(value));
    }

    /** The status. */
    public int status() {
        return status;
    }

    String contentType() {
        return contentType;
    }

    /** The body; not to be changed. */
    public byte[] body() {
        return body;
    }

    /** Headers beside those that every response has. */
    public Map<String, String> headers() {
        return headers;
    }
}
