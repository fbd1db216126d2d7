package quire.server.http;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Where to listen, and what clients may use.
 *
 * @param host address to bind
 * @param port port to bind; 0 for any free one
 * @param unixSocket file of the unix socket to listen on instead of host and port; null for none
 * @param certificate PEM file of the certificate with which the server speaks TLS; null for plain HTTP
 * @param key PEM file of the certificate's private key; null for plain HTTP
 * @param apiKeys bearer tokens of which clients must send one; empty if they need none
 * @param allowedHosts further names of the server; see {@link WebAccess}
 * @param corsOrigins origins of the web pages that may use the server; see {@link WebAccess}
 * @param requestsLogged whether each request is logged in one line; see {@link RequestLog}
 * @param maxConnections connections open at once
 * @param maxBodyBytes largest request body
 * @param maxFileBytes largest file of a form
 * @param bodyGrace how long a body may pause
 * @param minBodyRate bytes a second that a body must arrive with, apart from pauses
 * @param readTimeout time for a request's head; also how long an idle connection stays open
 * @param writeTimeout time for one write of at most about 64 KiB
 * @param heartbeat time without a write after which a stream gets a sign of life; zero for none
 */
public record HttpSettings(
        String host,
        int port,
        @Nullable Path unixSocket,
        @Nullable Path certificate,
        @Nullable Path key,
        List<String> apiKeys,
        List<String> allowedHosts,
        List<String> corsOrigins,
        boolean requestsLogged,
        int maxConnections,
        int maxBodyBytes,
        long maxFileBytes,
        Duration bodyGrace,
        long minBodyRate,
        Duration readTimeout,
        Duration writeTimeout,
        Duration heartbeat) {}
