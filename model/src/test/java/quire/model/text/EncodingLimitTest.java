package quire.model.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import quire.model.BuiltInModel;
import quire.model.format.Gguf;

/** Encoding that gives up when there are too many tokens. */
class EncodingLimitTest {
    private static final int MIB = 1 << 20;
    private static final Path SHARED = Path.of(System.getProperty("quire.shared", "../shared"));

    private static Tokenizer tokenizer(Path file) {
        try (Gguf gguf = Gguf.open(file)) {
            return Tokenizers.of(gguf);
        }
    }

    private static Tokenizer builtIn() {
        return tokenizer(BuiltInModel.QUIRE_TINY.path());
    }

    /** The built-in tokenizer, and those of the shared folder where that is there. */
    private static List<Tokenizer> tokenizers() {
        List<Tokenizer> all = new ArrayList<>(List.of(builtIn()));
        for (String file : List.of(
                "models/stories260K.gguf", "vocab/llama-spm.gguf", "vocab/gpt-2.gguf", "vocab/deepseek-coder.gguf")) {
            if (Files.exists(SHARED.resolve(file))) {
                all.add(tokenizer(SHARED.resolve(file)));
            }
        }
        return all;
    }

    private static TextTooLongException refusal(Tokenizer tokenizer, String text, int most) {
        return catchThrowableOfType(TextTooLongException.class, () -> tokenizer.encodePrompt(text, true, true, most));
    }

    @Test
    void encodePrompt_textOfEightMebibytes_isRefusedByItsLength() {
        TextTooLongException refusal = refusal(builtIn(), "word ".repeat(8 * MIB / 5), 1023);

        assertThat(refusal.charactersRead()).isZero();
        assertThat(refusal).hasMessage("the text has more than 1023 tokens");
    }

    @Test
    void encodePrompt_tokensExceedTheLimit_stopsThere() {
        String text = "a 1 ".repeat(8 * MIB / 4);
        int most = MIB; // its length alone does not decide

        TextTooLongException refusal = refusal(builtIn(), text, most);

        // Each token has at least one character, and here at most two.
        assertThat(refusal.charactersRead()).isBetween(1, 2 * most + 8);
    }

    @Test
    void encodePrompt_anyTextAndLimit_givesTheWholeResultOrRefuses() {
        Random random = new Random(5);
        String[] pieces = {
            "word", " ", "\n", "é", "漢字", "😀", "1234", "<|im_end|>", "</s>", "aaaa", "  ", "don't", "\uD800"
        };
        for (Tokenizer tokenizer : tokenizers()) {
            for (int round = 0; round < 300; round++) {
                StringBuilder text = new StringBuilder();
                for (int count = random.nextInt(40); count > 0; count--) {
                    text.append(pieces[random.nextInt(pieces.length)].repeat(1 + random.nextInt(3)));
                }
                boolean special = random.nextBoolean();
                int[] whole = tokenizer.encodePrompt(text.toString(), special, true);

                assertThat(tokenizer.encodePrompt(text.toString(), special, true, whole.length))
                        .isEqualTo(whole);
                if (whole.length > 0) {
                    int most = random.nextInt(whole.length);
                    assertThat(catchThrowableOfType(
                                    TextTooLongException.class,
                                    () -> tokenizer.encodePrompt(text.toString(), special, true, most)))
                            .as("%d of %d tokens: %s", most, whole.length, text)
                            .isNotNull();
                }
            }
        }
    }

    /** Unknown characters in a row are one token, so a long text may have few tokens. */
    @Test
    void encodePrompt_vocabularyThatLosesCharacters_isNotRefusedByLength() {
        for (Tokenizer tokenizer : tokenizers()) {
            int[] whole = tokenizer.encodePrompt("漢".repeat(1000), false, false);
            assertThat(tokenizer.encodePrompt("漢".repeat(1000), false, false, whole.length))
                    .isEqualTo(whole);
        }
    }
}
