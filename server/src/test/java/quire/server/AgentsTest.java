package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/** Requests of real agents and client libraries, captured, with other texts; in {@code ../../shared/agents}. */
@Timeout(120)
class AgentsTest {
    private static final Path FOLDER = Path.of("..", "..", "shared", "agents");

    @Test
    void requests_ofAgents_areAnswered() throws IOException, InterruptedException {
        assumeTrue(Files.isDirectory(FOLDER), "no folder " + FOLDER);
        TestServer.Builder builder = TestServer.builder()
                .context(100_000)
                .template(ToolsTest.template())
                .script(prompt -> "Done.");
        int withTools = 0;
        try (TestServer server = builder.start();
                Stream<Path> files = Files.list(FOLDER)) {
            for (Path file : files.sorted().toList()) {
                JsonNode captured = Json.read(Files.readString(file));
                String path = captured.get("path").stringValue();
                if (captured.get("body") == null || !captured.get("body").isObject()) {
                    continue;
                }
                ObjectNode body = (ObjectNode) captured.get("body").deepCopy();
                body.put("model", TestServer.MODEL).put("temperature", 0);
                HttpResponse<String> response =
                        server.post(path.startsWith("/v1") ? path : "/v1" + path, body.toString());
                assertThat(response.statusCode())
                        .as(file + ": " + response.body())
                        .isLessThan(500);
                boolean isChat = path.endsWith("/chat/completions");
                if (isChat && (body.get("tools") != null || body.get("functions") != null)) {
                    withTools++;
                    assertThat(response.statusCode())
                            .as(file + ": " + response.body())
                            .isEqualTo(200);
                    assertThat(response.body()).contains("\"finish_reason\":\"");
                }
            }
        }
        assertThat(withTools).isGreaterThan(5);
    }

    /** What a client may send in place of each field. */
    private static final List<String> OTHERS = List.of("null", "5", "\"x\"", "[]", "{}", "[5]", "true");

    @Test
    void requests_withAChangedField_areAnsweredOrRefusedWithAReason() throws IOException, InterruptedException {
        assumeTrue(Files.isDirectory(FOLDER), "no folder " + FOLDER);
        TestServer.Builder builder = TestServer.builder()
                .context(100_000)
                .template(ToolsTest.template())
                .script(prompt -> "Done.");
        int refused = 0;
        int answered = 0;
        try (TestServer server = builder.start();
                Stream<Path> files = Files.list(FOLDER)) {
            for (Path file : files.sorted().toList()) {
                JsonNode captured = Json.read(Files.readString(file));
                JsonNode sent = captured.get("body");
                if (sent == null
                        || !sent.isObject()
                        || !captured.get("path").stringValue().endsWith("/chat/completions")) {
                    continue;
                }
                ObjectNode body = shortened((ObjectNode) sent.deepCopy());
                List<ObjectNode> places = new ArrayList<>(
                        List.of(body, (ObjectNode) body.get("messages").get(0)));
                if (body.get("tools") != null) {
                    ObjectNode tool = (ObjectNode) body.get("tools").get(0);
                    places.add(tool);
                    places.add((ObjectNode) tool.get("function"));
                    places.add((ObjectNode) tool.get("function").get("parameters"));
                }
                for (ObjectNode place : places) {
                    for (String field : List.copyOf(place.propertyNames())) {
                        if (field.endsWith("_tokens")) {
                            continue; // without it answers would be long
                        }
                        JsonNode before = place.get(field);
                        for (int i = -1; i < OTHERS.size(); i++) {
                            if (i < 0) {
                                place.remove(field);
                            } else {
                                place.set(field, Json.read(OTHERS.get(i)));
                            }
                            HttpResponse<String> response = server.post("/v1/chat/completions", body.toString());
                            String what = file + ", " + field + " " + place.get(field) + ": " + response.body();
                            assertThat(response.statusCode()).as(what).isIn(200, 400, 404);
                            if (response.statusCode() == 200) {
                                answered++;
                                assertThat(response.body()).as(what).contains("\"finish_reason\":\"");
                            } else {
                                refused++;
                                assertThat(TestServer.error(response)
                                                .get("message")
                                                .stringValue())
                                        .as(what)
                                        .isNotBlank();
                            }
                        }
                        place.set(field, before);
                    }
                }
            }
        }
        assertThat(answered).isGreaterThan(100);
        assertThat(refused).isGreaterThan(100);
    }

    /** Few messages and tools, and one token, because there are many such requests. */
    private static ObjectNode shortened(ObjectNode body) {
        body.put("model", TestServer.MODEL).put("temperature", 0);
        body.put(body.get("max_completion_tokens") == null ? "max_tokens" : "max_completion_tokens", 1);
        for (String list : List.of("messages", "tools")) {
            ArrayNode all = (ArrayNode) body.get(list);
            while (all != null && all.size() > 2) {
                all.remove(all.size() - 1);
            }
        }
        return body;
    }
}
