package quire.server.batch;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/**
 * A set of texts, of each of which it keeps 64 bits of the SHA-256: 16 to 32 bytes a text. Two texts are taken for one if
 * these bits are equal, which for ten million texts happens with a probability of 3 in a million. Several threads may use
 * it.
 */
public final class IdSet {
    private static final int FIRST_SLOTS = 1 << 10;
    private static final long EMPTY = 0;

    // Guarded by this.
    private final MessageDigest digest;
    private long[] slots = new long[FIRST_SLOTS]; // open addressing, at most half full; the length is a power of two
    private int size;

    /** An empty set. */
    public IdSet() {
        try {
            digest = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e); // every Java has it
        }
    }

    /** Number of texts. */
    public synchronized int size() {
        return size;
    }

    /** Adds a text; false if it is there already. */
    public synchronized boolean add(String text) {
        long hash = hash(text);
        int slot = slot(hash);
        if (slots[slot] == hash) {
            return false;
        }
        slots[slot] = hash;
        size++;
        if (size > slots.length / 2) {
            grow();
        }
        return true;
    }

    /** Whether a text is there. */
    public synchronized boolean contains(String text) {
        long hash = hash(text);
        return slots[slot(hash)] == hash;
    }

    private void grow() {
        long[] old = slots;
        slots = new long[old.length * 2];
        for (long hash : old) {
            if (hash != EMPTY) {
                slots[slot(hash)] = hash;
            }
        }
    }

    /** The slot that has the hash, or the free one for it. */
    private int slot(long hash) {
        int slot = (int) hash & (slots.length - 1);
        while (slots[slot] != EMPTY && slots[slot] != hash) {
            slot = (slot + 1) & (slots.length - 1);
        }
        return slot;
    }

    private long hash(String text) {
        byte[] bytes = digest.digest(text.getBytes(StandardCharsets.UTF_8));
        long hash = 0;
        for (int i = 0; i < Long.BYTES; i++) {
            hash = (hash << Byte.SIZE) | (bytes[i] & 0xFF);
        }
        return hash == EMPTY ? 1 : hash;
    }
}
