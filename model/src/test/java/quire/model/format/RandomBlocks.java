package quire.model.format;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.SplittableRandom;
import quire.tensor.ElementType;

/**
 * Blocks of random bytes, so that every index, scale and sign of a type occurs. Only the factor of a block is chosen, so that
 * the numbers have a mean of about 0 and a given spread.
 */
final class RandomBlocks {
    private RandomBlocks() {}

    /** Whole blocks of {@code Q8_0}, {@code Q4_K}, {@code IQ3_S} or {@code MXFP4}. */
    static byte[] of(ElementType type, long count, double spread, SplittableRandom random) {
        byte[] bytes = new byte[(int) type.byteSize(count)];
        random.nextBytes(bytes);
        ByteBuffer blocks = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        for (int at = 0; at < bytes.length; at += type.blockBytes()) {
            switch (type) {
                case Q8_0 -> factor(blocks, at, spread / 74);
                case Q4_K -> { // quants of 4 bits, less 7.5 on average
                    factor(blocks, at, spread / 258);
                    factor(blocks, at + Short.BYTES, 7.5 * spread / 258);
                }
                case IQ3_S -> factor(blocks, at, spread / 130);
                case MXFP4 -> {
                    int exponent = 127 + Math.getExponent(spread / 2.93 * Math.sqrt(2));
                    blocks.put(at, (byte) (exponent + random.nextInt(-1, 2)));
                }
                default -> throw new IllegalArgumentException(type.name());
            }
        }
        return bytes;
    }

    private static void factor(ByteBuffer blocks, int at, double factor) {
        blocks.putShort(at, Float.floatToFloat16((float) factor));
    }
}
