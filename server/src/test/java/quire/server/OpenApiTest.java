package quire.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.URI;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import quire.server.api.Json;
import tools.jackson.databind.JsonNode;

/** The description at {@code /openapi.json} and the server have the same paths and parameters. */
@Timeout(60)
class OpenApiTest {
    private static final Pattern PATH = Pattern.compile("\"(/[a-z0-9_./*-]*)\"");

    private static TestServer server;

    @BeforeAll
    static void start() {
        server = TestServer.start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    private static JsonNode document() throws Exception {
        return TestServer.json(server.get("/openapi.json"));
    }

    private static HttpResponse<String> send(String method, String path, String body) throws Exception {
        return server.http.send(
                HttpRequest.newBuilder(URI.create(server.url() + path))
                        .header("Content-Type", "application/json")
                        .method(method, HttpRequest.BodyPublishers.ofString(body))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
    }

    @Test
    void paths_ofTheDescription_areServed() throws Exception {
        int operations = 0;
        for (Map.Entry<String, JsonNode> path : document().get("paths").properties()) {
            for (Map.Entry<String, JsonNode> operation : path.getValue().properties()) {
                HttpResponse<String> response = send(
                        operation.getKey().toUpperCase(java.util.Locale.ROOT),
                        path.getKey().replace("{id}", "nothing"),
                        "");
                assertThat(response.statusCode())
                        .as("%s %s: %s", operation.getKey(), path.getKey(), response.body())
                        .isNotEqualTo(405);
                assertThat(response.statusCode() == 404 && !path.getKey().contains("{id}"))
                        .as("%s %s: %s", operation.getKey(), path.getKey(), response.body())
                        .isFalse();
                assertThat(operation.getValue().get("summary").stringValue()).isNotEmpty();
                assertThat(operation.getValue().has("responses")).isTrue();
                assertThat(operation.getValue().has("parameters"))
                        .isEqualTo(path.getKey().contains("{id}"));
                operations++;
            }
        }
        assertThat(operations).isGreaterThan(45);
    }

    /** Reads the paths of the source, so that a path cannot be left out of the description. */
    @Test
    void paths_ofTheServer_areDescribed() throws Exception {
        Set<String> described = new HashSet<>();
        document().get("paths").propertyNames().forEach(path -> described.add(path.replace("{id}", "*")));
        Set<String> served = new TreeSet<>();
        Matcher path = PATH.matcher(Files.readString(Path.of("src/main/java/quire/server/Routes.java")));
        while (path.find()) {
            served.add(path.group(1));
        }
        assertThat(served).hasSizeGreaterThan(40);
        assertThat(described).containsExactlyInAnyOrderElementsOf(served);
    }

    @Test
    void parameters_ofTheDescription_areKnownAndOthersAreNot() throws Exception {
        int parameters = 0;
        for (Map.Entry<String, JsonNode> path : document().get("paths").properties()) {
            JsonNode properties = path.getValue().at("/post/requestBody/content/application~1json/schema/properties");
            for (String name : properties.propertyNames()) {
                HttpResponse<String> response = send("POST", path.getKey(), "{\"" + name + "\":{\"x\":1}}");
                assertThat(response.body())
                        .as("%s of %s", name, path.getKey())
                        .doesNotContain("Unknown parameter: '" + name + "'");
                parameters++;
            }
            if (!properties.isMissingNode()) {
                String model = properties.has("model") ? "\"model\":\"fake\"," : "";
                HttpResponse<String> response = send("POST", path.getKey(), "{" + model + "\"nonsense_\":{\"x\":1}}");
                assertThat(response.statusCode())
                        .as("%s: %s", path.getKey(), response.body())
                        .isEqualTo(400);
                assertThat(response.body()).as(path.getKey()).contains("nonsense_");
            }
        }
        assertThat(parameters).isGreaterThan(200);
    }

    /** It has what completions have, except where it differs. */
    @Test
    void infill_hasItsOwnParametersAndThoseOfCompletions() throws Exception {
        JsonNode properties = document()
                .get("paths")
                .get("/infill")
                .at("/post/requestBody/content/application~1json/schema/properties");
        assertThat(properties.propertyNames())
                .contains("input_prefix", "input_suffix", "input_extra", "prompt", "n_predict", "temperature", "stream")
                .doesNotContain("suffix", "n", "best_of", "logprobs");
        assertThat(properties.get("prompt").get("description").stringValue()).contains("input_prefix");
    }

    @Test
    void version_isThatOfTheDescription() throws Exception {
        String version = TestServer.json(server.get("/version")).get("version").stringValue();
        assertThat(version).isNotEmpty().isNotEqualTo("unknown");
        assertThat(document().get("info").get("version").stringValue()).isEqualTo(version);
        assertThat(document().get("openapi").stringValue()).startsWith("3.1");
        assertThat(Json.text(document())).contains("\"bearer\"");
    }
}
