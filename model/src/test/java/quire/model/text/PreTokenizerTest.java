package quire.model.text;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PreTokenizerTest {
    /** Words separated by a bar; an n is a line break. */
    @ParameterizedTest
    @CsvSource(
            ignoreLeadingAndTrailingWhitespace = false,
            value = {
                "llama-bpe,I|'M| |123|4| | foo|!!nn| | bar",
                "dbrx,I|'M| |123|4| | foo|!!nn| | bar",
                "qwen2,I|'M| |1|2|3|4| | foo|!!nn| | bar",
                "qwen35,I|'M| |1|2|3|4| | foo|!!nn| | bar",
                "gpt-2,I|'|M| 1234| | foo|!!|nn | bar",
                "starcoder,I|'|M| |1|2|3|4| | foo|!!|nn | bar",
                "gpt-4o,hello|World's| FOOBar| |123|4",
                "tekken,hello|World|'s| FOOBar| |1|2|3|4",
                "deepseek-v3,123|45| foo|.bar|日本|é",
                "deepseek-llm,a| b|!?| |12345|日本| c",
                "deepseek-coder,a| b|!?| |1|2|日本| c",
                "falcon,x| |123|45|.",
                "default,x| |123|45|.",
            })
    void split_knownFamilies_cutsWhereTheirTokenizersDo(String name, String words) {
        List<String> expected = List.of(words.replace('n', '\n').split("\\|"));

        assertThat(split(name, String.join("", expected))).isEqualTo(expected);
    }

    @Test
    void split_anyText_losesNothing() {
        Random random = new Random(51);
        for (String name : PreTokenizer.names()) {
            for (int run = 0; run < 50; run++) {
                String text = TestVocabularies.randomText(random, random.nextInt(20));
                List<String> words = split(name, text);
                assertThat(String.join("", words)).isEqualTo(text);
                if (!text.isEmpty()) {
                    assertThat(words).doesNotContain("");
                }
            }
        }
    }

    private static List<String> split(String name, String text) {
        IntList borders = Objects.requireNonNull(PreTokenizer.named(name)).split(text);
        List<String> words = new ArrayList<>();
        for (int i = 1; i < borders.size(); i++) {
            words.add(text.substring(borders.get(i - 1), borders.get(i)));
        }
        return words;
    }
}
