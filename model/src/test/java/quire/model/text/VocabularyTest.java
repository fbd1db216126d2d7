package quire.model.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.assertj.core.api.AbstractThrowableAssert;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.NullAndEmptySource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.model.format.ModelFormatException;

class VocabularyTest {
    private static AbstractThrowableAssert<?, ? extends Throwable> refusal(
            boolean sentencePiece, Consumer<Map<String, Object>> change) {
        Map<String, Object> metadata = sentencePiece
                ? TestVocabularies.sentencePiece(true, "a", "b", "ab")
                : TestVocabularies.byteLevel("gpt-2", List.of("a b"));
        change.accept(metadata);
        return assertThatThrownBy(() -> TestVocabularies.tokenizer(metadata))
                .isInstanceOf(ModelFormatException.class)
                .hasMessageStartingWith("test.gguf: tokenizer.ggml.")
                .hasMessageNotContaining("\n");
    }

    private static void refusedBoth(Consumer<Map<String, Object>> change, String... words) {
        refusal(true, change).hasMessageContainingAll(words);
        refusal(false, change).hasMessageContainingAll(words);
    }

    @Test
    void of_unknownPreTokenizer_isRefusedNamingItAndTheKnown() {
        refusal(false, m -> m.put("pre", "my-bpe")).hasMessageContainingAll("'my-bpe'", "llama-bpe", "qwen2");
    }

    @ParameterizedTest
    @NullAndEmptySource
    void of_noPreTokenizer_isTheDefaultWithAWarning(@Nullable String pre) {
        Map<String, Object> metadata = TestVocabularies.byteLevel("default", List.of("a b", "1 2", "3 4", "12 34"));
        Tokenizer expected = TestVocabularies.tokenizer(metadata);
        metadata.put("pre", pre);
        Vocabulary vocabulary = TestVocabularies.vocabulary(metadata);

        assertThat(vocabulary.warnings())
                .singleElement()
                .asString()
                .startsWith("test.gguf: tokenizer.ggml.pre is missing");
        for (String text : List.of("ab 1234 don't", "a\n\nb...", " x")) {
            assertThat(Tokenizers.of(vocabulary).encode(text, true, true)).isEqualTo(expected.encode(text, true, true));
        }
        assertThat(TestVocabularies.vocabulary(TestVocabularies.sentencePiece(true, "a"))
                        .warnings())
                .isEmpty();
    }

    @Test
    void of_unknownModel_isRefused() {
        refusedBoth(m -> m.put("model", "rwkv"), "'rwkv'", "'llama'", "'gpt2'");
        refusedBoth(m -> m.remove("model"), "model is missing");
        refusedBoth(m -> m.put("model", 7), "must be a string");
    }

    @Test
    void of_tokensMissingOrEmpty_isRefused() {
        refusedBoth(m -> m.remove("tokens"), "tokens is missing");
        refusedBoth(m -> m.put("tokens", List.of()), "is empty");
        refusedBoth(m -> m.put("tokens", List.of(1, 2)), "not a string at index 0");
        refusedBoth(m -> setToken(m, 9, "x".repeat(5000)), "token 9", "5000");
    }

    @Test
    void of_arraysOfTheWrongSizeOrKind_isRefused() {
        refusedBoth(m -> m.put("token_type", new int[3]), "token_type has 3 entries");
        refusedBoth(m -> setType(m, 4, 77), "token 4", "type 77");
        refusedBoth(m -> setType(m, 4, -1), "token 4", "type -1");
        refusedBoth(m -> m.put("token_type", "x"), "must be an array of numbers");
        refusedBoth(m -> m.put("scores", new float[1]), "scores has 1 entries");
        refusedBoth(m -> m.put("scores", List.of("a")), "not a number");
        refusal(true, m -> m.remove("scores")).hasMessageContaining("scores is missing");
        refusal(true, m -> {
                    float[] scores = new float[TestVocabularies.tokens(m).size()];
                    scores[5] = Float.NaN;
                    m.put("scores", scores);
                })
                .hasMessageContaining("token 5");
    }

    @Test
    void of_idThatIsNoWholeNumber_isRefused() {
        for (String name : List.of("bos", "eos", "eot", "eom", "unknown")) {
            refusedBoth(m -> m.put(name + "_token_id", 1.5), name + "_token_id");
            refusedBoth(m -> m.put(name + "_token_id", "1"), "must be a number");
        }
    }

