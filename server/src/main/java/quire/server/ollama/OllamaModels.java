package quire.server.ollama;

import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import quire.model.ModelFacts;
import quire.server.api.Fields;
import quire.server.api.Json;
import quire.server.api.ListedModel;
import quire.server.api.ModelCatalog;
import quire.server.api.Preparation;
import quire.server.http.ClientGoneException;
import quire.server.http.Exchange;
import quire.server.http.HttpException;
import quire.server.http.Response;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Handlers of Ollama's paths that tell about models, loaded or not. None of them loads one. */
public final class OllamaModels {
    /** The version of Ollama whose API this is: clients ask for one that has tools and reasoning. */
    private static final String VERSION = "0.12.6";

    /** When a model ends to be loaded that stays. */
    private static final String NEVER = "9999-12-31T23:59:59Z";

    private static final int CANNOT = 501;

    /** A request that asks to unload a model is not longer. */
    private static final int UNLOAD_BYTES = 1 << 10;

    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    private final ModelCatalog catalog;
    private final Preparation preparation;
    private final String started = Instant.now().toString();

    /** Handlers that tell about these models. */
    public OllamaModels(ModelCatalog catalog, Preparation preparation) {
        this.catalog = catalog;
        this.preparation = preparation;
    }

    /** {@code GET /api/version}. */
    public Response version(Exchange exchange) {
        return json(JSON.objectNode().put("version", VERSION));
    }

    /** {@code GET /api/tags}. */
    public Response tags(Exchange exchange) {
        ObjectNode root = JSON.objectNode();
        ArrayNode models = root.putArray("models");
        for (ListedModel model : catalog.models()) {
            model.names()
                    .forEach(name ->
                            models.add(entry(model, name, fileBytes(model)).put("modified_at", started)));
        }
        return json(root);
    }

    /** {@code GET /api/ps}. */
    public Response running(Exchange exchange) {
        ObjectNode root = JSON.objectNode();
        ArrayNode models = root.putArray("models");
        for (ListedModel model : catalog.models()) {
            if (model.loaded()) {
                Duration left = model.idleLeft();
                models.add(entry(model, model.name(), model.bytes() > 0 ? model.bytes() : fileBytes(model))
                        .put(
                                "expires_at",
                                left == null ? NEVER : Instant.now().plus(left).toString())
                        .put("size_vram", 0)
                        .put("context_length", model.maxContext()));
            }
        }
        return json(root);
    }

    private static ObjectNode entry(ListedModel model, String name, long size) {
        ObjectNode entry = JSON.objectNode()
                .put("name", name)
                .put("model", name)
                .put("size", size)
                .put("digest", "");
        entry.set("details", details(model.facts()));
        return entry;
    }

    private static long fileBytes(ListedModel model) {
        ModelFacts facts = model.facts();
        return facts == null ? 0 : facts.fileBytes();
    }

    private static ObjectNode details(@Nullable ModelFacts facts) {
        ObjectNode details = JSON.objectNode()
                .put("parent_model", "")
                .put("format", "gguf")
                .put("family", facts == null ? "" : facts.architecture());
        ArrayNode families = details.putArray("families");
        if (facts != null) {
            families.add(facts.architecture());
        }
        return details.put("parameter_size", facts == null ? "" : count(facts.parameters()))
                .put("quantization_level", facts == null ? "" : facts.weights());
    }

    /** A number as Ollama writes that of parameters: 8B, 7.6B, 494.03M. */
    static String count(long parameters) {
        for (Unit unit : Unit.values()) {
            if (parameters >= unit.size) {
                boolean whole = parameters % unit.size == 0;
                return String.format(Locale.ROOT, whole ? "%.0f%s" : unit.form, (double) parameters / unit.size, unit);
            }
        }
        return Long.toString(parameters);
    }

    /** Units of numbers of parameters, the largest first. */
    private enum Unit {
        B(1_000_000_000, "%.1f%s"),
        M(1_000_000, "%.2f%s"),
        K(1_000, "%.0f%s");

        private final long size;
        private final String form;

        Unit(long size, String form) {
            this.size = size;
            this.form = form;
        }
    }

    /** What clients look for to learn how long a prompt may be: the context is that of the server. */
    private static ObjectNode info(ListedModel model) {
        ObjectNode info = JSON.objectNode().put("general.context_length", model.maxContext());
        ModelFacts facts = model.facts();
        if (facts == null) {
            return info;
        }
        String name = facts.name().isEmpty() ? model.name() : facts.name();
        String architecture = facts.architecture();
        return info.put("general.architecture", architecture)
                .put("general.basename", name)
                .put("general.name", name)
                .put("general.parameter_count", facts.parameters())
                .put(architecture + ".context_length", model.maxContext())
                .put(architecture + ".embedding_length", facts.width())
                .put(architecture + ".block_count", facts.layers())
                .put(architecture + ".attention.head_count", facts.heads())
                .put(architecture + ".attention.head_count_kv", facts.kvHeads())
                .put(architecture + ".vocab_size", facts.vocabularySize());
    }

    /** {@code POST /api/show}. May read the model's file. */
    public void show(Exchange exchange) throws ClientGoneException, InterruptedException {
        exchange.send(json(preparation.read(exchange, body -> {
            ListedModel model = catalog.find(name(body));
            ObjectNode root = JSON.objectNode()
                    .put("license", "")
                    .put("modelfile", "")
                    .put("parameters", parameters(model))
                    .put("template", "")
                    .put("modified_at", started);
            root.set("details", details(model.facts()));
            root.set("model_info", info(model));
            ArrayNode capabilities = root.putArray("capabilities");
            model.abilities().get().forEach(capabilities::add);
            return root;
        })));
    }

    private static String parameters(ListedModel model) {
        List<String> lines = new ArrayList<>();
        model.samplingDefaults().values().forEach((name, value) -> lines.add(name + " " + value));
        return String.join("\n", lines);
    }

    private static @Nullable String name(Fields body) {
        return body.string(body.get("model") == null && body.get("name") != null ? "name" : "model");
    }

    /** {@code POST /api/pull}: the models that are served need not be fetched, and no others are. */
    public void pull(Exchange exchange) throws ClientGoneException, InterruptedException {
        boolean stream = preparation.read(exchange, body -> {
            catalog.find(name(body));
            return body.get("stream") == null || body.bool("stream", true);
        });
        byte[] line = Json.bytes(JSON.objectNode().put("status", "success"));
        exchange.send(Response.of(200, stream ? OllamaFormat.LINES : "application/json", line));
    }

    /**
     * Answers a request of {@code /api/chat} or {@code /api/generate} that only asks to unload a model, which must not be
     * loaded for it. Returns whether it was one.
     */
    public boolean unload(Exchange exchange) throws ClientGoneException, InterruptedException {
        if (exchange.bodyBytes() > UNLOAD_BYTES) {
            return false;
        }
        Fields body = Fields.parse(exchange.body());
        Duration time = OllamaReader.keepAlive(body);
        if (time == null || !time.isZero() || !OllamaReader.isEmpty(body)) {
            return false;
        }
        String asked = name(body);
        ListedModel model = catalog.find(asked);
        catalog.stay(asked, Duration.ZERO);
        ObjectNode answer = OllamaFormat.head(asked == null || asked.isEmpty() ? model.name() : asked);
        if (exchange.route().equals("/api/chat")) {
            answer.putObject("message").put("role", "assistant").put("content", "");
        } else {
            answer.put("response", "");
        }
        exchange.send(json(answer.put("done_reason", "unload").put("done", true)));
        return true;
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
