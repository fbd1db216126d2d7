package quire.model.format;

import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import quire.tensor.ElementType;

/**
 * Quantises numbers to blocks in a simple way: scales from the extremes of each group, quants by rounding. Unlike the
 * encoders of ggml it does not search for better scales. So a model that a test writes is valid, but slightly less
 * exact than a real one.
 */
final class BlockEncoder {
    private static final int[] IQ4 = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    private static final int[] FP4 = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

    private final ElementType type;
    private final float[] values;
    private final int first;
    private final ByteBuffer block;

    private BlockEncoder(ElementType type, float[] values, int first) {
        this.type = type;
        this.values = values;
        this.first = first;
        this.block = ByteBuffer.allocate(type.blockBytes()).order(ByteOrder.LITTLE_ENDIAN);
    }

    /** Encodes whole blocks. */
    static byte[] encode(ElementType type, float[] values) {
        ByteBuffer out = ByteBuffer.allocate((int) type.byteSize(values.length));
        for (int first = 0; first < values.length; first += type.blockElements()) {
            out.put(new BlockEncoder(type, values, first).encode());
        }
        return out.array();
    }

    private byte[] encode() {
        switch (type) {
            case Q4_0 -> symmetric(8);
            case Q4_1 -> affine(15);
            case Q5_0 -> symmetric(16);
            case Q5_1 -> affine(31);
            case Q8_0 -> bytes();
            case Q2_K -> grouped(80, 15, 3);
            case Q3_K -> scaled(108, 31, 4);
            case Q4_K -> grouped(0, 63, 15);
            case Q5_K -> grouped(0, 63, 31);
            case Q6_K -> scaled(208, 127, 32);
            case IQ4_NL -> table(scale(0, largest(0, 32) / -127), 0, IQ4);
            case IQ4_XS -> scaled(0, 31, 127);
            case MXFP4 -> {
                float most = Math.abs(largest(0, 32));
                int exponent =
                        most == 0 ? 0 : Math.clamp((int) Math.ceil(Math.log(most / 6) / Math.log(2)) + 127, 0, 254);
                block.put(0, (byte) exponent);
                table((float) Math.scalb(1.0, exponent - 128), 0, FP4);
            }
            case NVFP4 -> {
                for (int group = 0; group < 4; group++) {
                    smallFloats(group);
                }
            }
            case IQ3_S, IQ3_XXS, IQ2_S, IQ2_XS, IQ2_XXS, IQ1_M, IQ1_S -> points(PointTable.of(type));
            case TQ1_0 -> levels(52, 256, 1, 1);
            case TQ2_0 -> levels(64, 256, 1, 1);
            case Q1_0 -> {
                float scale = scale(0, meanMagnitude(128));
                for (int i = 0; i < 128; i++) {
                    putQuant(i, value(i) * scale < 0 ? 0 : 1);
                }
            }
            case Q2_0 -> levels(0, 64, 1, 2);
            case F32, F16, BF16 -> throw new IllegalArgumentException(type.name());
        }
        return block.array();
    }

    /** Quants from {@code −zero} to {@code most}, with one scale. */
    private void levels(int at, int count, int zero, int most) {
        float scale = scale(at, 1.5f * meanMagnitude(count));
        int[] quants = new int[count];
        for (int i = 0; i < count; i++) {
            quants[i] = rounded(value(i) / scale, -zero, most) + zero;
            if (type != ElementType.TQ1_0) {
                putQuant(i, quants[i]);
            }
        }
        if (type == ElementType.TQ1_0) {
            digits(quants, 0, 32, 5, 0);
            digits(quants, 32, 16, 5, 160);
            digits(quants, 48, 4, 4, 240);
        }
    }

