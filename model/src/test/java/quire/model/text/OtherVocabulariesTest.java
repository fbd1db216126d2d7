package quire.model.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.Function;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import quire.model.format.ModelFormatException;

/** WordPiece, the unigram model, BPE over characters, and the rules of families that no key of a file names. */
class OtherVocabulariesTest {
    private static final int NORMAL = 1;
    private static final int UNKNOWN = 2;
    private static final int CONTROL = 3;
    private static final int USER_DEFINED = 4;
    private static final int BYTE = 6;

    /** The metadata of a vocabulary; a number behind a token is its type. */
    private static Map<String, Object> metadata(String model, Object... tokensAndTypes) {
        List<String> tokens = new ArrayList<>();
        List<Integer> types = new ArrayList<>();
        for (Object each : tokensAndTypes) {
            if (each instanceof Integer type) {
                types.set(types.size() - 1, type);
            } else {
                tokens.add((String) each);
                types.add(NORMAL);
            }
        }
        return new HashMap<>(Map.of("model", model, "tokens", tokens, "token_type", types));
    }

    private static List<String> spell(Tokenizer tokenizer, String text, boolean special) {
        return Arrays.stream(tokenizer.encode(text, special, special))
                .mapToObj(tokenizer::spelling)
                .toList();
    }

    static Map<String, Object> bert() {
        return metadata(
                "bert", "[PAD]", "[UNK]", UNKNOWN, "[CLS]", CONTROL, "[SEP]", CONTROL, "▁un", "aff", "able", "▁hello",
                "▁,", "▁中", "▁文", "▁e", "e", "▁Hello", "▁é", "▁+", "▁\u1100", "\u1161");
    }

    @Test
    void wordPiece_words_becomeTheLongestPieces() {
        Tokenizer tokenizer = TestVocabularies.tokenizer(bert());
        assertThat(spell(tokenizer, "Hello, unaffable!", true))
                .containsExactly("[CLS]", "▁hello", "▁,", "▁un", "aff", "able", "[UNK]", "[SEP]");
        assertThat(spell(tokenizer, "中文+\u00E9\u0301\u0007e\tunx", false))
                .containsExactly("▁中", "▁文", "▁+", "▁e", "e", "[UNK]");
        assertThat(spell(tokenizer, "\uAC00", false)).containsExactly("▁\u1100", "\u1161");
        assertThat(spell(tokenizer, " \n\u00A0", false)).isEmpty();
        assertThat(tokenizer.decodeText(tokenizer.encode("hello, unaffable", true, false)))
                .isEqualTo("hello , unaffable");
    }

    @Test
    void wordPiece_wordOfMoreThanAHundredLetters_isUnknown() {
        Tokenizer tokenizer = TestVocabularies.tokenizer(bert());
        assertThat(spell(tokenizer, "e".repeat(100), false)).hasSize(100);
        assertThat(spell(tokenizer, "e".repeat(101) + " e", false)).containsExactly("[UNK]", "▁e");
    }

    @Test
    void wordPiece_emojiInAWord_makesTheWholeWordUnknown() {
        Tokenizer tokenizer = TestVocabularies.tokenizer(bert());
        assertThat(spell(tokenizer, "hello e\uD83D\uDE00e e", false)).containsExactly("▁hello", "[UNK]", "▁e");
    }

