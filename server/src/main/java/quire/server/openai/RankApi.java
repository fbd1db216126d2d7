package quire.server.openai;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import quire.model.Pooling;
import quire.model.Ranking;
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
import quire.server.http.RandomId;
import quire.server.http.Response;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * Handlers of the paths that compare texts, in the forms of vLLM and Jina. A model that ranks computes a score of both texts
 * ({@link Ranking}); of any other, the score is the cosine of the angle between the vectors of the texts.
 */
public final class RankApi {
    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    private final ServedModel model;
    private final AnswerService answers;
    private final Vectors vectors;
    private final Parameters parameters;
    private final @Nullable Ranking ranking;

    /**
     * Handlers that answer with this model.
     *
     * @param refuseUnknown whether a request with an unknown parameter is refused
     */
    public RankApi(ServedModel model, AnswerService answers, Vectors vectors, boolean refuseUnknown) {
        this.model = model;
        this.answers = answers;
        this.vectors = vectors;
        this.parameters = new Parameters(ParameterTable.ROWS, refuseUnknown);
        this.ranking = model.engine().ranking();
    }

    /**
     * Pairs of texts to compare.
     *
     * @param prompts with a ranking model one for each pair; else the distinct texts, of which each pair has two
     * @param pairs for each pair the numbers of its prompts; both are the same with a ranking model
     * @param documents the second texts as they were sent
     * @param topN how many of the best are wanted
     */
    private record Read(
            String name,
            List<int[]> prompts,
            List<int[]> pairs,
            List<String> documents,
            int topN,
            boolean returnDocuments,
            @Nullable String user,
            @Nullable String cacheSalt,
            int priority) {}

    /** {@code POST /v1/rerank}. */
    public void rerank(Exchange exchange) throws ClientGoneException, InterruptedException {
        Read read = answers.read(exchange, UserReader.OPENAI, this::readRerank);
        double[] scores = scores(exchange, read);
        ObjectNode root =
                JSON.objectNode().put("id", "rerank-" + RandomId.next()).put("model", read.name);
        usage(root, read);
        ArrayNode results = root.putArray("results");
        IntStream.range(0, scores.length)
                .boxed()
                .sorted(Comparator.comparingDouble((Integer i) -> -scores[i])) // of equal ones the first stays first
                .limit(read.topN)
                .forEach(i -> {
                    ObjectNode result = results.addObject().put("index", i).put("relevance_score", scores[i]);
                    if (read.returnDocuments) {
                        result.putObject("document").put("text", read.documents.get(i));
                    }
                });
        exchange.send(Response.json(200, Json.bytes(root)));
    }

    /** {@code POST /v1/score}. */
    public void score(Exchange exchange) throws ClientGoneException, InterruptedException {
        Read read = answers.read(exchange, UserReader.OPENAI, this::readScore);
        double[] scores = scores(exchange, read);
        ObjectNode root = JSON.objectNode()
                .put("id", "score-" + RandomId.next())
                .put("object", "list")
                .put("created", System.currentTimeMillis() / 1000)
                .put("model", read.name);
        ArrayNode data = root.putArray("data");
        for (double score : scores) {
            data.addObject()
                    .put("index", data.size() - 1)
                    .put("object", "score")
                    .put("score", score);
        }
        usage(root, read);
        exchange.send(Response.json(200, Json.bytes(root)));
    }

    private static void usage(ObjectNode root, Read read) {
        int tokens = Vectors.count(read.prompts);
        root.putObject("usage").put("prompt_tokens", tokens).put("total_tokens", tokens);
    }

    private double[] scores(Exchange exchange, Read read) throws ClientGoneException, InterruptedException {
        List<float[]> computed = vectors.compute(exchange, read.user, read.cacheSalt, read.priority, read.prompts);
        return read.pairs.stream()
                .mapToDouble(pair -> ranking != null
                        ? ranking.score(computed.get(pair[0]))
                        : Vectors.cosine(computed.get(pair[0]), computed.get(pair[1])))
                .toArray();
    }

