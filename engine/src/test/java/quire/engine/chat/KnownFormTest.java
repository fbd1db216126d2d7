package quire.engine.chat;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Clock;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.engine.chat.ReasoningFormat.Beginning;
import quire.engine.chat.ToolCallFormat.Choice;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.InvalidConstraintException;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplates;
import tools.jackson.databind.json.JsonMapper;

/** Forms with marks around the text too, and arguments of elements; with marks that are control tokens, and that are text. */
class KnownFormTest {
    private static final JsonMapper JSON = JsonMapper.shared();
    private static final List<String> ENDS = List.of("<|end_of_msg|>", "<|eot|>", "<|eot_id|>", "[e~[");
    static final ControlTokens TEXT = new ControlTokens(List.of(), ENDS);
    static final ControlTokens CONTROL = new ControlTokens(
            List.of("]<]minimax[>[", "<|message|>", "<|close|>", "<|start|>", "<|open|>", "<|sep|>", "<|eom|>"), ENDS);

    private static final Tool FIND = new Tool("find", find());
    private static final Tool STOP = new Tool("stop-1", Map.of("type", "object", "properties", Map.of()));
    private static final List<Tool> TOOLS = List.of(FIND, STOP);

    private static Map<String, ?> find() {
        Map<String, Object> place = new LinkedHashMap<>();
        place.put("x", Map.of("type", "number"));
        place.put("item", Map.of("type", List.of("string", "null")));
        Map<String, Object> properties = new LinkedHashMap<>();
        properties.put("city", Map.of("type", "string"));
        properties.put("days", Map.of("type", "integer", "minimum", 1, "maximum", 9));
        properties.put("parts", Map.of("type", "array", "items", Map.of("enum", List.of("sky", "wind"))));
        properties.put("flag", Map.of("type", "boolean"));
        properties.put("place", Map.of("$ref", "#/$defs/place"));
        Map<String, Object> schema = new LinkedHashMap<>();
        schema.put("type", "object");
        schema.put("properties", properties);
        schema.put("required", List.of("city"));
        schema.put("$defs", Map.of("place", Map.of("type", "object", "properties", place)));
        return schema;
    }

    private static final String BEGIN =
            "{{ tools | tojson if tools }}{% for m in messages %}{% if m.role != 'assistant' %}{{ '<' ~ m.role ~ '>' ~"
                    + " m.content }}{% else %}";

