package quire.engine.chat;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import quire.engine.chat.ToolCallFormat.Choice;
import quire.engine.constrain.Constraint;
import quire.model.format.Gguf;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplateException;
import quire.model.text.ChatTemplates;
import quire.model.text.Tokenizer;
import quire.model.text.Tokenizers;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.json.JsonMapper;

/**
 * The chat templates of the llama.cpp project. The system property {@code quire.vocabularies} names the folder {@code
 * models} in its sources, which has them in {@code templates}.
 */
class SharedTemplatesTest {
    private static final JsonMapper JSON = JsonMapper.shared();
    private static final ControlTokens CONTROL = new ControlTokens(
            List.of(
                    "[TOOL_CALLS]",
                    "[ARGS]",
                    "[CALL_ID]",
                    "<｜tool▁calls▁begin｜>",
                    "<|START_ACTION|>",
                    "<|open|>",
                    "<|close|>",
                    "<|sep|>",
                    "<|start|>",
                    "<|message|>",
                    "<|channel|>",
                    "<|constrain|>",
                    "<|eom|>",
                    "]<]minimax[>["),
            List.of("<|eom_id|>", "<|eot_id|>", "<|im_end|>", "</s>", "<|call|>", "<｜hy_eos:opensource｜>"));
    /** A real vocabulary, if there is one; many of its tokens are parts of a character. */
    private static final Path VOCABULARY = Path.of(System.getProperty("quire.shared", "../shared"), "vocab/gpt-2.gguf");

    private static final List<Tool> TOOLS = List.of(
            new Tool("search", Map.of("type", "object", "properties", properties())),
            new Tool("wait_1", Map.of("type", "object", "properties", Map.of())));

    private static Map<String, Object> properties() {
        Map<String, Object> properties = new LinkedHashMap<>();
        properties.put("text", Map.of("type", "string"));
        properties.put("number", Map.of("type", "integer"));
        properties.put("list", Map.of("type", "array"));
        return properties;
    }

    /** Templates without a form of calls, and why. */
    private static final Map<String, String> UNKNOWN = Map.of(
            "HuggingFaceTB-SmolLM3-3B.jinja", "does not write the calls",
            "deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja", "does not write the calls",
            "fireworks-ai-llama-3-firefunction-v2.jinja", "'functions' is undefined",
            "google-gemma-2-2b-it.jinja", "does not write the calls",
            "llama-cpp-rwkv-world.jinja", "does not write the calls",
            "microsoft-Phi-3.5-mini-instruct.jinja", "does not write the calls");

    @Test
    void format_ofEveryTemplateThatWritesCalls_readsThemBack() throws IOException {
        String folder = System.getProperty("quire.vocabularies");
        assumeTrue(folder != null, "no -Dquire.vocabularies");
        Path templates = Path.of(String.valueOf(folder)).resolve("templates");
        assumeTrue(Files.isDirectory(templates), "no folder " + templates);
        int known = 0;
        Set<String> unknown = new HashSet<>();
        Tokenizer tokenizer = null;
        if (Files.exists(VOCABULARY)) {
            try (Gguf file = Gguf.open(VOCABULARY)) {
                tokenizer = Tokenizers.of(file);
            }
        }
        try (Stream<Path> files = Files.list(templates)) {
            for (Path file : files.filter(each -> each.toString().endsWith(".jinja"))
                    .sorted()
                    .toList()) {
                ChatTemplate template;
                ToolCallFormat format;
                try {
                    template = ChatTemplates.adapted(
                            ChatTemplates.parse(Files.readString(file), "<s>", "</s>", Clock.systemUTC()));
                    format = ToolCallFormat.of(template, CONTROL);
                } catch (UnknownFormatException e) {
                    String name = file.getFileName().toString();
                    assertThat(e).as(name).hasMessageContaining(UNKNOWN.getOrDefault(name, "a template with a form"));
                    unknown.add(name);
                    continue;
                } catch (ChatTemplateException e) {
                    throw new AssertionError(file.toString(), e);
                }
                known++;
                check(file, template, format, tokenizer);
            }
        }
        assertThat(unknown).isEqualTo(UNKNOWN.keySet());
        String counts = "Of the " + (known + unknown.size()) + " templates in the sources of llama.cpp, " + (known + 1)
                + " describe tools, and the form is found for " + known + " of these.";
        assertThat(Files.readString(Path.of("../docs/tools.md")).replace('\n', ' '))
                .contains(counts);
    }

