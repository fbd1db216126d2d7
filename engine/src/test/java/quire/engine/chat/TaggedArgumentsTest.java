package quire.engine.chat;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import quire.engine.chat.ToolCallFormat.Choice;
import quire.engine.constrain.Constraint;
import quire.engine.constrain.InvalidConstraintException;
import quire.engine.constrain.Part;
import quire.model.text.ChatTemplate;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.json.JsonMapper;

/**
 * Values and names with the text that ends them. The constraint allows what is read back as it is, byte for byte, and nothing
 * else.
 */
class TaggedArgumentsTest {
    private static final JsonMapper JSON = JsonMapper.shared();

    /** A form, and the template that writes it. */
    record Form(String name, ChatTemplate template, ControlTokens control, ToolCallFormat format) {
        static Form of(String name, ChatTemplate template, ControlTokens control) {
            try {
                return new Form(name, template, control, ToolCallFormat.of(template, control));
            } catch (UnknownFormatException e) {
                throw new AssertionError(name, e);
            }
        }

        /** A call of the tool {@code f} as the template writes it, behind the reasoning. */
        String call(Map<String, Object> arguments) {
            try {
                String text =
                        new ToolCallProbe(template, control).answer(List.of(ToolCallProbe.call(0, "f", arguments)));
                return control.marked((format.hasReasoning() ? text : text.strip())
                        .replace("<|close|>think<|sep|>", "")
                        .replace("<|close|>message<|sep|>", ""));
            } catch (UnknownFormatException e) {
                throw new AssertionError(name, e);
            }
        }

        /** Whether a value has the mark that stands before all tags of elements, which is in no value. */
        boolean hasMark(Map<String, Object> arguments) {
            return format.elements() != null
                    && String.valueOf(arguments)
                            .contains(format.elements().mark().replace(String.valueOf(Part.CONTROL_MARK), ""));
        }

        Constraint constraint(Tool tool) {
            return format.constraint(List.of(tool), Choice.REQUIRED, false, null);
        }

        @Override
        public String toString() {
            return name;
        }
    }

    static List<Form> forms() {
        List<Form> forms = new ArrayList<>();
        for (ToolCallFormatTest.Family family : ToolCallFormatTest.Family.values()) {
            if (family.hasTags()) {
                forms.add(Form.of(family.name(), family.template(), ToolCallFormatTest.CONTROL));
            }
        }
        for (KnownForm known : List.of(KnownForm.KIMI_K3, KnownForm.MUSE, KnownForm.MINIMAX_M3)) {
            forms.add(Form.of(known + " of text", KnownFormTest.template(known), KnownFormTest.TEXT));
            forms.add(Form.of(known + " of tokens", KnownFormTest.template(known), KnownFormTest.CONTROL));
        }
        ControlTokens plain = new ControlTokens(List.of(), List.of("<end>"));
        ControlTokens quotes = new ControlTokens(List.of("<|q|>", "<|other|>"), List.of("<end>"));
        forms.add(Form.of("GEMMA of text", ToolCallFormatTest.notation(true), plain));
        forms.add(Form.of("GEMMA of tokens", ToolCallFormatTest.notation(true), quotes));
        forms.add(Form.of("LFM2", ToolCallFormatTest.notation(false), plain));
        return forms;
    }

    /** Texts made of what the form writes around names and values, and of parts of it. */
    private static Set<String> texts(Form form) {
        Set<String> parts = new LinkedHashSet<>(List.of("", "a", "\"", "\\", "<", "&", "<|open|>", "<|other|>"));
        String example = form.call(Map.of("k", "v")).replace(String.valueOf(Part.CONTROL_MARK), "");
        int key = example.lastIndexOf("k", example.lastIndexOf("v"));
        int value = example.indexOf("v", key);
        for (String between : List.of(
                example.substring(key + 1, value),
                example.substring(value + 1, Math.min(example.length(), value + 30)),
                example.substring(
                        value + 1, example.indexOf('>', value) < 0 ? value + 2 : example.indexOf('>', value) + 1))) {
            parts.add(between);
            parts.add(between.substring(0, between.length() / 2));
            parts.add(between.substring(Math.min(1, between.length())));
        }
        if (form.format.tags() != null) {
            parts.addAll(List.of(
                    form.format.tags().after(),
                    form.format.tags().open(),
                    form.format.tags().close()));
        }
        Set<String> texts = new LinkedHashSet<>();
        for (String first : parts) {
            for (String second : List.of("", example.substring(value + 1))) {
                texts.add(first.replace(String.valueOf(Part.CONTROL_MARK), "")
                        + second.replace(String.valueOf(Part.CONTROL_MARK), ""));
            }
        }
        return texts;
    }