    /** Bytes of digits in base 3, as fractions of 3⁵ rounded up to fractions of 256. */
    private void digits(int[] quants, int at, int count, int digits, int from) {
        for (int i = 0; i < count; i++) {
            int number = 0;
            for (int digit = 0; digit < 5; digit++) {
                number = 3 * number + (digit < digits ? quants[from + digit * count + i] : 0);
            }
            block.put(at + i, (byte) Math.ceilDiv(number * 256, 243));
        }
    }

    private float meanMagnitude(int count) {
        float sum = 0;
        for (int i = 0; i < count; i++) {
            sum += Math.abs(value(i));
        }
        return sum / count;
    }

    /** 16 numbers of NVFP4. */
    private void smallFloats(int group) {
        float most = Math.abs(largest(16 * group, 16)) / 6;
        int bits = 0;
        while (bits < 0x7e && smallFloat(bits) < most) {
            bits++;
        }
        block.put(group, (byte) bits);
        for (int i = 16 * group; i < 16 * group + 16; i++) {
            int best = 0;
            for (int j = 1; j < FP4.length; j++) {
                float step = smallFloat(bits) / 2;
                if (Math.abs(value(i) - step * FP4[j]) < Math.abs(value(i) - step * FP4[best])) {
                    best = j;
                }
            }
            put(4 + i / 16 * 8 + i % 8, i % 16 / 8 * 4, best);
        }
    }

    private static float smallFloat(int bits) {
        int exponent = bits >> 3;
        return Math.scalb((exponent == 0 ? 0 : 1) + (bits & 7) / 8f, Math.max(exponent, 1) - 7);
    }

    /** The points of an IQ type, read from decoded blocks with d = 1 and the scale 1. */
    private static final class PointTable {
        private static final Map<ElementType, PointTable> TABLES = new ConcurrentHashMap<>();

        /** Numbers of a point. */
        private final int size;

        /** The points by coordinate. */
        private final float[][] columns;

        private final float most;

        private PointTable(int size, float[][] columns, float most) {
            this.size = size;
            this.columns = columns;
            this.most = most;
        }

        static PointTable of(ElementType type) {
            return TABLES.computeIfAbsent(type, PointTable::read);
        }

        private static PointTable read(ElementType type) {
            int count =
                    switch (type) {
                        case IQ1_S, IQ1_M -> 2048;
                        case IQ2_S -> 1024;
                        case IQ2_XS, IQ3_S -> 512;
                        default -> 256;
                    };
            int size = type == ElementType.IQ3_S || type == ElementType.IQ3_XXS ? 4 : 8;
            float[][] columns = new float[size][count];
            float most = 0;
            for (int i = 0; i < count; i++) {
                BlockEncoder encoder = new BlockEncoder(type, new float[0], 0);
                encoder.putD(1);
                encoder.putPoint(0, i, 0);
                float[] numbers = new float[256];
                type.decode(MemorySegment.ofBuffer(encoder.block), 0, MemorySegment.ofArray(numbers), 0, 256);
                for (int j = 0; j < size; j++) {
                    columns[j][i] = numbers[j];
                    most = Math.max(most, numbers[j]);
                }
            }
            return new PointTable(size, columns, most);
        }

        /** The nearest point; of equally near ones the first. */
        int nearest(float[] wanted) {
            float[] errors = new float[columns[0].length];
            for (int j = 0; j < size; j++) { // a loop over many points at a time, which the compiler vectorises
                float number = wanted[j];
                float[] column = columns[j];
                for (int i = 0; i < errors.length; i++) {
                    float difference = number - column[i];
                    errors[i] += difference * difference;
                }
            }
            int best = 0;
            for (int i = 1; i < errors.length; i++) {
                best = errors[i] < errors[best] ? i : best;
            }
            return best;
        }
    }

