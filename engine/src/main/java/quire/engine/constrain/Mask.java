package quire.engine.constrain;

import java.util.Arrays;

/**
 * The tokens that may come next: a set of many tokens, which other masks share, and a list of others. Immutable.
 */
public final class Mask {
    private final long[] common; // bits by token; may be empty
    private final int[] others; // ascending
    private final int ownSize;

    /** @param isOwn whether no other mask has this set of common tokens */
    Mask(long[] common, int[] others, boolean isOwn) {
        this.common = common;
        this.others = others;
        ownSize = others.length + (isOwn ? 2 * common.length : 0);
    }

    /** Sets the logits of all other tokens to −∞. */
    public void apply(float[] logits) {
        int at = 0;
        if (common.length == 0) {
            int from = 0;
            for (int token : others) {
                Arrays.fill(logits, from, token, Float.NEGATIVE_INFINITY);
                from = token + 1;
            }
            Arrays.fill(logits, from, logits.length, Float.NEGATIVE_INFINITY);
            return;
        }
        for (int from = 0; from < logits.length; from += Long.SIZE) {
            int word = from >> 6;
            long bits = word < common.length ? common[word] : 0;
            int to = Math.min(from + Long.SIZE, logits.length);
            while (at < others.length && others[at] < to) {
                bits |= 1L << others[at++];
            }
            if (bits == 0) {
                Arrays.fill(logits, from, to, Float.NEGATIVE_INFINITY);
            } else if (bits != -1L) {
                for (long forbidden = ~bits; forbidden != 0; forbidden &= forbidden - 1) {
                    int token = from + Long.numberOfTrailingZeros(forbidden);
                    if (token < to) {
                        logits[token] = Float.NEGATIVE_INFINITY;
                    }
                }
            }
        }
    }

    /** Whether a token is allowed. */
    public boolean allows(int token) {
        return (token >> 6 < common.length && (common[token >> 6] >>> token & 1) != 0)
                || Arrays.binarySearch(others, token) >= 0;
    }

    /** Whether no token is allowed. */
    public boolean isEmpty() {
        return common.length == 0 && others.length == 0;
    }

    /** Numbers of 32 bits that this mask holds and shares with no other. */
    int ownSize() {
        return ownSize;
    }
}
