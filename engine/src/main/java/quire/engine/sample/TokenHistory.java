package quire.engine.sample;

import java.util.Arrays;
import java.util.Map;
import quire.engine.InvalidRequestException;
import quire.engine.SamplingParams;

/**
 * What a sequence's past and its bias do to its logits. It belongs to the sequence and survives preemption. The cost of
 * a token is a hash lookup, and nothing at all when no penalty is asked for; the memory goes with the number of different
 * tokens.
 *
 * <p>Different tokens are numbered in order of appearance; an open-addressing table leads from a token to its number:
 *
 * <pre>
 * token 73 ──hash──▶ table[slot] = 4 ──▶ tokens[3] = 73, counts[3] = 2     (0 in the table: free)
 * </pre>
 */
public final class TokenHistory {
    private static final int[] NO_TOKENS = {};
    private static final float[] NO_VALUES = {};
    private static final int FIRST_CAPACITY = 16;

    private final double repetitionPenalty;
    private final double presencePenalty;
    private final double frequencyPenalty;
    private final boolean penalises;

    private final int[] biasTokens;
    private final float[] biasValues;

    /** Number + 1 of the token in a slot; at most half full. A power of two long. */
    private int[] table = NO_TOKENS;

    private int[] tokens = NO_TOKENS;
    /** How often each token was seen in the output; 0 for one seen in the prompt alone. */
    private int[] counts = NO_TOKENS;

    private int size;
    /** Numbers below this are the prompt's and stay. */
    private final int promptSize;

    /** Starts with the prompt seen and an empty output. Keeps no reference to {@code prompt}. */
    public TokenHistory(SamplingParams params, int[] prompt) {
        repetitionPenalty = params.repetitionPenalty();
        presencePenalty = params.presencePenalty();
        frequencyPenalty = params.frequencyPenalty();
        penalises = repetitionPenalty != 1 || presencePenalty != 0 || frequencyPenalty != 0;
        if (params.logitBias().isEmpty()) {
            biasTokens = NO_TOKENS;
            biasValues = NO_VALUES;
        } else {
            biasTokens = new int[params.logitBias().size()];
            biasValues = new float[biasTokens.length];
            int index = 0;
            for (Map.Entry<Integer, Float> entry : params.logitBias().entrySet()) {
                biasTokens[index] = entry.getKey();
                biasValues[index++] = entry.getValue();
            }
        }
        if (penalises) {
            table = new int[2 * FIRST_CAPACITY];
            tokens = new int[FIRST_CAPACITY];
            counts = new int[FIRST_CAPACITY];
        }
        if (repetitionPenalty != 1) {
            for (int token : prompt) {
                numberOf(token);
            }
        }
        promptSize = size;
    }

    /** Counts a token of the output. */
    public void append(int token) {
        if (penalises) {
            int number = numberOf(token); // before counts is looked at: it may grow
            counts[number]++;
        }
    }

    /** Takes back the last {@link #append}, as if it had never been; several are taken back in reverse order. */
    public void undo(int token) {
        if (penalises) {
            int slot = slot(token);
            int number = table[slot] - 1;
            if (number < 0 || counts[number] == 0) {
                throw new IllegalStateException("token " + token + " was not appended");
            }
            counts[number]--;
            if (counts[number] == 0 && number >= promptSize) {
                // It came last of all, so it has the last number, and no other token's way leads over its slot.
                table[slot] = 0;
                size--;
            }
        }
    }

    /**
     * Applies penalties, then bias, to a row of logits. Finite logits stay finite; −∞, +∞ and NaN stay what they are.
     *
     * @throws InvalidRequestException if the bias names a token beyond the row
     */
    void adjust(float[] logits) {
        for (int number = 0; number < size; number++) {
            int token = tokens[number];
            double logit = logits[token];
            logit = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty;
            if (counts[number] > 0) {
                logit -= frequencyPenalty * counts[number] + presencePenalty;
            }
            replace(logits, token, logit);
        }
        for (int index = 0; index < biasTokens.length; index++) {
            int token = biasTokens[index];
            if (token >= logits.length) {
                throw new InvalidRequestException(
                        "logitBias",
                        "logitBias names token " + token + ", but the vocabulary ends at " + (logits.length - 1));
            }
            replace(logits, token, (double) logits[token] + biasValues[index]);
        }
    }

    /** A huge penalty must not make a token impossible, nor a tiny one certain: both would hide a broken model. */
    private static void replace(float[] logits, int token, double logit) {
        if (Float.isFinite(logits[token])) {
            logits[token] = (float) Math.clamp(logit, -Float.MAX_VALUE, Float.MAX_VALUE);
        }
    }

    /** The token's number; gives it the next one when it is new. */
    private int numberOf(int token) {
        int slot = slot(token);
        if (table[slot] == 0) {
            if (size == tokens.length) {
                grow();
                slot = slot(token);
            }
            tokens[size] = token;
            table[slot] = ++size;
        }
        return table[slot] - 1;
    }

    /** Where the token stands in the table, or the free slot where it would. */
    private int slot(int token) {
        int mask = table.length - 1;
        int hash = token * 0x9E3779B9;
        int slot = (hash ^ hash >>> 16) & mask;
        while (table[slot] != 0 && tokens[table[slot] - 1] != token) {
            slot = slot + 1 & mask;
        }
        return slot;
    }

    private void grow() {
        tokens = Arrays.copyOf(tokens, 2 * size);
        counts = Arrays.copyOf(counts, 2 * size);
        table = new int[4 * size];
        for (int number = 0; number < size; number++) {
            table[slot(tokens[number])] = number + 1;
        }
    }
}
