package quire.model.format;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;

/** Many strings, as bytes, one behind the other in one array: no object for each. Immutable. */
public final class ByteStrings {
    private final byte[] bytes;
    /** Where each string begins, and where the last one ends. */
    private final int[] starts;

    /**
     * Both arrays belong to the new object.
     *
     * @param starts where each string begins in {@code bytes}, and where the last one ends
     */
    ByteStrings(byte[] bytes, int[] starts) {
        this.bytes = bytes;
        this.starts = starts;
    }

    /** Copies strings. */
    public static ByteStrings of(List<byte[]> strings) {
        int[] starts = new int[strings.size() + 1];
        for (int i = 0; i < strings.size(); i++) {
            starts[i + 1] = Math.addExact(starts[i], strings.get(i).length);
        }
        byte[] bytes = new byte[starts[strings.size()]];
        for (int i = 0; i < strings.size(); i++) {
            System.arraycopy(strings.get(i), 0, bytes, starts[i], strings.get(i).length);
        }
        return new ByteStrings(bytes, starts);
    }

    /** The number of strings. */
    public int size() {
        return starts.length - 1;
    }

    /** The bytes of all strings. The caller does not change them. */
    public byte[] bytes() {
        return bytes;
    }

    /** Where a string begins in {@link #bytes()}. */
    public int start(int index) {
        return starts[index];
    }

    /** Where a string ends in {@link #bytes()}: the first position behind it. */
    public int end(int index) {
        return starts[index + 1];
    }

    /** The number of bytes of a string. */
    public int length(int index) {
        return starts[index + 1] - starts[index];
    }

    /** The bytes of a string. The caller owns the array. */
    public byte[] get(int index) {
        return Arrays.copyOfRange(bytes, starts[index], starts[index + 1]);
    }

    /** A string as text. Bytes that are not UTF-8 become U+FFFD. */
    public String text(int index) {
        return new String(bytes, starts[index], length(index), StandardCharsets.UTF_8);
    }

    /** The number of UTF-16 units of a string as text, or -1 if its bytes are not UTF-8. */
    public int textLength(int index) {
        int length = 0;
        int end = end(index);
        for (int at = start(index); at < end; ) {
            int first = bytes[at++];
            if (first >= 0) {
                length++;
                continue;
            }
            int more = continuations(first);
            if (more == 0 || more > end - at || !isSecond(first, bytes[at])) {
                return -1;
            }
            for (int last = at + more; at < last; at++) {
                if ((bytes[at] & 0xC0) != 0x80) {
                    return -1;
                }
            }
            length += more == 3 ? 2 : 1;
        }
        return length;
    }

    /** How many bytes follow the first one of a character that is not ASCII; 0 if no character begins so. */
    private static int continuations(int first) {
        int b = first & 0xFF;
        return b >= 0xC2 && b < 0xE0 ? 1 : b >= 0xE0 && b < 0xF0 ? 2 : b >= 0xF0 && b < 0xF5 ? 3 : 0;
    }

    /** Whether a byte may follow the first one: not in overlong forms, surrogates, and characters beyond U+10FFFF. */
    private static boolean isSecond(int first, int second) {
        return switch (first & 0xFF) {
            case 0xE0 -> second >= (byte) 0xA0;
            case 0xED -> second < (byte) 0xA0;
            case 0xF0 -> second >= (byte) 0x90;
            case 0xF4 -> second < (byte) 0x90;
            default -> true;
        };
    }
}
