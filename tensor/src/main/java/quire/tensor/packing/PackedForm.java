package quire.tensor.packing;

import org.jspecify.annotations.Nullable;
import quire.tensor.Activations;
import quire.tensor.ElementType;
import quire.tensor.block.UnpackedBlock;

/**
 * The form of quantised weights for the assembled kernels: a few forms for all types of GGUF, and none loses a bit.
 * Sixteen output rows make a panel, with one row in each 32-bit lane. So the sum of an output stays in its lane.
 *
 * <pre>
 *   words   [panel][block of 32 inputs]          a word is 16 lanes × 4 bytes; byte j of word w = input 4w + j
 *     8 bits   8 words                           unsigned: the quant plus the zero point
 *     4 bits   4 words                           word w in the low nibbles of stored word w, word 4 + w in the high nibbles
 *     5 bits   1 word: bit w of its byte j is the fifth bit of input 4w + j; then 4 as above
 *     6 bits   2 words: bits 2(w mod 4) of byte j of the (w / 4)th are the upper bits of input 4w + j; then 4 as above
 *     2 bits   2 words, with the layout of those two
 *     3 bits   1 word: bit w of its byte j is the third bit of input 4w + j; then the same 2 words
 *     1 bit    1 word, with that layout; a set bit means 2
 *   scales  see {@link Scales}
 * </pre>
 *
 * <p>The upper bits come first because a block's first word needs them already. A processor reads ahead of addresses that
 * ascend: with the upper bits behind, one thread of a Zen 4 read Q5_K and Q6_K 1.3 times more slowly.
 *
 * @param bits bits of a stored quant
 * @param zeroPoint the number that was added to each quant: a power of two, or 0
 * @param codes the meaning of the stored bits
 * @param scales how scales are stored
 * @param minimum whether each block, or half of a block, also has a minimum
 */
public record PackedForm(int bits, int zeroPoint, Codes codes, Scales scales, boolean minimum) {
    /** Output rows of a panel: the 32-bit lanes of a 512-bit register. */
    public static final int PANEL = 16;

    /** Size of a word in bytes. */
    public static final int WORD_BYTES = PANEL * Integer.BYTES;
    /** Blocks of 32 inputs in a block of 256 inputs. */
    public static final int SUPER = 8;

    /** The meaning of the stored bits of a quant. */
    public enum Codes {
        /** The integer itself. */
        PLAIN,
        /** The index of one of the values of IQ4_NL and IQ4_XS. */
        IQ4,
        /** The index of one of the floats of MXFP4 and NVFP4, which are stored doubled. */
        FP4,
        /** A level and a sign of IQ3_S. */
        IQ3_S,
        /** A level and a sign of IQ3_XXS, whose values are halved. */
        IQ3_XXS,
        /** A level and a sign of IQ2_XXS, IQ2_XS and IQ2_S. */
        IQ2,
        /** A level and an offset of IQ1_S and IQ1_M; the values are eight times those of a point. */
        IQ1;

        /** The values of all codes plus the form's zero point, all positive; null for {@link #PLAIN}. */
        public byte @Nullable [] table() {
            return switch (this) {
                case PLAIN -> null;
                case IQ4 -> raised(UnpackedBlock.iq4Values(), 128);
                case FP4 -> raised(UnpackedBlock.fp4ValuesDoubled(), 16);
                case IQ3_S -> raised(UnpackedBlock.iq3SValues(), 16);
                case IQ3_XXS -> raised(UnpackedBlock.iq3XxsValues(), 32);
                case IQ2 -> raised(UnpackedBlock.iq2Values(), 64);
                case IQ1 -> raised(UnpackedBlock.iq1Values(), 16);
            };
        }

        private static byte[] raised(byte[] values, int zeroPoint) {
            byte[] raised = new byte[values.length];
            for (int i = 0; i < values.length; i++) {
                raised[i] = (byte) (values[i] + zeroPoint);
            }
            return raised;
        }
    }

    /** The layout of the scales of a panel. A group is 1 block, or 8 blocks where they share the floats d and dmin. */
    public enum Scales {
        /** {@code [block] f16[16]}, then {@code f16[16]} minimums if the form has them. */
        HALF,
        /** {@code [block] int8[16]}: exponents of powers of two. */
        EXPONENTS,
        /**
         * {@code [8 blocks]: f16[16] d; f16[16] dmin; 8 × { int8[16] scales }; 8 × { uint8[16] minimums }}; one scale
         * for each block.
         */
        BYTES,
        /** The same with two scales for each block, one for each half: {@code 8 × { int8[16]; int8[16] }}. */
        HALF_BLOCK_BYTES,
        /** {@code [block] uint8[16]; uint8[16]}: floats of 8 bits, see {@link UnpackedBlock#smallFloat}, one for each half. */
        HALF_BLOCK_FLOATS;

