package quire.bench.speculation;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.stream.IntStream;
import quire.model.Batch;
import quire.model.Decoder;
import quire.model.ModelConfig;
import quire.model.format.Gguf;
import quire.model.text.Tokenizer;
import quire.model.text.Tokenizers;
import quire.tensor.FloatMatrix;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;

/**
 * The probability that a draft token is accepted at temperature 1, under three rules. It is computed from the
 * distributions p of the model and q of the draft model at the positions of a text; nothing is drawn.
 *
 * <pre>
 *   rejection sampling (Leviathan, Kalman, Matias 2023)   Σ min(p, q)                       the maximum of all rules
 *   same Gumbel noise (Quire's rule)                      Σi 1 / Σj max(pj / pi, qj / qi)   at least half of that
 *   independent draws                                     Σ p q
 * </pre>
 */
final class AcceptanceRules {
    private static final int MAX_POSITIONS = 64;
    private static final int PAGE_TOKENS = 16;

    private static final String TEXT = """
            Once upon a time there was a little fox who lived in a cave by the river. Every morning the fox went out to \
            find something to eat. One day she met a robot named Ada. "Good morning," said the robot. "Would you like to \
            play with me?" The fox was happy and they played until the sun went down.""";

    private AcceptanceRules() {}

    /** The mean acceptance of each rule over the positions of a text, as a row of a table. */
    static Map<String, Object> measure(Path model, Path draft, int threads) {
        double rejection = 0;
        double coupling = 0;
        double independent = 0;
        int positions;
        try (Gguf modelFile = Gguf.open(model);
                Gguf draftFile = Gguf.open(draft);
                Workers team = new Workers(threads)) {
            Tokenizer tokenizer = Tokenizers.of(modelFile);
            int[] tokens = tokenizer.encode(TEXT, true, false);
            positions = Math.min(tokens.length, MAX_POSITIONS);
            try (Decoder large = load(modelFile, team, positions);
                    Decoder small = load(draftFile, team, positions)) {
                FloatMatrix p = logits(large, tokens, positions);
                FloatMatrix q = logits(small, tokens, positions);
                for (int row = 0; row < positions; row++) {
                    double[] probabilities = softmax(p, row);
                    double[] draftProbabilities = softmax(q, row);
                    for (int token = 0; token < probabilities.length; token++) {
                        rejection += Math.min(probabilities[token], draftProbabilities[token]);
                        independent += probabilities[token] * draftProbabilities[token];
                    }
                    coupling += coupling(probabilities, draftProbabilities);
                }
            }
        }
        Map<String, Object> result = new LinkedHashMap<>();
        result.put("positions", positions);
        result.put("rejection_sampling", rejection / positions);
        result.put("gumbel_coupling", coupling / positions);
        result.put("independent_draws", independent / positions);
        return result;
    }

    private static Decoder load(Gguf file, Workers team, int positions) {
        ModelConfig shape = ModelConfig.from(file);
        int pages = (positions + PAGE_TOKENS - 1) / PAGE_TOKENS;
        Decoder.Capacity capacity = new Decoder.Capacity(KvType.F16, PAGE_TOKENS, pages, positions, positions);
        return Decoder.load(file, shape, KernelSets.best(), team, capacity);
    }

    private static FloatMatrix logits(Decoder decoder, int[] tokens, int positions) {
        Batch batch = new Batch(positions, 1);
        int[] pages = IntStream.range(0, decoder.pageCount()).toArray();
        batch.add(tokens, 0, positions, pages, positions);
        return decoder.forward(batch);
    }

    private static double[] softmax(FloatMatrix logits, int row) {
        double[] values = new double[logits.columns()];
        double max = Double.NEGATIVE_INFINITY;
        for (int token = 0; token < values.length; token++) {
            values[token] = logits.get(row, token);
            max = Math.max(max, values[token]);
        }
        double sum = 0;
        for (int token = 0; token < values.length; token++) {
            values[token] = StrictMath.exp(values[token] - max);
            sum += values[token];
        }
        for (int token = 0; token < values.length; token++) {
            values[token] /= sum;
        }
        return values;
    }

    /**
     * The probability that draws with the same Gumbel noise give the same token under both distributions. For token i,
     * pj / pi exceeds qj / qi exactly where pj / qj exceeds pi / qi. So with the tokens sorted by p / q, the sum over j
     * splits into the tokens before i, which add q, and the others, which add p.
     */
    static double coupling(double[] p, double[] q) {
        int[] order = IntStream.range(0, p.length)
                .filter(i -> p[i] > 0 && q[i] > 0)
                .boxed()
                .sorted((a, b) -> Double.compare(p[a] * q[b], p[b] * q[a])) // by p / q
                .mapToInt(Integer::intValue)
                .toArray();
        double above = 0; // sum of p over all tokens with this ratio p / q or a larger one; q = 0 counts as the largest
        double below = 0; // sum of q over all tokens with a smaller ratio; p = 0 counts as the smallest
        for (int i = 0; i < p.length; i++) {
            above += p[i];
            below += p[i] > 0 ? 0 : q[i];
        }
        double same = 0;
        for (int i : order) {
            same += 1 / (above / p[i] + below / q[i]);
            above -= p[i];
            below += q[i];
        }
        return same;
    }
}
