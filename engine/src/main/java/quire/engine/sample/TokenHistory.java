package quire.engine.sample;

import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;
import quire.engine.Dry;
import quire.engine.InvalidRequestException;
import quire.engine.SamplingParams;
import quire.engine.constrain.ConstraintCursor;

/**
 * Counts a sequence's tokens, and excludes, penalises and raises tokens of its rows of logits. It belongs to the sequence
 * and survives preemption.
 *
 * <p>Distinct tokens are numbered in order of appearance. An open-addressing hash table maps a token to its number:
 *
 * <pre>
 * token 73 ──hash──▶ table[slot] = 4 ──▶ tokens[3] = 73, counts[3] = 2     (0 in the table: free)
 * </pre>
 *
 * <p>{@link Dry} and bad words need the text itself. {@link Dry} compares its end with all earlier places: the Z-algorithm
 * (Gusfield, 1997) finds the lengths in one pass over the reversed text.
 *
 * <pre>
 * text        a b c x a b c y a b c        the end "a b c" occurred before "x" and before "y"
 * reversed    c b a y c b a x c b a
 * z           · 0 0 0 3 0 0 0 3 0 0        z[4] = 3: so the token before it in this order, y, continues 3 tokens
 * </pre>
 *
 * <p>Cost: a hash lookup for each token, and nothing without penalties; with {@link Dry} a pass over its window at each
 * choice. The memory grows with the number of distinct tokens, or with the text where it is needed.
 */
public final class TokenHistory {
    private static final int[] NO_TOKENS = {};
    private static final float[] NO_VALUES = {};
    private static final int FIRST_CAPACITY = 16;

    /** Most tokens of the output for which the text has room from the start. */
    private static final int FIRST_ROOM = 512;

    private final double repetitionPenalty;
    private final double presencePenalty;
    private final double frequencyPenalty;
    private final @Nullable Dry dry;
    private final int[] breakTokens; // ascending
    private final int[][] breakSequences;
    /** Whether tokens are numbered and counted. */
    private final boolean penalises;

    private final @Nullable ConstraintCursor constraint;

    private final int minTokens;
    private final int[] endTokens;
    private final int[] allowedTokens; // ascending
    private final int[][] badWords;

    private final int[] biasTokens;
    private final float[] biasValues;

    /** By slot: the token's number + 1. At most half full; the length is a power of two. */
    private int[] table = NO_TOKENS;

    private int[] tokens = NO_TOKENS;
    /** By number: how often the token occurs in the output; 0 for a token of the prompt alone. */
    private int[] counts = NO_TOKENS;

    /** By number, for {@link Dry}: the longest repetition that the token would continue. */
    private int[] repetitions = NO_TOKENS;

    private int size;
    /** Tokens with lower numbers occur in the prompt, and are never removed. */
    private final int promptSize;

    private final boolean keepsText;
    private int[] text = NO_TOKENS;
    private int[] z = NO_TOKENS; // scratch, as long as the text
    private final int promptLength;
    private int length;

    /** The tokens in ascending order, each once. */
    private static int[] ascending(Collection<Integer> tokens) {
        return new TreeSet<>(tokens).stream().mapToInt(Integer::intValue).toArray();
    }

    /** A history without a constraint and without end tokens. */
    public TokenHistory(SamplingParams params, int[] prompt) {
        this(params, prompt, null, NO_TOKENS);
    }

