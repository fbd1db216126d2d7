package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.EnumMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.model.BuiltInModel;
import quire.server.AgentRulesTest.Dialect;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/** Requests of real agents and client libraries, captured, with other texts; in {@code ../../shared/agents}. */
@Timeout(300)
class AgentsTest {
    private static final Path FOLDER = Path.of("..", "..", "shared", "agents");

    private static final int FILES = 25;

    /** The greatest answer, because some objects that a constraint demands have no end of their own. */
    private static final int TOKENS = 60;

    /** The captured requests by the names of their files. */
    private static Map<String, Captured> captured() throws IOException {
        assumeTrue(Files.isDirectory(FOLDER), "no folder " + FOLDER);
        Map<String, Captured> all = new TreeMap<>();
        try (Stream<Path> files = Files.list(FOLDER)) {
            for (Path file : files.toList()) {
                JsonNode read = Json.read(Files.readString(file));
                String path = read.get("path").stringValue();
                Dialect dialect = Dialect.at(path);
                ObjectNode body = (ObjectNode) read.get("body").deepCopy();
                body.put("model", TestServer.MODEL);
                body.remove("thinking"); // its budget must fit the limit of tokens
                if (dialect == Dialect.OLLAMA) {
                    body.putObject("options").put("temperature", 0).put("num_predict", TOKENS);
                } else {
                    body.put("temperature", 0);
                    body.remove("max_completion_tokens");
                    body.put(dialect == Dialect.RESPONSES ? "max_output_tokens" : "max_tokens", TOKENS);
                }
                all.put(String.valueOf(file.getFileName()), new Captured(dialect, path, body));
            }
        }
        assertThat(all).hasSize(FILES);
        return all;
    }

    /** @param path with the query that was sent */
    private record Captured(Dialect dialect, String path, ObjectNode body) {}

    private static TestServer start() {
        return TestServer.builder()
                .context(100_000)
                .template(ToolsTest.template())
                .script(prompt -> "Done.")
                .start();
    }

    @Test
    void requests_ofAgents_areAnsweredWholeAndAsStreams() throws IOException, InterruptedException {
        try (TestServer server = start()) {
            for (Map.Entry<String, Captured> each : captured().entrySet()) {
                Captured captured = each.getValue();
                Dialect dialect = captured.dialect;
                ObjectNode body = captured.body;
                body.put("stream", false);
                body.remove("stream_options");
                HttpResponse<String> whole = server.post(captured.path, body.toString());
                assertThat(whole.statusCode())
                        .as(each.getKey() + ": " + whole.body())
                        .isEqualTo(200);
                body.put("stream", true);
                HttpResponse<String> streamed = server.post(captured.path, body.toString());
                assertThat(streamed.statusCode())
                        .as(each.getKey() + ": " + streamed.body())
                        .isEqualTo(200);
                String end = dialect.end(TestServer.json(whole));
                assertThat(end).as(each.getKey() + ": " + whole.body()).isNotEmpty();
                assertThat(dialect.end(dialect.joined(streamed.body())))
                        .as(each.getKey() + ": " + streamed.body())
                        .isEqualTo(end);
            }
        }
    }

    /** A schema that cannot be enforced is an error where the request demands a call, and any object elsewhere. */
    @Test
    void tools_ofAgents_areAllEnforced() throws IOException, InterruptedException {
        int tools = 0;
        try (TestServer server = start()) {
            for (Map.Entry<String, Captured> each : captured().entrySet()) {
                Captured captured = each.getValue();
                if (captured.dialect == Dialect.OLLAMA
                        || captured.body.path("tools").isEmpty()) {
                    continue; // Ollama's API demands no call
                }
                tools += captured.body.get("tools").size();
                if (captured.dialect == Dialect.MESSAGES) {
                    captured.body.putObject("tool_choice").put("type", "any");
                } else {
                    captured.body.put("tool_choice", "required");
                }
                captured.body.put("stream", false);
                captured.body.remove("stream_options");
                captured.body.put(captured.dialect == Dialect.RESPONSES ? "max_output_tokens" : "max_tokens", 1);
                HttpResponse<String> response = server.post(captured.path, captured.body.toString());
                assertThat(response.statusCode())
                        .as(each.getKey() + ": " + response.body())
                        .isEqualTo(200);
            }
        }
        assertThat(tools).isGreaterThan(80);
    }

    /** The second turn of a task, also with the request for a title between the turns. */
    @Test
    void turn2_ofEachCapturedPair_findsEveryWholePageOfTurn1() throws IOException, InterruptedException {
        Map<String, Captured> all = captured();
        List<String> prompts = Collections.synchronizedList(new ArrayList<>());
        try (TestServer server = TestServer.builder()
                .context(100_000)
                .template(ToolsTest.template())
                .script(prompt -> {
                    prompts.add(prompt);
                    return "Done.";
                })
                .start()) {
            for (String program : List.of("codex", "opencode")) {
                long[] hits = new long[3];
                List<String> files = List.of(program + "-turn1.json", "opencode-title.json", program + "-turn2.json");
                prompts.clear();
                for (int i = 0; i < files.size(); i++) {
                    Captured captured = Objects.requireNonNull(all.get(files.get(i)));
                    captured.body.put("stream", false);
                    captured.body.remove("stream_options");
                    long before = server.engine.stats().prefixCache().hitTokens();
                    assertThat(server.post(captured.path, captured.body.toString())
                                    .statusCode())
                            .isEqualTo(200);
                    hits[i] = server.engine.stats().prefixCache().hitTokens() - before;
                }
                byte[] first = prompts.getFirst().getBytes(StandardCharsets.UTF_8);
                byte[] second = prompts.getLast().getBytes(StandardCharsets.UTF_8);
                int same = Arrays.mismatch(first, second); // a token is a byte
                assertThat(same).as(program).isGreaterThan(first.length * 9 / 10);
                assertThat(hits[2]).as(program).isEqualTo(same / 16 * 16L);
            }
        }
    }