    private static void check(Path file, ChatTemplate template, ToolCallFormat format, @Nullable Tokenizer tokenizer) {
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("text", "a \"b\" \\ {c}] é 😀\n[d] <e>");
        all.put("number", -5);
        // Elements show no empty list in a list.
        List<Object> nested = format.elements() != null
                ? List.of(1, List.of(2), Map.of("k", "v"))
                : List.of(1, List.of(), Map.of("k", "v"));
        List<List<Map<String, Object>>> cases = new ArrayList<>(List.of(
                List.of(call(0, "search", all)),
                List.of(call(0, "wait_1", Map.of())),
                List.of(call(0, "search", Map.of("list", nested)))));
        if (format.isParallel()) {
            cases.add(List.of(call(0, "search", all), call(1, "search", Map.of("text", ""))));
            cases.add(List.of(call(0, "wait_1", Map.of()), call(1, "search", all)));
        }
        for (String plain : List.of("", "Hello.\n\n1 < 2 {\"a\": 5} [b]")) {
            assertThat(ReadAnswer.ofEveryCut(() -> format.parser(TOOLS), plain))
                    .as(file.toString())
                    .isEqualTo(new ReadAnswer("", plain, List.of(), List.of()));
        }
        Constraint required = format.constraint(TOOLS, Choice.REQUIRED, true, null);
        Constraint auto = format.constraint(TOOLS, Choice.AUTO, true, null);
        for (List<Map<String, Object>> calls : cases) {
            String text;
            try {
                String written = CONTROL.marked(new ToolCallProbe(template, CONTROL).answer(calls));
                text = format.hasReasoning() ? written : written.strip();
            } catch (UnknownFormatException e) {
                throw new AssertionError(file.toString(), e);
            }
            String description = file.getFileName() + ": " + text;
            ReadAnswer read = ReadAnswer.ofEveryCut(() -> format.parser(TOOLS), text);
            if (tokenizer != null) {
                assertThat(ReadAnswer.of(() -> format.parser(TOOLS), ReadAnswer.pieces(tokenizer, text)))
                        .as(description)
                        .isEqualTo(read);
            }
            assertThat(read.content()).as(description).isEmpty();
            assertThat(read.names())
                    .as(description)
                    .isEqualTo(calls.stream().map(call -> part(call, "name")).toList());
            for (int i = 0; i < calls.size(); i++) {
                try {
                    assertThat(JSON.readTree(read.arguments().get(i)))
                            .as(description)
                            .isEqualTo(JSON.valueToTree(part(calls.get(i), "arguments")));
                } catch (JacksonException e) {
                    // Some templates with tags write lists as Python does, which the model is not allowed to.
                    assertThat(format.tags()).as(description).isNotNull();
                    assertThat(text).as(description).contains("'k'");
                }
            }
            ReadAnswer around = ReadAnswer.ofEveryCut(() -> format.parser(TOOLS), "Well,\n" + text + "\nbye");
            if (format.anywhere() && (format.frame() == null || !format.frame().isWhole())) {
                assertThat(around.content()).as(description).isEqualTo("Well,bye");
                assertThat(around.arguments()).isEqualTo(read.arguments());
            }
            // The constraint allows one of the forms of JSON, and writes all characters as they are.
            boolean isPlain = !text.contains("\\u")
                    && !text.contains("<|\"|>") // properties in another order
                    && !text.contains("'k'")
                    && !text.contains("<k>v") // objects of no schema are read, but not allowed
                    && !text.contains("    \"")
                    && !text.contains("\n\n</｜");
            if (isPlain) {
                String behind = text.replace(CONTROL.marked("<|close|>think<|sep|>"), "")
                        .replace(CONTROL.marked("<|close|>message<|sep|>"), "");
                assertThat(required.matches(behind)).as(description).isTrue();
                assertThat(auto.matches(behind)).as(description).isTrue();
            }
            for (int length = 0; length < text.length(); length++) {
                String begun = text.substring(0, length);
                ReadAnswer broken = ReadAnswer.of(() -> format.parser(TOOLS), List.of(begun));
                assertThat(ReadAnswer.of(
                                () -> format.parser(TOOLS),
                                begun.codePoints().mapToObj(Character::toString).toList()))
                        .as(begun)
                        .isEqualTo(broken);
                assertThat(read.names().subList(0, broken.names().size()))
                        .as(begun)
                        .isEqualTo(broken.names());
                for (int i = 0; i < broken.names().size(); i++) {
                    assertThat(read.arguments().get(i))
                            .as(description)
                            .startsWith(broken.arguments().get(i));
                }
            }
        }
    }

    private static Map<String, Object> call(int index, String name, Map<String, ?> arguments) {
        return ToolCallProbe.call(index, name, arguments);
    }

    private static Object part(Map<String, Object> call, String key) {
        Map<?, ?> function = (Map<?, ?>) Objects.requireNonNull(call.get("function"));
        return Objects.requireNonNull(function.get(key));
    }
}
