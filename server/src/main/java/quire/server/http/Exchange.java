package quire.server.http;

import java.io.IOException;
import java.io.InputStream;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * One request and its response. It came over a socket, or from this process ({@link LocalExchange}).
 *
 * <p>One that came over a socket stands between the event loop, which owns the socket, and the virtual thread that answers:
 *
 * <pre>
 *   virtual thread                                   event loop
 *   events(a) ── does not wait ────────────────────▶ write a ─▶ socket
 *   events(b) ── waits until a has left ───────────▶ write b ─▶ socket    (over the write timeout: closes it)
 *                                                    nothing written for a while: a sign of life ─▶ socket
 *   onDeparture(cancel)                              connection closed ─▶ cancel.run()
 * </pre>
 *
 * <p>At most one write is in progress. During a write, the engine's tokens wait in their stream, and the next write
 * contains all of them. So a slow client gets fewer and larger writes, and uses no more memory than its own answer.
 */
public sealed interface Exchange permits SocketExchange, LocalExchange {
    /** The request's id, for the client and the log. */
    String id();

    /** Whether the server shuts down and accepts no new requests. */
    boolean draining();

    /** Whether nobody waits for the answer, so that it is computed only while there is nothing else to compute. */
    boolean background();

    /** The first path of the request's route; empty if it has none. */
    String route();

    /** The part of the request's path that matches the {@code *} of its route, decoded; empty if the route has none. */
    String pathRest();

    /**
     * A parameter of the query of the request's address, decoded; null if it has none of this name.
     *
     * @throws HttpException 400 if the query cannot be decoded
     */
    @Nullable
    String query(String name);

    /** A header of the request; null if it has none of this name. */
    @Nullable
    String header(String name);

    /** The network address that counts as one client: an IPv4 address, or the first 64 bits of an IPv6 address. */
    String client();

    /** The API key that the client has sent; null if none is asked for. */
    @Nullable
    ApiKey key();

    /** Whose requests and answers the client may see: the tenant of its API key; empty if none is asked for. */
    String owner();

    /** Bytes of the request's body; 0 if it has none or it was released. */
    int bodyBytes();

    /** The request's body; empty if it has none or it was released. */
    byte[] body();

    /** Frees the memory of the body. May be called any number of times. */
    void releaseBody();

    /** Whether the client has closed its connection. */
    boolean gone();

    /**
     * Sets the action for the moment when the client closes its connection or the server stops. It may be called on any
     * thread and more than once.
     */
    void onDeparture(Runnable action);

    /**
     * Counts the tokens for the request log and for the limits of the API key; may be called any number of times.
     *
     * @param prompt tokens of the prompt
     * @param completion tokens of the answer until now
     */
    void countTokens(int prompt, int completion);

    /** Tokens of the answer that were counted last; −1 if none were. */
    int completionTokens();

    /** Nanoseconds from the request's head to the first token that was counted; −1 if there was none. */
    long firstTokenNanos();

    /** Nanoseconds since the request's head came. */
    long ageNanos();

    /** Sends a whole response. */
    void send(Response whole) throws ClientGoneException;

    /**
     * Sends a whole response whose body is read while it is sent, so that it need not fit into memory.
     *
     * @param length bytes of the body
     * @param body has at least as many; the caller closes it
     * @throws IOException if the body cannot be read, or is shorter; the client then sees an incomplete response
     */
    void send(String contentType, Map<String, String> headers, long length, InputStream body)
            throws ClientGoneException, IOException;

    /**
     * Begins a stream of events.
     *
     * @param contentType how the events are written
     * @param events the first ones; may be empty
     * @param signOfLife events that the event loop sends whenever nothing was sent for a while ({@link
     *     HttpSettings#heartbeat})
     */
    void begin(String contentType, byte[] events, byte[] signOfLife) throws ClientGoneException;

    /** Sends events after the previous write has completed. */
    void events(byte[] events) throws ClientGoneException;

    /** Sends the last events, ends the stream and waits until everything is written. */
    void end(byte[] events) throws ClientGoneException;
}
