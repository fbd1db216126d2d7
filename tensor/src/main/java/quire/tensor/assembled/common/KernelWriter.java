package quire.tensor.assembled.common;

import quire.tensor.ElementType;
import quire.tensor.KvLayout;
import quire.tensor.x86.MachineCode;

/**
 * Writes the functions of a kernel set in one instruction set. All sets have the same functions with the same
 * arguments, which {@link quire.tensor.x86.MachineCall} passes.
 */
public interface KernelWriter {
    /** Maximum number of rows of activations that one {@link #product} takes. */
    int maxRows(ElementType type);

    /**
     * Writes a matrix product with weights of one type. Its arguments are {@code (words, scales, x, y, yStrideBytes, blocks or
     * groups, panels, lanes of the last panel)}. For float weights they are {@code (words, xStrideBytes, x, y, yStrideBytes,
     * columns, panels, lanes of the last panel)}.
     *
     * @param first index of the first row within its {@link ActivationTile}; float weights ignore it
     * @param n number of rows, at most {@link #maxRows}
     */
    MachineCode product(ElementType type, int first, int n);

    /**
     * Writes the function that quantises one row into its {@link ActivationTile}s. Its arguments are {@code (x, quants of the
     * row in its first tile block, numbers of the row in it, blocks)}.
     */
    MachineCode quantize();

    /** A writer of one function that works on one row at a time. */
    RowCode rows();

    /** Maximum number of queries of a block of {@link #attention}. */
    int maxQueries();

    /**
     * A writer of one attention function for a block of queries.
     *
     * @param allHeads query heads of a row
     * @param rows rows of the block
     * @param heads heads of the block; {@code rows × heads} is at most {@link #maxQueries}
     * @param softCap limit of the scores; 0 for none
     */
    AttentionCode attention(KvLayout layout, int allHeads, int rows, int heads, float softCap);
}
