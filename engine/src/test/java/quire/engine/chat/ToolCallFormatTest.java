package quire.engine.chat;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Clock;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.engine.chat.ToolCallFormat.Choice;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.InvalidConstraintException;
import quire.engine.constrain.Part;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplates;
import tools.jackson.databind.json.JsonMapper;

/** Small templates with the forms of calls of well-known families. */
class ToolCallFormatTest {
    private static final JsonMapper JSON = JsonMapper.shared();

    private static final Tool WEATHER = new Tool("get_weather", weather());
    private static final Tool NOTHING = new Tool("do-nothing", Map.of("type", "object", "properties", Map.of()));
    private static final List<Tool> TOOLS = List.of(WEATHER, NOTHING);

    private static Map<String, ?> weather() {
        Map<String, Object> properties = new LinkedHashMap<>();
        properties.put("city", Map.of("type", "string"));
        properties.put("days", Map.of("type", "integer", "minimum", 1, "maximum", 9));
        properties.put("parts", Map.of("type", "array", "items", Map.of("enum", List.of("sky", "wind"))));
        properties.put("unit", Map.of("enum", List.of("c", "f")));
        return Map.of("type", "object", "properties", properties, "required", List.of("city"));
    }

    /** How a family writes a call; written for these tests. */
    enum Family {
        HERMES("<tool_call>\n{\"name\": \"{N}\", \"arguments\": {A}}\n</tool_call>", "\n", "", ""),
        LLAMA_3("{\"name\": \"{N}\", \"parameters\": {A}}", null, "", ""),
        MISTRAL_NEMO("{\"name\": \"{N}\", \"arguments\": {A}, \"id\": \"{I}\"}", ", ", "[TOOL_CALLS][", "]"),
        MISTRAL_SMALL("[TOOL_CALLS]{N}[CALL_ID]{I}[ARGS]{A}", "", "", ""),
        DEEPSEEK("<|call|>function<|sep|>{N}\n```json\n{A}\n```<|/call|>", "\n", "<|calls|>", "<|/calls|>"),
        KIMI("<|call|>functions.{N}:{#}<|arg|>{A}<|/call|>", "", "<|calls|>", "<|/calls|>"),
        COHERE(
                "    {\"id\": \"{#}\", \"tool_name\": \"{N}\", \"parameters\": {A}}",
                ",\n",
                "<|ACTION|>[\n",
                "\n]<|/ACTION|>"),
        FUNCTIONARY("<function={N}>{A}</function>", "", "", ""),
        QWEN_CODER(
                "<tool_call>\n<function={N}>\n{<parameter=K>\nV\n</parameter>\n}</function>\n</tool_call>",
                "\n",
                "",
                ""),
        GLM("<tool_call>{N}{\n<arg_key>K</arg_key>\n<arg_value>V</arg_value>}\n</tool_call>", "\n", "", ""),
        MINICPM("<function name=\"{N}\">{<param name=\"K\">M</param>}</function>", "\n", "", ""),
        DEEPSEEK_TAGS(
                "<invoke name=\"{N}\">\n{<parameter name=\"K\" string=\"T\">V</parameter>\n}</invoke>",
                "\n",
                "<calls>\n",
                "\n</calls>");

        final String call;
        final @Nullable String separator;
        final String before;
        final String after;

        Family(String call, @Nullable String separator, String before, String after) {
            this.call = call;
            this.separator = separator;
            this.before = before;
            this.after = after;
        }