    private static Tool tool(Map<String, Object> properties, String... required) {
        return new Tool("f", Map.of("type", "object", "properties", properties, "required", Arrays.asList(required)));
    }

    private static Map<String, Object> map(Object... pairs) {
        Map<String, Object> map = new LinkedHashMap<>();
        for (int i = 0; i < pairs.length; i += 2) {
            map.put((String) pairs[i], pairs[i + 1]);
        }
        return map;
    }

    /**
     * Checks that a call is allowed if it is read back, and that the template writes what is read as the text that was allowed.
     *
     * @return whether it is allowed
     */
    private static boolean check(Form form, Tool tool, Constraint constraint, Map<String, Object> arguments) {
        String text = form.call(arguments);
        ReadAnswer read = ReadAnswer.of(() -> form.format.parser(List.of(tool)), List.of(text));
        assertThat(ReadAnswer.of(() -> form.format.parser(List.of(tool)), ReadAnswer.pieces(ReadAnswer.BYTES, text)))
                .as(text)
                .isEqualTo(read);
        boolean allowed = constraint.matches(text);
        Map<String, Object> back = null;
        try {
            if (read.content().isEmpty() && read.names().equals(List.of("f"))) {
                back = map();
                Map<?, ?> json = JSON.readValue(read.arguments().getFirst(), Map.class);
                for (Map.Entry<?, ?> each : json.entrySet()) {
                    back.put(String.valueOf(each.getKey()), each.getValue());
                }
            }
        } catch (JacksonException e) {
            back = null;
        }
        if (allowed) {
            assertThat(back).as("%s: %s, read as %s", form, text, read).isNotNull();
            Map<String, Object> known = Objects.requireNonNull(back);
            assertThat(form.call(known)).as("%s: read as %s", form, read).isEqualTo(text);
        } else if (!form.hasMark(arguments)) {
            assertThat(back).as("%s: %s is not allowed", form, text).isNotEqualTo(arguments);
        }
        return allowed;
    }

    @ParameterizedTest
    @MethodSource("forms")
    void part_valuesWithTheTextThatEndsThem_areThoseThatAreReadBack(Form form) {
        boolean isJson = form.format.elements() == null;
        Tool tool = tool(map(
                "text",
                Map.of("type", "string"),
                "list",
                Map.of("type", "array", "items", Map.of("type", "string")),
                "either",
                Map.of("type", List.of("string", "null")),
                "number",
                Map.of("type", "integer")));
        Constraint constraint = form.constraint(tool);
        int allowed = 0;
        int refused = 0;
        for (String text : texts(form)) {
            for (Map<String, Object> arguments :
                    List.of(map("text", text, "number", 5), map("either", text, "list", List.of("b", text)))) {
                if (check(form, tool, constraint, arguments)) {
                    allowed++;
                } else {
                    refused++;
                }
            }
        }
        assertThat(allowed).isGreaterThan(10);
        assertThat(refused).as("%s", form).isGreaterThan(form.name.equals("LFM2") ? -1 : 0);
        if (isJson && form.format.tags() != null) {
            // Within JSON, the tag is a text as any other.
            String end = form.format.tags().after().replace(String.valueOf(Part.CONTROL_MARK), "");
            if (form.control.inside().stream().noneMatch(end::contains)) {
                assertThat(check(form, tool, constraint, map("list", List.of("a" + end, "b"), "number", 1)))
                        .isTrue();
            }
        }
    }

