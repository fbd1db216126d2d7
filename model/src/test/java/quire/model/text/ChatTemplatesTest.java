package quire.model.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.model.format.Gguf;
import quire.model.format.GgufWriter;

class ChatTemplatesTest {
    private static final Map<String, ?> USER = message("user", "Hi");
    private static final List<Map<String, ?>> TOOLS = List.of(
            Map.of("type", "function", "function", Map.of("name", "f", "parameters", Map.of("type", "object"))));

    @TempDir
    private Path folder;

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            chatml | text, empty text, supported, ignored, ignored, unknown, supported, supported
            llama3 | text, empty text, supported, ignored, ignored, unknown, supported, supported
            zephyr | text, empty text, supported, ignored, ignored, unknown, ignored, supported
            typed-tools | text or parts, null, supported, supported, supported, object, supported, supported
            gemma | text or parts, empty text, supported, ignored, ignored, unknown, refused, refused
            phi | text, empty text, supported, ignored, ignored, unknown, ignored, supported
            qwen3 | text, null, supported, supported, supported, either, supported, supported
            deepseek | text, null, supported, ignored, supported, either, supported, supported
            mistral-tools | text, null, supported, supported, supported, object, supported, refused
            llama31-tools | text, null, supported, supported, supported, object, supported, supported
            llama2 | text, empty text, supported, ignored, ignored, unknown, refused, refused
            """)
    void capabilities_ofFamilies_areWhatTheirTemplatesTake(String name, String facts) throws IOException {
        assertThat(String.join(
                        ", ", adapted(resource(name)).capabilities().describe().values()))
                .isEqualTo(facts);
    }

    @Test
    void capabilities_probesThatAreRefused_meanNo() {
        TemplateCapabilities nothing = adapted("{{ raise_exception('never') }}").capabilities();
        assertThat(nothing.text() || nothing.parts()).isFalse();
        assertThat(nothing.describe().values()).contains("unknown", "refused");
    }

    /** As the tool_use templates of Hermes 2 Pro and Hermes 3, which use tools without checking that there are any. */
    @Test
    void capabilities_templateThatFailsWithoutTools_takesThem() {
        ChatTemplate template = adapted("{{ tools[0].function.name + ':' }}"
                + "{% for m in messages %}<{{ m.role }}>{{ m.content or '' }}{% endfor %}");
        TemplateCapabilities capabilities = template.capabilities();
        assertThat(capabilities.text()).isTrue();
        assertThat(capabilities.tools()).isEqualTo(TemplateCapabilities.Answer.SUPPORTED);
        assertThat(capabilities.systemRole()).isEqualTo(TemplateCapabilities.Answer.SUPPORTED);
        assertThat(template.render(List.of(USER), TOOLS, true)).isEqualTo("f:<user>Hi");
    }

    /** How templates of well-known families use the content of an assistant message, one family in each line. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "{{ m['content'] }}", // prints None
                "{{ m['role'] + m['content'] }}", // fails: str and None
                "{% if '</think>' in m.content %}{% endif %}{{ m.content }}",
                "{{ m.content.split('</think>')[-1].lstrip() }}",
                "{{ m.content | tojson }}",
                "{{ m.content | trim }}",
                "{% if m.content is string %}{{ m.content }}{% else %}{{ raise_exception('text!') }}{% endif %}",
                "{% if m.content is string %}{{ m.content }}{% endif %}",
                "{{ m.content or '' }}"
            })
    void render_nullContentBesideToolCalls_isAsAnEmptyText(String content) {
        String source =
                "{% for m in messages %}<" + content + "{{ m.tool_calls | tojson if m.tool_calls }}>{% endfor %}";
        ChatTemplate template = adapted(source);
        Map<String, Object> call = call("c", Map.of("x", 1));
        Map<String, @Nullable Object> withNull = message("assistant", null);
        withNull.put("tool_calls", List.of(call));
        Map<String, @Nullable Object> withText = message("assistant", "");
        withText.put("tool_calls", List.of(call));

        assertThat(template.render(List.of(USER, withNull), List.of(), true))
                .isEqualTo(template.render(List.of(USER, withText), List.of(), true))
                .contains("Hi")
                .doesNotContain("None");
    }

    @Test
    void render_nullContentThatTheTemplateKnows_staysNull() {
        ChatTemplate template =
                adapted("{% for m in messages %}{{ '[none]' if m.content is none else m.content }}{% endfor %}");
        Map<String, @Nullable Object> message = message("assistant", null);
        message.put("tool_calls", List.of(call("c", Map.of())));

        assertThat(template.render(List.of(USER, message), List.of(), true)).isEqualTo("Hi[none]");
        assertThat(template.capabilities().noContent()).isEqualTo(TemplateCapabilities.NoContent.NULL);
    }

    @Test
    void render_nullContentWhereNoFormButNoneWorks_isLeftOut() {
        ChatTemplate template = adapted("{% for m in messages %}{% if m.content is defined %}"
                + "{{ raise_exception('empty') if not m.content }}{{ m.content }}{% endif %}{% endfor %}");
        Map<String, @Nullable Object> message = message("assistant", null);
        message.put("tool_calls", List.of(call("c", Map.of())));

        assertThat(template.render(List.of(USER, message), List.of(), true)).isEqualTo("Hi");
    }

    @Test
    void render_idWrittenInPlaceOfTheName_containsTheNameAndANumber() {
        ChatTemplate template = adapted("{% set ids = [] %}{% for m in messages %}{% if m.tool_calls %}"
                + "{% for c in m.tool_calls %}({{ c.id }}){% set _ = ids.append(c.id) %}{% endfor %}"
                + "{% elif m.role == 'tool' %}{{ m.tool_call_id }}={{ ids.pop(0) }};{% else %}{{ m.content }}{% endif %}"
                + "{% endfor %}");
        Map<String, @Nullable Object> two = message("assistant", null);
        Map<String, Object> named = new LinkedHashMap<>(call("b", Map.of()));
        named.put("id", "own");
        two.put("tool_calls", List.of(call("a", Map.of()), named));
        Map<String, @Nullable Object> result = message("tool", "7");
        result.put("tool_call_id", "own");
        Map<String, @Nullable Object> more = message("assistant", "");
        more.put("tool_calls", List.of(call("a", Map.of())));

        assertThat(template.render(List.of(USER, two, result, more), List.of(), true))
                .isEqualTo("Hi(functions.a:0)(functions.b:1)functions.b:1=functions.a:0;(functions.a:2)");
        assertThat(two.get("tool_calls").toString()).contains("own");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '^', textBlock = """
            {{ f.arguments | tojson }} ^ {"x": [1, null]}
            {{ '' + f.arguments }} ^ {"x": [1, null]}
            {{ f.arguments }} ^ {"x": [1, null]}
            {{ f.arguments if f.arguments is string else f.arguments | tojson }} ^ {"x": [1, null]}
            {% for k, v in f.arguments.items() %}{{ k }}={{ v | tojson }}{% endfor %} ^ x=[1, null]
            {% set a = f.arguments | from_json %}{{ a | tojson }} ^ {"x": [1, null]}
            """)
    void render_argumentsInEitherForm_areWrittenAsTheTemplateMeansThem(String arguments, String expected) {
        ChatTemplate template = adapted("{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}"
                + "{% set f = c.function %}" + arguments + "{% endfor %}{% endfor %}");
        Map<String, @Nullable Object> values = new LinkedHashMap<>();
        values.put("x", Arrays.asList(1, null));
        for (Object form : List.of(values, "{\"x\": [1, null]}")) {
            Map<String, @Nullable Object> message = message("assistant", "");
            message.put("tool_calls", List.of(call("f", form)));
            assertThat(template.render(List.of(USER, message), List.of(), true)).isEqualTo("Hi" + expected);
        }
    }

    @Test
    void render_content_isTextOrPartsAsTheTemplateTakesIt() {
        Object parts = List.of(Map.of("type", "text", "text", "a"), Map.of("type", "text", "text", "b"));
        ChatTemplate text = adapted("{% for m in messages %}{{ m.content + '!' }}{% endfor %}");
        assertThat(text.render(List.of(message("user", parts)), List.of(), true))
                .isEqualTo("a\nb!");

        ChatTemplate listed =
                adapted("{% for m in messages %}{% for p in m.content %}({{ p['text'] }}){% endfor %}{% endfor %}");
        assertThat(listed.render(List.of(USER), List.of(), true)).isEqualTo("(Hi)");
        assertThat(listed.render(List.of(message("user", parts)), List.of(), true))
                .isEqualTo("(a)(b)");

        ChatTemplate both = adapted("{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
                + "{% for p in m.content %}({{ p.text }}){% endfor %}{% endif %}{% endfor %}");
        assertThat(both.render(List.of(USER), List.of(), true)).isEqualTo("Hi");
        assertThat(both.render(List.of(message("user", parts)), List.of(), true))
                .isEqualTo("(a)(b)");
    }

    @Test
    void render_systemRoleRefused_itsTextComesBeforeTheUsers() {
        String source = "{% for m in messages %}{{ raise_exception('no system') if m.role == 'system' }}"
                + "<{{ m.role }}>{{ m.content }}{% endfor %}";
        ChatTemplate template = adapted(source);

        assertThat(template.render(List.of(message("system", "Be kind."), USER), List.of(), true))
                .isEqualTo("<user>Be kind.\n\nHi");
        assertThat(template.render(List.of(message("system", "Be kind.")), List.of(), true))
                .isEqualTo("<user>Be kind.");
        assertThat(adapted("{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}")
                        .render(List.of(message("system", "Be kind."), USER), List.of(), true))
                .isEqualTo("Hi");
    }

    @Test
    void render_consecutiveRolesRefused_areOneMessage() {
        ChatTemplate template = adapted("{% for m in messages %}"
                + "{{ raise_exception('alternate') if (m.role == 'user') != (loop.index0 % 2 == 0) }}"
                + "<{{ m.role }}>{{ m.content }}{% endfor %}");
        List<Map<String, ?>> messages =
                List.of(USER, message("user", "there"), message("assistant", "A"), message("assistant", "B"), USER);
        assertThat(template.render(messages, List.of(), true)).isEqualTo("<user>Hi\n\nthere<assistant>A\n\nB<user>Hi");

        ChatTemplate any = adapted("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}");
        assertThat(any.render(messages, List.of(), true))
                .isEqualTo("<user>Hi<user>there<assistant>A<assistant>B<user>Hi");
    }

    @Test
    void of_fileWithSeveralTemplates_usesTheOneForThePurpose() throws IOException {
        GgufWriter writer = vocabulary()
                .string("tokenizer.chat_template", "usual {{ bos_token }}{{ messages[0].content }}")
                .strings("tokenizer.chat_templates", List.of("tool_use", "rag"))
                .string(
                        "tokenizer.chat_template.tool_use",
                        "tools {{ messages[0].content }}{{ tools[0].function.name }}")
                .string("tokenizer.chat_template.rag", "documents {{ messages[0].content }}");
        ChatTemplate template = Objects.requireNonNull(open(writer));

        assertThat(template.render(List.of(USER), List.of(), true)).isEqualTo("usual <s>Hi");
        assertThat(template.render(List.of(USER), TOOLS, true)).isEqualTo("tools Hif");
        assertThat(template.render(List.of(USER), List.of(), true, Map.of("documents", List.of("d"))))
                .isEqualTo("documents Hi");
        assertThat(template.capabilities().tools()).isEqualTo(TemplateCapabilities.Answer.SUPPORTED);
        try (Gguf file = Gguf.open(folder.resolve("m.gguf"))) {
            Map<String, TemplateCapabilities> capabilities =
                    ChatTemplates.capabilities(file, Tokenizers.of(file), Clock.systemUTC());
            assertThat(capabilities.keySet()).containsExactly(ChatTemplates.DEFAULT, "tool_use", "rag");
            assertThat(Objects.requireNonNull(capabilities.get("rag")).tools())
                    .isEqualTo(TemplateCapabilities.Answer.IGNORED);
        }
    }

    @Test
    void of_fileWithoutTheListOrWithoutTheUsualTemplate_findsTheOthers() throws IOException {
        ChatTemplate unlisted = Objects.requireNonNull(open(vocabulary()
                .string("tokenizer.chat_template", "usual {{ messages[0].content }}")
                .string("tokenizer.chat_template.tool_use", "tools {{ messages[0].content }}")));
        assertThat(unlisted.render(List.of(USER), TOOLS, true)).isEqualTo("tools Hi");

        ChatTemplate only = Objects.requireNonNull(
                open(vocabulary().string("tokenizer.chat_template.tool_use", "tools {{ messages[0].content }}")));
        assertThat(only.render(List.of(USER), List.of(), true)).isEqualTo("tools Hi");
        assertThat(open(vocabulary())).isNull();
    }

    @Test
    void of_templateThatCannotBeParsed_isLeftOutUnlessItIsTheUsualOne() throws IOException {
        ChatTemplate template = Objects.requireNonNull(open(vocabulary()
                .string("tokenizer.chat_template", "usual {{ messages[0].content }}")
                .string("tokenizer.chat_template.tool_use", "{% if %}")));
        assertThat(template.render(List.of(USER), TOOLS, true)).isEqualTo("usual Hi");
        assertThatThrownBy(() -> open(vocabulary()
                        .string("tokenizer.chat_template", "{% if %}")
                        .string("tokenizer.chat_template.tool_use", "{{ messages }}")))
                .isInstanceOf(ChatTemplateException.class);
    }

    private @Nullable ChatTemplate open(GgufWriter writer) throws IOException {
        Path path = folder.resolve("m.gguf");
        Files.write(path, writer.toBytes());
        try (Gguf file = Gguf.open(path)) {
            return ChatTemplates.of(file, Tokenizers.of(file), Clock.systemUTC());
        }
    }

    private static GgufWriter vocabulary() {
        return new GgufWriter()
                .string("general.architecture", "llama")
                .string("tokenizer.ggml.model", "llama")
                .strings("tokenizer.ggml.tokens", List.of("<unk>", "<s>", "</s>", "a"))
                .float32s("tokenizer.ggml.scores", 0, 0, 0, -1)
                .int32s("tokenizer.ggml.token_type", 2, 3, 3, 1);
    }

    private static Map<String, Object> call(String name, Object arguments) {
        return Map.of("id", "abcdef123", "type", "function", "function", Map.of("name", name, "arguments", arguments));
    }

    private static Map<String, @Nullable Object> message(String role, @Nullable Object content) {
        Map<String, @Nullable Object> message = new LinkedHashMap<>();
        message.put("role", role);
        message.put("content", content);
        return message;
    }

    private static ChatTemplate adapted(String source) {
        return ChatTemplates.adapted(ChatTemplates.parse(source, "<s>", "</s>", Clock.systemUTC()));
    }

    private static String resource(String name) throws IOException {
        try (InputStream in = Objects.requireNonNull(
                ChatTemplatesTest.class.getResourceAsStream("jinja/templates/" + name + ".jinja"))) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        }
    }
}
