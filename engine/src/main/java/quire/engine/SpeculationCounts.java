package quire.engine;

import java.util.List;

/**
 * How many draft tokens were proposed and accepted: by an engine since its start, or for one answer.
 *
 * @param drafters one entry for each drafter, in order of preference; empty without speculation
 * @param decisions element n: how often a sequence got n draft tokens in a step that chose its next token
 * @param draftedAt element p: draft tokens verified at position p of a draft, from 0
 * @param acceptedAt element p: how many of those became part of an answer
 * @param predictedTokens draft tokens from the {@link Request#prediction}s of requests
 * @param acceptedPredictedTokens how many of them became part of an answer
 */
public record SpeculationCounts(
        List<Drafter> drafters,
        List<Long> decisions,
        List<Long> draftedAt,
        List<Long> acceptedAt,
        long predictedTokens,
        long acceptedPredictedTokens) {
    /** The counts without speculation. */
    public static final SpeculationCounts NONE =
            new SpeculationCounts(List.of(), List.of(), List.of(), List.of(), 0, 0);

    /** Copies the lists. */
    public SpeculationCounts {
        drafters = List.copyOf(drafters);
        decisions = List.copyOf(decisions);
        draftedAt = List.copyOf(draftedAt);
        acceptedAt = List.copyOf(acceptedAt);
    }

    /**
     * The counts of one drafter.
     *
     * @param name {@code lookup}, {@code model} or {@code replay}
     * @param drafts how often it drafted for a sequence
     * @param draftTokens its draft tokens
     * @param acceptedTokens how many of them became part of an answer
     */
    public record Drafter(String name, long drafts, long draftTokens, long acceptedTokens) {}

    /** Drafts of all drafters. */
    public long drafts() {
        return drafters.stream().mapToLong(Drafter::drafts).sum();
    }

    /** Draft tokens of all drafters. */
    public long draftTokens() {
        return drafters.stream().mapToLong(Drafter::draftTokens).sum();
    }

    /** Accepted draft tokens of all drafters. */
    public long acceptedTokens() {
        return drafters.stream().mapToLong(Drafter::acceptedTokens).sum();
    }
}
