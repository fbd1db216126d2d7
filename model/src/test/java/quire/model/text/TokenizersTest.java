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
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class TokenizersTest {
    private static final List<String> MERGES = List.of("Ġ t", "h e", "l l", "Ġt he", "he ll", "hell o");

    private static Tokenizer spm() {
        return TestVocabularies.tokenizer(spmMetadata());
    }

    private static Map<String, Object> spmMetadata() {
        return TestVocabularies.sentencePiece(
                true, "he", "llo", "▁hello", "hello", "▁", "h", "e", "l", "o", "▁w", "or", "▁wor", "ld", "▁world", "ll",
                "w", "r", "d", ",", "lo", "▁hel", "hel");
    }

    private static Tokenizer bytes() {
        return TestVocabularies.tokenizer(TestVocabularies.byteLevel("gpt-2", MERGES));
    }

    private static List<String> spell(Tokenizer tokenizer, String text, boolean addSpecial, boolean parseSpecial) {
        return Arrays.stream(tokenizer.encode(text, addSpecial, parseSpecial))
                .mapToObj(tokenizer::spelling)
                .toList();
    }

    @Test
    void encode_sentencePiece_prefixesASpaceAndMergesBestScoreFirst() {
        assertThat(spell(spm(), "hello, world", false, false)).containsExactly("▁hello", ",", "▁world");
        assertThat(spell(spm(), "", false, false)).isEmpty();
        assertThat(spell(spm(), "", true, false)).containsExactly("<s>");
    }

    @Test
    void encode_sentencePieceWithoutSpacePrefix_startsWithTheText() {
        Map<String, Object> metadata = spmMetadata();
        metadata.put("add_space_prefix", false);

        assertThat(spell(TestVocabularies.tokenizer(metadata), "hello", false, false))
                .containsExactly("hello");
    }

    @Test
    void encode_unknownCharacter_fallsBackToItsBytes() {
        assertThat(spell(spm(), "é", false, false)).containsExactly("▁", "<0xC3>", "<0xA9>");
        assertThat(spm().bytes(spm().encode("é", false, false)[1])).containsExactly(0xC3);
    }

    @Test
    void encode_unknownCharactersWithoutByteTokens_areOneUnknownToken() {
        Tokenizer tokenizer = TestVocabularies.tokenizer(TestVocabularies.sentencePiece(false, "▁", "h"));

        assertThat(spell(tokenizer, "héèh", false, false)).containsExactly("▁", "h", "<unk>", "h");
    }

    @Test
    void encode_noWayToSpell_isRefusedNamingTheCharacter() {
        Map<String, Object> metadata = TestVocabularies.sentencePiece(false, "▁", "h");
        metadata.put("token_type", List.of(1, 3, 3, 1, 1, 3, 4));
        metadata.remove("unknown_token_id");
        Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);

        assertThatThrownBy(() -> tokenizer.encode("hé", false, false))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("'é'");
    }

    @Test
    void encode_equalScores_mergeLeftmostFirst() {
        Map<String, Object> metadata = TestVocabularies.sentencePiece(true, "a", "b", "aab", "ab", "aa", "ba");
        int size = TestVocabularies.tokens(metadata).size();
        metadata.put("scores", new float[size]);
        metadata.put("add_space_prefix", false);
        Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);

        assertThat(spell(tokenizer, "aba", false, false)).containsExactly("ab", "a");
        assertThat(spell(tokenizer, "baa", false, false)).containsExactly("ba", "a");
        assertThat(spell(tokenizer, "aab", false, false)).containsExactly("aab");
    }

    @Test
    void encode_tokenOfCharactersThatAreNoTokens_isMade() {
        Map<String, Object> metadata = TestVocabularies.sentencePiece(true, "xy", "xy𝒳", "▁");

        assertThat(spell(TestVocabularies.tokenizer(metadata), "xy𝒳", false, false))
                .containsExactly("▁", "xy𝒳");
    }

    @Test
    void encode_randomSmallVocabularies_isWhatRepeatedScanningGives() {
        Random random = new Random(31);
        for (int run = 0; run < 200; run++) {
            List<String> pieces = new ArrayList<>(List.of("a", "b", "c"));
            TestVocabularies.randomMerges(random, 25, pieces).forEach(merge -> pieces.add(merge.replace(" ", "")));
            Map<String, Object> metadata = TestVocabularies.sentencePiece(true, pieces.toArray(String[]::new));
            List<String> tokens = TestVocabularies.tokens(metadata);
            float[] scores = new float[tokens.size()];
            int distinct = 1 + random.nextInt(12);
            Map<String, Float> textToScore = new HashMap<>();
            for (int i = 0; i < scores.length; i++) {
                scores[i] = -random.nextInt(distinct);
                textToScore.put(tokens.get(i), scores[i]);
            }
            metadata.put("scores", scores);
            metadata.put("add_space_prefix", false);
            Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);
            for (int i = 0; i < 20; i++) {
                StringBuilder text = new StringBuilder();
                random.ints(random.nextInt(40), 0, 3).forEach(c -> text.append("abc".charAt(c)));
                assertThat(spell(tokenizer, text.toString(), false, false))
                        .isEqualTo(scan(text.toString(), textToScore));
            }
        }
    }

    /** A slow implementation of the definition of SentencePiece: repeatedly merges the leftmost of the best pairs. */
    private static List<String> scan(String text, Map<String, Float> textToScore) {
        List<String> symbols =
                new ArrayList<>(text.chars().mapToObj(Character::toString).toList());
        while (true) {
            int best = -1;
            float bestScore = Float.NEGATIVE_INFINITY;
            for (int i = 0; i + 1 < symbols.size(); i++) {
                Float score = textToScore.get(symbols.get(i) + symbols.get(i + 1));
                if (score != null && score > bestScore) {
                    best = i;
                    bestScore = score;
                }
            }
            if (best < 0) {
                return symbols;
            }
            symbols.set(best, symbols.get(best) + symbols.remove(best + 1));
        }
    }

    @Test
    void encode_byteLevel_mergesInTheListsOrderAndNeverAcrossWords() {
        assertThat(spell(bytes(), "hello the he", false, false)).containsExactly("hello", "Ġthe", "Ġ", "he");
        assertThat(spell(bytes(), "é", false, false)).containsExactly("Ã", "©");
        assertThat(spell(bytes(), "", true, false)).isEmpty();
    }

    @Test
    void encode_byteLevelRandomMerges_isWhatRepeatedScanningGives() {
        Random random = new Random(32);
        for (int run = 0; run < 100; run++) {
            List<String> merges = TestVocabularies.randomMerges(random, 40, List.of("a", "b", "c", "Ã", "©"));
            Map<String, Object> metadata = TestVocabularies.byteLevel("gpt-2", merges);
            Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);
            for (int i = 0; i < 20; i++) {
                StringBuilder text = new StringBuilder();
                random.ints(random.nextInt(40), 0, 4).forEach(c -> text.append("abcé".charAt(c)));
                List<String> symbols = new ArrayList<>(text.toString()
                        .replace("é", "Ã©")
                        .chars()
                        .mapToObj(Character::toString)
                        .toList());
                for (String merge : merges) {
                    String left = merge.substring(0, merge.indexOf(' '));
                    String right = merge.substring(merge.indexOf(' ') + 1);
                    for (int s = 0; s + 1 < symbols.size(); s++) {
                        if (symbols.get(s).equals(left) && symbols.get(s + 1).equals(right)) {
                            symbols.set(s, left + symbols.remove(s + 1));
                        }
                    }
                }
                assertThat(spell(tokenizer, text.toString(), false, false)).isEqualTo(symbols);
            }
        }
    }

    @Test
    void encode_wholeWordThatIsAToken_isTakenOnlyWhereThePreTokenizerIgnoresMerges() {
        List<String> tokens = new ArrayList<>(TestVocabularies.byteAlphabet());
        tokens.addAll(List.of("Ġword", "<|begin|>"));
        Map<String, Object> metadata = new HashMap<>(Map.of("model", "gpt2", "tokens", tokens, "merges", List.of()));
        metadata.put("pre", "llama-bpe");
        assertThat(spell(TestVocabularies.tokenizer(metadata), "a word", false, false))
                .containsExactly("a", "Ġword");

        metadata.put("pre", "qwen2");
        assertThat(spell(TestVocabularies.tokenizer(metadata), "a word", false, false))
                .containsExactly("a", "Ġ", "w", "o", "r", "d");
    }

    @Test
    void encode_parseSpecialFalse_leavesControlTokensText() {
        assertThat(spell(spm(), "<s>", false, false)).containsExactly("▁", "<0x3C>", "<0x73>", "<0x3E>");
        assertThat(spell(spm(), "<|im_end|>", false, false)).doesNotContain("<|im_end|>");
        assertThat(spell(spm(), "<unk>", false, false)).doesNotContain("<unk>");
        assertThat(spell(bytes(), "<|end|>", false, false)).doesNotContain("<|end|>");
        assertThat(bytes().decode(bytes().encode("<|end|>", false, false))).isEqualTo("<|end|>");
    }

    @Test
    void encode_parseSpecialTrue_makesThemTokens() {
        assertThat(spell(spm(), "hello<|im_end|>hello", false, true)).containsExactly("▁hello", "<|im_end|>", "▁hello");
        assertThat(spell(bytes(), "he<|end|> the<|end|>", false, true))
                .containsExactly("he", "<|end|>", "Ġthe", "<|end|>");
        assertThat(spell(bytes(), "<|end|", false, true)).doesNotContain("<|end|>");
    }

    @Test
    void encode_userDefinedToken_isAlwaysFound() {
        assertThat(spell(spm(), "hello<sep>", false, false)).containsExactly("▁hello", "<sep>");
        assertThat(spell(bytes(), "<sep>he", false, false)).containsExactly("<sep>", "he");
        assertThat(bytes().decode(bytes().encode("<sep>he", false, false))).isEqualTo("<sep>he");
    }

    @Test
    void encode_overlappingSpecialTokens_takesTheLongestAtTheFirstPlace() {
        Map<String, Object> metadata = TestVocabularies.byteLevel("gpt-2", List.of());
        List<String> tokens = new ArrayList<>(TestVocabularies.tokens(metadata));
        int[] types =
                IntStream.range(0, tokens.size() + 2).map(i -> i < 256 ? 1 : 4).toArray();
        tokens.addAll(List.of("<sep><sep>", "<s"));
        metadata.put("tokens", tokens);
        metadata.put("token_type", types);

        assertThat(spell(TestVocabularies.tokenizer(metadata), "<sep><sep><sep><s", false, false))
                .containsExactly("<sep><sep>", "<sep>", "<s");
    }

    @Test
    void encode_controlTokenThatMergesWouldMake_staysText() {
        Map<String, Object> metadata = TestVocabularies.byteLevel("llama-bpe", List.of("B O", "BO S"));
        List<String> tokens = TestVocabularies.tokens(metadata);
        int[] types = IntStream.range(0, tokens.size())
                .map(i -> tokens.get(i).equals("BOS") ? 3 : 1)
                .toArray();
        metadata.put("token_type", types);
        metadata.put("add_bos_token", false);
        Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);

        assertThat(spell(tokenizer, "BOS", true, false)).containsExactly("BO", "S");
        assertThat(spell(tokenizer, "BOS", true, true)).containsExactly("BOS");

        Map<String, Object> pieces = TestVocabularies.sentencePiece(true, "▁", "<", "s", ">", "<s", "/", "</", "</s");
        assertThat(spell(TestVocabularies.tokenizer(pieces), "<s></s>", false, false))
                .containsExactly("▁", "<s", ">", "</s", ">");
    }

    @Test
    void encode_addSpecial_addsWhatTheFileAsksFor() {
        Map<String, Object> spm = spmMetadata();
        assertThat(spell(TestVocabularies.tokenizer(spm), ",", true, false)).containsExactly("<s>", "▁", ",");
        spm.put("add_bos_token", false);
        spm.put("add_eos_token", true);
        assertThat(spell(TestVocabularies.tokenizer(spm), ",", true, false)).containsExactly("▁", ",", "</s>");
        assertThat(spell(TestVocabularies.tokenizer(spm), ",", false, false)).containsExactly("▁", ",");

        Map<String, Object> bpe = TestVocabularies.byteLevel("gpt-2", MERGES);
        assertThat(spell(TestVocabularies.tokenizer(bpe), "he", true, false)).containsExactly("he");
        bpe.put("pre", "llama-bpe");
        assertThat(spell(TestVocabularies.tokenizer(bpe), "he", true, false)).containsExactly("<|end|>", "he");
        bpe.remove("bos_token_id");
        assertThat(spell(TestVocabularies.tokenizer(bpe), "he", true, false)).containsExactly("he");
    }

    @Test
    void encode_loneSurrogates_areReplacementCharacters() {
        assertThat(bytes().encode("a\uD800b\uDC00", false, false))
                .isEqualTo(bytes().encode("a\uFFFDb\uFFFD", false, false));
        assertThat(spm().encode("\uDC00\uD800", false, false)).isEqualTo(spm().encode("\uFFFD\uFFFD", false, false));
    }

    @Test
    void decodeText_ofAnyEncodedText_isTheText() {
        Random random = new Random(33);
        Tokenizer spm = spm();
        Tokenizer bytes = bytes();
        for (int run = 0; run < 2_000; run++) {
            String text = (run % 2 == 0
                            ? TestVocabularies.randomText(random, random.nextInt(20))
                            : TestVocabularies.randomCharacters(random, random.nextInt(20)))
                    .replace("▁", "");
            text = run % 3 == 0 ? text + "<sep> " + text : text;
            assertThat(bytes.decodeText(bytes.encode(text, true, false))).isEqualTo(text);
            assertThat(bytes.decode(bytes.encode(text, true, false))).isEqualTo(text);
            assertThat(spm.decodeText(spm.encode(text, true, false))).isEqualTo(text);
        }
    }

    @Test
    void decode_continuation_keepsItsSpace() {
        Tokenizer tokenizer = spm();
        int[] continuation = {tokenizer.encode(" world", false, false)[1]};

        assertThat(tokenizer.spelling(continuation[0])).isEqualTo("▁world");
        assertThat(tokenizer.decode(continuation)).isEqualTo(" world");
        assertThat(tokenizer.decodeText(continuation)).isEqualTo("world");
    }

    @Test
    void bytes_ofEachKind_areWhatItStandsFor() {
        Tokenizer spm = spm();
        assertThat(spm.bytes(0)).isEmpty();
        assertThat(spm.bytes(1)).isEmpty();
        assertThat(spm.bytes(3 + 0xFE)).containsExactly(0xFE);
        assertThat(spm.bytes(spm.vocabularySize() - 1)).isEqualTo("<sep>".getBytes(StandardCharsets.UTF_8));
        Tokenizer bytes = bytes();
        for (int b = 0; b < 256; b++) {
            assertThat(bytes.bytes(b)).containsExactly(b);
        }
        assertThat(bytes.bytes(256)).isEqualTo(" t".getBytes(StandardCharsets.UTF_8));
        assertThat(bytes.bytes(bytes.vocabularySize() - 2)).isEmpty();
        bytes.bytes(256)[0] = 'x';
        assertThat(bytes.bytes(256)).isEqualTo(" t".getBytes(StandardCharsets.UTF_8));
    }

    @ParameterizedTest
    @ValueSource(ints = {-1, 264, Integer.MAX_VALUE, Integer.MIN_VALUE})
    void bytes_idOutOfRange_isRefused(int token) {
        assertThatThrownBy(() -> bytes().bytes(token))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining(String.valueOf(token));
    }

    @Test
    void isEndOfGeneration_eosAndKnownEndings_only() {
        Map<String, Object> metadata = spmMetadata();
        Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);
        List<String> endings = IntStream.range(0, tokenizer.vocabularySize())
                .filter(tokenizer::isEndOfGeneration)
                .mapToObj(tokenizer::spelling)
                .toList();
        assertThat(endings).containsExactly("</s>", "<|im_end|>");
        assertThat(tokenizer.eos()).hasValue(2);
        assertThat(tokenizer.bos()).hasValue(1);

        metadata.put("eos_token_id", tokenizer.vocabularySize() - 2);
        setTypeOf("</s>", 1, metadata);
        assertThat(TestVocabularies.tokenizer(metadata).isEndOfGeneration(2)).isFalse();
        metadata.put("eot_token_id", 2);
        assertThat(TestVocabularies.tokenizer(metadata).isEndOfGeneration(2)).isTrue();
    }

    @ParameterizedTest
    @ValueSource(strings = {"</s>", "<eos>", "[EOS]", "<|flush|>", "<|calls|>", "<|eot|>", "_<EOT>"})
    void isEndOfGeneration_anotherTokenIsTheFilesEnd_theBaseModelsControlTokenEndsToo(String spelling) {
        Map<String, Object> metadata = TestVocabularies.sentencePiece(true, spelling.equals("</s>") ? "x" : spelling);
        metadata.put("eos_token_id", TestVocabularies.tokens(metadata).indexOf("<|im_end|>"));
        int token = TestVocabularies.tokens(metadata).indexOf(spelling);
        setTypeOf(spelling, 3, metadata);
        assertThat(TestVocabularies.tokenizer(metadata).isEndOfGeneration(token))
                .isTrue();
        for (int plain : new int[] {1, 4}) {
            setTypeOf(spelling, plain, metadata);
            Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);
            assertThat(tokenizer.isEndOfGeneration(token)).isFalse();
            assertThat(tokenizer.decode(token)).isEqualTo(spelling);
        }
    }

    /** llama.cpp ends answers at these by their spelling. */
    @ParameterizedTest
    @ValueSource(strings = {"<fim_pad>", "<reponame>", "[PAD]"})
    void isEndOfGeneration_paddingOfOtherModels_isNone(String spelling) {
        Map<String, Object> metadata = TestVocabularies.sentencePiece(true, spelling);
        int token = TestVocabularies.tokens(metadata).indexOf(spelling);
        for (int type : new int[] {1, 3, 4}) {
            setTypeOf(spelling, type, metadata);
            assertThat(TestVocabularies.tokenizer(metadata).isEndOfGeneration(token))
                    .as("type %d", type)
                    .isFalse();
        }
    }

    @ParameterizedTest
    @CsvSource({"<|return|>, <|call|>", "<|flush|>, <|calls|>"})
    void isEndOfGeneration_formatWithSeveralMessagesInAnAnswer_theEndOfOneMessageIsNone(String end, String callsEnd) {
        Map<String, Object> metadata = TestVocabularies.sentencePiece(true, "<|end|>", end, callsEnd);
        for (String spelling : List.of("<|end|>", end, callsEnd)) {
            setTypeOf(spelling, 3, metadata);
        }
        Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);
        List<String> tokens = TestVocabularies.tokens(metadata);
        assertThat(tokenizer.isEndOfGeneration(tokens.indexOf("<|end|>"))).isFalse();
        assertThat(tokenizer.isEndOfGeneration(tokens.indexOf(end))).isTrue();
        assertThat(tokenizer.isEndOfGeneration(tokens.indexOf(callsEnd))).isTrue();
    }

    @Test
    void isEndOfGeneration_gemma4_includesTheStartOfAToolsAnswer() {
        Map<String, Object> metadata = TestVocabularies.sentencePiece(true, "<turn|>", "<|tool_response>");
        setTypeOf("<turn|>", 3, metadata);
        setTypeOf("<|tool_response>", 4, metadata);
        Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);
        for (String spelling : List.of("<turn|>", "<|tool_response>")) {
            int token = TestVocabularies.tokens(metadata).indexOf(spelling);
            assertThat(tokenizer.isEndOfGeneration(token)).as(spelling).isTrue();
        }
    }

    private static void setTypeOf(String spelling, int type, Map<String, Object> metadata) {
        int index = TestVocabularies.tokens(metadata).indexOf(spelling);
        List<Object> types = new ArrayList<>();
        if (metadata.get("token_type") instanceof List<?> list) {
            types.addAll(list);
        }
        types.set(index, type);
        metadata.put("token_type", types);
    }

    @Test
    void encodePrompt_fileThatAddsEos_leavesItOut() {
        Map<String, Object> metadata = spmMetadata();
        metadata.put("add_eos_token", true);
        Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);

        assertThat(tokenizer.encode(",", true, false)).startsWith(1).endsWith(2);
        assertThat(tokenizer.encodePrompt(",", true, false)).startsWith(1).doesNotContain(2);
        assertThat(tokenizer.encodePrompt(",", false, false)).isEqualTo(tokenizer.encode(",", false, false));
    }

    @Test
    void encode_textThatBeginsOrEndsWithWhatIsAdded_addsNoSecondOne() {
        Map<String, Object> metadata = spmMetadata();
        metadata.put("add_eos_token", true);
        Tokenizer tokenizer = TestVocabularies.tokenizer(metadata);

        assertThat(spell(tokenizer, "<s>hello", true, true)).containsExactly("<s>", "▁hello", "</s>");
        assertThat(spell(tokenizer, "<s>hello</s>", true, true)).containsExactly("<s>", "▁hello", "</s>");
        assertThat(spell(tokenizer, "<s><s>hello", true, true)).containsExactly("<s>", "<s>", "▁hello", "</s>");
        assertThat(spell(tokenizer, "hello<s>", true, true)).containsExactly("<s>", "▁hello", "<s>", "</s>");
        assertThat(spell(tokenizer, "<s>", true, true)).containsExactly("<s>", "</s>");
        assertThat(spell(tokenizer, "<s>hello", false, true)).containsExactly("<s>", "▁hello");
        assertThat(spell(tokenizer, "<s>,", true, false)).startsWith("<s>").hasSizeGreaterThan(4);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "hello",
                " hello",
                "  hello",
                "<|im_end|>hello",
                "<|im_end|> hello",
                "hello<|im_end|> <|im_end|>",
                "<sep>hello",
                "\nhello",
                "",
                " ",
                "é<|im_end|>é",
                "</s>hello"
            })
    void decodeText_ofAnEncodedTextWithControlTokens_isTheText(String text) {
        Map<String, Object> ended = spmMetadata();
        ended.put("add_eos_token", true);
        Map<String, Object> unprefixed = spmMetadata();
        unprefixed.put("add_space_prefix", false);
        for (Tokenizer tokenizer :
                List.of(spm(), bytes(), TestVocabularies.tokenizer(ended), TestVocabularies.tokenizer(unprefixed))) {
            for (boolean addSpecial : new boolean[] {true, false}) {
                assertThat(tokenizer.decodeText(tokenizer.encode(text, addSpecial, true)))
                        .isEqualTo(text);
            }
        }
    }

    @Test
    void isControl_tokensThatNeverAreText() {
        Tokenizer tokenizer = spm();

        assertThat(IntStream.range(0, tokenizer.vocabularySize())
                        .filter(tokenizer::isControl)
                        .mapToObj(tokenizer::spelling))
                .containsExactly("<unk>", "<s>", "</s>", "<|im_end|>");
    }

    @Test
    void encode_byManyVirtualThreads_isTheSame() throws Exception {
        Random random = new Random(34);
        List<String> texts = IntStream.range(0, 200)
                .mapToObj(i -> TestVocabularies.randomText(random, 50))
                .toList();
        for (Tokenizer tokenizer : List.of(spm(), bytes())) {
            List<int[]> expected = texts.stream()
                    .map(text -> tokenizer.encode(text, true, true))
                    .toList();
            try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
                List<Future<int[]>> results = texts.stream()
                        .map(text -> threads.submit(() -> tokenizer.encode(text, true, true)))
                        .toList();
                for (int i = 0; i < texts.size(); i++) {
                    assertThat(results.get(i).get()).isEqualTo(expected.get(i));
                }
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {" ", "a", "\n", "1", "!", "\u3000", "é", "🦙", "A", "中"})
    void encode_longRunOfOneCharacter_isLinearAndLosesNothing(String character) {
        String text = character.repeat(30_000) + "1" + character.repeat(30_000) + "x";
        for (String pre : List.of("llama-bpe", "gpt-4o", "qwen35", "deepseek-v3", "deepseek-llm", "default")) {
            Tokenizer tokenizer = TestVocabularies.tokenizer(TestVocabularies.byteLevel(pre, List.of("a a", "aa aa")));
            assertThat(tokenizer.decode(tokenizer.encode(text, false, false))).isEqualTo(text);
        }
        assertThat(spm().decodeText(spm().encode(text, false, false))).isEqualTo(text);
    }
}
