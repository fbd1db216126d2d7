package quire.model.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import quire.model.format.Gguf;

/** The published tokenizer cases of the llama.cpp project, with real vocabularies. */
class SharedVocabularyTest {
    private static final Path VOCAB = VocabularyFiles.SHARED.resolve("vocab");

    @ParameterizedTest
    @ValueSource(strings = {"llama-spm", "gpt-2", "deepseek-coder"})
    void encode_publishedCases_areExact(String name) throws IOException {
        List<String> texts = texts(name);
        List<int[]> expected = Files.readAllLines(VOCAB.resolve(name + ".out")).stream()
                .map(line -> line.isBlank()
                        ? new int[0]
                        : Arrays.stream(line.strip().split(" "))
                                .mapToInt(Integer::parseInt)
                                .toArray())
                .toList();
        Tokenizer tokenizer = Tokenizers.of(VocabularyFiles.read(VOCAB.resolve(name + ".gguf")));

        assertThat(texts).hasSameSizeAs(expected).hasSizeGreaterThan(40);
        for (int i = 0; i < texts.size(); i++) {
            assertThat(tokenizer.encode(texts.get(i), false, false))
                    .as(texts.get(i))
                    .isEqualTo(expected.get(i));
            assertThat(tokenizer.encode(texts.get(i), false, true))
                    .as(texts.get(i))
                    .isEqualTo(expected.get(i));
            assertThat(tokenizer.decodeText(expected.get(i))).isEqualTo(texts.get(i));
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"llama-spm", "gpt-2", "deepseek-coder"})
    void decodeText_ofEncodedTextsOfAllFiles_isTheText(String name) throws IOException {
        assumeTrue(Files.exists(VOCAB.resolve(name + ".gguf")));
        Tokenizer tokenizer = Tokenizers.of(VocabularyFiles.read(VOCAB.resolve(name + ".gguf")));

        for (String other : List.of("llama-spm", "gpt-2", "deepseek-coder")) {
            for (String text : texts(other)) {
                assertThat(tokenizer.decodeText(tokenizer.encode(text, true, false)))
                        .isEqualTo(text);
            }
        }
    }

    @Test
    void storiesModel_textsAndTheirTokens_areThoseOfHuggingFace() {
        Path path = VOCAB.resolveSibling("models").resolve("stories260K.gguf");
        assumeTrue(Files.exists(path), () -> path + " is not here");
        try (Gguf file = Gguf.open(path)) {
            Tokenizer tokenizer = Tokenizers.of(file);
            assertThat(tokenizer.encode("Hello", true, true)).containsExactly(1, 346, 306, 414);
            assertThat(tokenizer.decodeText(1, 346, 306, 414)).isEqualTo("Hello");
            assertThat(tokenizer.decodeText(346, 306, 414)).isEqualTo("Hello");
            assertThat(tokenizer.encodePrompt("<s>Once upon a time", true, true))
                    .containsExactly(1, 403, 407, 261, 378);
            for (String text : List.of("a", " a", "  a", "\na", "</s>a", "</s> a")) {
                assertThat(tokenizer.decodeText(tokenizer.encode(text, true, true)))
                        .isEqualTo(text);
            }
        }
    }

    private static List<String> texts(String name) throws IOException {
        Path file = VOCAB.resolve(name + ".inp");
        assumeTrue(Files.exists(file), () -> file + " is not here");
        List<String> texts = List.of(Files.readString(file).split("\n__ggml_vocab_test__\n", -1));
        return texts.subList(0, texts.size() - 1); // a separator ends the last text too
    }
}