    @Test
    void wordPiece_fileThatKeepsCase_leavesTheText() {
        Map<String, Object> metadata = bert();
        metadata.put("normalizer.lowercase", false);
        Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);
        assertThat(spell(tokenizer, "Hello hello \u00E9", false)).containsExactly("▁Hello", "▁hello", "▁é");
    }

    @Test
    void wordPiece_noUnknownToken_isRefused() {
        assertThatThrownBy(() -> TestVocabularies.tokenizer(metadata("bert", "a")))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageContaining("unknown_token_id is missing");
    }

    static Map<String, Object> t5() {
        Map<String, Object> metadata = metadata(
                "t5",
                "<pad>",
                CONTROL,
                "</s>",
                CONTROL,
                "<unk>",
                UNKNOWN,
                "▁",
                "▁a",
                "b",
                "ab",
                "▁ab",
                "abc",
                "c",
                "<x>",
                USER_DEFINED);
        metadata.put("scores", List.of(0f, 0f, 0f, -4f, -2f, -2f, -3f, -5f, -3.5f, -6f, 0f));
        return metadata;
    }

    @Test
    void unigram_text_takesTheHighestSumOfScores() {
        Map<String, Object> metadata = t5();
        metadata.put("add_space_prefix", true);
        Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);
        // ▁a b: -4, ▁ab: -5, ▁ ab: -7
        assertThat(spell(tokenizer, "ab", true)).containsExactly("▁a", "b", "</s>");
        // ▁ abc: -7.5, ▁a b c: -10
        assertThat(spell(tokenizer, "abc", false)).containsExactly("▁", "abc");
        assertThat(spell(tokenizer, "xyzb", false)).containsExactly("▁", "<unk>", "b");
        assertThat(spell(tokenizer, "b<x>b", false)).containsExactly("▁", "b", "<x>", "▁", "b");
        assertThat(tokenizer.decodeText(tokenizer.encode("ab abc", true, false)))
                .isEqualTo("ab abc");
    }

    @Test
    void unigram_bestWay_isTheBestOfAllWays() {
        Random random = new Random(3);
        for (int run = 0; run < 200; run++) {
            List<String> tokens = new ArrayList<>(List.of("<unk>", "a", "b", "c"));
            for (int i = 0; i < 8; i++) {
                tokens.add(TestVocabularies.randomMerges(random, 6, List.of("a", "b", "c"))
                        .get(5)
                        .replace(" ", ""));
            }
            List<Float> scores = new ArrayList<>();
            List<Integer> types = new ArrayList<>();
            tokens.forEach(token -> scores.add(-1 - random.nextInt(64) / 8f));
            tokens.forEach(token -> types.add(NORMAL));
            types.set(0, UNKNOWN);
            Map<String, Object> metadata = new HashMap<>(Map.of("model", "t5", "tokens", tokens, "token_type", types));
            metadata.put("scores", scores);
            metadata.put("unknown_token_id", 0);
            Vocabulary vocabulary = TestVocabularies.vocabulary(metadata);
            String text = random.ints(9, 'a', 'd')
                    .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append)
                    .toString();
            float sum = 0;
            for (int token : Tokenizers.of(vocabulary).encode(text, false, false)) {
                sum += vocabulary.score(token);
            }
            assertThat(sum).isEqualTo(best(vocabulary, text));
        }
    }

    /** By trying all ways. */
    private static float best(Vocabulary vocabulary, String text) {
        float best = text.isEmpty() ? 0 : Float.NEGATIVE_INFINITY;
        for (int end = 1; end <= text.length(); end++) {
            int token = vocabulary.find(text.substring(0, end));
            if (token >= 0) {
                best = Math.max(best, vocabulary.score(token) + best(vocabulary, text.substring(end)));
            }
        }
        return best;
    }

    /** A table that makes "b" of "B", and a space of a line break. */
    private static int[] characterMap() {
        int[] units = new int[512];
        int root = 256;
        units[0] = root << 10;
        child(units, root, '\n', 300, 0);
        child(units, root, 'B', 400, 2);
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ByteBuffer trie = ByteBuffer.allocate(4 + units.length * 4).order(ByteOrder.LITTLE_ENDIAN);
        trie.putInt(units.length * 4);
        for (int unit : units) {
            trie.putInt(unit);
        }
        out.writeBytes(trie.array());
        out.writeBytes(" \0b\0".getBytes(StandardCharsets.US_ASCII));
        byte[] bytes = out.toByteArray();
        int[] map = new int[bytes.length];
        for (int i = 0; i < map.length; i++) {
            map[i] = bytes[i];
        }
        return map;
    }

    private static void child(int[] units, int parent, int b, int value, int replacement) {
        int index = parent ^ b;
        units[index] = b | 1 << 8 | (index ^ value) << 10;
        units[value] = replacement | 1 << 31;
    }

    @Test
    void unigram_characterMap_rewritesTheText() {
        Map<String, Object> metadata = t5();
        metadata.put("precompiled_charsmap", characterMap());
        metadata.put("remove_extra_whitespaces", true);
        Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);
        assertThat(spell(tokenizer, "aB\n\n  B\n", false)).containsExactly("▁a", "b", "▁", "b");
        assertThat(spell(tokenizer, "\n", false)).isEmpty();
        metadata.put("remove_extra_whitespaces", false);
        assertThat(spell(TestVocabularies.tokenizer(metadata), "\nB", false)).containsExactly("▁", "b");
    }

    @Test
    void unigram_damagedCharacterMap_isRefusedOrRewritesSomething() {
        Map<String, Object> metadata = t5();
        for (int[] map : List.of(new int[] {1, 2}, new int[] {4, 0, 0, 0}, new int[] {-1, -1, -1, -1, 0, 0})) {
            metadata.put("precompiled_charsmap", map);
            assertThatThrownBy(() -> TestVocabularies.tokenizer(metadata))
                    .isInstanceOf(ModelFormatException.class)
                    .hasMessageContaining("precompiled_charsmap");
        }
        Random random = new Random(8);
        for (int run = 0; run < 2_000; run++) {
            int[] map = characterMap();
            for (int i = random.nextInt(40); i >= 0; i--) {
                map[4 + random.nextInt(map.length - 4)] = random.nextInt(256);
            }
            metadata.put("precompiled_charsmap", map);
            Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);
            tokenizer.encode("aB\n\u00E9 " + TestVocabularies.randomCharacters(random, 20), true, true);
        }
    }

    static Map<String, Object> gemma() {
        List<Object> tokens = new ArrayList<>(List.of(
                "<pad>", CONTROL, "<eos>", CONTROL, "<bos>", CONTROL, "<unk>", UNKNOWN, "<|tool>", USER_DEFINED));
        for (int b = 0; b < 256; b++) {
            tokens.addAll(List.of(String.format("<0x%02X>", b), BYTE));
        }
        tokens.addAll(List.of("\n", "\n\n", "▁", "a", "b", "▁a", "▁ab", "▁▁"));
        Map<String, Object> metadata = metadata("gemma4", tokens.toArray());
        metadata.put("merges", List.of("▁ a", "▁a b", "▁ ▁"));
        metadata.put("bos_token_id", 2);
        metadata.put("eos_token_id", 1);
        metadata.put("unknown_token_id", 3);
        metadata.put("add_bos_token", false); // as in the first files, which are wrong
        return metadata;
    }

    @Test
    void gemma4_text_mergesCharactersWithinLines() {
        for (String model : List.of("gemma4", "gpt2")) {
            Map<String, Object> metadata = gemma();
            metadata.put("model", model);
            metadata.put("pre", "gemma4");
            Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);
            assertThat(spell(tokenizer, " ab  b\n\na\n\n\n", false))
                    .containsExactly("▁ab", "▁▁", "b", "\n\n", "a", "\n", "\n", "\n");
            assertThat(spell(tokenizer, "é<|tool>", false)).containsExactly("<0xC3>", "<0xA9>", "<|tool>");
            assertThat(tokenizer.decodeText(tokenizer.encode(" ab é\n\n", true, false)))
                    .isEqualTo(" ab é\n\n");
        }
        assertThat(spell(TestVocabularies.tokenizer(gemma()), "a", true)).containsExactly("<bos>", "a");
    }

    @Test
    void merges_missing_areAFault() {
        Map<String, Object> bytes = TestVocabularies.byteLevel("gpt-2", List.of());
        assertThat(spell(TestVocabularies.tokenizer(bytes), "ab", false)).containsExactly("a", "b");
        for (Map<String, Object> metadata : List.of(bytes, gemma())) {
            metadata.remove("merges");
            assertThatThrownBy(() -> TestVocabularies.tokenizer(metadata))
                    .isInstanceOf(ModelFormatException.class)
                    .hasMessageContaining("merges is missing");
        }
    }

    @Test
    void phi3_spacesBehindControlTokens_areNoText() {
        Map<String, Object> metadata = TestVocabularies.sentencePiece(true, "▁hi", "▁", "h", "i", "▁h");
        Function<String, Object> read = key ->
                key.equals("general.architecture") ? "phi3" : metadata.get(key.substring(Vocabulary.PREFIX.length()));
        Tokenizer phi = Tokenizers.of(Vocabulary.read("phi", read));
        String text = "<|im_end|> \n\u00A0hi <|im_end|>\n";
        assertThat(spell(phi, text, true)).containsExactly("<s>", "<|im_end|>", "▁hi", "▁", "<|im_end|>");
        assertThat(spell(phi, "<s> hi", true)).containsExactly("<s>", "▁", "▁hi");
        assertThat(phi.encode(text, false, false)).hasSizeGreaterThan(10);
        Tokenizer other = TestVocabularies.tokenizer(metadata);
        assertThat(spell(other, "<|im_end|> hi", true)).containsExactly("<s>", "<|im_end|>", "▁", "▁hi");
    }

    /** As the tokenizers of these makers do, and llama.cpp does not. */
    @ParameterizedTest
    @ValueSource(strings = {"qwen2", "qwen35", "command-r", "olmo", "modern-bert"})
    void composing_accentBehindALetter_becomesOneLetter(String pre) {
        List<String> merges = List.of("Ã ©");
        Tokenizer composing = TestVocabularies.tokenizer(TestVocabularies.byteLevel(pre, merges));
        assertThat(spell(composing, "e\u0301", false)).containsExactly("Ã©");
        assertThat(composing.encodePrompt("e\u0301", false, false, 1)).hasSize(1);
        // Four characters become one, so the length alone refuses nothing that fits.
        String longest = "\u03B1\u0313\u0300\u0345".repeat(300);
        int tokens = composing.encode(longest, false, false).length;
        assertThat(composing.encodePrompt(longest, false, false, tokens)).hasSize(tokens);
        Tokenizer other = TestVocabularies.tokenizer(TestVocabularies.byteLevel("llama-bpe", merges));
        assertThat(spell(other, "e\u0301", false)).hasSize(3);
    }

    @Test
    void compose_longRunOfMarks_isComposedInPieces() {
        assertThat(Composition.compose("plain \u00E9")).isEqualTo("plain \u00E9");
        assertThat(Composition.compose("e\u0301\u1100\u1161")).isEqualTo("\u00E9\uAC00");
        String marks = "\u0301\u0316".repeat(200_000);
        assertThat(Composition.compose("a" + marks)).hasSize(400_000).startsWith("\u00E1\u0316");
    }
}
