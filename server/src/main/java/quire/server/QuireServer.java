package quire.server;

import quire.engine.Engine;

/** The OpenAI-compatible HTTP server in front of one {@link Engine}. */
@SuppressWarnings({"DoNotCallSuggester", "UnusedVariable"})
public final class QuireServer implements AutoCloseable {
    private QuireServer() {}

    /**
     * Starts to listen.
     *
     * @param metrics the listener that the engine was built with
     */
    public static QuireServer start(Engine engine, ServerConfig config, ServerMetrics metrics) {
        throw new UnsupportedOperationException();
    }

    /** The port that is listened on, for when 0 was asked for. */
    public int port() {
        throw new UnsupportedOperationException();
    }

    /** Refuses new requests, lets those under way finish within the configured patience, then stops listening. */
    @Override
    public void close() {
        throw new UnsupportedOperationException();
    }
}
