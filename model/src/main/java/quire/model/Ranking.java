package quire.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.model.format.Gguf;
import quire.model.format.GgufTensor;
import quire.model.text.Tokenizer;
import quire.tensor.Activation;

/**
 * How a model that ranks texts gives a score to a document for a query: both become one prompt, and a head makes the score of
 * a vector of this prompt. There are two kinds. Files of Qwen3-Reranker have a template for the prompt, and a head with the
 * rows for "yes" and "no", of the last position. Encoders (bge-reranker, MiniLM, ModernBERT …) read both texts with the tokens
 * of their family between them. Their head has a hidden layer in many files, and usually one label.
 */
public final class Ranking {
    private static final String HIDDEN = "cls.weight";
    private static final String HIDDEN_BIAS = "cls.bias";
    private static final String NORM = "cls.norm.weight";
    private static final String LABELS = "cls.output.weight";
    private static final String LABELS_BIAS = "cls.output.bias";
    private static final List<String> DECODERS = List.of("qwen3", "qwen3vl");
    private static final List<String> ENCODERS = List.of("bert", "neo-bert", "modern-bert");
    private static final String MODERN = "modern-bert";
    private static final String TEMPLATE = "tokenizer.chat_template.rerank";
    private static final String QUERY = "{query}";
    private static final String DOCUMENT = "{document}";

    private final Pooling pooling;
    private final String template; // empty if the tokenizer joins the texts
    private final @Nullable Layer hidden;
    private final Layer labels;

    private Ranking(Pooling pooling, String template, @Nullable Layer hidden, Layer labels) {
        this.pooling = pooling;
        this.template = template;
        this.hidden = hidden;
        this.labels = labels;
    }

    /** What follows the product of a hidden layer. */
    private enum Following {
        NOTHING,
        TANH,
        GELU_AND_NORM
    }

    /** A layer of the head: a row of weights for each output, and what follows the product. */
    private static final class Layer {
        private final float[][] rows;
        /** Empty if there is none. */
        private final float[] bias;

        private final Following following;
        /** Weights of the norm behind GELU; empty if there is none. */
        private final float[] norm;

        private final double epsilon;

        Layer(float[][] rows, float[] bias, Following following, float[] norm, double epsilon) {
            this.rows = rows;
            this.bias = bias;
            this.following = following;
            this.norm = norm;
            this.epsilon = epsilon;
        }

        double[] of(double[] in) {
            double[] out = new double[rows.length];
            for (int row = 0; row < out.length; row++) {
                double sum = 0;
                for (int i = 0; i < in.length; i++) {
                    sum += rows[row][i] * in[i];
                }
                sum += bias.length == 0 ? 0 : bias[row];
                out[row] = switch (following) {
                    case NOTHING -> sum;
                    case TANH -> StrictMath.tanh(sum);
                    case GELU_AND_NORM -> gelu(sum);
                };
            }
            return norm.length == 0 ? out : normed(out);
        }

        /** As {@link Activation#EXACT_GELU} defines it. */
        private static double gelu(double x) {
            double m = Math.abs(x);
            double t = 1 / (1 + m * Activation.ERF_STEP);
            double tail = Activation.erfTail(0);
            for (int i = 1; i < Activation.erfTails(); i++) {
                tail = tail * t + Activation.erfTail(i);
            }
            return Math.max(x, 0) + m * tail * t * StrictMath.exp(-x * x / 2);
        }

        private double[] normed(double[] in) {
            double mean = 0;
            for (double number : in) {
                mean += number / in.length;
            }
            double variance = 0;
            for (double number : in) {
                variance += (number - mean) * (number - mean) / in.length;
            }
            double[] out = new double[in.length];
            for (int i = 0; i < out.length; i++) {
                out[i] = (in[i] - mean) / Math.sqrt(variance + epsilon) * norm[i];
            }
            return out;
        }
    }

    /** Whether a tensor is part of a ranking model's head. */
    static boolean isPart(Gguf file, String tensor) {
        if (Pooling.of(file) != Pooling.RANK) {
            return false;
        }
        String architecture = file.string("general.architecture", "");
        boolean encoder = ENCODERS.contains(architecture);
        return switch (tensor) {
            case LABELS -> encoder || DECODERS.contains(architecture);
            case HIDDEN, HIDDEN_BIAS, LABELS_BIAS -> encoder;
            case NORM -> architecture.equals(MODERN);
            default -> false;
        };
    }

