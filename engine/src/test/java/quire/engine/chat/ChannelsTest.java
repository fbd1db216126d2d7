package quire.engine.chat;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Clock;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import quire.engine.chat.ReasoningFormat.Beginning;
import quire.engine.chat.ToolCallFormat.Choice;
import quire.engine.constrain.Constraint;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplates;

/** Answers on channels, whose marks are control tokens, or text. */
class ChannelsTest {
    private static final List<String> MARKS =
            List.of("<|constrain|>", "<|channel|>", "<|message|>", "<|start|>", "<|end|>");
    private static final ControlTokens CONTROL = new ControlTokens(MARKS, List.of("<|call|>", "<|return|>"));
    private static final ControlTokens NO_CONTROL = new ControlTokens(List.of(), List.of("<|call|>", "<|return|>"));

    private static final List<Tool> TOOLS = List.of(
            new Tool(
                    "get_weather",
                    Map.of(
                            "type",
                            "object",
                            "properties",
                            Map.of("city", Map.of("type", "string", "maxLength", 20)),
                            "required",
                            List.of("city"),
                            "additionalProperties",
                            false)),
            new Tool("stop", Map.of("type", "object", "properties", Map.of(), "additionalProperties", false)));

    private static final String THOUGHT = "<|channel|>analysis<|message|>Hm, a < b.<|end|><|start|>assistant";
    private static final String PREAMBLE = "<|channel|>commentary<|message|>Let me look.<|end|><|start|>assistant";
    private static final String CALL =
            "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"Bern {<|end|\"}";
    private static final String ARGUMENTS = "{\"city\": \"Bern {<|end|\"}";
    private static final String FINAL = "<|channel|>final<|message|>Sunny.\n";

    private static ChatTemplate template() {
        String source = "{{ tools | tojson if tools }}{% for m in messages %}"
                + "{% if m.role == 'assistant' and m.tool_calls %}{% set f = m.tool_calls[0].function %}"
                + "{{ '<|start|>assistant to=functions.' ~ f.name ~ '<|channel|>commentary json<|message|>'"
                + " ~ (f.arguments | tojson) ~ '<|call|>' }}"
                + "{% elif m.role == 'assistant' %}"
                + "{{ '<|start|>assistant<|channel|>final<|message|>' ~ m.content ~ '<|return|>' }}"
                + "{% else %}{{ '<|start|>' ~ m.role ~ '<|message|>' ~ m.content ~ '<|end|>' }}{% endif %}{% endfor %}"
                + "{{ '<|start|>assistant' if add_generation_prompt }}";
        return ChatTemplates.adapted(ChatTemplates.parse(source, null, null, Clock.systemUTC()));
    }

    private static ControlTokens tokens(boolean control) {
        return control ? CONTROL : NO_CONTROL;
    }

    private static ToolCallFormat format(boolean control) throws UnknownFormatException {
        return ToolCallFormat.of(template(), tokens(control));
    }

    private static @Nullable ReasoningFormat reasoning(boolean control) {
        return ReasoningFormat.of(template(), tokens(control));
    }

    private static ReadAnswer read(boolean control, String text) throws UnknownFormatException {
        ToolCallFormat format = format(control);
        ReasoningFormat reasoning = reasoning(control);
        return ReadAnswer.ofEveryCut(
                () -> new AnswerParser(format, TOOLS, reasoning, Beginning.EITHER),
                tokens(control).marked(text));
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void parser_everyForm_isReadTheSameAtEveryCut(boolean control) throws Exception {
        List<String> call = List.of("get_weather");
        List<String> none = List.of();
        assertThat(read(control, FINAL)).isEqualTo(new ReadAnswer("", "Sunny.\n", none, none));
        assertThat(read(control, THOUGHT + FINAL)).isEqualTo(new ReadAnswer("Hm, a < b.", "Sunny.\n", none, none));
        assertThat(read(control, THOUGHT + CALL)).isEqualTo(new ReadAnswer("Hm, a < b.", "", call, List.of(ARGUMENTS)));
        assertThat(read(control, THOUGHT + PREAMBLE + CALL))
                .isEqualTo(new ReadAnswer("Hm, a < b.", "Let me look.", call, List.of(ARGUMENTS)));
        assertThat(read(control, " to=functions.stop<|channel|>commentary json<|message|>{}"))
                .isEqualTo(new ReadAnswer("", "", List.of("stop"), List.of("{}")));
        assertThat(read(control, "<|channel|>commentary to=functions.stop<|message|><|end|>"))
                .isEqualTo(new ReadAnswer("", "", List.of("stop"), List.of("{}")));
        assertThat(read(control, "Plain text, to=all."))
                .isEqualTo(new ReadAnswer("", "Plain text, to=all.", none, none));
        assertThat(read(control, "")).isEqualTo(new ReadAnswer("", "", none, none));
        assertThat(read(control, "t")).isEqualTo(new ReadAnswer("", "t", none, none));
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void parser_brokenOff_givesBeginnings(boolean control) throws Exception {
        String text = tokens(control).marked(THOUGHT + PREAMBLE + CALL);
        ToolCallFormat format = format(control);
        ReasoningFormat reasoning = reasoning(control);
        for (int length = 0; length < text.length(); length++) {
            ReadAnswer read = ReadAnswer.ofEveryCut(
                    () -> new AnswerParser(format, TOOLS, reasoning, Beginning.EITHER), text.substring(0, length));
            assertThat("Hm, a < b.").startsWith(withoutMark(read.reasoning()));
            assertThat("Let me look.").startsWith(withoutMark(read.content()));
            if (!read.names().isEmpty()) {
                assertThat(read.names()).containsExactly("get_weather");
                assertThat(ARGUMENTS).startsWith(read.arguments().getFirst());
            }
        }
    }

    /** Without the beginning of a mark at the end, which is text if the answer ends there and marks are text. */
    private static String withoutMark(String text) {
        return text.replaceFirst("<(\\|(e(n(d(\\|)?)?)?)?)?$", "");
    }

    @Test
    void parser_reasoningThatIsNotApart_isText() throws Exception {
        ToolCallFormat format = format(true);
        assertThat(ReadAnswer.of(() -> format.parser(TOOLS), List.of(CONTROL.marked(THOUGHT + FINAL))))
                .isEqualTo(new ReadAnswer("", "Hm, a < b.Sunny.\n", List.of(), List.of()));
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void constraint_choices_allowTheirMessages(boolean control) throws Exception {
        ToolCallFormat format = format(control);
        assertThat(format.hasReasoning()).isTrue();
        assertThat(format.hasControlTokens()).isEqualTo(control);
        Constraint auto = format.constraint(TOOLS, Choice.AUTO, true, null);
        Constraint required = format.constraint(TOOLS, Choice.REQUIRED, true, null);
        Constraint none = format.constraint(TOOLS, Choice.NONE, true, null);
        Constraint number = format.constraint(TOOLS, Choice.AUTO, true, Constraint.regex("[0-9]+"));
        for (String before : List.of("", THOUGHT, THOUGHT + PREAMBLE)) {
            String text = tokens(control).marked(before + FINAL);
            assertThat(List.of(auto.matches(text), required.matches(text), none.matches(text), number.matches(text)))
                    .containsExactly(true, false, true, false);
            for (String call : List.of(
                    CALL.replace("<|end|", ""),
                    " to=functions.get_weather<|channel|>commentary json<|message|>{\"city\": \"Bern\"}",
                    "<|channel|>commentary to=functions.stop<|message|>{}")) {
                text = tokens(control).marked(before + call);
                assertThat(List.of(
                                auto.matches(text), required.matches(text), none.matches(text), number.matches(text)))
                        .as(text)
                        .containsExactly(true, true, false, true);
            }
            for (String call : List.of(
                    "<|channel|>commentary to=functions.get_weather<|message|>{}",
                    "<|channel|>commentary to=functions.other<|message|>{}")) {
                assertThat(auto.matches(tokens(control).marked(before + call))).isFalse();
            }
            text = tokens(control).marked(before + "<|channel|>final <|constrain|>json<|message|>12");
            assertThat(number.matches(text)).isTrue();
            assertThat(number.matches(tokens(control).marked(before + "<|channel|>final<|message|>12")))
                    .isTrue();
        }
        ReasoningFormat reasoning = Objects.requireNonNull(reasoning(control));
        Constraint before = reasoning.before(Constraint.regex("[0-9]+"), Beginning.EITHER);
        assertThat(before.matches(tokens(control).marked(THOUGHT + "<|channel|>final<|message|>12")))
                .isTrue();
        assertThat(before.matches(tokens(control).marked(THOUGHT + FINAL))).isFalse();
        assertThat(reasoning.beginning("<|end|><|start|>assistant")).isEqualTo(Beginning.EITHER);
    }

    @Test
    void constraint_randomWalks_areReadAsCalls() throws Exception {
        ToolCallFormat format = format(false);
        Constraint required = format.constraint(TOOLS, Choice.REQUIRED, true, null);
        SplittableRandom random = new SplittableRandom(3);
        for (int i = 0; i < 20; i++) {
            String text = Walks.text(required, random, 4000, "<|end|><|start|>assistant");
            ReadAnswer read = ReadAnswer.of(() -> format.parser(TOOLS), List.of(text));
            assertThat(read.names()).as(text).hasSize(1);
        }
    }

    @Test
    void describe_ofCalls_showsTheChannel() throws Exception {
        assertThat(format(true).describe())
                .isEqualTo("<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>ARGUMENTS");
        assertThat(format(true).isParallel()).isFalse();
    }
}
