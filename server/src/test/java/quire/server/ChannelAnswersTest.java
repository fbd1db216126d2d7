package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.time.Clock;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.model.text.ChatTemplates;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;

/** Answers in messages on channels, as gpt-oss writes them, over HTTP. */
@Timeout(60)
class ChannelAnswersTest {
    private static final String SOURCE = "{{ tools | tojson if tools }}{% for m in messages %}"
            + "{% if m.role == 'assistant' and m.tool_calls %}{% set f = m.tool_calls[0].function %}"
            + "{% if m.thinking %}{{ '<|start|>assistant<|channel|>analysis<|message|>' ~ m.thinking ~ '<|end|>' }}{% endif %}"
            + "{{ '<|start|>assistant to=functions.' ~ f.name ~ '<|channel|>commentary json<|message|>'"
            + " ~ (f.arguments | tojson) ~ '<|call|>' }}"
            + "{% elif m.role == 'assistant' %}"
            + "{{ '<|start|>assistant<|channel|>final<|message|>' ~ m.content ~ '<|return|>' }}"
            + "{% else %}{{ '<|start|>' ~ m.role ~ '<|message|>' ~ m.content ~ '<|end|>' }}{% endif %}{% endfor %}"
            + "{{ '<|start|>assistant' if add_generation_prompt }}";

    private static final String THOUGHT = "Let me think about that.";
    private static final String TOOLS =
            ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"stop\"}}],\"max_tokens\":400";

    private static TestServer server;

    /** The model thinks, and then writes what the user says: the head of a message and its text. */
    @BeforeAll
    static void start() {
        server = TestServer.builder()
                .context(4096)
                .template(ChatTemplates.adapted(ChatTemplates.parse(SOURCE, null, null, Clock.systemUTC())))
                .script("<|start|>assistant", prompt -> {
                    if (!prompt.contains("analysis<|message|>" + THOUGHT.substring(0, 3))) {
                        return "<|channel|>analysis<|message|>" + THOUGHT + "<|end|><|start|>assistant";
                    }
                    String said = prompt.substring(prompt.lastIndexOf("user<|message|>") + "user<|message|>".length());
                    return "<|channel|>" + said.substring(0, said.indexOf("<|end|>"));
                })
                .start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    private static String body(String answer, String fields) {
        return "{\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":\"" + answer + "\"}]" + fields + "}";
    }

    /** Reasoning, content, and the call with its arguments; the same whole and as a stream. */
    private static String read(String answer, String fields) throws Exception {
        HttpResponse<String> response = server.post("/v1/chat/completions", body(answer, fields));
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        JsonNode choice = TestServer.json(response).get("choices").get(0);
        String whole = text(choice.get("message").get("reasoning_content")) + "|"
                + text(choice.get("message").get("content")) + "|";
        JsonNode calls = choice.get("message").get("tool_calls");
        if (calls != null) {
            JsonNode function = calls.get(0).get("function");
            whole += text(function.get("name")) + text(function.get("arguments"));
        }
        whole += "|" + text(choice.get("finish_reason"));
        StringBuilder reasoning = new StringBuilder();
        StringBuilder content = new StringBuilder();
        StringBuilder call = new StringBuilder();
        String finish = "";
        HttpResponse<String> stream = server.post("/v1/chat/completions", body(answer, fields + ",\"stream\":true"));
        for (String line :
                stream.body().lines().filter(l -> l.startsWith("data: {")).toList()) {
            JsonNode part = Json.read(line.substring(6)).get("choices").get(0);
            JsonNode delta = part.get("delta");
            reasoning.append(text(delta.get("reasoning_content")));
            content.append(text(delta.get("content")));
            if (delta.get("tool_calls") != null) {
                JsonNode function = delta.get("tool_calls").get(0).get("function");
                call.append(text(function.get("name"))).append(text(function.get("arguments")));
            }
            finish += text(part.get("finish_reason"));
        }
        assertThat(reasoning + "|" + content + "|" + call + "|" + finish).isEqualTo(whole);
        return whole;
    }

    private static String text(@Nullable JsonNode node) {
        return node == null || node.isNull() ? "" : node.stringValue();
    }

    @Test
    void answers_ofEachKind_areReadApart() throws Exception {
        assertThat(read("final<|message|>Hi, <b>.", "")).isEqualTo(THOUGHT + "|Hi, <b>.||stop");
        assertThat(read("final<|message|>Hi.", TOOLS)).isEqualTo(THOUGHT + "|Hi.||stop");
        assertThat(read("commentary to=functions.stop <|constrain|>json<|message|>{}", TOOLS))
                .isEqualTo(THOUGHT + "||stop{}|tool_calls");
    }

    @Test
    void constraints_areForTheLastMessage() throws Exception {
        String integer =
                ",\"max_tokens\":200,\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\","
                        + "\"schema\":{\"type\":\"integer\",\"minimum\":10,\"maximum\":99}}}";
        assertThat(read("final<|message|>42", integer)).isEqualTo(THOUGHT + "|42||stop");
        assertThat(read("final<|message|>no", integer)).matches("\\Q" + THOUGHT + "\\E\\|[1-9][0-9]\\|\\|stop");
        assertThat(read("commentary to=functions.stop<|message|>{}", TOOLS + ",\"tool_choice\":\"required\""))
                .isEqualTo(THOUGHT + "||stop{}|tool_calls");
    }

    @Test
    void budget_ofReasoning_endsItsMessage() throws Exception {
        String[] parts = read("final<|message|>Hi.", ",\"max_tokens\":200,\"thinking_token_budget\":40")
                .split("\\|", -1);
        assertThat(THOUGHT).startsWith(parts[0]);
        assertThat(parts[0].length()).isBetween(3, THOUGHT.length() - 1);
        assertThat(parts[1]).isEqualTo("Hi.");
    }

    /** Clients send reasoning back under its usual name, which this template calls thinking. */
    @Test
    void reasoning_ofAnEarlierCall_reachesTheTemplate() throws Exception {
        String earlier =
                ",{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"Hm.\",\"tool_calls\":[{\"id\":\"a\","
                        + "\"type\":\"function\",\"function\":{\"name\":\"stop\",\"arguments\":\"{}\"}}]}";
        HttpResponse<String> response = server.post(
                "/tokenize",
                "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}" + earlier + "],\"return_token_strs\":true}");
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        int with = TestServer.json(response).get("count").intValue();
        HttpResponse<String> without = server.post(
                "/tokenize",
                "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}"
                        + earlier.replace("\"reasoning_content\":\"Hm.\",", "") + "]}");
        assertThat(with - TestServer.json(without).get("count").intValue())
                .isEqualTo("<|start|>assistant<|channel|>analysis<|message|>Hm.<|end|>".length());
    }
}
