package quire.engine;

import java.util.List;
import java.util.Set;

/**
 * A penalty for repetitions ("don't repeat yourself"): if the end of the text, of some length, occurred before, then the
 * token that followed there gets {@code multiplier · base^(length − allowedLength)} subtracted from its logit. The longest
 * earlier occurrence counts. Prompt and answer are the text.
 *
 * @param multiplier of the penalty; over 0 and at most 100
 * @param base by which the penalty grows with each token of the repetition; 1 to 10
 * @param allowedLength shortest repetition, in tokens, that is penalised; 1 to 1000
 * @param window how many of the last tokens of the text count; {@link Integer#MAX_VALUE} for all; at least 1
 * @param breakTokens a repetition does not reach back to one of these tokens; at most {@value #MAX_BREAK_TOKENS}
 * @param breakSequences nor to one of these sequences of at least two tokens; at most {@value #MAX_BREAK_SEQUENCES}
 */
public record Dry(
        double multiplier,
        double base,
        int allowedLength,
        int window,
        Set<Integer> breakTokens,
        List<List<Integer>> breakSequences) {
    /** Maximum number of break tokens. */
    public static final int MAX_BREAK_TOKENS = 1 << 16;

    /** Maximum number of break sequences. */
    public static final int MAX_BREAK_SEQUENCES = 64;

    /**
     * Checks every range and copies the collections.
     *
     * @throws InvalidRequestException naming the parameter, its value and what is allowed
     */
    public Dry {
        SamplingParams.check(
                multiplier > 0 && multiplier <= 100, "dryMultiplier", multiplier, "over 0 and at most 100");
        SamplingParams.check(base >= 1 && base <= 10, "dryBase", base, "from 1 to 10");
        SamplingParams.check(
                allowedLength >= 1 && allowedLength <= 1000, "dryAllowedLength", allowedLength, "from 1 to 1000");
        SamplingParams.check(window >= 1, "dryPenaltyLastN", window, "at least 1");
        SamplingParams.checkSize(breakTokens.size(), MAX_BREAK_TOKENS, "dryBreakTokens");
        SamplingParams.checkSize(breakSequences.size(), MAX_BREAK_SEQUENCES, "dryBreakSequences");
        breakTokens = Set.copyOf(breakTokens);
        breakSequences = breakSequences.stream().map(List::copyOf).toList();
    }
}
