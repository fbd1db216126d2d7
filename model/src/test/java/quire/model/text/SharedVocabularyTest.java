package quire.model.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.model.format.Gguf;

/**
 * The published tokenizer cases of the llama.cpp project, with real vocabularies. The system property {@code
 * quire.vocabularies} names a folder with more of them, such as {@code models} in the sources of llama.cpp.
 */
class SharedVocabularyTest {
    private static final Path VOCAB = VocabularyFiles.SHARED.resolve("vocab");

    /** Kinds that bring text into a normal form. */
    private static final List<String> LOSES_TEXT = List.of("bert", "t5");

    /** The vocabularies for which there are cases. */
    static List<Path> vocabularies() throws IOException {
        List<Path> files = new ArrayList<>(Stream.of("llama-spm", "gpt-2", "deepseek-coder")
                .map(name -> VOCAB.resolve(name + ".gguf"))
                .toList());
        String more = System.getProperty("quire.vocabularies");
        if (more != null) {
            try (Stream<Path> listed = Files.list(Path.of(more))) {
                listed.filter(file -> Files.exists(Path.of(file + ".inp")))
                        .sorted()
                        .forEach(files::add);
            }
        }
        return files;
    }

    private static Path beside(Path vocabulary, String extension) {
        String name = vocabulary.toString();
        Path longer = Path.of(name + extension);
        return Files.exists(longer) ? longer : Path.of(name.replaceFirst("\\.gguf$", extension));
    }

    @ParameterizedTest
    @MethodSource("vocabularies")
    void encode_publishedCases_areExact(Path vocabulary) throws IOException {
        List<String> texts = texts(beside(vocabulary, ".inp"));
        List<int[]> expected = Files.readAllLines(beside(vocabulary, ".out")).stream()
                .map(line -> line.isBlank()
                        ? new int[0]
                        : Arrays.stream(line.strip().split(" "))
                                .mapToInt(Integer::parseInt)
                                .toArray())
                .toList();
        Vocabulary read = VocabularyFiles.read(vocabulary);
        Tokenizer tokenizer = Tokenizers.of(read);

        assertThat(texts).hasSameSizeAs(expected).hasSizeGreaterThan(40);
        PreTokenizer pre = PreTokenizer.named(read.pre().orElse(""));
        for (int i = 0; i < texts.size(); i++) {
            String composed = Composition.compose(texts.get(i));
            if (pre != null && pre.composes() && !composed.equals(texts.get(i))) {
                // llama.cpp does not compose, but the makers' tokenizers do.
                assertThat(tokenizer.encode(texts.get(i), false, false))
                        .isEqualTo(tokenizer.encode(composed, false, false))
                        .hasSizeLessThan(expected.get(i).length);
                continue;
            }
            assertThat(tokenizer.encode(texts.get(i), false, false))
                    .as(texts.get(i))
                    .isEqualTo(expected.get(i));
            assertThat(tokenizer.encode(texts.get(i), false, true))
                    .as(texts.get(i))
                    .isEqualTo(expected.get(i));
            if (!LOSES_TEXT.contains(read.model())) {
                assertThat(tokenizer.decodeText(expected.get(i))).isEqualTo(texts.get(i));
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"llama-spm", "gpt-2", "deepseek-coder"})
    void decodeText_ofEncodedTextsOfAllFiles_isTheText(String name) throws IOException {
        assumeTrue(Files.exists(VOCAB.resolve(name + ".gguf")));
        Tokenizer tokenizer = Tokenizers.of(VocabularyFiles.read(VOCAB.resolve(name + ".gguf")));

        for (String other : List.of("llama-spm", "gpt-2", "deepseek-coder")) {
            for (String text : texts(VOCAB.resolve(other + ".inp"))) {
                assertThat(tokenizer.decodeText(tokenizer.encode(text, true, false)))
                        .isEqualTo(text);
            }
        }
    }

    @Test
    void encode_phi3_stripsSpacesBehindSpecialTokens() {
        Path path = Path.of(System.getProperty("quire.vocabularies", ""), "ggml-vocab-phi-3.gguf");
        assumeTrue(Files.exists(path), () -> path + " is not here");
        Tokenizer tokenizer = Tokenizers.of(VocabularyFiles.read(path));
        assertThat(tokenizer.encode("<|user|> \n hi <|end|>\n", false, true))
                .containsExactly(32010, 7251, 29871, 32007);
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

    private static List<String> texts(Path file) throws IOException {
        assumeTrue(Files.exists(file), () -> file + " is not here");
        List<String> texts = List.of(Files.readString(file).split("\n__ggml_vocab_test__\n", -1));
        // In most files a separator ends the last text too.
        return texts.getLast().isEmpty() ? texts.subList(0, texts.size() - 1) : texts;
    }
}
