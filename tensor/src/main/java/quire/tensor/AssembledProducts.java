package quire.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.EnumMap;
import java.util.Map;
import quire.tensor.x86.CodeMemory;
import quire.tensor.x86.MachineCode;

/**
 * The matrix products of an assembled kernel set, and the quantising of their inputs: the code of a weight type is written
 * when the first matrix of that type is packed.
 */
final class AssembledProducts {
    private final AssembledCode.Instructions instructions;
    private final CodeMemory memory;
    private final MemorySegment quantize;
    private final Map<ElementType, AssembledCode> typeToCode = new EnumMap<>(ElementType.class);

    /** @param quantizeCode the code of {@link Kernels#quantize} on the same instructions */
    AssembledProducts(AssembledCode.Instructions instructions, MachineCode quantizeCode, CodeMemory memory) {
        this.instructions = instructions;
        this.memory = memory;
        quantize = memory.install("quantize", quantizeCode);
    }

    /** The products of all types, also of those that no matrix has had yet. */
    void assembleAll() {
        for (ElementType type : ElementType.values()) {
            code(type);
        }
    }

    private AssembledCode code(ElementType type) {
        synchronized (typeToCode) {
            return typeToCode.computeIfAbsent(type, t -> AssembledCode.assemble(t, instructions, memory));
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
