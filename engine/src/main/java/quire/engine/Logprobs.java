package quire.engine;

/**
 * Log probabilities at one position of an answer or a prompt: the log softmax of the model's own logits.
 *
 * @param chosen log probability of the token there
 * @param rank its place by likelihood, from 1: one more than the tokens that are likelier
 * @param topTokens ids of the likeliest tokens, likeliest first; of equal ones the lower id first
 * @param topLogprobs the log probabilities of {@code topTokens}
 */
@SuppressWarnings("ArrayRecordComponent") // carried to the client, compared element by element in tests
public record Logprobs(float chosen, int rank, int[] topTokens, float[] topLogprobs) {}
