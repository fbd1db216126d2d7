package quire.server.ollama;

import java.time.Duration;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import quire.server.api.AnswerService;
import quire.server.api.ChatReader;
import quire.server.api.Json;
import quire.server.api.ServedModel;
import quire.server.api.Vectors;
import quire.server.http.ClientGoneException;
import quire.server.http.Exchange;
import quire.server.http.Response;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** Handlers of Ollama's paths that need a model in memory. */
public final class OllamaApi {
    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    private final AnswerService answers;
    private final OllamaReader reader;
    private final Vectors vectors;
    private final Consumer<Duration> stay;

    /**
     * Handlers that answer with this model.
     *
     * @param chats reads requests that are brought into the form of a chat
     * @param vectors computes vectors of texts
     * @param stay gets {@code keep_alive}: how long the model stays loaded after the request, as {@link
     *     quire.server.api.ModelCatalog#stay} has it
     * @param refuseUnknown whether a request with an unknown parameter is refused
     */
    public OllamaApi(
            ServedModel model,
            AnswerService answers,
            ChatReader chats,
            Vectors vectors,
            Consumer<Duration> stay,
            boolean refuseUnknown) {
        this.stay = stay;
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
        keep(read.keepAlive());
        if (read.answer() != null) {
            answers.answer(exchange, read.answer());
        } else {
            exchange.send(Response.json(200, Json.bytes(read.loaded())));
        }
    }

    private void keep(@Nullable Duration time) {
        if (time != null) {
            stay.accept(time);
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
        keep(read.keepAlive());
        return read.prompts().isEmpty() ? List.of() : vectors.compute(exchange, null, null, 0, read.prompts());
    }

    private static Response json(ObjectNode root) {
        return Response.json(200, Json.bytes(root));
    }
}
