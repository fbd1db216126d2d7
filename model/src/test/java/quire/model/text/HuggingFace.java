package quire.model.text;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import ai.djl.huggingface.tokenizers.jni.TokenizersLibrary;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Encodes with Hugging Face's tokenizers library, for comparison. It gets the vocabulary as a tokenizer.json. */
final class HuggingFace implements AutoCloseable {
    private static boolean loaded;

    private final long handle;

    private HuggingFace(long handle) {
        this.handle = handle;
    }

    /** Byte-level BPE: an isolated split for each pattern, then bytes, then merges. */
    static HuggingFace byteLevel(Vocabulary vocabulary) {
        PreTokenizer preTokenizer =
                Objects.requireNonNull(PreTokenizer.named(vocabulary.pre().orElseThrow()));
        String splits = preTokenizer.steps().stream()
                .map(step -> "{\"type\":\"Split\",\"pattern\":{\"Regex\":"
                        + quote(step.original().replace("\\p{IsHan}", "\\p{Han}"))
                        + "},\"behavior\":\"Isolated\",\"invert\":false},")
                .collect(Collectors.joining());
        String pairs = IntStream.range(0, vocabulary.merges().size())
                .mapToObj(vocabulary.merges()::text)
                .map(merge -> "[" + quote(merge.substring(0, merge.indexOf(' '))) + ","
                        + quote(merge.substring(merge.indexOf(' ') + 1)) + "]")
                .collect(Collectors.joining(","));
        return create(
                vocabulary,
                preTokenizer.composes() ? "{\"type\":\"NFC\"}" : "null",
                "{\"type\":\"Sequence\",\"pretokenizers\":[" + splits
                        + "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"
                        + "\"use_regex\":false}]}",
                "\"ignore_merges\":" + preTokenizer.ignoreMerges(),
                pairs);
    }

    /** The vocabulary in a real tokenizer.json, as a converter writes it. */
    static Vocabulary vocabulary(String json, String model, String pre) {
        JsonNode tokenizer = JsonMapper.shared().readTree(json);
        JsonNode bpe = tokenizer.get("model");
        Map<Integer, String> spellings = new TreeMap<>();
        bpe.get("vocab")
                .properties()
                .forEach(each -> spellings.put(each.getValue().asInt(), each.getKey()));
        Map<Integer, Integer> special = new HashMap<>();
        for (JsonNode each : tokenizer.get("added_tokens")) {
            int id = each.get("id").asInt();
            spellings.put(id, each.get("content").asString());
            special.put(id, each.get("special").asBoolean() ? 3 : 4);
        }
        int size = spellings.keySet().stream().mapToInt(id -> id + 1).max().orElse(0);
        List<String> tokens = new ArrayList<>();
        List<Integer> types = new ArrayList<>();
        for (int id = 0; id < size; id++) {
            String spelling = spellings.getOrDefault(id, "[PAD" + id + "]");
            tokens.add(spelling);
            boolean isByte = !model.equals("gpt2") && spelling.matches("<0x[0-9A-F]{2}>");
            types.add(spellings.containsKey(id) ? special.getOrDefault(id, isByte ? 6 : 1) : 5);
        }
        List<String> merges = new ArrayList<>();
        for (JsonNode each : bpe.get("merges")) {
            merges.add(
                    each.isString()
                            ? each.asString()
                            : each.get(0).asString() + " " + each.get(1).asString());
        }
        Map<String, Object> metadata = new HashMap<>(Map.of("model", model, "pre", pre, "tokens", tokens));
        metadata.put("token_type", types);
        metadata.put("merges", merges);
        return TestVocabularies.vocabulary(metadata);
    }

    /** A real tokenizer.json. */
    static HuggingFace ofJson(String json) {
        load();
        return new HuggingFace(TokenizersLibrary.LIB.createTokenizerFromString(json));
    }

