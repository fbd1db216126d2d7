package quire.engine.constrain;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeSet;
import java.util.function.Function;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class GrammarTest {
    private static final String JSON = """
            root   ::= object
            value  ::= object | array | string | number | ("true" | "false" | "null") ws
            object ::=
              "{" ws (
                        string ":" ws value
                ("," ws string ":" ws value)*
              )? "}" ws
            array  ::=
              "[" ws (
                        value
                ("," ws value)*
              )? "]" ws
            string ::=
              "\\"" (
                [^"\\\\\\x7F\\x00-\\x1F] |
                "\\\\" (["\\\\bfnrt] | "u" [0-9a-fA-F]{4})
              )* "\\"" ws
            number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
            # white space, but not too much
            ws ::= | " " | "\\n" [ \\t]{0,20}
            """;

    private static boolean matches(String grammar, String text) {
        return Constraint.grammar(grammar).matches(text);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '\0',
            value = {
                "{}",
                "{\"a\": [1, -2.5e+3, {\"b\": null}], \"c\\n\": \"é😀\"}",
                "{\"a\":[[[[]]]]}",
            })
    void json_ofAGrammar_isRecognised(String text) {
        assertThat(matches(JSON, text)).isTrue();
        for (int length = 0; length < text.length(); length++) {
            assertThat(matches(JSON, text.substring(0, length))).isFalse();
        }
        assertThat(matches(JSON, text + "}")).isFalse();
    }

    @Test
    void notation_ofEveryKind_hasItsMeaning() {
        assertThat(matches("root ::= \"a\" | \"b\"", "b")).isTrue();
        assertThat(matches("root ::= \"a\" |\n  \"b\"", "b")).isTrue();
        assertThat(matches("root ::= (\"a\"\n  | \"b\")", "b")).isTrue();
        assertThat(matches("root ::= [a-c\\]x-]{2,3}", "c]-")).isTrue();
        assertThat(matches("root ::= [a-c]{2,3}", "a")).isFalse();
        assertThat(matches("root ::= [^a]{2,}", "b€c")).isTrue();
        assertThat(matches("root ::= .", "\n")).isTrue();
        assertThat(matches("root ::= \"\\x41\\u00e9\\U0001F600\\t\"", "Aé😀\t")).isTrue();
        assertThat(matches("root ::= \"a\"\nroot ::= \"b\" # the last counts", "b"))
                .isTrue();
        assertThat(matches("root ::= \"a\"\nroot ::= \"b\"", "a")).isFalse();
        assertThat(matches("root ::= (\"a\"{50}){50}", "a".repeat(2500))).isTrue();
        assertThat(matches("root ::= (\"a\"{50}){50}", "a".repeat(2499))).isFalse();
        assertThat(matches("root ::= a-b_1?\na-b_1 ::= \"x\"", "")).isTrue();
        assertThat(matches("root ::= \"a\" * \"b\"", "aab")).isTrue();
        assertThat(matches("root ::= \"\" \"a\"", "a")).isTrue();
    }

    @Test
    void rules_thatNest_areCounted() {
        String nested = "root ::= \"(\" root? \")\" root?";
        assertThat(matches(nested, "(()(()))()")).isTrue();
        assertThat(matches(nested, "(()(())()")).isFalse();
        String sum = "root ::= term ([-+] term)*\nterm ::= num | \"(\" root \")\"\nnum ::= [0-9]+";
        assertThat(matches(sum, "1+(2-(3+44))-5")).isTrue();
        assertThat(matches(sum, "1+(2-(3+44)-5")).isFalse();
        assertThat(matches("root ::= \"a\" root \"b\" |", "aaabbb")).isTrue();
        assertThat(matches("root ::= \"a\" root \"b\" |", "aaabb")).isFalse();
        assertThat(matches("root ::= a a\na ::= \"x\" a |", "xxx")).isTrue();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '\0',
            value = {
                "a ::= \"x\"|no rule 'root'",
                "root ::= b|no rule 'b'",
                "root ::= root \"a\"|the rule 'root' of the grammar refers to itself before its first character",
                "root ::= a? root \"b\"#a ::= \"x\"|refers to itself before",
                "root = \"a\"|line 1 of the grammar is malformed: '::=' is missing behind the name 'root'",
                "root ::= \"a|has no end",
                "root ::= [a|has no ']'",
                "root ::= (\"a\"|has no ')'",
                "root ::= \"a\"{,3}|a number is missing",
                "root ::= \"a\"{3,2}|wrong order",
                "root ::= \"a\"{100001}|more than 100000 times",
                "root ::= \"\\'\"|the escape '\\'' is unknown",
                "root ::= \"\\x4\"|hexadecimal",
                "root ::= \"\\a\"|the escape '\\a' is unknown",
                "root ::= [\\^]|the escape '\\^' is unknown",
                "root ::= <[1000]>|names a token",
                "root ::= <think>|names a token",
                "root ::= !<[1000]>|names a token ('!')",
                "root ::= \"a\" )|goes on with ')'",
                "root ::= \"a\" root|no text satisfies",
                "\"a\"|the name of a rule is missing",
            })
    void compile_malformed_saysWhat(String grammar, String words) {
        assertThatThrownBy(() -> Constraint.grammar(grammar.replace("#", "\n")))
                .isInstanceOf(InvalidConstraintException.class)
                .hasMessageContaining(words);
    }

    @Test
    void compile_secondAlternativeOnALineOfItsOwn_isRefusedWithTheLine() {
        assertThatThrownBy(() -> Constraint.grammar("root ::= \"a\"\n  | \"b\""))
                .hasMessage("line 2 of the grammar is malformed: the name of a rule is missing");
    }

    @Test
    void compile_deepNesting_isRefused() {
        assertThatThrownBy(() -> Constraint.grammar("root ::= " + "(".repeat(200) + "\"a\"" + ")".repeat(200)))
                .hasMessageContaining("nested more than 100 deep");
        StringBuilder chain = new StringBuilder("root ::= r0\n");
        for (int i = 0; i < 3000; i++) {
            chain.append("r").append(i).append(" ::= \"a\" r").append(i + 1).append('\n');
        }
        String end = chain.append("r3000 ::= \"b\"\n").toString();
        assertThat(matches(end, "a".repeat(3000) + "b")).isTrue();
    }

    /** The set of short texts of a grammar, found by repetition until nothing is new. */
    @Test
    void matches_randomGrammars_asTheSetOfTheirTexts() {
        SplittableRandom random = new SplittableRandom(7);
        int compiled = 0;
        int texts = 0;
        for (int round = 0; round < 2000; round++) {
            Map<String, Item> rules = new HashMap<>();
            StringBuilder grammar = new StringBuilder();
            for (String name : List.of("root", "x", "y")) {
                Item item = item(random, 3);
                rules.put(name, item);
                grammar.append(name).append(" ::= ").append(item.text()).append('\n');
            }
            Constraint constraint;
            try {
                constraint = Constraint.grammar(grammar.toString());
            } catch (InvalidConstraintException e) {
                assertThat(e.getMessage()).containsAnyOf("refers to itself", "no text satisfies");
                continue;
            }
            compiled++;
            Set<String> expected = language(rules);
            for (String text : all()) {
                assertThat(constraint.matches(text))
                        .as("'%s' of %s", text, grammar)
                        .isEqualTo(expected.contains(text));
            }
            texts += expected.size();
        }
        assertThat(compiled).isGreaterThan(500);
        assertThat(texts).isGreaterThan(2000);
    }

    private static final int LONGEST = 5;

    private interface Item {
        String text();

        Set<String> derive(Map<String, Set<String>> known);
    }

    private static Item of(String text, Function<Map<String, Set<String>>, Set<String>> derive) {
        return new Item() {
            @Override
            public String text() {
                return text;
            }

            @Override
            public Set<String> derive(Map<String, Set<String>> known) {
                return derive.apply(known);
            }
        };
    }

    private static Item item(SplittableRandom random, int depth) {
        return switch (depth == 0 ? random.nextInt(3) : random.nextInt(7)) {
            case 0 -> of("\"a\"", known -> Set.of("a"));
            case 1 -> of("\"b\"", known -> Set.of("b"));
            case 2 -> {
                String name = List.of("root", "x", "y").get(random.nextInt(3));
                yield of(name, known -> known.getOrDefault(name, Set.of()));
            }
            case 3, 4 -> {
                Item first = item(random, depth - 1);
                Item second = item(random, depth - 1);
                yield of(first.text() + " " + second.text(), known -> join(first.derive(known), second.derive(known)));
            }
            case 5 -> {
                Item first = item(random, depth - 1);
                Item second = item(random, depth - 1);
                yield of("(" + first.text() + " | " + second.text() + ")", known -> {
                    Set<String> both = new TreeSet<>(first.derive(known));
                    both.addAll(second.derive(known));
                    return both;
                });
            }
            default -> {
                Item part = item(random, depth - 1);
                int least = random.nextInt(2);
                boolean star = random.nextBoolean();
                String sign = star ? (least == 0 ? "*" : "+") : (least == 0 ? "?" : "{1,2}");
                int most = star ? LONGEST : 1 + least;
                yield of("(" + part.text() + ")" + sign, known -> {
                    Set<String> texts = new TreeSet<>();
                    Set<String> power = Set.of("");
                    for (int times = 0; times <= most; times++) {
                        if (times >= least) {
                            texts.addAll(power);
                        }
                        power = join(power, part.derive(known));
                    }
                    return texts;
                });
            }
        };
    }

    private static Set<String> join(Set<String> a, Set<String> b) {
        Set<String> joined = new TreeSet<>();
        for (String x : a) {
            for (String y : b) {
                if (x.length() + y.length() <= LONGEST) {
                    joined.add(x + y);
                }
            }
        }
        return joined;
    }

    private static Set<String> language(Map<String, Item> rules) {
        Map<String, Set<String>> known = new HashMap<>();
        while (true) {
            Map<String, Set<String>> next = new HashMap<>();
            rules.forEach((name, item) -> next.put(name, item.derive(known)));
            if (next.equals(known)) {
                return known.getOrDefault("root", Set.of());
            }
            known.putAll(next);
        }
    }

    private static List<String> all() {
        List<String> texts = new ArrayList<>(List.of(""));
        for (int i = 0; texts.get(i).length() < LONGEST; i++) {
            texts.add(texts.get(i) + "a");
            texts.add(texts.get(i) + "b");
        }
        return texts;
    }
}
