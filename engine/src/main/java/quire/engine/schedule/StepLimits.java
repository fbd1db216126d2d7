package quire.engine.schedule;

/**
 * The most that one step holds.
 *
 * @param sequences sequences that run at once
 * @param tokens tokens of a step, over all sequences; at least {@code sequences}
 * @param logitRows rows of logits that the model returns; at least {@code sequences}
 * @param wholePrompts whether all tokens of a prompt must be in one step
 */
public record StepLimits(int sequences, int tokens, int logitRows, boolean wholePrompts) {}
