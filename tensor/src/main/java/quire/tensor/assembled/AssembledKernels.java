package quire.tensor.assembled;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
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
import quire.tensor.assembled.avx2.Avx2Writer;
import quire.tensor.assembled.avx512.Avx512Writer;
import quire.tensor.assembled.common.Instructions;
import quire.tensor.assembled.common.KernelWriter;
import quire.tensor.scalar.ScalarKernels;
import quire.tensor.scalar.SegmentMerge;
import quire.tensor.scalar.Shapes;
import quire.tensor.vector.Lanes;
import quire.tensor.vector.VectorKernels;
import quire.tensor.x86.CodeMemory;
import quire.tensor.x86.Cpu;
import quire.tensor.x86.MachineCode;

/**
 * The kernels as machine code, assembled at start for AVX-512 with VNNI, or for AVX2 with FMA, F16C and, if available,
 * VNNI. They equal {@link ScalarKernels} to the last bit and need no warm-up by a compiler. LayerNorm, the soft cap of
 * logits and what recurrent layers need are not assembled: {@link VectorKernels} computes them with the same bits, or
 * {@link ScalarKernels} where the Vector API is not loaded.
 */
public final class AssembledKernels implements Kernels {
    /** Fewer lanes of the Vector API are not faster than plain loops. */
    private static final int MIN_LANES = 4;

    private final Instructions instructions;
    private final CodeMemory memory = new CodeMemory();
    private final String name;
    private final String reason;
    private final AssembledProducts products;
    private final AssembledRows rows;
    private final AssembledStore store;
    private final AssembledAttention.Factory attention;
    /** Computes what is not assembled, with the same bits. */
    private final Kernels twin;

    /**
     * Assembles the kernels.
     *
     * @param instructions the instruction set
     * @param reason why this set was chosen, see {@link #reason}
     * @throws UnsupportedOperationException if the operating system gives no executable memory
     */
    public AssembledKernels(Instructions instructions, String reason) {
        this.instructions = instructions;
        this.reason = reason;
        boolean wide = instructions.isWide();
        name = wide ? "avx512vnni" : "avx2";
        KernelWriter writer = wide ? new Avx512Writer(instructions) : new Avx2Writer(instructions);
        products = new AssembledProducts(writer, memory);
        rows = new AssembledRows(writer, memory);
        store = new AssembledStore(memory);
        attention = new AssembledAttention.Factory(writer, memory);
        String why = "for what is not assembled";
        // a program may run without the module; its classes must not be loaded then
        boolean hasVectors =
                ModuleLayer.boot().findModule("jdk.incubator.vector").isPresent();
        twin = hasVectors && Lanes.LANES >= MIN_LANES ? new VectorKernels(why) : new ScalarKernels(why);
    }

    @Override
    public String name() {
        return name;
    }

    @Override
    public String reason() {
        return reason;
    }

    @Override
    public WeightMatrix pack(
            ElementType type, int rows, int columns, MemorySegment source, Arena arena, Workers workers) {
        return products.pack(type, rows, columns, source, arena, workers);
    }

    @Override
    public WeightMatrix ofPacked(ElementType type, int rows, int columns, MemorySegment packed) {
        return products.ofPacked(type, rows, columns, packed);
    }

    @Override
    public boolean keepsPacked() {
        return true;
    }

    @Override
    public boolean readsRows() {
        return true;
    }

    @Override
    public long packedBytes(ElementType type, int rows, int columns) {
        return AssembledMatrix.packedBytes(type, rows, columns);
    }

    @Override
    public Map<String, Assembly> machineCode() {
        products.assembleAll();
        attention.assembleExamples();
        Map<String, MachineCode> all = memory.functions();
        all.putAll(CeilingCode.all(instructions));
        all.putAll(new TreeMap<>(Cpu.machineCode()));
        Map<String, Assembly> listed = new LinkedHashMap<>();
        all.forEach((function, code) -> listed.put(function, new Assembly(code.instructions(), code.constants())));
        return listed;
    }

    @Override
    public void quantize(Activations x, int from, int to) {
        products.quantize(x, from, to);
    }

    @Override
    public void multiply(WeightMatrix w, Activations x, int rows, FloatMatrix y, int from, int to, int parts) {
        products.multiply(w, x, rows, y, from, to, parts);
    }

