package quire.model;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumMap;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Objects;
import java.util.TreeMap;
import quire.model.format.Gguf;
import quire.model.format.GgufTensor;
import quire.tensor.Activation;
import quire.tensor.Activations;
import quire.tensor.AttentionCall;
import quire.tensor.ElementType;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.KvLayout;
import quire.tensor.StateCall;
import quire.tensor.WeightMatrix;
import quire.tensor.Workers;

/**
 * Measures how long each phase of a step takes. A profile is a layer between a {@link Decoder} and its kernels, which
 * reads the clock before and after each call on every worker. A decoder that was loaded with bare kernels has no
 * clocks.
 *
 * <pre>
 *   forward    |———————————————————————— one step ————————————————————————|
 *   worker 0   |EMBED|NORM|QUANTIZE|.|QKV — — |..|ROPE|STORE|.|ATTENTION …|     . = waiting at a barrier
 *   worker 1   |EMBED|NORM|QUANTIZE|..|QKV — |...|ROPE|STORE|..|ATTENTION …|
 * </pre>
 *
 * <p>The time of a phase is the mean over the workers. {@link Phase#WAITING} is the rest of the step, so the sum of all
 * phases is the time of the step. If one worker computes a phase while the others wait, the time counts in both. Only
 * the workers of the steps that are measured may call it at the same time; otherwise not thread-safe.
 */
public final class StepProfile {
    /** A phase of a step. */
    public enum Phase {
        /**
         * From the start of the step to the first kernel of a worker: waking up, and the rows of the token embedding.
         */
        EMBEDDING("embedding"),
        /** Norms. */
        NORM("norms"),
        /** Quantising activations to int8. */
        QUANTIZE("quantise"),
        /** The products that make queries, keys and values, or the inputs of a recurrent layer. */
        QKV("q, k, v"),
        /** Rotary embedding. */
        ROPE("rope"),
        /** Storing keys and values in their pages. */
        STORE("store k, v"),
        /** Attention. */
        ATTENTION("attention"),
        /** Convolutions and states of recurrent layers. */
        RECURRENCE("recurrence"),
        /** The output projection of attention or of a recurrent layer. */
        OUTPUT("attention out"),
        /** The products that give each expert its score, and the factor of the shared expert. */
        ROUTER("router"),
        /** The two matrices into the feed-forward layer, of all experts that rows chose. */
        GATE_UP("gate, up"),
        /** The activation function. */
        SWIGLU("activation"),
        /** The matrix out of the feed-forward layer. */
        DOWN("down"),
        /** Residual sums and biases. */
        ADD("add"),
        /** Logits and their soft cap. */
        HEAD("head"),
        /**
         * Waiting at barriers: for workers with more work, or for workers that had no free core. With experts, choosing
         * them and copying their inputs too.
         */
        WAITING("waiting");

        private final String label;

        Phase(String label) {
            this.label = label;
        }

        /** The name for display. */
        public String label() {
            return label;
        }

        /** The phase that a weight tensor of a GGUF file belongs to. */
        private static Phase of(String tensor) {
            return switch (tensor.substring(tensor.indexOf('.', tensor.startsWith("blk.") ? 4 : 0) + 1)) {
                case "attn_q.weight",
                        "attn_k.weight",
                        "attn_v.weight",
                        "attn_qkv.weight",
                        "attn_q_a.weight",
                        "attn_q_b.weight",
                        "attn_kv_a_mqa.weight",
                        "attn_k_b.weight",
                        "shortconv.in_proj.weight",
                        "ssm_in.weight",
                        "per_layer_model_proj.weight",
                        "inp_gate.weight",
                        "altup_proj.weight",
                        "laurel_l.weight" -> QKV;
                case "attn_output.weight",
                        "attn_v_b.weight",
                        "shortconv.out_proj.weight",
                        "ssm_out.weight",
                        "proj.weight",
                        "altup_unembd_proj.weight",
                        "laurel_r.weight" -> OUTPUT;
                case "ffn_gate_inp.weight", "ffn_gate_inp_shexp.weight", "altup_router.weight" -> ROUTER;
                case "ffn_gate.weight",
                        "ffn_up.weight",
                        "ffn_gate_exps.weight",
                        "ffn_up_exps.weight",
                        "ffn_gate_up_exps.weight",
                        "ffn_gate_shexp.weight",
                        "ffn_up_shexp.weight" -> GATE_UP;
                case "ffn_down.weight", "ffn_down_exps.weight", "ffn_down_shexp.weight" -> DOWN;
                default -> HEAD;
            };
        }
    }

