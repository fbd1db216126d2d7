package quire.model.text;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Decodes tokens to text one by one. It never returns a part of a character and never loses a byte. Bytes that are not
 * UTF-8 become U+FFFD, exactly as in {@code new String(bytes, UTF_8)}.
 */
public final class Detokenizer {
    private static final byte[] NONE = {};

    private final Tokenizer tokenizer;
    private byte[] pending = NONE;

    /** Creates a detokenizer for one text. */
    public Detokenizer(Tokenizer tokenizer) {
        this.tokenizer = tokenizer;
    }

    /** Adds a token and returns the text that is now complete, possibly empty. */
    public String append(int token) {
        byte[] more = tokenizer.bytes(token);
        byte[] bytes = Arrays.copyOf(pending, pending.length + more.length);
        System.arraycopy(more, 0, bytes, pending.length, more.length);
        int certain = bytes.length - incompleteTail(bytes);
        pending = certain == bytes.length ? NONE : Arrays.copyOfRange(bytes, certain, bytes.length);
        return new String(bytes, 0, certain, StandardCharsets.UTF_8);
    }

    /** Ends the text. Returns the rest, an incomplete character, as U+FFFD. */
    public String finish() {
        String rest = new String(pending, StandardCharsets.UTF_8);
        pending = NONE;
        return rest;
    }

    /**
     * The number of bytes at the end that can still become a character: a lead byte with too few continuation bytes.
     */
    private static int incompleteTail(byte[] bytes) {
        for (int back = 1; back <= Math.min(3, bytes.length); back++) {
            int b = bytes[bytes.length - back] & 0xFF;
            if ((b & 0xC0) == 0x80) {
                continue;
            }
            int length = b >= 0xF0 && b <= 0xF4 ? 4 : b >= 0xE0 && b < 0xF0 ? 3 : b >= 0xC2 && b < 0xE0 ? 2 : 1;
            return length > back ? back : 0;
        }
        return 0;
    }
}
