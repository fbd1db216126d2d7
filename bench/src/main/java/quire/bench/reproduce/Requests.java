package quire.bench.reproduce;

import java.util.List;
import java.util.SplittableRandom;
import quire.engine.Request;
import quire.engine.SamplingParams;
import quire.model.text.Tokenizer;

/** Requests of random tokens whose answers have an exact length. Only lengths matter for the time. */
final class Requests {
    private final Tokenizer tokenizer;
    private final SplittableRandom random;

    /** Equal seeds give equal texts. */
    Requests(Tokenizer tokenizer, long seed) {
        this.tokenizer = tokenizer;
        random = new SplittableRandom(seed);
    }

    /** Random tokens without control tokens. */
    int[] tokens(int count) {
        return random.ints(count, 0, tokenizer.vocabularySize())
                .map(token -> tokenizer.isControl(token) ? 0 : token)
                .toArray();
    }

    /** A greedy request for exactly {@code output} tokens. */
    static Request request(int[] prompt, int output) {
        return new Request(
                prompt,
                SamplingParams.builder()
                        .maxTokens(output)
                        .temperature(0)
                        .ignoreEndOfText(true)
                        .build());
    }

    /** A request with a prompt of its own for each length. */
    List<Request> of(List<Length> lengths) {
        return lengths.stream()
                .map(length -> request(tokens(length.prompt()), length.output()))
                .toList();
    }
}
