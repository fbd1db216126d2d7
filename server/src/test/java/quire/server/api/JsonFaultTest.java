package quire.server.api;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.core.JacksonException;

class JsonFaultTest {
    private static final int MAX_NESTING = 100;

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            {"a":}                     | line 1, column 6, in $.a: expected a value, found '}'
            {"a":1,}                   | line 1, column 8: expected a field's name in double quotes, found '}'; JSON has no comma behind the last one
            {"a":[1,]}                 | line 1, column 9, in $.a[1]: expected a value, found ']'; JSON has no comma behind the last one
            {"a":[{"b":1 "c":2}]}      | line 1, column 14, in $.a[0]: expected ',' or '}' after the field 'b', found '"'
            {"a" 1}                    | line 1, column 6, in $.a: expected ':' after the field's name, found '1'
            {a:1}                      | line 1, column 2: expected a field's name in double quotes or '}', found 'a'
            {'a':1}                    | line 1, column 2: expected a field's name in double quotes or '}', found a single quote ('); JSON writes names and texts in double quotes (")
            {"a":'b'}                  | line 1, column 6, in $.a: expected a value, found a single quote ('); JSON writes names and texts in double quotes (")
            {"a":True}                 | line 1, column 6, in $.a: expected a value, found 'True'; JSON writes true, false or null, and knows no other words
            {"a":NaN}                  | line 1, column 6, in $.a: expected a value, found 'NaN'; JSON writes true, false or null, and knows no other words
            {"a":-}                    | line 1, column 7, in $.a: expected a digit after '-', found '}'
            {"a":01}                   | line 1, column 6, in $.a: a number begins with 0; write it without leading zeros
            {"a":1.}                   | line 1, column 8, in $.a: expected a digit in the number, found '}'
            {"a":1e+}                  | line 1, column 9, in $.a: expected a digit in the number, found '}'
            {"a":.5}                   | line 1, column 6, in $.a: expected a value, found '.'
            {"a":12px}                 | line 1, column 8: expected ',' or '}' after the field 'a', found 'px'
            {"a":[1 2]}                | line 1, column 9, in $.a: expected ',' or ']' after an element, found '2'
            {"a":"b                    | line 1, column 6, in $.a: the string that begins here does not end
            {"a":"\\x"}                | line 1, column 7, in $.a: in a string: expected one of " \\ / b f n r t u after a backslash, found 'x'; write a backslash itself as \\\\
            {"a":"\\u12g4"}            | line 1, column 7, in $.a: in a string: expected four hexadecimal digits after \\u, found 'g4'
            {"a":1,"a":2}              | line 1, column 8: the field 'a' is there twice
            {"a":1                     | line 1, column 7: expected ',' or '}' after the field 'a', found the end
            {"a b":{"c":}}             | line 1, column 13, in $['a b'].c: expected a value, found '}'
            {} x                       | line 1, column 4: expected nothing after the end of the value, found 'x'
            {"ä€":1,"𝄞":}              | line 1, column 13, in $['𝄞']: expected a value, found '}'
            // x                       | line 1, column 1: expected a value, found '/'; JSON has no comments
            ``                         | line 1, column 1: expected a value, found the end
            """)
    void find_fault_isNamedWithPlaceAndExpectation(String text, String fault) {
        assertThat(JsonFault.find(text, MAX_NESTING)).isEqualTo(fault);
        assertThatThrownBy(() -> Json.parse(text)).isInstanceOf(InvalidJsonException.class);
    }

    @Test
    void find_severalLines_countsThem() {
        assertThat(JsonFault.find("{\n  \"messages\": [\r\n    {\"role\": }\r  ]\n}", MAX_NESTING))
                .isEqualTo("line 3, column 14, in $.messages[0].role: expected a value, found '}'");
        assertThat(JsonFault.find("{\"a\":\"b\nc\"}", MAX_NESTING))
                .isEqualTo("line 1, column 8, in $.a: in a string: found a line break; write \\n");
    }

    @Test
    void find_deep_namesTheLimit() {
        assertThat(JsonFault.find("[".repeat(101) + "]".repeat(101), MAX_NESTING))
                .startsWith("line 1, column 101, in $[0][0]")
                .endsWith("nested in more than 100 levels")
                .hasSizeLessThan(300);
        assertThat(JsonFault.find("[".repeat(100) + "]".repeat(100), MAX_NESTING))
                .isNull();
    }

    @Test
    void parse_longNumber_isRefusedInWords() {
        assertThatThrownBy(() -> Json.parse("{\"a\":" + "1".repeat(5000) + "}"))
                .isInstanceOf(InvalidJsonException.class)
                .hasMessageContaining("longer than this server reads");
    }

    /** The search finds a fault wherever the parser does, and nowhere else. */
    @Test
    void find_mutatedTexts_agreesWithTheParser() {
        Random random = new Random(7);
        String valid =
                "{\"a\":[1,-2.5e3,\"x\\n\\u00e9\",true,null,{\"b\":{},\"c\":[]}],\"d\":{\"e\":false}, \"f\" : 0}";
        String pieces = "{}[]:,\"'\\u0019-+.eE tfn\n\t\rax";
        int faults = 0;
        for (int i = 0; i < 20_000; i++) {
            StringBuilder text = new StringBuilder(valid);
            for (int j = 0; j <= i % 3; j++) {
                int from = random.nextInt(text.length());
                int to = Math.min(text.length(), from + random.nextInt(3));
                text.replace(from, to, String.valueOf(pieces.charAt(random.nextInt(pieces.length()))));
            }
            boolean refused = false;
            try {
                Json.read(text.toString());
            } catch (JacksonException e) {
                refused = true;
                faults++;
            }
            assertThat(JsonFault.find(text.toString(), MAX_NESTING) != null)
                    .as(text.toString())
                    .isEqualTo(refused);
        }
        assertThat(faults).isBetween(5000, 19_999);
    }
}