        ChatTemplate template() {
            String one = call;
            int open = one.indexOf("{<") >= 0 ? one.indexOf("{<") : one.indexOf("{\n<");
            if (open >= 0) {
                int close = one.indexOf('}', open);
                String argument = one.substring(open + 1, close)
                        .replace("K", "' ~ k ~ '")
                        .replace("T", "' ~ ('true' if v is string else 'false') ~ '")
                        .replace(
                                "M",
                                "' ~ ('<![CDATA[' ~ v ~ ']]>' if v is string and ('<' in v or '&' in v) else v | tojson if v is not string else v) ~ '")
                        .replace("V", "' ~ (v if v is string else v | tojson) ~ '");
                one = one.substring(0, open) + "' }}{% for k, v in f.arguments.items() %}{{ '" + argument
                        + "' }}{% endfor %}{{ '" + one.substring(close + 1);
            }
            one = "{{ '"
                    + one.replace("{N}", "' ~ f.name ~ '")
                            .replace("{I}", "' ~ c.id ~ '")
                            .replace("{#}", "' ~ loop.index0 ~ '")
                            .replace("{A}", "' ~ (f.arguments | tojson) ~ '")
                    + "' }}";
            String check = this == MISTRAL_NEMO || this == MISTRAL_SMALL
                    ? "{% if c.id | length != 9 %}{{ raise_exception('nine') }}{% endif %}"
                    : "";
            String many = separator == null
                    ? "{% if m.tool_calls | length > 1 %}{{ raise_exception('one') }}{% endif %}"
                    : "{% if not loop.first %}{{ '" + separator + "' }}{% endif %}";
            String source =
                    "{{ tools | tojson if tools }}{% for m in messages %}{{ '<' ~ m.role ~ '>' ~ (m.content or '') }}"
                            + "{% if m.tool_calls %}{{ '" + before
                            + "' }}{% for c in m.tool_calls %}{% set f = c.function %}" + many
                            + check + one + "{% endfor %}{{ '" + after + "' }}{% endif %}{{ '<end>' }}{% endfor %}"
                            + "{{ '<assistant>' if add_generation_prompt }}";
            return ChatTemplates.adapted(
                    ChatTemplates.parse(source.replace("\n", "\\n"), null, null, Clock.systemUTC()));
        }

        ToolCallFormat format() throws UnknownFormatException {
            return ToolCallFormat.of(template(), CONTROL);
        }

        boolean hasTags() {
            return this == QWEN_CODER || this == GLM || this == MINICPM || this == DEEPSEEK_TAGS;
        }
    }

    static final ControlTokens CONTROL = new ControlTokens(List.of("[TOOL_CALLS]", "<|calls|>"), List.of("<end>"));

    /** An answer with calls as the template of a family writes it. */
    private static String answer(Family family, Object... namesAndArguments) throws UnknownFormatException {
        List<Map<String, Object>> calls = new ArrayList<>();
        for (int i = 0; i < namesAndArguments.length; i += 2) {
            Map<String, Object> arguments = new LinkedHashMap<>();
            ((Map<?, ?>) namesAndArguments[i + 1]).forEach((k, v) -> arguments.put(String.valueOf(k), v));
            calls.add(ToolCallProbe.call(i / 2, (String) namesAndArguments[i], arguments));
        }
        return CONTROL.marked(new ToolCallProbe(family.template(), CONTROL).answer(calls));
    }

    private static Map<String, Object> arguments(Object... pairs) {
        Map<String, Object> arguments = new LinkedHashMap<>();
        for (int i = 0; i < pairs.length; i += 2) {
            arguments.put((String) pairs[i], pairs[i + 1]);
        }
        return arguments;
    }

