package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import java.net.URI;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Semaphore;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.Timeout;
import quire.engine.PrefixCacheStats;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.Scheduling;
import quire.engine.Script;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** What agents insist on, in each API: a table of rules and dialects. */
@Timeout(120)
class AgentRulesTest {
    private static final String CALL = "<call>weather:{\"city\": \"Bern\"}</call>";

    private static final String SCHEMA =
            "{'type':'object','properties':{'city':{'type':'string'}},'required':['city'],'additionalProperties':false}";

    private static final String FUNCTION = "'name':'weather','description':'d','parameters':" + SCHEMA;

    /** An API of chats. Bodies have {@code '} in place of {@code "}. */
    enum Dialect {
        CHAT("/v1/chat/completions", "'tools':[{'type':'function','function':{" + FUNCTION + "}}]"),
        RESPONSES("/v1/responses", "'tools':[{'type':'function'," + FUNCTION + "}]"),
        MESSAGES("/v1/messages", "'tools':[{'name':'weather','description':'d','input_schema':" + SCHEMA + "}]"),
        OLLAMA("/api/chat", CHAT.tools);

        final String path;
        final String tools;

        Dialect(String path, String tools) {
            this.path = path;
            this.tools = tools;
        }

        /** The API of a path. */
        static Dialect at(String path) {
            return Stream.of(values())
                    .filter(each -> path.replaceFirst("\\?.*", "").endsWith(each.path.replaceFirst("^/v1", "")))
                    .findFirst()
                    .orElseThrow();
        }

        /** A task for a model that answers what the user says. */
        String task(String answer, int limit, boolean stream, String... more) {
            String text = JsonNodeFactory.instance.stringNode(answer).toString();
            return body("{\"role\":\"user\",\"content\":" + text + "}", limit, stream, more);
        }

        String body(String items, int limit, boolean stream, String... more) {
            String limited =
                    switch (this) {
                        case CHAT, MESSAGES -> "'max_tokens':" + limit;
                        case RESPONSES -> "'max_output_tokens':" + limit;
                        case OLLAMA -> "'options':{'temperature':0,'num_predict':" + limit + "}";
                    };
            String fields =
                    "'model':'fake','stream':" + stream + "," + limited + (this == OLLAMA ? "" : ",'temperature':0");
            for (String each : more) {
                fields += each.isEmpty() ? "" : "," + each;
            }
            return "{" + quoted(fields) + ",\"" + (this == RESPONSES ? "input" : "messages") + "\":[" + quoted(items)
                    + "]}";
        }

        /** How a call of the model comes back with what the tool gave; {@code arguments} in quotes where they are text. */
        String callAndResult(String assistant, String arguments) {
            String text = JsonNodeFactory.instance.stringNode(arguments).toString();
            return switch (this) {
                case CHAT ->
                    "{'role':'assistant'" + assistant
                            + ",'tool_calls':[{'id':'c1','type':'function','function':{'name':"
                            + "'weather','arguments':" + text
                            + "}}]},{'role':'tool','tool_call_id':'c1','content':'sunny'}";
                case RESPONSES ->
                    assistant + "{'type':'function_call','call_id':'c1','name':'weather','arguments':" + text
                            + "},{'type':'function_call_output','call_id':'c1','output':'sunny'}";
                case MESSAGES ->
                    "{'role':'assistant','content':[" + assistant + "{'type':'tool_use','id':'c1','name':'weather',"
                            + "'input':" + arguments
                            + "}]},{'role':'user','content':[{'type':'tool_result','tool_use_id':"
                            + "'c1','content':'sunny'}]}";
                case OLLAMA ->
                    "{'role':'assistant'" + assistant + ",'tool_calls':[{'function':{'name':'weather','arguments':"
                            + arguments + "}}]},{'role':'tool','tool_name':'weather','content':'sunny'}";
            };
        }

