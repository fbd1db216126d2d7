package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Semaphore;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import quire.model.BuiltInModel;
import quire.server.api.Json;
import quire.server.ollama.OllamaParameters;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Ollama's API over HTTP, with a model that follows a script. */
@Timeout(120)
class OllamaTest {
    private static final String WEATHER = "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"weather\","
            + "\"parameters\":{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}},"
            + "\"required\":[\"city\"],\"additionalProperties\":false}}}]";

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

    private static String body(boolean chat, String answer, String fields) {
        String text = JsonNodeFactory.instance.stringNode(answer).toString();
        return "{\"model\":\"fake\","
                + (fields.contains("options") ? "" : "\"options\":{\"temperature\":0,\"seed\":7},")
                + (chat ? "\"messages\":[{\"role\":\"user\",\"content\":" + text + "}]" : "\"prompt\":" + text)
                + (fields.isEmpty() ? "" : "," + fields) + "}";
    }

    private static HttpResponse<String> post(boolean chat, String body) throws Exception {
        return server.post(chat ? "/api/chat" : "/api/generate", body);
    }

    /** The answer, which is the same whole and as a stream, but for its times. */
    private static ObjectNode answer(boolean chat, String answer, String fields) throws Exception {
        String body = body(chat, answer, fields);
        HttpResponse<String> whole = post(chat, body.substring(0, body.length() - 1) + ",\"stream\":false}");
        assertThat(whole.statusCode()).as(whole.body()).isEqualTo(200);
        HttpResponse<String> streamed = post(chat, body);
        assertThat(streamed.statusCode()).as(streamed.body()).isEqualTo(200);
        assertThat(streamed.headers().firstValue("Content-Type")).contains("application/x-ndjson");
        ObjectNode expected = (ObjectNode) TestServer.json(whole);
        ObjectNode joined = joined(streamed.body(), chat);
        for (ObjectNode each : List.of(expected, joined)) {
            assertThat(each.remove("created_at").stringValue()).endsWith("Z");
            for (String time : List.of("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")) {
                assertThat(each.remove(time).longValue()).isNotNegative();
            }
        }
        assertThat(joined).isEqualTo(expected);
        return expected;
    }

    /** Joins the lines of a stream, and checks the form of each. */
    static ObjectNode joined(String stream, boolean chat) {
        assertThat(stream).endsWith("\n");
        StringBuilder text = new StringBuilder();
        StringBuilder thinking = new StringBuilder();
        List<JsonNode> calls = new ArrayList<>();
        List<String> lines = stream.lines().toList();
        for (String line : lines) {
            ObjectNode json = (ObjectNode) Json.read(line);
            assertThat(json.get("model").stringValue()).isEqualTo("fake");
            boolean last = line.equals(lines.getLast());
            assertThat(json.get("done").booleanValue()).isEqualTo(last);
            assertThat(json.has("done_reason")).isEqualTo(last);
            JsonNode message = chat ? json.get("message") : json;
            text.append(message.get(chat ? "content" : "response").stringValue());
            thinking.append(message.path("thinking").asString(""));
            if (message.get("tool_calls") != null) {
                calls.addAll(message.get("tool_calls").values());
            }
            if (last) {
                assertThat(message.get(chat ? "content" : "response").stringValue())
                        .as("text of the line that ends the answer")
                        .isEmpty();
                ObjectNode root = (ObjectNode) message;
                root.put(chat ? "content" : "response", text.toString());
                if (!thinking.isEmpty()) {
                    root.put("thinking", thinking.toString());
                }
                if (!calls.isEmpty()) {
                    root.putArray("tool_calls").addAll(calls);
                }
                return json;
            }
        }
        throw new AssertionError("no lines");
    }

    @ParameterizedTest
    @CsvSource({"true", "false"})
    void answer_ofText_isWholeAndStreamedTheSame(boolean chat) throws Exception {
        ObjectNode answer = answer(chat, "Good morning, Bern €.", "");
        assertThat((chat ? answer.get("message").get("content") : answer.get("response")).stringValue())
                .isEqualTo("Good morning, Bern €.");
        assertThat(answer.get("done_reason").stringValue()).isEqualTo("stop");
        assertThat(answer.get("prompt_eval_count").intValue()).isPositive();
        assertThat(answer.get("eval_count").intValue()).isPositive();
        ObjectNode thought = answer(chat, "<think>\nhm\n</think>\n\nYes.", "\"think\":\"high\"");
        assertThat((chat ? thought.get("message") : thought).get("thinking").stringValue())
                .contains("hm");
        ObjectNode cut = answer(chat, "one two three", "\"options\":{\"temperature\":0,\"num_predict\":3}");
        assertThat(cut.get("done_reason").stringValue()).isEqualTo("length");
        // The last characters may yet become the stop string, so they are held back until the end.
        ObjectNode held = answer(
                chat, "one two three", "\"options\":{\"temperature\":0,\"num_predict\":7,\"stop\":[\"two never\"]}");
        assertThat((chat ? held.get("message").get("content") : held.get("response")).stringValue())
                .isEqualTo("one two");
    }

