package quire.engine;

/**
 * What is asked: a prompt in tokens and how to go on from it.
 *
 * @param prompt at least one token id
 * @param params how tokens are chosen
 */
@SuppressWarnings("ArrayRecordComponent") // a request is passed on, never compared
public record Request(int[] prompt, SamplingParams params) {}
