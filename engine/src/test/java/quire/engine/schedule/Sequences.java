package quire.engine.schedule;

import quire.engine.FakeTokenizer;
import quire.engine.Request;
import quire.engine.SamplingParams;

/** Sequences that run outside an engine, for tests of drafters and policies. */
public final class Sequences {
    private Sequences() {}

    /** A sequence of {@link FakeTokenizer} tokens that has begun to run. */
    public static Sequence started(int[] prompt, int maxNewTokens) {
        Request request = new Request(prompt, SamplingParams.builder().build());
        return new Sequence(request, new FakeTokenizer(), maxNewTokens, null, new int[0], 0, closed -> {});
    }

    /** Adds a token to a sequence's answer. */
    public static void append(Sequence sequence, int token) {
        sequence.append(token);
    }
}