    @ParameterizedTest
    @EnumSource
    void format_ofAFamily_readsAndAllowsWhatItsTemplateWrites(Family family) throws Exception {
        ToolCallFormat format = family.format();
        assertThat(format.isParallel()).isEqualTo(family != Family.LLAMA_3);
        assertThat(format.hasNineCharacterIds())
                .isEqualTo(family == Family.MISTRAL_NEMO || family == Family.MISTRAL_SMALL);
        assertThat(format.describe()).contains("NAME").doesNotContain("probe");
        Map<String, Object> many = arguments(
                "city", "Zürich \"a\" \\ <b> {c}] \n 😀", "days", 3, "parts", List.of("wind", "sky"), "unit", "c");
        List<List<Object>> cases = new ArrayList<>(List.of(
                List.of("get_weather", many),
                List.of("do-nothing", Map.of()),
                List.of("get_weather", arguments("unit", "c", "parts", List.of("sky"), "city", "Bern")),
                List.of("get_weather", arguments("city", ""))));
        if (format.isParallel()) {
            cases.add(List.of("get_weather", many, "get_weather", arguments("city", "Bern", "unit", "f")));
            cases.add(List.of("do-nothing", Map.of(), "get_weather", arguments("city", "A"), "do-nothing", Map.of()));
        }
        Constraint required = format.constraint(TOOLS, Choice.REQUIRED, true, null);
        Constraint one = format.constraint(TOOLS, Choice.REQUIRED, false, null);
        Constraint auto = format.constraint(TOOLS, Choice.AUTO, true, null);
        Constraint none = format.constraint(TOOLS, Choice.NONE, true, null);
        for (List<Object> calls : cases) {
            String text = answer(family, calls.toArray());
            ReadAnswer read = ReadAnswer.ofEveryCut(() -> format.parser(TOOLS), text);
            assertThat(read.content()).as(text).isEmpty();
            assertThat(read.names()).hasSize(calls.size() / 2);
            for (int i = 0; i < read.names().size(); i++) {
                assertThat(read.names().get(i)).isEqualTo(calls.get(2 * i));
                assertThat(JSON.readTree(read.arguments().get(i)))
                        .as(text)
                        .isEqualTo(JSON.valueToTree(calls.get(2 * i + 1)));
            }
            assertThat(required.matches(text)).as(text).isTrue();
            assertThat(auto.matches(text)).as(text).isTrue();
            assertThat(none.matches(text)).as(text).isFalse();
            assertThat(one.matches(text)).as(text).isEqualTo(calls.size() == 2);
        }
    }

    @ParameterizedTest
    @EnumSource
    void format_textAround_isContent(Family family) throws Exception {
        ToolCallFormat format = family.format();
        Constraint auto = format.constraint(TOOLS, Choice.AUTO, true, null);
        String call = answer(family, "get_weather", arguments("city", "Bern"));
        for (String plain : List.of("Hello.", "", " \n", "1 < 2 [ok] {\"name\": 5} <tool", "a\nb ")) {
            ReadAnswer read = ReadAnswer.ofEveryCut(() -> format.parser(TOOLS), plain);
            assertThat(read).isEqualTo(new ReadAnswer("", plain, List.of(), List.of()));
            assertThat(auto.matches(plain)).isTrue();
            assertThat(format.constraint(TOOLS, Choice.REQUIRED, true, null).matches(plain))
                    .isFalse();
        }
        String mixed = "Let me see.\n\n" + call;
        ReadAnswer read = ReadAnswer.ofEveryCut(() -> format.parser(TOOLS), mixed);
        if (format.anywhere()) {
            assertThat(read.content()).isEqualTo("Let me see.");
            assertThat(read.names()).containsExactly("get_weather");
        } else {
            assertThat(read).isEqualTo(new ReadAnswer("", mixed, List.of(), List.of()));
        }
        assertThat(auto.matches(mixed)).isTrue();
        ReadAnswer behind = ReadAnswer.ofEveryCut(() -> format.parser(TOOLS), call + "\nDone.");
        assertThat(behind.content()).isEqualTo("Done.");
        assertThat(behind.arguments()).hasSize(1);
        assertThat(auto.matches(call + "\nDone.")).isFalse();
    }

