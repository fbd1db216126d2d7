package quire.engine;

import java.util.List;

/**
 * The books of speculation: an engine's over all requests so far, or an answer's.
 *
 * @param drafters their numbers, in order of preference; empty without speculation
 * @param decisions how often a sequence that was to get its next token was given 0, 1, 2 … draft tokens
 * @param draftedAt draft tokens verified at the first, second, third … position of a draft
 * @param acceptedAt how many of those became part of an answer
 * @param nanos what steps took, drafting included
 * @param nanosWithout what the cost model says that the same tokens would have taken without
 */
public record SpeculationStats(
        List<Drafter> drafters,
        List<Long> decisions,
        List<Long> draftedAt,
        List<Long> acceptedAt,
        long nanos,
        long nanosWithout) {
    /** Nothing has happened and nothing will. */
    static final SpeculationStats NONE = new SpeculationStats(List.of(), List.of(), List.of(), List.of(), 0, 0);

    /** Takes its own copies. */
    public SpeculationStats {
        drafters = List.copyOf(drafters);
        decisions = List.copyOf(decisions);
        draftedAt = List.copyOf(draftedAt);
        acceptedAt = List.copyOf(acceptedAt);
    }

    /**
     * One drafter's books.
     *
     * @param name what it is called
     * @param drafts times that it guessed for a sequence
     * @param draftTokens its guesses
     * @param acceptedTokens those that became part of an answer
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

    /** How many times as fast as without speculation steps were, by the cost model; 1 when nothing is known. */
    public double speedup() {
        return nanos == 0 ? 1 : (double) nanosWithout / nanos;
    }
}
