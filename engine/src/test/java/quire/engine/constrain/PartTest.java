package quire.engine.constrain;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import quire.model.text.Tokenizer;

class PartTest {
    private static final String CALL = Part.control("[CALL]");

    @Test
    void of_freeText_excludesTextsWhereTheyOccur() {
        Constraint constraint = Constraint.of(new Part.FreeText(List.of("stop", "halt"), List.of("{", "x y")));
        for (String text : List.of("", "sto", "ssto p", "a{", "xy", CALL + "a", "é\n")) {
            assertThat(constraint.matches(text)).as(text).isTrue();
        }
        for (String text : List.of("stop", "sstop.", "a halt", "{", " \n{a", "x y", "\tx yz")) {
            assertThat(constraint.matches(text)).as(text).isFalse();
        }
        assertThat(Constraint.of(new Part.FreeText(List.of(), List.of())).matches("all"))
                .isTrue();
    }

    @Test
    void of_until_endsAtTheFirstOccurrence() {
        Constraint constraint = Constraint.of(
                Part.sequence(new Part.Until("aab", List.of("no")), new Part.Json(Map.of("type", "integer"))));
        for (String text : List.of("aab1", "aaab1", "x aab-7", "n o aab1")) {
            assertThat(constraint.matches(text)).as(text).isTrue();
        }
        for (String text : List.of("aab", "1", "aab1aab2", "noaab1", "x no aab1")) {
            assertThat(constraint.matches(text)).as(text).isFalse();
        }
    }

    @Test
    void of_pairs_comeInAnyOrder() {
        Constraint constraint = Constraint.of(Part.sequence(
                new Part.Text("("),
                new Part.Pairs(
                        List.of(
                                new Part.Pair("a", new Part.Text("-"), true),
                                new Part.Pair("a=", new Part.Regex("[0-9]*"), false),
                                new Part.Pair(CALL, new Part.Text(""), false)),
                        ", "),
                new Part.Text(")")));
        for (String text : List.of("(a-)", "(a-, a=12)", "(a=, a-)", "(" + CALL + ", a=5, a-)")) {
            assertThat(constraint.matches(text)).as(text).isTrue();
        }
        for (String text : List.of("()", "(a=1)", "(a-, )", "(a-a=1)", "(a-, a-)", "([CALL], a-)", "(, a-)")) {
            assertThat(constraint.matches(text)).as(text).isFalse();
        }
        Part none = new Part.Pairs(List.of(new Part.Pair("a", new Part.Text("b"), false)), ",");
        assertThat(Constraint.of(none).matches("")).isTrue();
        assertThat(Constraint.of(none).matches("ab")).isTrue();
        assertThat(Constraint.of(none)).isNotEqualTo(constraint);
    }

    @Test
    void of_parts_areJoinedChosenAndRepeated() {
        Constraint constraint = Constraint.of(Part.sequence(
                new Part.Text("<"),
                new Part.Repeated(Part.oneOf(new Part.Text("é"), new Part.Json(Map.of("const", "x")))),
                new Part.Whole(Constraint.regex("[0-9]{2}"))));
        assertThat(constraint.matches("<12")).isTrue();
        assertThat(constraint.matches("<é\"x\"é12")).isTrue();
        assertThat(constraint.matches("<é1")).isFalse();
        assertThat(constraint)
                .isEqualTo(Constraint.of(Part.sequence(
                        new Part.Text("<"),
                        new Part.Repeated(Part.oneOf(new Part.Text("é"), new Part.Json(Map.of("const", "x")))),
                        new Part.Whole(Constraint.regex("[0-9]{2}")))));
        assertThat(constraint).isNotEqualTo(Constraint.of(new Part.Text("<12")));
    }

    @Test
    void of_partsThatAreRefused_saysWhy() {
        assertThatThrownBy(() -> Constraint.of(new Part.Json(Map.of("$dynamicRef", "#"))))
                .isInstanceOf(InvalidConstraintException.class)
                .hasMessageContaining("$dynamicRef");
        Part deep = new Part.Text("a");
        for (int i = 0; i < 1000; i++) {
            deep = Part.sequence(deep);
        }
        Part nested = deep;
        assertThatThrownBy(() -> Constraint.of(nested))
                .isInstanceOf(InvalidConstraintException.class)
                .hasMessageContaining("nested");
    }

