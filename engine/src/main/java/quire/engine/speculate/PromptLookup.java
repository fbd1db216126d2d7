package quire.engine.speculate;

/**
 * Finds where a sequence's last tokens stood before, in its prompt or its answer, and guesses that it goes on as it did
 * there (Saxena, <i>Prompt Lookup Decoding</i>, 2023). Texts that are extracted, translated, edited or quoted repeat their
 * source for long stretches.
 *
 * <p>The index is deflate's (RFC 1951, section 4): a table leads from the last two tokens to where they stood last, and
 * from there chains lead to where they stood before that. Along the chain the longest match counts, of equals the latest.
 * While the sequence goes on as the match does, the match grows with it and nothing is searched.
 *
 * <pre>
 *   tokens    … a b c d e … x b c d | ?            matched = 3: b c d
 *                     ^ ^                          source: e is the guess, then what follows it
 *   heads     hash(c d) ──▶ last end of "c d"
 *   previous  last end ──▶ the end before ──▶ …    at most {@value #CHAIN} are looked at
 * </pre>
 *
 * A token costs a store and, where a match ends, a bounded search. Memory: at most 512 KiB a sequence, cut for its longest
 * answer once.
 */
final class PromptLookup {
    static final int MIN_MATCH = 2;
    private static final int MAX_MATCH = 32;
    private static final int CHAIN = 16;
    /** Matches further back are not found. */
    private static final int WINDOW = 1 << 16;

    private final int[] heads; // position + 1
    private final int[] previous; // by position modulo its length: position + 1
    private int indexed;
    private int matched;
    private int source;

    /** @param maxTokens most tokens that the sequence will have */
    PromptLookup(int maxTokens) {
        int size = Math.clamp(Integer.highestOneBit(Math.max(maxTokens, 1)) * 2L, 64, WINDOW);
        heads = new int[size];
        previous = new int[size];
    }

    /** Takes what has been added to {@code tokens[0, length)} since the last call; never draft tokens. */
    void advance(int[] tokens, int length) {
        if (indexed == length) {
            return;
        }
        for (; indexed < length; indexed++) {
            if (matched > 0 && tokens[source] == tokens[indexed]) {
                matched++;
                source++;
            } else {
                matched = 0;
            }
            if (indexed > 0) {
                int slot = slot(tokens, indexed);
                previous[indexed & (previous.length - 1)] = heads[slot];
                heads[slot] = indexed + 1;
            }
        }
        if (matched == 0 && length > MIN_MATCH) {
            search(tokens, length - 1);
        }
    }

    private void search(int[] tokens, int last) {
        int end = previous[last & (previous.length - 1)] - 1;
        for (int i = 0; i < CHAIN && end > 0 && last - end < previous.length; i++) {
            int length = 0;
            while (length < MAX_MATCH && length <= end && tokens[end - length] == tokens[last - length]) {
                length++;
            }
            if (length >= MIN_MATCH && length > matched) {
                matched = length;
                source = end + 1;
            }
            end = previous[end & (previous.length - 1)] - 1;
        }
    }

    private int slot(int[] tokens, int end) {
        int hash = (tokens[end - 1] * 0x9E3779B9 ^ tokens[end]) * 0x85EBCA6B;
        return (hash ^ hash >>> 15) & (heads.length - 1);
    }

    /** Tokens of the match that the guess rests on; 0 when there is none. */
    int matched() {
        return matched;
    }

    /** Writes {@code count} guesses behind the sequence's {@code length} tokens. May repeat what it has just written. */
    void guess(int[] tokens, int length, int count) {
        for (int i = 0; i < count; i++) {
            tokens[length + i] = tokens[source + i];
        }
    }
}
