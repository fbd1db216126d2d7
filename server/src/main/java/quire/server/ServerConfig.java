package quire.server;

import java.time.Duration;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * How to listen, and what clients may cost.
 *
 * @param host address to bind
 * @param port port to bind; 0 for any free one
 * @param apiKey bearer token that clients must send; null for none
 * @param maxBodyBytes largest request body taken; at least 1. Bodies of all clients together take eight times this
 * @param drainPatience how long requests under way may go on at shutdown
 * @param modelAliases further names, beside the engine's own, under which the model may be asked for
 * @param readPatience how long a client may take to send a request's head, and then its body; also how long an idle
 *     connection is kept
 * @param writePatience how long a client may leave one write of at most some 64 KiB unread before it is dropped
 * @param maxConnections connections open at once; further ones are closed at once
 */
public record ServerConfig(
        String host,
        int port,
        @Nullable String apiKey,
        int maxBodyBytes,
        Duration drainPatience,
        List<String> modelAliases,
        Duration readPatience,
        Duration writePatience,
        int maxConnections) {

    /** Checks the ranges. */
    public ServerConfig {
        modelAliases = List.copyOf(modelAliases);
        if (port < 0 || port > 65_535) {
            throw new IllegalArgumentException("port " + port + ": must be 0 to 65535");
        }
        if (apiKey != null && apiKey.isEmpty()) {
            throw new IllegalArgumentException("the API key is empty: give one, or none at all");
        }
        if (maxBodyBytes < 1 || maxConnections < 1) {
            throw new IllegalArgumentException("limits must be at least 1: " + maxBodyBytes + " bytes of a body, "
                    + maxConnections + " connections");
        }
        if (drainPatience.isNegative() || !readPatience.isPositive() || !writePatience.isPositive()) {
            throw new IllegalArgumentException("patience must be positive: drain " + drainPatience + ", read "
                    + readPatience + ", write " + writePatience);
        }
    }

    /** The given limits, with no aliases, 60 s to read and to write, 4096 connections. */
    public ServerConfig(String host, int port, @Nullable String apiKey, int maxBodyBytes, Duration drainPatience) {
        this(
                host,
                port,
                apiKey,
                maxBodyBytes,
                drainPatience,
                List.of(),
                Duration.ofSeconds(60),
                Duration.ofSeconds(60),
                4096);
    }

    /** 127.0.0.1:8000, no key, 8 MiB bodies, 30 s patience. */
    public static ServerConfig defaults() {
        return new ServerConfig("127.0.0.1", 8000, null, 8 << 20, Duration.ofSeconds(30));
    }
}
