package quire.server.http;

import io.vertx.core.http.HttpServerRequest;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The keys of which clients must send one. Thread-safe. */
public final class ApiKeys {
    private volatile List<ApiKey> keys = List.of();

    /**
     * Keys as {@link #set} takes them.
     *
     * @throws IllegalArgumentException as {@link #set} does
     */
    public ApiKeys(List<String> lines) {
        set(lines);
    }

    /**
     * Replaces the keys. A key that was there before keeps what it has used of its limits.
     *
     * @param lines each a key and its options, as {@link ApiKey} shows; empty if no key is asked for
     * @throws IllegalArgumentException saying which key is wrong and why; the keys stay as they were
     */
    void set(List<String> lines) {
        long now = System.nanoTime();
        List<ApiKey> all = new ArrayList<>();
        for (int i = 0; i < lines.size(); i++) {
            try {
                ApiKey key = ApiKey.parse(lines.get(i), now);
                keys.forEach(key::continueFrom);
                all.add(key);
            } catch (IllegalArgumentException e) {
                String which = lines.size() == 1 ? "" : "key " + (i + 1) + ": ";
                throw new IllegalArgumentException(which + e.getMessage(), e);
            }
        }
        keys = List.copyOf(all);
    }

    /**
     * The key of a request; null if none is asked for.
     *
     * @throws HttpException if the request has none of the keys
     */
    @Nullable
    ApiKey check(HttpServerRequest request) {
        if (keys.isEmpty()) {
            return null;
        }
        String header = request.getHeader("Authorization");
        boolean bearer = header != null && header.regionMatches(true, 0, "Bearer ", 0, 7);
        String sent = bearer && header != null ? header.substring(7) : request.getHeader("X-Api-Key");
        ApiKey key = sent == null ? null : find(sent.strip());
        if (key == null) {
            throw HttpException.refused(
                    401,
                    "invalid_api_key",
                    (sent != null ? "Incorrect API key." : "No API key.")
                            + " Send it as 'Authorization: Bearer <key>' or 'X-Api-Key: <key>'.");
        }
        return key;
    }

    /** Finds a key in a time that says nothing about the keys: all are compared, by their digests. */
    private @Nullable ApiKey find(String sent) {
        byte[] digest = ApiKey.digest(sent);
        ApiKey found = null;
        for (ApiKey key : keys) {
            if (key.hasDigest(digest)) {
                found = key;
            }
        }
        return found;
    }
}