        /** Why an answer ended, by the words of its API, from an answer as a whole. */
        String end(JsonNode answer) {
            return switch (this) {
                case CHAT -> answer.at("/choices/0/finish_reason").asString();
                case RESPONSES ->
                    answer.at("/status").asString()
                            + answer.at("/incomplete_details/reason").asString("");
                case MESSAGES -> answer.at("/stop_reason").asString();
                case OLLAMA -> answer.at("/done_reason").asString();
            };
        }

        /** The answer that the events of a stream make; every grammar of them is checked. */
        JsonNode joined(String stream) {
            return switch (this) {
                case CHAT -> chat(stream);
                case RESPONSES -> ResponsesStream.response(stream);
                case MESSAGES -> MessagesStream.message(stream);
                case OLLAMA -> OllamaTest.joined(stream, true);
            };
        }

        /**
         * A chat's stream as an answer as a whole. Checks that all chunks have the same id, time and model; that the role comes
         * first and the reason of the end last, with nothing but usage behind it; and that each piece of a call has its
         * index, and the first one the id, the type and the name, which no other has.
         */
        private static JsonNode chat(String stream) {
            ObjectNode answer = JsonNodeFactory.instance.objectNode();
            ObjectNode choice = answer.putArray("choices").addObject();
            ObjectNode message = choice.putObject("message");
            JsonNode head = null;
            for (String line :
                    stream.lines().filter(each -> each.startsWith("data: {")).toList()) {
                JsonNode chunk = Json.read(line.substring(6));
                boolean first = head == null;
                JsonNode same = head == null ? chunk : head;
                head = same;
                assertThat(chunk.path("id").asString()).as(line).isNotEmpty();
                assertThat(chunk.path("object").asString()).as(line).isEqualTo("chat.completion.chunk");
                for (String field : List.of("id", "created", "model")) {
                    assertThat(chunk.get(field)).as(line).isNotNull().isEqualTo(same.get(field));
                }
                if (chunk.get("choices").isEmpty()) {
                    assertThat(chunk.get("usage").isObject()).as(line).isTrue();
                    assertThat(choice.has("finish_reason")).as(line).isTrue();
                    continue;
                }
                assertThat(chunk.get("choices").size()).as(line).isEqualTo(1);
                assertThat(chunk.at("/choices/0/index").asInt(-1)).as(line).isZero();
                assertThat(choice.has("finish_reason")).as("before " + line).isFalse();
                addDelta(chunk.at("/choices/0/delta"), message, first, line);
                String reason = chunk.at("/choices/0/finish_reason").asString("");
                if (!reason.isEmpty()) {
                    choice.put("finish_reason", reason);
                }
            }
            assertThat(choice.has("finish_reason")).as(stream).isTrue();
            assertThat(stream).endsWith("data: [DONE]\n\n");
            if (choice.get("finish_reason").asString().equals("tool_calls")) {
                message.get("tool_calls").forEach(call -> assertThat(
                                Json.read(call.at("/function/arguments").asString())
                                        .isObject())
                        .as(stream)
                        .isTrue());
            }
            return answer;
        }

        private static void addDelta(JsonNode delta, ObjectNode message, boolean isFirst, String line) {
            assertThat(delta.path("role").asString("")).as(line).isEqualTo(isFirst ? "assistant" : "");
            for (String text : List.of("content", "reasoning_content")) {
                if (delta.path(text).isString()) {
                    message.put(
                            text,
                            message.path(text).asString("") + delta.get(text).asString());
                }
            }
            for (JsonNode piece : delta.path("tool_calls")) {
                ArrayNode calls = message.withArray("tool_calls");
                int index = piece.path("index").asInt(-1);
                assertThat(index).as(line).isBetween(0, calls.size());
                boolean isNew = index == calls.size();
                for (String once : List.of("/id", "/type", "/function/name")) {
                    assertThat(piece.at(once).asString("").isEmpty())
                            .as(once + " in " + line)
                            .isEqualTo(!isNew);
                }
                String arguments = piece.at("/function/arguments").asString("");
                if (isNew) {
                    ObjectNode call = piece.deepCopy().asObject();
                    call.remove("index");
                    ((ObjectNode) call.get("function")).put("arguments", arguments);
                    calls.add(call);
                } else {
                    assertThat(index).as(line).isEqualTo(calls.size() - 1);
                    ObjectNode function = (ObjectNode) calls.get(index).get("function");
                    function.put("arguments", function.get("arguments").asString() + arguments);
                }
            }
        }

