package quire.server;

import static java.util.Map.entry;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import quire.server.anthropic.MessagesParameters;
import quire.server.api.Json;
import quire.server.api.Parameter;
import quire.server.api.Parameter.Place;
import quire.server.api.Parameter.Treatment;
import quire.server.batch.BatchParameters;
import quire.server.http.Handler;
import quire.server.http.Response;
import quire.server.http.Route;
import quire.server.ollama.OllamaParameters;
import quire.server.openai.ParameterTable;
import quire.server.responses.ResponsesParameters;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * The description of all paths in the form of OpenAPI 3.1, at {@code /openapi.json}. It is made of the routes that are served
 * and of the tables against which requests are checked, so it names exactly the paths and parameters that are accepted.
 */
final class OpenApi {
    private static final String FORMAT = "3.1.0";

    /** Parameters that are objects with parameters of their own. */
    private static final Map<String, Place> OBJECTS =
            Map.of("stream_options", Place.STREAM_OPTIONS, "options", Place.OLLAMA_OPTIONS);

    /**
     * What a route does.
     *
     * @param body where its parameters are, the first place before the second one; empty if it has none, or none that a
     *     table lists
     */
    private record About(String summary, List<Place> body) {
        About(String summary, Place... body) {
            this(summary, List.of(body));
        }
    }

    /** By method and first path. */
    private static final Map<String, About> ABOUT = Map.ofEntries(
            entry("POST /v1/chat/completions", new About("Answers a conversation.", Place.CHAT)),
            entry("POST /v1/completions", new About("Continues texts.", Place.COMPLETIONS)),
            entry(
                    "POST /infill",
                    new About("Fills a gap between two texts, as llama.cpp does.", Place.INFILL, Place.COMPLETIONS)),
            entry("POST /v1/embeddings", new About("Gives vectors of texts.", Place.EMBEDDINGS)),
            entry("POST /v1/rerank", new About("Sorts documents by how well they fit a query.", Place.RERANK)),
            entry("POST /v1/score", new About("Compares texts.", Place.SCORE)),
            entry("GET /v1/models", new About("Lists the names of the model.")),
            entry("GET /v1/models/*", new About("Describes one name of the model.")),
            entry("GET /v1/requests/*", new About("Tells what happened to one of the last requests.")),
            entry("GET /v1/engine", new About("Shows what the engine does at this moment.")),
            entry("POST /v1/responses", new About("Answers in the form of OpenAI's Responses.", Place.RESPONSES)),
            entry("GET /v1/responses/*", new About("Gives a stored response.")),
            entry("DELETE /v1/responses/*", new About("Deletes a stored response.")),
            entry("POST /v1/files", new About("Keeps a file of requests, sent as a form.")),
            entry("GET /v1/files", new About("Lists files.")),
            entry("GET /v1/files/*", new About("Describes a file.")),
            entry("GET /v1/files/*/content", new About("Gives the content of a file.")),
            entry("DELETE /v1/files/*", new About("Deletes a file.")),
            entry("POST /v1/batches", new About("Answers the requests of a file in the background.", Place.BATCHES)),
            entry("GET /v1/batches", new About("Lists batches.")),
            entry("GET /v1/batches/*", new About("Describes a batch.")),
            entry("POST /v1/batches/*/cancel", new About("Cancels a batch.")),
            entry("POST /tokenize", new About("Converts text to tokens.", Place.TOKENIZE)),
            entry("POST /detokenize", new About("Converts tokens to text.", Place.DETOKENIZE)),
            entry("POST /apply-template", new About("Converts a conversation to text.", Place.CHAT)),
            entry("POST /v1/messages", new About("Answers in the form of Anthropic's Messages.", Place.MESSAGES)),
            entry("POST /v1/messages/count_tokens", new About("Counts tokens of a message.", Place.COUNT_TOKENS)),
            entry("POST /api/chat", new About("Answers in the form of Ollama's chats.", Place.OLLAMA_CHAT)),
            entry("POST /api/generate", new About("Answers in the form of Ollama.", Place.OLLAMA_GENERATE)),
            entry("POST /api/embed", new About("Gives vectors in the form of Ollama.", Place.OLLAMA_EMBED)),
            entry("POST /api/embeddings", new About("Gives a vector in Ollama's older form.", Place.OLLAMA_EMBEDDINGS)),
            entry("GET /api/version", new About("Names the version of Ollama's API.")),
            entry("GET /api/tags", new About("Lists the names of the model as Ollama does.")),
            entry("GET /api/ps", new About("Lists the loaded model as Ollama does.")),
            entry("POST /api/show", new About("Describes the model as Ollama does.")),
            entry("POST /api/pull", new About("Succeeds for a model that is served.")),
            entry("POST /api/create", new About("Cannot change models.")),
            entry("DELETE /api/delete", new About("Cannot delete models.")),
            entry("GET /health/live", new About("Tells whether the process works.")),
            entry("GET /health", new About("Tells whether the server accepts requests.")),
            entry("GET /health/progress", new About("Tells whether work goes on.")),
            entry("GET /load", new About("Counts the requests that run or wait.")),
            entry("GET /metrics", new About("Gives metrics for Prometheus.")),
            entry("GET /version", new About("Names the version of Quire.")),
            entry("GET /openapi.json", new About("Gives this description.")),
            entry("GET /", new About("Gives the web page.")),
            entry("GET /page/*", new About("Gives a file of the web page.")));

