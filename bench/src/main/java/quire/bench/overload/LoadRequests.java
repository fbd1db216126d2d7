package quire.bench.overload;

import java.io.IOException;
import java.time.Duration;
import java.util.SplittableRandom;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import quire.bench.client.HttpSocket;
import quire.bench.client.ServerAddress;

/**
 * A mix of requests: seven of ten are short, the others have a long prompt and a long answer. Answers always have the
 * length that was asked for, and every prompt is computed: a salt of its own keeps it from the prefix cache.
 */
final class LoadRequests {
    private static final int SHORT_OF_TEN = 7;
    private static final int SHORT_ANSWER = 16;
    private static final String SHORT_PROMPT = "Once upon a time ";
    private static final String SENTENCE = "The fox and the bear went to the river. ";

    private final ServerAddress server;
    private static final Pattern COUNT = Pattern.compile("\"count\"\\s*:\\s*(\\d+)");
    private static final Duration TIMEOUT = Duration.ofSeconds(30);

    private final String longPrompt;
    private final int longAnswer;
    private final int shortPromptTokens;
    private final int longPromptTokens;

    /**
     * A request.
     *
     * @param text its bytes
     * @param kind short or long
     * @param tokens tokens of its prompt and of its answer
     */
    record LoadRequest(String text, Kind kind, int tokens) {}

    /** The kinds of requests. */
    enum Kind {
        SHORT,
        LONG
    }

    /**
     * Asks the server how many tokens the prompts have.
     *
     * @param context the most tokens of a sequence
     */
    LoadRequests(ServerAddress server, int context) throws IOException {
        this.server = server;
        longPrompt = SENTENCE.repeat(Math.max(1, Math.min(context / 3, 512) / tokens(SENTENCE)));
        longAnswer = Math.min(context / 4, 128);
        shortPromptTokens = tokens(SHORT_PROMPT);
        longPromptTokens = tokens(longPrompt);
    }

    private int tokens(String prompt) throws IOException {
        String request = server.post("/tokenize", "{\"prompt\":\"" + prompt + "\"}");
        HttpSocket.Answer answer = HttpSocket.exchange(server, request, TIMEOUT);
        Matcher count = COUNT.matcher(answer.body());
        if (!count.find()) {
            throw new IOException("http://" + server + "/tokenize answers with status " + answer.status() + ": "
                    + answer.body().strip());
        }
        return Integer.parseInt(count.group(1));
    }

    /** A request of the mix. */
    LoadRequest next(SplittableRandom random) {
        return next(random, random.nextInt(10) < SHORT_OF_TEN ? Kind.SHORT : Kind.LONG, "");
    }

    /**
     * A request of a kind.
     *
     * @param user the tenant; empty for none
     */
    LoadRequest next(SplittableRandom random, Kind kind, String user) {
        boolean small = kind == Kind.SHORT;
        int tokens = small ? SHORT_ANSWER : longAnswer;
        String prompt = small ? SHORT_PROMPT : longPrompt;
        return new LoadRequest(
                server.post(
                        "/v1/completions",
                        "{\"prompt\":\"" + prompt + "\",\"max_tokens\":" + tokens
                                + ",\"ignore_eos\":true,\"temperature\":1,\"stream\":true,\"seed\":"
                                + random.nextInt(1_000_000) + ",\"cache_salt\":\"" + random.nextLong() + "\""
                                + (user.isEmpty() ? "" : ",\"user\":\"" + user + "\"") + "}"),
                kind,
                tokens + (small ? shortPromptTokens : longPromptTokens));
    }
}
