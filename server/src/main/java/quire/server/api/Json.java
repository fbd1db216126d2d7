package quire.server.api;

import java.nio.charset.StandardCharsets;
import tools.jackson.core.JacksonException;
import tools.jackson.core.StreamReadConstraints;
import tools.jackson.core.StreamReadFeature;
import tools.jackson.core.TokenStreamLocation;
import tools.jackson.core.json.JsonFactory;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.util.RawValue;

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
     * @throws InvalidJsonException if the text is not JSON, nests too deeply or has a field twice
     */
    public static JsonNode parse(String text) throws InvalidJsonException {
        try {
            JsonNode value = MAPPER.readTree(text);
            if (!value.isMissingNode()) {
                return value;
            }
        } catch (JacksonException e) {
            String fault = JsonFault.find(text, MAX_NESTING);
            if (fault == null) { // a number of thousands of digits, or a name of more than 50,000 characters
                TokenStreamLocation at = e.getLocation();
                fault = (at == null ? "" : "line " + at.getLineNr() + ", column " + at.getColumnNr() + ": ")
                        + "a number or a name is longer than this server reads";
            }
            throw new InvalidJsonException(fault);
        }
        throw new InvalidJsonException("there is nothing in it");
    }

    /**
     * Reads one value that is known to be JSON.
     *
     * @throws tools.jackson.core.JacksonException if it is not
     */
    public static JsonNode read(String text) {
        return MAPPER.readTree(text);
    }

    /** A value in UTF-8. */
    public static byte[] bytes(JsonNode value) {
        return MAPPER.writeValueAsBytes(value);
    }

    /** An array of finite numbers of 32 bits, each with the fewest digits that tell it from others. */
    public static JsonNode numbers(float... numbers) {
        StringBuilder text = new StringBuilder(numbers.length * 12 + 2).append('[');
        for (int i = 0; i < numbers.length; i++) {
            text.append(i == 0 ? "" : ",").append(numbers[i]);
        }
        return JsonNodeFactory.instance.rawValueNode(
                new RawValue(text.append(']').toString()));
    }

    /** A value as text. */
    public static String text(JsonNode value) {
        return new String(bytes(value), StandardCharsets.UTF_8);
    }
}