    /**
     * The average cost of one phase in one step.
     *
     * @param phase the phase
     * @param seconds mean over the workers
     * @param bytes bytes of weights, keys and values that all workers read, and of keys and values that they stored;
     *     activations are in the caches and do not count
     * @param integerMacs multiply-adds of int8 activations, over all workers
     * @param floatMacs multiply-adds of f32, over all workers
     */
    public record Line(Phase phase, double seconds, double bytes, double integerMacs, double floatMacs) {}

    private static final Phase[] PHASES = Phase.values();
    private static final double NANO = 1e-9;

    private final Kernels kernels;
    private final int workers;
    private final long embeddingRowBytes;
    /** The phases of the tensors by their addresses; a matrix may be packed from a part of a tensor. */
    private final NavigableMap<Long, Phase> addressToPhase = new TreeMap<>();

    private final Map<WeightMatrix, Phase> matrixToPhase = Collections.synchronizedMap(new IdentityHashMap<>());
    private final List<Meter> meters = new ArrayList<>();
    private final ThreadLocal<Meter> meter = ThreadLocal.withInitial(this::newMeter);
    private volatile long stepBegin;
    private long steps;
    private long stepNanos;
    private long rows;

    /** What one worker did in one phase. */
    private static final class Sum {
        long nanos;
        double bytes;
        double integerMacs;
        double floatMacs;
    }

    /** The sums of one worker, and the last step that it took part in. */
    private static final class Meter {
        final Map<Phase, Sum> sums = new EnumMap<>(Phase.class);
        long stepBegin;

        Meter() {
            reset();
        }

        Sum of(Phase phase) {
            return Objects.requireNonNull(sums.get(phase));
        }

        void reset() {
            for (Phase phase : PHASES) {
                sums.put(phase, new Sum());
            }
        }

        void add(Phase phase, long nanos, double bytes, double integerMacs, double floatMacs) {
            Sum sum = of(phase);
            sum.nanos += nanos;
            sum.bytes += bytes;
            sum.integerMacs += integerMacs;
            sum.floatMacs += floatMacs;
        }
    }

    /**
     * @param file the model that will be loaded with {@link #kernels}
     * @param kernels the kernels to measure
     * @param workers number of threads that compute a step
     */
    public StepProfile(Gguf file, Kernels kernels, int workers) {
        this.kernels = new Clocked(kernels);
        this.workers = workers;
        long rowBytes = 0;
        for (GgufTensor tensor : file.tensors()) {
            long address = file.data(tensor).address();
            addressToPhase.put(address, Phase.of(tensor.name()));
            addressToPhase.putIfAbsent(address + tensor.byteSize(), Phase.QKV); // until the next tensor, if any
            if (tensor.name().equals("token_embd.weight")) {
                rowBytes = tensor.byteSize() / tensor.rows();
            }
        }
        embeddingRowBytes = rowBytes;
    }

    /**
     * The phase of the matrix that is packed from here. Only queries and keys are packed from a copy, with their rows in
     * another order; all others are packed from the file.
     */
    private Phase phaseAt(long address) {
        Map.Entry<Long, Phase> tensor = addressToPhase.floorEntry(address);
        return tensor == null ? Phase.QKV : tensor.getValue();
    }

    /** The same kernels with clocks; load the decoder with them. */
    public Kernels kernels() {
        return kernels;
    }

    /** Calls {@link Model#forward} and measures it. */
    public FloatMatrix forward(Model model, Batch batch) {
        long begin = System.nanoTime();
        stepBegin = begin;
        FloatMatrix logits = model.forward(batch);
        stepNanos += System.nanoTime() - begin;
        steps++;
        rows += batch.rows();
        return logits;
    }

    /** Forgets all steps measured so far. */
    public void reset() {
        synchronized (meters) {
            meters.forEach(Meter::reset);
        }
        steps = 0;
        stepNanos = 0;
        rows = 0;
    }

    /** Mean seconds of a step. */
    public double stepSeconds() {
        return stepNanos * NANO / steps;
    }

