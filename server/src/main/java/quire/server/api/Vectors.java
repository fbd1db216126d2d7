package quire.server.api;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.engine.Engine;
import quire.engine.Request;
import quire.engine.Scheduling;
import quire.model.Pooling;
import quire.model.Ranking;
import quire.model.text.Tokenizer;
import quire.server.http.ClientGoneException;
import quire.server.http.Exchange;
import quire.server.http.HttpException;
import tools.jackson.databind.JsonNode;

/** Reads texts whose vectors are wanted, for every API, and computes the vectors. Thread-safe. */
public final class Vectors {
    /** The most texts of a request: as many as OpenAI takes. */
    public static final int MAX_TEXTS = 2048;

    private final Engine engine;
    private final Tokenizer tokenizer;
    private final AnswerService answers;

    /** Computes vectors with this model. */
    public Vectors(ServedModel model, AnswerService answers) {
        this.engine = model.engine();
        this.tokenizer = model.tokenizer();
        this.answers = answers;
    }

    /**
     * Checks that the model gives vectors for texts.
     *
     * @param parameter the parameter that has the texts, for the error
     * @throws HttpException 400 if it gives none
     */
    public void checkGiven(String parameter) {
        if (engine.vectorWidth() == 0) {
            throw HttpException.unsupported(
                    parameter, "'" + parameter + "' is not supported: the model gives no vectors.");
        }
        if (engine.pooling() == Pooling.RANK) {
            throw HttpException.unsupported(
                    parameter,
                    "'" + parameter
                            + "' is not supported: the model's file says that it ranks texts (pooling_type 4), and has"
                            + " no vectors for them. Instead, use /v1/rerank.");
        }
    }

    /** How many numbers the model's vectors have. */
    public int width() {
        return engine.vectorWidth();
    }

    /**
     * How texts become tokens.
     *
     * @param addSpecial whether to add the tokens that the model's file asks for, at the beginning and at the end
     * @param most most tokens of a text, of which longer ones keep the beginning; null: longer ones than the context are an error
     */
    public record Encoding(boolean addSpecial, @Nullable Integer most) {}

    /**
     * The tokens of a text, of each text of a list, of an array of token ids, or of each of a list of these.
     *
     * @param path of {@code input}
     * @throws HttpException 400 if it is something else, is empty, has too many texts, or one that is too long
     */
    public List<int[]> tokens(JsonNode input, String path, Encoding encoding) {
        if (!input.isArray() || (!input.isEmpty() && input.get(0).isNumber())) {
            return List.of(tokensOfOne(input, path, encoding));
        }
        if (input.isEmpty()) {
            throw HttpException.invalid(path, "invalid_value", "'" + path + "' is empty: it needs at least one text.");
        }
        checkCount(input.size(), path);
        List<int[]> all = new ArrayList<>();
        for (JsonNode each : input.values()) {
            all.add(tokensOfOne(each, path + "[" + all.size() + "]", encoding));
        }
        return all;
    }

    /**
     * Checks that a request does not have too many texts.
     *
     * @throws HttpException 400 if it has
     */
    public static void checkCount(int texts, String path) {
        if (texts > MAX_TEXTS) {
            throw HttpException.invalid(
                    path,
                    "invalid_value",
                    "'" + path + "' has " + texts + " texts, and at most " + MAX_TEXTS
                            + " are allowed: send several requests.");
        }
    }

    private int[] tokensOfOne(JsonNode text, String path, Encoding encoding) {
        if (!text.isArray()) {
            if (!text.isString()) {
                throw Fields.wrongType(path, "a string or an array of token ids", text);
            }
            return tokens(Fields.string(text, path), path, encoding);
        }
        int[] tokens = new int[text.size()];
        int i = 0;
        for (JsonNode token : text.values()) {
            tokens[i] = Fields.token(token, path + "[" + i + "]", tokenizer.vocabularySize());
            i++;
        }
        return fitting(tokens, path, encoding);
    }

    /**
     * The tokens of a text.
     *
     * @throws HttpException 400 if it is empty or too long
     */
    public int[] tokens(String text, String path, Encoding encoding) {
        return fitting(tokenizer.encode(text, encoding.addSpecial, true), path, encoding);
    }

    /**
     * The tokens of a query and a document for a model that ranks.
     *
     * @param path of the document
     * @throws HttpException 400 if they are too long
     */
    public int[] tokens(Ranking ranking, String query, String document, String path) {
        return fitting(ranking.tokens(tokenizer, query, document), path, new Encoding(false, null));
    }

    private int[] fitting(int[] tokens, String path, Encoding encoding) {
        int context = engine.maxContext();
        if (tokens.length == 0) {
            throw HttpException.invalid(path, "invalid_value", "'" + path + "' is empty: it needs at least one token.");
        }
        if (encoding.most != null && tokens.length > encoding.most) {
            int[] beginning = Arrays.copyOf(tokens, encoding.most);
            if (encoding.addSpecial
                    && tokens[tokens.length - 1] == tokenizer.eos().orElse(-1)) {
                beginning[beginning.length - 1] = tokens[tokens.length - 1];
            }
            return beginning;
        }
        if (tokens.length > context) {
            throw HttpException.invalid(
                    path,
                    "context_length_exceeded",
                    "This model's maximum context length is " + context + " tokens, but '" + path + "' has "
                            + tokens.length + ". Please reduce its length.");
        }
        return tokens;
    }

    /**
     * The vectors of prompts, in their order, as the model gives them.
     *
     * @param user whom the client asks for; null if it does not say
     * @throws HttpException as {@link AnswerService#vectors}
     */
    public List<float[]> compute(
            Exchange exchange, @Nullable String user, @Nullable String cacheSalt, int priority, List<int[]> prompts)
            throws ClientGoneException, InterruptedException {
        Scheduling scheduling = Scheduling.DEFAULT.withPriority(priority);
        Ranking ranking = engine.ranking();
        Pooling pooling = ranking == null ? engine.pooling() : ranking.pooling();
        List<Request> requests = prompts.stream()
                .map(prompt -> Request.forVector(prompt, pooling, cacheSalt, scheduling))
                .toList();
        return answers.vectors(exchange, user, requests);
    }

    /** The tokens of all prompts. */
    public static int count(List<int[]> prompts) {
        return prompts.stream().mapToInt(prompt -> prompt.length).sum();
    }

    /** The first numbers of a vector, divided by their length; the vector of zeros stays as it is. */
    public static float[] normalized(float[] vector, int dimensions) {
        float[] out = new float[dimensions];
        double length = Math.sqrt(product(vector, vector, dimensions));
        for (int i = 0; i < dimensions; i++) {
            out[i] = length == 0 ? vector[i] : (float) (vector[i] / length);
        }
        return out;
    }

    /** The cosine of the angle between two vectors; 0 if one is the vector of zeros. */
    public static double cosine(float[] a, float[] b) {
        double lengths = Math.sqrt(product(a, a, a.length)) * Math.sqrt(product(b, b, b.length));
        return lengths == 0 ? 0 : product(a, b, a.length) / lengths;
    }

    private static double product(float[] a, float[] b, int dimensions) {
        double sum = 0;
        for (int i = 0; i < dimensions; i++) {
            sum += (double) a[i] * b[i];
        }
        return sum;
    }
}
