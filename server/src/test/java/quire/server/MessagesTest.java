package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.Semaphore;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import quire.model.BuiltInModel;
import quire.server.anthropic.MessagesParameters;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Anthropic's API over HTTP, with a model that follows a script. */
@Timeout(120)
class MessagesTest {
    private static final String WEATHER = "\"tools\":[{\"name\":\"weather\",\"description\":\"d\",\"input_schema\":"
            + "{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}},\"required\":[\"city\"],"
            + "\"additionalProperties\":false}},{\"name\":\"stop\",\"input_schema\":{\"type\":\"object\"}}]";

    private static final String CALL = "<call>weather:{\"city\": \"Bern\"}</call>";

    private static EchoServer echo;
    private static TestServer server;

    @BeforeAll
    static void start() {
        echo = new EchoServer();
        server = echo.server;
    }

    @AfterAll
    static void stop() {
        echo.close();
    }

    private static String body(String answer, String fields) {
        return "{\"model\":\"fake\",\"max_tokens\":300,\"temperature\":0,\"seed\":7,\"messages\":[{\"role\":\"user\",\"content\":"
                + JsonNodeFactory.instance.stringNode(answer) + "}]" + (fields.isEmpty() ? "" : "," + fields) + "}";
    }

    private static HttpResponse<String> post(String body) throws Exception {
        return server.post("/v1/messages", body);
    }

    /** The message, which is the same whole and as a stream, but for its id. */
    private static ObjectNode message(String body) throws Exception {
        HttpResponse<String> whole = post(body);
        assertThat(whole.statusCode()).as(whole.body()).isEqualTo(200);
        HttpResponse<String> streamed = post(body.substring(0, body.length() - 1) + ",\"stream\":true}");
        assertThat(streamed.statusCode()).as(streamed.body()).isEqualTo(200);
        ObjectNode message = (ObjectNode) TestServer.json(whole);
        ObjectNode joined = MessagesStream.message(streamed.body());
        assertThat(message.remove("id").stringValue()).startsWith("msg_");
        assertThat(joined.remove("id").stringValue()).startsWith("msg_");
        for (ObjectNode each : List.of(message, joined)) { // how much is cached depends on what ran before
            ObjectNode usage = (ObjectNode) each.get("usage");
            usage.put(
                    "input_tokens",
                    usage.get("input_tokens").intValue()
                            + usage.remove("cache_read_input_tokens").intValue());
        }
        assertThat(joined).isEqualTo(message);
        return message;
    }

    private static String content(JsonNode message) {
        return message.get("content").values().stream()
                .map(block -> switch (block.get("type").stringValue()) {
                    case "text" -> block.get("text").stringValue();
                    case "thinking" -> "(" + block.get("thinking").stringValue() + ")";
                    default -> "[" + block.get("name").stringValue() + block.get("input") + "]";
                })
                .collect(Collectors.joining(" "));
    }

    @Test
    void message_ofText_isWholeAndStreamedTheSame() throws Exception {
        ObjectNode message = message(body("Good morning, Bern €.", ""));
        assertThat(content(message)).isEqualTo("Good morning, Bern €.");
        assertThat(message.get("type").stringValue()).isEqualTo("message");
        assertThat(message.get("role").stringValue()).isEqualTo("assistant");
        assertThat(message.get("model").stringValue()).isEqualTo("fake");
        assertThat(message.get("stop_reason").stringValue()).isEqualTo("end_turn");
        assertThat(message.get("stop_sequence").isNull()).isTrue();
        assertThat(message.get("usage").get("output_tokens").intValue()).isPositive();
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
        one two three | "stop_sequences":["two","five"]   | one  | stop_sequence
        one two three | "max_tokens":3                    | one  | max_tokens
        one two three | "max_tokens":7,"stop_sequences":["two never"] | one two | max_tokens
        one two three | "stop_sequences":[]               | one two three | end_turn
        """)
    void message_thatEnds_saysWhy(String answer, String fields, String text, String reason) throws Exception {
        String body = body(answer, fields);
        ObjectNode message = message(fields.contains("max_tokens") ? body.replace("\"max_tokens\":300,", "") : body);
        assertThat(content(message).strip()).isEqualTo(text);
        assertThat(message.get("stop_reason").stringValue()).isEqualTo(reason);
        assertThat(message.get("stop_sequence").asString("")).isEqualTo(reason.equals("stop_sequence") ? "two" : "");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
        auto | {"type":"auto"}
        any  | {"type":"any","disable_parallel_tool_use":true}
        tool | {"type":"tool","name":"weather"}
        """)
    void message_withACall_hasAToolUse(String kind, String choice) throws Exception {
        ObjectNode message = message(body("Hello", WEATHER + ",\"tool_choice\":" + choice)
                .replace("\"Hello\"", JsonNodeFactory.instance.stringNode(CALL).toString()));
        assertThat(content(message)).isEqualTo("[weather{\"city\":\"Bern\"}]");
        assertThat(message.get("stop_reason").stringValue()).isEqualTo("tool_use");
        assertThat(message.get("content").get(0).get("id").stringValue()).startsWith("call_");
    }

