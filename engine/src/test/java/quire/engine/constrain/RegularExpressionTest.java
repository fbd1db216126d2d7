package quire.engine.constrain;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Java's own regular expressions are the reference where both have the same meaning. */
class RegularExpressionTest {
    private static final String[] LETTERS = {"a", "b", "c", "\n", "\"", "\\", "é", "€", "😀"};
    private static final String[] ATOMS = {
        "a",
        "b",
        "c",
        "é",
        "😀",
        ".",
        "[ab]",
        "[^a]",
        "[a-cé]",
        "[^\\n😀]",
        "\\n",
        "\\\\",
        "\"",
        "\\w",
        "\\W",
        "\\d",
        "\\S"
    };

    @Test
    void matches_randomExpressions_asJavaDoes() {
        SplittableRandom random = new SplittableRandom(1);
        int matches = 0;
        for (int i = 0; i < 3000; i++) {
            String source = expression(random, 3);
            Pattern java = Pattern.compile(source);
            Constraint whole = Constraint.regex(source);
            Expressions search = new Expressions(100_000);
            int start = search.freeze(RegularExpression.search(source, search, new Characters(search, false)));
            for (int j = 0; j < 20; j++) {
                String text = text(random);
                boolean expected = java.matcher(text).matches();
                assertThat(whole.matches(text)).as("%s on '%s'", source, text).isEqualTo(expected);
                assertThat(search.matches(start, text.getBytes(StandardCharsets.UTF_8)))
                        .as("%s in '%s'", source, text)
                        .isEqualTo(java.matcher(text).find());
                matches += expected ? 1 : 0;
            }
        }
        assertThat(matches).isGreaterThan(3000);
    }

    @Test
    void matches_randomLookAheads_asJavaDoes() {
        SplittableRandom random = new SplittableRandom(2);
        int matches = 0;
        for (int i = 0; i < 2000; i++) {
            String source = "";
            for (int part = random.nextInt(3); part >= 0; part--) {
                String ahead = "(?" + (random.nextBoolean() ? "=" : "!") + expression(random, 2)
                        + (random.nextInt(4) == 0 ? "$)" : ")");
                String next = expression(random, 2);
                source += switch (random.nextInt(4)) {
                    case 0 -> next;
                    case 1 -> "(" + ahead + next + ")?";
                    case 2 -> "(?:" + ahead + next + "|" + expression(random, 1) + ")";
                    default -> ahead + next;
                };
            }
            Pattern java = Pattern.compile(source);
            Expressions whole = new Expressions(100_000);
            int all = whole.freeze(RegularExpression.whole(source, whole, new Characters(whole, false)));
            Expressions search = new Expressions(100_000);
            int start = search.freeze(RegularExpression.search(source, search, new Characters(search, false)));
            for (int j = 0; j < 20; j++) {
                String text = text(random).replace("\n", "c"); // "$" in Java also stands before a line break
                boolean expected = java.matcher(text).matches();
                byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
                assertThat(whole.matches(all, bytes))
                        .as("%s on '%s'", source, text)
                        .isEqualTo(expected);
                assertThat(search.matches(start, bytes))
                        .as("%s in '%s'", source, text)
                        .isEqualTo(java.matcher(text).find());
                matches += expected ? 1 : 0;
            }
        }
        assertThat(matches).isGreaterThan(2000);
    }

    /** The duration of Zod. */
    @Test
    void search_durationOfZod_isItsLanguage() {
        String zod =
                "^P(?:(\\d+W)|(?!.*W)(?=\\d|T\\d)(\\d+Y)?(\\d+M)?(\\d+D)?(T(?=\\d)(\\d+H)?(\\d+M)?(\\d+([.,]\\d+)?S)?)?)$";
        Constraint constraint = Constraint.jsonSchema(Map.of("type", "string", "pattern", zod));
        for (String right : new String[] {"P3W", "P1Y2M3D", "PT5S", "P1DT2H3M4.5S", "P2M"}) {
            assertThat(constraint.matches('"' + right + '"')).as(right).isTrue();
        }
        for (String wrong : new String[] {"P", "PT", "P1DT", "P1W2D", "1D", "P1D "}) {
            assertThat(constraint.matches('"' + wrong + '"')).as(wrong).isFalse();
        }
    }