    /**
     * Reads a file's head, and its template.
     *
     * @param width numbers of a vector
     * @return null if {@link Pooling#of} says that the model does not rank, or if the file has no head or, of a model that is
     *     no encoder, no template
     * @throws quire.model.format.ModelFormatException if the head has another shape
     */
    public static @Nullable Ranking of(Gguf file, int width) {
        String architecture = file.string("general.architecture", "");
        boolean encoder = ENCODERS.contains(architecture);
        String template = file.string(TEMPLATE, "");
        boolean hasTemplate = template.contains(QUERY) && template.contains(DOCUMENT);
        if (Pooling.of(file) != Pooling.RANK || !file.hasTensor(LABELS) || (!encoder && !hasTemplate)) {
            return null;
        }
        long labels = file.tensors().stream()
                        .filter(tensor -> tensor.name().equals(LABELS))
                        .mapToLong(GgufTensor::elements)
                        .sum()
                / width;
        float[][] rows = matrix(file, LABELS, width, labels);
        boolean modern = architecture.equals(MODERN);
        Layer hidden = encoder && file.hasTensor(HIDDEN)
                ? new Layer(
                        matrix(file, HIDDEN, width, width),
                        vector(file, HIDDEN_BIAS, width),
                        modern ? Following.GELU_AND_NORM : Following.TANH,
                        modern ? vector(file, NORM, width) : new float[0],
                        modern ? file.float32(MODERN + ".attention.layer_norm_epsilon") : 0)
                : null;
        float[] bias = encoder ? vector(file, LABELS_BIAS, rows.length) : new float[0];
        return new Ranking(
                !encoder ? Pooling.LAST : modern ? Pooling.MEAN : Pooling.FIRST,
                hasTemplate ? template : "",
                hidden,
                new Layer(rows, bias, Following.NOTHING, new float[0], 0));
    }

    /** Rows of floats. */
    private static float[][] matrix(Gguf file, String name, int columns, long rows) {
        GgufTensor weight = file.tensor(name, columns, rows);
        float[][] decoded = new float[Math.toIntExact(rows)][];
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment row = arena.allocate(ValueLayout.JAVA_FLOAT, columns);
            long rowBytes = weight.elementType().byteSize(columns);
            for (int i = 0; i < decoded.length; i++) {
                weight.elementType().decode(file.data(weight), i * rowBytes, row, 0, columns);
                decoded[i] = row.toArray(ValueLayout.JAVA_FLOAT);
            }
        }
        return decoded;
    }

    /** A vector of floats; empty if the file has none. */
    private static float[] vector(Gguf file, String name, int length) {
        if (!file.hasTensor(name)) {
            return new float[0];
        }
        GgufTensor vector = file.tensor(name, length);
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment numbers = arena.allocate(ValueLayout.JAVA_FLOAT, length);
            vector.elementType().decode(file.data(vector), 0, numbers, 0, length);
            return numbers.toArray(ValueLayout.JAVA_FLOAT);
        }
    }

    /** Which position's vector, or which mean, {@link #score} wants. */
    public Pooling pooling() {
        return pooling;
    }

    /** The tokens of the prompt for a query and a document. */
    public int[] tokens(Tokenizer tokenizer, String query, String document) {
        return template.isEmpty()
                ? tokenizer.encodePair(query, document)
                : tokenizer.encode(prompt(query, document), false, true);
    }

    /** The template with both texts in it. */
    private String prompt(String query, String document) {
        StringBuilder out = new StringBuilder();
        int at = 0;
        while (at < template.length()) {
            if (template.startsWith(QUERY, at)) {
                out.append(query);
                at += QUERY.length();
            } else if (template.startsWith(DOCUMENT, at)) {
                out.append(document);
                at += DOCUMENT.length();
            } else {
                out.append(template.charAt(at++));
            }
        }
        return out.toString();
    }

    /**
     * The score for the vector of such a prompt, from 0 to 1, higher for a document that fits better: the probability of the
     * first label, or the logistic function of the only one.
     */
    public double score(float[] vector) {
        double[] numbers = new double[vector.length];
        for (int i = 0; i < numbers.length; i++) {
            numbers[i] = vector[i];
        }
        double[] scores = labels.of(hidden == null ? numbers : hidden.of(numbers));
        if (scores.length == 1) {
            return 1 / (1 + StrictMath.exp(-scores[0]));
        }
        double all = 0;
        for (double score : scores) {
            all += StrictMath.exp(score - scores[0]);
        }
        return 1 / all;
    }
}
