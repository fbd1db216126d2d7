package quire.server.api;

import java.util.List;
import java.util.Set;
import java.util.function.BiPredicate;
import tools.jackson.databind.JsonNode;

/**
 * A known parameter of a request, one row of the table of its API. {@link Parameters} checks requests against it.
 *
 * @param name as clients write it
 * @param places where it has this treatment
 * @param treatment what Quire does with it
 * @param meaning what it does
 * @param senders the APIs, servers and clients that use it
 * @param instead for a synonym, the name that it stands for; for a parameter that is not computed, what to do instead;
 *     otherwise empty
 * @param accepted values that are accepted although the parameter is not computed
 */
public record Parameter(
        String name,
        Set<Place> places,
        Treatment treatment,
        String meaning,
        String senders,
        String instead,
        Values accepted) {

    /** The object that holds a parameter. */
    public enum Place {
        COMPLETIONS("/v1/completions"),
        CHAT("/v1/chat/completions"),
        /** What it has beside {@link #COMPLETIONS}, or in another way. */
        INFILL("/infill"),
        STREAM_OPTIONS("stream_options"),
        MESSAGE("messages[]"),
        TOKENIZE("/tokenize"),
        DETOKENIZE("/detokenize"),
        EMBEDDINGS("/v1/embeddings"),
        RERANK("/v1/rerank"),
        SCORE("/v1/score"),
        MESSAGES("/v1/messages"),
        COUNT_TOKENS("/v1/messages/count_tokens"),
        RESPONSES("/v1/responses"),
        BATCHES("/v1/batches"),
        OLLAMA_CHAT("/api/chat"),
        OLLAMA_GENERATE("/api/generate"),
        OLLAMA_EMBED("/api/embed"),
        OLLAMA_EMBEDDINGS("/api/embeddings"),
        OLLAMA_OPTIONS("options");

        private final String title;

        Place(String title) {
            this.title = title;
        }

        /** The route, or the path of an object within a body. */
        public String title() {
            return title;
        }
    }

    /** What Quire does with a parameter. */
    public enum Treatment {
        /** Has its effect. */
        COMPUTED,
        /** Has the effect of another name. */
        SYNONYM,
        /** Is an error, except for neutral values and others that {@link Parameter#accepted} lists. */
        REFUSED,
        /** Is accepted with any value: it never changes an answer. */
        HARMLESS
    }

    /**
     * Some values of a parameter.
     *
     * @param words the values as text for error messages and the documentation
     * @param test of a value, in its body
     */
    public record Values(String words, BiPredicate<JsonNode, Fields> test) {
        /** {@link Fields#isNeutral}. */
        public static final Values NEUTRAL = new Values("neutral", (value, body) -> Fields.isNeutral(value));

        /** No value, except null, which counts as absent. */
        public static final Values NONE = new Values("none", (value, body) -> false);

        public static final Values ANY = new Values("any", (value, body) -> true);

        /** For parameters for which 0 is not neutral. */
        public static final Values NEUTRAL_EXCEPT_0 =
                new Values("neutral, except 0", (value, body) -> !value.isNumber() && Fields.isNeutral(value));

        /** For parameters for which an empty object is not neutral. */
        public static final Values NEUTRAL_EXCEPT_OBJECT =
                new Values("neutral, except {}", (value, body) -> !value.isObject() && Fields.isNeutral(value));

        public static final Values BOOLEAN = new Values("true, false", (value, body) -> value.isBoolean());

        public static final Values TRUE =
                new Values("true", (value, body) -> value.isBoolean() && value.booleanValue());

        public static final Values FALSE =
                new Values("false", (value, body) -> value.isBoolean() && !value.booleanValue());

        public static Values number(int number) {
            return new Values(
                    String.valueOf(number), (value, body) -> value.isNumber() && Fields.real(value) == number);
        }

        /** For a parameter that numbers up to this one switch off. */
        public static Values upTo(int number) {
            return new Values(number + " and less", (value, body) -> value.isNumber() && Fields.real(value) <= number);
        }

        public static Values text(String... texts) {
            return new Values(
                    "\"" + String.join("\", \"", texts) + "\"",
                    (value, body) -> value.isString() && List.of(texts).contains(value.stringValue()));
        }

        public Values or(Values other) {
            return new Values(
                    words + ", " + other.words,
                    (value, body) -> test.test(value, body) || other.test.test(value, body));
        }
    }
}
