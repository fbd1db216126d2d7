package quire.model.text;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

/** Finds special tokens in text. They are not made by merging: their whole spelling must occur. */
final class SpecialTokens {
    private final Map<String, Integer> spellingToToken = new HashMap<>();
    /** The lengths of all spellings that begin with a UTF-16 unit, longest first. */
    private final Map<Character, int[]> firstToLengths = new HashMap<>();

    void add(String spelling, int token) {
        if (spelling.isEmpty()) {
            return;
        }
        spellingToToken.putIfAbsent(spelling, token);
        firstToLengths.merge(spelling.charAt(0), new int[] {spelling.length()}, (known, more) -> {
            int length = more[0];
            if (Arrays.stream(known).anyMatch(l -> l == length)) {
                return known;
            }
            int at = (int) Arrays.stream(known).takeWhile(l -> l > length).count();
            int[] lengths = Arrays.copyOf(known, known.length + 1);
            System.arraycopy(known, at, lengths, at + 1, known.length - at);
            lengths[at] = length;
            return lengths;
        });
    }

    /**
     * The first position, at or after {@code start}, of the spelling of a token; the length of the text if there is
     * none.
     */
    int find(String text, int start) {
        if (spellingToToken.isEmpty()) {
            return text.length();
        }
        int position = start;
        while (position < text.length() && at(text, position) < 0) {
            position++;
        }
        return position;
    }

    /** The token with the longest spelling that begins at {@code position}, or -1. */
    int at(String text, int position) {
        int[] lengths = firstToLengths.get(text.charAt(position));
        if (lengths != null) {
            for (int length : lengths) {
                Integer token = position + length <= text.length()
                        ? spellingToToken.get(text.substring(position, position + length))
                        : null;
                if (token != null) {
                    return token;
                }
            }
        }
        return -1;
    }
}
