package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.time.Clock;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
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

/** Calls of tools over HTTP, whole and as a stream, with a model that follows a script. */
@Timeout(60)
class ToolsTest {
    /** What the user says is what the model wants to answer. */
    private static final String SOURCE =
            "{% if tools %}{% for t in tools %}[{{ t.function.name }}]{% endfor %}{% endif %}"
                    + "{% for m in messages %}<{{ m.role }}>{{ m.content or '' }}{% for c in m.tool_calls or [] %}"
                    + "{% if not loop.first %}{{ '\\n' }}{% endif %}<tool_call>{\"name\": \"{{ c.function.name }}\", "
                    + "\"arguments\": {{ c.function.arguments | tojson }}}</tool_call>{% endfor %}{% endfor %}"
                    + "{% if add_generation_prompt %}<assistant>{% endif %}";

    private static final String WEATHER = "{\"type\":\"function\",\"function\":{\"name\":\"weather\",\"parameters\":"
            + "{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\",\"maxLength\":12},"
            + "\"days\":{\"type\":\"integer\",\"maximum\":9,\"minimum\":1}},\"required\":[\"city\"],"
            + "\"additionalProperties\":false}}}";
    private static final String STOP = "{\"type\":\"function\",\"function\":{\"name\":\"stop\"}}";
    private static final String TOOLS = "\"tools\":[" + WEATHER + "," + STOP + "]";

    private static final String CALL =
            "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Bern\"}}</tool_call>";
    private static final String STOP_CALL = "<tool_call>{\"name\": \"stop\", \"arguments\": {}}</tool_call>";

    private static TestServer server;

    static ChatTemplate template() {
        return ChatTemplates.adapted(ChatTemplates.parse(SOURCE, null, null, Clock.systemUTC()));
    }