    @ParameterizedTest
    @ValueSource(longs = {4_294_967_295L, -1, 100_000, 1L << 33, Long.MIN_VALUE, Long.MAX_VALUE})
    void of_idsOutOfRange_countAsAbsentWithOneWarning(long none) {
        for (boolean sentencePiece : List.of(true, false)) {
            Map<String, Object> metadata = sentencePiece
                    ? TestVocabularies.sentencePiece(true, "a", "b", "ab")
                    : TestVocabularies.byteLevel("gpt-2", List.of("a b"));
            Map<String, Object> absent = new HashMap<>(metadata);
            for (String name : List.of("bos", "eot", "eom", "unknown", "fim_pad", "fim_rep", "fim_sep")) {
                metadata.put(name + "_token_id", none);
                absent.remove(name + "_token_id");
            }
            Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);
            Tokenizer expected = TestVocabularies.tokenizer(absent);

            assertThat(TestVocabularies.vocabulary(metadata).warnings())
                    .singleElement()
                    .asString()
                    .contains("bos_token_id, ", "fim_sep_token_id", "treated as absent");
            assertThat(tokenizer.encode("ab é<sep>", true, true)).isEqualTo(expected.encode("ab é<sep>", true, true));
            assertThat(tokenizer.bos()).isEqualTo(expected.bos());
            for (int token = 0; token < tokenizer.vocabularySize(); token++) {
                assertThat(tokenizer.isControl(token)).isEqualTo(expected.isControl(token));
                assertThat(tokenizer.isEndOfGeneration(token)).isEqualTo(expected.isEndOfGeneration(token));
            }
        }
    }

    @Test
    void of_eosOutOfRange_isTheEndTokenThatIsKnownByItsSpelling() {
        Map<String, Object> bytes = TestVocabularies.byteLevel("gpt-2", List.of("a b"));
        bytes.put("eos_token_id", 4_294_967_295L);
        Tokenizer tokenizer = TestVocabularies.tokenizer(bytes);
        assertThat(tokenizer.spelling(tokenizer.eos().getAsInt())).isEqualTo("<|end|>");
        assertThat(tokenizer.isEndOfGeneration(tokenizer.eos().getAsInt())).isTrue();

        Map<String, Object> pieces = TestVocabularies.sentencePiece(true, "a");
        pieces.put("eos_token_id", -1);
        assertThat(TestVocabularies.tokenizer(pieces).eos()).hasValue(2);
    }

    @Test
    void of_bosAskedForAndOutOfRange_isRefused() {
        refusal(false, m -> {
                    m.put("bos_token_id", 4_294_967_295L);
                    m.put("add_bos_token", true);
                })
                .hasMessageContainingAll("add_bos_token is true", "bos_token_id names no token");
    }

    @Test
    void of_spellingTwice_theLowerIdEncodesAndBothDecode() {
        Map<String, Object> pieces = TestVocabularies.sentencePiece(true, "▁", "a", "b", "ab", "a", "ab", "<0x41>");
        Vocabulary vocabulary = TestVocabularies.vocabulary(pieces);
        Tokenizer tokenizer = Tokenizers.of(vocabulary);
        int first = 3 + 256;
        assertThat(vocabulary.repeatedSpellings()).isEqualTo(3);
        assertThat(vocabulary.warnings()).isEmpty();
        assertThat(tokenizer.encode("ab", false, false)).containsExactly(first, first + 3);
        assertThat(tokenizer.encode("a", false, false)).containsExactly(first, first + 1);
        assertThat(tokenizer.decode(first + 4, first + 5)).isEqualTo("aab");
        assertThat(tokenizer.decode(tokenizer.encode("A", false, false))).isEqualTo(" A");

        Map<String, Object> bytes = TestVocabularies.byteLevel("llama-bpe", List.of("a b", "ab a"));
        List<String> tokens = TestVocabularies.tokens(bytes);
        List<String> repeated = new ArrayList<>(tokens);
        repeated.addAll(List.of("a", "ab", "aba"));
        int[] types = new int[repeated.size()];
        Arrays.fill(types, 1);
        bytes.put("tokens", repeated);
        bytes.put("token_type", types);
        bytes.put("add_bos_token", false);
        Tokenizer byteLevel = TestVocabularies.tokenizer(bytes);
        assertThat(byteLevel.encode("aba", false, false)).containsExactly(tokens.indexOf("aba"));
        assertThat(byteLevel.encode("ab", false, false)).containsExactly(tokens.indexOf("ab"));
        assertThat(byteLevel.encode("ca", false, false)).endsWith(tokens.indexOf("a"));
        assertThat(byteLevel.decode(tokens.size(), tokens.size() + 1, tokens.size() + 2))
                .isEqualTo("aababa");
    }

    @Test
    void of_spellingTwiceOnceAsControlToken_textBecomesTheOtherOne() {
        Map<String, Object> bytes = TestVocabularies.byteLevel("gpt-2", List.of("a b", "ab a"));
        List<String> tokens = TestVocabularies.tokens(bytes);
        int control = tokens.indexOf("ab");
        tokens.add("ab");
        int[] types =
                IntStream.range(0, tokens.size()).map(i -> i == control ? 3 : 1).toArray();
        bytes.put("tokens", tokens);
        bytes.put("token_type", types);
        Tokenizer tokenizer = TestVocabularies.tokenizer(bytes);

        assertThat(tokenizer.encode("ab", false, false)).containsExactly(tokens.size() - 1);
        assertThat(tokenizer.encode("ab", false, true)).containsExactly(control);
        assertThat(tokenizer.encode("aba", false, false)).containsExactly(tokens.indexOf("aba"));
    }

    @Test
    void of_spellingsThatAreNotUtf8_areDifferentTokensThatGiveTheirOwnBytes() {
        byte[] left = {(byte) 0xE2, (byte) 0x96, (byte) 0x81, (byte) 0xF0};
        byte[] right = {(byte) 0xFF};
        Map<String, Object> pieces = TestVocabularies.sentencePiece(true, "▁", "x", "y");
        List<Object> spellings = new ArrayList<>();
        TestVocabularies.tokens(pieces).forEach(token -> spellings.add(token.getBytes(StandardCharsets.UTF_8)));
        spellings.set(260, left);
        spellings.set(261, right);
        pieces.put("tokens", spellings);
        Vocabulary vocabulary = TestVocabularies.vocabulary(pieces);
        Tokenizer tokenizer = Tokenizers.of(vocabulary);

        assertThat(vocabulary.repeatedSpellings()).isZero();
        assertThat(tokenizer.bytes(260)).containsExactly(' ', 0xF0);
        assertThat(tokenizer.bytes(261)).containsExactly(0xFF);
        assertThat(tokenizer.spelling(261)).isEqualTo("\uFFFD");
        assertThat(tokenizer.encode("\uFFFD", false, false)).doesNotContain(260, 261);
    }

    @Test
    void of_bosAskedForAndMissing_isRefused() {
        refusal(false, m -> {
                    m.remove("bos_token_id");
                    m.put("add_bos_token", true);
                })
                .hasMessageContainingAll("add_bos_token", "bos_token_id");
        refusal(false, m -> {
                    m.remove("eos_token_id");
                    m.put("add_eos_token", true);
                })
                .hasMessageContainingAll("add_eos_token", "eos_token_id");
    }

    @Test
    void of_badMerges_isRefusedNamingTheEntry() {
        for (String merge : List.of("ab", "", " ", "a ", "a b c", "a  b")) {
            refusal(false, m -> m.put("merges", List.of("a b", merge))).hasMessageContaining("entry 1");
        }
        refusal(false, m -> m.put("merges", List.of("a zz"))).hasMessageContaining("'zz', which is no token");
        refusal(false, m -> m.put("merges", List.of("zz a"))).hasMessageContaining("'zz', which is no token");
        refusal(false, m -> m.put("merges", List.of("b a"))).hasMessageContaining("'ba', which is no token");
    }

    @Test
    void of_badByteTokens_isRefused() {
        refusal(true, m -> setToken(m, 3, "<0xZZ>")).hasMessageContaining("byte token 3");
        refusal(true, m -> setToken(m, 3, "")).hasMessageContaining("byte token 3");
        refusal(false, m -> setType(m, 3, 6)).hasMessageContaining("token 3");
    }

    @Test
    void of_emptyTokens_areKeptButNeverEncoded() {
        Map<String, Object> metadata = TestVocabularies.sentencePiece(true, "a", "", "▁");
        metadata.put("token_type", null);
        Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);

        assertThat(tokenizer.bytes(260)).isEmpty();
        assertThat(tokenizer.decodeText(tokenizer.encode("a b", false, true))).isEqualTo("a b");
    }

    @Test
    void of_nothingButNames_meansTheUsualIds() {
        Map<String, Object> metadata = TestVocabularies.sentencePiece(true, "▁");
        metadata.keySet().removeIf(key -> key.endsWith("_id"));
        Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);

        assertThat(tokenizer.bos()).hasValue(1);
        assertThat(tokenizer.eos()).hasValue(2);

        metadata.put("token_type", IntStream.range(0, 262).map(i -> 1).toArray());
        assertThat(TestVocabularies.tokenizer(metadata).bos()).isEmpty();
    }

    @Test
    void of_threeHundredThousandTokens_isFine() {
        List<String> tokens = new ArrayList<>(TestVocabularies.byteAlphabet());
        IntStream.range(256, 299_999).forEach(i -> tokens.add("tok" + i));
        tokens.add("word");
        Map<String, Object> metadata = new HashMap<>(Map.of("model", "gpt2", "pre", "llama-bpe", "tokens", tokens));
        metadata.put("merges", List.of());
        Tokenizer bytes = TestVocabularies.tokenizer(metadata);
        assertThat(bytes.encode("word", false, false)).containsExactly(299_999);

        metadata.put("model", "llama");
        metadata.put("scores", new float[tokens.size()]);
        assertThat(TestVocabularies.tokenizer(metadata).vocabularySize()).isEqualTo(300_000);
    }

    @Test
    void of_tokensThatAreAllCutsOfEachOther_isFine() {
        String[] pieces =
                IntStream.range(0, 400).mapToObj(i -> "a".repeat(400 - i)).toArray(String[]::new);
        Tokenizer tokenizer = TestVocabularies.tokenizer(TestVocabularies.sentencePiece(true, pieces));

        assertThat(tokenizer.spelling(tokenizer.encode("a".repeat(400), false, false)[3]))
                .hasSize(400);
    }

    @Test
    void of_mutatedVocabularies_workOrAreRefusedInOneLine() {
        Random random = new Random(41);
        Object[] values = {
            "",
            "x",
            "<s>",
            "\uD800",
            0,
            -1,
            7,
            1 << 20,
            1L << 40,
            2.5f,
            Float.NaN,
            true,
            List.of(),
            List.of("a"),
            List.of(1),
            new int[0],
            new float[] {1},
            new String[] {"a", "b"}
        };
        String[] strings = {
            "", " ", "a", "ab", "a b", "<s>", "<0x41>", "<0xFF>", "\uDC00", "\u0000", "▁", "Ġ", "🦙", "<sep>"
        };
        int[] works = new int[5];
        for (int run = 0; run < 10_000; run++) {
            Map<String, Object> metadata =
                    switch (run % 5) {
                        case 0 -> TestVocabularies.sentencePiece(random.nextBoolean(), "a", "b", "ab", "▁");
                        case 1 -> TestVocabularies.byteLevel("llama-bpe", List.of("a b", "ab c"));
                        case 2 -> OtherVocabulariesTest.bert();
                        case 3 -> OtherVocabulariesTest.t5();
                        default -> OtherVocabulariesTest.gemma();
                    };
            for (int change = random.nextInt(3); change >= 0; change--) {
                List<String> keys = metadata.keySet().stream().sorted().toList();
                int token = random.nextInt(200);
                switch (random.nextInt(4)) {
                    case 0 ->
                        metadata.put(keys.get(random.nextInt(keys.size())), values[random.nextInt(values.length)]);
                    case 1 -> metadata.remove(keys.get(random.nextInt(keys.size())));
                    case 2 -> setToken(metadata, token, strings[random.nextInt(strings.length)]);
                    default -> setType(metadata, token, random.nextInt(7));
                }
            }
            try {
                Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);
                works[run % 5]++;
                tokenizer.decodeText(tokenizer.encode("<s>ab é\uD800 <sep>", true, true));
            } catch (ModelFormatException | IllegalArgumentException e) {
                assertThat(e.getMessage()).isNotBlank().doesNotContain("\n");
            }
        }
        assertThat(works).as("of 2,000 of each kind").satisfies(each -> assertThat(IntStream.of(each))
                .allMatch(count -> count > 200 && count < 1_800));
    }

    private static void setToken(Map<String, Object> metadata, int token, String spelling) {
        List<String> tokens = TestVocabularies.tokens(metadata);
        if (token < tokens.size()) {
            tokens.set(token, spelling);
            metadata.put("tokens", tokens);
        }
    }

    private static void setType(Map<String, Object> metadata, int token, int type) {
        int[] types = new int[TestVocabularies.tokens(metadata).size()];
        Arrays.fill(types, 1);
        if (token < types.length) {
            types[token] = type;
        }
        metadata.put("token_type", types);
    }
}
