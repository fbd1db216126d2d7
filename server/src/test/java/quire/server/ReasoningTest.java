package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.time.Clock;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.model.text.ChatTemplate;
import quire.model.text.ChatTemplates;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;

/** The reasoning of an answer over HTTP, with a model that follows a script. */
@Timeout(60)
class ReasoningTest {
    /** As Qwen 3: the model begins its reasoning itself, and a variable makes the prompt contain an empty one. */
    private static final String SOURCE = "{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}"
            + "{% for m in messages %}<{{ m.role }}>{% if m.reasoning_content %}<think>\\n{{ m.reasoning_content }}\\n</think>"
            + "\\n\\n{% endif %}{{ m.content or '' }}{% for c in m.tool_calls or [] %}{{ '\\n' if not loop.first }}"
            + "<call>{{ c.function.name }}:{{ c.function.arguments | tojson }}</call>{% endfor %}{% endfor %}"
            + "{% if add_generation_prompt %}<assistant>{% if enable_thinking is defined and not enable_thinking %}"
            + "<think>\\n\\n</think>\\n\\n{% elif reasoning_effort is defined %}<think>\\n{% endif %}{% endif %}";

    private static final String TOOL = "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"stop\"}}]";

    private static TestServer server;

    /** A template with reasoning and tools. */
    static ChatTemplate template() {
        return ChatTemplates.adapted(ChatTemplates.parse(SOURCE.replace("\\n", "\n"), null, null, Clock.systemUTC()));
    }

