package quire.model.text;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import quire.model.format.ModelFormatException;

/**
 * The vocabulary in a GGUF file, checked. {@link Tokenizers#of} creates a tokenizer from it. Immutable.
 *
 * <p>The keys, all under {@code tokenizer.ggml.}:
 *
 * <table>
 * <caption>keys</caption>
 * <tr><td>{@code model}</td><td>{@code llama}: SentencePiece BPE with byte fallback; {@code gpt2}: byte-level BPE; {@code
 * gemma4}: BPE over characters; {@code bert}: WordPiece; {@code t5}: SentencePiece's unigram model</td></tr>
 * <tr><td>{@code pre}</td><td>the name of the pre-tokenizer of {@code gpt2}; {@code default} if it is missing</td></tr>
 * <tr><td>{@code tokens}</td><td>the spellings of the tokens; the index is the id. If several tokens have the same
 * spelling, text becomes the one with the lowest id</td></tr>
 * <tr><td>{@code scores}</td><td>f32 for each token; {@code llama} merges the highest score first, {@code t5} takes
 * the highest sum</td></tr>
 * <tr><td>{@code token_type}</td><td>int32 for each token, see {@link Type}</td></tr>
 * <tr><td>{@code merges}</td><td>{@code gpt2} and {@code gemma4}: two spellings with a space between, best first</td></tr>
 * <tr><td>{@code bos_token_id}, {@code eos_token_id}, {@code eot_token_id}, {@code eom_token_id}, {@code
 * unknown_token_id}</td><td>ids of: begin of text, end of text, end of turn, end of message, unknown. An id that is not
 * in the vocabulary counts as absent</td></tr>
 * <tr><td>{@code cls_token_id}, {@code seperator_token_id} (so spelled)</td><td>{@code bert}: the tokens around a
 * text</td></tr>
 * <tr><td>{@code add_bos_token}, {@code add_eos_token}, {@code add_sep_token}, {@code add_space_prefix}</td><td>what encoding
 * adds</td></tr>
 * <tr><td>{@code normalizer.lowercase}, {@code normalizer.strip_accents}</td><td>{@code bert}: the normal form of a
 * text</td></tr>
 * <tr><td>{@code precompiled_charsmap}, {@code remove_extra_whitespaces}</td><td>{@code t5}: the normal form of a
 * text</td></tr>
 * </table>
 *
 * <p>Some rules of a tokenizer are not in its keys. {@code general.architecture} decides about them, never a name for people.
 */
public final class Vocabulary {
    /** The prefix of all keys that are read here. */
    public static final String PREFIX = "tokenizer.ggml.";

    private static final List<String> ID_NAMES =
            List.of("bos", "eos", "eot", "eom", "unknown", "cls", "seperator", "fim_pad", "fim_rep", "fim_sep");

    private static final List<String> FLAGS = List.of(
            "add_bos_token",
            "add_eos_token",
            "add_sep_token",
            "add_space_prefix",
            "normalizer.lowercase",
            "normalizer.strip_accents",
            "remove_extra_whitespaces");

    /** The longest allowed spelling of a token, in UTF-16 units; the longest ones in real files have about 200. */
    static final int MAX_SPELLING = 1024;

    /** The type of a token, in the order of the numbers in {@code tokenizer.ggml.token_type}. */
    enum Type {
        UNDEFINED,
        NORMAL,
        UNKNOWN,
        CONTROL,
        USER_DEFINED,
        UNUSED,
        BYTE;

        private static final List<Type> ALL = List.of(values());
    }

    private final String source;
    private final String model;
    private final @Nullable String pre;
    private final String architecture;
    private final List<String> tokens;
    private final float @Nullable [] scores;
    private final Type[] types;
    private final boolean typed;
    private final List<String> merges;
    private final Map<String, Integer> ids;
    private final Map<String, Boolean> flags;
    private final byte[] characterMap;
    private final Map<String, Integer> spellingToId;
    /** For spellings of several tokens: all ids except the lowest one, ascending. */
    private final Map<String, List<Integer>> spellingToLaterIds = new HashMap<>();
    /** The bytes of spellings that are not UTF-8, by id. */
    private final Map<Integer, byte[]> idToBytes = new HashMap<>();