    @Test
    void message_withTextAndTwoCalls_hasThemInOrder() throws Exception {
        String two = "I look.\n" + CALL + "\n" + CALL.replace("Bern", "Rome");
        assertThat(content(message(body(two, WEATHER))))
                .isEqualTo("I look. [weather{\"city\":\"Bern\"}] [weather{\"city\":\"Rome\"}]");
        assertThat(content(message(body(two, WEATHER + ",\"tool_choice\":{\"type\":\"none\"}"))))
                .startsWith("I look.")
                .doesNotContain("[weather");
    }

    @Test
    void message_cutOffWithinACall_leavesTheCallOutAndStreamsItsBeginning() throws Exception {
        String cut = body(CALL, WEATHER).replace("\"max_tokens\":300", "\"max_tokens\":26");
        JsonNode whole = TestServer.json(post(cut));
        assertThat(whole.get("stop_reason").stringValue()).isEqualTo("max_tokens");
        assertThat(whole.get("content").isEmpty()).isTrue();
        assertThat(post(cut.substring(0, cut.length() - 1) + ",\"stream\":true}")
                        .body())
                .contains("input_json_delta", "message_stop");
    }

    @Test
    void message_withReasoning_hasAThinkingBlock() throws Exception {
        ObjectNode message = message(body("<think>\nhm\n</think>\n\nYes.", "\"thinking\":{\"type\":\"adaptive\"}"));
        assertThat(content(message)).isEqualTo("(hm) Yes.");
        assertThat(message.get("content").get(0).get("signature").stringValue()).isNotEmpty();
        String omitted =
                body("<think>\nhm\n</think>\n\nYes.", "\"thinking\":{\"type\":\"adaptive\",\"display\":\"omitted\"}");
        assertThat(content(message(omitted))).isEqualTo("Yes.");
    }

