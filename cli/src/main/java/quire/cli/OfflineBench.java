package quire.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.model.text.Tokenizer;

/**
 * Measures an engine through its front door: requests of random tokens, greedy, of fixed lengths.
 *
 * <pre>
 *   time →      submit          first token                  last token
 *   prompt      |──── P tokens ────|                                        prompt speed = P / that
 *   together    |── all prompts ──────|── every sequence decodes ──|         decode speed = tokens / that
 *                             slowest first token         earliest last token
 * </pre>
 *
 * What exactly counts as decoding: {@link TimedEngine}.
 */
final class OfflineBench {
    private static final long NANOS = 1_000_000_000L;

    private final TimedEngine engine;
    private final Random random = new Random(7);

    OfflineBench(TimedEngine engine) {
        this.engine = engine;
    }

    /** Seconds from submission of one prompt to its first token. */
    double secondsToFirstToken(int promptTokens) throws InterruptedException {
        return run(1, promptTokens, 1).nanosToFirst() / (double) NANOS;
    }

    /** Tokens a second over all sequences while all of them decode. */
    double decodeTokensPerSecond(int sequences, int contextTokens, int generate) throws InterruptedException {
        TimedEngine.Group group = run(sequences, contextTokens, generate);
        if (group.nanos() <= 0) {
            throw new IllegalStateException("the first answers ended before the last prompt was read: "
                    + "give --generate more tokens, or --context fewer");
        }
        return group.tokens() * (double) NANOS / group.nanos();
    }

    private TimedEngine.Group run(int sequences, int promptTokens, int generate) throws InterruptedException {
        Tokenizer tokenizer = engine.engine().tokenizer();
        List<Request> requests = new ArrayList<>();
        for (int i = 0; i < sequences; i++) {
            int[] prompt = random.ints(promptTokens, 0, tokenizer.vocabularySize())
                    .map(token -> tokenizer.isControl(token) ? 0 : token)
                    .toArray();
            requests.add(new Request(
                    prompt,
                    SamplingParams.builder()
                            .maxTokens(generate)
                            .temperature(0)
                            .ignoreEndOfText(true)
                            .build()));
        }
        TimedEngine.Group group = engine.answer(requests);
        for (int[] answer : group.answers()) {
            if (answer.length != generate) {
                throw new IllegalStateException(
                        "an answer ended after " + answer.length + " of " + generate + " tokens");
            }
        }
        return group;
    }
}
