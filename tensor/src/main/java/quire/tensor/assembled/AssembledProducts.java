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
import quire.tensor.assembled.common.ActivationTile;
import quire.tensor.assembled.common.KernelWriter;
import quire.tensor.scalar.Shapes;
import quire.tensor.x86.CodeMemory;
import quire.tensor.x86.MachineCall;

/**
 * The matrix products of an assembled kernel set, and the quantising of their inputs. The functions for a weight type
 * are assembled when the first matrix of that type is packed.
 */
final class AssembledProducts {
    private final KernelWriter writer;
    private final CodeMemory memory;
    private final MemorySegment quantize;
    private final Map<ElementType, ProductFunctions> typeToFunctions = new EnumMap<>(ElementType.class);

    AssembledProducts(KernelWriter writer, CodeMemory memory) {
        this.writer = writer;
        this.memory = memory;
        quantize = memory.install("quantize", writer.quantize());
    }

    /** Assembles the products of all types. */
    void assembleAll() {
        for (ElementType type : ElementType.values()) {
            functions(type);
        }
    }

    private ProductFunctions functions(ElementType type) {
        synchronized (typeToFunctions) {
            return typeToFunctions.computeIfAbsent(type, t -> ProductFunctions.assemble(t, writer, memory));
        }
    }

    /** See {@link Kernels#pack}. */
    WeightMatrix pack(ElementType type, int rows, int columns, MemorySegment source, Arena arena, Workers workers) {
        Shapes.checkPack(type, rows, columns, source);
        return AssembledMatrix.pack(type, rows, columns, source, functions(type), arena, workers);
    }

    /** See {@link Kernels#ofPacked}. */
    WeightMatrix ofPacked(ElementType type, int rows, int columns, MemorySegment packed) {
        Shapes.checkShape(type, rows, columns);
        long bytes = AssembledMatrix.packedBytes(type, rows, columns);
        if (packed.byteSize() != bytes) {
            throw new IllegalArgumentException("a packed matrix of " + rows + " × " + columns + " " + type + " has "
                    + bytes + " bytes, not " + packed.byteSize());
        }
        return AssembledMatrix.of(type, rows, columns, functions(type), packed);
    }

    /** See {@link Kernels#quantize}. */
    void quantize(Activations x, int from, int to) {
        Shapes.checkQuantize(x, from, to);
        long blocks = x.values().columns() / Activations.BLOCK;
        long values = Addresses.of(x.values());
        long quants = Addresses.of(x.quants());
        for (int row = from; row < to; row++) {
            int inTile = row % ActivationTile.ROWS;
            long tile = quants + row / ActivationTile.ROWS * blocks * ActivationTile.BLOCK_BYTES;
            MachineCall.call(
                    quantize,
                    values + x.values().rowOffset(row),
                    tile + ActivationTile.quantsAt(inTile, 0),
                    tile + ActivationTile.numberAt(0, inTile),
                    blocks);
        }
    }

    /** See {@link Kernels#multiply}. */
    void multiply(WeightMatrix w, Activations x, int rows, FloatMatrix y, int from, int to, int parts) {
        Shapes.checkMultiply(w, x, rows, y, from, to, parts);
        if (!(w instanceof AssembledMatrix matrix)) {
            throw new IllegalArgumentException("this weight matrix was packed by another kernel set");
        }
        matrix.multiply(x, rows, y, from, to, parts);
    }
}
