package quire.engine;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;

/** Configurations and seeded requests for {@link FakeModel}. */
public final class Requests {
    private Requests() {}

    public static EngineConfig config(int maxSequences, int maxBatchedTokens, int pageTokens) {
        return EngineConfig.builder()
                .maxSequences(maxSequences)
                .maxBatchedTokens(maxBatchedTokens)
                .maxQueuedRequests(10_000)
                .maxQueuedTokens(1 << 20)
                .pageTokens(pageTokens)
                .threads(1)
                .speculation(Speculation.off())
                .build();
    }

    public static Request of(String prompt, int maxTokens) {
        SamplingParams params = SamplingParams.builder()
                .maxTokens(maxTokens)
                .temperature(0)
                .ignoreEndOfText(true)
                .build();
        return new Request(new FakeTokenizer().encode(prompt, true, false), params);
    }

    /** A random request that fits a context of {@code maxContext}. */
    public static Request random(SplittableRandom random, int maxContext) {
        int longest = random.nextInt(4) == 0 ? maxContext - 1 : Math.min(maxContext - 1, 8);
        int[] prompt = random.ints(1 + random.nextInt(longest), 0, FakeTokenizer.VOCABULARY_SIZE)
                .toArray();
        SamplingParams.Builder params = SamplingParams.builder()
                .maxTokens(1 + random.nextInt(maxContext))
                .seed(random.nextLong())
                .temperature(random.nextBoolean() ? 0 : 1)
                .ignoreEndOfText(random.nextInt(4) == 0)
                .logprobs(random.nextInt(4) == 0 ? random.nextInt(4) : -1);
        if (random.nextInt(4) == 0) {
            params.topK(1 + random.nextInt(30));
        }
        if (random.nextInt(4) == 0) {
            params.topP(0.1 + 0.9 * random.nextDouble());
        }
        if (random.nextInt(4) == 0) {
            params.minP(0.5 * random.nextDouble());
        }
        if (random.nextInt(3) == 0) {
            params.repetitionPenalty(1.3).frequencyPenalty(0.5).presencePenalty(0.25);
        }
        if (random.nextInt(4) == 0) {
            params.logitBias(Map.of(random.nextInt(FakeTokenizer.VOCABULARY_SIZE), 5f));
        }
        if (random.nextInt(6) == 0) {
            params.topNSigma(2 * random.nextDouble()).typicalP(0.1 + 0.9 * random.nextDouble());
        }
        if (random.nextInt(6) == 0) {
            params.xtc(0.5, 0.1 * random.nextDouble());
        }
        if (random.nextInt(6) == 0) {
            params.dry(new Dry(1, 1.5, 1, 20, Set.of('e' + 2), List.of()));
        }
        if (random.nextInt(6) == 0) {
            params.badWords(List.of(List.of('a' + 2), List.of('b' + 2, 'c' + 2)))
                    .includeStop(true);
        }
        if (random.nextInt(6) == 0) {
            params.promptLogprobs(random.nextInt(3));
        }
        if (random.nextInt(6) == 0) {
            params.minTokens(1);
        }
        if (random.nextInt(6) == 0) {
            // The last one is spelled by the control tokens BOS and EOS.
            params.stop(List.of(letter(random), letter(random) + letter(random), "\uFFFD", "s>"));
        }
        if (random.nextInt(4) == 0) {
            params.stopTokens(List.of(random.nextInt(FakeTokenizer.VOCABULARY_SIZE)));
        }
        return new Request(prompt, params.build());
    }

    private static String letter(SplittableRandom random) {
        return Character.toString('a' + random.nextInt(26));
    }
}
