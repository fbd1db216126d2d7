package quire.server.http;

import java.util.List;

/**
 * The requests that a handler answers.
 *
 * @param method {@code GET} (which includes {@code HEAD}), {@code POST}, which takes JSON or a form with a file, or {@code DELETE}
 * @param paths each a complete path, or one in which a {@code *} stands for a part of it
 * @param open whether it is answered without the API key
 * @param errors writes its errors
 * @param gate runs on the event loop when a request has arrived, and throws an {@link HttpException} to refuse it before a
 *     thread has work with it; must not block
 * @param handler answers the requests
 */
public record Route(String method, List<String> paths, boolean open, ErrorFormat errors, Gate gate, Handler handler) {
    /** Refuses requests before they are read. */
    @FunctionalInterface
    public interface Gate {
        /**
         * Checks a request.
         *
         * @throws HttpException to refuse it
         */
        void check(Exchange exchange);
    }

    /** A route without a gate. */
    public Route(String method, List<String> paths, boolean open, ErrorFormat errors, Handler handler) {
        this(method, paths, open, errors, exchange -> {}, handler);
    }

    /** The same route with errors in another form. */
    public Route withErrors(ErrorFormat value) {
        return new Route(method, paths, open, value, gate, handler);
    }

    /** The methods for {@code Allow}, without {@code OPTIONS}. */
    String methods() {
        return method.equals("GET") ? "GET, HEAD" : method;
    }

    /** Whether requests of this method are for this route. */
    boolean takes(String asked) {
        return asked.equals(method) || (method.equals("GET") && asked.equals("HEAD"));
    }
}
