package quire.engine.chat;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Clock;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.engine.chat.ReasoningFormat.Beginning;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.Part;
import quire.model.text.ChatTemplates;

class ReasoningFormatTest {
    private static final ControlTokens CONTROL = new ControlTokens(List.of("[THINK]", "[/THINK]"), List.of());
    private static final ReasoningFormat THINK = new ReasoningFormat("<think>", "</think>");

    private static @Nullable ReasoningFormat of(String message, String prompt) {
        String source = "{% for m in messages %}<{{ m.role }}>" + message + "{% endfor %}"
                + "{% if add_generation_prompt %}<assistant>" + prompt + "{% endif %}";
        return ReasoningFormat.of(
                ChatTemplates.adapted(ChatTemplates.parse(source, null, null, Clock.systemUTC())), CONTROL);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '^',
            quoteCharacter = '\0',
            value = {
                "{{ m.content }} ^ - ^ none",
                "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }} ^ - ^ <think>REASONING</think>",
                "{% if m.reasoning_content %}<my:thought> {{ m.reasoning_content }} </my:thought> {% endif %}{{ m.content }} ^ - ^ <my:thought>REASONING</my:thought>",
                "{{ m.reasoning_content or '' }}{{ m.content }} ^ - ^ none",
                "{{ m.content.split('</think>')[-1] }} ^ - ^ <think>REASONING</think>",
                "{{ m.content }} ^ <think> ^ <think>REASONING</think>",
                "{{ m.content }} ^ <seed:think></seed:think> ^ <seed:think>REASONING</seed:think>",
                "{{ m.content.split('[/THINK]')[-1] }} ^ - ^ [THINK]REASONING[/THINK]",
            })
    void of_templates_findsTheirMarks(String message, String prompt, String expected) {
        ReasoningFormat format = of(message, prompt.equals("-") ? "" : prompt);
        assertThat(format == null ? "none" : format.describe()).isEqualTo(expected);
    }

    @Test
    void of_marksThatAreControlTokens_areNoText() {
        ReasoningFormat format = of("{{ m.content.split('[/THINK]')[-1] }}", "");
        assertThat(format).isEqualTo(new ReasoningFormat(Part.control("[THINK]"), Part.control("[/THINK]")));
        assertThat(THINK.hasControlTokens()).isFalse();
    }

    @Test
    void beginning_ofPrompts_isWhereTheyEnd() {
        assertThat(THINK.beginning("<user>a<assistant><think>\n")).isEqualTo(Beginning.REASONING);
        assertThat(THINK.beginning("<think>\n\n</think>\n\n")).isEqualTo(Beginning.ANSWER);
        assertThat(THINK.beginning("<think></think>a")).isEqualTo(Beginning.EITHER);
    }

    private static ReadAnswer read(String text, Beginning beginning) {
        return ReadAnswer.ofEveryCut(() -> new AnswerParser(null, List.of(), THINK, beginning), text);
    }

    @Test
    void parser_reasoning_isApart() {
        ReadAnswer both = new ReadAnswer("a < b\n\nc", "d", List.of(), List.of());
        assertThat(read("\n<think>\na < b\n\nc\n</think>\n\nd", Beginning.EITHER))
                .isEqualTo(both);
        assertThat(read("a < b\n\nc</think>d", Beginning.REASONING)).isEqualTo(both);
        ReadAnswer plain = new ReadAnswer("", "a <think>b</think>\n", List.of(), List.of());
        assertThat(read("a <think>b</think>\n", Beginning.EITHER)).isEqualTo(plain);
        assertThat(read("\n\na <think>b</think>\n", Beginning.ANSWER)).isEqualTo(plain);
        assertThat(read("<think>a</th", Beginning.EITHER).reasoning()).isEqualTo("a</th");
        assertThat(read("<thi", Beginning.EITHER).content()).isEqualTo("<thi");
        assertThat(read("<think>a</think>", Beginning.EITHER).content()).isEmpty();
    }

    @Test
    void before_constraint_isForTheAnswer() {
        Constraint answer = Constraint.jsonSchema(Map.of("type", "integer"));
        Constraint open = THINK.before(answer, Beginning.REASONING);
        assertThat(open.matches("why {</think>\n\n7")).isTrue();
        assertThat(open.matches("7")).isFalse();
        Constraint either = THINK.before(answer, Beginning.EITHER);
        assertThat(either.matches("<think>why</think>7")).isTrue();
        assertThat(either.matches("7")).isTrue();
        assertThat(either.matches("why</think>7")).isFalse();
        assertThat(THINK.before(answer, Beginning.ANSWER)).isEqualTo(answer);
    }
}