        /** The message of an error, which has the shape of the API. */
        String message(JsonNode error) {
            return switch (this) {
                case CHAT, RESPONSES -> {
                    assertThat(error.propertyNames()).containsExactly("error");
                    assertThat(error.get("error").propertyNames())
                            .containsExactlyInAnyOrder("message", "type", "param", "code");
                    yield error.at("/error/message").asString();
                }
                case MESSAGES -> {
                    assertThat(error.path("type").asString()).isEqualTo("error");
                    assertThat(error.at("/error/type").asString()).endsWith("_error");
                    yield error.at("/error/message").asString();
                }
                case OLLAMA -> {
                    assertThat(error.propertyNames()).containsExactly("error");
                    yield error.path("error").asString();
                }
            };
        }
    }

    private static String quoted(String text) {
        return text.replace('\'', '"');
    }

    private interface Rule {
        void check(Dialect dialect) throws Exception;
    }

    private static Stream<DynamicTest> each(Rule rule) {
        return Stream.of(Dialect.values()).map(dialect -> dynamicTest(dialect.toString(), () -> rule.check(dialect)));
    }

    private static JsonNode ok(TestServer server, Dialect dialect, String body) throws Exception {
        HttpResponse<String> response = server.post(dialect.path, body);
        assertThat(response.statusCode()).as(body + ": " + response.body()).isEqualTo(200);
        return body.contains("\"stream\":true") ? dialect.joined(response.body()) : TestServer.json(response);
    }

    @TestFactory
    Stream<DynamicTest> end_ofEveryAnswer_hasItsReason() {
        Map<Dialect, List<String>> reasons = Map.of(
                Dialect.CHAT, List.of("stop", "length", "tool_calls"),
                Dialect.RESPONSES, List.of("completed", "incompletemax_output_tokens", "completed"),
                Dialect.MESSAGES, List.of("end_turn", "max_tokens", "tool_use"),
                Dialect.OLLAMA, List.of("stop", "length", "stop"));
        return each(dialect -> {
            try (EchoServer echo = new EchoServer()) {
                List<String> expected = reasons.getOrDefault(dialect, List.of());
                for (boolean stream : new boolean[] {false, true}) {
                    String text = dialect.task("It is sunny.", 300, stream);
                    String cut = dialect.task("It is sunny.", 3, stream);
                    String call = dialect.task(CALL, 300, stream, dialect.tools);
                    assertThat(dialect.end(ok(echo.server, dialect, text))).isEqualTo(expected.get(0));
                    assertThat(dialect.end(ok(echo.server, dialect, cut))).isEqualTo(expected.get(1));
                    assertThat(dialect.end(ok(echo.server, dialect, call))).isEqualTo(expected.get(2));
                }
                String broken;
                try (RawClient client = new RawClient(echo.server)) { // fails at a stream without an end
                    client.send(RawClient.post(dialect.path, dialect.task("Half " + Script.BROKEN, 300, true)));
                    broken = client.response().body();
                }
                String end =
                        switch (dialect) {
                            case CHAT -> "event: error\ndata: {\"error\":{";
                            case RESPONSES -> "event: response.failed\n";
                            case MESSAGES -> "event: error\n";
                            case OLLAMA -> "{\"error\":\"";
                        };
                assertThat(broken).contains(end);
                assertThat(broken.substring(broken.lastIndexOf(end)))
                        .contains("not finite")
                        .doesNotContain("[DONE]");
            }
        });
    }

