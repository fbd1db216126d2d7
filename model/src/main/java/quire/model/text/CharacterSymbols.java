package quire.model.text;

import java.util.HashMap;
import java.util.Map;
import java.util.stream.IntStream;

/** The symbols with which merging begins: the token of a character, or -1 - c for a character c without a token. */
final class CharacterSymbols {
    private static final int BASIC = 0x10000;

    /** The most bytes of a character in UTF-8. */
    private static final int MAX_UTF8 = 4;

    private final int[] basicToSymbol =
            IntStream.range(0, BASIC).map(c -> -1 - c).toArray();
    private final Map<Integer, Integer> otherToSymbol = new HashMap<>();

    /** @param byteTokens no character is one of them */
    CharacterSymbols(Vocabulary vocabulary, ByteTokens byteTokens) {
        for (int token = vocabulary.size() - 1; token >= 0; token--) { // of equal spellings the lowest id counts
            if (vocabulary.spellings().length(token) > MAX_UTF8
                    || !TextCodec.isText(vocabulary, token)
                    || byteTokens.contains(token)) {
                continue;
            }
            String spelling = vocabulary.spelling(token);
            int first = spelling.codePointAt(0);
            if (spelling.length() == Character.charCount(first)) {
                if (first < BASIC) {
                    basicToSymbol[first] = token;
                } else {
                    otherToSymbol.put(first, token);
                }
            }
        }
    }

    /** The symbol of a character. */
    int symbol(int character) {
        return character < BASIC ? basicToSymbol[character] : otherToSymbol.getOrDefault(character, -1 - character);
    }

    /** The symbol of a text in UTF-8 if it is one character; {@code otherwise} for more characters. */
    int symbol(byte[] bytes, int from, int to, int otherwise) {
        int first = bytes[from];
        int length = first >= 0 ? 1 : first >= (byte) 0xF0 ? 4 : first >= (byte) 0xE0 ? 3 : 2;
        if (length != to - from) {
            return otherwise;
        }
        int character = first;
        if (length > 1) {
            character = first & (0xFF >> (length + 1));
            for (int i = from + 1; i < to; i++) {
                character = character << 6 | (bytes[i] & 0x3F);
            }
        }
        return symbol(character);
    }
}
