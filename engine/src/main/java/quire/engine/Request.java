package quire.engine;

import org.jspecify.annotations.Nullable;
import quire.model.Pooling;

/**
 * A prompt in tokens, and how to generate its answer, or that its vector is wanted.
 *
 * @param prompt at least one token id
 * @param params how tokens are chosen
 * @param cacheSalt only requests with an equal salt use each other's cached pages, so that no tenant can find out from
 *     the speed of an answer what another one has asked; null shares with all requests without a salt. It never changes
 *     an answer
 * @param scheduling decides when the request runs
 * @param prediction a text in tokens that the answer probably repeats in parts, such as a file that it edits; its tokens are
 *     drafts, so it changes the speed and not the answer; empty for none
 * @param name what {@link EngineView} calls it; empty for no name
 * @param pooling how the vectors of the prompt's positions become the {@link TokenStream#vector}, which is then the answer:
 *     no token is generated, and {@code params} do not count; null for an answer in tokens
 */
@SuppressWarnings("ArrayRecordComponent") // requests are not compared
public record Request(
        int[] prompt,
        SamplingParams params,
        @Nullable String cacheSalt,
        Scheduling scheduling,
        int[] prediction,
        String name,
        @Nullable Pooling pooling) {
    private static final int[] NO_PREDICTION = {};

    /** A request for the vector of a prompt. */
    public static Request forVector(int[] prompt, Pooling pooling, @Nullable String cacheSalt, Scheduling scheduling) {
        SamplingParams none = SamplingParams.builder().maxTokens(1).build();
        return new Request(prompt, none, cacheSalt, scheduling, NO_PREDICTION, "", pooling);
    }

    /** A request for an answer in tokens. */
    public Request(
            int[] prompt,
            SamplingParams params,
            @Nullable String cacheSalt,
            Scheduling scheduling,
            int[] prediction,
            String name) {
        this(prompt, params, cacheSalt, scheduling, prediction, name, null);
    }

    /** A request without a name. */
    public Request(
            int[] prompt, SamplingParams params, @Nullable String cacheSalt, Scheduling scheduling, int[] prediction) {
        this(prompt, params, cacheSalt, scheduling, prediction, "");
    }

    /** A request without a prediction. */
    public Request(int[] prompt, SamplingParams params, @Nullable String cacheSalt, Scheduling scheduling) {
        this(prompt, params, cacheSalt, scheduling, NO_PREDICTION);
    }

    /** A request with {@link Scheduling#DEFAULT}. */
    public Request(int[] prompt, SamplingParams params, @Nullable String cacheSalt) {
        this(prompt, params, cacheSalt, Scheduling.DEFAULT);
    }

    /** The same content, scheduled in another way. */
    public Request withScheduling(Scheduling value) {
        return new Request(prompt, params, cacheSalt, value, prediction, name, pooling);
    }

    /** The same content under another name. */
    public Request withName(String value) {
        return new Request(prompt, params, cacheSalt, scheduling, prediction, value, pooling);
    }

    /** A request that shares cached pages with all requests without a salt. */
    public Request(int[] prompt, SamplingParams params) {
        this(prompt, params, null);
    }
}
