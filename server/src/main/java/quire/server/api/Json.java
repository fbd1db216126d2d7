package quire.server.api;

import java.nio.charset.StandardCharsets;
import tools.jackson.core.StreamReadConstraints;
import tools.jackson.core.StreamReadFeature;
import tools.jackson.core.json.JsonFactory;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Reads and writes JSON. */
public final class Json {
    /** Maximum depth: more than the schema of any tool needs, and small enough for recursion over the tree. */
    private static final int MAX_NESTING = 100;

    private static final JsonMapper MAPPER = JsonMapper.builder(JsonFactory.builder()
                    .streamReadConstraints(StreamReadConstraints.builder()
                            .maxNestingDepth(MAX_NESTING)
                            .maxStringLength(Integer.MAX_VALUE) // the limit of the body is lower
                            .build())
                    .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
                    .build())
            .build();

    private Json() {}

    /**
     * Reads one value.
     *
     * @throws tools.jackson.core.JacksonException if the text is not JSON, nests too deeply or has a field twice
     */
    public static JsonNode read(String text) {
        return MAPPER.readTree(text);
    }

    /** A value in UTF-8. */
    public static byte[] bytes(JsonNode value) {
        return MAPPER.writeValueAsBytes(value);
    }

    /** A value as text. */
    public static String text(JsonNode value) {
        return new String(bytes(value), StandardCharsets.UTF_8);
    }
}