    /** A client whose connection broke asks again: the engine computes what its last page has, one token at least. */
    @TestFactory
    Stream<DynamicTest> prompt_thatIsSentAgain_costsAtMostAPage() {
        return each(dialect -> {
            try (EchoServer echo = new EchoServer()) {
                String answer = "It is sunny. ".repeat(80);
                try (RawClient client = new RawClient(echo.server)) {
                    client.send(RawClient.post(dialect.path, dialect.task(answer, 4000, true)));
                    for (int line = 0; line < 40; line++) { // the head, and the beginning of the answer
                        client.line();
                    }
                }
                PrefixCacheStats before = echo.server.engine.stats().prefixCache();
                ok(echo.server, dialect, dialect.task(answer, 5, false));
                PrefixCacheStats after = echo.server.engine.stats().prefixCache();
                assertThat(after.queriedTokens() - before.queriedTokens()).isGreaterThan(1000);
                assertThat(after.queriedTokens() - before.queriedTokens() - (after.hitTokens() - before.hitTokens()))
                        .isBetween(1L, 16L);
            }
        });
    }

    /** What stands beside a call, and how its arguments are written, changes nothing in the prompt. */
    @TestFactory
    Stream<DynamicTest> call_thatComesBack_reachesTheTemplateInOneForm() {
        List<String> none = List.of("", ",'content':null", ",'content':''", ",'content':[]");
        Map<Dialect, List<String>> beside = Map.of(
                Dialect.CHAT, none,
                Dialect.RESPONSES, List.of("", "{'type':'message','role':'assistant','content':''},"),
                Dialect.MESSAGES, List.of("", "{'type':'text','text':''},"),
                Dialect.OLLAMA, none.subList(0, 3));
        return each(dialect -> {
            try (EchoServer echo = new EchoServer()) {
                for (String assistant : beside.getOrDefault(dialect, List.of())) {
                    for (String arguments :
                            List.of("{\"city\": \"Bern\"}", "{\"city\":\"Bern\"}", "{ \"city\" : \"Bern\" }")) {
                        String items = "{'role':'user','content':'Weather?'},"
                                + dialect.callAndResult(assistant, arguments) + ",{'role':'user','content':'And?'}";
                        ok(echo.server, dialect, dialect.body(items, 20, false, dialect.tools));
                        assertThat(echo.lastPrompt())
                                .as(assistant + " " + arguments)
                                .isEqualTo("[weather]<user>Weather?<assistant>" + CALL
                                        + "<tool>sunny<user>And?<assistant>");
                    }
                }
            }
        });
    }

    @TestFactory
    Stream<DynamicTest> limit_beyondTheContext_isClampedUnlessLimitsAreStrict() {
        return each(dialect -> {
            String cut =
                    switch (dialect) {
                        case CHAT, OLLAMA -> "length";
                        case RESPONSES -> "incompletemax_output_tokens";
                        case MESSAGES -> "max_tokens";
                    };
            for (boolean strict : new boolean[] {false, true}) {
                try (TestServer server = TestServer.builder()
                        .config(TestServer.config().strictLimits(strict).build())
                        .script(prompt -> "x".repeat(TestServer.CONTEXT))
                        .start()) {
                    for (boolean stream : new boolean[] {false, true}) {
                        String body = dialect.task("hi", 32_000, stream);
                        if (strict) {
                            HttpResponse<String> response = server.post(dialect.path, body);
                            assertThat(response.statusCode()).isEqualTo(400);
                            assertThat(dialect.message(TestServer.json(response)))
                                    .contains("32000");
                        } else {
                            assertThat(dialect.end(ok(server, dialect, body))).isEqualTo(cut);
                        }
                    }
                }
            }
        });
    }

