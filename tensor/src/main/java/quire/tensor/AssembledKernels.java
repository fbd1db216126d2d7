package quire.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.EnumMap;
import java.util.Map;
import quire.tensor.x86.CodeMemory;

/**
 * The kernels as machine code, written at start for AVX-512 with VNNI: the formulas of {@link ScalarKernels} to the last
 * bit, without a compiler's warm-up. What is not assembled runs on another set.
 */
final class AssembledKernels implements Kernels {
    private static final MethodHandle QUANTIZE =
            Linker.nativeLinker().downcallHandle(QuantizeCode.DESCRIPTOR, Linker.Option.critical(false));

    private final Kernels rest;
    private final String reason;
    private final CodeMemory memory;
    private final MemorySegment quantize;
    private final Map<ElementType, AssembledCode> typeToCode = new EnumMap<>(ElementType.class);

    AssembledKernels(Kernels rest, String reason) {
        this.rest = rest;
        this.reason = reason;
        memory = new CodeMemory();
        quantize = memory.install(QuantizeCode.assemble());
    }

    @Override
    public String name() {
        return "avx512vnni";
    }

    @Override
    public String reason() {
        return reason;
    }

    @Override
    public WeightMatrix pack(
            ElementType type, int rows, int columns, MemorySegment source, Arena arena, Workers workers) {
        Shapes.checkPack(type, rows, columns, source);
        return AssembledMatrix.pack(type, rows, columns, source, code(type), arena, workers);
    }

    private AssembledCode code(ElementType type) {
        synchronized (typeToCode) {
            return typeToCode.computeIfAbsent(type, t -> AssembledCode.assemble(t, memory));
        }
    }

    @Override
    public void quantize(Activations x, int from, int to) {
        Shapes.checkQuantize(x, from, to);
        int columns = x.values().columns();
        long blocks = columns / Activations.BLOCK;
        long values = AssembledCode.address(x.values());
        for (int row = from; row < to; row++) {
            int inTile = row % ActivationTile.ROWS;
            long tile = x.quants().address() + row / ActivationTile.ROWS * blocks * ActivationTile.BLOCK_BYTES;
            try {
                QUANTIZE.invokeExact(
                        quantize,
                        values + x.values().rowOffset(row),
                        tile + ActivationTile.quantsAt(inTile, 0),
                        tile + ActivationTile.numberAt(0, inTile),
                        blocks);
            } catch (Throwable e) {
                throw new AssertionError("machine code throws nothing", e);
            }
        }
    }

    @Override
    public void multiply(WeightMatrix w, Activations x, int rows, FloatMatrix y, int part, int parts) {
        Shapes.checkMultiply(w, x, rows, y, part, parts);
        if (!(w instanceof AssembledMatrix matrix)) {
            throw new IllegalArgumentException("this weight matrix was packed by another kernel set");
        }
        matrix.multiply(x, rows, y, part, parts);
    }

    @Override
    public void rmsNorm(FloatMatrix x, FloatMatrix weight, float epsilon, FloatMatrix y, int from, int to) {
        rest.rmsNorm(x, weight, epsilon, y, from, to);
    }

    @Override
    public void add(FloatMatrix x, FloatMatrix y, int from, int to) {
        rest.add(x, y, from, to);
    }

    @Override
    public void addBias(FloatMatrix bias, FloatMatrix y, int from, int to) {
        rest.addBias(bias, y, from, to);
    }

    @Override
    public void swiglu(FloatMatrix gate, FloatMatrix up, FloatMatrix out, int from, int to) {
        rest.swiglu(gate, up, out, from, to);
    }

    @Override
    public void rope(FloatMatrix x, int headDim, int[] positions, FloatMatrix cosSin, int from, int to) {
        rest.rope(x, headDim, positions, cosSin, from, to);
    }

    @Override
    public void storeKv(
            KvLayout layout, MemorySegment pages, int page, int slot, FloatMatrix k, FloatMatrix v, int row) {
        rest.storeKv(layout, pages, page, slot, k, v, row);
    }

    @Override
    public AttentionScratch attentionScratch(KvLayout layout, int heads, Arena arena) {
        return rest.attentionScratch(layout, heads, arena);
    }

    @Override
    public int attentionRows() {
        return rest.attentionRows();
    }

    @Override
    public void attend(
            KvLayout layout,
            MemorySegment pages,
            int[] pageTable,
            FloatMatrix q,
            int firstRow,
            int rowCount,
            int firstPosition,
            int kvHead,
            float scale,
            FloatMatrix out,
            AttentionScratch scratch) {
        rest.attend(layout, pages, pageTable, q, firstRow, rowCount, firstPosition, kvHead, scale, out, scratch);
    }
}
