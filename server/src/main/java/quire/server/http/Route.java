package quire.server.http;

import java.util.List;

/**
 * Which requests go to a handler.
 *
 * @param method {@code GET} (which includes {@code HEAD}) or {@code POST}, which takes JSON
 * @param paths each complete, or a prefix before {@code *} at its end
 * @param open whether it is answered without the API key
 * @param errors how its errors are written
 * @param handler what answers
 */
public record Route(String method, List<String> paths, boolean open, ErrorFormat errors, Handler handler) {
    /** The methods for {@code Allow}. */
    String allowed() {
        return method.equals("GET") ? "GET, HEAD, OPTIONS" : method + ", OPTIONS";
    }

    /** Whether requests of this method are for this route. */
    boolean takes(String asked) {
        return asked.equals(method) || (method.equals("GET") && asked.equals("HEAD"));
    }
}
