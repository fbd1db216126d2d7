package quire.model.format;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
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
            case F32, F16, BF16 -> throw new IllegalArgumentException(type.name());
        }
        return block.array();
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
