package quire.server.responses;

import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The last responses and the conversations that led to them, in memory. The response that was unused for longest leaves
 * when there are too many bytes. Each owner finds its own ones only. Thread-safe.
 */
final class StoredResponses {
    /** Bytes of a response beside its texts. */
    private static final int OVERHEAD_BYTES = 1024;

    /**
     * A response.
     *
     * @param document the response as JSON
     * @param conversation the messages of a chat, with the answer, as JSON
     */
    @SuppressWarnings("ArrayRecordComponent") // not compared
    record Stored(byte[] document, byte[] conversation) {
        long bytes() {
            return OVERHEAD_BYTES + (long) document.length + conversation.length;
        }
    }

    private final long maxBytes;
    private final LinkedHashMap<String, Stored> idToResponse = new LinkedHashMap<>(16, 0.75f, true);
    private final Map<String, String> itemToResponse = new HashMap<>();
    private final Map<String, List<String>> idToItems = new HashMap<>();
    private long bytes;

    /** @param maxBytes of all responses together */
    StoredResponses(long maxBytes) {
        this.maxBytes = maxBytes;
    }

    /** The responses of one owner. */
    final class Owned {
        private final String prefix;

        private Owned(String owner) {
            prefix = owner + "\n";
        }

        /**
         * Keeps a response, unless it alone is larger than all may be.
         *
         * @param items the ids of its items
         */
        void put(String id, List<String> items, Stored response) {
            StoredResponses.this.put(
                    prefix + id, items.stream().map(prefix::concat).toList(), response);
        }

        /** A response; null if it is not kept, or no longer. */
        @Nullable
        Stored get(String id) {
            return StoredResponses.this.get(prefix + id);
        }

        /** The response that has an item; null if none is kept. */
        @Nullable
        Stored withItem(String item) {
            return StoredResponses.this.withItem(prefix + item);
        }

        /** Forgets a response; returns whether it was kept. */
        boolean remove(String id) {
            return StoredResponses.this.remove(prefix + id);
        }
    }

    /** The responses of an owner: of an API key, or of all clients where none is asked for. */
    Owned of(String owner) {
        return new Owned(owner);
    }

    private synchronized void put(String id, List<String> items, Stored response) {
        if (response.bytes() > maxBytes) {
            return;
        }
        idToResponse.put(id, response);
        idToItems.put(id, items);
        items.forEach(item -> itemToResponse.put(item, id));
        bytes += response.bytes();
        while (bytes > maxBytes) {
            remove(idToResponse.keySet().iterator().next());
        }
    }

    private synchronized @Nullable Stored get(String id) {
        return idToResponse.get(id);
    }

    private synchronized @Nullable Stored withItem(String item) {
        String id = itemToResponse.get(item);
        return id == null ? null : idToResponse.get(id);
    }

    private synchronized boolean remove(String id) {
        Stored removed = idToResponse.remove(id);
        if (removed == null) {
            return false;
        }
        bytes -= removed.bytes();
        List<String> items = idToItems.remove(id);
        if (items != null) {
            items.forEach(itemToResponse::remove);
        }
        return true;
    }
}