    /** SentencePiece with distinct scores. The merges are all ways to divide a token, best score first. */
    static HuggingFace sentencePiece(Vocabulary vocabulary) {
        String pairs = IntStream.range(0, vocabulary.size())
                .filter(token -> vocabulary.type(token) == Vocabulary.Type.NORMAL)
                .boxed()
                .sorted((a, b) -> Float.compare(vocabulary.score(b), vocabulary.score(a)))
                .flatMap(token -> cuts(vocabulary, vocabulary.spelling(token)))
                .collect(Collectors.joining(","));
        return create(
                vocabulary, "null", "null", "\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true", pairs);
    }

    private static Stream<String> cuts(Vocabulary vocabulary, String token) {
        return IntStream.range(1, token.length())
                .filter(cut ->
                        vocabulary.find(token.substring(0, cut)) >= 0 && vocabulary.find(token.substring(cut)) >= 0)
                .mapToObj(cut -> "[" + quote(token.substring(0, cut)) + "," + quote(token.substring(cut)) + "]");
    }

    private static HuggingFace create(
            Vocabulary from, String normalizer, String preTokenizer, String options, String pairs) {
        load();
        String vocabulary = IntStream.range(0, from.size())
                .mapToObj(token -> quote(from.spelling(token)) + ":" + token)
                .collect(Collectors.joining(","));
        return new HuggingFace(TokenizersLibrary.LIB.createTokenizerFromString(
                "{\"version\":\"1.0\",\"added_tokens\":[],\"normalizer\":" + normalizer
                        + ",\"pre_tokenizer\":" + preTokenizer
                        + ",\"post_processor\":null,\"decoder\":null,\"model\":{\"type\":\"BPE\"," + options
                        + ",\"vocab\":{" + vocabulary + "},\"merges\":[" + pairs + "]}}"));
    }

    int[] encode(String text) {
        long encoding = TokenizersLibrary.LIB.encode(handle, text, false);
        try {
            long[] ids = TokenizersLibrary.LIB.getTokenIds(encoding);
            return IntStream.range(0, ids.length).map(i -> (int) ids[i]).toArray();
        } finally {
            TokenizersLibrary.LIB.deleteEncoding(encoding);
        }
    }

    @Override
    public void close() {
        TokenizersLibrary.LIB.deleteTokenizer(handle);
    }

    /** A JSON string that escapes only what it must, always with a code. */
    static String quote(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c < ' ' || c == '"' || c == '\\') {
                quoted.append(String.format("\\u%04x", (int) c));
            } else {
                quoted.append(c);
            }
        }
        return quoted.append('"').toString();
    }

    /** Loads the native library from its jar. Skips the test on systems that the library does not support. */
    private static synchronized void load() {
        if (loaded) {
            return;
        }
        String system = System.getProperty("os.name") + "/" + System.getProperty("os.arch");
        String path =
                switch (system) {
                    case "Linux/amd64" -> "native/lib/linux-x86_64/cpu/libtokenizers.so";
                    case "Linux/aarch64" -> "native/lib/linux-aarch64/cpu/libtokenizers.so";
                    case "Mac OS X/aarch64" -> "native/lib/osx-aarch64/cpu/libtokenizers.dylib";
                    default -> "";
                };
        try (InputStream in = TokenizersLibrary.class.getClassLoader().getResourceAsStream(path)) {
            assumeTrue(!path.isEmpty() && in != null, () -> "no Hugging Face tokenizers for " + system);
            Path file = Files.createTempFile("tokenizers", path.substring(path.lastIndexOf('.')));
            Files.copy(in, file, StandardCopyOption.REPLACE_EXISTING);
            file.toFile().deleteOnExit();
            System.load(file.toString());
            loaded = true;
        } catch (IOException | UnsatisfiedLinkError e) {
            assumeTrue(false, () -> "Hugging Face tokenizers do not load here: " + e.getMessage());
        }
    }
}