    private final Set<String> unusableIds = new TreeSet<>();
    private final List<String> warnings = new ArrayList<>();

    private Vocabulary(Reader reader) {
        source = reader.source;
        model = reader.string("model")
                .orElseThrow(() -> reader.missing("model", "the file holds no tokenizer; convert the model again"));
        pre = reader.string("pre").filter(name -> !name.isEmpty()).orElse(null);
        if (pre == null && model.equals("gpt2")) {
            warnings.add(
                    source + ": " + PREFIX + "pre is missing: text is cut by the pre-tokenizer 'default', which may"
                            + " not be the one that the model was trained with");
        }
        architecture = reader.metadata.apply("general.architecture") instanceof String name ? name : "";
        tokens = reader.strings("tokens", idToBytes)
                .orElseThrow(() -> reader.missing("tokens", "the file holds no vocabulary; convert the model again"));
        if (tokens.isEmpty()) {
            throw reader.wrong("tokens", "is empty", "convert the model again");
        }
        scores = reader.floats("scores", tokens.size());
        int[] numbers = reader.ints("token_type", tokens.size());
        typed = numbers != null;
        types = new Type[tokens.size()];
        Arrays.fill(types, Type.NORMAL);
        for (int i = 0; numbers != null && i < types.length; i++) {
            if (numbers[i] < 0 || numbers[i] >= Type.ALL.size()) {
                throw reader.wrong(
                        "token_type",
                        "gives token " + i + " the unknown type " + numbers[i],
                        "types go from 0 to " + (Type.ALL.size() - 1));
            }
            types[i] = Type.ALL.get(numbers[i]);
        }
        merges = reader.strings("merges", new HashMap<>()).orElse(List.of());
        ids = new HashMap<>();
        for (String name : ID_NAMES) {
            long id = reader.id(name + "_token_id");
            if (id >= 0 && id < tokens.size()) {
                ids.put(name, (int) id);
            } else if (id != Reader.ABSENT) {
                unusableIds.add(name);
            }
        }
        if (!unusableIds.isEmpty()) {
            warnings.add(source + ": " + PREFIX + String.join("_token_id, ", unusableIds)
                    + "_token_id: not in the vocabulary, whose ids go from 0 to " + (tokens.size() - 1)
                    + "; treated as absent");
        }
        flags = new HashMap<>();
        for (String name : FLAGS) {
            reader.flag(name).ifPresent(value -> flags.put(name, value));
        }
        characterMap = reader.bytes("precompiled_charsmap");
        spellingToId = HashMap.newHashMap(tokens.size());
        for (int i = 0; i < tokens.size(); i++) {
            String token = tokens.get(i);
            if (token.length() > MAX_SPELLING) {
                throw reader.wrong(
                        "tokens",
                        "spells token " + i + " with " + token.length() + " characters",
                        "at most " + MAX_SPELLING + " are allowed");
            }
            if (!token.isEmpty() && isUtf8(i) && spellingToId.putIfAbsent(token, i) != null) {
                spellingToLaterIds
                        .computeIfAbsent(token, spelling -> new ArrayList<>())
                        .add(i);
            }
        }
    }

    /**
     * Reads the keys in the table above.
     *
     * @param source the name of the file, for errors
     * @param metadata the value of a key, or null. Types: String, Boolean, Number; for arrays a List or an array of
     *     String, byte[] (the bytes of a string), float or int
     * @throws ModelFormatException if a key is missing, or its value has the wrong type or refers to something that
     *     does not exist
     */
    public static Vocabulary read(String source, Function<String, ? extends @Nullable Object> metadata) {
        return new Vocabulary(new Reader(source, metadata));
    }

    /** The number of token ids. */
    public int size() {
        return tokens.size();
    }

    /** {@code tokenizer.ggml.model}. */
    public String model() {
        return model;
    }

    /** {@code tokenizer.ggml.pre}. */
    public Optional<String> pre() {
        return Optional.ofNullable(pre);
    }

    /** The spelling of a token in the file. Bytes that are not UTF-8 are U+FFFD here. */
    public String spelling(int token) {
        return tokens.get(token);
    }