    @Test
    void think_false_switchesTheReasoningOff() throws Exception {
        assertThat(answer(true, "Yes.", "\"think\":false")
                        .get("prompt_eval_count")
                        .intValue())
                .isEqualTo("<user>Yes.<assistant><think>\n\n</think>\n\n".length());
    }

    @Test
    void answer_withCalls_hasThemAsObjects() throws Exception {
        ObjectNode answer = answer(true, "I look.\n" + CALL + "\n" + CALL.replace("Bern", "Rome"), WEATHER);
        JsonNode message = answer.get("message");
        assertThat(message.get("content").stringValue()).isEqualTo("I look.");
        JsonNode calls = message.get("tool_calls");
        assertThat(calls.size()).isEqualTo(2);
        JsonNode second = calls.get(1).get("function");
        assertThat(second.get("name").stringValue()).isEqualTo("weather");
        assertThat(second.get("index").intValue()).isEqualTo(1);
        assertThat(second.get("arguments")).isEqualTo(Json.read("{\"city\":\"Rome\"}"));
        ObjectNode cut = answer(true, CALL, WEATHER + ",\"options\":{\"temperature\":0,\"num_predict\":26}");
        assertThat(cut.get("done_reason").stringValue()).isEqualTo("length");
        assertThat(cut.get("message").has("tool_calls")).isFalse();
    }

    @Test
    void format_jsonOrASchema_isKept() throws Exception {
        String schema = "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"maximum\":9,"
                + "\"minimum\":0}},\"required\":[\"a\"],\"additionalProperties\":false}";
        for (boolean chat : new boolean[] {true, false}) {
            ObjectNode answer = answer(chat, "{\"a\": 77}", "\"format\":" + schema);
            assertThat((chat ? answer.get("message").get("content") : answer.get("response")).stringValue())
                    .matches("\\{\"a\": ?[0-9]}");
        }
        ObjectNode json = answer(true, "{\"b\": 1}", "\"format\":\"json\"");
        assertThat(json.get("message").get("content").stringValue()).isEqualTo("{\"b\": 1}");
        answer(true, "certainly", "\"format\":\"\"");
    }

    @Test
    void conversation_withCallsAndResults_becomesThePrompt() throws Exception {
        HttpResponse<String> response = post(true, """
            {"model":"fake:latest","stream":false,"options":{"temperature":0,"num_ctx":8192,"num_predict":20},
            "keep_alive":"5m",%s,"messages":[{"role":"system","content":"Be short."},
            {"role":"user","content":"Weather?","images":[]},
            {"role":"assistant","content":"","thinking":"hm","tool_calls":[
             {"function":{"name":"weather","arguments":{"city":"Bern"}}},
             {"id":"c2","type":"function","function":{"index":1,"name":"weather","arguments":{}}}]},
            {"role":"tool","content":"sunny","tool_name":"weather"},
            {"role":"tool","content":"failed","tool_call_id":"c2"},
            {"role":"user","content":"And?"}]}\
            """.formatted(WEATHER));
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        assertThat(TestServer.json(response).get("model").stringValue()).isEqualTo("fake:latest");
        assertThat(echo.lastPrompt())
                .isEqualTo("[weather]<system>Be short.<user>Weather?<assistant><think>\nhm\n</think>\n\n"
                        + "<call>weather:{\"city\": \"Bern\"}</call>\n<call>weather:{}</call><tool>sunny<tool>failed"
                        + "<user>And?<assistant>");
        post(false, body(false, "Yes.", "\"system\":\"Be short.\""));
        assertThat(echo.lastPrompt()).isEqualTo("<system>Be short.<user>Yes.<assistant>");
    }