    @ParameterizedTest
    @MethodSource("forms")
    void part_listedValuesWithTheTextThatEndsThem_areThoseThatAreReadBack(Form form) {
        List<String> all = List.copyOf(texts(form));
        List<String> texts =
                IntStream.range(0, all.size() / 3).mapToObj(i -> all.get(3 * i)).toList();
        List<Object> mixed = new ArrayList<>(texts);
        mixed.add(5);
        if (form.format.tags() != null) { // other forms write a listed list as JSON, and not as their template does
            mixed.add(List.of("a" + texts.getLast()));
        }
        Tool tool = tool(map(
                "only",
                Map.of("enum", texts),
                "mixed",
                Map.of("enum", mixed),
                "typed",
                Map.of("type", "integer", "enum", mixed)));
        Constraint constraint = form.constraint(tool);
        int allowed = 0;
        for (Object value : mixed) {
            if (value instanceof String) {
                allowed += check(form, tool, constraint, map("only", value)) ? 1 : 0;
            }
            check(form, tool, constraint, map("mixed", value));
            // The rest of the schema counts as well.
            assertThat(constraint.matches(form.call(map("typed", value))))
                    .as("%s: %s", form, value)
                    .isEqualTo(value.equals(5));
        }
        assertThat(allowed).isGreaterThan(2);
    }

    @ParameterizedTest
    @MethodSource("forms")
    void part_namesWithTheTextBehindThem_areThoseThatAreReadBack(Form form) {
        int allowed = 0;
        for (String name : texts(form)) {
            if (form.control.inside().stream().anyMatch(name::contains)) {
                continue; // the call would have a control token there, and not the text
            }
            Map<String, Object> properties = map(name, Map.of("type", "string"), "other", Map.of("type", "string"));
            Tool tool = tool(properties);
            if (check(form, tool, form.constraint(tool), map(name, "x", "other", "y"))) {
                allowed++;
                form.constraint(tool(properties, name));
            } else {
                assertThatThrownBy(() -> form.constraint(tool(properties, name)))
                        .as("%s: %s", form, name)
                        .isInstanceOf(InvalidConstraintException.class)
                        .hasMessageContaining("'/properties/" + name + "' is required");
                assertThat(form.format.loosened(tool(properties, name))).satisfies(loose -> form.format.checked(loose));
            }
            if (form.format.notation() != null) {
                Tool outer = tool(map("object", Map.of("type", "object", "properties", properties)));
                check(form, outer, form.constraint(outer), map("object", map(name, "x", "other", "y")));
            }
        }
        assertThat(allowed).isGreaterThan(5);
    }

    /** Kimi K3 writes keys as attributes. */
    @Test
    void part_keysOfKimiK3_areWrittenAsAttributes() {
        for (Form form :
                forms().stream().filter(each -> each.name.startsWith("KIMI")).toList()) {
            for (String name : List.of("a&b", "a\"b", "&quot;", "&amp;quot;", "a\" type=\"number\"", "x&amp;")) {
                Tool tool = tool(map(name, Map.of("type", "string")), name);
                assertThat(check(form, tool, form.constraint(tool), map(name, "x & \"y\"")))
                        .as(name)
                        .isTrue();
            }
            assertThat(form.call(map("a\"&", "v"))).contains("key=\"a&quot;&amp;\" type");
        }
    }

    /** A name that would be read as another, or as the receiver of a text. */
    @Test
    void constraint_ofATool_whoseNameWouldNotBeRead_saysSo() {
        Stream.of(
                        Map.entry("MUSE of tokens", List.of("user", "self")),
                        Map.entry("KIMI_K3 of tokens", List.of("a\" index=\"")),
                        Map.entry("LFM2", List.of("a(b", "\uFFFFx\uFFFF")))
                .forEach(row -> row.getValue().forEach(name -> {
                    Form form = forms().stream()
                            .filter(each -> each.name.equals(row.getKey()))
                            .findFirst()
                            .orElseThrow();
                    Tool tool = new Tool(name, Map.of("type", "object"));
                    assertThatThrownBy(() -> form.constraint(tool))
                            .as("%s: %s", form, name)
                            .isInstanceOf(InvalidConstraintException.class)
                            .hasMessageContaining("the name '" + name + "'");
                }));
    }
}