    /** A template of each family, written for these tests. */
    private static final Map<KnownForm, String> TEMPLATES = Map.of(
            KnownForm.KIMI_K3,
            BEGIN
                    + "{{ '<|open|>think<|sep|>' ~ (m.reasoning_content or '') ~ '<|close|>think<|sep|><|open|>response<|sep|>'"
                    + " ~ (m.content or '') ~ '<|close|>response<|sep|>' }}"
                    + "{% if m.tool_calls %}<|open|>tools<|sep|>{% for c in m.tool_calls %}"
                    + "{{ '<|open|>call tool=\"' ~ c.function.name ~ '\" index=\"' ~ loop.index ~ '\"<|sep|>' }}"
                    + "{% for k, v in c.function.arguments.items() %}"
                    + "{{ '<|open|>argument key=\"' ~ k | replace('&', '&amp;') | replace('\"', '&quot;') ~ '\" type=\"' ~ ('string' if v is string else 'boolean' if v is"
                    + " boolean else 'number' if v is number else 'object' if v is mapping else 'array') ~ '\"<|sep|>'"
                    + " ~ (v if v is string else v | tojson) ~ '<|close|>argument<|sep|>' }}{% endfor %}"
                    + "<|close|>call<|sep|>{% endfor %}<|close|>tools<|sep|>{% endif %}"
                    + "<|close|>message<|sep|><|end_of_msg|>{% endif %}{% endfor %}"
                    + "{{ '<|open|>think<|sep|>' if add_generation_prompt }}",
            KnownForm.MUSE,
            BEGIN
                    + "{% if m.reasoning_content %}{{ '<|start|>assistant to=self<|message|>' ~ m.reasoning_content ~"
                    + " '<|eom|>' }}{% endif %}{% for c in m.tool_calls or [] %}"
                    + "{{ '<|start|>assistant to=' ~ c.function.name ~ '<|message|><atem:function_calls>\\n<atem:invoke"
                    + " name=\"' ~ c.function.name ~ '\">\\n' }}{% for k, v in c.function.arguments.items() %}"
                    + "{{ '<atem:parameter name=\"' ~ k ~ '\">' ~ (v if v is string else v | tojson) ~"
                    + " '</atem:parameter>\\n' }}{% endfor %}{{ '</atem:invoke>\\n</atem:function_calls>' }}"
                    + "{{ '<|eot|>' if loop.last else '<|eom|>' }}{% endfor %}"
                    + "{% if not m.tool_calls %}{{ '<|start|>assistant to=user<|message|>' ~ m.content ~ '<|eot|>' }}"
                    + "{% endif %}{% endif %}{% endfor %}{{ '<|start|>assistant' if add_generation_prompt }}",
            KnownForm.FUNCTIONARY,
            BEGIN
                    + "{{ '<assistant>' }}{% if m.content %}{{ '>>>all\\n' ~ m.content }}{% endif %}"
                    + "{% for c in m.tool_calls or [] %}{{ '>>>' ~ c.function.name ~ '\\n' ~ c.function.arguments |"
                    + " tojson }}{% endfor %}<|eot_id|>{% endif %}{% endfor %}"
                    + "{{ '<assistant>>>>' if add_generation_prompt }}",
            KnownForm.MINIMAX_M3,
            "{% set n = ']<]minimax[>[' %}{% macro x(v) %}{% if v is mapping %}{% for k, y in v.items() %}"
                    + "{{ n ~ '<' ~ k ~ '>' ~ x(y) ~ n ~ '</' ~ k ~ '>' }}{% endfor %}{% elif v is string %}{{ v }}"
                    + "{% elif v is iterable %}{% for y in v %}{{ n ~ '<item>' ~ x(y) ~ n ~ '</item>' }}{% endfor %}"
                    + "{% else %}{{ v | tojson }}{% endif %}{% endmacro %}"
                    + BEGIN
                    + "{{ '<ai>' ~ ('<mm:think>' ~ m.reasoning_content if m.reasoning_content else '') ~ '</mm:think>' ~"
                    + " (m.content or '') }}{% if m.tool_calls %}{{ n ~ '<tool_call>\\n' }}{% for c in m.tool_calls %}"
                    + "{{ n ~ '<invoke name=\"' ~ c.function.name ~ '\">' ~ x(c.function.arguments) ~ n ~ '</invoke>\\n' }}"
                    + "{% endfor %}{{ n ~ '</tool_call>' }}{% endif %}[e~[{% endif %}{% endfor %}"
                    + "{{ '<ai>' if add_generation_prompt }}");

    static ChatTemplate template(KnownForm form) {
        String source = Objects.requireNonNull(TEMPLATES.get(form));
        return ChatTemplates.adapted(ChatTemplates.parse(source, null, null, Clock.systemUTC()));
    }

    private static ControlTokens tokens(boolean control) {
        return control ? CONTROL : TEXT;
    }

    /** What the model writes behind the prompt, and behind its reasoning if the prompt begins it. */
    private static String answer(KnownForm form, ControlTokens tokens, Object... namesAndArguments) throws Exception {
        List<Map<String, Object>> calls = new ArrayList<>();
        for (int i = 0; i < namesAndArguments.length; i += 2) {
            Map<String, Object> arguments = new LinkedHashMap<>();
            ((Map<?, ?>) namesAndArguments[i + 1]).forEach((k, v) -> arguments.put(String.valueOf(k), v));
            calls.add(ToolCallProbe.call(i / 2, (String) namesAndArguments[i], arguments));
        }
        return tokens.marked(new ToolCallProbe(template(form), tokens).answer(calls));
    }