    private static String expression(SplittableRandom random, int depth) {
        int kind = depth == 0 ? 0 : random.nextInt(8);
        return switch (kind) {
            case 1 -> "(" + expression(random, depth - 1) + "|" + expression(random, depth - 1) + ")";
            case 2, 3 -> expression(random, depth - 1) + expression(random, depth - 1);
            case 4 -> "(?:" + expression(random, depth - 1) + ")*";
            case 5 -> "(" + expression(random, depth - 1) + ")?";
            case 6 -> "(" + expression(random, depth - 1) + ")+?";
            case 7 ->
                "(" + expression(random, depth - 1) + "){" + random.nextInt(2) + "," + (1 + random.nextInt(3)) + "}";
            default -> ATOMS[random.nextInt(ATOMS.length)];
        };
    }

    private static String text(SplittableRandom random) {
        StringBuilder text = new StringBuilder();
        for (int i = random.nextInt(6); i > 0; i--) {
            text.append(LETTERS[random.nextInt(LETTERS.length)]);
        }
        return text.toString();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '#',
            ignoreLeadingAndTrailingWhitespace = false,
            emptyValue = "",
            value = {
                "^a#a b#b a",
                "a$#b a#a b",
                "^(a|b$)#a c#c a",
                "^a|b#cb#ca",
                "(^a|b)c#xbc#xac",
                "a(b|c$)#abx#acx",
                "^$##a",
                "x{2,3}#xx#x",
                "x{,3}#x{,3}#xxx",
                "[\\d-]#-#a",
                "[]a]?]##",
                "\\u0041\\x42\\u{43}\\uD83D\\uDE00#ABC😀#ABC",
                "^\\p{Lu}\\P{L}$#É1#é1",
                "^\\p{Nd}+$#٣4#Ⅷ",
                "(?<year>\\d{4})#in 1999#in 199",
                "(?P<year>\\d{4})#in 1999#in 199",
                "\\s#\uFEFF#a",
                "^\\cA$#\u0001#A",
                "\\-\\/\\.#-/.#-/a"
            })
    void search_anchorsAndEscapes_findsTheFirstAndNotTheSecond(String source, String found, String missed) {
        if (source.equals("[]a]?]")) { // an empty class matches nothing
            assertThatThrownBy(() -> Constraint.regex(source)).hasMessageContaining("no text satisfies");
            return;
        }
        Expressions expressions = new Expressions(100_000);
        int start =
                expressions.freeze(RegularExpression.search(source, expressions, new Characters(expressions, false)));
        String in = found == null ? "" : found;
        assertThat(expressions.matches(start, in.getBytes(StandardCharsets.UTF_8)))
                .as(in)
                .isTrue();
        assertThat(expressions.matches(start, missed.getBytes(StandardCharsets.UTF_8)))
                .as(missed)
                .isFalse();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '#',
            value = {
                "(?<=a)b#look-behind",
                "(?<!a)b#look-behind",
                "((?=a)b)*#a look-ahead inside of a repetition",
                "(?=^a)b#an anchor (^) inside of a look-ahead",
                "(?=a)*b#a repeated look-ahead",
                "(?=ab#a '(' without ')'",
                "(?i)a#the group '(?i'",
                "(a)\\1#a back-reference",
                "\\ba#a word boundary",
                "a\\B#a word boundary",
                "a^b#an anchor (^ or $) in the middle",
                "(a$)*#an anchor (^ or $) inside of a repetition",
                "^*#a repeated anchor",
                "\\p{Script=Greek}#the character property 'Script=Greek'",
                "\\07#an octal escape",
                "a{1,200000}#more than 100000 times",
                "a**#nothing to repeat",
                "a{2}{3}#nothing to repeat",
                "*a#nothing to repeat",
                "(a#a '(' without ')'",
                "a)#a ')' without '('",
                "[a#a '[' without ']'",
                "[b-a]#ends before it begins",
                "[\\d-x]#begins or ends with a class",
                "a\\#a '\\' at the end",
                "\\q#the unknown escape '\\q'",
                "\\u12#4 hexadecimal digits",
                "a{3,2}#limits in the wrong order"
            })
    void regex_notComputed_isRefusedByName(String source, String words) {
        assertThatThrownBy(() -> Constraint.regex(source))
                .isInstanceOf(InvalidConstraintException.class)
                .hasMessageContaining(words)
                .hasMessageContaining(source);
    }

    @Test
    void regex_nestedGroups_areBounded() {
        assertThatThrownBy(() -> Constraint.regex("(".repeat(5000) + ")".repeat(5000)))
                .hasMessageContaining("nested more than 100 deep");
    }
}
