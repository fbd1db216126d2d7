package quire.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import quire.engine.Engine;
import quire.engine.Output;
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
    private final Random random = new Random(7);

    OfflineBench(Engine engine) {
        this.engine = engine;
    }

    /** When each token of one answer came, nanoseconds after submission of the whole group. */
    @SuppressWarnings("ArrayRecordComponent") // read, never compared
    private record Timeline(long[] tokenNanos) {
        long first() {
            return tokenNanos[0];
        }

        long last() {
            return tokenNanos[tokenNanos.length - 1];
        }
    }

    /** Seconds from submission of one prompt to its first token. */
    double secondsToFirstToken(int promptTokens) throws InterruptedException {
        return run(1, promptTokens, 1).getFirst().first() / (double) NANOS;
    }

    /** Tokens a second over all sequences while all of them decode. */
    double decodeTokensPerSecond(int sequences, int contextTokens, int generate) throws InterruptedException {
        List<Timeline> timelines = run(sequences, contextTokens, generate);
        long from = timelines.stream().mapToLong(Timeline::first).max().orElseThrow();
        long to = timelines.stream().mapToLong(Timeline::last).min().orElseThrow();
        long tokens = 0;
        for (Timeline timeline : timelines) {
            for (long nanos : timeline.tokenNanos) {
                if (nanos > from && nanos <= to) {
                    tokens++;
                }
            }
        }
        if (to <= from) {
            throw new IllegalStateException("the first answers ended before the last prompt was read: "
                    + "give --generate more tokens, or --context fewer");
        }
        return tokens * (double) NANOS / (to - from);
    }

    private List<Timeline> run(int sequences, int promptTokens, int generate) throws InterruptedException {
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
        try (ExecutorService readers = Executors.newVirtualThreadPerTaskExecutor()) {
            long begin = System.nanoTime();
            List<Future<Timeline>> futures = new ArrayList<>();
            for (Request request : requests) {
                TokenStream stream =
                        engine.submit(request); // at once, so that a small model cannot end one before the next begins
                Callable<Timeline> reader = () -> read(stream, request.params().maxTokens(), begin);
                futures.add(readers.submit(reader));
            }
            List<Timeline> timelines = new ArrayList<>();
            for (Future<Timeline> future : futures) {
                timelines.add(future.get());
            }
            return timelines;
        } catch (ExecutionException e) {
            throw new IllegalStateException(e.getCause());
        }
    }

    private static Timeline read(TokenStream submitted, int tokens, long begin) throws InterruptedException {
        long[] nanos = new long[tokens];
        int count = 0;
        try (TokenStream stream = submitted) {
            for (Output output = stream.next(); output != null; output = stream.next()) {
                nanos[count++] = System.nanoTime() - begin;
            }
            if (count != nanos.length) {
                throw new IllegalStateException(
                        "an answer ended after " + count + " of " + nanos.length + " tokens: " + stream.finish());
            }
        }
        return new Timeline(nanos);
    }
}
