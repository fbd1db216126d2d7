package quire.server.http;

import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * Where to listen, and what clients may use.
 *
 * @param host address to bind
 * @param port port to bind; 0 for any free one
 * @param apiKey bearer token that clients must send; null for none
 * @param maxBodyBytes largest request body
 * @param readTimeout time for a request's head, and again for its body; also how long an idle connection stays open
 * @param writeTimeout time for one write of at most about 64 KiB
 * @param maxConnections connections open at once
 */
public record HttpSettings(
        String host,
        int port,
        @Nullable String apiKey,
        int maxBodyBytes,
        Duration readTimeout,
        Duration writeTimeout,
        int maxConnections) {}
