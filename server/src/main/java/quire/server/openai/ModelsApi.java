package quire.server.openai;

import quire.server.api.Json;
import quire.server.api.ListedModel;
import quire.server.api.ModelCatalog;
import quire.server.http.Exchange;
import quire.server.http.Response;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Handlers of the paths that list models, loaded or not. They do not block. */
public final class ModelsApi {
    private final ModelCatalog catalog;
    private final long created = System.currentTimeMillis() / 1000;

    /** Handlers that list these models. */
    public ModelsApi(ModelCatalog catalog) {
        this.catalog = catalog;
    }

    /** {@code GET /v1/models}. */
    public Response models(Exchange exchange) {
        ObjectNode root = JsonNodeFactory.instance.objectNode().put("object", "list");
        ArrayNode data = root.putArray("data");
        for (ListedModel model : catalog.models()) {
            model.names().forEach(name -> data.add(entry(model, name)));
        }
        return Response.json(200, Json.bytes(root));
    }

    /** {@code GET /v1/models/NAME}; without a name, all of them. */
    public Response model(Exchange exchange) {
        String asked = exchange.pathRest();
        if (asked.isEmpty()) {
            return models(exchange);
        }
        return Response.json(200, Json.bytes(entry(catalog.find(asked), asked)));
    }

    private ObjectNode entry(ListedModel model, String name) {
        ObjectNode entry = JsonNodeFactory.instance
                .objectNode()
                .put("id", name)
                .put("object", "model")
                .put("created", created)
                .put("owned_by", "quire")
                .put("root", model.name())
                .putNull("parent")
                .put("max_model_len", model.maxContext())
                .put("state", model.state());
        if (model.bytes() > 0) {
            entry.put("memory_bytes", model.bytes());
        }
        if (!model.failure().isEmpty()) {
            entry.put("failure", model.failure());
        }
        ObjectNode sampling = entry.putObject("default_sampling");
        model.samplingDefaults().values().forEach((parameter, value) -> {
            if (value instanceof Integer whole) {
                sampling.put(parameter, whole);
            } else {
                sampling.put(parameter, value.doubleValue());
            }
        });
        return entry;
    }
}
