package quire.tensor.assembled.avx2;

import quire.tensor.ElementType;
import quire.tensor.KvLayout;
import quire.tensor.assembled.common.AttentionCode;
import quire.tensor.assembled.common.Instructions;
import quire.tensor.assembled.common.KernelWriter;
import quire.tensor.assembled.common.RowCode;
import quire.tensor.packing.PackedForm;
import quire.tensor.x86.MachineCode;

/** The kernels in AVX2 with FMA and F16C, and with VNNI if the processor has it. */
public final class Avx2Writer implements KernelWriter {
    private final Instructions instructions;

    /** @param instructions one of the AVX2 sets */
    public Avx2Writer(Instructions instructions) {
        this.instructions = instructions;
    }

    @Override
    public int maxRows(ElementType type) {
        return type.isQuantized()
                ? Avx2MatrixCode.maxRows(PackedForm.of(type), instructions)
                : Avx2FloatMatrixCode.MAX_ROWS;
    }

    @Override
    public MachineCode product(ElementType type, int first, int n) {
        return type.isQuantized()
                ? Avx2MatrixCode.assemble(PackedForm.of(type), instructions, first, n)
                : Avx2FloatMatrixCode.assemble(type, n);
    }

    @Override
    public MachineCode quantize() {
        return Avx2QuantizeCode.assemble();
    }

    @Override
    public RowCode rows() {
        return new Avx2RowCode();
    }

    @Override
    public int maxQueries() {
        return Avx2AttentionCode.MAX_QUERIES;
    }

    @Override
    public AttentionCode attention(KvLayout layout, int allHeads, int rows, int heads, float softCap) {
        return new Avx2AttentionCode(layout, allHeads, rows, heads, softCap);
    }
}
