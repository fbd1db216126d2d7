package quire.server.http;

import io.vertx.core.http.HttpServerRequest;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import org.jspecify.annotations.Nullable;

/** The key that clients must send. */
final class ApiKey {
    private final byte @Nullable [] digest;

    /** @param key null if none is asked for */
    ApiKey(@Nullable String key) {
        digest = key == null ? null : digest(key);
    }

    /** @throws HttpException if the request does not have the key */
    void check(HttpServerRequest request) {
        if (digest == null) {
            return;
        }
        String header = request.getHeader("Authorization");
        boolean bearer = header != null && header.regionMatches(true, 0, "Bearer ", 0, 7);
        // All digests have the same length, so the time of the comparison does not depend on the key.
        if (header == null
                || !bearer
                || !MessageDigest.isEqual(digest, digest(header.substring(7).strip()))) {
            throw HttpException.refused(
                    401,
                    "invalid_api_key",
                    (bearer ? "Incorrect API key." : "No API key.") + " Send it as 'Authorization: Bearer <key>'.");
        }
    }

    private static byte[] digest(String key) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(key.getBytes(StandardCharsets.UTF_8));
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java has SHA-256", e);
        }
    }
}
