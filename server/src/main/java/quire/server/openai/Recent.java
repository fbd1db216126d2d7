package quire.server.openai;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** Values that were used last, by key. Two threads may compute one value at the same time. Thread-safe. */
final class Recent<K, V> {
    private final int most;
    private final Map<K, V> values = new LinkedHashMap<>(16, 0.75f, true);

    /** @param most how many values are kept */
    Recent(int most) {
        this.most = most;
    }

    /** The value of a key; computes it if it is not there. What {@code compute} throws is thrown, and nothing kept. */
    V get(K key, Supplier<V> compute) {
        V known = find(key);
        if (known != null) {
            return known;
        }
        V computed = compute.get();
        synchronized (this) {
            values.put(key, computed);
            if (values.size() > most) {
                values.remove(values.keySet().iterator().next());
            }
        }
        return computed;
    }

    private synchronized @Nullable V find(K key) {
        return values.get(key);
    }
}
