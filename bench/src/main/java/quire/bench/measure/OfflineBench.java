package quire.bench.measure;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.model.text.Tokenizer;

/**
 * Measures the speed of an engine through its public API, with greedy requests of random tokens and fixed lengths.
 *
 * <pre>
 *   time →      submit          first token                  last token
 *   prompt      |──── P tokens ────|                                        prompt speed = P / this time
 *   together    |── all prompts ──────|── every sequence decodes ──|         decode speed = tokens / this time
 *                             latest first token          earliest last token
 * </pre>
 *
 * {@link TimedEngine} defines the decoding time exactly.
 */
public final class OfflineBench {
    private static final long NANOS = 1_000_000_000L;

    /**
     * How often a group of sequences may fail to decode together. With a tiny model, the first answer can end while this
     * thread, which lost its processor, has not submitted the last request.
     */
    private static final int TRIES = 5;

    private final TimedEngine engine;
    private final Random random = new Random(7);

    /** Measures this engine, which must have no other requests. */
    public OfflineBench(TimedEngine engine) {
        this.engine = engine;
    }

    /** Seconds from the submission of one prompt to its first token. */
    public double secondsToFirstToken(int promptTokens) throws InterruptedException {
        return run(1, promptTokens, 1).nanosToFirst() / (double) NANOS;
    }

    /**
     * Tokens a second over all sequences, measured while all of them decode.
     *
     * @param sequences number of sequences that decode together
     * @param contextTokens tokens of each prompt
     * @param generate tokens that each sequence generates
     * @throws IllegalStateException if the sequences never decode all at the same time
     */
    public double decodeTokensPerSecond(int sequences, int contextTokens, int generate) throws InterruptedException {
        TimedEngine.Group group = run(sequences, contextTokens, generate);
        for (int i = 1; i < TRIES && group.nanos() <= 0; i++) {
            group = run(sequences, contextTokens, generate);
        }
        if (group.nanos() <= 0) {
            throw new IllegalStateException(
                    "the first answer ended before the last prompt was read, so nothing can be measured:"
                            + " give --generate more tokens, or --context fewer");
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
