package quire.engine.sample;

import java.util.Arrays;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import quire.engine.InvalidRequestException;
import quire.engine.SamplingParams;
import quire.engine.constrain.ConstraintCursor;

/**
 * Counts a sequence's tokens and applies constraint, penalties and bias to its logits. It belongs to the sequence and
 * survives preemption.
 *
 * <p>Distinct tokens are numbered in order of appearance. An open-addressing hash table maps a token to its number:
 *
 * <pre>
 * token 73 ──hash──▶ table[slot] = 4 ──▶ tokens[3] = 73, counts[3] = 2     (0 in the table: free)
 * </pre>
 *
 * <p>Cost: a hash lookup for each token, and nothing without penalties. The memory grows with the number of distinct
 * tokens.
 */
public final class TokenHistory {
    private static final int[] NO_TOKENS = {};
    private static final float[] NO_VALUES = {};
    private static final int FIRST_CAPACITY = 16;

    private final double repetitionPenalty;
    private final double presencePenalty;
    private final double frequencyPenalty;
    private final boolean penalises;
    private final @Nullable ConstraintCursor constraint;

    private final int[] biasTokens;
    private final float[] biasValues;

    /** By slot: the token's number + 1. At most half full; the length is a power of two. */
    private int[] table = NO_TOKENS;

    private int[] tokens = NO_TOKENS;
    /** By number: how often the token occurs in the output; 0 for a token of the prompt alone. */
    private int[] counts = NO_TOKENS;

    private int size;
    /** Tokens with lower numbers occur in the prompt, and are never removed. */
    private final int promptSize;

    /** A history without a constraint. */
    public TokenHistory(SamplingParams params, int[] prompt) {
        this(params, prompt, null);
    }

    /**
     * Starts with the prompt and an empty output. Keeps no reference to {@code prompt}.
     *
     * @param constraint where the output is in the text that its constraint allows; null for none
     */
    public TokenHistory(SamplingParams params, int[] prompt, @Nullable ConstraintCursor constraint) {
        this.constraint = constraint;
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

    /** Adds a token of the output. */
    public void append(int token) {
        if (constraint != null) {
            constraint.append(token);
        }
        if (penalises) {
            int number = numberOf(token); // may replace counts
            counts[number]++;
        }
    }

    /** Reverts the last {@link #append}. Revert several in reverse order. */
    public void undo(int token) {
        if (constraint != null) {
            constraint.undo();
        }
        if (penalises) {
            int slot = slot(token);
            int number = table[slot] - 1;
            if (number < 0 || counts[number] == 0) {
                throw new IllegalStateException("token " + token + " was not appended");
            }
            counts[number]--;
            if (counts[number] == 0 && number >= promptSize) {
                // The token has the last number and was inserted last, so no other token was placed after it.
                table[slot] = 0;
                size--;
            }
        }
    }

    /** Where the output is in the text that its constraint allows; null without a constraint. */
    public @Nullable ConstraintCursor constraint() {
        return constraint;
    }

    /**
     * Applies penalties, then bias, to a row of logits. Finite logits stay finite; −∞, +∞ and NaN do not change.
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

    /** Clamps to finite values: an infinite logit would look like a broken model. */
    private static void replace(float[] logits, int token, double logit) {
        if (Float.isFinite(logits[token])) {
            logits[token] = (float) Math.clamp(logit, -Float.MAX_VALUE, Float.MAX_VALUE);
        }
    }

    /** The token's number; assigns the next one to a new token. */
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

    /** The slot of the token, or the free slot for it. */
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
