package quire.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import quire.engine.Engine;
import quire.engine.EngineListener;
import quire.engine.FinishReason;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.engine.TokenStream;

/**
 * Measures an engine through its front door: requests of random tokens, greedy, of fixed lengths.
 *
 * <pre>
 *   time →      submit          first token                  last token
 *   prompt      |──── P tokens ────|                                        prompt speed = P / that
 *   together    |── all prompts ──────|── every sequence decodes ──|         decode speed = tokens / that
 *                             slowest first token         earliest last token
 * </pre>
 */
final class OfflineBench {
    private static final long NANOS = 1_000_000_000L;

    private final Engine engine;
    private final Clock clock;
    private final Random random = new Random(7);

    /** @param clock the engine's listener */
    OfflineBench(Engine engine, Clock clock) {
        this.engine = engine;
        this.clock = clock;
    }

    /**
     * When tokens come, on the engine thread: readers of a small model, on a machine with few cores, may not run before the
     * answers are over. Read once all of a group's answers have ended.
     */
    static final class Clock implements EngineListener {
        private int silent; // sequences of the group without a token
        private long nanosToFirst;
        private long from;
        private long to;
        private boolean ended;
        private long tokens;

        private void begin(int sequences) {
            silent = sequences;
            ended = false;
            tokens = 0;
        }

        @Override
        public void onFirstToken(long nanos) {
            nanosToFirst = nanos;
            if (--silent == 0) {
                from = System.nanoTime();
            }
        }

        @Override
        public void onToken(long nanos) {
            if (silent == 0 && !ended) {
                tokens++;
            }
        }

        @Override
        public void onFinish(FinishReason reason, long nanos, int promptTokens, int completionTokens) {
            if (!ended) {
                ended = true;
                to = System.nanoTime();
            }
        }
    }

    /** Seconds from submission of one prompt to its first token. */
    double secondsToFirstToken(int promptTokens) throws InterruptedException {
        run(1, promptTokens, 1);
        return clock.nanosToFirst / (double) NANOS;
    }

    /** Tokens a second over all sequences while all of them decode. */
    double decodeTokensPerSecond(int sequences, int contextTokens, int generate) throws InterruptedException {
        run(sequences, contextTokens, generate);
        long nanos = clock.to - clock.from;
        if (nanos <= 0) {
            throw new IllegalStateException("the first answers ended before the last prompt was read: "
                    + "give --generate more tokens, or --context fewer");
        }
        return clock.tokens * (double) NANOS / nanos;
    }

    private void run(int sequences, int promptTokens, int generate) throws InterruptedException {
        List<Request> requests = new ArrayList<>();
        for (int i = 0; i < sequences; i++) {
            int[] prompt = random.ints(promptTokens, 0, engine.tokenizer().vocabularySize())
                    .map(token -> engine.tokenizer().isControl(token) ? 0 : token)
                    .toArray();
            requests.add(new Request(
                    prompt,
                    SamplingParams.builder()
                            .maxTokens(generate)
                            .temperature(0)
                            .ignoreEndOfText(true)
                            .build()));
        }
        clock.begin(sequences);
        List<TokenStream> streams = new ArrayList<>();
        try {
            for (Request request : requests) {
                streams.add(engine.submit(request));
            }
            for (TokenStream stream : streams) {
                int count = 0;
                while (stream.next() != null) {
                    count++;
                }
                if (count != generate) {
                    throw new IllegalStateException(
                            "an answer ended after " + count + " of " + generate + " tokens: " + stream.finish());
                }
            }
        } finally {
            streams.forEach(TokenStream::close);
        }
    }
}