    /** The average cost of each phase in a step since {@link #reset}. Phases that took no time are left out. */
    public List<Line> lines() {
        List<Line> lines = new ArrayList<>();
        double left = stepSeconds();
        for (Phase phase : PHASES) {
            Sum all = sum(phase);
            double seconds = phase == Phase.WAITING ? left : all.nanos * NANO / workers / steps;
            double bytes = phase == Phase.EMBEDDING ? rows * (double) embeddingRowBytes : all.bytes;
            left -= seconds;
            if (seconds > 0) {
                lines.add(new Line(phase, seconds, bytes / steps, all.integerMacs / steps, all.floatMacs / steps));
            }
        }
        return lines;
    }

    /** What all workers did in a phase. */
    private Sum sum(Phase phase) {
        Meter all = new Meter();
        synchronized (meters) {
            for (Meter each : meters) {
                Sum one = each.of(phase);
                all.add(phase, one.nanos, one.bytes, one.integerMacs, one.floatMacs);
            }
        }
        return all.of(phase);
    }

    private Meter newMeter() {
        Meter meter = new Meter();
        synchronized (meters) {
            meters.add(meter);
        }
        return meter;
    }

    /** The time before a kernel. The time before the first kernel of a step counts as {@link Phase#EMBEDDING}. */
    private long begin(Meter meter) {
        long now = System.nanoTime();
        long current = stepBegin;
        if (meter.stepBegin != current) {
            meter.stepBegin = current;
            meter.add(Phase.EMBEDDING, now - current, 0, 0, 0);
        }
        return now;
    }

    /** Calls the kernels and adds the time of each call to its phase. */
    private final class Clocked implements Kernels {
        private final Kernels kernels;

        Clocked(Kernels kernels) {
            this.kernels = kernels;
        }

        private void end(Meter meter, long begin, Phase phase) {
            meter.add(phase, System.nanoTime() - begin, 0, 0, 0);
        }

        @Override
        public String name() {
            return kernels.name();
        }

        @Override
        public String reason() {
            return kernels.reason();
        }

        @Override
        public WeightMatrix pack(
                ElementType type, int rows, int columns, MemorySegment source, Arena arena, Workers team) {
            WeightMatrix matrix = kernels.pack(type, rows, columns, source, arena, team);
            matrixToPhase.put(matrix, phaseAt(source.address()));
            return matrix;
        }

        @Override
        public boolean readsRows() {
            return kernels.readsRows();
        }

        @Override
        public long packedBytes(ElementType type, int rows, int columns) {
            return kernels.packedBytes(type, rows, columns);
        }

        @Override
        public void quantize(Activations x, int from, int to) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.quantize(x, from, to);
            end(own, begin, Phase.QUANTIZE);
        }