    /** Without the template, the answer is text as it is, white space and all. */
    @Test
    void prompt_raw_isTakenAsItIs() throws Exception {
        String prompt = "<user>raw<assistant>";
        for (String answer : List.of(" one\n", "<think>\nhm\n</think>\n\nYes.", CALL)) {
            String sent = prompt.replace("raw", answer);
            ObjectNode whole = answer(false, sent, "\"raw\":true,\"system\":\"\",\"think\":false");
            assertThat(echo.lastPrompt()).isEqualTo("<s>" + sent);
            assertThat(whole.get("response").stringValue()).isEqualTo(answer);
            assertThat(whole.has("thinking")).isFalse();
            // BOS, and bytes for tokens
            assertThat(whole.get("prompt_eval_count").intValue()).isEqualTo(1 + sent.length());
        }
        ObjectNode cut = answer(false, prompt, "\"raw\":true,\"options\":{\"temperature\":0,\"num_predict\":2}");
        assertThat(cut.get("done_reason").stringValue()).isEqualTo("length");
        assertThat(cut.get("eval_count").intValue()).isEqualTo(2);
        ObjectNode json = answer(false, prompt.replace("raw", "{\"b\": 1}"), "\"raw\":true,\"format\":\"json\"");
        assertThat(json.get("response").stringValue()).isEqualTo("{\"b\": 1}");
    }

    @Test
    void requestWithoutAPrompt_onlyLoadsTheModel() throws Exception {
        for (String[] each : new String[][] {
            {"/api/chat", "{\"model\":\"fake\",\"messages\":[]}", "load"},
            {"/api/chat", "{\"model\":\"fake\"}", "load"},
            {"/api/generate", "{\"model\":\"fake\"}", "load"},
            {"/api/generate", "{\"model\":\"fake\",\"keep_alive\":0}", "unload"},
        }) {
            HttpResponse<String> response = server.post(each[0], each[1]);
            assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
            assertThat(TestServer.json(response).get("done_reason").stringValue())
                    .isEqualTo(each[2]);
            assertThat(TestServer.json(response).get("done").booleanValue()).isTrue();
        }
    }