    private static Map<String, Object> arguments(Object... pairs) {
        Map<String, Object> arguments = new LinkedHashMap<>();
        for (int i = 0; i < pairs.length; i += 2) {
            arguments.put((String) pairs[i], pairs[i + 1]);
        }
        return arguments;
    }

    private static final Map<String, Object> ALL = arguments(
            "city",
            "Zürich \"a\" \\ <b> {c}] & \n >> 😀",
            "days",
            3,
            "parts",
            List.of("wind", "sky"),
            "flag",
            true,
            "place",
            arguments("x", -1.5, "item", "e"));

    @ParameterizedTest
    @CsvSource({
        "KIMI_K3,true",
        "KIMI_K3,false",
        "MUSE,true",
        "MUSE,false",
        "FUNCTIONARY,false",
        "MINIMAX_M3,true",
        "MINIMAX_M3,false"
    })
    void format_ofAFamily_readsAndAllowsWhatItsTemplateWrites(KnownForm form, boolean control) throws Exception {
        ControlTokens tokens = tokens(control);
        assertThat(KnownForm.of(template(form))).isEqualTo(form);
        ToolCallFormat format = ToolCallFormat.of(template(form), tokens);
        assertThat(format.isParallel()).isTrue();
        assertThat(format.hasControlTokens()).isEqualTo(control);
        assertThat(format.describe()).contains("NAME").doesNotContain("\0");
        List<List<Object>> cases = List.of(
                List.of("find", ALL),
                List.of("stop-1", Map.of()),
                List.of("find", arguments("city", "")),
                List.of("find", arguments("city", "a", "parts", List.of())),
                List.of("find", ALL, "find", arguments("flag", false, "city", "Bern")),
                List.of("stop-1", Map.of(), "find", arguments("city", "A"), "stop-1", Map.of()));
        Constraint required = format.constraint(TOOLS, Choice.REQUIRED, true, null);
        Constraint one = format.constraint(TOOLS, Choice.REQUIRED, false, null);
        Constraint auto = format.constraint(TOOLS, Choice.AUTO, true, null);
        Constraint none = format.constraint(TOOLS, Choice.NONE, true, null);
        for (List<Object> calls : cases) {
            String text = answer(form, tokens, calls.toArray());
            ReadAnswer read = ReadAnswer.ofEveryCut(() -> format.parser(TOOLS), text);
            assertThat(read.content()).as(text).isEmpty();
            assertThat(read.names()).as(text).hasSize(calls.size() / 2);
            for (int i = 0; i < read.names().size(); i++) {
                assertThat(read.names().get(i)).isEqualTo(calls.get(2 * i));
                assertThat(JSON.readTree(read.arguments().get(i)))
                        .as(text)
                        .isEqualTo(JSON.valueToTree(calls.get(2 * i + 1)));
            }
            for (int length = 0; length < text.length(); length++) {
                ReadAnswer broken = ReadAnswer.of(() -> format.parser(TOOLS), List.of(text.substring(0, length)));
                for (int i = 0; i < broken.names().size(); i++) {
                    assertThat(read.arguments().get(i))
                            .as(text)
                            .startsWith(broken.arguments().get(i));
                }
            }
            // Behind the reasoning, and without what ends the message.
            String written = text.replace(tokens.marked("<|close|>think<|sep|>"), "")
                    .replace(tokens.marked("<|close|>message<|sep|>"), "");
            assertThat(required.matches(written)).as(written).isTrue();
            assertThat(auto.matches(written)).as(written).isTrue();
            assertThat(none.matches(written)).as(written).isFalse();
            assertThat(one.matches(written)).as(written).isEqualTo(calls.size() == 2);
        }
    }

    /** An answer in all parts that the form has. */
    private record Parts(String reasoning, String text, String call) {}

