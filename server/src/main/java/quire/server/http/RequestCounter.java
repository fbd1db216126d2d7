package quire.server.http;

import org.jspecify.annotations.Nullable;

/** Counts requests and their responses. Must be fast and must not block. */
public interface RequestCounter {
    /** A response begins. Called on the event loop. */
    void onResponse(int status);

    /**
     * A request ended whose response began, whether the client got all of it or not. Any thread, once for each request.
     *
     * @param route of the request's path; null if there is none
     * @param method of the request, as the client spelled it
     * @param status of the response, 100 to 599
     * @param nanos from the head of the request to the end of the response
     */
    void onEnd(@Nullable Route route, String method, int status, long nanos);
}
