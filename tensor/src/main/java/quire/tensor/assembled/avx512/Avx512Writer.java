package quire.tensor.assembled.avx512;

import quire.tensor.ElementType;
import quire.tensor.KvLayout;
import quire.tensor.assembled.common.ActivationTile;
import quire.tensor.assembled.common.AttentionCode;
import quire.tensor.assembled.common.Instructions;
import quire.tensor.assembled.common.KernelWriter;
import quire.tensor.assembled.common.RowCode;
import quire.tensor.packing.PackedForm;
import quire.tensor.x86.MachineCode;

/** The kernels in AVX-512 with VNNI, and with VBMI where the processor has it. */
public final class Avx512Writer implements KernelWriter {
    private final boolean looksUpBytes;

    /** @param instructions one of the AVX-512 sets */
    public Avx512Writer(Instructions instructions) {
        looksUpBytes = instructions == Instructions.AVX512_VBMI;
    }

    @Override
    public int maxRows(ElementType type) {
        return type.isQuantized() ? Avx512MatrixCode.maxRows(PackedForm.of(type)) : ActivationTile.ROWS;
    }

    @Override
    public MachineCode product(ElementType type, int first, int n) {
        return type.isQuantized()
                ? Avx512MatrixCode.assemble(PackedForm.of(type), looksUpBytes, first, n)
                : Avx512FloatMatrixCode.assemble(type, n);
    }

    @Override
    public MachineCode quantize() {
        return Avx512QuantizeCode.assemble();
    }

    @Override
    public RowCode rows() {
        return new Avx512RowCode();
    }

    @Override
    public int maxQueries() {
        return Avx512AttentionCode.MAX_QUERIES;
    }

    @Override
    public AttentionCode attention(KvLayout layout, int allHeads, int rows, int heads, float softCap) {
        return new Avx512AttentionCode(layout, allHeads, rows, heads, softCap);
    }
}