    private Read readRerank(Fields request) {
        String name = model.resolve(request);
        Fields body = parameters.check(Parameter.Place.RERANK, request);
        String query = Fields.string(body.require("query"), "query");
        JsonNode documents = body.require("documents");
        if (!documents.isArray()) {
            throw Fields.wrongType("documents", "an array of strings", documents);
        }
        List<String> texts = new ArrayList<>();
        for (JsonNode document : documents.values()) {
            String path = "documents[" + texts.size() + "]";
            texts.add(
                    document.isObject()
                            ? Fields.string(Fields.of(document, path).require("text"), path + ".text")
                            : Fields.string(document, path));
        }
        int topN = body.integer("top_n", 0, Integer.MAX_VALUE, 0);
        return read(
                name,
                body,
                List.of(query),
                "query",
                texts,
                "documents",
                topN == 0 ? Integer.MAX_VALUE : topN,
                body.bool("return_documents", true));
    }

    private Read readScore(Fields request) {
        String name = model.resolve(request);
        Fields body = parameters.check(Parameter.Place.SCORE, request);
        List<String> first = texts(body, "text_1");
        List<String> second = texts(body, "text_2");
        if (first.size() != 1 && first.size() != second.size()) {
            throw HttpException.invalid(
                    body.path("text_2"),
                    "invalid_value",
                    "'" + body.path("text_1") + "' has " + first.size() + " texts and '" + body.path("text_2") + "' "
                            + second.size() + ": send one in the first, or as many in both.");
        }
        return read(name, body, first, body.path("text_1"), second, body.path("text_2"), Integer.MAX_VALUE, false);
    }

    private static List<String> texts(Fields body, String name) {
        JsonNode value = body.require(name);
        if (!value.isArray()) {
            return List.of(Fields.string(value, body.path(name)));
        }
        List<String> texts = new ArrayList<>();
        for (JsonNode text : value.values()) {
            texts.add(Fields.string(text, body.path(name) + "[" + texts.size() + "]"));
        }
        return texts;
    }

    private Read read(
            String name,
            Fields body,
            List<String> first,
            String firstPath,
            List<String> second,
            String secondPath,
            int topN,
            boolean returnDocuments) {
        checkCount(first.size(), firstPath);
        checkCount(second.size(), secondPath);
        int context = model.engine().maxContext();
        int most = body.integer("truncate_prompt_tokens", -1, context, 0);
        List<int[]> prompts = new ArrayList<>();
        List<int[]> pairs = new ArrayList<>();
        if (model.engine().pooling() == Pooling.RANK) {
            if (ranking == null) {
                throw HttpException.unsupported(
                        firstPath,
                        "'" + firstPath + "' is not supported: the model's file says that it ranks texts, but has no"
                                + " head (cls.output.weight) or, as no encoder, no template"
                                + " (tokenizer.chat_template.rerank). Convert the model again with a current converter.");
            }
            if (most != 0) {
                throw HttpException.unsupported(
                        "truncate_prompt_tokens",
                        "'truncate_prompt_tokens' is not supported by this model, which needs both texts whole."
                                + " Instead, send shorter texts.");
            }
            for (int i = 0; i < second.size(); i++) {
                String path = second.size() == 1 ? secondPath : secondPath + "[" + i + "]";
                prompts.add(vectors.tokens(ranking, first.get(first.size() == 1 ? 0 : i), second.get(i), path));
                pairs.add(new int[] {i, i});
            }
        } else {
            vectors.checkGiven(firstPath);
            Vectors.Encoding encoding =
                    new Vectors.Encoding(true, most == 0 ? null : most < 0 ? (Integer) context : most);
            for (String text : first) {
                prompts.add(vectors.tokens(text, firstPath, encoding));
            }
            for (int i = 0; i < second.size(); i++) {
                prompts.add(vectors.tokens(second.get(i), secondPath + "[" + i + "]", encoding));
                pairs.add(new int[] {first.size() == 1 ? 0 : i, first.size() + i});
            }
        }
        return new Read(
                name,
                prompts,
                pairs,
                second,
                topN,
                returnDocuments,
                UserReader.OPENAI.user(body),
                RequestReader.cacheSalt(body),
                body.integer("priority", Integer.MIN_VALUE, Integer.MAX_VALUE, 0));
    }

    private static void checkCount(int texts, String path) {
        if (texts == 0) {
            throw HttpException.invalid(path, "invalid_value", "'" + path + "' is empty: it needs at least one text.");
        }
        Vectors.checkCount(texts, path);
    }
}
