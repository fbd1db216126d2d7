package quire.server.openai;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;
import quire.engine.Dry;
import quire.model.text.Tokenizer;
import quire.server.api.Fields;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;

/** Reads the {@code dry_*} parameters of llama.cpp and text-generation-webui. Thread-safe. */
final class DryReader {
    private static final double DEFAULT_BASE = 1.75;
    private static final int DEFAULT_ALLOWED_LENGTH = 2;
    private static final List<String> DEFAULT_BREAKERS = List.of("\n", ":", "\"", "*");

    private static final int MAX_BREAKERS = 64;

    /** As llama.cpp shortens them. */
    private static final int MAX_BREAKER_LENGTH = 40;

    private static final int MAX_CACHED = 256;

    private final Tokenizer tokenizer;
    /** A breaker to the tokens that contain it; finding them needs all tokens of the vocabulary. */
    private final Map<String, Set<Integer>> containing = new ConcurrentHashMap<>();

    DryReader(Tokenizer tokenizer) {
        this.tokenizer = tokenizer;
    }

    /** The penalty; null if there is none: with a multiplier, a base below 1 or a window of 0. */
    @Nullable
    Dry read(Fields body) {
        double multiplier = number(body, "dry_multiplier", 0);
        double base = number(body, "dry_base", DEFAULT_BASE);
        int allowedLength = body.integer("dry_allowed_length", 0, Integer.MAX_VALUE, DEFAULT_ALLOWED_LENGTH);
        int window = body.integer("dry_penalty_last_n", -1, Integer.MAX_VALUE, -1);
        List<String> breakers = breakers(body);
        if (multiplier == 0 || base < 1 || window == 0) {
            return null;
        }
        Set<Integer> tokens = new HashSet<>();
        List<List<Integer>> sequences = new ArrayList<>();
        for (String breaker : breakers) {
            tokens.addAll(tokensWith(breaker));
            int[] own = tokenizer.encode(breaker, false, true);
            if (own.length == 1) {
                tokens.add(own[0]);
            } else if (own.length > 1) {
                sequences.add(Arrays.stream(own).boxed().toList());
            }
        }
        return new Dry(
                multiplier,
                base,
                Math.max(allowedLength, 1),
                window < 0 ? Integer.MAX_VALUE : window,
                tokens,
                sequences);
    }

    private static double number(Fields body, String name, double absent) {
        JsonNode value = body.get(name);
        return value == null || (absent == 0 && Fields.isNeutral(value)) ? absent : Fields.number(value, name);
    }

    private static List<String> breakers(Fields body) {
        if (body.get("dry_sequence_breakers") == null) {
            return DEFAULT_BREAKERS;
        }
        List<String> breakers = new ArrayList<>();
        body.forEach("dry_sequence_breakers", "an array of strings", (element, path) -> {
            String breaker = Fields.string(element, path);
            if (!breaker.isEmpty()) {
                breakers.add(breaker.substring(0, breaker.offsetByCodePoints(0, lengthOf(breaker))));
            }
        });
        if (breakers.size() > MAX_BREAKERS) {
            throw HttpException.invalid(
                    "dry_sequence_breakers",
                    "invalid_value",
                    "Invalid value for 'dry_sequence_breakers': must be at most " + MAX_BREAKERS + " strings.");
        }
        return breakers;
    }

    private static int lengthOf(String breaker) {
        return Math.min(breaker.codePointCount(0, breaker.length()), MAX_BREAKER_LENGTH);
    }

    /** The tokens whose text contains a breaker. */
    private Set<Integer> tokensWith(String breaker) {
        Set<Integer> known = containing.get(breaker);
        if (known != null) {
            return known;
        }
        String searched = bytes(breaker.getBytes(StandardCharsets.UTF_8));
        Set<Integer> found = new HashSet<>();
        for (int token = 0; token < tokenizer.vocabularySize(); token++) {
            if (bytes(tokenizer.bytes(token)).contains(searched)) {
                found.add(token);
            }
        }
        if (containing.size() >= MAX_CACHED) {
            containing.clear();
        }
        containing.put(breaker, Set.copyOf(found));
        return found;
    }

    /** One character for each byte. */
    private static String bytes(byte[] text) {
        return new String(text, StandardCharsets.ISO_8859_1);
    }
}