    @ParameterizedTest
    @EnumSource
    void format_brokenOff_givesTheBeginningOfTheArguments(Family family) throws Exception {
        ToolCallFormat format = family.format();
        String call = answer(family, "get_weather", arguments("city", "Bern \"x\"", "days", 7));
        String whole = ReadAnswer.of(() -> format.parser(TOOLS), List.of(call))
                .arguments()
                .getFirst();
        for (int length = 0; length < call.length(); length++) {
            ReadAnswer read = ReadAnswer.ofEveryCut(() -> format.parser(TOOLS), call.substring(0, length));
            if (!read.names().isEmpty()) {
                assertThat(read.names()).containsExactly("get_weather");
                assertThat(whole).startsWith(read.arguments().getFirst());
                assertThat(read.content()).isEmpty();
            }
        }
    }

    /** Texts that the constraint allows, chosen at random byte by byte, are read as calls whose arguments are valid. */
    @ParameterizedTest
    @EnumSource
    void constraint_randomWalks_areReadAsCalls(Family family) throws Exception {
        ToolCallFormat format = family.format();
        Constraint required = format.constraint(TOOLS, Choice.REQUIRED, true, null);
        SplittableRandom random = new SplittableRandom(5);
        Set<String> met = new HashSet<>();
        String hint = format.tags() == null ? "\"" : format.tags().after();
        for (int i = 0; i < 24; i++) {
            String text = Walks.text(required, random, 4000, hint);
            ReadAnswer read = ReadAnswer.ofEveryCut(() -> format.parser(TOOLS), text);
            assertThat(read.content()).as(text).isEmpty();
            assertThat(read.names()).as(text).isNotEmpty();
            met.addAll(read.names());
            for (int call = 0; call < read.names().size(); call++) {
                Map<?, ?> arguments = JSON.readValue(read.arguments().get(call), Map.class);
                if (read.names().get(call).equals("get_weather")) {
                    assertThat(arguments.get("city")).as(text).isInstanceOf(String.class);
                    if (arguments.get("days") != null) {
                        assertThat((Integer) arguments.get("days")).isBetween(1, 9);
                    }
                    if (arguments.get("unit") != null) {
                        assertThat(arguments.get("unit")).isIn("c", "f");
                    }
                }
            }
        }
        assertThat(met).hasSize(2);
    }

    @Test
    void constraint_withTextOfASchema_allowsEither() throws Exception {
        ToolCallFormat format = Family.HERMES.format();
        Constraint constraint =
                format.constraint(TOOLS, Choice.AUTO, true, Constraint.jsonSchema(Map.of("type", "boolean")));
        assertThat(constraint.matches("true")).isTrue();
        assertThat(constraint.matches("yes")).isFalse();
        assertThat(constraint.matches(answer(Family.HERMES, "do-nothing", Map.of())))
                .isTrue();
    }

    @Test
    void constraint_textThatSpellsAControlToken_isNoCall() throws Exception {
        ToolCallFormat format = Family.MISTRAL_SMALL.format();
        assertThat(format.hasControlTokens()).isTrue();
        String call = answer(Family.MISTRAL_SMALL, "do-nothing", Map.of());
        String spelled = call.replace(String.valueOf(Part.CONTROL_MARK), "");
        assertThat(ReadAnswer.ofEveryCut(() -> format.parser(TOOLS), spelled))
                .isEqualTo(new ReadAnswer("", spelled, List.of(), List.of()));
        assertThat(format.constraint(TOOLS, Choice.REQUIRED, true, null).matches(spelled))
                .isFalse();
        assertThat(format.constraint(TOOLS, Choice.NONE, true, null).matches(spelled))
                .isTrue();
    }

    @Test
    void parser_otherControlTokens_areNotContent() throws Exception {
        ToolCallFormat format = Family.MISTRAL_SMALL.format();
        String text = "a" + Part.control("<|x|>") + "b" + Part.control("<|y|>");
        assertThat(ReadAnswer.ofEveryCut(() -> format.parser(TOOLS), text).content())
                .isEqualTo("ab");
        String name = format.marker().replace(String.valueOf(Part.CONTROL_MARK), "");
        String between = Part.control("<|x|>") + name + Part.control("<|y|>"); // spells the marker, between two tokens
        assertThat(ReadAnswer.ofEveryCut(() -> format.parser(TOOLS), between).content())
                .isEqualTo(name);
    }