        @Override
        public void multiply(WeightMatrix w, Activations x, int count, FloatMatrix y, int from, int to, int parts) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.multiply(w, x, count, y, from, to, parts);
            double share = (double) (to - from) / parts;
            double macs = (double) w.rows() * w.columns() * count * share;
            boolean integer = w.type().isQuantized();
            own.add(
                    matrixToPhase.getOrDefault(w, Phase.HEAD),
                    System.nanoTime() - begin,
                    w.packedBytes() * share,
                    integer ? macs : 0,
                    integer ? 0 : macs);
        }

        @Override
        public void rmsNorm(FloatMatrix x, FloatMatrix weight, float epsilon, FloatMatrix y, int from, int to) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.rmsNorm(x, weight, epsilon, y, from, to);
            end(own, begin, Phase.NORM);
        }

        @Override
        public void layerNorm(FloatMatrix x, FloatMatrix weight, float epsilon, FloatMatrix y, int from, int to) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.layerNorm(x, weight, epsilon, y, from, to);
            end(own, begin, Phase.NORM);
        }

        @Override
        public void addRow(FloatMatrix x, int from, float factor, FloatMatrix y, int to) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.addRow(x, from, factor, y, to);
            end(own, begin, Phase.ADD);
        }

        @Override
        public void multiplyRow(FloatMatrix a, int rowA, FloatMatrix b, int rowB, FloatMatrix y, int to) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.multiplyRow(a, rowA, b, rowB, y, to);
            end(own, begin, Phase.RECURRENCE);
        }

        @Override
        public void addProduct(FloatMatrix a, int rowA, FloatMatrix b, int rowB, FloatMatrix y, int to) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.addProduct(a, rowA, b, rowB, y, to);
            end(own, begin, Phase.RECURRENCE);
        }

        @Override
        public void advance(StateCall call) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.advance(call);
            double numbers = (double) call.keys() * call.state().columns();
            own.add(Phase.RECURRENCE, System.nanoTime() - begin, 2 * Float.BYTES * numbers, 0, 2 * numbers);
        }

        @Override
        public void advanceDelta(StateCall call) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.advanceDelta(call);
            double numbers = (double) call.keys() * call.state().columns();
            own.add(Phase.RECURRENCE, System.nanoTime() - begin, 4 * Float.BYTES * numbers, 0, 3 * numbers);
        }

        @Override
        public void advanceSelective(StateCall call) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.advanceSelective(call);
            double numbers = (double) call.keys() * call.state().columns();
            own.add(Phase.RECURRENCE, System.nanoTime() - begin, 3 * Float.BYTES * numbers, 0, 10 * numbers);
        }

        @Override
        public void softCap(FloatMatrix x, float cap, int from, int to) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.softCap(x, cap, from, to);
            end(own, begin, Phase.HEAD);
        }

        @Override
        public void add(FloatMatrix x, FloatMatrix y, int from, int to) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.add(x, y, from, to);
            end(own, begin, Phase.ADD);
        }

        @Override
        public void addBias(FloatMatrix bias, FloatMatrix y, int from, int to) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.addBias(bias, y, from, to);
            end(own, begin, Phase.ADD);
        }

        @Override
        public void activate(
                Activation activation, FloatMatrix gate, FloatMatrix up, FloatMatrix out, int from, int to) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.activate(activation, gate, up, out, from, to);
            end(own, begin, Phase.SWIGLU);
        }

        @Override
        public void rope(FloatMatrix x, int headDim, int[] positions, FloatMatrix cosSin, int from, int to) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.rope(x, headDim, positions, cosSin, from, to);
            end(own, begin, Phase.ROPE);
        }

        @Override
        public void storeKv(
                KvLayout layout, MemorySegment pages, int page, int slot, FloatMatrix k, FloatMatrix v, int row) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.storeKv(layout, pages, page, slot, k, v, row);
            own.add(Phase.STORE, System.nanoTime() - begin, (double) layout.tokenBytes(), 0, 0);
        }

        @Override
        public AttentionScratch attentionScratch(KvLayout layout, int heads, float softCap, Arena arena) {
            return kernels.attentionScratch(layout, heads, softCap, arena);
        }

        @Override
        public int attentionRows() {
            return kernels.attentionRows();
        }

        @Override
        public void attend(AttentionCall call, AttentionScratch scratch) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.attend(call, scratch);
            addAttention(own, System.nanoTime() - begin, call, 0, call.firstPosition() + call.rowCount());
        }

        @Override
        public void attendSegment(
                AttentionCall call, AttentionScratch scratch, int segment, FloatMatrix partials, int at) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.attendSegment(call, scratch, segment, partials, at);
            long nanos = System.nanoTime() - begin;
            addAttention(own, nanos, call, segment * KvLayout.SEGMENT, (segment + 1) * KvLayout.SEGMENT);
        }

        @Override
        public void mergeSegments(AttentionCall call, AttentionScratch scratch, FloatMatrix partials, int at) {
            Meter own = meter.get();
            long begin = begin(own);
            kernels.mergeSegments(call, scratch, partials, at);
            own.add(Phase.ATTENTION, System.nanoTime() - begin, 0, 0, 0);
        }

        /** Adds what a call computed of the positions {@code [from, to)}. */
        private static void addAttention(Meter own, long nanos, AttentionCall call, int from, int to) {
            KvLayout layout = call.layout();
            int rowCount = call.rowCount();
            double seen = 0; // sum of the positions over all queries
            for (int i = 0; i < rowCount; i++) {
                int position = call.firstPosition() + i;
                seen += Math.max(0, Math.min(to, position + 1) - Math.max(from, call.firstSeen(position)));
            }
            int first = Math.max(from, call.firstSeen(call.firstPosition()));
            int end = Math.min(to, call.firstPosition() + rowCount);
            double macs = 2 * seen * ((double) call.q().columns() / layout.kvHeads());
            double bytes = Math.max(0, end - first) * ((double) layout.tokenBytes() / layout.kvHeads());
            own.add(Phase.ATTENTION, nanos, bytes, 0, macs);
        }
    }
}
