package quire.server.openai;

import quire.server.api.AnswerService;
import quire.server.api.ChatReader;
import quire.server.api.Json;
import quire.server.api.Parameters;
import quire.server.api.ServedModel;
import quire.server.http.ClientGoneException;
import quire.server.http.Exchange;
import quire.server.http.Response;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Handlers of OpenAI's paths. */
public final class OpenAiApi {
    private final ServedModel model;
    private final AnswerService answers;
    private final RequestReader reader;
    private final long created = System.currentTimeMillis() / 1000;

    /**
     * Handlers that answer with this model.
     *
     * @param refuseUnknown whether a request with an unknown parameter is refused
     * @param strictLimits whether a request for more tokens than the context has room for is refused
     */
    public OpenAiApi(ServedModel model, AnswerService answers, boolean refuseUnknown, boolean strictLimits) {
        this.model = model;
        this.answers = answers;
        this.reader = new RequestReader(model, new Parameters(ParameterTable.ROWS, refuseUnknown), strictLimits);
    }

    /** Reads chats that other APIs have brought into OpenAI's form. */
    public ChatReader chats() {
        return reader;
    }

    /** {@code POST /v1/completions}. */
    public void completions(Exchange exchange) throws ClientGoneException, InterruptedException {
        answers.answer(exchange, reader::completion);
    }

    /** {@code POST /infill}, of llama.cpp. */
    public void infill(Exchange exchange) throws ClientGoneException, InterruptedException {
        answers.answer(exchange, reader::infill);
    }

    /** {@code POST /v1/chat/completions}. */
    public void chatCompletions(Exchange exchange) throws ClientGoneException, InterruptedException {
        answers.answer(exchange, reader::chat);
    }

    /** {@code GET /v1/models}. */
    public Response models(Exchange exchange) {
        ObjectNode root = JsonNodeFactory.instance.objectNode().put("object", "list");
        ArrayNode data = root.putArray("data");
        model.names().forEach(name -> data.add(entry(name)));
        return Response.json(200, Json.bytes(root));
    }

    /** {@code GET /v1/models/NAME}. */
    public Response model(Exchange exchange) {
        return Response.json(200, Json.bytes(entry(model.resolve(exchange.pathRest()))));
    }

    private ObjectNode entry(String name) {
        ObjectNode entry = JsonNodeFactory.instance
                .objectNode()
                .put("id", name)
                .put("object", "model")
                .put("created", created)
                .put("owned_by", "quire")
                .put("root", model.name())
                .putNull("parent")
                .put("max_model_len", model.engine().maxContext());
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