    /** Scales 2s + 1 for groups of points. */
    private void points(PointTable table) {
        boolean signed = type != ElementType.IQ1_S && type != ElementType.IQ1_M;
        boolean even = type == ElementType.IQ2_XXS || type == ElementType.IQ2_XS || type == ElementType.IQ3_XXS;
        int steps = signed ? 15 : 7;
        int size = type.scaleElements();
        float d = putD(Math.abs(largest(0, 256)) / table.most / (2 * steps + 1));
        float[] wanted = new float[8];
        for (int group = 0; group < 256; group += size) {
            float unit = Math.abs(largest(group, size)) / table.most;
            int step = rounded((unit / d - 1) / 2, 0, steps);
            putStep(group / size, step);
            float scale = d * (2 * step + 1);
            for (int eight = group; eight < group + size; eight += 8) {
                int signs = 0;
                int least = 0;
                for (int j = 0; j < 8; j++) {
                    boolean negative = signed && value(eight + j) < 0;
                    signs |= negative ? 1 << j : 0;
                    wanted[j] = d == 0 ? 0 : (negative ? -1 : 1) * value(eight + j) / scale;
                    least = Math.abs(wanted[j]) < Math.abs(wanted[least]) ? j : least;
                }
                if (even && Integer.bitCount(signs) % 2 == 1) {
                    signs ^= 1 << least;
                    wanted[least] = -wanted[least];
                }
                for (int j = 0; j < 8; j += table.size) {
                    float[] numbers = Arrays.copyOfRange(wanted, j, j + table.size);
                    putPoint((eight + j) / table.size, table.nearest(numbers), signs >> j);
                }
            }
        }
    }

    /** Writes d and returns the value that a reader gets. */
    private float putD(float d) {
        if (type != ElementType.IQ1_M) {
            return scale(0, d);
        }
        short half = Float.floatToFloat16(d);
        for (int i = 0; i < 4; i++) {
            put(49 + 2 * i, 4, half >> (4 * i) & 15);
        }
        return Float.float16ToFloat(half);
    }

    /** Writes the number s of a scale 2s + 1. */
    private void putStep(int group, int step) {
        switch (type) {
            case IQ3_S -> put(106 + group / 2, group % 2 * 4, step);
            case IQ3_XXS -> put(69 + 4 * group, 4, step);
            case IQ2_S -> put(74 + group / 2, group % 2 * 4, step);
            case IQ2_XS -> put(66 + group / 2, group % 2 * 4, step);
            case IQ2_XXS -> put(9 + 8 * group, 4, step);
            case IQ1_M -> putWord(48 + group / 4 * 2, group % 4 * 3, step);
            case IQ1_S -> putWord(34 + 2 * group, 12, step);
            default -> throw new AssertionError(type);
        }
    }

    /** Writes the index of a point, and the signs of its 4 or 8 numbers. */
    private void putPoint(int i, int index, int signs) {
        switch (type) {
            case IQ3_S -> {
                put(2 + i, 0, index & 255);
                put(66 + i / 8, i % 8, index >> 8);
                put(74 + i / 2, i % 2 * 4, signs & 15);
            }
            case IQ3_XXS -> {
                put(2 + i, 0, index);
                // four times 7 signs for 8 points; the eighth sign follows from the others
                putInt(66 + i / 8 * 4, i % 8 / 2 * 7 + i % 2 * 4, signs & (i % 2 == 0 ? 15 : 7));
            }
            case IQ2_S -> {
                put(2 + i, 0, index & 255);
                put(66 + i / 4, i % 4 * 2, index >> 8);
                put(34 + i, 0, signs);
            }
            case IQ2_XS -> putWord(2 + 2 * i, 0, index | (signs & 127) << 9);
            case IQ2_XXS -> {
                put(2 + i / 4 * 8 + i % 4, 0, index);
                putInt(6 + i / 4 * 8, i % 4 * 7, signs & 127);
            }
            case IQ1_M -> {
                put(i, 0, index & 255);
                put(32 + i / 2, i % 2 * 4, index >> 8);
            }
            case IQ1_S -> {
                put(2 + i, 0, index & 255);
                putWord(34 + i / 4 * 2, i % 4 * 3, index >> 8);
            }
            default -> throw new AssertionError(type);
        }
    }

