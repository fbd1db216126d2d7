package quire.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;
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
}
