package quire.server.ollama;

import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import quire.server.api.AnswerService;
import quire.server.api.ChatReader;
import quire.server.api.Json;
import quire.server.api.ServedModel;
import quire.server.api.Vectors;
import quire.server.http.ClientGoneException;
import quire.server.http.Exchange;
import quire.server.http.HttpException;
import quire.server.http.Response;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Handlers of Ollama's paths. */
public final class OllamaApi {
    /** The version of Ollama whose API this is: clients ask for one that has tools and reasoning. */
    private static final String VERSION = "0.12.6";

    /** The model stays loaded as long as the server runs. */
    private static final String NEVER = "9999-12-31T23:59:59Z";

    private static final int CANNOT = 501;

    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    private final ServedModel model;
    private final AnswerService answers;
    private final OllamaReader reader;
    private final Vectors vectors;
    private final String started = Instant.now().toString();

    /**
     * Handlers that answer with this model.
     *
     * @param chats reads requests that are brought into the form of a chat
     * @param vectors computes vectors of texts
     * @param refuseUnknown whether a request with an unknown parameter is refused
     */
    public OllamaApi(
            ServedModel model, AnswerService answers, ChatReader chats, Vectors vectors, boolean refuseUnknown) {
        this.model = model;
        this.answers = answers;
        this.vectors = vectors;
        this.reader = new OllamaReader(model, chats, vectors, refuseUnknown);
    }

    /** {@code POST /api/chat}. */
    public void chat(Exchange exchange) throws ClientGoneException, InterruptedException {
        answer(exchange, answers.read(exchange, reader::chat));
    }

    /** {@code POST /api/generate}. */
    public void generate(Exchange exchange) throws ClientGoneException, InterruptedException {
        answer(exchange, answers.read(exchange, reader::generate));
    }

    private void answer(Exchange exchange, OllamaReader.Read read) throws ClientGoneException, InterruptedException {
        if (read.answer() != null) {
            answers.answer(exchange, read.answer());
        } else {
            exchange.send(Response.json(200, Json.bytes(read.loaded())));
        }
    }

    /** {@code POST /api/embed}: vectors of length 1. */
    public void embed(Exchange exchange) throws ClientGoneException, InterruptedException {
        long start = System.nanoTime();
        OllamaReader.Texts read = answers.read(exchange, reader::embed);
        ObjectNode root = JSON.objectNode().put("model", read.name());
        ArrayNode all = root.putArray("embeddings");
        for (float[] vector : compute(exchange, read)) {
            all.add(Json.numbers(Vectors.normalized(vector, read.dimensions())));
        }
        exchange.send(json(root.put("total_duration", System.nanoTime() - start)
                .put("load_duration", 0)
                .put("prompt_eval_count", Vectors.count(read.prompts()))));
    }

    /** {@code POST /api/embeddings}: the vector of one text as the model gives it. */
    public void embeddings(Exchange exchange) throws ClientGoneException, InterruptedException {
        OllamaReader.Texts read = answers.read(exchange, reader::embeddings);
        List<float[]> computed = compute(exchange, read);
        ObjectNode root = JSON.objectNode();
        root.set("embedding", computed.isEmpty() ? JSON.arrayNode() : Json.numbers(computed.getFirst()));
        exchange.send(json(root));
    }

    private List<float[]> compute(Exchange exchange, OllamaReader.Texts read)
            throws ClientGoneException, InterruptedException {
        return read.prompts().isEmpty() ? List.of() : vectors.compute(exchange, null, null, 0, read.prompts());
    }

    /** {@code GET /api/version}. */
    public Response version(Exchange exchange) {
        return json(JSON.objectNode().put("version", VERSION));
    }

    /** {@code GET /api/tags}. */
    public Response tags(Exchange exchange) {
        ObjectNode root = JSON.objectNode();
        ArrayNode models = root.putArray("models");
        model.names().forEach(name -> models.add(entry(name).put("modified_at", started)));
        return json(root);
    }

    /** {@code GET /api/ps}. */
    public Response running(Exchange exchange) {
        ObjectNode root = JSON.objectNode();
        root.putArray("models")
                .add(entry(model.name())
                        .put("expires_at", NEVER)
                        .put("size_vram", 0)
                        .put("context_length", model.engine().maxContext()));
        return json(root);
    }

    private ObjectNode entry(String name) {
        ObjectNode entry = JSON.objectNode()
                .put("name", name)
                .put("model", name)
                .put("size", 0)
                .put("digest", "");
        entry.set("details", details());
        return entry;
    }

    private static ObjectNode details() {
        ObjectNode details =
                JSON.objectNode().put("parent_model", "").put("format", "gguf").put("family", "");
        details.putArray("families");
        return details.put("parameter_size", "").put("quantization_level", "");
    }

    /** {@code POST /api/show}. */
    public void show(Exchange exchange) throws ClientGoneException, InterruptedException {
        exchange.send(json(answers.read(exchange, body -> {
            reader.model(body);
            ObjectNode root = JSON.objectNode()
                    .put("license", "")
                    .put("modelfile", "")
                    .put("parameters", parameters())
                    .put("template", "")
                    .put("modified_at", started);
            root.set("details", details());
            root.putObject("model_info")
                    .put("general.context_length", model.engine().maxContext());
            ArrayNode capabilities = root.putArray("capabilities").add("completion");
            if (vectors.width() > 0) {
                capabilities.add("embedding");
            }
            if (model.toolCallFormat() != null) {
                capabilities.add("tools");
            }
            if (model.reasoningFormat() != null) {
                capabilities.add("thinking");
            }
            return root;
        })));
    }

    private String parameters() {
        List<String> lines = new ArrayList<>();
        model.samplingDefaults().values().forEach((name, value) -> lines.add(name + " " + value));
        return String.join("\n", lines);
    }

    /** {@code POST /api/pull}: the models that are served need not be fetched, and no others are. */
    public void pull(Exchange exchange) throws ClientGoneException, InterruptedException {
        boolean stream = answers.read(exchange, body -> {
            reader.model(body);
            return body.get("stream") == null || body.bool("stream", true);
        });
        byte[] line = Json.bytes(JSON.objectNode().put("status", "success"));
        exchange.send(Response.of(200, stream ? OllamaFormat.LINES : "application/json", line));
    }

    /** {@code DELETE /api/delete}, {@code POST /api/create}, {@code copy} and {@code push}: answers that it cannot. */
    public Response cannot(Exchange exchange) {
        byte[] body = new OllamaErrors()
                .body(HttpException.refused(
                        CANNOT,
                        "not_supported",
                        "Models are files of the operator here: the server cannot make, copy, send or delete one."));
        return Response.json(CANNOT, body);
    }

    private static Response json(ObjectNode root) {
        return Response.json(200, Json.bytes(root));
    }
}
