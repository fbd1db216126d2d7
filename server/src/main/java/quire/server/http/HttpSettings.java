package quire.server.http;

import java.time.Duration;
import java.util.List;

/**
 * Where to listen, and what clients may use.
 *
 * @param host address to bind
 * @param port port to bind; 0 for any free one
 * @param apiKeys bearer tokens of which clients must send one; empty if they need none
 * @param allowedHosts further names of the server; see {@link WebAccess}
 * @param corsOrigins origins of the web pages that may use the server; see {@link WebAccess}
 * @param requestsLogged whether each request is logged in one line; see {@link RequestLog}
 * @param maxBodyBytes largest request body
 * @param readTimeout time for a request's head, and again for its body; also how long an idle connection stays open
 * @param writeTimeout time for one write of at most about 64 KiB
 * @param maxConnections connections open at once
 */
public record HttpSettings(
        String host,
        int port,
        List<String> apiKeys,
        List<String> allowedHosts,
        List<String> corsOrigins,
        boolean requestsLogged,
        int maxBodyBytes,
        Duration readTimeout,
        Duration writeTimeout,
        int maxConnections) {}