    /** Half of some characters, such as the darkest tone of a hand, has been taken for a mark once. */
    @ParameterizedTest
    @EnumSource
    void parser_everyHalfOfACharacter_isContent(Family family) throws Exception {
        ToolCallFormat format = family.format();
        StringBuilder text = new StringBuilder("\uD83D\uDC4D\uD83C\uDFFF");
        for (char low = '\uDC00'; low <= '\uDFFF'; low++) {
            text.append('\uD83C').append(low);
        }
        assertThat(ReadAnswer.of(() -> format.parser(TOOLS), List.of(text.toString()))
                        .content())
                .isEqualTo(text.toString());
        ReadAnswer plain = ReadAnswer.ofEveryCut(() -> format.parser(TOOLS), "a \uD83C\uDFFF b");
        assertThat(plain.content()).isEqualTo("a \uD83C\uDFFF b");
        assertThat(format.constraint(TOOLS, Choice.AUTO, true, null).matches(text.toString()))
                .isTrue();
        String call = answer(family, "get_weather", arguments("city", "\uD83C\uDFFF"));
        assertThat(format.constraint(TOOLS, Choice.REQUIRED, true, null).matches(call))
                .isTrue();
        assertThat(JSON.readTree(ReadAnswer.ofEveryCut(() -> format.parser(TOOLS), call)
                        .arguments()
                        .getFirst()))
                .isEqualTo(JSON.valueToTree(arguments("city", "\uD83C\uDFFF")));
    }

    @ParameterizedTest
    @EnumSource(names = {"HERMES", "QWEN_CODER", "MISTRAL_SMALL"})
    void parser_markerWithoutACall_isContent(Family family) throws Exception {
        ToolCallFormat format = family.format();
        String call = answer(family, "get_weather", arguments("city", "Bern"));
        String text = format.marker() + " is how a call begins. " + call;
        ReadAnswer read = ReadAnswer.ofEveryCut(() -> format.parser(TOOLS), text);
        assertThat(read.content()).endsWith(" is how a call begins.");
        assertThat(read.names()).containsExactly("get_weather");
    }

    @Test
    void parser_valuesWithTagsThatMayBeSeveralTypes_followTheSchema() throws Exception {
        ToolCallFormat format = Family.GLM.format();
        Map<String, Object> properties = new LinkedHashMap<>();
        properties.put("a", Map.of("type", List.of("string", "null")));
        properties.put("b", Map.of("anyOf", List.of(Map.of("type", "integer"), Map.of("type", "string"))));
        properties.put("c", Map.of("$ref", "#/$defs/flag"));
        Tool tool = new Tool(
                "f",
                Map.of("type", "object", "properties", properties, "$defs", Map.of("flag", Map.of("type", "boolean"))));
        String text = answer(Family.GLM, "f", arguments("a", "7", "b", 7, "c", true));
        String more = answer(Family.GLM, "f", arguments("a", "null", "b", "seven", "c", "true", "d", List.of(1)));
        assertThat(ReadAnswer.ofEveryCut(() -> format.parser(List.of(tool)), text)
                        .arguments())
                .containsExactly("{\"a\": \"7\", \"b\": 7, \"c\": true}");
        assertThat(ReadAnswer.ofEveryCut(() -> format.parser(List.of(tool)), more)
                        .arguments())
                .containsExactly("{\"a\": null, \"b\": \"seven\", \"c\": true, \"d\": [1]}");
        assertThat(format.constraint(List.of(tool), Choice.REQUIRED, true, null).matches(text))
                .isTrue();
    }

