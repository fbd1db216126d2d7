package quire.bench.overload;

import java.util.SplittableRandom;
import quire.bench.client.ServerAddress;

/**
 * A mix of requests: seven of ten are short, the others have a long prompt and a long answer. Answers always have the
 * length that was asked for, and every prompt is computed: a salt of its own keeps it from the prefix cache.
 */
final class LoadRequests {
    private static final int SHORT_OF_TEN = 7;
    private static final int SHORT_ANSWER = 16;
    private static final String SENTENCE = "The fox and the bear went to the river. ";

    /** About the tokens of {@link #SENTENCE} in a small vocabulary. */
    private static final int SENTENCE_TOKENS = 12;

    private final ServerAddress server;
    private final int longPrompt;
    private final int longAnswer;

    /**
     * A request.
     *
     * @param text its bytes
     * @param tokens tokens of its answer
     */
    record LoadRequest(String text, int tokens) {}

    /** @param context the most tokens of a sequence */
    LoadRequests(ServerAddress server, int context) {
        this.server = server;
        longPrompt = Math.max(1, Math.min(context / 3, 512) / SENTENCE_TOKENS);
        longAnswer = Math.min(context / 4, 128);
    }

    /** A request of the mix. */
    LoadRequest next(SplittableRandom random) {
        return next(random, random.nextInt(10) < SHORT_OF_TEN, "");
    }

    /**
     * A short request or a long one.
     *
     * @param user the tenant; empty for none
     */
    LoadRequest next(SplittableRandom random, boolean small, String user) {
        int tokens = small ? SHORT_ANSWER : longAnswer;
        String prompt = small ? "Once upon a time " : SENTENCE.repeat(longPrompt);
        return new LoadRequest(
                server.post(
                        "/v1/completions",
                        "{\"prompt\":\"" + prompt + "\",\"max_tokens\":" + tokens
                                + ",\"ignore_eos\":true,\"temperature\":1,\"stream\":true,\"seed\":"
                                + random.nextInt(1_000_000) + ",\"cache_salt\":\"" + random.nextLong() + "\""
                                + (user.isEmpty() ? "" : ",\"user\":\"" + user + "\"") + "}"),
                tokens);
    }
}