        /** Whether 8 blocks share the floats d and dmin. */
        public boolean grouped() {
            return this == BYTES || this == HALF_BLOCK_BYTES;
        }

        /** Number of scales of a block of 32. */
        public int perBlock() {
            return this == HALF_BLOCK_BYTES || this == HALF_BLOCK_FLOATS ? 2 : 1;
        }
    }

    /**
     * The form of a quantised type.
     *
     * @throws IllegalArgumentException if the type is not quantised
     */
    public static PackedForm of(ElementType type) {
        return switch (type) {
            case Q4_0 -> new PackedForm(4, 8, Codes.PLAIN, Scales.HALF, false);
            case Q4_1 -> new PackedForm(4, 0, Codes.PLAIN, Scales.HALF, true);
            case Q5_0 -> new PackedForm(5, 16, Codes.PLAIN, Scales.HALF, false);
            case Q5_1 -> new PackedForm(5, 0, Codes.PLAIN, Scales.HALF, true);
            case Q8_0 -> new PackedForm(8, 128, Codes.PLAIN, Scales.HALF, false);
            case Q2_K -> new PackedForm(2, 0, Codes.PLAIN, Scales.HALF_BLOCK_BYTES, true);
            case Q3_K -> new PackedForm(3, 4, Codes.PLAIN, Scales.HALF_BLOCK_BYTES, false);
            case Q4_K -> new PackedForm(4, 0, Codes.PLAIN, Scales.BYTES, true);
            case Q5_K -> new PackedForm(5, 0, Codes.PLAIN, Scales.BYTES, true);
            case Q6_K -> new PackedForm(6, 32, Codes.PLAIN, Scales.HALF_BLOCK_BYTES, false);
            case IQ4_NL -> new PackedForm(4, 128, Codes.IQ4, Scales.HALF, false);
            case IQ4_XS -> new PackedForm(4, 128, Codes.IQ4, Scales.BYTES, false);
            case MXFP4 -> new PackedForm(4, 16, Codes.FP4, Scales.EXPONENTS, false);
            case NVFP4 -> new PackedForm(4, 16, Codes.FP4, Scales.HALF_BLOCK_FLOATS, false);
            case IQ3_S -> new PackedForm(4, 16, Codes.IQ3_S, Scales.BYTES, false);
            case IQ3_XXS -> new PackedForm(4, 32, Codes.IQ3_XXS, Scales.BYTES, false);
            case IQ2_S, IQ2_XS -> new PackedForm(3, 64, Codes.IQ2, Scales.HALF_BLOCK_BYTES, false);
            case IQ2_XXS -> new PackedForm(3, 64, Codes.IQ2, Scales.BYTES, false);
            case IQ1_M -> new PackedForm(3, 16, Codes.IQ1, Scales.HALF_BLOCK_BYTES, false);
            case IQ1_S -> new PackedForm(3, 16, Codes.IQ1, Scales.BYTES, false);
            case TQ1_0, TQ2_0 -> new PackedForm(2, 1, Codes.PLAIN, Scales.BYTES, false);
            case Q1_0 -> new PackedForm(1, 1, Codes.PLAIN, Scales.HALF, false);
            case Q2_0 -> new PackedForm(2, 1, Codes.PLAIN, Scales.HALF, false);
            case F32, F16, BF16 -> throw new IllegalArgumentException(type + " is not quantised");
        };
    }

    /** Size of the words of one block of a panel in bytes. */
    public int wordBytes() {
        return PANEL * Activations.BLOCK * bits / Byte.SIZE;
    }

    /** Number of words of upper bits, which come before the other words of a block. */
    public int upperWords() {
        return switch (bits) {
            case 3, 5 -> 1;
            case 6 -> 2;
            default -> 0;
        };
    }

    /** Number of blocks in a group of scales. */
    public int groupBlocks() {
        return scales.grouped() ? SUPER : 1;
    }

    /** The factor of a stored d: IQ types multiply d with a fraction, which an f16 could not always hold. */
    public float factor() {
        return switch (codes) {
            case IQ2, IQ1 -> 0x1p-3f;
            case IQ3_XXS -> 0x1p-1f;
            case PLAIN, IQ4, FP4, IQ3_S -> 1f;
        };
    }

    /** Size of a group of scales of a panel in bytes. */
    public int scaleBytes() {
        if (scales == Scales.HALF_BLOCK_FLOATS) {
            return 2 * PANEL;
        }
        if (scales == Scales.EXPONENTS) {
            return PANEL;
        }
        int kinds = minimum ? 2 : 1;
        return scales.grouped() ? kinds * PANEL * (2 + SUPER * scales.perBlock()) : kinds * PANEL * 2;
    }

    /** Size of the scales of {@code wordBytes} bytes of words: the distance of their prefetch beside that of the words. */
    public int scaleBytesOf(int wordBytes) {
        return wordBytes * scaleBytes() / (wordBytes() * groupBlocks());
    }
}
