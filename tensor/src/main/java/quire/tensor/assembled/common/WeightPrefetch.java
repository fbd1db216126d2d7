package quire.tensor.assembled.common;

import static quire.tensor.x86.Mem.at;

import quire.tensor.packing.PackedForm;
import quire.tensor.x86.Assembler;
import quire.tensor.x86.Gp;

/**
 * Writes the prefetches of a product's weights, which are read once from memory and in order. A line is prefetched twice:
 *
 * <pre>
 *   in use      + 2 KiB              + 16 KiB
 *     |────────────|──────────────────────|──────────▶  weights
 *               into L1                into L2
 * </pre>
 *
 * <p>The first level has few misses under way at once, and memory takes longer than 2 KiB of computing. A larger distance
 * alone does not help: what waits in the first level takes the place of the inputs there.
 */
public final class WeightPrefetch {
    private static final int NEAR_BYTES = 2 << 10;
    private static final int FAR_BYTES = 16 << 10;
    private static final int LINE_BYTES = 64;

    private WeightPrefetch() {}

    /**
     * Prefetches words of weights.
     *
     * @param words register of the address of the words in use
     * @param bytes how many bytes of words are read until the next prefetch
     */
    public static void words(Assembler a, Gp words, int bytes) {
        lines(a, words, bytes, NEAR_BYTES, FAR_BYTES);
    }

    /**
     * Prefetches the scales of a later group of blocks, as far ahead as their words.
     *
     * @param scales register of the address of the scales in use
     */
    public static void scales(Assembler a, Gp scales, PackedForm form) {
        lines(a, scales, form.scaleBytes(), form.scaleBytesOf(NEAR_BYTES), form.scaleBytesOf(FAR_BYTES));
    }

    private static void lines(Assembler a, Gp address, int bytes, int near, int far) {
        for (int line = 0; line < bytes; line += LINE_BYTES) {
            a.prefetcht0(at(address, near + line));
            a.prefetcht1(at(address, far + line));
        }
    }
}
