package quire.model;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import java.util.stream.Stream;
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
        keys.add(new double[2 * config.layers()][]); // the second half for what is beside attention
        values.add(new double[2 * config.layers()][]);
        int hidden = config.hidden();
        double[] x = row(file.tensor("token_embd.weight", hidden, config.vocabularySize()), token);
        int own = (int) key("embedding_length_per_layer_input", 0);
        double[] inputs = new double[0];
        if (architecture.startsWith("gemma")) {
            x = times(x, Math.sqrt(hidden));
        } else {
            x = times(x, key("embedding_scale", architecture.equals("minicpm") ? 12 : 1));
        }
        if (has("position_embd.weight")) {
            x = sum(x, row(tensor("position_embd.weight"), position));
        }
        if (own > 0) {
            inputs = layerInputs(x, token, own);
        }
        boolean streams = architecture.equals("gemma3n");
        x = streams ? throughStreams(x, inputs, position) : x;
        for (int layer = 0; layer < config.layers() && !streams; layer++) {
            String prefix = "blk." + layer + ".";
            if (architecture.equals("deci") && !has(prefix + "attn_norm.weight")) {
                double[] normed = norm(x, prefix + "ffn_norm");
                x = sum(x, project(prefix + "ffn_down", feedForward(prefix, normed), hidden));
                continue;
            }
            if (architecture.startsWith("nemotron_h") || architecture.startsWith("mamba")) {
                x = sum(x, onlyPart(prefix, norm(x, prefix + "attn_norm"), position, layer));
                continue;
            }
            boolean onlyAfter = architecture.equals("olmo2") || architecture.equals("exaone4");
            double[] h = onlyAfter ? x : norm(x, prefix + "attn_norm");
            double[] beside = null;
            if (has(prefix + "attn_norm_2.weight")) { // attention reads this one
                beside = h;
                h = norm(x, prefix + "attn_norm_2");
            }
            if (architecture.equals("gptneox") && file.bool("gptneox.use_parallel_residual", true)) {
                beside = norm(x, prefix + "ffn_norm");
            }
            double[] a;
            if (has(prefix + "shortconv.conv.weight")) {
                a = shortConvolution(prefix, h, position, layer);
            } else if (has(prefix + "ssm_conv1d.weight") && architecture.startsWith("qwen")) {
                a = deltaNet(prefix, h, position, layer);
            } else if (has(prefix + "ssm_in.weight") && !architecture.equals("falcon-h1")) {
                a = stateSpace(prefix, h, position, layer);
            } else {
                double[] attended = has(prefix + "attn_kv_a_mqa.weight")
                        ? attendWithLatent(prefix, h, position, layer)
                        : attendWithHeads(prefix, h, position, layer);
                a = project(prefix + "attn_output", attended, hidden);
                if (architecture.equals("falcon-h1")) {
                    a = sum(a, stateSpace(prefix, h, position, config.layers() + layer));
                }
            }
            boolean gptOss = List.of("gpt-oss", "qwen3next", "qwen35", "qwen35moe", "seed_oss", "glm4moe")
                    .contains(architecture);
            if (has(prefix + "post_attention_norm.weight") && !gptOss) {
                a = norm(a, prefix + "post_attention_norm");
            }
            double residual =
                    key("residual_scale", architecture.equals("minicpm") ? 1.4 / Math.sqrt(config.layers()) : 1);
            x = sum(x, times(a, residual));
            if (beside != null) {
                h = beside;
            } else if (architecture.equals("dbrx")) {
                h = norm(x, prefix + "attn_output_norm");
            } else if (gptOss
                    || has(prefix + "ffn_norm.weight")
                    || has(prefix + "ffn_norm")
                    || architecture.equals("olmo")) {
                h = norm(x, prefix + (gptOss ? "post_attention_norm" : "ffn_norm"));
            } else if (onlyAfter) {
                h = x;
            } // else feed-forward reads what attention reads
            double[] f;
            if (has(prefix + "post_ffw_norm_1.weight")) { // experts beside
                f = norm(project(prefix + "ffn_down", feedForward(prefix, h), hidden), prefix + "post_ffw_norm_1");
                double[] experts = mixture(prefix, norm(x, prefix + "pre_ffw_norm_2"), routed(x, prefix));
                f = sum(f, norm(experts, prefix + "post_ffw_norm_2"));
            } else {
                f = has(prefix + "ffn_gate_inp.weight")
                        ? mixture(prefix, h, h)
                        : project(prefix + "ffn_down", feedForward(prefix, h), hidden);
            }
            if (has(prefix + "post_ffw_norm.weight")) {
                f = norm(f, prefix + "post_ffw_norm");
            }
            x = sum(x, times(f, residual));
            if (own > 0) {
                double[] gate = project(prefix + "inp_gate", x, own);
                for (int i = 0; i < own; i++) {
                    gate[i] = gelu(gate[i]) * inputs[layer * own + i];
                }
                x = sum(x, norm(project(prefix + "proj", gate, hidden), prefix + "post_norm"));
            }
            double[] factor = optionalVector(prefix + "layer_output_scale.weight", 1);
            x = factor == null ? x : times(x, factor[0]);
        }
        boolean untied = has("output.weight");
        double[] logits = multiply(
                untied ? "output.weight" : "token_embd.weight",
                norm(x, architecture.startsWith("lfm2") ? "token_embd_norm" : "output_norm"),
                config.vocabularySize());
        double[] headBias = optionalVector("output.bias", config.vocabularySize());
        logits = headBias == null ? logits : sum(logits, headBias);
        double scale = key("logit_scale", 1);
        logits =
                times(logits, architecture.startsWith("granite") || architecture.equals("minicpm") ? 1 / scale : scale);
        double cap = key("final_logit_softcapping", 0);
        for (int i = 0; i < logits.length && cap > 0; i++) {
            logits[i] = cap * Math.tanh(logits[i] / cap);
        }
        return logits;
    }

    /** The vectors of all positions of a text; of an encoder, which sees all of it. */
    double[][] vectors(int[] tokens) {
        int hidden = config.hidden();
        double[][] x = new double[tokens.length][];
        for (int t = 0; t < tokens.length; t++) {
            double[] sum = row(file.tensor("token_embd.weight", hidden, config.vocabularySize()), tokens[t]);
            sum = architecture.startsWith("gemma") ? times(sum, Math.sqrt(hidden)) : sum;
            sum = has("token_types.weight") ? sum(sum, row(tensor("token_types.weight"), 0)) : sum;
            sum = has("position_embd.weight") ? sum(sum, row(tensor("position_embd.weight"), t)) : sum;
            x[t] = has("token_embd_norm.weight") ? norm(sum, "token_embd_norm") : sum;
        }
        for (int layer = 0; layer < config.layers(); layer++) {
            String prefix = "blk." + layer + ".";
            double[][][] qkv = new double[tokens.length][][];
            for (int t = 0; t < tokens.length; t++) {
                double[] h = has(prefix + "attn_norm.weight") ? norm(x[t], prefix + "attn_norm") : x[t];
                qkv[t] = queriesKeysValues(prefix, h, layer);
                for (int part = 0; part < 2; part++) {
                    String norm = prefix + (part == 0 ? "attn_q_norm.weight" : "attn_k_norm.weight");
                    qkv[t][part] = headNorm(qkv[t][part], norm, layer);
                    qkv[t][part] = architecture.equals("bert") ? qkv[t][part] : rotate(qkv[t][part], t, layer);
                }
            }
            for (int t = 0; t < tokens.length; t++) {
                double[] a = project(prefix + "attn_output", attendBothWays(qkv, t, layer), hidden);
                a = has(prefix + "post_attention_norm.weight") ? norm(a, prefix + "post_attention_norm") : a;
                x[t] = sum(x[t], a);
                boolean normsSum = has(prefix + "attn_output_norm.weight");
                x[t] = normsSum ? norm(x[t], prefix + "attn_output_norm") : x[t];
                double[] h = normsSum ? x[t] : norm(x[t], prefix + "ffn_norm");
                double[] f = has(prefix + "ffn_gate_inp.weight")
                        ? mixture(prefix, h, h)
                        : project(prefix + "ffn_down", feedForward(prefix, h), hidden);
                f = has(prefix + "post_ffw_norm.weight") ? norm(f, prefix + "post_ffw_norm") : f;
                x[t] = sum(x[t], f);
                x[t] = normsSum ? norm(x[t], prefix + "layer_output_norm") : x[t];
            }
        }
        for (int t = 0; t < tokens.length; t++) {
            for (String norm : List.of("output_norm", "enc.output_norm")) {
                x[t] = has(norm + ".weight") ? norm(x[t], norm) : x[t];
            }
            if (has("dense_2.weight")) {
                double[] wide = multiply("dense_2.weight", x[t], (int) key("dense_2_feat_out", 0));
                x[t] = multiply("dense_3.weight", wide, hidden);
            }
        }
        return x;
    }

    private double[] attendBothWays(double[][][] qkv, int position, int layer) {
        int d = config.headDim();
        int half = hasWindow(layer) ? (int) key("attention.sliding_window", 0) / 2 : qkv.length;
        int group = config.heads() / config.kvHeads();
        double[] out = new double[qkv[0][0].length];
        for (int head = 0; head < config.heads(); head++) {
            int kv = head / group * d;
            double[] p = new double[qkv.length];
            double total = 0;
            for (int t = Math.max(0, position - half); t <= Math.min(p.length - 1, position + half); t++) {
                for (int i = 0; i < d; i++) {
                    p[t] += qkv[position][0][head * d + i] * qkv[t][1][kv + i] / Math.sqrt(d);
                }
                p[t] = Math.exp(p[t]);
                total += p[t];
            }
            for (int t = 0; t < p.length; t++) {
                for (int i = 0; i < d; i++) {
                    out[head * d + i] += p[t] / total * qkv[t][2][kv + i];
                }
            }
        }
        return out;
    }

    /** All blocks of a model with several residual streams. */
    private double[] throughStreams(double[] x, double[] inputs, int position) {
        int own = inputs.length / config.layers();
        int hidden = x.length;
        double[][] streams = new double[(int) key("altup.num_inputs", 4)][];
        streams[0] = x;
        for (int i = 1; i < streams.length; i++) {
            streams[i] = asLong(expert("altup_proj", "", i - 1, x, 0), x);
        }
        for (int layer = 0; layer < config.layers(); layer++) {
            String prefix = "blk." + layer + ".";
            double[] modes = modes(prefix, streams[0]);
            double[][] predicted = new double[streams.length][];
            for (int i = 0; i < streams.length; i++) {
                predicted[i] = streams[i];
                for (int j = 0; j < streams.length; j++) {
                    double[] factors = row(tensor(prefix + "altup_predict_coef.weight"), i * streams.length + j);
                    predicted[i] = sum(predicted[i], times(streams[j], dot(factors, modes)));
                }
            }
            double[] h = norm(predicted[0], prefix + "attn_norm");
            int rank = (int) tensor(prefix + "laurel_r.weight").columns();
            double[] narrow = project(prefix + "laurel_l", h, rank);
            double[] around = sum(h, norm(project(prefix + "laurel_r", narrow, hidden), prefix + "laurel_post_norm"));
            double[] a = project(prefix + "attn_output", attendWithHeads(prefix, h, position, layer), hidden);
            double[] active = sum(predicted[0], norm(a, prefix + "post_attention_norm"));
            active = times(sum(active, around), Math.sqrt(0.5));
            double[] f = feedForward(prefix, norm(active, prefix + "ffn_norm"));
            active = sum(active, norm(project(prefix + "ffn_down", f, hidden), prefix + "post_ffw_norm"));
            modes = modes(prefix, active);
            double[] difference = sum(active, times(predicted[0], -1));
            for (int i = 0; i < streams.length; i++) {
                double factor = 1 + dot(row(tensor(prefix + "altup_correct_coef.weight"), i), modes);
                streams[i] = sum(predicted[i], times(difference, factor));
            }
            double[] scales = row(tensor(prefix + "altup_correct_scale.weight"), 0);
            double[] scaled = new double[hidden];
            for (int i = 0; i < hidden; i++) {
                scaled[i] = streams[0][i] * scales[i];
            }
            double[] gate = project(prefix + "inp_gate", scaled, own);
            for (int i = 0; i < own; i++) {
                gate[i] = gelu(gate[i]) * inputs[layer * own + i];
            }
            double[] added = norm(project(prefix + "proj", gate, hidden), prefix + "post_norm");
            for (int i = 1; i < streams.length; i++) {
                streams[i] = sum(streams[i], added);
            }
        }
        double[] mean = streams[0];
        for (int i = 1; i < streams.length; i++) {
            mean = sum(mean, asLong(expert("altup_unembd_proj", "", i - 1, streams[i], 0), streams[0]));
        }
        return times(mean, 1.0 / streams.length);
    }

    /** What the router of residual streams gives for each. */
    private double[] modes(String prefix, double[] x) {
        double[] normed = times(norm(x, prefix + "altup_router_norm"), 1.0 / x.length);
        int count = (int) key("altup.num_inputs", 4);
        return Arrays.stream(project(prefix + "altup_router", normed, count))
                .map(Math::tanh)
                .toArray();
    }

    private static double[] asLong(double[] x, double[] other) {
        return times(x, Math.sqrt(dot(other, other) / dot(x, x)));
    }

    private static double dot(double[] a, double[] b) {
        double sum = 0;
        for (int i = 0; i < a.length; i++) {
            sum += a[i] * b[i];
        }
        return sum;
    }

    /** What each layer reads besides the residual stream, one layer behind another. */
    private double[] layerInputs(double[] x, int token, int own) {
        int all = own * config.layers();
        double[] table = row(file.tensor("per_layer_token_embd.weight", all, config.vocabularySize()), token);
        double[] products = times(multiply("per_layer_model_proj.weight", x, all), 1 / Math.sqrt(x.length));
        double[] out = new double[all];
        for (int layer = 0; layer < config.layers(); layer++) {
            double[] part = Arrays.copyOfRange(products, layer * own, (layer + 1) * own);
            double[] normed = norm(part, "per_layer_proj_norm");
            for (int i = 0; i < own; i++) {
                out[layer * own + i] = (normed[i] + table[layer * own + i] * Math.sqrt(own)) / Math.sqrt(2);
            }
        }
        return out;
    }

    /** What Gemma 4's router reads: the residual stream, normalised, with a factor for each number. */
    private double[] routed(double[] x, String prefix) {
        double squares = 0;
        for (double value : x) {
            squares += value * value;
        }
        double[] factors = row(file.tensor(prefix + "ffn_gate_inp.scale", x.length), 0);
        double[] out = new double[x.length];
        for (int i = 0; i < x.length; i++) {
            out[i] = x[i] / Math.sqrt(squares / x.length + config.normEpsilon()) * factors[i] / Math.sqrt(x.length);
        }
        return out;
    }

    private double[] onlyPart(String prefix, double[] h, int position, int layer) {
        if (has(prefix + "ssm_in.weight")) {
            return stateSpace(prefix, h, position, layer);
        }
        if (has(prefix + "attn_q.weight")) {
            return project(prefix + "attn_output", attendWithHeads(prefix, h, position, layer), h.length);
        }
        return has(prefix + "ffn_gate_inp.weight")
                ? mixture(prefix, h, h)
                : project(prefix + "ffn_down", feedForward(prefix, h), h.length);
    }

    /** The inputs of the convolution are kept where other layers keep keys. */
    private double[] shortConvolution(String prefix, double[] h, int position, int layer) {
        double[] bcx = project(prefix + "shortconv.in_proj", h, 3 * h.length);
        double[] input = new double[h.length];
        for (int i = 0; i < input.length; i++) {
            input[i] = bcx[i] * bcx[2 * h.length + i];
        }
        keys.get(position)[layer] = input;
        int taps = (int) key("shortconv.l_cache", 0);
        double[] out = new double[h.length];
        for (int i = 0; i < out.length; i++) {
            double[] weights = row(tensor(prefix + "shortconv.conv.weight"), i);
            for (int back = 0; back < taps && back <= position; back++) {
                out[i] += weights[taps - 1 - back] * keys.get(position - back)[layer][i];
            }
            out[i] *= bcx[h.length + i];
        }
        return project(prefix + "shortconv.out_proj", out, h.length);
    }

    /** The convolution's inputs are kept where other layers keep keys, and the states where they keep values. */
    private double[] stateSpace(String prefix, double[] h, int position, int layer) {
        if (has(prefix + "ssm_x.weight")) {
            return selective(prefix, h, position, layer);
        }
        int width = (int) key("ssm.inner_size", 0);
        int heads = (int) key("ssm.time_step_rank", 0);
        int groups = (int) key("ssm.group_count", 0);
        int n = (int) key("ssm.state_size", 0);
        int taps = (int) key("ssm.conv_kernel", 0);
        int channels = width + 2 * groups * n;
        int d = width / heads;
        double[] all = project(prefix + "ssm_in", h, width + channels + heads);
        keys.get(position)[layer] = Arrays.copyOfRange(all, width, width + channels);
        double[] xbc = new double[channels];
        for (int i = 0; i < channels; i++) {
            double[] weights = row(tensor(prefix + "ssm_conv1d.weight"), i);
            double sum = row(tensor(prefix + "ssm_conv1d.bias"), 0)[i];
            for (int back = 0; back < taps && back <= position; back++) {
                sum += weights[taps - 1 - back] * keys.get(position - back)[layer][i];
            }
            xbc[i] = sum / (1 + Math.exp(-sum));
        }
        double[] state = position == 0 ? new double[width * n] : values.get(position - 1)[layer].clone();
        double[] y = new double[width];
        for (int i = 0; i < width; i++) {
            int head = i / d;
            int group = head / (heads / groups);
            double step =
                    Math.log1p(Math.exp(all[width + channels + head] + row(tensor(prefix + "ssm_dt.bias"), 0)[head]));
            double decay = Math.exp(step * row(tensor(prefix + "ssm_a"), head)[0]);
            y[i] = row(tensor(prefix + "ssm_d"), head)[0] * xbc[i];
            for (int j = 0; j < n; j++) {
                double b = xbc[width + group * n + j];
                double c = xbc[width + (groups + group) * n + j];
                state[i * n + j] = decay * state[i * n + j] + step * b * xbc[i];
                y[i] += c * state[i * n + j];
            }
            y[i] *= all[i] / (1 + Math.exp(-all[i]));
        }
        values.get(position)[layer] = state;
        int size = width / groups;
        for (int group = 0; group < groups && has(prefix + "ssm_norm.weight"); group++) {
            double squares = 0;
            for (int i = group * size; i < (group + 1) * size; i++) {
                squares += y[i] * y[i];
            }
            for (int i = 0; i < size; i++) {
                y[group * size + i] *= row(tensor(prefix + "ssm_norm.weight"), group)[i]
                        / Math.sqrt(squares / size + config.normEpsilon());
            }
        }
        return project(prefix + "ssm_out", y, h.length);
    }

    /** Mamba, with inputs and states kept in the same places. */
    private double[] selective(String prefix, double[] h, int position, int layer) {
        int width = (int) key("ssm.inner_size", 0);
        int rank = (int) key("ssm.time_step_rank", 0);
        int n = (int) key("ssm.state_size", 0);
        int taps = (int) key("ssm.conv_kernel", 0);
        double[] all = project(prefix + "ssm_in", h, 2 * width);
        keys.get(position)[layer] = Arrays.copyOf(all, width);
        double[] x = new double[width];
        for (int i = 0; i < width; i++) {
            double[] weights = row(tensor(prefix + "ssm_conv1d.weight"), i);
            double sum = row(tensor(prefix + "ssm_conv1d.bias"), 0)[i];
            for (int back = 0; back < taps && back <= position; back++) {
                sum += weights[taps - 1 - back] * keys.get(position - back)[layer][i];
            }
            x[i] = sum / (1 + Math.exp(-sum));
        }
        double[] mixed = project(prefix + "ssm_x", x, rank + 2 * n);
        double[] steps = selectivePart(prefix + "ssm_dt_norm", Arrays.copyOf(mixed, rank));
        double[] b = selectivePart(prefix + "ssm_b_norm", Arrays.copyOfRange(mixed, rank, rank + n));
        double[] c = selectivePart(prefix + "ssm_c_norm", Arrays.copyOfRange(mixed, rank + n, rank + 2 * n));
        steps = project(prefix + "ssm_dt", steps, width);
        double[] state = position == 0 ? new double[width * n] : values.get(position - 1)[layer].clone();
        double[] y = new double[width];
        for (int i = 0; i < width; i++) {
            double step = Math.log1p(Math.exp(steps[i]));
            double[] rates = row(tensor(prefix + "ssm_a"), i);
            y[i] = row(tensor(prefix + "ssm_d"), 0)[i] * x[i];
            for (int j = 0; j < n; j++) {
                state[i * n + j] = Math.exp(step * rates[j]) * state[i * n + j] + step * b[j] * x[i];
                y[i] += c[j] * state[i * n + j];
            }
            double gate = all[width + i];
            y[i] *= gate / (1 + Math.exp(-gate));
        }
        values.get(position)[layer] = state;
        return project(prefix + "ssm_out", y, h.length);
    }

    private double[] selectivePart(String stem, double[] x) {
        if (has(stem + ".weight")) {
            return norm(x, stem);
        }
        if (!file.bool("mamba.ssm.dt_b_c_rms", false)) {
            return x;
        }
        double squares = 0;
        for (double number : x) {
            squares += number * number;
        }
        return times(x, 1 / Math.sqrt(squares / x.length + config.normEpsilon()));
    }

    /** The convolution's inputs are kept where other layers keep keys, and the states where they keep values. */
    private double[] deltaNet(String prefix, double[] h, int position, int layer) {
        int heads = (int) key("ssm.time_step_rank", 0);
        int groups = (int) key("ssm.group_count", 0);
        int n = (int) key("ssm.state_size", 0);
        int taps = (int) key("ssm.conv_kernel", 0);
        int perGroup = heads / groups;
        int keysWidth = groups * n;
        int channels = 2 * keysWidth + heads * n;
        double[] mixed = new double[channels];
        double[] z = new double[heads * n];
        if (has(prefix + "ssm_in.weight")) { // group by group: query, key, values, gates
            double[] all = project(prefix + "ssm_in", h, channels + heads * n);
            int each = (2 + 2 * perGroup) * n;
            for (int group = 0; group < groups; group++) {
                System.arraycopy(all, group * each, mixed, group * n, n);
                System.arraycopy(all, group * each + n, mixed, keysWidth + group * n, n);
                int values = group * perGroup * n;
                System.arraycopy(all, group * each + 2 * n, mixed, 2 * keysWidth + values, perGroup * n);
                System.arraycopy(all, group * each + (2 + perGroup) * n, z, values, perGroup * n);
            }
        } else {
            mixed = project(prefix + "attn_qkv", h, channels);
            z = project(prefix + "attn_gate", h, heads * n);
        }
        double[] alpha;
        double[] beta;
        if (has(prefix + "ssm_ba.weight")) {
            double[] both = project(prefix + "ssm_ba", h, 2 * heads);
            alpha = new double[heads];
            beta = new double[heads];
            for (int head = 0; head < heads; head++) {
                int at = head / perGroup * 2 * perGroup + head % perGroup;
                beta[head] = both[at];
                alpha[head] = both[at + perGroup];
            }
        } else {
            alpha = project(prefix + "ssm_alpha", h, heads);
            beta = project(prefix + "ssm_beta", h, heads);
        }
        keys.get(position)[layer] = mixed;
        double[] qkv = new double[channels];
        for (int i = 0; i < channels; i++) {
            double[] weights = row(tensor(prefix + "ssm_conv1d.weight"), i);
            double sum = 0;
            for (int back = 0; back < taps && back <= position; back++) {
                sum += weights[taps - 1 - back] * keys.get(position - back)[layer][i];
            }
            qkv[i] = sum / (1 + Math.exp(-sum));
        }
        double[] state = position == 0 ? new double[heads * n * n] : values.get(position - 1)[layer].clone();
        double[] y = new double[heads * n];
        for (int head = 0; head < heads; head++) {
            int group = architecture.equals("qwen3next") ? head / perGroup : head % groups;
            double[] q = unit(Arrays.copyOfRange(qkv, group * n, group * n + n));
            double[] k = unit(Arrays.copyOfRange(qkv, keysWidth + group * n, keysWidth + group * n + n));
            double step = Math.log1p(Math.exp(alpha[head] + row(tensor(prefix + "ssm_dt.bias"), 0)[head]));
            double decay = Math.exp(step * row(tensor(prefix + "ssm_a"), 0)[head]);
            double correction = 1 / (1 + Math.exp(-beta[head]));
            double squares = 0;
            for (int i = 0; i < n; i++) {
                int at = (head * n + i) * n;
                double remembered = 0;
                for (int j = 0; j < n; j++) {
                    state[at + j] *= decay;
                    remembered += state[at + j] * k[j];
                }
                double change = correction * (qkv[2 * keysWidth + head * n + i] - remembered);
                for (int j = 0; j < n; j++) {
                    state[at + j] += change * k[j];
                    y[head * n + i] += state[at + j] * q[j] / Math.sqrt(n);
                }
                squares += y[head * n + i] * y[head * n + i];
            }
            for (int i = head * n; i < (head + 1) * n; i++) {
                y[i] *= row(tensor(prefix + "ssm_norm.weight"), 0)[i % n]
                        / Math.sqrt(squares / n + config.normEpsilon())
                        * z[i]
                        / (1 + Math.exp(-z[i]));
            }
        }
        values.get(position)[layer] = state;
        return project(prefix + "ssm_out", y, h.length);
    }

    /** The vector of length 1 with the same direction. */
    private double[] unit(double[] x) {
        double squares = 0;
        for (double value : x) {
            squares += value * value;
        }
        return times(x, 1 / Math.sqrt(squares + config.normEpsilon()));
    }

    private double[] attendWithHeads(String prefix, double[] h, int position, int layer) {
        ModelConfig.HeadSizes sizes = config.headSizes(layer);
        int own = config.layers() - (int) key("attention.shared_kv_layers", 0);
        if (layer >= own) {
            double[] q = project(prefix + "attn_q", h, sizes.heads() * sizes.headDim());
            int source = own - 1;
            while (hasWindow(source) != hasWindow(layer)) {
                source--;
            }
            keys.get(position)[layer] = keys.get(position)[source];
            values.get(position)[layer] = values.get(position)[source];
            return attend(rotate(headNorm(q, prefix + "attn_q_norm.weight", layer), position, layer), layer);
        }
        double[][] qkv = queriesKeysValues(prefix, h, layer);
        double limit = key("attention.clamp_kqv", 0);
        for (double[] part : qkv) {
            for (int i = 0; i < part.length && limit > 0; i++) {
                part[i] = Math.clamp(part[i], -limit, limit);
            }
        }
        if (architecture.equals("llama4")) {
            return attendAsLlama4(qkv, position, layer);
        }
        boolean rotatesFirst = architecture.startsWith("hunyuan") || architecture.equals("maincoder");
        double[] q = rotatesFirst ? rotate(qkv[0], position, layer) : qkv[0];
        double[] k = rotatesFirst ? rotate(qkv[1], position, layer) : qkv[1];
        q = headNorm(q, prefix + "attn_q_norm.weight", layer);
        k = headNorm(k, prefix + "attn_k_norm.weight", layer);
        keys.get(position)[layer] = rotatesFirst ? k : rotate(k, position, layer);
        values.get(position)[layer] =
                List.of("gemma3n", "gemma4").contains(architecture) ? unitHeads(qkv[2], sizes.headDim()) : qkv[2];
        double[] attended = attend(rotatesFirst ? q : rotate(q, position, layer), layer);
        for (int i = 0; qkv.length > 3 && i < attended.length; i++) {
            attended[i] /= 1 + Math.exp(-qkv[3][i]);
        }
        return attended;
    }

    /** Every fourth layer does not rotate; the others norm their heads without weights. */
    private double[] attendAsLlama4(double[][] qkv, int position, int layer) {
        int d = config.headDim();
        boolean rotates = layer % 4 != 3;
        keys.get(position)[layer] = rotates ? unitHeads(rotate(qkv[1], position, layer), d) : qkv[1];
        values.get(position)[layer] = qkv[2];
        double temperature = 1 + 0.1 * Math.log(1 + Math.floor((position + 1) / 8192.0));
        return attend(rotates ? unitHeads(rotate(qkv[0], position, layer), d) : times(qkv[0], temperature), layer);
    }

    /** Each head divided by the root of its mean square. */
    private double[] unitHeads(double[] x, int width) {
        double[] out = x.clone();
        for (int first = 0; first < x.length; first += width) {
            double squares = 0;
            for (int i = first; i < first + width; i++) {
                squares += x[i] * x[i];
            }
            for (int i = first; i < first + width; i++) {
                out[i] = x[i] / Math.sqrt(squares / width + config.normEpsilon());
            }
        }
        return out;
    }

    /** Makes keys and values of all heads from the latent, as the model was trained. */
    private double[] attendWithLatent(String prefix, double[] h, int position, int layer) {
        int heads = config.heads();
        int rank = (int) key("attention.kv_lora_rank", 0);
        int d = (int) key("attention.key_length_mla", 0);
        int v = (int) key("attention.value_length_mla", 0);
        int rotated = config.ropeDimensions();
        int plain = d - rotated;
        double[] q;
        if (has(prefix + "attn_q.weight")) {
            q = multiply(prefix + "attn_q.weight", h, heads * d);
        } else {
            double[] qa = multiply(prefix + "attn_q_a.weight", h, (int) key("attention.q_lora_rank", 0));
            q = multiply(prefix + "attn_q_b.weight", norm(qa, prefix + "attn_q_a_norm"), heads * d);
        }
        double[] kv = multiply(prefix + "attn_kv_a_mqa.weight", h, rank + rotated);
        double[] latent = norm(Arrays.copyOf(kv, rank), prefix + "attn_kv_a_norm");
        double[] rotatedKey = turn(Arrays.copyOfRange(kv, rank, rank + rotated), position);
        GgufTensor keyMatrices = tensor(prefix + "attn_k_b.weight");
        GgufTensor valueMatrices = tensor(prefix + "attn_v_b.weight");
        double[] k = new double[heads * d];
        double[] values = new double[heads * v];
        double[] turned = q.clone();
        for (int head = 0; head < heads; head++) {
            for (int r = 0; r < rank; r++) {
                double[] w = row(keyMatrices, head * rank + r);
                for (int i = 0; i < plain; i++) {
                    k[head * d + i] += w[i] * latent[r];
                }
            }
            System.arraycopy(rotatedKey, 0, k, head * d + plain, rotated);
            int at = head * d + plain;
            System.arraycopy(turn(Arrays.copyOfRange(q, at, at + rotated), position), 0, turned, at, rotated);
            for (int i = 0; i < v; i++) {
                double[] w = row(valueMatrices, head * v + i);
                for (int r = 0; r < rank; r++) {
                    values[head * v + i] += w[r] * latent[r];
                }
            }
        }
        keys.get(position)[layer] = k;
        this.values.get(position)[layer] = values;
        double log = Math.log(config.ropeScale());
        double factor = 1 + key("rope.scaling.yarn_log_multiplier", 0) * log;
        double[] out = new double[heads * v];
        for (int head = 0; head < heads; head++) {
            double[] p = new double[position + 1];
            double total = 0;
            for (int t = 0; t < p.length; t++) {
                for (int i = 0; i < d; i++) {
                    p[t] += turned[head * d + i] * keys.get(t)[layer][head * d + i];
                }
                p[t] = Math.exp(p[t] * factor * factor / Math.sqrt(d));
                total += p[t];
            }
            for (int t = 0; t < p.length; t++) {
                for (int i = 0; i < v; i++) {
                    out[head * v + i] += p[t] / total * this.values.get(t)[layer][head * v + i];
                }
            }
        }
        return out;
    }

    /** Turns neighbours, without a factor: it is in the scores. */
    private double[] turn(double[] x, int position) {
        double[] out = new double[x.length];
        for (int i = 0; i < x.length; i += 2) {
            double share = yarnShare(i / 2, x.length, config.ropeBase());
            double angle = position
                    * (share + (1 - share) / config.ropeScale())
                    * Math.pow(config.ropeBase(), -(double) i / x.length);
            out[i] = x[i] * Math.cos(angle) - x[i + 1] * Math.sin(angle);
            out[i + 1] = x[i] * Math.sin(angle) + x[i + 1] * Math.cos(angle);
        }
        return out;
    }

    private double[][] queriesKeysValues(String prefix, double[] h, int layer) {
        ModelConfig.HeadSizes sizes = config.headSizes(layer);
        int q = sizes.heads() * sizes.headDim();
        int kv = sizes.kvHeads() * sizes.headDim();
        if (has(prefix + "attn_qkv.weight")) {
            double[] all = project(prefix + "attn_qkv", h, q + 2 * kv);
            return new double[][] {
                Arrays.copyOf(all, q), Arrays.copyOfRange(all, q, q + kv), Arrays.copyOfRange(all, q + kv, q + 2 * kv)
            };
        }
        if (List.of("qwen3next", "qwen35", "qwen35moe").contains(architecture)) {
            double[] both = project(prefix + "attn_q", h, 2 * q); // head by head
            double[] queries = new double[q];
            double[] gates = new double[q];
            int d = config.headDim();
            for (int i = 0; i < q; i++) {
                queries[i] = both[i / d * 2 * d + i % d];
                gates[i] = both[i / d * 2 * d + d + i % d];
            }
            return new double[][] {queries, project(prefix + "attn_k", h, kv), project(prefix + "attn_v", h, kv), gates
            };
        }
        return new double[][] {
            project(prefix + "attn_q", h, q),
            project(prefix + "attn_k", h, kv),
            project(prefix + (has(prefix + "attn_v.weight") ? "attn_v" : "attn_k"), h, kv)
        };
    }

    private double[] feedForward(String prefix, double[] h) {
        int width = (int) tensor(prefix + "ffn_down.weight").columns();
        boolean exact = List.of("falcon", "gptneox", "bert", "nomic-bert-moe").contains(architecture);
        boolean gelu = exact
                || List.of("starcoder2", "phi2", "codeshell", "gpt2", "starcoder")
                        .contains(architecture);
        if (gelu || List.of("arcee", "nemotron", "nemotron_h", "jais2").contains(architecture)) {
            double[] up = project(prefix + "ffn_up", h, width);
            for (int i = 0; i < width; i++) {
                up[i] = exact ? exactGelu(up[i]) : gelu ? gelu(up[i]) : Math.pow(Math.max(up[i], 0), 2);
            }
            return up;
        }
        boolean fused = !has(prefix + "ffn_gate.weight");
        double[] up = project(prefix + "ffn_up", h, fused ? 2 * width : width);
        double[] gate = fused ? Arrays.copyOf(up, width) : project(prefix + "ffn_gate", h, width);
        up = fused ? Arrays.copyOfRange(up, width, 2 * width) : up;
        if (architecture.equals("gemma3n")) {
            makeSparse(gate, Integer.parseInt(prefix.split("\\.", -1)[1]));
        }
        for (int i = 0; i < width; i++) {
            double activated = architecture.startsWith("gemma")
                    ? gelu(gate[i])
                    : architecture.equals("modern-bert") ? exactGelu(gate[i]) : gate[i] / (1 + Math.exp(-gate[i]));
            gate[i] = activated * up[i];
        }
        return gate;
    }

    private void makeSparse(double[] gate, int layer) {
        String scales = "gemma3n.activation_sparsity_scale";
        double deviations = file.has(scales)
                ? file.float32s(scales)[layer]
                : layer < 10 ? 1.6448533535003662 : Double.NEGATIVE_INFINITY;
        double mean = Arrays.stream(gate).average().orElseThrow();
        double variance =
                Arrays.stream(gate).map(x -> (x - mean) * (x - mean)).average().orElseThrow();
        for (int i = 0; i < gate.length && Double.isFinite(deviations); i++) {
            gate[i] = Math.max(gate[i] - mean - deviations * Math.sqrt(variance), 0);
        }
    }

    /** The sum of the chosen experts, each with its weight, and of the shared expert. */
    private double[] mixture(String prefix, double[] h, double[] routed) {
        int experts = (int) key("expert_count", 0);
        int used = (int) key("expert_used_count", 0);
        boolean gptOss = architecture.equals("gpt-oss");
        double[] logits = project(prefix + "ffn_gate_inp", routed, experts);
        double total = 0;
        for (double logit : logits) {
            total += Math.exp(logit);
        }
        boolean before = architecture.equals("llama4");
        boolean sigmoid = before || key("expert_gating_func", 1) == 2;
        double[] p = new double[experts];
        for (int e = 0; e < experts; e++) {
            p[e] = sigmoid ? 1 / (1 + Math.exp(-logits[e])) : Math.exp(logits[e]) / total;
        }
        double[] bias = optionalVector(prefix + "exp_probs_b.bias", experts);
        double[] rank = bias == null ? p : sum(p, bias);
        Comparator<Integer> byRank = Comparator.comparingDouble(e -> -rank[e]);
        int groups = (int) key("expert_group_count", 1);
        int size = experts / groups;
        Comparator<Integer> byBestTwo =
                Comparator.comparingDouble(group -> -Stream.of(IntStream.range(group * size, (group + 1) * size)
                                .boxed()
                                .toArray(Integer[]::new))
                        .sorted(byRank)
                        .limit(2)
                        .mapToDouble(e -> rank[e])
                        .sum());
        List<Integer> bestGroups = IntStream.range(0, groups)
                .boxed()
                .sorted(byBestTwo)
                .limit((int) key("expert_group_used_count", groups))
                .toList();
        List<Integer> chosen = IntStream.range(0, experts)
                .boxed()
                .filter(e -> bestGroups.contains(e / size))
                .sorted(byRank)
                .limit(used)
                .toList();
        double sum = chosen.stream().mapToDouble(e -> p[e]).sum();
        boolean normalised = file.bool(
                architecture + ".expert_weights_norm",
                !List.of(
                                "deepseek",
                                "deepseek2",
                                "qwen2moe",
                                "olmoe",
                                "bailingmoe",
                                "nemotron_h_moe",
                                "llama4",
                                "jamba",
                                "nomic-bert-moe")
                        .contains(architecture));
        double divisor = normalised ? sum : 1;
        double[] weights = p;
        if (architecture.equals("phimoe")) {
            weights = weightsOfNear(logits, chosen);
            divisor = 1;
        }
        double[] out = new double[h.length];
        for (int e : chosen) {
            boolean plain = List.of("nemotron_h_moe", "nomic-bert-moe").contains(architecture);
            double[] input = before ? times(h, p[e]) : h;
            double[] up = expert(prefix + "ffn_up_exps", prefix, e, input, 1);
            double[] gate = plain ? up : expert(prefix + "ffn_gate_exps", prefix, e, input, 0);
            for (int i = 0; i < gate.length; i++) {
                if (architecture.equals("nomic-bert-moe")) {
                    gate[i] = exactGelu(up[i]);
                } else if (plain) {
                    gate[i] = Math.pow(Math.max(up[i], 0), 2);
                } else if (gptOss) {
                    double g = Math.min(gate[i], 7);
                    gate[i] = g / (1 + Math.exp(-1.702 * g)) * (Math.clamp(up[i], -7, 7) + 1);
                } else if (architecture.equals("gemma4")) {
                    gate[i] = gelu(gate[i]) * up[i];
                } else {
                    gate[i] = gate[i] / (1 + Math.exp(-gate[i])) * up[i];
                }
            }
            double[] down = expert(prefix + "ffn_down_exps", prefix, e, gate, 0);
            double[] factors = optionalVector(prefix + "ffn_down_exps.scale", experts);
            down = factors == null ? down : times(down, factors[e]);
            out = sum(out, times(down, before ? 1 : weights[e] / divisor * key("expert_weights_scale", 1)));
        }
        if (has(prefix + "ffn_up_shexp.weight")) {
            int width = (int) tensor(prefix + "ffn_up_shexp.weight").dims()[1];
            double[] up = project(prefix + "ffn_up_shexp", h, width);
            boolean plain = !has(prefix + "ffn_gate_shexp.weight");
            double[] gate = plain ? up : project(prefix + "ffn_gate_shexp", h, width);
            for (int i = 0; i < width; i++) {
                gate[i] = plain ? Math.pow(Math.max(up[i], 0), 2) : gate[i] / (1 + Math.exp(-gate[i])) * up[i];
            }
            double factor = has(prefix + "ffn_gate_inp_shexp.weight")
                    ? 1 / (1 + Math.exp(-multiply(prefix + "ffn_gate_inp_shexp.weight", h, 1)[0]))
                    : 1;
            out = sum(out, times(project(prefix + "ffn_down_shexp", gate, h.length), factor));
        }
        return out;
    }

    /**
     * Phi-3.5-MoE's weights of its two experts: each one's probability among the experts left for it whose score is within a
     * fiftieth of its own.
     */
    private static double[] weightsOfNear(double[] scores, List<Integer> chosen) {
        double[] left = scores.clone();
        double[] weights = new double[scores.length];
        for (int e : chosen) {
            double total = 0;
            for (int other = 0; other < scores.length; other++) {
                double distance = (left[e] - left[other]) / Math.max(Math.abs(scores[other]), left[e]);
                total += distance > 0.02 ? 0 : Math.exp(left[other]);
            }
            weights[e] = Math.exp(left[e]) / total;
            left[e] = Double.NEGATIVE_INFINITY;
        }
        return weights;
    }

    /** The product of one expert; half says which part of a matrix that holds gate and up. */
    private double[] expert(String stem, String prefix, int expert, double[] x, int half) {
        boolean fused = !has(stem + ".weight");
        GgufTensor tensor = tensor(fused ? prefix + "ffn_gate_up_exps.weight" : stem + ".weight");
        int all = (int) tensor.dims()[1];
        int rows = fused ? all / 2 : all;
        int first = expert * all + (fused ? half * rows : 0);
        double[] y = new double[rows];
        double[] input = roundsActivations && tensor.elementType().isQuantized() ? rounded(x) : x;
        for (int o = 0; o < rows; o++) {
            double[] w = row(tensor, first + o);
            for (int i = 0; i < x.length; i++) {
                y[o] += w[i] * input[i];
            }
        }
        return has(stem + ".bias") ? sum(y, row(tensor(stem + ".bias"), expert)) : y;
    }

    private GgufTensor tensor(String name) {
        return file.tensors().stream()
                .filter(tensor -> tensor.name().equals(name))
                .findFirst()
                .orElseThrow();
    }

    private static double gelu(double x) {
        return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)));
    }

    /** By a series of the normal distribution whose terms are all positive. */
    private static double exactGelu(double x) {
        double term = x;
        double series = 0;
        for (int n = 1; Math.abs(term) > 1e-20; n++) {
            series += term;
            term *= x * x / (2 * n + 1);
        }
        return x * (0.5 + series * Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI));
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
        if (List.of("gemma3n", "gemma4", "gemma-embedding").contains(architecture)) {
            return file.bools(architecture + ".attention.sliding_window_pattern")[layer];
        }
        if (architecture.equals("modern-bert")) {
            return layer % 3 != 0;
        }
        int every =
                switch (architecture) {
                    case "gemma2", "gpt-oss" -> 2;
                    case "gemma3" -> (int) key("attention.sliding_window_pattern", 6);
                    case "cohere2", "llama4", "mellum", "exaone-moe" -> 4;
                    case "exaone4" -> config.layers() == 64 ? 4 : 1; // else no layer
                    default -> Integer.MAX_VALUE;
                };
        return key("attention.sliding_window", 0) > 0 && layer % every != every - 1;
    }

    /** Of one head or of all. */
    private double[] headNorm(double[] x, String name, int layer) {
        if (!has(name)) {
            return x;
        }
        if (architecture.equals("stablelm")) {
            return headLayerNorm(x, tensor(name));
        }
        int width = List.of("olmo2", "olmoe", "minimax-m2").contains(architecture)
                ? x.length
                : config.headSizes(layer).headDim();
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

    /** Each head with its own row of weights. */
    private double[] headLayerNorm(double[] x, GgufTensor weights) {
        int width = (int) weights.columns();
        double[] out = new double[x.length];
        for (int head = 0; head < weights.rows(); head++) {
            double[] part = Arrays.copyOfRange(x, head * width, (head + 1) * width);
            double mean = Arrays.stream(part).average().orElseThrow();
            double variance = Arrays.stream(part)
                    .map(v -> (v - mean) * (v - mean))
                    .average()
                    .orElseThrow();
            for (int i = 0; i < width; i++) {
                out[head * width + i] =
                        (part[i] - mean) / Math.sqrt(variance + config.normEpsilon()) * row(weights, head)[i];
            }
        }
        return out;
    }

    private double[] attend(double[] q, int layer) {
        ModelConfig.HeadSizes sizes = config.headSizes(layer);
        int d = sizes.headDim();
        double[] out = new double[q.length];
        for (int head = 0; head < sizes.heads(); head++) {
            int kv = head / (sizes.heads() / sizes.kvHeads());
            double[] p = new double[keys.size()];
            double max = Double.NEGATIVE_INFINITY;
            for (int t = 0; t < p.length; t++) {
                for (int i = 0; i < d; i++) {
                    p[t] += q[head * d + i] * keys.get(t)[layer][kv * d + i];
                }
                p[t] *= key("attention.scale", architecture.matches("gemma3n|gemma4") ? 1 : 1 / Math.sqrt(d));
                double positions = key("rope.scaling.original_context_length", 1);
                p[t] *= 1
                        + key("attention.temperature_scale", 0) * Math.log(1 + Math.floor((p.length - 1) / positions));
                double cap = key("attn_logit_softcapping", 0);
                if (cap > 0) {
                    p[t] = cap * Math.tanh(p[t] / cap);
                }
                int window = (int) key("attention.sliding_window", 0);
                int seen = architecture.equals("llama4") && window > 0
                        ? (p.length - 1) / window * window
                        : p.length - window;
                if (hasWindow(layer) && t < seen) {
                    p[t] = Double.NEGATIVE_INFINITY;
                }
                max = Math.max(max, p[t]);
            }
            double total = 0;
            if (architecture.equals("gpt-oss")) {
                total = Math.exp(
                        row(file.tensor("blk." + layer + ".attn_sinks.weight", config.heads()), 0)[head] - max);
            }
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
        boolean unrotated = architecture.startsWith("nemotron_h")
                || List.of("jamba", "gpt2", "starcoder").contains(architecture)
                || !file.bool(architecture + ".rope.scaling.finetuned", true)
                || (architecture.equals("smollm3") && layer % 4 == 3)
                || (architecture.equals("exaone4") && config.layers() == 64 && !hasWindow(layer))
                || (List.of("cohere2", "exaone-moe").contains(architecture) && !hasWindow(layer));
        if (unrotated) {
            return x;
        }
        boolean local = List.of("gemma3", "gemma3n", "gemma4", "gemma-embedding", "modern-bert")
                        .contains(architecture)
                && hasWindow(layer);
        boolean unscaled = architecture.equals("mellum") && hasWindow(layer);
        double base = local ? key("rope.freq_base_swa", 10000) : config.ropeBase();
        ModelConfig.HeadSizes sizes = config.headSizes(layer);
        int pairs = sizes.ropeDimensions() / 2;
        String factorName = has("rope_factors_long.weight") ? "rope_factors_long.weight" : "rope_freqs.weight";
        double[] factors = local ? null : optionalVector(factorName, pairs);
        boolean neighbours = List.of(
                        "llama",
                        "llama4",
                        "deci",
                        "xverse",
                        "chatglm",
                        "maincoder",
                        "granite",
                        "granitehybrid",
                        "granitemoe",
                        "smollm3",
                        "command-r",
                        "cohere2",
                        "glm4",
                        "mistral3",
                        "arcee",
                        "ernie4_5",
                        "ernie4_5-moe",
                        "internlm2",
                        "bailingmoe",
                        "neo-bert",
                        "llama-embed",
                        "minicpm",
                        "deepseek",
                        "olmo")
                .contains(architecture);
        boolean yarn = !unscaled
                && file.string(architecture + ".rope.scaling.type", "").equals("yarn");
        double scale = local || unscaled ? 1 : config.ropeScale();
        double magnitude = key("rope.scaling.attn_factor", 1)
                * (yarn
                        ? (1 + 0.1 * Math.log(scale))
                                / (1 + 0.1 * key("rope.scaling.yarn_log_multiplier", 0) * Math.log(scale))
                        : 1);
        double[] out = x.clone();
        for (int head = 0; head < x.length; head += sizes.headDim()) {
            for (int i = 0; i < pairs; i++) {
                double kept = yarn ? yarnShare(i, 2 * pairs, base) : 0;
                double angle = position
                        * (kept + (1 - kept) / scale)
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

    /** How much of the angle of a pair YaRN keeps. */
    private double yarnShare(int pair, int dimensions, double base) {
        double context = key("rope.scaling.original_context_length", config.contextLength());
        double fast = context / (2 * Math.PI * key("rope.scaling.yarn_beta_fast", 32));
        double slow = context / (2 * Math.PI * key("rope.scaling.yarn_beta_slow", 1));
        double first = Math.max(0, Math.floor(dimensions / 2.0 * Math.log(fast) / Math.log(base)));
        double last = Math.min(dimensions - 1, Math.ceil(dimensions / 2.0 * Math.log(slow) / Math.log(base)));
        return pair <= first ? 1 : pair >= last ? 0 : (last - pair) / (last - first);
    }

    /** An RMS norm, or the layer norm of the architectures that have it. */
    private double[] norm(double[] x, String stem) {
        double[] weight = architecture.equals("olmo")
                ? IntStream.range(0, x.length).mapToDouble(i -> 1).toArray()
                : row(file.tensor(has(stem) ? stem : stem + ".weight", x.length), 0);
        double[] bias = optionalVector(stem + ".bias", x.length);
        double mean = 0;
        if (List.of("bert", "nomic-bert", "nomic-bert-moe", "modern-bert").contains(architecture)
                || List.of(
                                "command-r",
                                "cohere2",
                                "starcoder2",
                                "stablelm",
                                "nemotron",
                                "orion",
                                "phi2",
                                "falcon",
                                "jais2",
                                "gptneox",
                                "phimoe",
                                "codeshell",
                                "gpt2",
                                "starcoder",
                                "olmo",
                                "dbrx")
                        .contains(architecture)) {
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
            ReferenceBlocks.numbers(tensor.elementType(), data, (long) row * columns, matrix[row]);
        }
        return matrix[row];
    }
}
