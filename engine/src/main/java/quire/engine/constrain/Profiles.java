package quire.engine.constrain;

import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The walks of a vocabulary's tree through single lexemes, by the lexeme's {@linkplain Expressions#signature signature}.
 * Nearly all schemas have the same strings, so their constraints share them. Keeps those that were used last.
 * Thread-safe.
 */
final class Profiles {
    private static final int MAX_PROFILES = 512;

    private final Map<String, Profile> profiles = new LinkedHashMap<>(64, 0.75f, true);

    /**
     * The walk through one lexeme.
     *
     * @param inside the tokens after which the lexeme goes on or has just ended
     * @param exits nodes where the lexeme may end, and which have nodes below them
     */
    @SuppressWarnings("ArrayRecordComponent") // not compared
    record Profile(long[] inside, int[] exits) {}

    synchronized @Nullable Profile get(String signature) {
        return profiles.get(signature);
    }

    synchronized int size() {
        return profiles.size();
    }

    synchronized void put(String signature, Profile profile) {
        profiles.put(signature, profile);
        if (profiles.size() > MAX_PROFILES) {
            profiles.remove(profiles.keySet().iterator().next());
        }
    }
}
