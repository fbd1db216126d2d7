package quire.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.SplittableRandom;
import quire.tensor.block.FileNumbers;

/** Seeded random operands. */
public final class Samples {
    private Samples() {}

    /** A random number with a magnitude around 1. */
    public static float number(SplittableRandom random) {
        return (float) (random.nextGaussian() * Math.pow(2, random.nextInt(-3, 3)));
    }

    /** A matrix of random numbers. */
    public static FloatMatrix matrix(Arena arena, int rows, int columns, SplittableRandom random) {
        FloatMatrix x = FloatMatrix.allocate(arena, rows, columns);
        for (int r = 0; r < rows; r++) {
            for (int i = 0; i < columns; i++) {
                x.set(r, i, number(random));
            }
        }
        return x;
    }

    /** Activations of random numbers, not yet quantised. */
    public static Activations activations(
            Arena arena, int rows, int columns, boolean quantized, SplittableRandom random) {
        Activations x = Activations.allocate(arena, rows, columns, quantized);
        x.values().segment().copyFrom(matrix(arena, rows, columns, random).segment());
        return x;
    }

    /** The bytes of a tensor in a file: any quants, scales around 0.01. */
    public static MemorySegment weights(Arena arena, ElementType type, int rows, int columns, SplittableRandom random) {
        long blocks = (long) rows * columns / type.blockElements();
        // starts at an odd address, so that code cannot rely on alignment
        MemorySegment bytes =
                arena.allocate(type.byteSize((long) rows * columns) + 1, 64).asSlice(1);
        for (long block = 0; block < blocks; block++) {
            long offset = block * type.blockBytes();
            switch (type) {
                case F32 -> bytes.set(FileNumbers.FLOAT, offset, number(random));
                case F16 -> bytes.set(FileNumbers.SHORT, offset, Float.floatToFloat16(number(random)));
                case BF16 ->
                    bytes.set(FileNumbers.SHORT, offset, (short) (Float.floatToRawIntBits(number(random)) >>> 16));
                default -> {
                    for (int i = 0; i < type.blockBytes(); i++) {
                        bytes.set(ValueLayout.JAVA_BYTE, offset + i, (byte) random.nextInt());
                    }
                    if (type == ElementType.MXFP4) {
                        bytes.set(ValueLayout.JAVA_BYTE, offset, (byte) random.nextInt(118, 124));
                    }
                    for (int at : halves(type)) {
                        setHalf(type, bytes, offset + at, Float.floatToFloat16(number(random) / 100));
                    }
                }
            }
        }
        return bytes;
    }

    /** Offsets of the f16 numbers in a block. */
    public static int[] halves(ElementType type) {
        return switch (type) {
            case Q4_0, Q5_0, Q8_0, IQ4_NL, IQ4_XS -> new int[] {0};
            case Q4_1, Q5_1, Q4_K, Q5_K -> new int[] {0, 2};
            case Q2_K -> new int[] {80, 82};
            case Q3_K -> new int[] {108};
            case Q6_K -> new int[] {208};
            case IQ3_S, IQ3_XXS, IQ2_S, IQ2_XS, IQ2_XXS, IQ1_S, Q1_0, Q2_0 -> new int[] {0};
            case IQ1_M -> new int[] {48};
            case TQ1_0 -> new int[] {52};
            case TQ2_0 -> new int[] {64};
            case F32, F16, BF16, MXFP4, NVFP4 -> new int[0];
        };
    }

    /** An f16 of a block. */
    public static short half(ElementType type, MemorySegment bytes, long at) {
        if (type != ElementType.IQ1_M) {
            return bytes.get(FileNumbers.SHORT, at);
        }
        int half = 0;
        for (int i = 0; i < 4; i++) {
            half |= (bytes.get(FileNumbers.SHORT, at + 2L * i) >>> 12 & 15) << (4 * i);
        }
        return (short) half;
    }

    /** Sets an f16 of a block. That of IQ1_M is in the highest nibbles of four words. */
    public static void setHalf(ElementType type, MemorySegment bytes, long at, short half) {
        if (type != ElementType.IQ1_M) {
            bytes.set(FileNumbers.SHORT, at, half);
            return;
        }
        for (int i = 0; i < 4; i++) {
            int rest = bytes.get(FileNumbers.SHORT, at + 2L * i) & 0xFFF;
            bytes.set(FileNumbers.SHORT, at + 2L * i, (short) (rest | (half >>> (4 * i) & 15) << 12));
        }
    }
}