    private static Parts parts(KnownForm form) {
        return switch (form) {
            case KIMI_K3 ->
                new Parts(
                        "Hm, a < b.<|close|>think<|sep|>",
                        "<|open|>response<|sep|>Let me see >> x.\n\n<|close|>response<|sep|>",
                        "<|open|>tools<|sep|><|open|>call tool=\"stop-1\" index=\"1\"<|sep|><|close|>call<|sep|>"
                                + "<|close|>tools<|sep|><|close|>message<|sep|>");
            case MUSE ->
                new Parts(
                        " to=self<|message|>Hm, a < b.<|eom|><|start|>assistant",
                        " to=user<|message|>Let me see >> x.\n\n<|eom|><|start|>assistant",
                        " to=stop-1<|message|><atem:function_calls>\n<atem:invoke"
                                + " name=\"stop-1\">\n</atem:invoke>\n</atem:function_calls>");
            case FUNCTIONARY -> new Parts("", "all\nLet me see >> x.\n\n>>>", "stop-1\n{}");
            case MINIMAX_M3 ->
                new Parts(
                        "<mm:think>Hm, a < b.</mm:think>",
                        "Let me see >> x.\n\n",
                        "]<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name=\"stop-1\">]<]minimax[>[</invoke>\n"
                                + "]<]minimax[>[</tool_call>");
        };
    }

    @ParameterizedTest
    @CsvSource({
        "KIMI_K3,true",
        "KIMI_K3,false",
        "MUSE,true",
        "MUSE,false",
        "FUNCTIONARY,false",
        "MINIMAX_M3,true",
        "MINIMAX_M3,false"
    })
    void parser_ofAllParts_isReadTheSameAtEveryCut(KnownForm form, boolean control) throws Exception {
        ControlTokens tokens = tokens(control);
        ToolCallFormat format = ToolCallFormat.of(template(form), tokens);
        ReasoningFormat reasoning = ReasoningFormat.of(template(form), tokens);
        Parts parts = parts(form);
        String shown = "Let me see >> x.";
        boolean reasons = form != KnownForm.FUNCTIONARY;
        assertThat(reasoning != null).isEqualTo(reasons);
        Beginning beginning = form == KnownForm.KIMI_K3 ? Beginning.REASONING : Beginning.EITHER;
        if (reasoning != null) {
            assertThat(reasoning.beginning(
                            template(form).render(List.of(Map.of("role", "user", "content", "a")), List.of(), true)))
                    .isEqualTo(beginning);
        }
        String all = tokens.marked(parts.reasoning + parts.text + parts.call);
        String thought = reasons ? "Hm, a < b." : "";
        assertThat(read(format, true, reasoning, beginning, all))
                .isEqualTo(new ReadAnswer(thought, shown, List.of("stop-1"), List.of("{}")));
        String calls = tokens.marked(parts.reasoning + parts.call);
        assertThat(read(format, true, reasoning, beginning, calls))
                .isEqualTo(new ReadAnswer(thought, "", List.of("stop-1"), List.of("{}")));
        // The text of an answer without tools stands between the same marks.
        String end = parts.text.contains("<|eom|>")
                ? "<|eom|><|start|>assistant"
                : form == KnownForm.FUNCTIONARY ? ">>>" : "";
        String text = tokens.marked(parts.reasoning + parts.text.substring(0, parts.text.length() - end.length()));
        for (boolean hasCalls : new boolean[] {true, false}) {
            assertThat(read(format, hasCalls, reasoning, beginning, text))
                    .isEqualTo(new ReadAnswer(thought, shown + "\n\n", List.of(), List.of()));
        }
        // Reasoning that is not read apart is part of the text, without its marks.
        if (form != KnownForm.MINIMAX_M3) {
            assertThat(read(format, true, null, beginning, all).content()).isEqualTo(thought + shown);
        }
        // Text that does not follow the form, and none.
        Beginning behind = form == KnownForm.KIMI_K3 ? Beginning.ANSWER : Beginning.EITHER;
        for (String plain : List.of("Hello.", "", "1 < 2 <tool", "tomorrow", "alles")) {
            boolean hasCalls =
                    form != KnownForm.FUNCTIONARY || plain.contains(" "); // else it may be the name of a tool
            assertThat(read(format, hasCalls, reasoning, behind, plain))
                    .isEqualTo(new ReadAnswer("", plain, List.of(), List.of()));
        }
        for (int length = 0; length < all.length(); length++) {
            ReadAnswer broken = read(format, true, reasoning, beginning, all.substring(0, length));
            if (control) {
                if (form != KnownForm.MINIMAX_M3) { // whose marks of reasoning are text
                    assertThat(thought).startsWith(broken.reasoning());
                    assertThat(shown + "\n\n").startsWith(broken.content());
                }
            }
            assertThat(broken.names().isEmpty() ? List.of("stop-1") : broken.names())
                    .containsExactly("stop-1");
        }
        Constraint auto = format.constraint(TOOLS, Choice.AUTO, true, null);
        Constraint required = format.constraint(TOOLS, Choice.REQUIRED, true, null);
        Constraint none = format.constraint(TOOLS, Choice.NONE, true, null);
        Constraint number = format.constraint(TOOLS, Choice.AUTO, true, Constraint.regex("[0-9]+"));
        String before = format.hasReasoning() ? parts.reasoning : "";
        String called = tokens.marked(before + parts.call.replace("<|close|>message<|sep|>", ""));
        String both = tokens.marked(before + parts.text + parts.call.replace("<|close|>message<|sep|>", ""));
        String only = tokens.marked(before + parts.text.substring(0, parts.text.length() - end.length()));
        String wanted = only.replaceFirst("Let me see >> x.\n\n", "12");
        assertThat(List.of(
                        auto.matches(called), required.matches(called), none.matches(called), number.matches(called)))
                .as(called)
                .containsExactly(true, true, false, true);
        assertThat(List.of(auto.matches(both), required.matches(both), none.matches(both), number.matches(both)))
                .as(both)
                .containsExactly(true, false, false, false);
        assertThat(List.of(auto.matches(only), required.matches(only), none.matches(only), number.matches(only)))
                .as(only)
                .containsExactly(true, false, true, false);
        assertThat(List.of(
                        auto.matches(wanted), required.matches(wanted), none.matches(wanted), number.matches(wanted)))
                .as(wanted)
                .containsExactly(true, false, true, true);
    }