    @TestFactory
    Stream<DynamicTest> reasoning_isApartAndMayComeBack() {
        Map<Dialect, String> places = Map.of(
                Dialect.CHAT, "/choices/0/message/reasoning_content",
                Dialect.RESPONSES, "/output/0/content/0/text",
                Dialect.MESSAGES, "/content/0/thinking",
                Dialect.OLLAMA, "/message/thinking");
        Map<Dialect, List<String>> returned = Map.of(
                Dialect.CHAT, List.of(",'reasoning_content':'hm','content':null", ",'reasoning':'hm','content':''"),
                Dialect.RESPONSES,
                        List.of(
                                "{'type':'reasoning','summary':[],'content':[{'type':'reasoning_text','text':'hm'}],"
                                        + "'encrypted_content':null},",
                                "{'type':'reasoning','id':'rs_1','summary':[{'type':'summary_text','text':'hm'}]},"),
                Dialect.MESSAGES, List.of("{'type':'thinking','thinking':'hm','signature':'c2ln'},"),
                Dialect.OLLAMA, List.of(",'thinking':'hm','content':''"));
        return each(dialect -> {
            try (EchoServer echo = new EchoServer()) {
                String wanted = dialect == Dialect.MESSAGES
                        ? "'thinking':{'type':'enabled','budget_tokens':1024,'display':'summarized'}"
                        : dialect == Dialect.OLLAMA ? "'think':true" : "";
                String body = dialect.task("<think>\nhm\n</think>\n\nYes.", 2000, false, wanted);
                assertThat(ok(echo.server, dialect, body)
                                .at(places.getOrDefault(dialect, ""))
                                .asString()
                                .strip())
                        .isEqualTo("hm");
                for (String assistant : returned.getOrDefault(dialect, List.of())) {
                    String items = "{'role':'user','content':'Weather?'},"
                            + dialect.callAndResult(assistant, "{\"city\": \"Bern\"}")
                            + ",{'role':'user','content':'And?'}";
                    ok(echo.server, dialect, dialect.body(items, 20, false, dialect.tools));
                    assertThat(echo.lastPrompt())
                            .as(assistant)
                            .isEqualTo("[weather]<user>Weather?<assistant><think>\nhm\n</think>\n\n" + CALL
                                    + "<tool>sunny<user>And?<assistant>");
                }
            }
        });
    }