    @Test
    void models_areListedShownAndNotPulled() throws Exception {
        assertThat(TestServer.json(server.get("/api/version")).get("version").stringValue())
                .matches("[0-9]+\\.[0-9]+\\.[0-9]+");
        for (String path : List.of("/api/tags", "/api/ps")) {
            JsonNode models = TestServer.json(server.get(path)).get("models");
            assertThat(models.get(0).get("name").stringValue()).isEqualTo("fake");
            assertThat(models.get(0).get("details").get("format").stringValue()).isEqualTo("gguf");
        }
        JsonNode shown = TestServer.json(server.post("/api/show", "{\"model\":\"fake:latest\"}"));
        assertThat(shown.get("capabilities").values())
                .extracting(JsonNode::stringValue)
                .containsExactly("completion", "embedding", "tools", "thinking");
        assertThat(server.post("/api/pull", "{\"model\":\"fake\"}").body()).contains("\"success\"");
        for (String path : List.of("/api/show", "/api/pull", "/api/chat")) {
            HttpResponse<String> unknown = server.post(path, "{\"model\":\"llama3.2\",\"prompt\":\"x\"}");
            assertThat(unknown.statusCode()).isEqualTo(path.equals("/api/chat") ? 400 : 404);
        }
        assertThat(server.post("/api/create", "{}").statusCode()).isEqualTo(501);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
        /api/chat | {"model":"other","messages":[{"role":"user","content":"hi"}]}                 | 404 | other
        /api/chat | {"messages":[{"role":"judge","content":"hi"}]}                                | 400 | 'messages[0].role'
        /api/chat | {"messages":[{"role":"user","content":7}]}                                    | 400 | 'messages[0].content'
        /api/chat | {"messages":[{"role":"user","content":"hi","images":["x"]}]}                  | 400 | 'messages[0].images'
        /api/chat | {"messages":[{"role":"user","content":"hi"}],"options":{"top_p":7}}           | 400 | 'options.top_p'
        /api/chat | {"messages":[{"role":"user","content":"hi"}],"options":{"num_predict":-7}}    | 400 | 'options.num_predict'
        /api/chat | {"messages":[{"role":"user","content":"hi"}],"options":{"temprature":1}}      | 400 | Did you mean 'options.temperature'
        /api/chat | {"messages":[{"role":"user","content":"hi"}],"options":{"mirostat":1}}        | 400 | 'options.mirostat'
        /api/chat | {"messages":[{"role":"user","content":"hi"}],"temperature":1}                 | 400 | 'options.temperature'
        /api/generate | {"prompt":"hi","temprature":1}                                            | 400 | 'options.temperature'
        /api/chat | {"messages":[{"role":"user","content":"hi"}],"max_tokens":4}                  | 400 | use options.num_predict
        /api/chat | {"messages":[{"role":"user","content":"hi"}],"tool_choice":"required"}        | 400 | 'tool_choice'
        /api/chat | {"messages":[{"role":"user","content":"hi"}],"format":"xml"}                  | 400 | 'format'
        /api/chat | {"messages":[{"role":"user","content":"hi"}],"format":{"type":"x"}}           | 400 | 'format'
        /api/chat | {"messages":[{"role":"user","content":"hi"}],"think":"huge"}                  | 400 | 'think'
        /api/chat | {"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f g"}}]} | 400 | 'tools[0].function.name'
        /api/generate | {"prompt":7}                                                              | 400 | 'prompt'
        /api/generate | {"prompt":"hi","raw":"yes"}                                               | 400 | 'raw'
        /api/generate | {"prompt":"hi","raw":true,"system":"Be short."}                           | 400 | 'system'
        /api/generate | {"prompt":"hi","raw":true,"think":true}                                   | 400 | 'think'
        /api/generate | {"prompt":"hi","suffix":"x"}                                              | 400 | 'suffix'
        /api/generate | {"prompt":"hi","raw":true,"options":{"top_p":7}}                          | 400 | 'options.top_p'
        /api/generate | {"prompt":"hi","raw":true,"format":{"type":"x"}}                          | 400 | 'format'
        /api/generate | {"prompt":"hi","messages":[{"role":"user","content":"hi"}]}               | 400 | 'messages'
        """)
    void error_ofAWrongBody_namesWhatWasSent(String path, String body, int status, String named) throws Exception {
        HttpResponse<String> response = server.post(path, body);
        assertThat(response.statusCode()).as(response.body()).isEqualTo(status);
        assertThat(TestServer.json(response).get("error").stringValue()).contains(named);
    }

    /** What these clients send by default asks for nothing else than what happens anyway. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "\"truncate\":true",
                "\"truncate\":false",
                "\"shift\":true",
                "\"tool_choice\":\"auto\"",
                "\"temperature\":null",
                "\"seed\":0",
                "\"stop\":[]"
            })
    void parameters_thatAskForNothing_areAccepted(String field) throws Exception {
        HttpResponse<String> response = server.post(
                "/api/chat", "{\"stream\":false,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]," + field + "}");
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
    }

    @Test
    void stream_withoutTokens_getsSpaces() throws Exception {
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
            client.send(RawClient.post("/api/chat", body(true, "hi", "")));
            client.rest(""); // the head
            time.awaitTimer(pause);
            time.advance(pause);
            assertThat(client.line()).isEqualTo("1"); // the length of a chunk
            assertThat(client.line()).isEqualTo(" ");
            steps.release(1000);
            client.lineWith("\"done\":true");
        }
    }

    @Test
    void builtInModel_overOllama_answersAsOverChat() throws Exception {
        try (TestServer real =
                TestServer.builder().model(BuiltInModel.QUIRE_TINY.path()).start()) {
            JsonNode answer = TestServer.json(real.post(
                    "/api/chat",
                    "{\"stream\":false,\"options\":{\"temperature\":0,\"seed\":7},\"messages\":[{\"role\":\"user\",\"content\":\"What"
                            + " is the capital of Italy?\"}]}"));
            assertThat(answer.get("message").get("content").stringValue()).isEqualTo("The capital of Italy is Rome.");
            JsonNode tag = TestServer.json(real.get("/api/tags")).get("models").get(0);
            assertThat(tag.get("size").longValue()).isEqualTo(Files.size(BuiltInModel.QUIRE_TINY.path()));
            assertThat(tag.get("details").get("family").stringValue()).isEqualTo("llama");
            String name = tag.get("name").stringValue();
            JsonNode shown = TestServer.json(real.post("/api/show", "{\"model\":\"" + name + "\"}"));
            assertThat(shown.get("details")).isEqualTo(tag.get("details"));
            assertThat(shown.get("details").get("families")).hasSize(1);
            assertThat(shown.get("details").get("parameter_size").stringValue()).matches("[0-9.]+[KMB]");
            assertThat(shown.get("details").get("quantization_level").stringValue())
                    .matches("[A-Z]+[0-9A-Z_]*");
            JsonNode info = shown.get("model_info"); // Copilot and LangChain look for the context like this
            String architecture = info.get("general.architecture").stringValue();
            assertThat(info.get(architecture + ".context_length").intValue()).isEqualTo(real.engine.maxContext());
            assertThat(info.get(architecture + ".embedding_length").intValue()).isEqualTo(real.engine.vectorWidth());
            assertThat(info.get("general.parameter_count").longValue()).isPositive();
            assertThat(info.get("general.basename").stringValue()).isNotEmpty();
        }
    }

    @Test
    void document_hasTheTableOfParameters() throws Exception {
        assertThat(Files.readString(Path.of("..", "docs", "ollama.md")))
                .contains(ResponsesTest.table(OllamaParameters.ROWS));
    }
}