    /** The context of the model in the box, and its chat template, which describes no tools. */
    @Test
    void requests_toTheModelInTheBox_areAnsweredOrRefusedWithAReason() throws IOException, InterruptedException {
        int answered = 0;
        try (TestServer server =
                TestServer.builder().model(BuiltInModel.QUIRE_TINY.path()).start()) {
            for (Map.Entry<String, Captured> each : captured().entrySet()) {
                Captured captured = each.getValue();
                Dialect dialect = captured.dialect;
                ObjectNode body = captured.body;
                body.put("model", server.engine.modelName());
                boolean callsTools =
                        body.path("tools").size() + body.path("functions").size() > 0;
                for (boolean stream : new boolean[] {false, true}) {
                    body.put("stream", stream);
                    if (!stream) {
                        body.remove("stream_options");
                    }
                    HttpResponse<String> response = server.post(captured.path, body.toString());
                    String what = each.getKey() + ": " + response.body();
                    if (response.statusCode() == 200) {
                        answered++;
                        JsonNode whole = stream ? dialect.joined(response.body()) : TestServer.json(response);
                        assertThat(dialect.end(whole)).as(what).isNotEmpty();
                        continue;
                    }
                    assertThat(response.statusCode()).as(what).isEqualTo(400);
                    String reason = dialect.message(TestServer.json(response));
                    assertThat(reason).as(what).containsPattern(callsTools ? "tools|functions" : "context");
                }
            }
        }
        assertThat(answered).isGreaterThan(5);
    }

    /** What a client may send in place of each field. */
    private static final List<String> OTHERS = List.of("null", "5", "\"x\"", "[]", "{}", "[5]", "true");

    @Test
    void requests_withAChangedField_areAnsweredOrRefusedWithAReason() throws IOException, InterruptedException {
        Map<Dialect, Integer> refused = new EnumMap<>(Dialect.class);
        Map<Dialect, Integer> answered = new EnumMap<>(Dialect.class);
        Set<String> done = new HashSet<>(); // each field of each place once for each dialect
        try (TestServer server = start()) {
            for (Map.Entry<String, Captured> each : captured().entrySet()) {
                Captured captured = each.getValue();
                ObjectNode body = shortened(captured.body);
                for (Map.Entry<String, ObjectNode> named : places(body).entrySet()) {
                    ObjectNode place = named.getValue();
                    for (String field : List.copyOf(place.propertyNames())) {
                        if (field.endsWith("_tokens")
                                || field.equals("options") // without it answers would be long
                                || !done.add(captured.dialect + " " + named.getKey() + " " + field)) {
                            continue;
                        }
                        JsonNode before = place.get(field);
                        for (int i = -1; i < OTHERS.size(); i++) {
                            if (i < 0) {
                                place.remove(field);
                            } else {
                                place.set(field, Json.read(OTHERS.get(i)));
                            }
                            HttpResponse<String> response = server.post(captured.path, body.toString());
                            String what =
                                    each.getKey() + ", " + field + " " + place.get(field) + ": " + response.body();
                            assertThat(response.statusCode()).as(what).isIn(200, 400, 404);
                            if (response.statusCode() == 200) {
                                answered.merge(captured.dialect, 1, Integer::sum);
                                assertThat(response.body())
                                        .as(what)
                                        .containsPattern(
                                                "\"(finish_reason|stop_reason|done_reason)\":\"|\"status\":\"[ci]");
                            } else {
                                refused.merge(captured.dialect, 1, Integer::sum);
                                assertThat(captured.dialect.message(TestServer.json(response)))
                                        .as(what)
                                        .isNotBlank();
                            }
                        }
                        place.set(field, before);
                    }
                }
            }
        }
        for (Dialect dialect : Dialect.values()) {
            assertThat(answered.get(dialect)).as("%s", dialect).isGreaterThan(20);
            assertThat(refused.get(dialect)).as("%s", dialect).isGreaterThan(20);
        }
    }

    /** The objects whose fields are changed: the body, its first and its last item, and the first tool with its schema. */
    private static Map<String, ObjectNode> places(ObjectNode body) {
        Map<String, ObjectNode> places = new LinkedHashMap<>();
        places.put("body", body);
        for (String list : List.of("messages", "input")) {
            if (body.get(list) instanceof ArrayNode items) {
                for (JsonNode item : List.of(items.get(0), items.get(items.size() - 1))) {
                    places.put(
                            item.path("role").asString("") + item.path("type").asString(""), (ObjectNode) item);
                }
            }
        }
        if (body.get("tools") instanceof ArrayNode tools) {
            ObjectNode tool = (ObjectNode) tools.get(0);
            places.put("tool", tool);
            if (tool.get("function") instanceof ObjectNode function) {
                places.put("function", function);
                tool = function;
            }
            for (String schema : List.of("parameters", "input_schema")) {
                if (tool.get(schema) instanceof ObjectNode parameters) {
                    places.put("schema", parameters);
                }
            }
        }
        return places;
    }

    /** Few items and tools, and one token, because there are many such requests. */
    private static ObjectNode shortened(ObjectNode body) {
        for (String limit : List.of("max_tokens", "max_output_tokens")) {
            if (body.has(limit)) {
                body.put(limit, 1);
            }
        }
        if (body.get("options") instanceof ObjectNode options) {
            options.put("num_predict", 1);
        }
        for (String list : List.of("messages", "input", "tools")) {
            while (body.get(list) instanceof ArrayNode all && all.size() > 2) {
                all.remove(all.size() - 1);
            }
        }
        return body;
    }
}