    private static ReadAnswer read(
            ToolCallFormat format,
            boolean calls,
            @Nullable ReasoningFormat reasoning,
            Beginning beginning,
            String text) {
        return ReadAnswer.ofEveryCut(() -> new AnswerParser(format, calls, TOOLS, reasoning, beginning), text);
    }

    /** Texts that the constraint allows are read as calls whose arguments are valid. */
    @ParameterizedTest
    @CsvSource({"FUNCTIONARY", "MINIMAX_M3"})
    void constraint_randomWalks_areReadAsCalls(KnownForm form) throws Exception {
        ToolCallFormat format = ToolCallFormat.of(template(form), TEXT);
        Constraint required = format.constraint(TOOLS, Choice.REQUIRED, true, null);
        SplittableRandom random = new SplittableRandom(5);
        String hint = form == KnownForm.MINIMAX_M3 ? "]<]minimax[>[</" : "\"";
        for (int i = 0; i < 20; i++) {
            String text = Walks.text(required, random, 8000, hint);
            ReadAnswer read = ReadAnswer.ofEveryCut(() -> format.parser(TOOLS), text);
            assertThat(read.names()).as(text).isNotEmpty();
            for (int call = 0; call < read.names().size(); call++) {
                Map<?, ?> arguments = JSON.readValue(read.arguments().get(call), Map.class);
                if (read.names().get(call).equals("find")) {
                    assertThat(arguments.get("city")).as(text).isInstanceOf(String.class);
                    if (arguments.get("days") != null) {
                        assertThat((Integer) arguments.get("days")).isBetween(1, 9);
                    }
                    if (arguments.get("parts") != null) {
                        assertThat(arguments.get("parts")).as(text).isInstanceOf(List.class);
                    }
                    if (arguments.get("place") != null) {
                        assertThat(arguments.get("place")).as(text).isInstanceOf(Map.class);
                    }
                }
            }
        }
    }