    @Test
    void checked_schemaThatIsNotComputed_namesTheKeyword() throws Exception {
        Tool tool = new Tool("f", Map.of("type", "object", "properties", Map.of("a", Map.of("$dynamicRef", "x"))));
        for (Family family : List.of(Family.HERMES, Family.GLM)) {
            ToolCallFormat format = family.format();
            assertThatThrownBy(() -> format.checked(tool))
                    .isInstanceOf(InvalidConstraintException.class)
                    .hasMessageContaining("$dynamicRef");
        }
    }

    /** Where the schema of a tool is refused, its arguments are any object, or any values of its properties. */
    @ParameterizedTest
    @EnumSource
    void loosened_ofATool_allowsAnyValues(Family family) throws Exception {
        ToolCallFormat format = family.format();
        Tool refused = new Tool(
                "f",
                Map.of(
                        "type",
                        "object",
                        "properties",
                        Map.of("a", Map.of("$dynamicRef", "x"), "b", Map.of("type", "integer")),
                        "minProperties",
                        5));
        Tool loose = format.loosened(refused);
        format.checked(loose);
        Constraint constraint = format.constraint(List.of(loose), Choice.REQUIRED, true, null);
        for (Object value : List.of("x", 5, List.of(1, "y"), Map.of("k", true))) {
            String text = answer(family, "f", arguments("a", value, "b", 7));
            assertThat(constraint.matches(text)).as(text).isTrue();
            // A tag without a type shows a value of no schema as a string.
            boolean isKnown = !family.hasTags() || family == Family.DEEPSEEK_TAGS || value instanceof String;
            Object read = isKnown ? value : value instanceof Integer ? "5" : JSON.writeValueAsString(value);
            assertThat(JSON.readTree(ReadAnswer.of(() -> format.parser(List.of(refused)), List.of(text))
                                    .arguments()
                                    .getFirst())
                            .toString()
                            .replace("\\\": ", "\\\":")
                            .replace(", \\\"", ",\\\""))
                    .as(text)
                    .isEqualTo(JSON.valueToTree(arguments("a", read, "b", 7)).toString());
        }
    }

    /** A template that says in which form to call tools, and leaves calls out of earlier answers. */
    @Test
    void of_aTemplateThatTellsTheFormOnly_isThatForm() throws Exception {
        String source =
                "{% if tools %}When a tool is required, respond only with <|tool_call|> followed by a JSON list of"
                        + " tools used.{{ tools | tojson }}{% endif %}"
                        + "{% for m in messages %}{{ '<' ~ m.role ~ '>' + m.content + '<end>' }}{% endfor %}";
        ChatTemplate template = ChatTemplates.adapted(ChatTemplates.parse(source, null, null, Clock.systemUTC()));
        ControlTokens control = new ControlTokens(List.of("<|tool_call|>"), List.of("<end>"));
        ToolCallFormat format = ToolCallFormat.of(template, control);
        assertThat(format.describe()).isEqualTo("<|tool_call|>[{\"name\": \"NAME\", \"arguments\": ARGUMENTS}]");
        String two = control.marked("<|tool_call|>[{\"name\": \"do-nothing\", \"arguments\": {}}, {\"name\":"
                + " \"get_weather\", \"arguments\": {\"city\": \"Bern\"}}]");
        assertThat(format.constraint(TOOLS, Choice.AUTO, true, null).matches(two))
                .isTrue();
        assertThat(ReadAnswer.ofEveryCut(() -> format.parser(TOOLS), two).arguments())
                .containsExactly("{}", "{\"city\": \"Bern\"}");
        String earlier = template.render(
                List.of(
                        Map.of("role", "user", "content", "hi"),
                        Map.of(
                                "role",
                                "assistant",
                                "content",
                                "Let me see.",
                                "tool_calls",
                                List.of(ToolCallProbe.call(0, "do-nothing", Map.of())))),
                List.of(),
                false);
        assertThat(earlier).endsWith("Let me see.<|tool_call|>[{\"name\": \"do-nothing\", \"arguments\": {}}]<end>");
    }

