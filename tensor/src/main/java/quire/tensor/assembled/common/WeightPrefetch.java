package quire.tensor.assembled.common;

import static quire.tensor.x86.Mem.at;

import java.util.function.IntUnaryOperator;
import quire.tensor.packing.PackedForm;
import quire.tensor.x86.Assembler;
import quire.tensor.x86.Gp;

/**
 * Writes the prefetches of a product's weights, which are read once from memory and in order. With more than two rows a line
 * is prefetched twice:
 *
 * <pre>
 *                in use      + 2 KiB    + 4 KiB                + 16 KiB
 *                  |────────────|──────────|──────────────────────|──────────▶  weights
 *   1 or 2 rows                         into L1
 *   more rows                into L1                           into L2
 * </pre>
 *
 * <p>The first level has few misses under way at once. Weights that wait there for the computing of many rows take the place
 * of their inputs, and 4 KiB of computing are shorter than an access to memory. With one or two rows memory binds, and a
 * second prefetch of each line only costs.
 */
public final class WeightPrefetch {
    private static final int FEW_ROWS = 2;
    private static final int ONLY_BYTES = 4 << 10;
    private static final int NEAR_BYTES = 2 << 10;
    private static final int FAR_BYTES = 16 << 10;
    private static final int LINE_BYTES = 64;

    private WeightPrefetch() {}

    /** Whether memory binds a product of so many rows. Then prefetches of anything else only cost. */
    public static boolean memoryBinds(int rows) {
        return rows <= FEW_ROWS;
    }

    /**
     * Prefetches words of weights.
     *
     * @param words register of the address of the words in use
     * @param bytes how many bytes of words are read until the next prefetch
     * @param rows rows of the product
     */
    public static void words(Assembler a, Gp words, int bytes, int rows) {
        lines(a, words, bytes, rows, IntUnaryOperator.identity());
    }

    /**
     * Prefetches the scales of a later group of blocks, as far ahead as their words.
     *
     * @param scales register of the address of the scales in use
     * @param rows rows of the product
     */
    public static void scales(Assembler a, Gp scales, PackedForm form, int rows) {
        lines(a, scales, form.scaleBytes(), rows, form::scaleBytesOf);
    }

    /** @param ofWords turns a distance in words into that of this stream */
    private static void lines(Assembler a, Gp address, int bytes, int rows, IntUnaryOperator ofWords) {
        for (int line = 0; line < bytes; line += LINE_BYTES) {
            if (memoryBinds(rows)) {
                a.prefetcht0(at(address, ofWords.applyAsInt(ONLY_BYTES) + line));
            } else {
                a.prefetcht0(at(address, ofWords.applyAsInt(NEAR_BYTES) + line));
                a.prefetcht1(at(address, ofWords.applyAsInt(FAR_BYTES) + line));
            }
        }
    }
}
