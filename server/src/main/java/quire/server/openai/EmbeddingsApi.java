package quire.server.openai;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Base64;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.server.api.AnswerService;
import quire.server.api.Fields;
import quire.server.api.Json;
import quire.server.api.Parameter;
import quire.server.api.Parameters;
import quire.server.api.ServedModel;
import quire.server.api.UserReader;
import quire.server.api.Vectors;
import quire.server.http.ClientGoneException;
import quire.server.http.Exchange;
import quire.server.http.HttpException;
import quire.server.http.Response;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** The handler of {@code /v1/embeddings}: texts become vectors of length 1. */
public final class EmbeddingsApi {
    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    private final ServedModel model;
    private final AnswerService answers;
    private final Vectors vectors;
    private final Parameters parameters;

    /**
     * A handler that answers with this model.
     *
     * @param refuseUnknown whether a request with an unknown parameter is refused
     */
    public EmbeddingsApi(ServedModel model, AnswerService answers, Vectors vectors, boolean refuseUnknown) {
        this.model = model;
        this.answers = answers;
        this.vectors = vectors;
        this.parameters = new Parameters(ParameterTable.ROWS, refuseUnknown);
    }

    private record Read(
            String name,
            List<int[]> prompts,
            int dimensions,
            boolean base64,
            @Nullable String user,
            @Nullable String cacheSalt,
            int priority) {}

    /** {@code POST /v1/embeddings}. */
    public void embeddings(Exchange exchange) throws ClientGoneException, InterruptedException {
        Read read = answers.read(exchange, UserReader.OPENAI, this::read);
        List<float[]> computed = vectors.compute(exchange, read.user, read.cacheSalt, read.priority, read.prompts);
        ObjectNode root = JSON.objectNode().put("object", "list");
        ArrayNode data = root.putArray("data");
        for (float[] vector : computed) {
            ObjectNode entry = data.addObject().put("object", "embedding").put("index", data.size() - 1);
            float[] numbers = Vectors.normalized(vector, read.dimensions);
            if (read.base64) {
                entry.put("embedding", base64(numbers));
            } else {
                entry.set("embedding", Json.numbers(numbers));
            }
        }
        root.put("model", read.name);
        int tokens = Vectors.count(read.prompts);
        root.putObject("usage").put("prompt_tokens", tokens).put("total_tokens", tokens);
        exchange.send(Response.json(200, Json.bytes(root)));
    }

    private Read read(Fields request) {
        String name = model.resolve(request);
        Fields body = parameters.check(Parameter.Place.EMBEDDINGS, request);
        vectors.checkGiven("input");
        String format = body.string("encoding_format");
        if (format != null && !format.equals("float") && !format.equals("base64")) {
            throw HttpException.invalid(
                    "encoding_format", "invalid_value", "'encoding_format' must be \"float\" or \"base64\".");
        }
        int context = model.engine().maxContext();
        int most = body.integer("truncate_prompt_tokens", -1, context, 0);
        Vectors.Encoding encoding = new Vectors.Encoding(
                body.bool("add_special_tokens", true), most == 0 ? null : most < 0 ? (Integer) context : most);
        return new Read(
                name,
                vectors.tokens(body.require("input"), "input", encoding),
                body.integer("dimensions", 1, vectors.width(), vectors.width()),
                "base64".equals(format),
                UserReader.OPENAI.user(body),
                RequestReader.cacheSalt(body),
                body.integer("priority", Integer.MIN_VALUE, Integer.MAX_VALUE, 0));
    }

    /** Numbers of 32 bits, the lowest byte first. */
    private static String base64(float[] numbers) {
        ByteBuffer bytes = ByteBuffer.allocate(numbers.length * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        bytes.asFloatBuffer().put(numbers);
        return Base64.getEncoder().encodeToString(bytes.array());
    }
}
