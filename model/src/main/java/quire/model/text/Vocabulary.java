package quire.model.text;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
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
import quire.model.format.ByteStrings;
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
    private final ByteStrings tokens;
    private final float @Nullable [] scores;
    /** The number of each token's type in the file. */
    private final byte[] types;

    private final boolean typed;
    private final @Nullable ByteStrings merges;
    private final Map<String, Integer> ids;
    private final Map<String, Boolean> flags;
    private final byte[] characterMap;
    /** The tokens whose spellings are not UTF-8. */
    private final BitSet notUtf8;

    private final SpellingIndex spellingToId;

    private final Set<String> unusableIds;
    private final List<String> warnings;

    private Vocabulary(Reader reader) {
        source = reader.source;
        unusableIds = new TreeSet<>();
        warnings = new ArrayList<>();
        model = reader.string("model")
                .orElseThrow(() -> reader.missing("model", "the file holds no tokenizer; convert the model again"));
        pre = reader.string("pre").filter(name -> !name.isEmpty()).orElse(null);
        if (pre == null && model.equals("gpt2")) {
            warnings.add(
                    source + ": " + PREFIX + "pre is missing: text is cut by the pre-tokenizer 'default', which may"
                            + " not be the one that the model was trained with");
        }
        architecture = reader.metadata.apply("general.architecture") instanceof String name ? name : "";
        ByteStrings spellings = reader.strings("tokens");
        if (spellings == null) {
            throw reader.missing("tokens", "the file holds no vocabulary; convert the model again");
        }
        tokens = spellings;
        if (tokens.size() == 0) {
            throw reader.wrong("tokens", "is empty", "convert the model again");
        }
        scores = reader.floats("scores", tokens.size());
        int[] numbers = reader.ints("token_type", tokens.size());
        typed = numbers != null;
        types = new byte[tokens.size()];
        Arrays.fill(types, (byte) Type.ALL.indexOf(Type.NORMAL));
        for (int i = 0; numbers != null && i < types.length; i++) {
            if (numbers[i] < 0 || numbers[i] >= Type.ALL.size()) {
                throw reader.wrong(
                        "token_type",
                        "gives token " + i + " the unknown type " + numbers[i],
                        "types go from 0 to " + (Type.ALL.size() - 1));
            }
            types[i] = (byte) numbers[i];
        }
        merges = reader.strings("merges");
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
        notUtf8 = new BitSet();
        for (int i = 0; i < tokens.size(); i++) {
            int length = tokens.textLength(i);
            if (length < 0) {
                notUtf8.set(i);
            }
            if (length > MAX_SPELLING || (length < 0 && tokens.length(i) > MAX_SPELLING)) {
                checkLength(i, reader);
            }
        }
        spellingToId = new SpellingIndex(tokens, i -> tokens.length(i) > 0 && isUtf8(i));
    }

    /** The same without the merges, which only the creation of a tokenizer needs. */
    private Vocabulary(Vocabulary all) {
        source = all.source;
        model = all.model;
        pre = all.pre;
        architecture = all.architecture;
        tokens = all.tokens;
        scores = all.scores;
        types = all.types;
        typed = all.typed;
        merges = null;
        ids = all.ids;
        flags = all.flags;
        characterMap = all.characterMap;
        notUtf8 = all.notUtf8;
        spellingToId = all.spellingToId;
        unusableIds = all.unusableIds;
        warnings = all.warnings;
    }

    private void checkLength(int token, Reader reader) {
        int length = tokens.text(token).length();
        if (length > MAX_SPELLING) {
            throw reader.wrong(
                    "tokens",
                    "spells token " + token + " with " + length + " characters",
                    "at most " + MAX_SPELLING + " are allowed");
        }
    }

    /**
     * Reads the keys in the table above.
     *
     * @param source the name of the file, for errors
     * @param metadata the value of a key, or null. Types: String, Boolean, Number; for arrays a List or an array of
     *     String, byte[] (the bytes of a string), float or int; {@link ByteStrings}. In a String, half a surrogate pair
     *     counts as a question mark
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
        return tokens.text(token);
    }

    /**
     * The number of tokens that have the spelling of a token with a lower id. A model can generate them, but text never
     * becomes them.
     */
    public int repeatedSpellings() {
        return spellingToId.repeated();
    }

    /** Faults of the file that do not prevent its use, one sentence for each. */
    public List<String> warnings() {
        return List.copyOf(warnings);
    }

    /** Whether the spelling of a token is UTF-8, so that text can contain it. */
    boolean isUtf8(int token) {
        return !notUtf8.get(token);
    }

    /** The spellings of all tokens as bytes in the file. */
    ByteStrings spellings() {
        return tokens;
    }

    Type type(int token) {
        return Type.ALL.get(types[token]);
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

    /** @throws ModelFormatException if the file has none; without them text would become single bytes */
    ByteStrings merges() {
        if (merges == null) {
            throw wrong("merges", "is missing", "a '" + model + "' vocabulary needs them; convert the model again");
        }
        return merges;
    }

    /** The same without {@link #merges}: what a tokenizer keeps. */
    Vocabulary withoutMerges() {
        return new Vocabulary(this);
    }

    /** The lowest id of a spelling, or -1. */
    int find(String spelling) {
        byte[] bytes = utf8(spelling);
        return find(bytes, bytes.length);
    }

    /** A text in UTF-8; no bytes, which no token is found by, if it has half a surrogate pair. */
    private static byte[] utf8(String text) {
        for (int i = 0, c; i < text.length(); i += Character.charCount(c)) {
            c = text.codePointAt(i);
            if (c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE) {
                return new byte[0];
            }
        }
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** The lowest id of a spelling in UTF-8, the first bytes of an array, or -1. */
    int find(byte[] bytes, int length) {
        return spellingToId.find(bytes, 0, length);
    }

    /** The lowest id of a spelling among the tokens that text can become; {@link #find} if there is none. */
    int findText(String spelling) {
        byte[] bytes = utf8(spelling);
        return findText(bytes, 0, bytes.length);
    }

    /** The same for a spelling in UTF-8. */
    int findText(byte[] bytes, int from, int to) {
        int lowest = spellingToId.find(bytes, from, to);
        for (int id = lowest; id >= 0; id = spellingToId.next(id)) {
            if (TextCodec.isText(this, id)) {
                return id;
            }
        }
        return lowest;
    }

    /** The next higher id with the same spelling, or -1. */
    int next(int token) {
        return spellingToId.next(token);
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

        /** An array of strings; null if there is none. */
        @Nullable
        ByteStrings strings(String key) {
            Object value = value(key);
            if (value == null || value instanceof ByteStrings) {
                return (ByteStrings) value;
            }
            List<?> list = value instanceof Object[] array
                    ? Arrays.asList(array)
                    : value instanceof List<?> some ? some : List.of(value);
            List<byte[]> strings = new ArrayList<>(list.size());
            for (Object item : list) {
                if (item instanceof byte[] bytes) {
                    strings.add(bytes);
                } else if (item instanceof String string) {
                    strings.add(string.getBytes(StandardCharsets.UTF_8));
                } else {
                    throw wrong(
                            key,
                            "contains a value that is not a string at index " + strings.size(),
                            "it must be an array of strings");
                }
            }
            return ByteStrings.of(strings);
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
