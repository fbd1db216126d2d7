package quire.engine;

/**
 * The log probabilities at one output position.
 *
 * @param chosen that of the chosen token
 * @param topTokens the likeliest tokens, likeliest first, ties by lower id
 * @param topLogprobs theirs
 */
@SuppressWarnings("ArrayRecordComponent") // carried to the client, compared element by element in tests
public record Logprobs(float chosen, int[] topTokens, float[] topLogprobs) {}