    /** What was seen from agents and client libraries; one at a time, and a name that nobody knows. */
    @TestFactory
    Stream<DynamicTest> parameters_ofClients_areAcceptedAndOthersAreNamed() {
        String format = "{'type':'json_schema','name':'a','strict':true,'schema':" + SCHEMA + "}";
        Map<Dialect, List<String>> known = Map.of(
                Dialect.CHAT,
                List.of(
                        "'stream_options':{'include_usage':true},'stream':true",
                        "'max_completion_tokens':300",
                        "'tool_choice':'auto'",
                        "'response_format':{'type':'json_schema','json_schema':{'name':'a','strict':true,'schema':"
                                + SCHEMA + "}}",
                        "'response_format':{'type':'json_object'}",
                        "'response_format':{'type':'json_object','schema':" + SCHEMA + "}",
                        "'functions':[{" + FUNCTION + "}],'function_call':{'name':'weather'}",
                        "'store':false",
                        "'reasoning_effort':'medium'",
                        "'prompt_cache_key':'a'",
                        "'user':'a'"),
                Dialect.RESPONSES,
                List.of(
                        "'tool_choice':'auto','parallel_tool_calls':true",
                        "'reasoning':{'effort':'medium','summary':'auto'}",
                        "'store':false",
                        "'include':['reasoning.encrypted_content']",
                        "'prompt_cache_key':'a'",
                        "'client_metadata':{'a':'b'}",
                        "'text':{}",
                        "'text':{'format':{'type':'text'}}",
                        "'text':{'format':" + format + "}",
                        "'tools':[{'type':'function','strict':null," + FUNCTION + "}]",
                        "'tools':[{'type':'namespace','name':'n','tools':[{'type':'function','strict':false," + FUNCTION
                                + "}]},{'type':'web_search','external_web_access':true}]"),
                Dialect.MESSAGES,
                List.of(
                        "'system':[{'type':'text','text':'Help.','cache_control':{'type':'ephemeral'}}]",
                        "'tools':[{'name':'weather','eager_input_streaming':true,'cache_control':{'type':'ephemeral'},"
                                + "'input_schema':" + SCHEMA + "}],'tool_choice':{'type':'any',"
                                + "'disable_parallel_tool_use':true}",
                        Dialect.MESSAGES.tools + ",'tool_choice':{'type':'auto'}",
                        "'metadata':{'user_id':'a'}"),
                Dialect.OLLAMA,
                List.of("'format':'json'", "'format':" + SCHEMA, "'keep_alive':'5m'", Dialect.OLLAMA.tools));
        return each(dialect -> {
            try (EchoServer echo = new EchoServer()) {
                for (String fields : known.getOrDefault(dialect, List.of())) {
                    String task = dialect.task("{\"city\": \"Bern\"}", 300, false, fields);
                    String body = fields.contains("max_completion")
                            ? task.replace("\"max_tokens\":300,", "")
                            : fields.contains("'stream'") ? task.replaceFirst("\"stream\":false,", "") : task;
                    HttpResponse<String> response =
                            echo.server.post(dialect.path + (dialect == Dialect.MESSAGES ? "?beta=true" : ""), body);
                    assertThat(response.statusCode())
                            .as(fields + ": " + response.body())
                            .isEqualTo(200);
                }
                HttpResponse<String> refused =
                        echo.server.post(dialect.path, dialect.task("x", 9, false, "'unheard_of':{'a':1}"));
                assertThat(refused.statusCode()).as(refused.body()).isEqualTo(400);
                assertThat(dialect.message(TestServer.json(refused))).contains("'unheard_of'");
            }
        });
    }

    /** All copies of the text within a stream agree, and the whole answer is the same. */
    @TestFactory
    Stream<DynamicTest> answer_withReasoningTextAndACall_isTheSameWholeAndStreamed() {
        return each(dialect -> {
            try (EchoServer echo = new EchoServer()) {
                String answer = "<think>\nhm\n</think>\n\nI ask. " + CALL;
                String thinking =
                        dialect == Dialect.MESSAGES ? "'thinking':{'type':'enabled','budget_tokens':1024}" : "";
                JsonNode whole = ok(echo.server, dialect, dialect.task(answer, 2000, false, dialect.tools, thinking));
                JsonNode streamed = ok(echo.server, dialect, dialect.task(answer, 2000, true, dialect.tools, thinking));
                assertThat(dialect.end(streamed)).isEqualTo(dialect.end(whole));
                String place =
                        switch (dialect) {
                            case CHAT -> "/choices/0/message/tool_calls";
                            case RESPONSES -> "/output";
                            case MESSAGES -> "/content";
                            case OLLAMA -> "/message";
                        };
                assertThat(withoutIds(streamed.at(place))).isEqualTo(withoutIds(whole.at(place)));
                assertThat(whole.at(place).toString()).contains("weather", "Bern");
                if (dialect == Dialect.CHAT) {
                    for (String text : List.of("content", "reasoning_content")) {
                        assertThat(streamed.at("/choices/0/message/" + text))
                                .isEqualTo(whole.at("/choices/0/message/" + text));
                    }
                }
                assertThat(whole.toString()).contains("hm", "I ask.");
            }
        });
    }

    private static JsonNode withoutIds(JsonNode node) {
        JsonNode copy = node.deepCopy();
        for (String id : List.of("id", "call_id")) {
            copy.findParents(id).forEach(parent -> ((ObjectNode) parent).remove(id));
        }
        return copy;
    }

