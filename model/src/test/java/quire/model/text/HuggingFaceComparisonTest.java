package quire.model.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Compares the tokens of many texts with those of Hugging Face's library. */
class HuggingFaceComparisonTest {
    static List<String> preTokenizers() {
        return PreTokenizer.names();
    }

    @ParameterizedTest
    @MethodSource("preTokenizers")
    void encode_everyPreTokenizer_agrees(String name) {
        Random random = new Random(21);
        List<String> merges = TestVocabularies.neighbourMerges(random, 1_500);
        Vocabulary vocabulary = TestVocabularies.vocabulary(TestVocabularies.byteLevel(name, merges));
        Tokenizer ours = Tokenizers.of(vocabulary);

        try (HuggingFace theirs = HuggingFace.byteLevel(vocabulary)) {
            for (int run = 0; run < 1_000; run++) {
                String text = run % 2 == 0
                        ? TestVocabularies.randomText(random, 1 + random.nextInt(20))
                        : TestVocabularies.randomCharacters(random, 1 + random.nextInt(20));
                assertThat(ours.encode(text, false, false))
                        .as(Vocabulary.quote(text))
                        .isEqualTo(theirs.encode(text));
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"gpt-2", "deepseek-coder"})
    void encode_realByteLevelVocabulary_agrees(String name) {
        Vocabulary vocabulary = real("vocab/" + name + ".gguf");
        Tokenizer ours = Tokenizers.of(vocabulary);
        Random random = new Random(22);

        try (HuggingFace theirs = HuggingFace.byteLevel(vocabulary)) {
            for (int run = 0; run < 3_000; run++) {
                // Without the letters that the file of deepseek-coder declares as user-defined tokens.
                String text = randomSpelledText(random, vocabulary, ours, run).replaceAll("[õ÷ÁýÀÿøúþüùöû]", "");
                assertThat(ours.encode(text, false, false))
                        .as(Vocabulary.quote(text))
                        .isEqualTo(theirs.encode(text));
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"vocab/llama-spm.gguf", "models/stories260K.gguf"})
    void encode_realSentencePieceVocabulary_agrees(String name) {
        Vocabulary vocabulary = real(name);
        Tokenizer ours = Tokenizers.of(vocabulary);
        Random random = new Random(23);

        try (HuggingFace theirs = HuggingFace.sentencePiece(vocabulary)) {
            for (int run = 0; run < 3_000; run++) {
                String text = randomSpelledText(random, vocabulary, ours, run);
                assertThat(ours.encode(text, false, false))
                        .as(Vocabulary.quote(text))
                        .isEqualTo(theirs.encode(text.isEmpty() ? "" : "▁" + text.replace(' ', '▁')));
            }
        }
    }

    @Test
    void encode_randomSentencePieceVocabulariesWithDistinctScores_agrees() {
        Random random = new Random(24);
        for (int run = 0; run < 100; run++) {
            List<String> pieces = new ArrayList<>(List.of("a", "b", "c", "▁"));
            TestVocabularies.randomMerges(random, 30, pieces).forEach(merge -> pieces.add(merge.replace(" ", "")));
            List<String> shuffled = new ArrayList<>(pieces);
            Collections.shuffle(shuffled, random);
            Map<String, Object> metadata = TestVocabularies.sentencePiece(true, shuffled.toArray(String[]::new));
            Vocabulary vocabulary = TestVocabularies.vocabulary(metadata);
            Tokenizer ours = Tokenizers.of(vocabulary);
            try (HuggingFace theirs = HuggingFace.sentencePiece(vocabulary)) {
                for (int i = 0; i < 50; i++) {
                    String text = random.ints(1 + random.nextInt(25), 0, 5)
                            .mapToObj("abc é"::charAt)
                            .map(String::valueOf)
                            .collect(Collectors.joining());
                    assertThat(ours.encode(text, false, false))
                            .as(text)
                            .isEqualTo(theirs.encode("▁" + text.replace(' ', '▁')));
                }
            }
        }
    }

    /**
     * Real tokenizers as their makers publish them. The system property {@code quire.tokenizers} names a folder with a
     * tokenizer.json in a folder for each.
     */
    @ParameterizedTest
    @CsvSource({
        "qwen3, gpt2, qwen2",
        "llama3_1, gpt2, llama-bpe",
        "deepseek_v3, gpt2, deepseek-v3",
        "gpt4o, gpt2, gpt-4o",
        "gptoss, gpt2, gpt-4o",
        "gemma3, gemma4, gemma4",
    })
    void encode_publishedTokenizer_agrees(String name, String model, String pre) throws IOException {
        Path file = Path.of(System.getProperty("quire.tokenizers", "none"), name, "tokenizer.json");
        assumeTrue(Files.exists(file), () -> file + " is not here");
        String json = Files.readString(file);
        Vocabulary vocabulary = HuggingFace.vocabulary(json, model, pre);
        Tokenizer ours = Tokenizers.of(vocabulary);
        Random random = new Random(25);
        try (HuggingFace theirs = HuggingFace.ofJson(json)) {
            for (int run = 0; run < 4_000; run++) {
                String text = run % 3 == 0
                        ? TestVocabularies.randomCharacters(random, 1 + random.nextInt(30))
                        : randomSpelledText(random, vocabulary, ours, run);
                assertThat(ours.encode(text, false, true))
                        .as(Vocabulary.quote(text))
                        .isEqualTo(theirs.encode(text));
            }
        }
    }

    private static Vocabulary real(String name) {
        Path file = VocabularyFiles.SHARED.resolve(name);
        assumeTrue(Files.exists(file), () -> file + " is not here");
        return VocabularyFiles.read(file);
    }

    /** Texts in mixed scripts in even runs; joined words of the vocabulary in odd runs. */
    private static String randomSpelledText(Random random, Vocabulary vocabulary, Tokenizer tokenizer, int run) {
        if (run % 2 == 0) {
            return TestVocabularies.randomText(random, random.nextInt(30));
        }
        int[] tokens = random.ints(0, tokenizer.vocabularySize())
                .filter(token -> vocabulary.type(token) == Vocabulary.Type.NORMAL)
                .limit(random.nextInt(20))
                .toArray();
        return tokenizer.decode(tokens);
    }
}