    @Override
    public void rmsNorm(FloatMatrix x, FloatMatrix weight, float epsilon, FloatMatrix y, int from, int to) {
        Shapes.checkSame(x, y, from, to);
        Shapes.checkOneRow(weight, y);
        rows.rmsNorm(x, weight, epsilon, y, from, to);
    }

    @Override
    public void layerNorm(FloatMatrix x, FloatMatrix weight, float epsilon, FloatMatrix y, int from, int to) {
        twin.layerNorm(x, weight, epsilon, y, from, to);
    }

    @Override
    public void addRow(FloatMatrix x, int from, float factor, FloatMatrix y, int to) {
        Shapes.checkAddRow(x, from, y, to);
        rows.addRow(x, from, factor, y, to);
    }

    @Override
    public void multiplyRow(FloatMatrix a, int rowA, FloatMatrix b, int rowB, FloatMatrix y, int to) {
        twin.multiplyRow(a, rowA, b, rowB, y, to);
    }

    @Override
    public void addProduct(FloatMatrix a, int rowA, FloatMatrix b, int rowB, FloatMatrix y, int to) {
        twin.addProduct(a, rowA, b, rowB, y, to);
    }

    @Override
    public void advance(StateCall call) {
        twin.advance(call);
    }

    @Override
    public void advanceDelta(StateCall call) {
        twin.advanceDelta(call);
    }

    @Override
    public void advanceSelective(StateCall call) {
        twin.advanceSelective(call);
    }

    @Override
    public void softCap(FloatMatrix x, float cap, int from, int to) {
        twin.softCap(x, cap, from, to);
    }

    @Override
    public void add(FloatMatrix x, FloatMatrix y, int from, int to) {
        Shapes.checkSame(x, y, from, to);
        rows.add(x, y, from, to);
    }

    @Override
    public void addBias(FloatMatrix bias, FloatMatrix y, int from, int to) {
        Shapes.checkOneRow(bias, y);
        Shapes.checkRows(y, from, to);
        rows.addBias(bias, y, from, to);
    }

    @Override
    public void activate(Activation activation, FloatMatrix gate, FloatMatrix up, FloatMatrix out, int from, int to) {
        Shapes.checkSame(gate, up, from, to);
        Shapes.checkSame(gate, out, from, to);
        rows.activate(activation, gate, up, out, from, to);
    }

    @Override
    public void rope(FloatMatrix x, int headDim, int[] positions, FloatMatrix cosSin, int from, int to) {
        Shapes.checkRope(x, headDim, positions, cosSin, from, to);
        rows.rope(x, headDim, positions, cosSin, from, to);
    }

    @Override
    public void storeKv(
            KvLayout layout, MemorySegment pages, int page, int slot, FloatMatrix k, FloatMatrix v, int row) {
        Shapes.checkStoreKv(layout, page, slot, k, v, row);
        store.store(layout, pages, page, slot, k, v, row);
    }

    @Override
    public AttentionScratch attentionScratch(KvLayout layout, int heads, float softCap, Arena arena) {
        Shapes.checkHeads(layout, heads);
        return attention.create(layout, heads, softCap, arena);
    }

    @Override
    public int attentionRows() {
        return AssembledAttention.ROWS;
    }

    @Override
    public void attend(AttentionCall call, AttentionScratch scratch) {
        AssembledAttention own = own(scratch);
        Shapes.checkAttend(call, own.heads(), AssembledAttention.ROWS);
        own.attend(call);
    }

    @Override
    public void attendSegment(AttentionCall call, AttentionScratch scratch, int segment, FloatMatrix partials, int at) {
        AssembledAttention own = own(scratch);
        Shapes.checkAttend(call, own.heads(), AssembledAttention.ROWS);
        Shapes.checkPartials(call, own.heads(), partials, at, 1);
        own.attendSegment(call, segment, partials, at);
    }

    @Override
    public void mergeSegments(AttentionCall call, AttentionScratch scratch, FloatMatrix partials, int at) {
        AssembledAttention own = own(scratch);
        Shapes.checkPartials(call, own.heads(), partials, at, Shapes.segments(call));
        SegmentMerge.merge(call, own.heads(), partials, at);
    }

    private static AssembledAttention own(AttentionScratch scratch) {
        if (scratch instanceof AssembledAttention own) {
            return own;
        }
        throw new IllegalArgumentException("this working memory belongs to another kernel set");
    }
}
