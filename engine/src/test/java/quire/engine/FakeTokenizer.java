package quire.engine;

import java.nio.charset.StandardCharsets;
import java.util.OptionalInt;
import quire.model.text.Tokenizer;

/**
 * One token for each byte: id = byte + 2, after BOS (0) and EOS (1). So a character of several bytes has several
 * tokens.
 */
public final class FakeTokenizer implements Tokenizer {
    /** BOS, EOS and 256 bytes. */
    public static final int VOCABULARY_SIZE = 258;

    private static final int BOS = 0;
    static final int EOS = 1;
    private static final int FIRST_BYTE = 2;

    /** A tokenizer. */
    public FakeTokenizer() {}

    static boolean isLetter(int token) {
        int b = token - FIRST_BYTE;
        return b >= 'a' && b <= 'z';
    }

    /** Lead and continuation bytes of é and €, and 0xFF, which is never valid. */
    static boolean isHighByte(int token) {
        int b = token - FIRST_BYTE;
        return b == 0xC3 || b == 0xA9 || b == 0xE2 || b == 0x82 || b == 0xAC || b == 0xFF;
    }

    @Override
    public int vocabularySize() {
        return VOCABULARY_SIZE;
    }

    @Override
    public int[] encode(String text, boolean addSpecial, boolean parseSpecial) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        int[] tokens = new int[bytes.length + (addSpecial ? 1 : 0)];
        for (int i = 0; i < bytes.length; i++) {
            tokens[tokens.length - bytes.length + i] = FIRST_BYTE + (bytes[i] & 0xFF);
        }
        return tokens; // BOS is 0
    }

    @Override
    public byte[] bytes(int token) {
        return token < FIRST_BYTE ? new byte[0] : new byte[] {(byte) (token - FIRST_BYTE)};
    }

    @Override
    public String spelling(int token) {
        return token == BOS ? "<s>" : token == EOS ? "</s>" : "<0x%02X>".formatted(token - FIRST_BYTE);
    }

    @Override
    public boolean isControl(int token) {
        return token < FIRST_BYTE;
    }

    @Override
    public boolean isEndOfGeneration(int token) {
        return token == EOS;
    }

    @Override
    public OptionalInt bos() {
        return OptionalInt.of(BOS);
    }

    @Override
    public OptionalInt eos() {
        return OptionalInt.of(EOS);
    }
}