    /** Values show no type in elements: the schema tells it, and without one the value. */
    @Test
    void elements_valuesOfUnknownTypes_areReadByTheirForm() throws Exception {
        ToolCallFormat format = ToolCallFormat.of(template(KnownForm.MINIMAX_M3), CONTROL);
        Map<String, Object> properties = new LinkedHashMap<>();
        properties.put("a", Map.of("type", List.of("string", "null")));
        properties.put("b", Map.of("anyOf", List.of(Map.of("type", "integer"), Map.of("type", "string"))));
        properties.put("item", Map.of("type", "object", "properties", Map.of("item", Map.of("type", "integer"))));
        properties.put(
                "e",
                Map.of(
                        "anyOf",
                        List.of(Map.of("type", "array", "items", Map.of("type", "string")), Map.of("type", "null"))));
        Tool tool = new Tool("f", Map.of("type", "object", "properties", properties));
        Map<String, Object> all = arguments(
                "a",
                "7",
                "b",
                7,
                "item",
                Map.of("item", 1),
                "e",
                List.of("1"),
                "u",
                arguments("k", List.of(1, "x"), "n", "null"));
        String text = answer(KnownForm.MINIMAX_M3, CONTROL, "f", all);
        assertThat(ReadAnswer.ofEveryCut(() -> format.parser(List.of(tool)), text)
                        .arguments())
                .containsExactly("{\"a\": \"7\", \"b\": 7, \"item\": {\"item\": 1}, \"e\": [\"1\"],"
                        + " \"u\": {\"k\": [1, \"x\"], \"n\": null}}");
        // White space between elements, as some models write it, is not part of them.
        String spaced =
                text.replace(CONTROL.marked("]<]minimax[>[<item>"), "\n " + CONTROL.marked("]<]minimax[>[<item>"));
        assertThat(ReadAnswer.ofEveryCut(() -> format.parser(List.of(tool)), spaced))
                .isEqualTo(ReadAnswer.of(() -> format.parser(List.of(tool)), List.of(text)));
        Tool limited = new Tool(
                "g", Map.of("type", "object", "properties", Map.of("l", Map.of("type", "array", "minItems", 2))));
        assertThatThrownBy(() -> format.checked(limited))
                .isInstanceOf(InvalidConstraintException.class)
                .hasMessageContaining("/properties/l/minItems");
        Tool endless = new Tool(
                "h",
                Map.of(
                        "type",
                        "object",
                        "properties",
                        Map.of("t", Map.of("$ref", "#/$defs/t")),
                        "$defs",
                        Map.of("t", Map.of("type", "array", "items", Map.of("$ref", "#/$defs/t")))));
        assertThatThrownBy(() -> format.checked(endless))
                .isInstanceOf(InvalidConstraintException.class)
                .hasMessageContaining("refers to itself");
    }

    /** Reasoning may come again, and its limit counts from its mark. */
    @Test
    void muse_severalThoughts_areReasoning() throws Exception {
        ToolCallFormat format = ToolCallFormat.of(template(KnownForm.MUSE), CONTROL);
        ReasoningFormat reasoning = Objects.requireNonNull(ReasoningFormat.of(template(KnownForm.MUSE), CONTROL));
        assertThat(reasoning.start()).startsWith(" to=self");
        String text = CONTROL.marked(" to=self<|message|>One. <|eom|><|start|>assistant to=self<|message|>Two.<|eom|>"
                + "<|start|>assistant to=user<|message|>Yes.");
        assertThat(read(format, true, reasoning, Beginning.EITHER, text))
                .isEqualTo(new ReadAnswer("One.Two.", "Yes.", List.of(), List.of()));
        assertThat(format.constraint(TOOLS, Choice.AUTO, true, null).matches(text))
                .isTrue();
    }
}
