package quire.model.text.jinja;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Clock;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplateException;
import quire.model.text.ChatTemplates;
import tools.jackson.databind.json.JsonMapper;

/**
 * Compares with recorded outputs of python3-jinja2 (pin.py) for templates and expressions: the same text, or also a
 * refusal.
 */
class ReplayTest {
    private static final Clock NOW =
            Clock.fixed(LocalDateTime.of(2025, 3, 7, 9, 5, 3).toInstant(ZoneOffset.UTC), ZoneOffset.UTC);
    private static final Map<String, Object> PINNED = map(json("templates.json"));

    static List<String> templates() {
        return List.copyOf(map(PINNED.get("templates")).keySet());
    }

    @ParameterizedTest
    @MethodSource("templates")
    void template_everyConversation_rendersAsPython(String name) throws IOException {
        String source = new String(resource("templates/" + name).readAllBytes(), StandardCharsets.UTF_8);
        List<Object> expected = list(map(PINNED.get("templates")).get(name));
        assertThat(differences(source, expected, text -> text)).isEmpty();
    }

    /**
     * Adapting conversations changes nothing if a template renders them correctly. Three conversations are left out:
     * some templates write None for missing content, a Python list for content in parts, or a string in JSON for
     * arguments as text.
     */
    @ParameterizedTest
    @MethodSource("templates")
    void adaptedTemplate_conversationThatPythonRenders_isTheSame(String name) throws IOException {
        String source = new String(resource("templates/" + name).readAllBytes(), StandardCharsets.UTF_8);
        ChatTemplate template = ChatTemplates.adapted(ChatTemplates.parse(source, "<s>", "</s>", NOW));
        List<Object> expected = list(map(PINNED.get("templates")).get(name));
        List<Object> conversations = list(PINNED.get("conversations"));
        for (int i = 0; i < conversations.size(); i++) {
            Map<String, Object> conversation = map(conversations.get(i));
            boolean rendersBadly = List.of("tool call, null content", "tool call, no content", "parts, all")
                    .contains(String.valueOf(conversation.get("name")));
            if (expected.get(i) != null && !rendersBadly) {
                assertThat(render(template, conversation))
                        .as(String.valueOf(conversation.get("name")))
                        .isEqualTo(expected.get(i));
            }
        }
    }

    /**
     * Published templates that Python refuses for some conversations and Quire renders, as llama.cpp does: they append to a list in
     * an expression, or write a lazy sequence as JSON.
     */
    private static final List<String> RENDERED_HERE =
            List.of("lcp-Kimi-K2-Instruct.jinja", "lcp-Kimi-K2-Thinking.jinja", "lcp-llama-cpp-deepseek-r1.jinja");

    /** The published templates are not part of this repository. The test is skipped if they are not available. */
    @Test
    void realTemplates_ifAvailable_renderAsPython() throws IOException {
        Path folder = Path.of(System.getProperty(
                "quire.templates", System.getProperty("quire.shared", "../../shared") + "/templates"));
        assumeTrue(Files.isDirectory(folder), () -> "no templates in " + folder);
        List<String> wrong = new ArrayList<>();
        int replayed = 0;
        for (Object row : list(json("real.json"))) {
            Path file = folder.resolve((String) map(row).get("file"));
            if (!Files.exists(file)) {
                continue;
            }
            byte[] bytes = Files.readAllBytes(file);
            assertThat(sha256(bytes)).as("digest of %s", file).isEqualTo(map(row).get("sha256"));
            String source = new String(bytes, StandardCharsets.UTF_8);
            String name = String.valueOf(file.getFileName());
            List<String> differences = differences(source, list(map(row).get("outputs")), ReplayTest::digest);
            if (RENDERED_HERE.contains(name)) {
                assertThat(differences).as(name).isNotEmpty().allMatch(each -> each.contains("\n  python: null\n"));
            } else {
                differences.forEach(difference -> wrong.add(name + ", " + difference));
            }
            replayed++;
        }
        assertThat(wrong).isEmpty();
        assertThat(replayed).isPositive();
    }

    /**
     * Python cannot write a sequence that is computed lazily as JSON. The template of DeepSeek R1 in llama.cpp's collection does
     * it, and llama.cpp writes the list, as it is meant.
     */
    private static final Map<String, String> LOOSER =
            Map.of("{{ l | map('string') | tojson }}", "[\"3\", \"1\", \"2\"]");

    @Test
    void expression_everyCase_rendersAsPython() {
        Map<String, Object> pinned = map(json("expressions.json"));
        List<String> wrong = new ArrayList<>();
        for (Object pair : list(pinned.get("cases"))) {
            String source = (String) list(pair).getFirst();
            Object expected = LOOSER.getOrDefault(source, (String) list(pair).getLast());
            String actual;
            try {
                actual = new JinjaTemplate(source, null, null, NOW).render(map(pinned.get("variables")));
            } catch (ChatTemplateException e) {
                actual = expected == null ? null : e.getMessage();
            }
            if (!Objects.equals(actual, expected)) {
                wrong.add(source + "\n  python: " + expected + "\n  here:   " + actual);
            }
        }
        assertThat(wrong).isEmpty();
    }

    private interface Pin {
        String of(String text);
    }

    private static List<String> differences(String source, List<Object> expected, Pin pin) {
        List<Object> conversations = list(PINNED.get("conversations"));
        List<String> wrong = new ArrayList<>();
        for (int i = 0; i < conversations.size(); i++) {
            Map<String, Object> conversation = map(conversations.get(i));
            @Nullable String actual;
            String message = "";
            try {
                actual = render(source, conversation);
            } catch (ChatTemplateException e) {
                actual = null;
                message = e.getMessage();
            }
            if (!Objects.equals(actual == null ? null : pin.of(actual), expected.get(i))) {
                wrong.add(conversation.get("name") + "\n  python: " + expected.get(i) + "\n  here:   "
                        + (actual == null ? message : actual));
            }
        }
        return wrong;
    }

    private static String render(String source, Map<String, Object> conversation) {
        return render(ChatTemplates.parse(source, "<s>", "</s>", NOW), conversation);
    }

    private static String render(ChatTemplate template, Map<String, Object> conversation) {
        return template.render(
                maps(conversation.get("messages")),
                maps(conversation.get("tools")),
                Boolean.TRUE.equals(conversation.get("generate")),
                map(conversation.get("variables")));
    }

    private static List<Map<String, Object>> maps(@Nullable Object value) {
        return list(value).stream().map(ReplayTest::map).toList();
    }

    private static InputStream resource(String name) {
        return Objects.requireNonNull(ReplayTest.class.getResourceAsStream(name), name);
    }

    private static Object json(String name) {
        try (InputStream in = resource(name)) {
            return JsonMapper.shared().readValue(in, Object.class);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @SuppressWarnings("unchecked") // the type of the JSON value
    private static Map<String, Object> map(@Nullable Object value) {
        return (Map<String, Object>) Objects.requireNonNull(value);
    }

    @SuppressWarnings("unchecked") // the type of the JSON value
    private static List<Object> list(@Nullable Object value) {
        return (List<Object>) Objects.requireNonNull(value);
    }

    private static String sha256(byte[] bytes) {
        try {
            return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }

    private static String digest(String text) {
        return sha256(text.getBytes(StandardCharsets.UTF_8)).substring(0, 16);
    }
}