    @BeforeAll
    static void start() {
        server = TestServer.builder()
                .context(4096)
                .template(template())
                .script(prompt -> prompt.substring(prompt.lastIndexOf("<user>") + 6, prompt.lastIndexOf("<assistant>")))
                .start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    private static String body(String answer, String fields) {
        return "{\"model\":\"fake\",\"temperature\":0,\"max_tokens\":600,\"messages\":[{\"role\":\"user\",\"content\":"
                + JsonNodeFactory.instance.stringNode(answer) + "}]," + fields + "}";
    }

    /** What a client makes of an answer. */
    private record Answer(
            @Nullable String content, List<String> ids, List<String> names, List<String> arguments, String finish) {}

    private static Answer whole(String answer, String fields) throws Exception {
        HttpResponse<String> response = server.post("/v1/chat/completions", body(answer, fields));
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        JsonNode choice = TestServer.json(response).get("choices").get(0);
        JsonNode message = choice.get("message");
        List<String> ids = new ArrayList<>();
        List<String> names = new ArrayList<>();
        List<String> arguments = new ArrayList<>();
        if (message.get("tool_calls") != null) {
            for (JsonNode call : message.get("tool_calls").values()) {
                assertThat(call.get("type").stringValue()).isEqualTo("function");
                ids.add(call.get("id").stringValue());
                names.add(call.get("function").get("name").stringValue());
                arguments.add(call.get("function").get("arguments").stringValue());
            }
        }
        return new Answer(
                message.get("content").isNull() ? null : message.get("content").stringValue(),
                ids,
                names,
                arguments,
                choice.get("finish_reason").stringValue());
    }

    /** Joins a stream as OpenAI's clients do, and checks what they insist on. */
    private static Answer streamed(String answer, String fields) throws Exception {
        HttpResponse<String> response = server.post("/v1/chat/completions", body(answer, fields + ",\"stream\":true"));
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        StringBuilder content = new StringBuilder();
        List<String> ids = new ArrayList<>();
        List<String> names = new ArrayList<>();
        List<StringBuilder> arguments = new ArrayList<>();
        String finish = "";
        for (String line :
                response.body().lines().filter(l -> l.startsWith("data: {")).toList()) {
            JsonNode choice = Json.read(line.substring(6)).get("choices").get(0);
            JsonNode delta = choice.get("delta");
            if (delta.get("content") != null) {
                content.append(delta.get("content").stringValue());
            }
            if (delta.get("tool_calls") != null) {
                assertThat(delta.get("tool_calls").size()).isEqualTo(1);
                JsonNode call = delta.get("tool_calls").get(0);
                int index = call.get("index").intValue();
                JsonNode function = call.get("function");
                if (index == names.size()) {
                    ids.add(call.get("id").stringValue());
                    assertThat(call.get("type").stringValue()).isEqualTo("function");
                    names.add(function.get("name").stringValue());
                    assertThat(function.get("arguments").stringValue()).isEmpty();
                    arguments.add(new StringBuilder());
                } else {
                    assertThat(index).isEqualTo(names.size() - 1);
                    assertThat(call.propertyNames()).containsExactly("index", "function");
                    assertThat(function.propertyNames()).containsExactly("arguments");
                    arguments.get(index).append(function.get("arguments").stringValue());
                }
            }
            if (!choice.get("finish_reason").isNull()) {
                assertThat(finish).isEmpty();
                finish = choice.get("finish_reason").stringValue();
            }
        }
        return new Answer(
                content.isEmpty() && !names.isEmpty() ? null : content.toString(),
                ids,
                names,
                arguments.stream().map(StringBuilder::toString).toList(),
                finish);
    }

    private static Answer both(String answer, String fields) throws Exception {
        Answer whole = whole(answer, fields + ",\"seed\":7");
        assertThat(streamed(answer, fields + ",\"seed\":7")).isEqualTo(whole);
        return whole;
    }

    @Test
    void auto_textOrCalls_areAsTheModelWants() throws Exception {
        Answer text = both("It rains.", TOOLS);
        assertThat(text).isEqualTo(new Answer("It rains.", List.of(), List.of(), List.of(), "stop"));

        Answer call = both(CALL, TOOLS + ",\"tool_choice\":\"auto\"");
        assertThat(call.content).isNull();
        assertThat(call.names).containsExactly("weather");
        assertThat(call.arguments).containsExactly("{\"city\": \"Bern\"}");
        assertThat(call.finish).isEqualTo("tool_calls");
        assertThat(call.ids.getFirst()).matches("call_[A-Za-z0-9]{9}");

        Answer mixed = both("Let me see.\n" + CALL + "\n" + STOP_CALL, TOOLS);
        assertThat(mixed.content).isEqualTo("Let me see.");
        assertThat(mixed.names).containsExactly("weather", "stop");
        assertThat(mixed.arguments).containsExactly("{\"city\": \"Bern\"}", "{}");
        assertThat(mixed.ids).doesNotHaveDuplicates();
    }

    @Test
    void auto_argumentsThatAreWrong_followTheSchema() throws Exception {
        String wrong = CALL.replace("\"Bern\"", "\"Bern\", \"days\": 77, \"more\": true");
        Answer answer = both(wrong, TOOLS);
        assertThat(answer.names).containsExactly("weather");
        JsonNode arguments = Json.read(answer.arguments.getFirst());
        assertThat(arguments.propertyNames()).isSubsetOf("city", "days");
        if (arguments.get("days") != null) {
            assertThat(arguments.get("days").intValue()).isBetween(1, 9);
        }
    }

    @Test
    void required_textThatTheModelWants_isACall() throws Exception {
        for (String choice : List.of("\"required\"", "\"any\"")) {
            Answer answer = both("It rains.", TOOLS + ",\"tool_choice\":" + choice);
            assertThat(answer.names).isNotEmpty().isSubsetOf("weather", "stop");
            assertThat(answer.finish).isIn("tool_calls", "length");
        }
    }

    @Test
    void named_otherCallThatTheModelWants_isTheNamedOne() throws Exception {
        Answer answer = both(
                CALL,
                TOOLS
                        + ",\"parallel_tool_calls\":false,\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"stop\"}}");
        assertThat(answer.names).containsExactly("stop");
        assertThat(answer.arguments).containsExactly("{}");
        assertThat(answer.finish).isEqualTo("stop");
        Answer allowed = both(
                STOP_CALL,
                TOOLS
                        + ",\"tool_choice\":{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"required\",\"tools\":["
                        + "{\"type\":\"function\",\"function\":{\"name\":\"stop\"}}]}}");
        assertThat(allowed.names).containsOnly("stop");
    }

    @Test
    void none_callThatTheModelWants_isNoCall() throws Exception {
        Answer answer = both(CALL, TOOLS + ",\"tool_choice\":\"none\"");
        assertThat(answer.names).isEmpty();
        assertThat(answer.content).doesNotContain("<tool_call>");
    }

    @Test
    void parallelToolCalls_false_allowsOneCall() throws Exception {
        Answer answer = both(CALL + "\n" + STOP_CALL, TOOLS + ",\"parallel_tool_calls\":false");
        assertThat(answer.names).containsExactly("weather");
        assertThat(answer.finish).isEqualTo("tool_calls");
        assertThat(both("Hi", "\"parallel_tool_calls\":false").content).isEqualTo("Hi");
    }

    @Test
    void responseFormat_besideTools_isForTheText() throws Exception {
        String format =
                TOOLS + ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\",\"schema\":"
                        + "{\"type\":\"boolean\"}}}";
        assertThat(both("true", format).content).isEqualTo("true");
        assertThat(both(CALL, format).names).containsExactly("weather");
        assertThat(both("perhaps", format).content == null)
                .isEqualTo(!both("perhaps", format).names.isEmpty());
    }

    @Test
    void ids_areTheSameForTheSameRequest_andOthersForOtherPrompts() throws Exception {
        String fields = TOOLS + ",\"seed\":5";
        assertThat(whole(CALL, fields).ids).isEqualTo(whole(CALL, fields).ids);
        assertThat(whole(CALL, fields).ids).isNotEqualTo(whole(CALL, TOOLS + ",\"seed\":6").ids);
        assertThat(whole(CALL, fields).ids).isNotEqualTo(whole("A. " + CALL, fields).ids);
        HttpResponse<String> two = server.post("/v1/chat/completions", body(CALL, fields + ",\"n\":2"));
        JsonNode choices = TestServer.json(two).get("choices");
        assertThat(choices.get(0).get("message").get("tool_calls").get(0).get("id"))
                .isNotEqualTo(
                        choices.get(1).get("message").get("tool_calls").get(0).get("id"));
    }

    @Test
    void answer_cutOffWithinACall_hasTheArgumentsSoFar() throws Exception {
        HttpResponse<String> response =
                server.post("/v1/chat/completions", body(CALL, TOOLS).replace(":600", ":60"));
        JsonNode choice = TestServer.json(response).get("choices").get(0);
        JsonNode function = choice.get("message").get("tool_calls").get(0).get("function");
        assertThat(function.get("name").stringValue()).isEqualTo("weather");
        assertThat("{\"city\": \"Bern\"}").startsWith(function.get("arguments").stringValue());
        assertThat(choice.get("finish_reason").stringValue()).isEqualTo("length");
    }

    @Test
    void logprobs_ofCalls_areInTheStream() throws Exception {
        HttpResponse<String> response =
                server.post("/v1/chat/completions", body(CALL, TOOLS + ",\"logprobs\":true,\"stream\":true"));
        long tokens = response.body()
                .lines()
                .filter(line -> line.startsWith("data: {"))
                .map(line -> Json.read(line.substring(6)).get("choices").get(0).get("logprobs"))
                .filter(logprobs -> !logprobs.isNull())
                .mapToLong(logprobs -> logprobs.get("content").size())
                .sum();
        assertThat(tokens).isGreaterThanOrEqualTo(CALL.length());
    }

    @Test
    void functions_olderForm_isAnsweredInItsForm() throws Exception {
        String functions = "\"functions\":[{\"name\":\"stop\",\"parameters\":{}}]";
        HttpResponse<String> response = server.post("/v1/chat/completions", body(STOP_CALL, functions));
        JsonNode choice = TestServer.json(response).get("choices").get(0);
        assertThat(choice.get("finish_reason").stringValue()).isEqualTo("function_call");
        assertThat(choice.get("message").get("function_call").get("name").stringValue())
                .isEqualTo("stop");
        assertThat(choice.get("message").get("function_call").get("arguments").stringValue())
                .isEqualTo("{}");
        HttpResponse<String> named = server.post(
                "/v1/chat/completions",
                body("no", functions + ",\"stream\":true,\"function_call\":{\"name\":\"stop\"}"));
        assertThat(named.body())
                .contains("\"function_call\":{\"name\":\"stop\",\"arguments\":\"\"}")
                .contains("\"finish_reason\":\"function_call\"");
        HttpResponse<String> history = server.post(
                "/tokenize",
                "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":null,"
                        + "\"function_call\":{\"name\":\"stop\",\"arguments\":\"{\\\"x\\\": 1}\"}},"
                        + "{\"role\":\"function\",\"name\":\"stop\",\"content\":\"done\"}],\"return_token_strs\":true}");
        assertThat(history.statusCode()).as(history.body()).isEqualTo(200);
        assertThat(TestServer.json(history).get("count").intValue())
                .isEqualTo(("<user>a<assistant><tool_call>{\"name\": \"stop\", \"arguments\": {\"x\": 1}}</tool_call>"
                                + "<tool>done<assistant>")
                        .length());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '#',
            quoteCharacter = '\0',
            value = {
                "\"tool_choice\":\"required\"#tool_choice#no tools",
                "TOOLS,\"tool_choice\":\"sometimes\"#tool_choice#must be",
                "TOOLS,\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"other\"}}#tool_choice#none of the tools",
                "TOOLS,\"functions\":[{\"name\":\"a\"}]#functions#both",
                "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a b\"}}]#tools[0].function.name#white space",
                "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a\"}},{\"type\":\"function\",\"function\":{\"name\":\"a\"}}]#tools[1].function.name#another",
                "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a\",\"parameters\":{\"type\":\"string\"}}}]#tools[0].function.parameters.type#object",
                "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a\",\"strict\":true,\"parameters\":{\"type\":\"object\",\"properties\":{\"x\":{\"$dynamicRef\":\"x\"}}}}}]#tools[0].function.parameters#/properties/x/$dynamicRef",
                "\"tool_choice\":\"required\",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a\",\"parameters\":{\"type\":\"object\",\"properties\":{\"x\":{\"$dynamicRef\":\"x\"}}}}}]#tools[0].function.parameters#/properties/x/$dynamicRef",
                "TOOLS,\"ignore_eos\":true#ignore_eos#constraint",
            })
    void request_wrong_isRefusedByName(String fields, String parameter, String words) throws Exception {
        HttpResponse<String> response = server.post("/v1/chat/completions", body("x", fields.replace("TOOLS", TOOLS)));
        assertThat(response.statusCode()).as(response.body()).isEqualTo(400);
        assertThat(TestServer.error(response).get("param").stringValue()).isEqualTo(parameter);
        assertThat(TestServer.error(response).get("message").stringValue()).contains(words);
    }

    /** A schema that cannot be enforced does not keep an agent from working: the arguments are any object. */
    @Test
    void schema_notComputedAndNotStrict_allowsAnyObject() throws Exception {
        Answer answer = both(
                "<tool_call>{\"name\": \"a\", \"arguments\": {\"x\": [1]}}</tool_call>",
                "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a\",\"strict\":null,\"parameters\":"
                        + "{\"type\":\"object\",\"properties\":{\"x\":{\"$dynamicRef\":\"x\"}}}}}]");
        assertThat(answer.arguments).containsExactly("{\"x\": [1]}");
    }

    @Test
    void model_whoseFormOfCallsIsUnknown_refusesToolsWithTheReason() throws Exception {
        try (TestServer plain = TestServer.start()) {
            HttpResponse<String> response =
                    plain.post("/v1/chat/completions", body("x", TOOLS).replace("600", "5"));
            assertThat(response.statusCode()).isEqualTo(400);
            assertThat(TestServer.error(response).get("message").stringValue())
                    .contains("cannot be found out from the chat template");
        }
    }
}
