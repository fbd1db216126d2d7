package quire.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.model.format.Gguf;
import quire.model.format.GgufTensor;

/**
 * How a model that ranks texts gives a score to a document for a query: the template of the file makes one prompt of both,
 * and a head makes the score of the vector of its last position: the probability of the first label. Files of Qwen3-Reranker
 * have such a head, made of the rows for "yes" and "no" by llama.cpp's converter.
 */
public final class Ranking {
    private static final String WEIGHT = "cls.output.weight";
    private static final List<String> ARCHITECTURES = List.of("qwen3", "qwen3vl");
    private static final String TEMPLATE = "tokenizer.chat_template.rerank";
    private static final String QUERY = "{query}";
    private static final String DOCUMENT = "{document}";

    private final String template;
    private final float[][] weights; // one row for each label

    private Ranking(String template, float[][] weights) {
        this.template = template;
        this.weights = weights;
    }

    /** Whether a tensor is part of a ranking model's head. */
    static boolean isPart(Gguf file, String tensor) {
        return Pooling.of(file) == Pooling.RANK
                && ARCHITECTURES.contains(file.string("general.architecture", ""))
                && tensor.equals(WEIGHT);
    }

    /**
     * Reads a file's head and template.
     *
     * @param hidden numbers of a vector
     * @return null if {@link Pooling#of} says that the model does not rank, or if the file has no head or no template
     * @throws quire.model.format.ModelFormatException if the head has another shape
     */
    public static @Nullable Ranking of(Gguf file, int hidden) {
        String template = file.string(TEMPLATE, "");
        if (Pooling.of(file) != Pooling.RANK
                || !file.hasTensor(WEIGHT)
                || !template.contains(QUERY)
                || !template.contains(DOCUMENT)) {
            return null;
        }
        long labels = file.tensors().stream()
                        .filter(tensor -> tensor.name().equals(WEIGHT))
                        .mapToLong(GgufTensor::elements)
                        .sum()
                / hidden;
        GgufTensor weight = file.tensor(WEIGHT, hidden, labels);
        float[][] rows = new float[Math.toIntExact(labels)][];
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment row = arena.allocate(ValueLayout.JAVA_FLOAT, hidden);
            long rowBytes = weight.elementType().byteSize(hidden);
            for (int i = 0; i < rows.length; i++) {
                weight.elementType().decode(file.data(weight), i * rowBytes, row, 0, hidden);
                rows[i] = row.toArray(ValueLayout.JAVA_FLOAT);
            }
        }
        return new Ranking(template, rows);
    }

    /** The prompt for a query and a document. Its tokens get no others at the beginning or the end. */
    public String prompt(String query, String document) {
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

    /** The score for the vector of such a prompt's last position: higher for a document that fits better. */
    public double score(float[] vector) {
        double[] numbers = new double[weights.length];
        for (int label = 0; label < numbers.length; label++) {
            double sum = 0;
            for (int i = 0; i < vector.length; i++) {
                sum += (double) weights[label][i] * vector[i];
            }
            numbers[label] = sum;
        }
        double all = 0;
        for (double number : numbers) {
            all += StrictMath.exp(number - numbers[0]);
        }
        return 1 / all;
    }
}
