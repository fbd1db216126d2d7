package quire.model;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.model.format.Gguf;
import quire.model.format.GgufTensor;
import quire.model.format.GgufValueType;

/**
 * A decoder of every architecture, written directly from the formulas, in double precision, one token at a time. It shares only the file
 * reader and the sizes with the real decoder: no description of the architecture, no block formats, no cache, no kernels.
 */
final class ReferenceDecoder {
    private final Gguf file;
    private final ModelConfig config;
    private final boolean roundsActivations;
    private final String architecture;
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
        architecture = file.string("general.architecture");
        this.roundsActivations = roundsActivations;
    }

    /** Adds the next token of the only sequence and returns its logits. */
    double[] next(int token) {
        int position = keys.size();
        keys.add(new double[config.layers()][]);
        values.add(new double[config.layers()][]);
        int hidden = config.hidden();
        double[] x = row(file.tensor("token_embd.weight", hidden, config.vocabularySize()), token);
        if (architecture.startsWith("gemma")) {
            x = times(x, Math.sqrt(hidden));
        } else if (architecture.equals("granite")) {
            x = times(x, key("embedding_scale", 1));
        }
        for (int layer = 0; layer < config.layers(); layer++) {
            String prefix = "blk." + layer + ".";
            double[] h = architecture.equals("olmo2") ? x : norm(x, prefix + "attn_norm");
            double[][] qkv = queriesKeysValues(prefix, h);
            double[] q = headNorm(qkv[0], prefix + "attn_q_norm.weight");
            double[] k = headNorm(qkv[1], prefix + "attn_k_norm.weight");
            keys.get(position)[layer] = rotate(k, position, layer);
            values.get(position)[layer] = qkv[2];
            double[] a = project(prefix + "attn_output", attend(rotate(q, position, layer), layer), hidden);
            if (has(prefix + "post_attention_norm.weight")) {
                a = norm(a, prefix + "post_attention_norm");
            }
            double residual = architecture.equals("granite") ? key("residual_scale", 1) : 1;
            x = sum(x, times(a, residual));
            if (has(prefix + "ffn_norm.weight")) {
                h = norm(x, prefix + "ffn_norm");
            } else if (architecture.equals("olmo2")) {
                h = x;
            } // else feed-forward reads what attention reads
            double[] f = project(prefix + "ffn_down", feedForward(prefix, h), hidden);
            if (has(prefix + "post_ffw_norm.weight")) {
                f = norm(f, prefix + "post_ffw_norm");
            }
            x = sum(x, times(f, residual));
        }
        boolean untied = has("output.weight");
        double[] logits = multiply(
                untied ? "output.weight" : "token_embd.weight", norm(x, "output_norm"), config.vocabularySize());
        double scale = key("logit_scale", 1);
        logits = times(logits, architecture.equals("granite") ? 1 / scale : scale);
        double cap = key("final_logit_softcapping", 0);
        for (int i = 0; i < logits.length && cap > 0; i++) {
            logits[i] = cap * Math.tanh(logits[i] / cap);
        }
        return logits;
    }

    private double[][] queriesKeysValues(String prefix, double[] h) {
        int q = config.heads() * config.headDim();
        int kv = config.kvHeads() * config.headDim();
        if (has(prefix + "attn_qkv.weight")) {
            double[] all = project(prefix + "attn_qkv", h, q + 2 * kv);
            return new double[][] {
                Arrays.copyOf(all, q), Arrays.copyOfRange(all, q, q + kv), Arrays.copyOfRange(all, q + kv, q + 2 * kv)
            };
        }
        return new double[][] {
            project(prefix + "attn_q", h, q), project(prefix + "attn_k", h, kv), project(prefix + "attn_v", h, kv)
        };
    }

    private double[] feedForward(String prefix, double[] h) {
        int width = config.feedForward();
        if (architecture.equals("starcoder2")) {
            double[] up = project(prefix + "ffn_up", h, width);
            for (int i = 0; i < width; i++) {
                up[i] = gelu(up[i]);
            }
            return up;
        }
        boolean fused = !has(prefix + "ffn_gate.weight");
        double[] up = project(prefix + "ffn_up", h, fused ? 2 * width : width);
        double[] gate = fused ? Arrays.copyOf(up, width) : project(prefix + "ffn_gate", h, width);
        up = fused ? Arrays.copyOfRange(up, width, 2 * width) : up;
        for (int i = 0; i < width; i++) {
            double activated = architecture.startsWith("gemma") ? gelu(gate[i]) : gate[i] / (1 + Math.exp(-gate[i]));
            gate[i] = activated * up[i];
        }
        return gate;
    }

    private static double gelu(double x) {
        return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)));
    }

    private static double[] times(double[] x, double factor) {
        double[] out = x.clone();
        for (int i = 0; i < out.length; i++) {
            out[i] *= factor;
        }
        return out;
    }

    /** A number of the file's metadata. */
    private double key(String suffix, double absent) {
        String key = architecture + "." + suffix;
        return !file.has(key) ? absent : file.type(key) == GgufValueType.FLOAT32 ? file.float32(key) : file.int64(key);
    }

    private boolean has(String tensor) {
        return file.hasTensor(tensor);
    }

    /** Whether the layer sees only the last positions. */
    private boolean hasWindow(int layer) {
        int every =
                switch (architecture) {
                    case "gemma2" -> 2;
                    case "gemma3" -> (int) key("attention.sliding_window_pattern", 6);
                    case "cohere2" -> 4;
                    default -> Integer.MAX_VALUE;
                };
        return key("attention.sliding_window", 0) > 0 && layer % every != every - 1;
    }

    /** Of one head or of all. */
    private double[] headNorm(double[] x, String name) {
        if (!has(name)) {
            return x;
        }
        int width = architecture.equals("olmo2") ? x.length : config.headDim();
        double[] weight = row(file.tensor(name, width), 0);
        double[] out = new double[x.length];
        for (int first = 0; first < x.length; first += width) {
            double squares = 0;
            for (int i = 0; i < width; i++) {
                squares += x[first + i] * x[first + i];
            }
            for (int i = 0; i < width; i++) {
                out[first + i] = x[first + i] / Math.sqrt(squares / width + config.normEpsilon()) * weight[i];
            }
        }
        return out;
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
                p[t] *= key("attention.scale", 1 / Math.sqrt(d));
                double cap = key("attn_logit_softcapping", 0);
                if (cap > 0) {
                    p[t] = cap * Math.tanh(p[t] / cap);
                }
                if (hasWindow(layer) && t < p.length - (int) key("attention.sliding_window", 0)) {
                    p[t] = Double.NEGATIVE_INFINITY;
                }
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

    private double[] rotate(double[] x, int position, int layer) {
        boolean unrotated = (architecture.equals("smollm3") && layer % 4 == 3)
                || (architecture.equals("cohere2") && !hasWindow(layer));
        if (unrotated) {
            return x;
        }
        boolean local = architecture.equals("gemma3") && hasWindow(layer);
        double base = local ? 10000 : config.ropeBase();
        int pairs = config.ropeDimensions() / 2;
        String factorName = has("rope_factors_long.weight") ? "rope_factors_long.weight" : "rope_freqs.weight";
        double[] factors = optionalVector(factorName, pairs);
        boolean neighbours = List.of("llama", "granite", "smollm3", "command-r", "cohere2", "glm4")
                .contains(architecture);
        double magnitude = key("rope.scaling.attn_factor", 1);
        double[] out = x.clone();
        for (int head = 0; head < x.length; head += config.headDim()) {
            for (int i = 0; i < pairs; i++) {
                double angle = position
                        / (local ? 1 : config.ropeScale())
                        * Math.pow(base, -(double) i / pairs)
                        / (factors == null ? 1 : factors[i]);
                int first = head + (neighbours ? 2 * i : i);
                int second = neighbours ? first + 1 : first + pairs;
                out[first] = magnitude * (x[first] * Math.cos(angle) - x[second] * Math.sin(angle));
                out[second] = magnitude * (x[first] * Math.sin(angle) + x[second] * Math.cos(angle));
            }
        }
        return out;
    }

    /** An RMS norm, or the layer norm of the architectures that have it. */
    private double[] norm(double[] x, String stem) {
        double[] weight = row(file.tensor(stem + ".weight", x.length), 0);
        double[] bias = optionalVector(stem + ".bias", x.length);
        double mean = 0;
        if (List.of("command-r", "cohere2", "starcoder2", "stablelm").contains(architecture)) {
            for (double value : x) {
                mean += value / x.length;
            }
        }
        double squares = 0;
        for (double value : x) {
            squares += (value - mean) * (value - mean);
        }
        double scale = 1 / Math.sqrt(squares / x.length + config.normEpsilon());
        double[] out = new double[x.length];
        for (int i = 0; i < x.length; i++) {
            out[i] = (x[i] - mean) * scale * weight[i] + (bias == null ? 0 : bias[i]);
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