    /**
     * The number of tokens that have the spelling of a token with a lower id. A model can generate them, but text never
     * becomes them.
     */
    public int repeatedSpellings() {
        return spellingToLaterIds.values().stream().mapToInt(List::size).sum();
    }

    /** Faults of the file that do not prevent its use, one sentence for each. */
    public List<String> warnings() {
        return List.copyOf(warnings);
    }

    /** Whether the spelling of a token is UTF-8, so that text can contain it. */
    boolean isUtf8(int token) {
        return !idToBytes.containsKey(token);
    }

    /** The spelling of a token as bytes in the file. The caller owns the array. */
    byte[] spellingBytes(int token) {
        byte[] bytes = idToBytes.get(token);
        return bytes == null ? spelling(token).getBytes(StandardCharsets.UTF_8) : bytes.clone();
    }

    Type type(int token) {
        return types[token];
    }

    /** Whether the file has the types of tokens. */
    boolean typed() {
        return typed;
    }

    boolean scored() {
        return scores != null;
    }

    float score(int token) {
        return Objects.requireNonNull(scores)[token];
    }

    List<String> merges() {
        return merges;
    }

    /** The lowest id of a spelling, or -1. */
    int find(String spelling) {
        return spellingToId.getOrDefault(spelling, -1);
    }

    /** The lowest id of a spelling among the tokens that text can become; {@link #find} if there is none. */
    int findText(String spelling) {
        int id = find(spelling);
        List<Integer> later = spellingToLaterIds.getOrDefault(spelling, List.of());
        if (later.isEmpty() || TextCodec.isText(this, id)) {
            return id;
        }
        return later.stream()
                .filter(other -> TextCodec.isText(this, other))
                .findFirst()
                .orElse(id);
    }

    /** The id under {@code tokenizer.ggml.NAME_token_id}, or -1. */
    int id(String name) {
        return ids.getOrDefault(name, -1);
    }

    /** Whether the file has {@code tokenizer.ggml.NAME_token_id}, with an id that is not in the vocabulary. */
    boolean isUnusable(String name) {
        return unusableIds.contains(name);
    }

    /** The value of {@code tokenizer.ggml.NAME}, a bool. */
    Optional<Boolean> flag(String name) {
        return Optional.ofNullable(flags.get(name));
    }

    /** {@code general.architecture}; empty if the file does not say. */
    String architecture() {
        return architecture;
    }

    /** {@code tokenizer.ggml.precompiled_charsmap}; empty if there is none. The caller does not change it. */
    byte[] characterMap() {
        return characterMap;
    }

    /** An error about the value of a key. */
    ModelFormatException wrong(String key, String fault, String remedy) {
        return wrong(source, key, fault, remedy);
    }

    private static ModelFormatException wrong(String source, String key, String fault, String remedy) {
        return new ModelFormatException(source + ": " + PREFIX + key + " " + fault + ": " + remedy);
    }

    /** A spelling for the one line of an error message: quoted, shortened, control characters escaped. */
    static String quote(String text) {
        StringBuilder quoted = new StringBuilder("'");
        text.codePoints().limit(40).forEach(c -> {
            if (Character.isISOControl(c) || c == 0x2028 || c == 0x2029 || (c >= 0xD800 && c <= 0xDFFF)) {
                quoted.append(String.format(Locale.ROOT, "\\u%04X", c));
            } else {
                quoted.appendCodePoint(c);
            }
        });
        return quoted.append(text.codePointCount(0, text.length()) > 40 ? "…'" : "'")
                .toString();
    }

    /** Reads values from the metadata and checks their types. */
    private record Reader(String source, Function<String, ? extends @Nullable Object> metadata) {
        private static final long ABSENT = Long.MIN_VALUE;

        @Nullable
        Object value(String key) {
            return metadata.apply(PREFIX + key);
        }

        ModelFormatException missing(String key, String remedy) {
            return wrong(key, "is missing", remedy);
        }

        ModelFormatException wrong(String key, String fault, String remedy) {
            return Vocabulary.wrong(source, key, fault, remedy);
        }

        ModelFormatException kind(String key, Object value, String wanted) {
            return wrong(key, "is a " + value.getClass().getSimpleName(), "it must be " + wanted);
        }

