package quire.tensor.block;

import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/** How numbers are stored in a model file: little endian, at any address. */
public final class FileNumbers {
    /** 16 bits: an integer, an f16 or a bf16. */
    public static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    /** An f32. */
    public static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private FileNumbers() {}

    /** The 16-bit number that begins at index {@code at}. */
    public static short shortAt(byte[] bytes, int at) {
        return (short) ((bytes[at] & 0xff) | (bytes[at + 1] << 8));
    }

    /** The 32-bit number that begins at index {@code at}. */
    public static int intAt(byte[] bytes, int at) {
        return (shortAt(bytes, at) & 0xffff) | shortAt(bytes, at + 2) << 16;
    }

    /** A bf16, exactly. */
    public static float bf16ToFloat(short value) {
        return Float.intBitsToFloat(value << 16);
    }
}
