package quire.tensor.assembled;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.EnumMap;
import java.util.Map;
import quire.tensor.Activations;
import quire.tensor.ElementType;
import quire.tensor.FloatMatrix;
import quire.tensor.Kernels;
import quire.tensor.WeightMatrix;
import quire.tensor.Workers;
import quire.tensor.assembled.common.KernelWriter;
import quire.tensor.scalar.Shapes;
import quire.tensor.x86.CodeMemory;

/**
 * The matrix products of an assembled kernel set, and the quantising of their inputs: the code of a weight type is written
 * when the first matrix of that type is packed.
 */
final class AssembledProducts {
    private final KernelWriter writer;
    private final CodeMemory memory;
    private final MemorySegment quantize;
    private final Map<ElementType, AssembledCode> typeToCode = new EnumMap<>(ElementType.class);

    AssembledProducts(KernelWriter writer, CodeMemory memory) {
        this.writer = writer;
        this.memory = memory;
        quantize = memory.install("quantize", writer.quantize());
    }

    /** The products of all types, also of those that no matrix has had yet. */
    void assembleAll() {
        for (ElementType type : ElementType.values()) {
            code(type);
        }
    }

    private AssembledCode code(ElementType type) {
        synchronized (typeToCode) {
            return typeToCode.computeIfAbsent(type, t -> AssembledCode.assemble(t, writer, memory));
        }
    }

    /** See {@link Kernels#pack}. */
    WeightMatrix pack(ElementType type, int rows, int columns, MemorySegment source, Arena arena, Workers workers) {
        Shapes.checkPack(type, rows, columns, source);
        return AssembledMatrix.pack(type, rows, columns, source, code(type), arena, workers);
    }

    /** See {@link Kernels#quantize}. */
    void quantize(Activations x, int from, int to) {
        Shapes.checkQuantize(x, from, to);
        AssembledCode.quantize(quantize, x, from, to);
    }

    /** See {@link Kernels#multiply}. */
    void multiply(WeightMatrix w, Activations x, int rows, FloatMatrix y, int part, int parts) {
        Shapes.checkMultiply(w, x, rows, y, part, parts);
        if (!(w instanceof AssembledMatrix matrix)) {
            throw new IllegalArgumentException("this weight matrix was packed by another kernel set");
        }
        matrix.multiply(x, rows, y, part, parts);
    }
}