    /**
     * Starts with the prompt and an empty output. Keeps no reference to {@code prompt}.
     *
     * @param constraint where the output is in the text that its constraint allows; null for none
     * @param endTokens the tokens that end the output; they are excluded until it has the minimum number of tokens
     */
    public TokenHistory(SamplingParams params, int[] prompt, @Nullable ConstraintCursor constraint, int[] endTokens) {
        this.constraint = constraint;
        this.endTokens = endTokens;
        minTokens = params.minTokens();
        allowedTokens = ascending(params.allowedTokens());
        badWords = arrays(params.badWords());
        dry = params.dry();
        breakTokens = dry == null ? NO_TOKENS : ascending(dry.breakTokens());
        breakSequences = dry == null ? new int[0][] : arrays(dry.breakSequences());
        keepsText = dry != null || badWords.length > 0;
        promptLength = prompt.length;
        length = prompt.length;
        if (keepsText) {
            text = Arrays.copyOf(prompt, prompt.length + Math.min(params.maxTokens(), FIRST_ROOM));
            z = dry == null ? NO_TOKENS : new int[text.length];
        }
        repetitionPenalty = params.repetitionPenalty();
        presencePenalty = params.presencePenalty();
        frequencyPenalty = params.frequencyPenalty();
        penalises = repetitionPenalty != 1 || presencePenalty != 0 || frequencyPenalty != 0 || dry != null;
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
            repetitions = dry == null ? NO_TOKENS : new int[FIRST_CAPACITY];
        }
        if (repetitionPenalty != 1 || dry != null) {
            for (int token : prompt) {
                numberOf(token);
            }
        }
        promptSize = size;
    }

    private static int[][] arrays(List<List<Integer>> lists) {
        return lists.stream()
                .map(list -> list.stream().mapToInt(Integer::intValue).toArray())
                .toArray(int[][]::new);
    }

    /** Adds a token of the output. */
    public void append(int token) {
        if (keepsText) {
            if (length == text.length) {
                text = Arrays.copyOf(text, 2 * length);
                z = dry == null ? NO_TOKENS : new int[text.length];
            }
            text[length] = token;
        }
        length++;
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
        length--;
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

    /** Whether {@link #exclude} may exclude a token of the next row. */
    boolean excludes() {
        return allowedTokens.length > 0 || badWords.length > 0 || length - promptLength < minTokens;
    }

    /**
     * Sets the logits of tokens to −∞ that may not come next: all but the allowed ones, the last tokens of bad words, and end
     * tokens while there are too few tokens.
     */
    void exclude(float[] logits) {
        if (allowedTokens.length > 0) {
            int from = 0;
            for (int token : allowedTokens) {
                Arrays.fill(logits, from, token, Float.NEGATIVE_INFINITY);
                from = token + 1;
            }
            Arrays.fill(logits, from, logits.length, Float.NEGATIVE_INFINITY);
        }
        for (int[] word : badWords) {
            if (length - promptLength >= word.length - 1 && endsWith(word, word.length - 1, length)) {
                logits[word[word.length - 1]] = Float.NEGATIVE_INFINITY;
            }
        }
        if (length - promptLength < minTokens) {
            for (int token : endTokens) {
                logits[token] = Float.NEGATIVE_INFINITY;
            }
        }
    }

    /** Whether {@code text[0, end)} ends with the first {@code count} tokens of a word. */
    private boolean endsWith(int[] word, int count, int end) {
        return count <= end && Arrays.equals(text, end - count, end, word, 0, count);
    }

    /**
     * Applies penalties, then bias, to a row of logits. Finite logits stay finite; −∞, +∞ and NaN do not change.
     *
     * @throws InvalidRequestException if the bias names a token beyond the row
     */
    void adjust(float[] logits) {
        if (dry != null) {
            findRepetitions(dry);
        }
        for (int number = 0; number < size; number++) {
            int token = tokens[number];
            double logit = logits[token];
            logit = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty;
            if (counts[number] > 0) {
                logit -= frequencyPenalty * counts[number] + presencePenalty;
            }
            if (dry != null && repetitions[number] >= dry.allowedLength()) {
                logit -= dry.multiplier() * power(dry.base(), repetitions[number] - dry.allowedLength());
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

    /**
     * A power by multiplications in a fixed order, so it is the same on every machine; infinity beyond the range of numbers.
     * {@link StrictMath#pow} allocates arrays until C2 has compiled it.
     */
    private static double power(double base, int exponent) {
        double power = 1;
        double square = base;
        for (int rest = exponent; rest > 0; rest >>= 1) {
            if ((rest & 1) != 0) {
                power *= square;
            }
            square *= square;
        }
        return power;
    }

    /** Finds the longest repetition that each token would continue. */
    private void findRepetitions(Dry penalty) {
        Arrays.fill(repetitions, 0, size, 0);
        int window = Math.min(length, penalty.window());
        int longest = tokensSinceBreak(window);
        if (longest < penalty.allowedLength()) {
            return;
        }
        // [left, right) is the match that reaches furthest: reversed text [left, right) equals [0, right - left).
        int left = 0;
        int right = 0;
        int last = length - 1;
        for (int i = 1; i < window; i++) {
            int same = i < right ? Math.min(z[i - left], right - i) : 0;
            while (i + same < window && text[last - same] == text[last - i - same]) {
                same++;
            }
            z[i] = same;
            if (i + same > right) {
                left = i;
                right = i + same;
            }
            int repeated = Math.min(same, longest);
            if (repeated >= penalty.allowedLength()) {
                int number = table[slot(text[length - i])] - 1;
                repetitions[number] = Math.max(repetitions[number], repeated);
            }
        }
    }

    /** How many of the last tokens come after the last break, at most {@code most}. */
    private int tokensSinceBreak(int most) {
        for (int count = 0; count < most; count++) {
            int end = length - count;
            if (Arrays.binarySearch(breakTokens, text[end - 1]) >= 0) {
                return count;
            }
            for (int[] sequence : breakSequences) {
                if (endsWith(sequence, sequence.length, end)) {
                    return count;
                }
            }
        }
        return most;
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
        repetitions = dry == null ? NO_TOKENS : Arrays.copyOf(repetitions, 2 * size);
        table = new int[4 * size];
        for (int number = 0; number < size; number++) {
            table[slot(tokens[number])] = number + 1;
        }
    }
}
