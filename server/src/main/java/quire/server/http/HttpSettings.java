package quire.server.http;

import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * Where to listen, and what clients may use.
 *
 * @param host address to bind
 * @param port port to bind; 0 for any free one
 * @param apiKey bearer token that clients must send; null for none
 * @param maxConnections connections open at once
 * @param maxBodyBytes largest request body
 * @param bodyGrace how long a body may pause
 * @param minBodyRate bytes a second that a body must arrive with, apart from pauses
 * @param readTimeout time for a request's head; also how long an idle connection stays open
 * @param writeTimeout time for one write of at most about 64 KiB
 */
public record HttpSettings(
        String host,
        int port,
        @Nullable String apiKey,
        int maxConnections,
        int maxBodyBytes,
        Duration bodyGrace,
        long minBodyRate,
        Duration readTimeout,
        Duration writeTimeout) {}
