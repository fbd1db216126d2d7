package quire.model.text.jinja;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.time.Clock;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;
import org.assertj.core.api.InstanceOfAssertFactories;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplateException;
import quire.model.text.ChatTemplates;

/**
 * Templates that are invalid, endless or malicious: the result is a text or a ChatTemplateException within a short
 * time.
 */
class HostileTemplateTest {
    private static final List<Map<String, Object>> MESSAGES = List.of(
            Map.of("role", "system", "content", "Be brief."),
            Map.of("role", "user", "content", "Hi"),
            Map.of("role", "assistant", "content", "<think>x</think>Hello"),
            Map.of("role", "user", "content", "Bye 🙂"));
    private static final List<Map<String, Object>> TOOLS = List.of(
            Map.of("type", "function", "function", Map.of("name", "f", "parameters", Map.of("type", "object"))));

    /** A template is rendered many times while a model is loaded: one that takes a second each time is refused. */
    @Test
    void render_loopsThatEndOnlyAfterAMillionSteps_areRefused() {
        ChatTemplate template = ChatTemplates.parse(
                "{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}{{ messages[0].content }}",
                null, null, Clock.systemUTC());
        assertThatThrownBy(() -> template.render(MESSAGES, List.of(), true))
                .isInstanceOf(ChatTemplateException.class)
                .hasMessageContaining("takes too long")
                .hasMessageContaining("500000 steps");
        List<Map<String, Object>> longer = List.of(Map.of("role", "user", "content", "x".repeat(100_000)));
        assertThat(template.render(longer, List.of(), true))
                .as("more steps for more text")
                .hasSize(100_000);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
                "{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
                "{{ 'x' * 2000000000 }}",
                "{{ 'x' * 9223372036854775807 }}",
                "{{ [1] * 2000000000 }}",
                "{{ '%2000000000d' % 1 }}",
                "{{ '{:2000000000}'.format(1) }}",
                "{{ 'x'.center(2000000000) }}",
                "{{ 'x'.zfill(2000000000) }}",
                "{{ '\t'.expandtabs(2000000000) }}",
                "{{ 'x' | indent(2000000000, true) }}",
                "{{ [1] | tojson(indent=2000000000) }}",
                "{{ [1] | batch(2000000000, 0) | list }}",
                "{{ [1] | slice(2000000000) | list }}",
                "{{ 2 ** 100000000 }}",
                "{{ 2 ** 65537 }}",
                "{{ (-3) ** 9223372036854775807 }}",
                "{% set ns = namespace(x=3) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
                "{% set x = 2 ** 65000 %}{% for i in range(99999) %}{% set y = x * x // x %}{% endfor %}",
                "{% set x = 2 ** 65000 %}{% for i in range(99999) %}{% set y = x % 3 %}{% endfor %}",
                "{% set x = 2 ** 60000 %}{% for i in range(99999) %}{% set y = 3 ** 40000 %}{% endfor %}",
                "{{ 10 ** 5000 }}",
                "{{ ('[' * 100000) | from_json }}",
                "{% set j = '[1]' * 100000 %}{% for i in range(99999) %}{{ ('[' ~ j) | from_json }}{% endfor %}",
                "{% set s = ('a-' * 100000) %}{% for i in range(99999) %}{% set x = s | wordwrap(1) %}{% endfor %}",
                "{% set s = ('a ' * 100000) %}{% for i in range(99999) %}{% set x = s | pprint %}{% endfor %}",
                "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | pprint }}",
                "{% set ns = namespace(x='<'|safe) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
                "{% set s = '<' * 4000000 %}{% for i in range(99999) %}{% set x = s | e %}{% endfor %}",
                "{{ ('x'|safe) * 2000000000 }}",
                "{{ 'x' | wordwrap(1, wrapstring='y' * 4000000) }}{% for i in range(99999) %}{{ 'a b' | wordwrap(1, wrapstring='y' * 4000000) }}{% endfor %}",
                "{% set l = range(99999) | list %}{% for i in range(99999) %}{% set x = l | groupby('x', 0) %}{% endfor %}",
                "{% set s = 'a' * 1000000 %}{% set t = 'b' * 1000000 + 'a' %}{% for i in range(99999) %}{% set x = s.strip(t) %}{% endfor %}",
                "{% set s = 'a' * 1000000 %}{% set t = s + '' %}{% set d = {s: 1} %}{% for i in range(99999) %}{% set x = d[t] %}{% endfor %}",
                "{% set s = 'a' * 1000000 %}{% set t = s + '' %}{% for i in range(99999) %}{% set x = s|safe == t|safe %}{% endfor %}",
                "{% set s = 'a' * 1000000 %}{% set t = ((s + '',) * 90000) + ('x',) %}{% for i in range(99999) %}{% set x = (s + 'b').startswith(t[::-1]) %}{% endfor %}",
                "{% set s = 'é' * 1000000 %}{% for i in range(99999) %}{% set x = s is lower %}{% endfor %}",
                "{% set s = 'é' * 1000000 %}{% for i in range(99999) %}{% set x = 'x'.center(5, s) %}{% endfor %}",
                "{% set l = [1] * 1000000 %}{% for i in range(99999) %}{% set x = l | unique | list %}{% endfor %}",
                "{% set d = dict(range(99999) | map('string') | batch(1, 'k')) %}{% macro m() %}{% endmacro %}{% for i in range(99999) %}{{ m(**d) }}{% endfor %}",
                "{% macro m() %}{{ kwargs }}{% endmacro %}{% set d = dict(range(50000) | map('string') | batch(2, 'k')) %}{% for i in range(99999) %}{% set x = m(**d) %}{% endfor %}",
                "{{ ['\\x01' * 19000000] | tojson }}",
                "{{ ['\\x01' * 19000000] }}",
                "{{ strftime_now('%c' * 1000000) }}",
                "{% set s = 'a\\n' * 1000000 %}{% for i in range(99999) %}{% set x = s.splitlines() %}{% endfor %}",
                "{% set c = cycler(1, 2) %}{% for a in range(99999) %}{% for b in range(99999) %}{{ c.next() }}{% endfor %}{% endfor %}",
                "{{ range(100000000) }}",
                "{{ range(0, -9223372036854775807, -1) }}",
                "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
                "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
                "{% macro a() %}{% call b() %}{% endcall %}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
                "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
                "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
                "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
                "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
                "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
                "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
                "{% set ns = namespace(x=[1]) %}{% for i in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
                "{% set ns = namespace(x=[1]) %}{% for i in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x < ns.x + [] }}",
                "{% set ns = namespace(x=[1]) %}{% set ns.x = ns %}{{ ns }}",
                "{% set ns = namespace(x='a') %}{% for i in range(99999) %}{% set ns.x = ns.x | map('upper') %}{% endfor %}{{ ns.x | list }}",
                "{% set ns = namespace(x='a') %}{% for i in range(99999) %}{% set ns.x = ns.x | select %}{% endfor %}{{ ns.x | list }}",
                "{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{{ (s + 'b') in s }}{% endfor %}",
                "{% set s = 'a' * 4000000 %}{{ s.replace('', s) }}",
                "{% set s = 'ab' * 400000 %}{{ s.replace('a', s) }}",
                "{% set s = 'a ' * 4000000 %}{% for i in range(99999) %}{{ s.split() | length }}{% endfor %}",
                "{% set s = 'a' * 4000000 %}{% for i in range(99999) %}{{ s | length }}{% endfor %}",
                "{% set s = 'a' * 4000000 %}{% for i in range(99999) %}{{ s[0] }}{% endfor %}",
                "{% set l = range(99999) | list %}{% for i in range(99999) %}{{ l.count(i) }}{% endfor %}",
                "{% set l = range(99999) | list %}{% for i in range(99999) %}{{ l[::-1] | first }}{% endfor %}"
            })
    void render_templateWithoutBounds_isRefused(String source) {
        ChatTemplate template = ChatTemplates.parse(source, null, null, Clock.systemUTC());
        assertThatThrownBy(() -> template.render(MESSAGES, List.of(), true))
                .isInstanceOf(ChatTemplateException.class)
                .hasMessageContaining("line 1");
    }

    @Test
    void render_errorThatTheTemplateMakesUp_isShortened() {
        ChatTemplate template =
                ChatTemplates.parse("{{ raise_exception('x' * 1000000) }}", null, null, Clock.systemUTC());
        assertThatThrownBy(() -> template.render(MESSAGES, List.of(), true))
                .isInstanceOf(ChatTemplateException.class)
                .extracting(e -> String.valueOf(e.getMessage()).length())
                .asInstanceOf(InstanceOfAssertFactories.INTEGER)
                .isLessThan(1100);
    }

    @Test
    void parse_deepNesting_isRefused() {
        for (String[] nest : new String[][] {
            {"{{ ", "(", "1", ")", " }}"},
            {"{{ ", "[", "", "]", " }}"},
            {"{{ ", "{1: ", "1", "}", " }}"},
            {"{{ ", "not ", "1", "", " }}"},
            {"{{ ", "-", "1", "", " }}"},
            {"{{ ", "f(", "1", ")", " }}"},
            {"{{ a", "[a", "", "]", " }}"},
            {"{{ ", "1 if 1 else ", "1", "", " }}"},
            {"{{ 1", " + 1", "", "", " }}"},
            {"{{ 1", " and 1", "", "", " }}"},
            {"{{ 1", " if 1", "", "", " }}"},
            {"{{ a", ".a", "", "", " }}"},
            {"{{ a", "|e", "", "", " }}"},
            {"{{ a", "()", "", "", " }}"},
            {"", "{% if 1 %}", "", "{% endif %}", ""},
            {"", "{% for a in b %}", "", "{% endfor %}", ""},
            {"{% set ", "(", "a", ")", " = 1 %}"}
        }) {
            String source = nest[0] + nest[1].repeat(20_000) + nest[2] + nest[3].repeat(20_000) + nest[4];
            assertThatThrownBy(() -> ChatTemplates.parse(source, null, null, Clock.systemUTC()))
                    .as(nest[1])
                    .isInstanceOf(ChatTemplateException.class);
        }
    }

    @ParameterizedTest
    @CsvSource(delimiter = '^', textBlock = """
            a\\n{{ s | urlize }}                ^ line 2: filter 'urlize' is not supported
            {{ s is nonsense }}                 ^ line 1: test 'nonsense' is not supported
            {{ l | map('nonsense') }}           ^ line 1: filter 'nonsense' is not supported
            {{ l | selectattr('a', 'nope') }}   ^ line 1: test 'nope' is not supported
            \\n\\n{% include 'x' %}             ^ line 3: block 'include' is not supported in chat templates
            {% nonsense %}                      ^ line 1: block 'nonsense' is unknown here
            {{ s.encode('utf8') }}              ^ line 1: method 'encode' is not supported
            {% if x %}                          ^ line 1: the template ends where one of [elif, else, endif] is missing
            """)
    void parse_unknownConstruct_isNamedWithItsLine(String source, String message) {
        assertThatThrownBy(() -> ChatTemplates.parse(source.replace("\\n", "\n"), null, null, Clock.systemUTC()))
                .isInstanceOf(ChatTemplateException.class)
                .hasMessageContaining(message);
    }

    /**
     * Jinja refuses the second and third, since a loop or a macro has its own scope. Here everything inside of an if is
     * a branch.
     */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "{% if false %}{{ x|nofilter }}{% endif %}ok",
                "{% if false %}{% for a in [1] %}{{ a|nofilter }}{{ a is notest }}{% endfor %}{% endif %}ok",
                "{% if false %}{% set x %}{{ y|nofilter }}{% endset %}{% macro m() %}{{ y.encode() }}{% endmacro %}{% endif %}ok",
                "{{ x|nofilter if false else 'ok' }}"
            })
    void render_unknownFilterInABranchNotTaken_isIgnored(String source) {
        assertThat(ChatTemplates.parse(source, null, null, Clock.systemUTC()).render(MESSAGES, List.of(), true))
                .isEqualTo("ok");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '^', textBlock = """
            {% if true %}\\n{{ 'a'|urlize }}{% endif %}      ^ line 2: filter 'urlize' is not supported
            {{ 1 if 1 is nonsense else 2 }}                   ^ line 1: test 'nonsense' is not supported
            {% if true %}\\n\\n{% include 'x' %}{% endif %} ^ line 3: block 'include' is not supported in chat templates
            {% if true %}{{ 'a'.encode() }}{% endif %}        ^ line 1: method 'encode' is not supported
            """)
    void render_unknownFilterInABranchTaken_isNamedWithItsLine(String source, String message) {
        ChatTemplate template = ChatTemplates.parse(source.replace("\\n", "\n"), null, null, Clock.systemUTC());
        assertThatThrownBy(() -> template.render(MESSAGES, List.of(), true))
                .isInstanceOf(ChatTemplateException.class)
                .hasMessageContaining(message);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '^', textBlock = """
            a\\n{{ nonsense() }}                ^ line 2: 'nonsense' is undefined
            {{ messages[0].content.nope() }}    ^ line 1: 'str object' has no attribute 'nope'
            \\n{{ raise_exception('Be kind') }} ^ line 2: the template refuses: Be kind
            {{ messages.append(1) }}            ^ line 1: 'append' would change a list, which templates must not
            {{ [].append([]) }}                 ^ line 1: list.append takes texts, numbers, booleans and none, not list
            {{ [1].pop(1) }}                    ^ line 1: list.pop: the list has 1 elements, not one at 1
            {% set l = [1] %}{% for x in l %}{{ l.append(x) }}{% endfor %} ^ line 1: it changes a list while it reads it
            {% set l = [1] %}{% for y in range(9999) %}{% for x in range(999) %}{{ l.append(x) }}{% endfor %}{% endfor %} ^ takes too long
            """)
    void render_invalidOperation_isNamedWithItsLine(String source, String message) {
        ChatTemplate template = ChatTemplates.parse(source.replace("\\n", "\n"), null, null, Clock.systemUTC());
        assertThatThrownBy(() -> template.render(MESSAGES, List.of(), true))
                .isInstanceOf(ChatTemplateException.class)
                .hasMessageContaining(message);
    }

    @Test
    void render_longConversation_isNotRefused() {
        ChatTemplate template = ChatTemplates.parse(source("qwen3.jinja"), "<s>", "</s>", Clock.systemUTC());
        List<Map<String, Object>> messages = new ArrayList<>();
        for (int i = 0; i < 2000; i++) {
            messages.add(Map.of("role", i % 2 == 0 ? "user" : "assistant", "content", "words and more ".repeat(100)));
        }
        assertThat(template.render(messages, TOOLS, true)).hasSizeGreaterThan(2000 * 1500);
    }

    @Test
    void render_variableThatTheConversationSets_isRefused() {
        ChatTemplate template = ChatTemplates.parse("{{ x }}", null, null, Clock.systemUTC());
        assertThat(template.render(MESSAGES, List.of(), true, Map.of("x", 5))).isEqualTo("5");
        assertThatThrownBy(() -> template.render(MESSAGES, List.of(), true, Map.of("messages", 5)))
                .isInstanceOf(ChatTemplateException.class);
    }

    /** Mutated templates. Any exception other than ChatTemplateException fails the test. */
    @Test
    void mutatedTemplate_always_rendersOrRefuses() {
        RandomGenerator random = RandomGeneratorFactory.of("L64X128MixRandom").create(20261123);
        List<String> sources =
                ReplayTest.templates().stream().map(HostileTemplateTest::source).toList();
        List<String> pieces = List.of(
                "{{",
                "}}",
                "{%",
                "%}",
                "{#",
                "#}",
                "-",
                "+",
                "(",
                ")",
                "[",
                "]",
                "{",
                "}",
                "|",
                ".",
                ",",
                ":",
                "'",
                "\"",
                "\\",
                "\n",
                " ",
                "*",
                "**",
                "not ",
                " in ",
                " is ",
                " if ",
                " else ",
                "for ",
                "endfor",
                "endif",
                "set ",
                "macro m()",
                "loop",
                "messages",
                "none",
                "true",
                "1",
                "-1",
                "1e9",
                "::",
                "==",
                "~",
                "é",
                "🙂",
                "\ud83d",
                "\0",
                "|length",
                "|tojson",
                "|int",
                "|list",
                "|first",
                "|map('upper')",
                "|sort",
                "|join",
                ".items()",
                ".split()",
                "[::-1]");
        int rendered = 0;
        int refused = 0;
        for (int i = 0; i < 20_000; i++) {
            StringBuilder source = new StringBuilder(sources.get(random.nextInt(sources.size())));
            for (int edits = 1 + random.nextInt(3); edits > 0; edits--) {
                int at = random.nextInt(source.length() + 1);
                int to = Math.min(source.length(), at + random.nextInt(12));
                switch (random.nextInt(3)) {
                    case 0 -> source.delete(at, to);
                    case 1 -> source.insert(at, pieces.get(random.nextInt(pieces.size())));
                    default -> source.insert(random.nextInt(source.length() + 1), source.substring(at, to));
                }
            }
            try {
                ChatTemplates.parse(source.toString(), "<s>", null, Clock.systemUTC())
                        .render(MESSAGES, random.nextBoolean() ? TOOLS : List.of(), random.nextBoolean());
                rendered++;
            } catch (ChatTemplateException e) {
                refused++;
            } catch (RuntimeException | Error e) {
                throw new AssertionError("round " + i + ":\n" + source, e);
            }
        }
        assertThat(rendered).isGreaterThan(1000);
        assertThat(refused).isGreaterThan(1000);
    }

    private static String source(String name) {
        try (InputStream in =
                Objects.requireNonNull(HostileTemplateTest.class.getResourceAsStream("templates/" + name))) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }
}