    @Test
    void thinking_switchedOffOrLimited_reachesThePromptAndTheAnswer() throws Exception {
        HttpResponse<String> off = server.post(
                "/v1/messages/count_tokens",
                "{\"messages\":[{\"role\":\"user\",\"content\":\"Yes.\"}],\"thinking\":{\"type\":\"disabled\"}}");
        assertThat(TestServer.json(off).get("input_tokens").intValue())
                .isEqualTo("<user>Yes.<assistant><think>\n\n</think>\n\n".length());
        String limited = "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":12}";
        ObjectNode message = message(body("<think>1234567890</think>Two.", limited));
        assertThat(message.get("content").get(0).get("thinking").stringValue()).isEqualTo("12345");
    }

    @Test
    void conversation_withAllKindsOfBlocks_becomesThePrompt() throws Exception {
        HttpResponse<String> response = post("""
            {"model":"fake","max_tokens":50,"temperature":0,"system":[{"type":"text","text":"Be short.",
            "cache_control":{"type":"ephemeral"}}],"metadata":{"user_id":"u"},%s,"messages":[
            {"role":"user","content":[{"type":"text","text":"Weather?"}]},
            {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"c2ln"},
             {"type":"redacted_thinking","data":"xx"},
             {"type":"text","text":"I look."},
             {"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Bern"}},
             {"type":"tool_use","id":"toolu_2","name":"stop","input":{}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"sunny"},
             {"type":"tool_result","tool_use_id":"toolu_2","is_error":true,
              "content":[{"type":"text","text":"failed"}]},
             {"type":"text","text":"And?"}]}]}\
            """.formatted(WEATHER));
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        assertThat(echo.lastPrompt()).isEqualTo("""
                        [weather][stop]<system>Be short.<user>Weather?<assistant><think>
                        hm
                        </think>

                        I look.<call>weather:{"city": "Bern"}</call>
                        <call>stop:{}</call><tool>sunny<tool>failed<user>And?<assistant>""");
    }

    @Test
    void outputConfig_withASchema_isKept() throws Exception {
        String schema = "\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\","
                + "\"properties\":{\"a\":{\"type\":\"integer\",\"maximum\":9,\"minimum\":0}},\"required\":[\"a\"],"
                + "\"additionalProperties\":false}}}";
        assertThat(content(message(body("{\"a\": 77}", schema)))).matches("\\{\"a\": ?[0-9]}");
    }

    @Test
    void countTokens_ofAConversation_isThePromptOfItsAnswer() throws Exception {
        String conversation = body("Hello", WEATHER + ",\"system\":\"Be short.\"");
        HttpResponse<String> counted = server.post(
                "/v1/messages/count_tokens",
                conversation.replace("\"max_tokens\":300,\"temperature\":0,\"seed\":7,", ""));
        assertThat(counted.statusCode()).as(counted.body()).isEqualTo(200);
        int tokens = TestServer.json(counted).get("input_tokens").intValue();
        assertThat(tokens)
                .isEqualTo(
                        message(conversation).get("usage").get("input_tokens").intValue());
        assertThat(tokens).isEqualTo("[weather][stop]<system>Be short.<user>Hello<assistant>".length());
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
        {"messages":[{"role":"user","content":"hi"}]}                               | 'max_tokens'
        {"max_tokens":5}                                                            | 'messages'
        {"max_tokens":5,"messages":[]}                                              | 'messages' is empty
        {"max_tokens":-5,"messages":[{"role":"user","content":"hi"}]}               | 'max_tokens'
        {"max_tokens":5,"top_p":7,"messages":[{"role":"user","content":"hi"}]}      | 'top_p'
        {"max_tokens":5,"topp":1,"messages":[{"role":"user","content":"hi"}]}       | Did you mean 'top_p'
        {"max_tokens":5,"stop":["x"],"messages":[{"role":"user","content":"hi"}]}   | use stop_sequences
        {"max_tokens":5,"reasoning_effort":"low","messages":[{"role":"user","content":"hi"}]} | use output_config.effort
        {"max_tokens":5,"n":2,"messages":[{"role":"user","content":"hi"}]}          | use /v1/chat/completions
        {"max_tokens":5,"mcp_servers":[{}],"messages":[{"role":"user","content":"hi"}]} | 'mcp_servers'
        {"max_tokens":5,"system":7,"messages":[{"role":"user","content":"hi"}]}     | 'system'
        {"max_tokens":5,"system":"s","messages":[{"role":"user","content":7}]}      | 'messages[0].content'
        {"max_tokens":5,"system":"s","messages":[{"role":"user","content":[{"type":"text","text":7}]}]} | 'messages[0].content[0].text'
        {"max_tokens":5,"messages":[{"role":"user","content":[{"type":"image"}]}]}  | 'messages[0].content[0].type'
        {"max_tokens":5,"messages":[{"role":"judge","content":"hi"}]}               | 'messages[0].role'
        {"max_tokens":5,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"ho"}]} | 'messages[1]'
        {"max_tokens":5,"messages":[{"role":"user","content":"hi"}],"thinking":{"type":"deep"}}          | 'thinking.type'
        {"max_tokens":5,"messages":[{"role":"user","content":"hi"}],"tools":[{"name":"f"}]}              | 'tools[0].input_schema'
        {"max_tokens":5,"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"web_search_20250305","name":"f"}]} | 'tools[0].type'
        {"max_tokens":5,"messages":[{"role":"user","content":"hi"}],"tools":[{"name":"f g","input_schema":{}}]} | 'tools[0].name'
        {"max_tokens":5,"messages":[{"role":"user","content":"hi"}],"tool_choice":{"type":"any"}}        | 'tool_choice'
        {"max_tokens":5,"messages":[{"role":"user","content":"hi"}],"output_config":{"format":{"type":"json_schema","schema":{"type":"x"}}}} | 'output_config.format.schema'
        """)
    void error_ofAWrongBody_namesWhatWasSent(String body, String named) throws Exception {
        HttpResponse<String> response = post(body);
        assertThat(response.statusCode()).as(response.body()).isEqualTo(400);
        JsonNode root = TestServer.json(response);
        assertThat(root.get("type").stringValue()).isEqualTo("error");
        assertThat(root.get("error").get("type").stringValue()).isEqualTo("invalid_request_error");
        assertThat(root.get("error").get("message").stringValue()).contains(named);
    }

    @Test
    void error_ofEachStatus_hasItsType() throws Exception {
        HttpResponse<String> unknown = post(body("hi", "").replace("\"fake\"", "\"other\""));
        assertThat(unknown.statusCode()).isEqualTo(404);
        assertThat(TestServer.error(unknown).get("type").stringValue()).isEqualTo("not_found_error");
        HttpResponse<String> tooLong = post(body("x".repeat(5000), ""));
        assertThat(tooLong.statusCode()).isEqualTo(400);
        assertThat(TestServer.error(tooLong).get("message").stringValue()).contains("maximum context length is 4096");
        assertThat(server.get("/v1/messages").statusCode()).isEqualTo(405);
    }

    @Test
    void apiKey_inEitherHeader_isTaken() throws Exception {
        ServerConfig config = TestServer.config().apiKey("sesame").build();
        try (TestServer guarded = TestServer.builder().config(config).start()) {
            String hi = body("hi", "");
            assertThat(guarded.post("/v1/messages", hi, "x-api-key", "sesame").statusCode())
                    .isEqualTo(200);
            assertThat(guarded.post("/v1/messages", hi, "Authorization", "Bearer sesame")
                            .statusCode())
                    .isEqualTo(200);
            for (String[] headers : new String[][] {{}, {"x-api-key", "open"}, {"x-api-key", ""}}) {
                HttpResponse<String> refused = guarded.post("/v1/messages", hi, headers);
                assertThat(refused.statusCode()).isEqualTo(401);
                assertThat(TestServer.error(refused).get("type").stringValue()).isEqualTo("authentication_error");
            }
        }
    }

    @Test
    void stream_withoutTokens_getsPings() throws Exception {
        Semaphore steps = new Semaphore(0);
        ManualTimers time = new ManualTimers();
        Duration pause = Duration.ofSeconds(10);
        TestServer.Builder builder = TestServer.builder()
                .config(TestServer.config().heartbeat(pause).build())
                .timers(time)
                .onForward(batch -> steps.acquireUninterruptibly());
        try (TestServer waiting = builder.start();
                Permits _ = () -> steps.release(1000);
                RawClient client = new RawClient(waiting)) {
            client.send(RawClient.post("/v1/messages", body("hi", "\"stream\":true")));
            client.lineWith("message_start");
            time.awaitTimer(pause);
            time.advance(pause);
            assertThat(client.lineWith("ping")).isEqualTo("event: ping");
            assertThat(client.line()).isEqualTo("data: {\"type\":\"ping\"}");
            steps.release(1000);
            client.lineWith("message_stop");
        }
    }

    @Test
    void builtInModel_overMessages_answersAsOverChat() throws Exception {
        try (TestServer real =
                TestServer.builder().model(BuiltInModel.QUIRE_TINY.path()).start()) {
            String question = "{\"max_tokens\":30,\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":"
                    + "\"What is the capital of Italy?\"}]}";
            String expected = TestServer.json(real.post("/v1/chat/completions", question))
                    .get("choices")
                    .get(0)
                    .get("message")
                    .get("content")
                    .stringValue();
            assertThat(content(TestServer.json(real.post("/v1/messages", question))))
                    .isEqualTo(expected)
                    .contains("Rome");
        }
    }

    @Test
    void document_hasTheTableOfParameters() throws Exception {
        assertThat(Files.readString(Path.of("..", "docs", "messages.md")))
                .contains(ResponsesTest.table(MessagesParameters.ROWS));
    }
}
