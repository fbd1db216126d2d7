package quire.engine;

import java.util.Map;

/**
 * Beam search: in place of one token after another, the engine keeps the {@code width} likeliest beginnings of an answer (the
 * beams), continues each of them, and keeps the likeliest ones again. The answers are those with the highest score:
 *
 * <pre>{@code
 * score = sum of the log probabilities of the answer's tokens / (number of its tokens ^ lengthPenalty)
 * }</pre>
 *
 * The end token counts in both. This is the definition of Hugging Face's transformers, as are the three kinds of {@link
 * EarlyStopping}. The probabilities are the model's own, without temperature. In each step:
 *
 * <ol>
 *   <li>All continuations of all beams by one token are ordered: by the sum of log probabilities, then by the order of their
 *       beams, then by log probability and token id.
 *   <li>Those of the first {@code width} that end become answers, and the best {@code width} answers are kept.
 *   <li>The first {@code width} that do not end become the next beams.
 * </ol>
 *
 * With a width of 1 and without a penalty of the length, the answer is the greedy one.
 *
 * @param width beams, and answers; 1 to {@value #MAX_WIDTH}
 * @param lengthPenalty exponent of the length; above 0 it favours long answers, because scores are negative; [−{@value
 *     #MAX_PENALTY}, {@value #MAX_PENALTY}]
 * @param earlyStopping when the search ends although answers may still become longer
 */
public record BeamSearch(int width, double lengthPenalty, EarlyStopping earlyStopping) {
    /** The most beams. */
    public static final int MAX_WIDTH = 128;

    /** The largest exponent of the length. */
    public static final int MAX_PENALTY = 10;

    /** When a search with {@code width} answers ends before the longest answer. */
    public enum EarlyStopping {
        /** At once. */
        YES,
        /** When the best beam, if it ended with its present length, would be no better than the worst answer. */
        NO,
        /**
         * When the best beam could not become better than the worst answer: if it kept its probability up to the longest length, or
         * to its present one if {@code lengthPenalty} is not above 0.
         */
        NEVER
    }

    /**
     * Checks the ranges.
     *
     * @throws InvalidRequestException naming the value that is out of range
     */
    public BeamSearch {
        SamplingParams.check(width >= 1 && width <= MAX_WIDTH, "width", width, "from 1 to " + MAX_WIDTH);
        SamplingParams.check(
                lengthPenalty >= -MAX_PENALTY && lengthPenalty <= MAX_PENALTY,
                "lengthPenalty",
                lengthPenalty,
                "from -" + MAX_PENALTY + " to " + MAX_PENALTY);
    }

    /** A search with a length penalty of 1 that does not stop early. */
    public static BeamSearch ofWidth(int width) {
        return new BeamSearch(width, 1, EarlyStopping.NO);
    }

    /**
     * Checks that the parameters choose tokens by their probabilities alone.
     *
     * @throws InvalidRequestException naming the first parameter that beam search does not have
     */
    public static void check(SamplingParams params) {
        neutral(params.temperature() == 0 || params.temperature() == 1, "temperature", params.temperature(), "0 or 1");
        neutral(params.topK() == 0, "topK", params.topK(), "0");
        neutral(params.topP() == 1, "topP", params.topP(), "1");
        neutral(params.minP() == 0, "minP", params.minP(), "0");
        neutral(params.topNSigma() == 0, "topNSigma", params.topNSigma(), "0");
        neutral(params.typicalP() == 1, "typicalP", params.typicalP(), "1");
        neutral(params.xtcProbability() == 0, "xtcProbability", params.xtcProbability(), "0");
        neutral(params.repetitionPenalty() == 1, "repetitionPenalty", params.repetitionPenalty(), "1");
        neutral(params.presencePenalty() == 0, "presencePenalty", params.presencePenalty(), "0");
        neutral(params.frequencyPenalty() == 0, "frequencyPenalty", params.frequencyPenalty(), "0");
        neutral(
                params.dry() == null,
                "dryMultiplier",
                params.dry() == null ? 0 : params.dry().multiplier(),
                "0");
        neutral(params.logitBias().equals(Map.of()), "logitBias", "not empty", "empty");
        neutral(params.allowedTokens().isEmpty(), "allowedTokens", "not empty", "empty");
        neutral(params.badWords().isEmpty(), "badWords", "not empty", "empty");
        neutral(params.stop().isEmpty(), "stop", "not empty", "empty: use stop tokens");
        neutral(params.constraint() == null, "constraint", "given", "absent");
    }

    private static void neutral(boolean valid, String parameter, Object value, String neutral) {
        if (!valid) {
            throw new InvalidRequestException(
                    parameter, parameter + " is " + value + "; together with beam search it must be " + neutral);
        }
    }
}
