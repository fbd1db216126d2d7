package quire.model.text;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;

/** Small vocabularies of both kinds, in the form of the metadata of a file. */
final class TestVocabularies {
    private TestVocabularies() {}

    static Tokenizer tokenizer(Map<String, Object> metadata) {
        return Tokenizers.of(vocabulary(metadata));
    }

    static Vocabulary vocabulary(Map<String, Object> metadata) {
        return Vocabulary.read("test.gguf", key -> metadata.get(key.substring(Vocabulary.PREFIX.length())));
    }

    /** The spellings in such metadata. */
    static List<String> tokens(Map<String, Object> metadata) {
        List<String> tokens = new ArrayList<>();
        if (metadata.get("tokens") instanceof List<?> list) {
            list.forEach(token -> tokens.add(String.valueOf(token)));
        }
        return tokens;
    }

    /**
     * {@code <unk> <s> </s>}, then the 256 byte tokens if {@code byteFallback}, then the given pieces with the scores
     * -1, -2 …, then the control token {@code <|im_end|>} and the user-defined token {@code <sep>}.
     */
    static Map<String, Object> sentencePiece(boolean byteFallback, String... pieces) {
        List<String> tokens = new ArrayList<>(List.of("<unk>", "<s>", "</s>"));
        List<Integer> types = new ArrayList<>(List.of(2, 3, 3));
        List<Float> scores = new ArrayList<>(List.of(0f, 0f, 0f));
        for (int b = 0; byteFallback && b < 256; b++) {
            add(tokens, types, scores, String.format("<0x%02X>", b), 6, 0);
        }
        for (int i = 0; i < pieces.length; i++) {
            add(tokens, types, scores, pieces[i], 1, -1 - i);
        }
        add(tokens, types, scores, "<|im_end|>", 3, 0);
        add(tokens, types, scores, "<sep>", 4, 0);
        Map<String, Object> metadata = new HashMap<>(Map.of("model", "llama", "tokens", tokens, "token_type", types));
        metadata.put("scores", scores);
        metadata.put("bos_token_id", 1);
        metadata.put("eos_token_id", 2);
        metadata.put("unknown_token_id", 0);
        return metadata;
    }

    private static void add(
            List<String> tokens, List<Integer> types, List<Float> scores, String token, int type, float score) {
        tokens.add(token);
        types.add(type);
        scores.add(score);
    }

    /**
     * The tokens of the 256 bytes, the results of the merges, the control token {@code <|end|>} and the user-defined
     * token {@code <sep>}.
     */
    static Map<String, Object> byteLevel(String pre, List<String> merges) {
        List<String> tokens = new ArrayList<>(byteAlphabet());
        merges.forEach(merge -> tokens.add(merge.replace(" ", "")));
        List<Integer> types = new ArrayList<>();
        tokens.forEach(token -> types.add(1));
        tokens.add("<|end|>");
        types.add(3);
        tokens.add("<sep>");
        types.add(4);
        Map<String, Object> metadata = new HashMap<>(Map.of("model", "gpt2", "pre", pre, "tokens", tokens));
        metadata.put("token_type", types);
        metadata.put("merges", merges);
        metadata.put("bos_token_id", tokens.size() - 2);
        metadata.put("eos_token_id", tokens.size() - 2);
        return metadata;
    }

    /** The byte-level spelling of each byte, according to the definition in GPT-2's encoder. */
    static List<String> byteAlphabet() {
        String visible =
                "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"
                        + "¡¢£¤¥¦§¨©ª«¬®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ";
        List<String> alphabet = new ArrayList<>();
        int others = 0;
        for (int b = 0; b < 256; b++) {
            boolean self = visible.indexOf(b) >= 0;
            alphabet.add(String.valueOf((char) (self ? b : 256 + others++)));
        }
        return alphabet;
    }

    /** Distinct merges; each merges two tokens that exist before it. */
    static List<String> randomMerges(Random random, int count, List<String> alphabet) {
        List<String> known = new ArrayList<>(alphabet);
        List<String> merges = new ArrayList<>();
        while (merges.size() < count) {
            String left = known.get(random.nextInt(known.size()));
            String right = known.get(random.nextInt(known.size()));
            if (left.length() + right.length() <= 8 && !known.contains(left + right)) {
                known.add(left + right);
                merges.add(left + " " + right);
            }
        }
        return merges;
    }

    /**
     * Merges of two neighbouring bytes of such texts, so that nearly every border between words is visible in the
     * tokens.
     */
    static List<String> neighbourMerges(Random random, int count) {
        List<String> alphabet = byteAlphabet();
        Set<String> merges = new LinkedHashSet<>();
        while (merges.size() < count) {
            byte[] bytes = randomText(random, 20).getBytes(StandardCharsets.UTF_8);
            for (int i = 1; i < bytes.length && merges.size() < count; i++) {
                merges.add(alphabet.get(bytes[i - 1] & 0xFF) + " " + alphabet.get(bytes[i] & 0xFF));
            }
        }
        return List.copyOf(merges);
    }

    private static final String[] SNIPPETS = {
        " ",
        "  ",
        "   ",
        "\n",
        "\r\n",
        "\t",
        "\u00A0",
        "\u3000",
        "\u2028",
        "\u0085",
        "\u200B",
        "a",
        "I'm",
        "'S",
        "'\u017F",
        "'ll",
        "'VE",
        "it's",
        "Hello",
        "WORLD",
        "helloWorld",
        "12",
        "1234567",
        "٣٤٥",
        "½",
        "Ⅷ",
        "é",
        "e\u0301",
        "Ünïcödé",
        "нещо",
        "កាន់តែ",
        "日本語",
        "かな",
        "カナ",
        "한국어",
        "中文字",
        "🦙",
        "😶‍🌫️",
        "\uD83D\uDE80",
        "!",
        "?!",
        "...",
        "--",
        "=",
        "+=",
        "$5",
        "`x`",
        "|",
        "~",
        "^",
        "<",
        "</s>",
        "/",
        "\\",
        "\"",
        "(a)",
        "_",
        "#",
        "＃",
        "～",
        "。",
        "¿",
        "\u0000",
        "\u007F",
        "\uFFFD",
        "ǅ",
        "ʔ",
        "ªº",
        "𝒳",
        "\u0660",
        "\u0E01\u0E34",
        "\u202E",
        "\uD835\uDC00"
    };

    /** Text in many scripts, with all kinds of whitespace and borders that the pre-tokenizers distinguish. */
    static String randomText(Random random, int snippets) {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < snippets; i++) {
            text.append(SNIPPETS[random.nextInt(SNIPPETS.length)]);
        }
        return text.toString();
    }

    /** Any characters, including surrogate pairs but no lone surrogates. */
    static String randomCharacters(Random random, int count) {
        StringBuilder text = new StringBuilder();
        while (text.length() < count) {
            int c = random.nextInt(4) == 0 ? random.nextInt(0x110000) : random.nextInt(0x500);
            if (c < 0xD800 || c > 0xDFFF) {
                text.appendCodePoint(c);
            }
        }
        return text.toString();
    }
}