        Optional<String> string(String key) {
            Object value = value(key);
            if (value != null && !(value instanceof String)) {
                throw kind(key, value, "a string");
            }
            return Optional.ofNullable((String) value);
        }

        Optional<Boolean> flag(String key) {
            Object value = value(key);
            if (value != null && !(value instanceof Boolean)) {
                throw kind(key, value, "a boolean");
            }
            return Optional.ofNullable((Boolean) value);
        }

        /**
         * A whole number, or {@link #ABSENT}. Some programs write -1, or the same bits without a sign, for "no such
         * token".
         */
        long id(String key) {
            Object value = value(key);
            if (value == null) {
                return ABSENT;
            }
            if (!(value instanceof Number number)) {
                throw kind(key, value, "a number");
            }
            if (number.longValue() != number.doubleValue()) {
                throw wrong(key, "is " + number, "ids are whole numbers");
            }
            return Math.max(-1, number.longValue());
        }

        /**
         * An array of strings.
         *
         * @param notUtf8 receives the bytes of strings that are not UTF-8, by index
         */
        Optional<List<String>> strings(String key, Map<Integer, byte[]> notUtf8) {
            Object value = value(key);
            if (value == null) {
                return Optional.empty();
            }
            List<?> list = value instanceof Object[] array
                    ? Arrays.asList(array)
                    : value instanceof List<?> some ? some : List.of(value);
            String[] strings = new String[list.size()];
            for (int i = 0; i < strings.length; i++) {
                Object item = list.get(i);
                if (item instanceof byte[] bytes) {
                    String text = new String(bytes, StandardCharsets.UTF_8);
                    // Bytes that are not UTF-8 were decoded as U+FFFD.
                    if (text.indexOf('\uFFFD') >= 0 && !Arrays.equals(bytes, text.getBytes(StandardCharsets.UTF_8))) {
                        notUtf8.put(i, bytes);
                    }
                    item = text;
                }
                if (!(item instanceof String string)) {
                    throw wrong(
                            key,
                            "contains a value that is not a string at index " + i,
                            "it must be an array of strings");
                }
                strings[i] = string;
            }
            return Optional.of(List.of(strings));
        }

        float @Nullable [] floats(String key, int size) {
            Object value = value(key);
            float[] floats;
            if (value == null) {
                return null;
            } else if (value instanceof float[] array) {
                floats = array.clone();
            } else {
                List<Number> numbers = numbers(key, value);
                floats = new float[numbers.size()];
                for (int i = 0; i < floats.length; i++) {
                    floats[i] = numbers.get(i).floatValue();
                }
            }
            checkSize(key, floats.length, size);
            for (int i = 0; i < floats.length; i++) {
                if (Float.isNaN(floats[i])) {
                    throw wrong(key, "has no number for token " + i, "scores must be numbers, not NaN");
                }
            }
            return floats;
        }

        int @Nullable [] ints(String key, int size) {
            int[] ints = ints(key);
            if (ints != null) {
                checkSize(key, ints.length, size);
            }
            return ints;
        }

        private int @Nullable [] ints(String key) {
            Object value = value(key);
            if (value == null) {
                return null;
            }
            return value instanceof int[] array
                    ? array.clone()
                    : numbers(key, value).stream().mapToInt(Number::intValue).toArray();
        }

        /** An array of bytes, signed or not. */
        byte[] bytes(String key) {
            int[] ints = Objects.requireNonNullElse(ints(key), new int[0]);
            byte[] bytes = new byte[ints.length];
            for (int i = 0; i < bytes.length; i++) {
                bytes[i] = (byte) ints[i];
            }
            return bytes;
        }

        private List<Number> numbers(String key, Object value) {
            if (!(value instanceof List<?> list)) {
                throw kind(key, value, "an array of numbers");
            }
            return list.stream()
                    .map(item -> {
                        if (item instanceof Number number) {
                            return number;
                        }
                        throw wrong(key, "contains a value that is not a number", "it must be an array of numbers");
                    })
                    .toList();
        }

        private void checkSize(String key, int size, int wanted) {
            if (size != wanted) {
                throw wrong(key, "has " + size + " entries for " + wanted + " tokens", "each token needs one");
            }
        }
    }
}
