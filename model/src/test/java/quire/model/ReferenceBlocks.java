package quire.model;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import quire.tensor.ElementType;

/**
 * Decodes one number of a tensor at a time, with an independent implementation of the formats: a formula for each bit. Types
 * with grids are decoded by {@link ElementType#decode}, whose tests compare every point with ggml.
 */
final class ReferenceBlocks {
    private static final ValueLayout.OfShort SHORT =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfFloat FLOAT =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final int[] IQ4 = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    private static final double[] FP4 = {0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6};

    private final MemorySegment data;
    private final long block;

    private ReferenceBlocks(MemorySegment data, long block) {
        this.data = data;
        this.block = block;
    }

    /**
     * The values of successive elements of a tensor.
     *
     * @param first the first one, which begins a block
     * @param to gets them, whole blocks
     */
    static void numbers(ElementType type, MemorySegment data, long first, double[] to) {
        int size = type.blockElements();
        float[] points = new float[size];
        for (int at = 0; at < to.length; at += size) {
            long block = (first + at) / size * type.blockBytes();
            ReferenceBlocks numbers = new ReferenceBlocks(data, block);
            if (hasGrid(type)) {
                type.decode(data, block, MemorySegment.ofArray(points), 0, size);
            }
            for (int i = 0; i < size; i++) {
                to[at + i] = hasGrid(type) ? points[i] : numbers.number(type, i);
            }
        }
    }

    private static boolean hasGrid(ElementType type) {
        return switch (type) {
            case IQ3_S, IQ3_XXS, IQ2_S, IQ2_XS, IQ2_XXS, IQ1_M, IQ1_S -> true;
            default -> false;
        };
    }

    private double number(ElementType type, int i) {
        return switch (type) {
            case F32 -> data.get(FLOAT, block);
            case F16 -> half(0);
            case BF16 -> Float.intBitsToFloat(data.get(SHORT, block) << 16);
            case Q4_0 -> half(0) * (nibble(2, i) - 8);
            case Q4_1 -> half(0) * nibble(4, i) + half(2);
            case Q5_0 -> half(0) * (nibble(6, i) + 16 * bits(2 + i / 8, i % 8, 1) - 16);
            case Q5_1 -> half(0) * (nibble(8, i) + 16 * bits(4 + i / 8, i % 8, 1)) + half(2);
            case Q8_0 -> half(0) * data.get(JAVA_BYTE, block + 2 + i);
            case Q2_K -> half(80) * bits(i / 16, 0, 4) * twoBits(16, i) - half(82) * bits(i / 16, 4, 4);
            case Q3_K -> {
                int group = i / 16;
                int scale = bits(96 + group % 8, group / 8 * 4, 4) + 16 * bits(104 + group % 4, group / 4 * 2, 2);
                yield half(108) * (scale - 32) * (twoBits(32, i) + 4 * bits(i % 32, i / 32, 1) - 4);
            }
            case Q4_K -> half(0) * scale(i / 32) * bits(16 + i / 64 * 32 + i % 32, i / 32 % 2 * 4, 4) - minimum(i / 32);
            case Q5_K -> {
                int quant = bits(48 + i / 64 * 32 + i % 32, i / 32 % 2 * 4, 4) + 16 * bits(16 + i % 32, i / 32, 1);
                yield half(0) * scale(i / 32) * quant - minimum(i / 32);
            }
            case Q6_K -> {
                int quant = bits(i / 128 * 64 + i % 64, i % 128 / 64 * 4, 4) + 16 * twoBits(128, i) - 32;
                yield half(208) * data.get(JAVA_BYTE, block + 192 + i / 16) * quant;
            }
            case IQ4_NL -> half(0) * IQ4[nibble(2, i)];
            case IQ4_XS -> {
                int group = i / 32;
                int scale = bits(4 + group / 2, group % 2 * 4, 4) + 16 * bits(2 + group / 4, group % 4 * 2, 2);
                yield half(0) * (scale - 32) * IQ4[nibble(8 + 16 * group, i % 32)];
            }
            case MXFP4 -> Math.scalb(FP4[nibble(1, i)], bits(0, 0, 8) - 127);
            case NVFP4 -> smallFloat(bits(i / 16, 0, 8)) * FP4[bits(4 + i / 16 * 8 + i % 8, i % 16 / 8 * 4, 4)];
            case TQ1_0 -> {
                int run = i < 160 ? 32 : i < 240 ? 16 : 4;
                int begin = i < 160 ? 0 : i < 240 ? 160 : 240;
                int fraction = bits((i < 160 ? 0 : i < 240 ? 32 : 48) + (i - begin) % run, 0, 8);
                for (int digit = 0; digit < (i - begin) / run; digit++) {
                    fraction = fraction * 3 % 256;
                }
                yield half(52) * (fraction * 3 / 256 - 1);
            }
            case TQ2_0 -> half(64) * (twoBits(0, i) - 1);
            case Q1_0 -> half(0) * (2 * bits(2 + i / 8, i % 8, 1) - 1);
            case Q2_0 -> half(0) * (bits(2 + i / 4, i % 4 * 2, 2) - 1);
            case IQ3_S, IQ3_XXS, IQ2_S, IQ2_XS, IQ2_XXS, IQ1_M, IQ1_S -> throw new AssertionError(type);
        };
    }

    private static double smallFloat(int bits) {
        int exponent = bits >> 3 & 15;
        double fraction = (exponent == 0 ? 0 : 1) + (bits & 7) / 8.0;
        return bits == 0x7f ? 0 : Math.scalb(fraction, Math.max(exponent, 1) - 7);
    }

    private int twoBits(int at, int i) {
        return bits(at + i / 128 * 32 + i % 32, i % 128 / 32 * 2, 2);
    }

    /** The scale of 32 numbers in Q4_K and Q5_K. */
    private int scale(int group) {
        return group < 4 ? bits(4 + group, 0, 6) : bits(8 + group, 0, 4) + 16 * bits(group, 6, 2);
    }

    private double minimum(int group) {
        int minimum = group < 4 ? bits(8 + group, 0, 6) : bits(8 + group, 4, 4) + 16 * bits(4 + group, 6, 2);
        return half(2) * minimum;
    }

    private int nibble(int at, int i) {
        return bits(at + i % 16, i / 16 * 4, 4);
    }

    private int bits(int at, int shift, int count) {
        return data.get(JAVA_BYTE, block + at) >>> shift & ((1 << count) - 1);
    }

    private double half(int at) {
        return Float.float16ToFloat(data.get(SHORT, block + at));
    }
}