    private static final List<Parameter> PARAMETERS = Stream.of(
                    ParameterTable.ROWS,
                    MessagesParameters.ROWS,
                    ResponsesParameters.ROWS,
                    OllamaParameters.ROWS,
                    BatchParameters.ROWS)
            .flatMap(List::stream)
            .toList();

    private final List<Route> routes;
    private final String ownPath;
    private final String rootPath;
    private byte @Nullable [] document;

    /**
     * The description of these routes and of its own.
     *
     * @param ownPath where it is served
     * @param rootPath the path under which a proxy offers the server; may be empty
     */
    OpenApi(List<Route> routes, String ownPath, String rootPath) {
        this.routes = routes;
        this.ownPath = ownPath;
        this.rootPath = rootPath;
    }

    /** The description, which the first call writes: at the start of a server it would take a tenth of a second. */
    synchronized Response response() {
        byte[] written = document;
        if (written == null) {
            written = Json.bytes(document());
            document = written;
        }
        return Response.json(200, written);
    }

    /** The version of Quire, from a file that the build writes. */
    static String version() {
        try (InputStream in = OpenApi.class.getResourceAsStream("version.txt")) {
            return in == null ? "unknown" : new String(in.readAllBytes(), StandardCharsets.UTF_8).strip();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** The response for {@code GET /version}. */
    static Response versionResponse() {
        return Response.json(
                200, Json.bytes(JsonNodeFactory.instance.objectNode().put("version", version())));
    }

    /** @throws IllegalStateException if a route has no description here */
    private ObjectNode document() {
        ObjectNode root = JsonNodeFactory.instance.objectNode().put("openapi", FORMAT);
        root.putObject("info").put("title", "Quire").put("version", version());
        if (!rootPath.isEmpty()) {
            root.putArray("servers").addObject().put("url", rootPath);
        }
        ObjectNode schemes = root.putObject("components").putObject("securitySchemes");
        schemes.putObject("bearer").put("type", "http").put("scheme", "bearer");
        schemes.putObject("key").put("type", "apiKey").put("in", "header").put("name", "x-api-key");
        ObjectNode paths = root.putObject("paths");
        for (Route route : routes) {
            String key = route.method() + " " + route.paths().getFirst();
            for (String path : route.paths()) {
                boolean form = route.handler() instanceof Handler.Upload;
                describe(paths, route.method(), path, route.open(), form, key);
            }
        }
        describe(paths, "GET", ownPath, true, false, "GET " + ownPath);
        return root;
    }

    private static void describe(ObjectNode paths, String method, String path, boolean open, boolean form, String key) {
        About about = ABOUT.get(key);
        if (about == null) {
            throw new IllegalStateException("the route " + key + " has no description");
        }
        ObjectNode operation = paths.withObjectProperty(path.replace("*", "{id}"))
                .putObject(method.toLowerCase(Locale.ROOT))
                .put("summary", about.summary);
        if (!open) {
            operation.putArray("security").addObject().putArray("bearer");
            operation.withArrayProperty("security").addObject().putArray("key");
        }
        if (path.contains("*")) {
            ObjectNode id = operation.putArray("parameters").addObject();
            id.put("name", "id").put("in", "path").put("required", true);
            id.putObject("schema").put("type", "string");
        }
        if (method.equals("POST")) {
            ObjectNode schema = operation
                    .putObject("requestBody")
                    .put("required", true)
                    .putObject("content")
                    .putObject(form ? "multipart/form-data" : "application/json")
                    .putObject("schema")
                    .put("type", "object");
            if (form) {
                ObjectNode fields = schema.putObject("properties");
                fields.putObject("purpose").put("type", "string");
                fields.putObject("file").put("type", "string").put("format", "binary");
            }
            if (!about.body.isEmpty()) {
                describe(schema, about.body);
            }
        }
        ObjectNode responses = operation.putObject("responses");
        responses.putObject("200").put("description", "The answer.");
        responses
                .putObject("default")
                .put("description", "An error in the form of the API, which names the parameter.");
    }

    /** Adds the accepted parameters of some places; what one says of a name counts before what the next one says. */
    private static void describe(ObjectNode schema, List<Place> places) {
        ObjectNode properties = schema.putObject("properties");
        Set<String> names = new HashSet<>();
        for (Place place : places) {
            PARAMETERS.stream()
                    .filter(row -> row.places().contains(place) && names.add(row.name()))
                    .filter(row -> row.treatment() != Treatment.REFUSED)
                    .forEach(row -> describe(properties, row));
        }
    }

    private static void describe(ObjectNode properties, Parameter row) {
        ObjectNode property = properties.putObject(row.name());
        property.put(
                "description",
                switch (row.treatment()) {
                    case SYNONYM -> "the same as " + row.instead();
                    case HARMLESS -> row.meaning() + "; does not change the answer";
                    case COMPUTED, REFUSED -> row.meaning();
                });
        Place object = OBJECTS.get(row.name());
        if (object != null && PARAMETERS.stream().anyMatch(each -> each.places().contains(object))) {
            property.put("type", "object");
            describe(property, List.of(object));
        }
    }
}
