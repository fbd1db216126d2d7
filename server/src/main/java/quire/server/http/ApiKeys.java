package quire.server.http;

import io.vertx.core.http.HttpServerRequest;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.List;

/** The keys of which clients must send one. */
final class ApiKeys {
    private final List<byte[]> digests;

    /** @param keys empty if none is asked for */
    ApiKeys(List<String> keys) {
        digests = keys.stream().map(ApiKeys::digest).toList();
    }

    /** @throws HttpException if the request has none of the keys */
    void check(HttpServerRequest request) {
        if (digests.isEmpty()) {
            return;
        }
        String header = request.getHeader("Authorization");
        boolean bearer = header != null && header.regionMatches(true, 0, "Bearer ", 0, 7);
        String sent = bearer && header != null ? header.substring(7) : request.getHeader("X-Api-Key");
        if (sent == null || !isKnown(sent.strip())) {
            throw HttpException.refused(
                    401,
                    "invalid_api_key",
                    (sent != null ? "Incorrect API key." : "No API key.")
                            + " Send it as 'Authorization: Bearer <key>' or 'X-Api-Key: <key>'.");
        }
    }

    /** Whether this is one of the keys, in a time that says nothing about them: all are compared, by their digests. */
    private boolean isKnown(String key) {
        byte[] sent = digest(key);
        boolean known = false;
        for (byte[] digest : digests) {
            known |= MessageDigest.isEqual(digest, sent);
        }
        return known;
    }

    private static byte[] digest(String key) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(key.getBytes(StandardCharsets.UTF_8));
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java has SHA-256", e);
        }
    }
}
