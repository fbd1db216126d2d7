package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.URI;
import java.net.http.HttpRequest;
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
import quire.engine.Script;
import quire.model.BuiltInModel;
import quire.server.api.Parameter;
import quire.server.responses.ResponsesParameters;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** OpenAI's Responses API over HTTP, with a model that follows a script. */
@Timeout(120)
class ResponsesTest {
    private static final String WEATHER = "\"tools\":[{\"type\":\"function\",\"name\":\"weather\",\"strict\":true,"
            + "\"parameters\":{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}},"
            + "\"required\":[\"city\"],\"additionalProperties\":false}}]";

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
        return "{\"model\":\"fake\",\"max_output_tokens\":300,\"temperature\":0,\"seed\":7,\"input\":"
                + JsonNodeFactory.instance.stringNode(answer) + (fields.isEmpty() ? "" : "," + fields) + "}";
    }

    private static HttpResponse<String> post(String body) throws Exception {
        return server.post("/v1/responses", body);
    }

    /** The response, which is the same whole and as a stream, but for ids and times. */
    private static ObjectNode response(String body) throws Exception {
        HttpResponse<String> whole = post(body);
        assertThat(whole.statusCode()).as(whole.body()).isEqualTo(200);
        HttpResponse<String> streamed = post(body.substring(0, body.length() - 1) + ",\"stream\":true}");
        assertThat(streamed.statusCode()).as(streamed.body()).isEqualTo(200);
        ObjectNode response = (ObjectNode) TestServer.json(whole);
        assertThat(plain(ResponsesStream.response(streamed.body()))).isEqualTo(plain(response));
        return response;
    }

    private static ObjectNode plain(ObjectNode response) {
        ObjectNode plain = response.deepCopy();
        assertThat(plain.remove("id").stringValue()).startsWith("resp_");
        plain.remove("created_at");
        ((ObjectNode) plain.get("usage")).remove("input_tokens_details");
        plain.get("output").values().forEach(item -> ((ObjectNode) item).remove("id"));
        return plain;
    }

    private static String output(JsonNode response) {
        return response.get("output").values().stream()
                .map(item -> switch (item.get("type").stringValue()) {
                    case "message" -> item.get("content").get(0).get("text").stringValue();
                    case "reasoning" ->
                        "(" + item.get("content").path(0).path("text").asString("")
                                + item.get("summary").path(0).path("text").asString("") + ")";
                    default ->
                        "[" + item.get("name").stringValue()
                                + item.get("arguments").stringValue() + "]";
                })
                .collect(Collectors.joining(" "));
    }

    @Test
    void response_ofText_isWholeAndStreamedTheSame() throws Exception {
        ObjectNode response = response(body("Good morning, Bern €.", "\"metadata\":{\"a\":\"b\"}"));
        assertThat(output(response)).isEqualTo("Good morning, Bern €.");
        assertThat(response.get("status").stringValue()).isEqualTo("completed");
        assertThat(response.get("metadata").get("a").stringValue()).isEqualTo("b");
        assertThat(response.get("temperature").doubleValue()).isZero();
        JsonNode usage = response.get("usage");
        assertThat(usage.get("total_tokens").intValue())
                .isEqualTo(usage.get("input_tokens").intValue()
                        + usage.get("output_tokens").intValue());
        assertThat(usage.get("output_tokens_details").get("reasoning_tokens").intValue())
                .isZero();
    }

    @Test
    void response_withReasoningTextAndCalls_hasAnItemForEach() throws Exception {
        String answer = "<think>\nhm\n</think>\n\nI look.\n" + CALL + "\n" + CALL.replace("Bern", "Rome");
        ObjectNode response = response(body(answer, WEATHER));
        assertThat(output(response))
                .isEqualTo("(hm) I look. [weather{\"city\": \"Bern\"}] [weather{\"city\": \"Rome\"}]");
        assertThat(response.get("output").get(0).get("summary").isEmpty()).isTrue();
        assertThat(response.get("usage")
                        .get("output_tokens_details")
                        .get("reasoning_tokens")
                        .intValue())
                .isBetween("<think>\nhm\n</think>".length(), "<think>\nhm\n</think>\n\nI".length());
        ObjectNode summary = response(body(answer, WEATHER + ",\"reasoning\":{\"summary\":\"auto\"}"));
        assertThat(output(summary)).startsWith("(hm) I look.");
        assertThat(summary.get("output").get(0).get("content").isEmpty()).isTrue();
    }

    @Test
    void response_cutOff_isIncomplete() throws Exception {
        for (String answer : List.of("one two three four", CALL)) {
            String cut = body(answer, WEATHER).replace(":300", ":30");
            ObjectNode response = response(answer.equals(CALL) ? cut : cut.replace(":30", ":7"));
            assertThat(response.get("status").stringValue()).isEqualTo("incomplete");
            assertThat(response.get("incomplete_details").get("reason").stringValue())
                    .isEqualTo("max_output_tokens");
            assertThat(response.get("output").get(0).get("status").stringValue())
                    .isEqualTo("incomplete");
        }
    }

    @Test
    void text_withASchema_isKept() throws Exception {
        String format = "\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"n\",\"strict\":true,\"schema\":"
                + "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"maximum\":9,\"minimum\":0}},"
                + "\"required\":[\"a\"],\"additionalProperties\":false}}}";
        ObjectNode response = response(body("{\"a\": 77}", format));
        assertThat(output(response)).matches("\\{\"a\": ?[0-9]}");
        assertThat(response.get("text").get("format").get("name").stringValue()).isEqualTo("n");
        assertThat(output(response(body("certainly", "\"text\":{}")))).isEqualTo("certainly");
    }

    @Test
    void conversation_withAllKindsOfItems_becomesThePrompt() throws Exception {
        HttpResponse<String> response = post("""
            {"model":"fake","max_output_tokens":50,"temperature":0,"instructions":"Be short.",%s,"input":[
            {"role":"developer","content":[{"type":"input_text","text":"Rules."}]},
            {"type":"message","id":"msg_x","role":"user","content":"Weather?"},
            {"type":"reasoning","id":"rs_x","summary":[],"content":[{"type":"reasoning_text","text":"hm"}],
             "encrypted_content":null},
            {"type":"message","role":"assistant","content":[{"type":"output_text","text":"I look.","annotations":[]}]},
            {"type":"function_call","id":"fc_x","call_id":"c1","name":"weather","arguments":"{\\"city\\":\\"Bern\\"}",
             "status":"completed"},
            {"type":"function_call","call_id":"c2","name":"weather","arguments":"{}"},
            {"type":"function_call_output","call_id":"c1","output":"sunny"},
            {"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"failed"}]},
            {"role":"user","content":"And?"}]}\
            """.formatted(WEATHER));
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        assertThat(echo.lastPrompt())
                .isEqualTo("[weather]<system>Be short.<system>Rules.<user>Weather?<assistant><think>\nhm\n</think>\n\n"
                        + "I look.<call>weather:{\"city\": \"Bern\"}</call>\n<call>weather:{}</call><tool>sunny"
                        + "<tool>failed<user>And?<assistant>");
    }

    @Test
    void previousResponse_continuesItsConversationWithoutItsInstructions() throws Exception {
        String first = body("<think>\nhm\n</think>\n\nI look.\n" + CALL, WEATHER + ",\"instructions\":\"Be short.\"");
        JsonNode asked = TestServer.json(post(first));
        String callId = asked.get("output").get(2).get("call_id").stringValue();
        String second = "{\"model\":\"fake\",\"temperature\":0,\"max_output_tokens\":20,\"previous_response_id\":\""
                + asked.get("id").stringValue() + "\",\"input\":[{\"type\":\"function_call_output\",\"call_id\":\""
                + callId + "\",\"output\":\"sunny\"},{\"role\":\"user\",\"content\":\"Yes.\"}]}";
        JsonNode answered = TestServer.json(post(second));
        assertThat(output(answered)).isEqualTo("Yes.");
        assertThat(answered.get("previous_response_id")).isEqualTo(asked.get("id"));
        assertThat(echo.lastPrompt())
                .doesNotContain("Be short.")
                .endsWith("<assistant><think>\nhm\n</think>\n\nI look." + CALL + "<tool>sunny<user>Yes.<assistant>");
        JsonNode third = TestServer.json(post("{\"model\":\"fake\",\"temperature\":0,\"previous_response_id\":\""
                + answered.get("id").stringValue() + "\",\"input\":\"More.\",\"store\":false}"));
        assertThat(echo.lastPrompt()).endsWith("<user>Yes.<assistant>Yes.<user>More.<assistant>");
        assertThat(get(third.get("id").stringValue()).statusCode()).isEqualTo(404);
    }

    @Test
    void itemReference_toAKeptItem_standsForIt() throws Exception {
        JsonNode asked = TestServer.json(post(body("Good morning.", "")));
        HttpResponse<String> next = post("{\"model\":\"fake\",\"temperature\":0,\"input\":[{\"role\":\"user\","
                + "\"content\":\"Hi\"},{\"type\":\"item_reference\",\"id\":\""
                + asked.get("output").get(0).get("id").stringValue()
                + "\"},{\"role\":\"user\",\"content\":\"Yes.\"}]}");
        assertThat(next.statusCode()).as(next.body()).isEqualTo(200);
        assertThat(echo.lastPrompt()).isEqualTo("<user>Hi<assistant>Good morning.<user>Yes.<assistant>");
    }

    @Test
    void responseOfAnotherKey_isNotFound() throws Exception {
        ServerConfig keys = TestServer.config().apiKeys(List.of("a", "b")).build();
        try (EchoServer withKeys = new EchoServer(keys)) {
            TestServer two = withKeys.server;
            HttpResponse<String> made = two.post("/v1/responses", body("Hi", ""), "Authorization", "Bearer a");
            String id = TestServer.json(made).get("id").stringValue();
            String next = body("Hi", "\"previous_response_id\":\"" + id + "\"");

            assertThat(two.get("/v1/responses/" + id, "Authorization", "Bearer a")
                            .statusCode())
                    .isEqualTo(200);
            assertThat(two.get("/v1/responses/" + id, "Authorization", "Bearer b")
                            .statusCode())
                    .isEqualTo(404);
            assertThat(two.post("/v1/responses", next, "Authorization", "Bearer b")
                            .statusCode())
                    .isEqualTo(400);
            assertThat(two.post("/v1/responses", next, "Authorization", "Bearer a")
                            .statusCode())
                    .isEqualTo(200);
        }
    }

    @Test
    void storedResponse_isFoundUntilItIsDeleted() throws Exception {
        for (String stream : List.of("", "\"stream\":true")) {
            HttpResponse<String> sent = post(body("Good morning.", stream));
            JsonNode response = stream.isEmpty() ? TestServer.json(sent) : ResponsesStream.response(sent.body());
            String id = response.get("id").stringValue();
            assertThat(TestServer.json(get(id))).isEqualTo(response);
            assertThat(TestServer.json(delete(id)).get("deleted").booleanValue())
                    .isTrue();
            assertThat(get(id).statusCode()).isEqualTo(404);
            assertThat(delete(id).statusCode()).isEqualTo(404);
            HttpResponse<String> gone = post(body("Hi", "\"previous_response_id\":\"" + id + "\""));
            assertThat(gone.statusCode()).isEqualTo(400);
            assertThat(TestServer.error(gone).get("code").stringValue()).isEqualTo("previous_response_not_found");
        }
        HttpResponse<String> put = server.http.send(
                HttpRequest.newBuilder(URI.create(server.url() + "/v1/responses/x"))
                        .PUT(HttpRequest.BodyPublishers.noBody())
                        .build(),
                HttpResponse.BodyHandlers.ofString());
        assertThat(put.statusCode()).isEqualTo(405);
        assertThat(put.headers().firstValue("Allow")).contains("GET, HEAD, DELETE, OPTIONS");
    }

    private static HttpResponse<String> get(String id) throws Exception {
        return server.get("/v1/responses/" + id);
    }

    private static HttpResponse<String> delete(String id) throws Exception {
        return server.http.send(
                HttpRequest.newBuilder(URI.create(server.url() + "/v1/responses/" + id))
                        .DELETE()
                        .build(),
                HttpResponse.BodyHandlers.ofString());
    }

    @Test
    void namespaces_ofTools_comeBackWithTheCall() throws Exception {
        String tools = "\"tools\":[{\"type\":\"web_search\"},{\"type\":\"namespace\",\"name\":\"home\",\"tools\":["
                + WEATHER.substring("\"tools\":[".length()) + "}]";
        ObjectNode response = response(body(CALL, tools));
        JsonNode call = response.get("output").get(0);
        assertThat(call.get("name").stringValue()).isEqualTo("weather");
        assertThat(call.get("namespace").stringValue()).isEqualTo("home");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
        {"model":"fake"}                                                | 'input'
        {"input":[]}                                                    | 'input' is empty
        {"input":7}                                                     | 'input'
        {"input":"hi","top_p":7}                                        | 'top_p'
        {"input":"hi","topp":1}                                         | Did you mean 'top_p'
        {"input":"hi","max_tokens":5}                                   | max_output_tokens
        {"input":"hi","max_completion_tokens":5}                        | max_output_tokens
        {"input":"hi","reasoning_effort":"low"}                         | use reasoning.effort
        {"input":"hi","n":2}                                            | use /v1/chat/completions
        {"input":"hi","include":["message.output_text.logprobs"]}       | 'include'
        {"input":"hi","background":true}                                | 'background'
        {"input":"hi","truncation":"auto"}                              | 'truncation'
        {"input":"hi","max_output_tokens":-5}                           | 'max_output_tokens'
        {"input":"hi","instructions":7}                                 | 'instructions'
        {"input":[{"role":"judge","content":"hi"}]}                     | 'input[0].role'
        {"input":[{"role":"user","content":[{"type":"input_image"}]}]}  | 'input[0].content[0].type'
        {"input":[{"type":"web_search_call"}]}                          | 'input[0].type'
        {"input":[{"type":"item_reference","id":"x"}]}                  | 'input[0].id'
        {"input":[{"role":"user","content":"hi"},{"type":"function_call","call_id":"c","name":"f","arguments":"{"}]} | 'input[1].arguments'
        {"input":"hi","tools":[{"type":"function","name":"f g"}]}       | 'tools[0].name'
        {"input":"hi","tool_choice":"required"}                         | 'tool_choice'
        {"input":"hi","text":{"format":{"type":"xml"}}}                 | 'text.format.type'
        {"input":"hi","text":{"format":{"type":"json_schema","name":"n","schema":{"type":"x"}}}} | 'text.format.schema'
        {"input":"hi","reasoning":{"effort":"huge"}}                    | 'reasoning.effort'
        """)
    void error_ofAWrongBody_namesWhatWasSent(String body, String named) throws Exception {
        HttpResponse<String> response = post(body);
        assertThat(response.statusCode()).as(response.body()).isEqualTo(400);
        assertThat(TestServer.error(response).get("message").stringValue()).contains(named);
    }

    /** Client libraries see the event {@code error}, agents see {@code response.failed}; a stream that is cut hides both. */
    @Test
    void failure_withinAStream_isTwoEventsThatEndIt() throws Exception {
        HttpResponse<String> response = post(body("Half " + Script.BROKEN, "\"stream\":true"));
        assertThat(response.statusCode()).isEqualTo(200);
        List<JsonNode> events = MessagesStream.events(response.body());
        for (int i = 0; i < events.size(); i++) {
            assertThat(events.get(i).get("sequence_number").intValue()).isEqualTo(i);
        }
        JsonNode error = events.get(events.size() - 2);
        assertThat(error.get("type").stringValue()).isEqualTo("error");
        assertThat(error.get("code").stringValue()).isEqualTo("model_error");
        assertThat(error.get("message").stringValue()).contains("not finite");
        assertThat(events.getLast().get("type").stringValue()).isEqualTo("response.failed");
        JsonNode failed = events.getLast().get("response");
        assertThat(failed.get("status").stringValue()).isEqualTo("failed");
        assertThat(failed.get("error").get("message")).isEqualTo(error.get("message"));
    }

    @Test
    void stream_withoutTokens_getsEvents() throws Exception {
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
            client.send(RawClient.post("/v1/responses", body("hi", "\"stream\":true")));
            client.lineWith("response.in_progress");
            time.awaitTimer(pause);
            time.advance(pause);
            client.lineWith("event: keepalive");
            steps.release(1000);
            client.lineWith("\"status\":\"completed\"");
        }
    }

    @Test
    void builtInModel_overResponses_answersAsOverChat() throws Exception {
        try (TestServer real =
                TestServer.builder().model(BuiltInModel.QUIRE_TINY.path()).start()) {
            JsonNode response = TestServer.json(real.post(
                    "/v1/responses",
                    "{\"temperature\":0,\"max_output_tokens\":30,\"input\":\"What is the capital of Italy?\"}"));
            assertThat(output(response)).isEqualTo("The capital of Italy is Rome.");
        }
    }

    @Test
    void document_hasTheTableOfParameters() throws Exception {
        assertThat(Files.readString(Path.of("..", "docs", "responses.md"))).contains(table(ResponsesParameters.ROWS));
    }

    /** A table of parameters as the documents have it. */
    static String table(List<Parameter> rows) {
        StringBuilder table = new StringBuilder();
        for (Parameter row : rows) {
            String effect =
                    switch (row.treatment()) {
                        case COMPUTED -> row.meaning();
                        case SYNONYM -> "the same as " + row.instead();
                        case HARMLESS -> row.meaning() + ". Accepted, no effect";
                        case REFUSED ->
                            row.meaning() + ". Refused (accepted: "
                                    + row.accepted().words() + "): " + row.instead();
                    };
            table.append("| `" + row.name() + "` | " + row.senders() + " | " + effect + " |\n");
        }
        return table.toString();
    }
}
