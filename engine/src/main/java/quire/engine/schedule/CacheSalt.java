package quire.engine.schedule;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import org.jspecify.annotations.Nullable;

/**
 * A request's cache salt in 128 bits, so that the index's memory does not depend on its length. Two different salts with
 * the same bits would need a collision of SHA-256; their requests would share pages, and their answers would still be
 * right.
 */
record CacheSalt(long high, long low) {
    /** Of requests without a salt, which share pages with each other. */
    static final CacheSalt NONE = new CacheSalt(0, 0);

    /** The salt of a text; {@link #NONE} for null. */
    static CacheSalt of(@Nullable String text) {
        if (text == null) {
            return NONE;
        }
        try {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            ByteBuffer bytes = ByteBuffer.wrap(digest.digest(text.getBytes(StandardCharsets.UTF_8)));
            return new CacheSalt(bytes.getLong(), bytes.getLong());
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java platform has SHA-256", e);
        }
    }
}
