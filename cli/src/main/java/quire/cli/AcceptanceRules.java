package quire.cli;

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
import quire.tensor.KvLayout;
import quire.tensor.KvLayout.KvType;
import quire.tensor.Workers;
import quire.tensor.machine.KernelSets;

/**
 * How often a draft token would be accepted at temperature 1, by the rule: computed from both models' distributions p and
 * q on a text, not drawn.
 *
 * <pre>
 *   rejection sampling (Leviathan, Kalman, Matias 2023)      Σ min(p, q)                            the most there can be
 *   same Gumbel noise (what Quire does)                      Σi 1 / Σj max(pj / pi, qj / qi)        at least half of it
 *   independent draws, equal by luck                         Σ p q
 * </pre>
 */
final class AcceptanceRules {
    private static final String TEXT = """
            Once upon a time there was a little fox who lived in a cave by the river. Every morning the fox went out to \
            find something to eat. One day she met a robot named Ada. "Good morning," said the robot. "Would you like to \
            play with me?" The fox was happy and they played until the sun went down.""";

    private AcceptanceRules() {}

    static Map<String, Object> measure(Path model, Path draft, int threads) {
        int workers = threads > 0 ? threads : Runtime.getRuntime().availableProcessors();
        double rejection = 0;
        double coupling = 0;
        double luck = 0;
        int positions;
        try (Gguf modelFile = Gguf.open(model);
                Gguf draftFile = Gguf.open(draft);
                Workers team = new Workers(workers)) {
            Tokenizer tokenizer = Tokenizers.of(modelFile);
            int[] tokens = tokenizer.encode(TEXT, true, false);
            positions = Math.min(tokens.length, 64);
            try (Decoder large = load(modelFile, team, positions);
                    Decoder small = load(draftFile, team, positions)) {
                FloatMatrix p = logits(large, tokens, positions);
                FloatMatrix q = logits(small, tokens, positions);
                for (int row = 0; row < positions; row++) {
                    double[] probabilities = softmax(p, row);
                    double[] guesses = softmax(q, row);
                    for (int token = 0; token < probabilities.length; token++) {
                        rejection += Math.min(probabilities[token], guesses[token]);
                        luck += probabilities[token] * guesses[token];
                    }
                    coupling += coupling(probabilities, guesses);
                }
            }
        }
        Map<String, Object> result = new LinkedHashMap<>();
        result.put("positions", positions);
        result.put("rejection_sampling", rejection / positions);
        result.put("gumbel_coupling", coupling / positions);
        result.put("independent_draws", luck / positions);
        return result;
    }

    private static Decoder load(Gguf file, Workers team, int positions) {
        ModelConfig shape = ModelConfig.from(file);
        KvLayout layout = new KvLayout(KvType.F16, 16, shape.kvHeads(), shape.headDim());
        return Decoder.load(
                file,
                shape,
                KernelSets.best(),
                team,
                new Decoder.Capacity(layout, (positions + 15) / 16, positions, positions));
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
     * The chance that the same exponential race has the same winner under both distributions. For token i, pj / pi exceeds
     * qj / qi where j's own ratio exceeds i's; so with tokens in order of their ratio, both sums are sums of a beginning
     * and of an end.
     */
    static double coupling(double[] p, double[] q) {
        int[] order = IntStream.range(0, p.length)
                .filter(i -> p[i] > 0 && q[i] > 0)
                .boxed()
                .sorted((a, b) -> Double.compare(p[a] * q[b], p[b] * q[a])) // by p / q
                .mapToInt(Integer::intValue)
                .toArray();
        double above = 0; // p of all whose ratio is at least this one's, those without a q included
        double below = 0; // q of all whose ratio is less, those without a p included
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