    private void putWord(int at, int shift, int bits) {
        block.putShort(at, (short) (block.getShort(at) | bits << shift));
    }

    private void putInt(int at, int shift, int bits) {
        block.putInt(at, block.getInt(at) | bits << shift);
    }

    private void bytes() {
        float scale = scale(0, Math.abs(largest(0, 32)) / 127);
        for (int i = 0; i < 32; i++) {
            block.put(2 + i, (byte) rounded(value(i) / scale, -127, 127));
        }
    }

    /** One scale for 32 numbers; {@code zero} is subtracted. */
    private void symmetric(int zero) {
        float scale = scale(0, largest(0, 32) / -zero);
        for (int i = 0; i < 32; i++) {
            putQuant(i, rounded(value(i) / scale, -zero, zero - 1) + zero);
        }
    }

    /** A scale and a minimum for 32 numbers. */
    private void affine(int levels) {
        float low = low(0, 32);
        float scale = scale(0, (high(0, 32) - low) / levels);
        float minimum = scale(2, low);
        for (int i = 0; i < 32; i++) {
            putQuant(i, rounded((value(i) - minimum) / scale, 0, levels));
        }
    }

    /** Integer scales and minimums of up to {@code steps}, for groups of quants of up to {@code levels}. */
    private void grouped(int at, int steps, int levels) {
        int size = type == ElementType.Q2_K ? 16 : 32;
        float mostScale = 0;
        float mostMinimum = 0;
        for (int i = 0; i < 256; i += size) {
            float minimum = Math.max(0, -low(i, size));
            mostMinimum = Math.max(mostMinimum, minimum);
            mostScale = Math.max(mostScale, (high(i, size) + minimum) / levels);
        }
        float d = scale(at, mostScale / steps);
        float dmin = scale(at + 2, mostMinimum / steps);
        for (int i = 0; i < 256; i += size) {
            float minimum = Math.max(0, -low(i, size));
            int scale = rounded((high(i, size) + minimum) / levels / d, 0, steps);
            int offset = rounded(minimum / dmin, 0, steps);
            putPair(i / size, scale, offset);
            for (int j = i; j < i + size; j++) {
                putQuant(j, rounded((value(j) + dmin * offset) / (d * scale), 0, levels));
            }
        }
    }

    /**
     * Signed integer scales of up to {@code steps}, for groups of quants from {@code −zero} on, or of a table that
     * starts there.
     */
    private void scaled(int at, int steps, int zero) {
        int size = type == ElementType.IQ4_XS ? 32 : 16;
        float most = 0;
        for (int i = 0; i < 256; i += size) {
            most = Math.max(most, Math.abs(largest(i, size)) / zero);
        }
        float d = scale(at, most / steps);
        for (int i = 0; i < 256; i += size) {
            int scale = rounded(largest(i, size) / -zero / d, -steps, steps);
            putScale(i / size, scale);
            if (type == ElementType.IQ4_XS) {
                table(d * scale, i, IQ4);
            } else {
                for (int j = i; j < i + size; j++) {
                    putQuant(j, rounded(value(j) / (d * scale), -zero, zero - 1) + zero);
                }
            }
        }
    }

    /** The nearest value of a table, times a scale, for 32 numbers. */
    private void table(float scale, int from, int[] table) {
        for (int i = from; i < from + 32; i++) {
            int best = 0;
            for (int j = 1; j < table.length; j++) {
                if (Math.abs(value(i) - scale * table[j]) < Math.abs(value(i) - scale * table[best])) {
                    best = j;
                }
            }
            putQuant(i, best);
        }
    }

    // ---- positions of bits