    @BeforeAll
    static void start() {
        server = TestServer.builder()
                .context(2048)
                .template(template())
                .script(prompt -> prompt.substring(prompt.lastIndexOf("<user>") + 6, prompt.lastIndexOf("<assistant>")))
                .start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    private static HttpResponse<String> ask(String answer, String fields) throws Exception {
        return server.post(
                "/v1/chat/completions",
                "{\"model\":\"fake\",\"temperature\":0,\"max_tokens\":300,\"messages\":[{\"role\":\"user\",\"content\":"
                        + JsonNodeFactory.instance.stringNode(answer) + "}]" + fields + "}");
    }

    /** What the prompt itself has behind the beginning of the answer; the script counts its tokens. */
    private static final String BEGUN = "<think>\n";

    private static final String EMPTY = "<think>\n\n</think>\n\n";

    /** Reasoning, content and names of calls, the same whole and as a stream. */
    private static String read(String answer, String fields) throws Exception {
        HttpResponse<String> response = ask(answer, fields);
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        JsonNode message = TestServer.json(response).get("choices").get(0).get("message");
        JsonNode reasoning = message.get("reasoning_content");
        JsonNode calls = message.get("tool_calls");
        String whole = (reasoning == null ? "" : reasoning.stringValue()) + "|"
                + (message.get("content").isNull() ? "" : message.get("content").stringValue()) + "|"
                + (calls == null ? "" : calls.get(0).get("function").get("name").stringValue());
        StringBuilder thought = new StringBuilder();
        StringBuilder content = new StringBuilder();
        String name = "";
        for (String line : ask(answer, fields + ",\"stream\":true")
                .body()
                .lines()
                .filter(l -> l.startsWith("data: {"))
                .toList()) {
            JsonNode delta = Json.read(line.substring(6)).get("choices").get(0).get("delta");
            if (delta.get("reasoning_content") != null) {
                assertThat(delta.get("content")).isNull();
                thought.append(delta.get("reasoning_content").stringValue());
            }
            if (delta.get("content") != null) {
                content.append(delta.get("content").stringValue());
            }
            if (delta.get("tool_calls") != null
                    && delta.get("tool_calls").get(0).get("function").get("name") != null) {
                name = delta.get("tool_calls")
                        .get(0)
                        .get("function")
                        .get("name")
                        .stringValue();
            }
        }
        assertThat(thought + "|" + content + "|" + name).isEqualTo(whole);
        return whole;
    }

    @Test
    void answer_withReasoning_hasItApart() throws Exception {
        assertThat(read("<think>\nHm, 2.\n</think>\n\nTwo.", "")).isEqualTo("Hm, 2.|Two.|");
        assertThat(read("Two.", "")).isEqualTo("|Two.|");
        assertThat(read("a <think>b</think> c", "")).isEqualTo("|a <think>b</think> c|");
        assertThat(read("<think>\ncut off", ",\"max_completion_tokens\":null")).isEqualTo("cut off||");
    }

    @Test
    void answer_whosePromptEndsWithinReasoning_beginsWithIt() throws Exception {
        assertThat(read(BEGUN + "Hm.</think>Two.", ",\"reasoning_effort\":\"low\""))
                .isEqualTo("Hm.|Two.|");
        assertThat(read(EMPTY + "Two.", ",\"reasoning_effort\":\"none\"")).isEqualTo("|Two.|");
        assertThat(read(EMPTY + "Two.", ",\"chat_template_kwargs\":{\"enable_thinking\":false}"))
                .isEqualTo("|Two.|");
        assertThat(read(EMPTY + "Two.", ",\"enable_thinking\":false")).isEqualTo("|Two.|");
        assertThat(read(EMPTY + "Two.", ",\"think\":false")).as("Ollama's name").isEqualTo("|Two.|");
        assertThat(read(BEGUN + "Hm.</think>Two.", ",\"chat_template_kwargs\":{\"reasoning_effort\":\"x\"}"))
                .isEqualTo("Hm.|Two.|");
    }

    @Test
    void answer_reasoningElsewhere_isInTheTextOrLeftOut() throws Exception {
        String answer = "<think>Hm.</think>Two.";
        for (String none : new String[] {"\"reasoning_format\":\"none\"", "\"separate_reasoning\":false"}) {
            assertThat(read(answer, "," + none)).isEqualTo("|" + answer + "|");
        }
        for (String hidden : new String[] {"\"reasoning_format\":\"hidden\"", "\"include_reasoning\":false"}) {
            assertThat(read(answer, "," + hidden)).isEqualTo("|Two.|");
        }
    }

    @Test
    void constraint_isForTheAnswerAndNotForTheReasoning() throws Exception {
        String format = ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\",\"schema\":"
                + "{\"enum\":[1,2]}}}";
        assertThat(read("<think>\nHm {\n</think>\n\n2", format)).isEqualTo("Hm {|2|");
        assertThat(read("2", format)).isEqualTo("|2|");
        assertThat(read(BEGUN + "Hm [</think>2", format + ",\"reasoning_effort\":\"high\""))
                .isEqualTo("Hm [|2|");
        assertThat(read(EMPTY + "Two", format + ",\"reasoning_effort\":\"none\""))
                .matches("\\|[12]\\|");
    }

    @Test
    void tools_afterReasoning_areCalled() throws Exception {
        String call = "<call>stop:{}</call>";
        assertThat(read("<think>\nHm.\n</think>\n\n" + call, "," + TOOL)).isEqualTo("Hm.||stop");
        assertThat(read("<think>\nHm.\n</think>\n\nSo: " + call, "," + TOOL)).isEqualTo("Hm.|So:|stop");
        assertThat(read("<think>\nHm.\n</think>\n\nSo: ", "," + TOOL + ",\"tool_choice\":\"required\""))
                .isEqualTo("Hm.||stop");
        assertThat(read(
                        BEGUN + "No <call></think>No",
                        "," + TOOL + ",\"tool_choice\":\"required\",\"reasoning_effort\":\"low\""))
                .isEqualTo("No <call>||stop");
    }

    @Test
    void budget_ofReasoning_endsIt() throws Exception {
        String answer = "<think>1234567890</think>Two.";
        for (String name : List.of(
                "thinking_token_budget",
                "thinking_budget",
                "reasoning_budget",
                "reasoning_budget_tokens",
                "thinking_budget_tokens")) {
            assertThat(read(answer, ",\"" + name + "\":12")).startsWith("12345|");
            assertThat(read(answer, ",\"" + name + "\":-1")).isEqualTo("1234567890|Two.|");
        }
        String budget = ",\"thinking_token_budget\":";
        assertThat(read(answer, budget + 200)).isEqualTo("1234567890|Two.|");
        assertThat(read(answer, budget + 20)).isEqualTo("1234567890|Two.|"); // the end has begun
        assertThat(read("Just text without any reasoning.", budget + 3))
                .isEqualTo("|Just text without any reasoning.|");
        assertThat(read(BEGUN + "123456</think>Two.", budget + 3 + ",\"reasoning_effort\":\"low\""))
                .startsWith("123|");
        assertThat(read(EMPTY + "Two, and no reasoning", budget + 3 + ",\"reasoning_effort\":\"none\""))
                .isEqualTo("|Two, and no reasoning|");
        assertThat(read("<think>123456</think>7", budget + 9 + ",\"response_format\":{\"type\":\"json_object\"}"))
                .matches("12\\|\\{.*");
        try (TestServer plain = TestServer.start()) {
            HttpResponse<String> response = plain.post(
                    "/v1/chat/completions",
                    "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"thinking_budget\":5}");
            assertThat(response.statusCode()).isEqualTo(400);
            assertThat(TestServer.error(response).get("param").stringValue()).isEqualTo("thinking_budget");
        }
    }

    @Test
    void messages_withReasoning_reachTheTemplate() throws Exception {
        for (String field : new String[] {"reasoning_content", "reasoning"}) {
            HttpResponse<String> response = server.post(
                    "/tokenize",
                    "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\",\""
                            + field + "\":\"c\"}],\"add_generation_prompt\":false}");
            assertThat(TestServer.json(response).get("count").intValue())
                    .isEqualTo("<user>a<assistant><think>\nc\n</think>\n\nb".length());
        }
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '#',
            quoteCharacter = '\0',
            value = {
                "\"reasoning_effort\":\"a lot\"#reasoning_effort",
                "\"reasoning_format\":\"x\"#reasoning_format",
                "\"chat_template_kwargs\":5#chat_template_kwargs",
                "\"chat_template_kwargs\":{\"messages\":[]}#chat_template_kwargs.messages",
                "\"enable_thinking\":\"yes\"#enable_thinking",
            })
    void request_wrong_isRefusedByName(String fields, String parameter) throws Exception {
        HttpResponse<String> response = ask("x", "," + fields);
        assertThat(response.statusCode()).as(response.body()).isEqualTo(400);
        assertThat(TestServer.error(response).get("param").stringValue()).isEqualTo(parameter);
    }
}
