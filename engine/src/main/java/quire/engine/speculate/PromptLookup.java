package quire.engine.speculate;

/**
 * Finds where a sequence's last tokens occurred before, in its prompt, its answer or its prediction. The tokens that followed there are a
 * good draft wherever a text repeats its source: in extraction, translation, editing and quoting (Saxena, <i>Prompt
 * Lookup Decoding</i>, 2023).
 *
 * <p>The index works like deflate's (RFC 1951, section 4). A hash table maps the last two tokens to the position where
 * they occurred last; chains lead from each occurrence to the one before. The longest match on the chain counts; among
 * equally long ones, the latest. As long as the new tokens of the sequence equal those after its match, the match grows
 * and there is no search.
 *
 * <pre>
 *   tokens    … a b c d e … x b c d | ?            matchLength = 3: b c d
 *                     ^ ^                          source: e is the first draft token, then what follows it
 *   heads     hash(c d) ──▶ last end of "c d"
 *   previous  last end ──▶ the end before ──▶ …    a search looks at {@value #CHAIN} of them at most
 * </pre>
 *
 * <p>A prediction stands before the prompt, so one index covers both. The answer begins where the prediction does; where it
 * departs, the search finds the place where it returns.
 *
 * <p>Cost: one store a token and, where a match ends, one search of bounded length. At most 512 KiB a sequence,
 * allocated once for its longest answer.
 */
final class PromptLookup {
    /** Shortest match, in tokens. */
    static final int MIN_MATCH = 2;

    private static final int MAX_MATCH = 32;
    private static final int CHAIN = 16;
    /** Maximum distance of a match, in tokens. */
    private static final int WINDOW = 1 << 16;

    private final int[] prediction;
    private final int[] heads; // position + 1
    private final int[] previous; // by position modulo its length: position + 1
    private int indexed;
    private int matchLength;
    private int source;

    /**
     * @param prediction text that the answer probably repeats in parts
     * @param maxTokens maximum number of tokens that the sequence will have
     */
    PromptLookup(int[] prediction, int maxTokens) {
        this.prediction = prediction;
        int all = prediction.length + maxTokens;
        int size = Math.clamp(Integer.highestOneBit(Math.max(all, 1)) * 2L, 64, WINDOW);
        heads = new int[size];
        previous = new int[size];
    }

    /** Indexes what was added to {@code tokens[0, length)} since the last call. Draft tokens must not be among them. */
    void update(int[] tokens, int length) {
        int end = prediction.length + length;
        if (indexed == end) {
            return;
        }
        boolean first = indexed == 0 && prediction.length > 0;
        for (; indexed < end; indexed++) {
            if (matchLength > 0 && source != prediction.length && at(tokens, source) == at(tokens, indexed)) {
                matchLength++;
                source++;
            } else {
                matchLength = 0;
            }
            if (indexed > 0) {
                int slot = slot(tokens, indexed);
                previous[indexed & (previous.length - 1)] = heads[slot];
                heads[slot] = indexed + 1;
            }
        }
        if (first) {
            matchLength = MIN_MATCH; // as good as a short match
            source = 0;
        } else if ((matchLength == 0 || source == prediction.length) && end > MIN_MATCH) {
            matchLength = 0;
            search(tokens, end - 1);
        }
    }

    /** A token of the prediction, or of the sequence behind it. */
    private int at(int[] tokens, int position) {
        return position < prediction.length ? prediction[position] : tokens[position - prediction.length];
    }

    private void search(int[] tokens, int last) {
        int end = previous[last & (previous.length - 1)] - 1;
        for (int i = 0; i < CHAIN && end > 0 && last - end < previous.length; i++) {
            int length = 0;
            while (length < MAX_MATCH && length <= end && at(tokens, end - length) == at(tokens, last - length)) {
                length++;
            }
            // Behind the last token of the prediction stands the prompt, which does not continue it.
            if (length >= MIN_MATCH && length > matchLength && end != prediction.length - 1) {
                matchLength = length;
                source = end + 1;
            }
            end = previous[end & (previous.length - 1)] - 1;
        }
    }

    private int slot(int[] tokens, int end) {
        int hash = (at(tokens, end - 1) * 0x9E3779B9 ^ at(tokens, end)) * 0x85EBCA6B;
        return (hash ^ hash >>> 15) & (heads.length - 1);
    }

    /** Length of the match in tokens; 0 when there is none. */
    int matchLength() {
        return matchLength;
    }

    /** Whether what follows the match is a part of the prediction. */
    boolean isPrediction() {
        return source < prediction.length;
    }

    /** How many tokens follow the match: without end in the sequence, which may repeat itself. */
    int available() {
        return isPrediction() ? prediction.length - source : Integer.MAX_VALUE;
    }

    /**
     * Writes {@code count} draft tokens behind {@code tokens[0, length)}. They may repeat draft tokens just written.
     */
    void writeDraft(int[] tokens, int length, int count) {
        for (int i = 0; i < count; i++) {
            tokens[length + i] = at(tokens, source + i);
        }
    }
}