    private void putQuant(int i, int quant) {
        int crumb = i / 128 * 32 + i % 32;
        int crumbShift = i % 128 / 32 * 2;
        switch (type) {
            case Q4_0, IQ4_NL -> put(2 + i % 16, i / 16 * 4, quant);
            case MXFP4 -> put(1 + i % 16, i / 16 * 4, quant);
            case Q4_1 -> put(4 + i % 16, i / 16 * 4, quant);
            case Q5_0, Q5_1 -> {
                int at = type == ElementType.Q5_0 ? 2 : 4;
                put(at + 4 + i % 16, i / 16 * 4, quant & 15);
                put(at + i / 8, i % 8, quant >> 4);
            }
            case Q2_K -> put(16 + crumb, crumbShift, quant);
            case Q3_K -> {
                put(32 + crumb, crumbShift, quant & 3);
                put(i % 32, i / 32, quant >> 2);
            }
            case Q4_K -> put(16 + i / 64 * 32 + i % 32, i / 32 % 2 * 4, quant);
            case Q5_K -> {
                put(48 + i / 64 * 32 + i % 32, i / 32 % 2 * 4, quant & 15);
                put(16 + i % 32, i / 32, quant >> 4);
            }
            case Q6_K -> {
                put(i / 128 * 64 + i % 64, i % 128 / 64 * 4, quant & 15);
                put(128 + crumb, crumbShift, quant >> 4);
            }
            case IQ4_XS -> put(8 + i / 32 * 16 + i % 16, i % 32 / 16 * 4, quant);
            case TQ2_0 -> put(crumb, crumbShift, quant);
            case Q1_0 -> put(2 + i / 8, i % 8, quant);
            case Q2_0 -> put(2 + i / 4, i % 4 * 2, quant);
            default -> throw new AssertionError(type);
        }
    }

    private void putPair(int group, int scale, int minimum) {
        if (type == ElementType.Q2_K) {
            put(group, 0, scale | minimum << 4);
        } else if (group < 4) {
            put(4 + group, 0, scale);
            put(8 + group, 0, minimum);
        } else {
            put(8 + group, 0, (scale & 15) | (minimum & 15) << 4);
            put(group, 6, scale >> 4);
            put(4 + group, 6, minimum >> 4);
        }
    }

    private void putScale(int group, int scale) {
        switch (type) {
            case Q3_K -> {
                put(96 + group % 8, group / 8 * 4, (scale + 32) & 15);
                put(104 + group % 4, group / 4 * 2, (scale + 32) >> 4);
            }
            case Q6_K -> block.put(192 + group, (byte) scale);
            case IQ4_XS -> {
                put(4 + group / 2, group % 2 * 4, (scale + 32) & 15);
                put(2 + group / 4, group % 4 * 2, (scale + 32) >> 4);
            }
            default -> throw new AssertionError(type);
        }
    }

    private void put(int at, int shift, int bits) {
        block.put(at, (byte) (block.get(at) | bits << shift));
    }

    /** Writes an f16 and returns the value that a reader gets. */
    private float scale(int at, float scale) {
        short half = Float.floatToFloat16(scale);
        block.putShort(at, half);
        return Float.float16ToFloat(half);
    }

    // ---- numbers

    private float value(int i) {
        return values[first + i];
    }

    /** The nearest integer between the bounds; 0 / 0 is 0. */
    private static int rounded(float value, int least, int most) {
        return Math.clamp(Math.round(value), least, most);
    }

    private float low(int from, int count) {
        float low = Float.POSITIVE_INFINITY;
        for (int i = from; i < from + count; i++) {
            low = Math.min(low, value(i));
        }
        return low;
    }

    private float high(int from, int count) {
        float high = Float.NEGATIVE_INFINITY;
        for (int i = from; i < from + count; i++) {
            high = Math.max(high, value(i));
        }
        return high;
    }

    /** The number with the largest magnitude, with its sign. */
    private float largest(int from, int count) {
        float largest = 0;
        for (int i = from; i < from + count; i++) {
            largest = Math.abs(value(i)) > Math.abs(largest) ? value(i) : largest;
        }
        return largest;
    }
}
