package quire.engine;

/**
 * A prompt in tokens, and how to generate its answer.
 *
 * @param prompt at least one token id
 * @param params how tokens are chosen
 */
@SuppressWarnings("ArrayRecordComponent") // requests are not compared
public record Request(int[] prompt, SamplingParams params) {}