    static ChatTemplate notation(boolean quotes) {
        String source = quotes
                ? "{{ tools | tojson if tools }}{% macro v(x) %}{% if x is string %}{{ '<|q|>' + x + '<|q|>' }}"
                        + "{% elif x is boolean %}{{ 'true' if x else 'false' }}"
                        + "{% elif x is mapping %}{{ '{' }}{% for k, y in x.items() %}{{ ',' if not loop.first }}"
                        + "{{ k ~ ':' ~ v(y) }}{% endfor %}{{ '}' }}"
                        + "{% elif x is sequence %}[{% for y in x %}{{ v(y) }}{{ ',' if not loop.last }}{% endfor %}]"
                        + "{% else %}{{ x }}{% endif %}{% endmacro %}"
                        + "{% for m in messages %}<{{ m.role }}>{{ m.content or '' }}{% for c in m.tool_calls or [] %}"
                        + "{{ '<|tool_call>call:' ~ c.function.name }}{{ v(c.function.arguments) }}{{ '<tool_call|>' }}"
                        + "{% endfor %}{{ '<|tool_response>' if m.tool_calls else '<end>' }}{% endfor %}"
                : "{% if tools %}List of tools: {{ tools | tojson }}{% endif %}"
                        + "{% for m in messages %}{{ '<' ~ m.role ~ '>' + m.content + '<end>' }}{% endfor %}";
        return ChatTemplates.adapted(ChatTemplates.parse(source, null, null, Clock.systemUTC()));
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void format_withValuesOfALanguage_readsAndAllowsThem(boolean quotes) throws Exception {
        ControlTokens control = new ControlTokens(
                List.of("<|tool_call_start|>", "<|tool_call_end|>", "<|tool_call>", "<tool_call|>", "<|q|>"),
                List.of("<end>"));
        ChatTemplate template = notation(quotes);
        ToolCallFormat format = ToolCallFormat.of(template, control);
        assertThat(format.describe())
                .isEqualTo(
                        quotes
                                ? "<|tool_call>call:NAME{KEY:<|q|>VALUE<|q|>}<tool_call|>"
                                : "<|tool_call_start|>[NAME(KEY=\"VALUE\")]<|tool_call_end|>");
        assertThat(format.isParallel()).isTrue();
        Map<String, Object> properties = new LinkedHashMap<>();
        properties.put("city", Map.of("type", "string"));
        properties.put("flag", Map.of("type", "boolean"));
        properties.put("unit", Map.of("enum", List.of("c", "f", 5)));
        properties.put("days", Map.of("type", List.of("integer", "null"), "maximum", 9));
        properties.put("list", Map.of("type", "array", "items", Map.of("type", "string")));
        properties.put(
                "place",
                Map.of(
                        "type",
                        "object",
                        "properties",
                        Map.of("x", Map.of("type", "number")),
                        "required",
                        List.of("x")));
        List<Tool> tools = List.of(
                new Tool("f", Map.of("type", "object", "properties", properties, "required", List.of("flag"))),
                NOTHING);
        Map<String, Object> all = arguments(
                "city",
                "Bern, \"a\" {b} [c] d)",
                "flag",
                true,
                "unit",
                "c",
                "days",
                7,
                "list",
                List.of("x", "y]"),
                "place",
                Map.of("x", 1.5));
        List<List<Map<String, Object>>> cases = List.of(
                List.of(ToolCallProbe.call(0, "f", all)),
                List.of(ToolCallProbe.call(0, "f", arguments("flag", false))),
                List.of(ToolCallProbe.call(0, "f", arguments("days", 7, "flag", false, "unit", "c"))),
                List.of(ToolCallProbe.call(0, "do-nothing", Map.of())),
                List.of(ToolCallProbe.call(0, "do-nothing", Map.of()), ToolCallProbe.call(1, "f", all)),
                List.of(ToolCallProbe.call(0, "f", arguments("flag", true, "unit", 5, "list", List.of()))));
        Constraint required = format.constraint(tools, Choice.REQUIRED, true, null);
        for (List<Map<String, Object>> calls : cases) {
            String text = control.marked(new ToolCallProbe(template, control).answer(calls));
            ReadAnswer read = ReadAnswer.ofEveryCut(() -> format.parser(tools), text);
            assertThat(read.content()).as(text).isEmpty();
            assertThat(read.names()).as(text).hasSameSizeAs(calls);
            for (int i = 0; i < calls.size(); i++) {
                Object function = calls.get(i).get("function");
                assertThat(JSON.readTree(read.arguments().get(i)))
                        .as(text)
                        .isEqualTo(JSON.valueToTree(((Map<?, ?>) Objects.requireNonNull(function)).get("arguments")));
            }
            assertThat(required.matches(text)).as(text).isTrue();
            for (int length = 0; length < text.length(); length++) {
                ReadAnswer broken = ReadAnswer.of(() -> format.parser(tools), List.of(text.substring(0, length)));
                for (int i = 0; i < broken.names().size(); i++) {
                    assertThat(read.arguments().get(i))
                            .startsWith(broken.arguments().get(i));
                }
            }
        }
        ToolCallFormat plain = ToolCallFormat.of(template, new ControlTokens(List.of(), List.of("<end>")));
        Constraint walked = plain.constraint(tools, Choice.REQUIRED, true, null);
        SplittableRandom random = new SplittableRandom(11);
        for (int i = 0; i < 40; i++) {
            String text = Walks.text(walked, random, 6000, quotes ? "<|q|>" : "\"");
            ReadAnswer read = ReadAnswer.ofEveryCut(() -> plain.parser(tools), text);
            assertThat(read.content()).as(text).isEmpty();
            for (int call = 0; call < read.names().size(); call++) {
                Map<?, ?> arguments = JSON.readValue(read.arguments().get(call), Map.class);
                assertThat(arguments.get("flag") instanceof Boolean)
                        .as(text)
                        .isEqualTo(read.names().get(call).equals("f"));
            }
        }
        Tool limited = new Tool(
                "g", Map.of("type", "object", "properties", Map.of("l", Map.of("type", "array", "minItems", 2))));
        if (quotes) {
            assertThatThrownBy(() -> format.checked(limited))
                    .isInstanceOf(InvalidConstraintException.class)
                    .hasMessageContaining("/properties/l/minItems");
        } else {
            format.checked(limited);
        }
    }

    @Test
    void of_templatesWithoutAFormOfCalls_saysWhy() {
        for (String[] row : new String[][] {
            {"{% for m in messages %}{{ m.content or '' }}{% endfor %}", "does not write the calls"},
            {
                "{% for m in messages %}{{ m.content or '' }}{% for c in m.tool_calls or [] %}{{ c.function.name }}"
                        + "{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}",
                "nothing before the name"
            },
            {
                "{% for m in messages %}{{ m.content or '' }}{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}"
                        + "{% endfor %}{% endfor %}",
                "does not write the arguments"
            },
            {
                "{% for m in messages %}{{ m.content or '' }}{% for c in m.tool_calls or [] %}<{{ c.function.name }}>"
                        + "{{ c.function.arguments | tojson }}</{{ c.function.name }}>{% endfor %}{% endfor %}",
                "more than once"
            },
            {
                "{% for m in messages %}{% if m.tool_calls %}{{ raise_exception('no calls') }}{% endif %}"
                        + "{{ m.content or '' }}{% endfor %}",
                "no calls"
            }
        }) {
            ChatTemplate template = ChatTemplates.adapted(ChatTemplates.parse(row[0], null, null, Clock.systemUTC()));
            assertThatThrownBy(() -> ToolCallFormat.of(template, CONTROL))
                    .isInstanceOf(UnknownFormatException.class)
                    .hasMessageContaining(row[1]);
        }
    }
}