    @TestFactory
    Stream<DynamicTest> stream_withoutTokens_getsSignsOfLife() {
        Duration pause = Duration.ofSeconds(10);
        return each(dialect -> {
            Semaphore steps = new Semaphore(0);
            ManualTimers time = new ManualTimers();
            TestServer.Builder builder = TestServer.builder()
                    .config(TestServer.config().heartbeat(pause).build())
                    .timers(time)
                    .onForward(batch -> steps.acquireUninterruptibly());
            try (TestServer waiting = builder.start();
                    Permits _ = () -> steps.release(1000);
                    RawClient client = new RawClient(waiting)) {
                client.send(RawClient.post(dialect.path, dialect.task("hi", 5, true)));
                client.rest(""); // the head
                String sign =
                        switch (dialect) {
                            case CHAT -> ": waiting";
                            case RESPONSES -> "event: keepalive"; // Codex does not count a comment
                            case MESSAGES -> "event: ping";
                            case OLLAMA -> " ";
                        };
                for (int i = 0; i < 2; i++) {
                    time.awaitTimer(pause);
                    time.advance(pause);
                    String line = client.line();
                    while (!line.equals(sign)) { // the time limit of the test ends it
                        line = client.line();
                    }
                }
            }
        });
    }

    @TestFactory
    Stream<DynamicTest> refusal_ofAnOverloadedServer_saysWhenToComeBack() {
        return each(dialect -> {
            Semaphore steps = new Semaphore(0);
            Semaphore begun = new Semaphore(0);
            try (TestServer full = TestServer.builder()
                            .maxSequences(1)
                            .maxQueued(1)
                            .onForward(batch -> {
                                begun.release();
                                steps.acquireUninterruptibly();
                            })
                            .start();
                    Permits _ = () -> steps.release(1000);
                    QuireServer loading = QuireServer.bind(TestServer.config().build(), new ServerMetrics())) {
                Request request = new Request(
                        new int[] {3},
                        SamplingParams.builder().build(),
                        null,
                        Scheduling.DEFAULT.withTenant("address 127.0.0.1", 1));
                full.engine.submit(request);
                begun.acquire();
                full.engine.submit(request);
                String body = dialect.task("hi", 5, true);
                checkRefusal(dialect, 429, full.post(dialect.path, body));
                HttpRequest early = HttpRequest.newBuilder(
                                URI.create("http://127.0.0.1:" + loading.port() + dialect.path))
                        .header("Content-Type", "application/json")
                        .POST(HttpRequest.BodyPublishers.ofString(body))
                        .build();
                checkRefusal(dialect, 503, full.http.send(early, HttpResponse.BodyHandlers.ofString()));
            }
        });
    }

    private static void checkRefusal(Dialect dialect, int status, HttpResponse<String> response) {
        assertThat(response.statusCode()).as(response.body()).isEqualTo(status);
        assertThat(response.headers().firstValue("Retry-After").orElse("")).matches("[1-9]|[1-5][0-9]");
        assertThat(dialect.message(TestServer.json(response))).isNotBlank();
    }

    @TestFactory
    Stream<DynamicTest> error_hasTheShapeOfItsApi() {
        return each(dialect -> {
            try (EchoServer echo = new EchoServer()) {
                for (Map.Entry<String, Integer> wrong : Map.of(
                                "{",
                                400,
                                "[]",
                                400,
                                dialect.task("x", -7, false),
                                400,
                                dialect.task("x", 5, false).replace("fake", "other"),
                                404,
                                dialect.task("x".repeat(9000), 5, true),
                                400)
                        .entrySet()) {
                    HttpResponse<String> response = echo.server.post(dialect.path, wrong.getKey());
                    if (dialect == Dialect.OLLAMA && wrong.getKey().contains("-7")) {
                        continue; // every negative number is no limit there
                    }
                    assertThat(response.statusCode())
                            .as(wrong.getKey() + ": " + response.body())
                            .isEqualTo(wrong.getValue());
                    assertThat(dialect.message(TestServer.json(response))).isNotBlank();
                }
            }
        });
    }
}
