package quire.model.text;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * The tokens {@code <0x00>} … {@code <0xFF>} of a vocabulary that writes a space as U+2581 ▁. A character without a token
 * becomes the tokens of its bytes.
 */
final class ByteTokens {
    /** What such a vocabulary writes instead of a space. */
    static final char SPACE = '▁';

    private static final byte[] SPACE_UTF8 = String.valueOf(SPACE).getBytes(StandardCharsets.UTF_8);

    private final Vocabulary vocabulary;
    private final int[] byteToToken = new int[256];

    /** @throws quire.model.format.ModelFormatException if the file calls another spelling a byte token */
    ByteTokens(Vocabulary vocabulary) {
        this.vocabulary = vocabulary;
        Arrays.fill(byteToToken, -1);
        for (int token = 0; token < vocabulary.size(); token++) {
            boolean byType = vocabulary.type(token) == Vocabulary.Type.BYTE;
            if (byType || !vocabulary.typed()) {
                int value = byteValue(vocabulary.spelling(token));
                if (value >= 0 && byteToToken[value] < 0) {
                    byteToToken[value] = token;
                } else if (value < 0 && byType) {
                    throw vocabulary.wrong(
                            "tokens",
                            "spells byte token " + token + " as " + Vocabulary.quote(vocabulary.spelling(token)),
                            "byte tokens read <0x00> to <0xFF>");
                }
            }
        }
    }

    /** The value of a byte token {@code <0xXX>}, or -1 for another spelling. */
    private static int byteValue(String spelling) {
        if (spelling.length() != 6 || !spelling.startsWith("<0x") || spelling.charAt(5) != '>') {
            return -1;
        }
        int high = Character.digit(spelling.charAt(3), 16);
        int low = Character.digit(spelling.charAt(4), 16);
        return high < 0 || low < 0 ? -1 : (high << 4) | low;
    }

    /** Whether a token stands for a byte. */
    boolean contains(int token) {
        boolean mayBe = vocabulary.type(token) == Vocabulary.Type.BYTE || !vocabulary.typed();
        return mayBe && byteValue(vocabulary.spelling(token)) >= 0;
    }

    /** Whether every byte has a token. */
    boolean complete() {
        return Arrays.stream(byteToToken).allMatch(token -> token >= 0);
    }

    /** Adds the tokens of the bytes of a character; returns false and adds nothing if one of them does not exist. */
    boolean add(int character, IntList tokens) {
        byte[] utf8 = Character.toString(character).getBytes(StandardCharsets.UTF_8);
        for (byte b : utf8) {
            if (byteToToken[b & 0xFF] < 0) {
                return false;
            }
        }
        for (byte b : utf8) {
            tokens.add(byteToToken[b & 0xFF]);
        }
        return true;
    }

    /**
     * Adds symbols as tokens. A symbol is a token, or -1 - c for a character c without a token. Such a character becomes
     * its bytes; where they have no tokens, characters in a row become one unknown token.
     *
     * @param unknown the unknown token, or -1
     * @throws IllegalArgumentException if it is needed and there is none
     */
    void addSymbols(int[] symbols, int count, int unknown, IntList tokens) {
        boolean afterUnknown = false;
        for (int i = 0; i < count; i++) {
            boolean isUnknown = symbols[i] < 0 && !add(-1 - symbols[i], tokens);
            if (isUnknown && unknown < 0) {
                throw new IllegalArgumentException("this model's vocabulary cannot spell the character "
                        + Vocabulary.quote(Character.toString(-1 - symbols[i])) + "; leave it out");
            }
            if (isUnknown && !afterUnknown) {
                tokens.add(unknown);
            } else if (symbols[i] >= 0) {
                tokens.add(symbols[i]);
            }
            afterUnknown = isUnknown;
        }
    }

    /** The bytes of a normal token, with spaces for U+2581. */
    byte[] bytes(int token) {
        if (contains(token)) {
            return new byte[] {(byte) byteValue(vocabulary.spelling(token))};
        }
        byte[] spelling = vocabulary.spellings().bytes();
        int end = vocabulary.spellings().end(token);
        int spaces = 0;
        for (int at = vocabulary.spellings().start(token); at < end; at++) {
            spaces += isSpace(spelling, at, end) ? 1 : 0;
        }
        byte[] bytes = new byte[vocabulary.spellings().length(token) - spaces * (SPACE_UTF8.length - 1)];
        for (int at = vocabulary.spellings().start(token), count = 0; at < end; at++) {
            boolean space = isSpace(spelling, at, end);
            bytes[count++] = space ? (byte) ' ' : spelling[at];
            at += space ? SPACE_UTF8.length - 1 : 0;
        }
        return bytes;
    }

    private static boolean isSpace(byte[] bytes, int at, int end) {
        return bytes[at] == SPACE_UTF8[0]
                && at + 2 < end
                && bytes[at + 1] == SPACE_UTF8[1]
                && bytes[at + 2] == SPACE_UTF8[2];
    }
}
