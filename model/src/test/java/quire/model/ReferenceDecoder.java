package quire.model;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.model.format.Gguf;
import quire.model.format.GgufTensor;

/**
 * A Llama decoder written directly from the formulas, in double precision, one token at a time. It shares only the file
 * reader with the real decoder: no block formats, no cache, no kernels.
 */
final class ReferenceDecoder {
    private final Gguf file;
    private final ModelConfig config;
    private final boolean roundsActivations;
    private final Map<String, double[][]> decoded = new HashMap<>();
    private final List<double[][]> keys = new ArrayList<>();
    private final List<double[][]> values = new ArrayList<>();

    /**
     * @param roundsActivations whether inputs of quantised matrices are rounded to 8 bits in blocks of 32, as engines
     *     do
     */
    ReferenceDecoder(Gguf file, ModelConfig config, boolean roundsActivations) {
        this.file = file;
        this.config = config;
        this.roundsActivations = roundsActivations;
    }

    /** Adds the next token of the only sequence and returns its logits. */
    double[] next(int token) {
        int position = keys.size();
        keys.add(new double[config.layers()][]);
        values.add(new double[config.layers()][]);
        int hidden = config.hidden();
        double[] x = row(file.tensor("token_embd.weight", hidden, config.vocabularySize()), token);
        for (int layer = 0; layer < config.layers(); layer++) {
            String prefix = "blk." + layer + ".";
            double[] h = norm(x, prefix + "attn_norm.weight");
            double[] q = project(prefix + "attn_q", h, config.heads() * config.headDim());
            double[] k = project(prefix + "attn_k", h, config.kvHeads() * config.headDim());
            keys.get(position)[layer] = rotate(k, position);
            values.get(position)[layer] = project(prefix + "attn_v", h, config.kvHeads() * config.headDim());
            x = sum(x, project(prefix + "attn_output", attend(rotate(q, position), layer), hidden));
            h = norm(x, prefix + "ffn_norm.weight");
            double[] gate = project(prefix + "ffn_gate", h, config.feedForward());
            double[] up = project(prefix + "ffn_up", h, config.feedForward());
            for (int i = 0; i < gate.length; i++) {
                gate[i] = gate[i] / (1 + Math.exp(-gate[i])) * up[i];
            }
            x = sum(x, project(prefix + "ffn_down", gate, hidden));
        }
        boolean untied = file.optionalTensor("output.weight", hidden, config.vocabularySize())
                .isPresent();
        return multiply(
                untied ? "output.weight" : "token_embd.weight", norm(x, "output_norm.weight"), config.vocabularySize());
    }

    private double[] attend(double[] q, int layer) {
        int d = config.headDim();
        double[] out = new double[q.length];
        for (int head = 0; head < config.heads(); head++) {
            int kv = head / (config.heads() / config.kvHeads());
            double[] p = new double[keys.size()];
            double max = Double.NEGATIVE_INFINITY;
            for (int t = 0; t < p.length; t++) {
                for (int i = 0; i < d; i++) {
                    p[t] += q[head * d + i] * keys.get(t)[layer][kv * d + i];
                }
                p[t] /= Math.sqrt(d);
                max = Math.max(max, p[t]);
            }
            double total = 0;
            for (int t = 0; t < p.length; t++) {
                p[t] = Math.exp(p[t] - max);
                total += p[t];
            }
            for (int t = 0; t < p.length; t++) {
                for (int i = 0; i < d; i++) {
                    out[head * d + i] += p[t] / total * values.get(t)[layer][kv * d + i];
                }
            }
        }
        return out;
    }

    private double[] rotate(double[] x, int position) {
        double[] factors = optionalVector("rope_freqs.weight", config.ropeDimensions() / 2);
        double[] out = x.clone();
        for (int head = 0; head < x.length; head += config.headDim()) {
            for (int i = 0; i < config.ropeDimensions(); i += 2) {
                double angle = position
                        / config.ropeScale()
                        * Math.pow(config.ropeBase(), -(double) i / config.ropeDimensions())
                        / (factors == null ? 1 : factors[i / 2]);
                double a = x[head + i];
                double b = x[head + i + 1];
                out[head + i] = a * Math.cos(angle) - b * Math.sin(angle);
                out[head + i + 1] = a * Math.sin(angle) + b * Math.cos(angle);
            }
        }
        return out;
    }

    private double[] norm(double[] x, String name) {
        double[] weight = row(file.tensor(name, x.length), 0);
        double squares = 0;
        for (double value : x) {
            squares += value * value;
        }
        double scale = 1 / Math.sqrt(squares / x.length + config.normEpsilon());
        double[] out = new double[x.length];
        for (int i = 0; i < x.length; i++) {
            out[i] = x[i] * scale * weight[i];
        }
        return out;
    }

    private double[] project(String name, double[] x, int outputs) {
        double[] y = multiply(name + ".weight", x, outputs);
        double[] bias = optionalVector(name + ".bias", outputs);
        return bias == null ? y : sum(y, bias);
    }

    private double[] multiply(String name, double[] x, int outputs) {
        GgufTensor tensor = file.tensor(name, x.length, outputs);
        double[] input = roundsActivations && tensor.elementType().isQuantized() ? rounded(x) : x;
        double[] y = new double[outputs];
        for (int o = 0; o < outputs; o++) {
            double[] w = row(tensor, o);
            for (int i = 0; i < x.length; i++) {
                y[o] += w[i] * input[i];
            }
        }
        return y;
    }

    private static double[] rounded(double[] x) {
        double[] out = new double[x.length];
        for (int block = 0; block < x.length; block += 32) {
            double max = 0;
            for (int i = block; i < block + 32; i++) {
                max = Math.max(max, Math.abs(x[i]));
            }
            for (int i = block; i < block + 32; i++) {
                out[i] = max == 0 ? 0 : Math.rint(x[i] / max * 127) * max / 127;
            }
        }
        return out;
    }

    private static double[] sum(double[] a, double[] b) {
        double[] out = a.clone();
        for (int i = 0; i < a.length; i++) {
            out[i] += b[i];
        }
        return out;
    }

    private double @Nullable [] optionalVector(String name, int length) {
        return file.optionalTensor(name, length).map(tensor -> row(tensor, 0)).orElse(null);
    }

    /** One row of a tensor. Rows are kept, because each token needs them again. */
    private double[] row(GgufTensor tensor, int row) {
        double[][] matrix = decoded.computeIfAbsent(tensor.name(), name -> new double[(int) tensor.rows()][]);
        if (matrix[row] == null) {
            MemorySegment data = file.data(tensor);
            int columns = (int) tensor.columns();
            matrix[row] = new double[columns];
            for (int i = 0; i < columns; i++) {
                matrix[row][i] = ReferenceBlocks.number(tensor.elementType(), data, (long) row * columns + i);
            }
        }
        return matrix[row];
    }
}
