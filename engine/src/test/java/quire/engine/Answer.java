package quire.engine;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.LongSupplier;
import quire.engine.schedule.EngineLoop;

/** An answer as its reader got it. Two are equal if all tokens, all bits of all log probabilities, and the ends are. */
public record Answer(List<Integer> tokens, String text, List<String> logprobs, TokenStream.Finish finish) {
    /** Collects the outputs of a stream. */
    public static final class Reader {
        private final List<Integer> tokens = new ArrayList<>();
        private final StringBuilder text = new StringBuilder();
        private final List<String> logprobs = new ArrayList<>();

        public void add(Output output) {
            tokens.add(output.token());
            text.append(output.text());
            Logprobs row = output.logprobs();
            logprobs.add(
                    row == null
                            ? "none"
                            : Float.floatToRawIntBits(row.chosen())
                                    + Arrays.toString(row.topTokens())
                                    + Arrays.toString(row.topLogprobs()));
        }

        public void poll(TokenStream stream) {
            for (Output output = stream.poll(); output != null; output = stream.poll()) {
                add(output);
            }
        }

        public Answer end(TokenStream.Finish finish) {
            return new Answer(List.copyOf(tokens), text + finish.text(), List.copyOf(logprobs), finish);
        }
    }

    /** Reads a stream to its end. */
    public static Answer read(TokenStream stream) throws InterruptedException {
        Reader reader = new Reader();
        for (Output output = stream.next(); output != null; output = stream.next()) {
            reader.add(output);
        }
        return reader.end(stream.finish());
    }

    /** The answer to a request that runs alone, with enough pages, its prompt in one chunk. */
    public static Answer alone(Request request, int maxContext) {
        EngineConfig config = Requests.config(1, Math.max(maxContext, 1), 16);
        FakeModel model = FakeModel.fitting(config, maxContext);
        LongSupplier clock = () -> 0;
        EngineLoop loop = EngineLoop.builder(model, new FakeTokenizer(), config)
                .nanoClock(clock)
                .build();
        TokenStream stream = loop.submit(request);
        int steps = 0;
        while (loop.doWork() > 0) {
            steps++;
        }
        loop.checkIntegrity();
        model.close();
        Reader reader = new Reader();
        reader.poll(stream);
        // Each token of a prompt with log probabilities takes a row of logits, so there may be several steps.
        int most = request.params().promptLogprobs() < 0 ? 1 : request.prompt().length;
        int more = steps - stream.finish().completionTokens();
        if (more < 0 || more >= most) {
            throw new AssertionError(steps + " steps for " + stream.finish());
        }
        return reader.end(stream.finish());
    }

    /** The answers of a beam search that runs alone, with enough pages. */
    public static List<Answer> alone(Request request, BeamSearch search, int maxContext) {
        int tokens = Math.max(maxContext, search.width());
        FakeModel model = FakeModel.fitting(Requests.config(search.width(), tokens, 16), maxContext);
        EngineConfig config = Requests.config(search.width(), tokens, 16).toBuilder()
                .prefixCache(false)
                .build();
        LongSupplier clock = () -> 0;
        EngineLoop loop = EngineLoop.builder(model, new FakeTokenizer(), config)
                .nanoClock(clock)
                .build();
        List<TokenStream> streams = loop.submit(request, search);
        while (loop.doWork() > 0) {
            // until all have ended
        }
        loop.checkIntegrity();
        model.close();
        return streams.stream()
                .map(stream -> {
                    Reader reader = new Reader();
                    reader.poll(stream);
                    return reader.end(stream.finish());
                })
                .toList();
    }

    /**
     * Whether this answer is a prefix of {@code whole}; for answers that were cancelled or timed out. Text that was held back
     * at the end does not count: it may be the beginning of a stop string, which {@code whole} does not show.
     */
    public boolean isPrefixOf(Answer whole) {
        String certain = text.substring(0, text.length() - finish.text().length());
        return tokens.size() <= whole.tokens.size()
                && tokens.equals(whole.tokens.subList(0, tokens.size()))
                && logprobs.equals(whole.logprobs.subList(0, tokens.size()))
                && whole.text.startsWith(certain);
    }
}
