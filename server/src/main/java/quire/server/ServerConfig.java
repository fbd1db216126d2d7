package quire.server;

import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * How to listen.
 *
 * @param host address to bind
 * @param port port to bind; 0 for any free one
 * @param apiKey bearer token that clients must send; null for none
 * @param maxBodyBytes largest request body taken
 * @param drainPatience how long requests under way may go on at shutdown
 */
public record ServerConfig(String host, int port, @Nullable String apiKey, int maxBodyBytes, Duration drainPatience) {
    /** 127.0.0.1:8000, no key, 8 MiB bodies, 30 s patience. */
    public static ServerConfig defaults() {
        return new ServerConfig("127.0.0.1", 8000, null, 8 << 20, Duration.ofSeconds(30));
    }
}
