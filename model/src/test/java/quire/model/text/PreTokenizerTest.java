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
                "tiny_aya,1|234|567| |12|x",
                "superbpe,a b |1|234|567| x",
                "afmoe,12|345|日本|abc",
                "kimi-k2,中文|abc| Abc|123|4",
                "viking,a| b|.|1|2",
                "exaone-moe,a b c|1|2|.",
                "bailingmoe,it|'S|1|2",
                "seed-coder,a| !|nn|b|1",
                "chameleon,a|  | b|1|!|!",
                "laguna,a|n|b|1|2",
                "ufakzeka,Ali|'s|1|2",
                "youtu,중국|。|abc|1|2",
                "spark2_5,a|.|n|n|1|2",
                "minicpm5,123|4|a|'S",
                "jais-2,a|                |  | b",
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

    /**
     * The text counts how often an expression reads a character. Texts of one class, with one character of another class at
     * the end, are what makes an expression go back.
     */
    @Test
    void split_longRunsOfOneClass_readEachCharacterAFewTimes() {
        String[] runs = {
            "a",
            "A",
            "Aa",
            "\u4E00",
            "\u0E01",
            "\u02B0",
            "\u0301",
            "1",
            "\u00BD",
            " ",
            "\n",
            " \n",
            "\r\n",
            "\t",
            "\u3000",
            "!",
            "'",
            "'l",
            "/",
            "$",
            "\uD83D\uDE00",
            "a ",
            " a",
            "1a",
            "\u0000",
            "<sentinel:1",
            "IMGIMGA",
            "a\u0301",
            "!\n",
            "_"
        };
        for (String name : PreTokenizer.names()) {
            for (String run : runs) {
                for (String end : List.of("", "a", "1", "!", " ", "\n")) {
                    CountedText small = new CountedText(run.repeat(250) + end);
                    CountedText large = new CountedText(run.repeat(1_000) + end);
                    PreTokenizer preTokenizer = Objects.requireNonNull(PreTokenizer.named(name));
                    preTokenizer.split(small);
                    preTokenizer.split(large);
                    assertThat(large.reads)
                            .as("%s: runs of '%s' before '%s'", name, run, end)
                            .isLessThan(6 * small.reads + 1_000);
                }
            }
        }
    }

    private static final class CountedText implements CharSequence {
        private final String text;
        long reads;

        CountedText(String text) {
            this.text = text;
        }

        @Override
        public int length() {
            return text.length();
        }

        @Override
        public char charAt(int index) {
            reads++;
            return text.charAt(index);
        }

        @Override
        public CharSequence subSequence(int start, int end) {
            return text.subSequence(start, end);
        }

        @Override
        public String toString() {
            return text;
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