    /** A control token is never what text spells, and text is never a control token. */
    @Test
    void mask_controlTokens_areAllowedWhereTheyAreNamed() {
        Tokenizer tokenizer = new Words("[CALL]", "a", "[", "CALL", "]", "\uFFFF");
        Constraints constraints = new Constraints(tokenizer);
        assertThat(allowed(constraints.begin(Constraint.of(new Part.Text(CALL + "a"))), tokenizer))
                .containsExactly("0");
        assertThat(allowed(constraints.begin(Constraint.of(new Part.Text("[CALL]"))), tokenizer))
                .containsExactly("2");
        assertThat(allowed(constraints.begin(Constraint.regex(".*")), tokenizer))
                .containsExactly("1", "2", "3", "4", "5", "end");
        assertThat(allowed(constraints.begin(Constraint.of(new Part.FreeText(List.of(), List.of()))), tokenizer))
                .containsExactly("0", "1", "2", "3", "4", "5", "end");
        assertThat(allowed(constraints.begin(Constraint.of(new Part.FreeText(List.of(CALL), List.of()))), tokenizer))
                .containsExactly("1", "2", "3", "4", "5", "end");

        ConstraintCursor cursor =
                constraints.begin(Constraint.of(Part.sequence(new Part.Until(CALL, List.of()), new Part.Text("a"))));
        for (int token : new int[] {2, 3, 4}) { // spells it
            cursor.append(token);
            assertThat(allowed(cursor, tokenizer)).contains("0", "1", "2");
        }
        cursor.append(0);
        assertThat(allowed(cursor, tokenizer)).containsExactly("1");
        int[] draft = new int[3];
        cursor.undo();
        assertThat(constraints.begin(Constraint.of(new Part.Text(CALL + "a"))).forced(draft, 0, 3))
                .isEqualTo(2);
        assertThat(draft).startsWith(0, 1);
    }

    /** After the limit only the end may come, also one that has begun; before it, and behind the part, all may. */
    @Test
    void mask_limitOfAPart_allowsOnlyItsEnd() {
        Tokenizer tokenizer = new Words("[CALL]", "a", "<", "/t>", "/", "t>", "<t>");
        Constraints constraints = new Constraints(tokenizer);
        Constraint free = Constraint.of(new Part.FreeText(List.of(), List.of()));
        ConstraintCursor cursor = constraints.begin(free.withLimit(new TextLimit("", "</t>", 2)));
        List<String> all = List.of("0", "1", "2", "3", "4", "5", "6", "end");
        assertThat(allowed(cursor, tokenizer)).isEqualTo(all);
        cursor.append(1);
        cursor.append(1);
        assertThat(allowed(cursor, tokenizer)).containsExactly("2");
        assertThat(cursor.allowed(new int[] {2, 3, 1, 1}, 0, 4)).isEqualTo(4);
        assertThat(cursor.allowed(new int[] {2, 1}, 0, 2)).isEqualTo(1);
        cursor.undo();
        cursor.append(2); // the end has begun
        assertThat(allowed(cursor, tokenizer)).containsExactly("3", "4");
        cursor.append(4);
        assertThat(allowed(cursor, tokenizer)).containsExactly("5");
        cursor.append(5);
        assertThat(allowed(cursor, tokenizer)).isEqualTo(all);

        ConstraintCursor other = constraints.begin(free.withLimit(new TextLimit("<t>", "</t>", 1)));
        other.append(1); // the answer has no such part
        other.append(6);
        assertThat(allowed(other, tokenizer)).isEqualTo(all);
        other = constraints.begin(free.withLimit(new TextLimit("<t>", "</t>", 1)));
        other.append(6);
        assertThat(allowed(other, tokenizer)).containsExactly("2");
        assertThat(free.withLimit(new TextLimit("", "x", 1))).isNotEqualTo(free);
    }

    private static List<String> allowed(ConstraintCursor cursor, Tokenizer tokenizer) {
        Mask mask = cursor.mask();
        return IntStream.range(0, tokenizer.vocabularySize())
                .filter(mask::allows)
                .mapToObj(token -> tokenizer.isEndOfGeneration(token) ? "end" : String.valueOf(token))
                .toList();
    }

    /** The first word is a control token, an end token follows the last. */
    private record Words(List<String> words) implements Tokenizer {
        Words(String... words) {
            this(List.of(words));
        }

        @Override
        public int vocabularySize() {
            return words.size() + 1;
        }

        @Override
        public int[] encode(String text, boolean addSpecial, boolean parseSpecial) {
            throw new UnsupportedOperationException();
        }

        @Override
        public byte[] bytes(int token) {
            return token == 0 || token == words.size()
                    ? new byte[0]
                    : words.get(token).getBytes(StandardCharsets.UTF_8);
        }

        @Override
        public String spelling(int token) {
            return token == words.size() ? "<end>" : words.get(token);
        }

        @Override
        public boolean isControl(int token) {
            return token == 0 || token == words.size();
        }

        @Override
        public boolean isEndOfGeneration(int token) {
            return token == words.size();
        }

        @Override
        public OptionalInt bos() {
            return OptionalInt.empty();
        }

        @Override
        public OptionalInt eos() {
            return OptionalInt.of(words.size());
        }
    }
}
