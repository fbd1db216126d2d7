package quire.server.openai;

import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CoderResult;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;

/**
 * Where tokens begin in the text of an answer, in characters (code points), for {@code text_offset}. A token's offset
 * is the length of the text that the tokens before it became.
 *
 * <p>A character may have its bytes in several tokens. It belongs to the token with its last byte. Bytes that are not a
 * valid character become U+FFFD, which belongs to the tokens that had these bytes:
 *
 * <pre>
 *   bytes      E2 82 | AC | x          E2 82 | x
 *   text       ......   €   x          �       x
 *   offset     0       0    1          0       1
 * </pre>
 *
 * A token without bytes begins where the last complete character ends.
 */
final class TextOffsets {
    private static final byte[] NONE = {};

    private final CharsetDecoder strict = StandardCharsets.UTF_8.newDecoder();
    private final CharsetDecoder replacing = StandardCharsets.UTF_8
            .newDecoder()
            .onMalformedInput(CodingErrorAction.REPLACE)
            .onUnmappableCharacter(CodingErrorAction.REPLACE);

    /** The bytes at the end that can still become a character. */
    private byte[] open = NONE;

    private int characters;

    /** The offset of the next token, which has these bytes. */
    int next(byte[] bytes) {
        if (bytes.length > 0 && open.length > 0 && !continues(bytes[0])) {
            characters++; // the U+FFFD for the open bytes
            open = NONE;
        }
        int offset = characters;
        ByteBuffer all = joined(bytes);
        CharBuffer text = CharBuffer.allocate(all.remaining() + 1);
        replacing.reset().decode(all, text, false); // leaves the bytes of an incomplete character
        characters += Character.codePointCount(text.flip(), 0, text.remaining());
        open = new byte[all.remaining()];
        all.get(open);
        return offset;
    }

    /** Where the text of the tokens so far ends in a text that begins with it, in UTF-16 units. */
    int endIn(String text) {
        int most = text.codePointCount(0, text.length());
        return text.offsetByCodePoints(0, Math.min(characters, most));
    }

    /**
     * Whether the open bytes and one more are a character, can still become one, or become one U+FFFD together (the
     * encoding of half a surrogate pair, which is complete and wrong).
     */
    private boolean continues(byte next) {
        CoderResult result = strict.reset().decode(joined(next), CharBuffer.allocate(2), false);
        return result.isUnderflow() || (result.isMalformed() && result.length() > open.length);
    }

    private ByteBuffer joined(byte... more) {
        return ByteBuffer.allocate(open.length + more.length)
                .put(open)
                .put(more)
                .flip();
    }
}
