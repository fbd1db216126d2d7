package quire.server;

import quire.engine.EngineListener;

/** Prometheus metrics: hears the engine, and is scraped at {@code /metrics}. */
public final class ServerMetrics implements EngineListener {
    /** Empty metrics. */
    public ServerMetrics() {}
}
