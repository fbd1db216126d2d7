package quire.engine.schedule;

import org.jspecify.annotations.Nullable;
import quire.engine.Logprobs;
import quire.engine.sample.Sampler;
import quire.engine.sample.SamplerTeam;
import quire.engine.sample.TokenHistory;
import quire.tensor.FloatMatrix;

/**
 * Chooses the tokens of one step and verifies draft tokens. Reused every step.
 *
 * <p><b>Verification by coupling.</b> The model has computed logits for a sequence's last token and for each draft
 * token. At every position the model makes its own choice, exactly as it would without a draft. As long as the choice
 * equals the draft token, the next row was computed for the right history, and its choice counts too. So the output is
 * the same as without drafts, for all parameters. A draft model that draws with the same Gumbel noise agrees more often
 * (Daliri, Musco, Suresh, <i>Coupling without Communication and Drafter-Invariant Speculative Decoding</i>, 2024).
 *
 * <pre>
 *   row computed     x      d0     d1     d2        x: the last token; d0 d1 d2: draft tokens
 *   model chooses    d0     d1     y      ·         row by row
 *                    =d0    =d1    ≠d2              first difference: y counts, later rows do not
 *   kept             d0     d1     y                2 accepted, 1 rejected, 3 new tokens in one step
 * </pre>
 */
public final class TokenVerifier {
    private static final int[] NO_TOKENS = {};

    private final SamplerTeam samplers;
    private final SamplerTeam.Unit verify = this::verify;
    private final int[] ids; // by row of logits
    private final @Nullable Logprobs[] logprobs;
    private final int[] counts; // by index in the plan
    private final int[] accepted;
    private final @Nullable RuntimeException[] failures;
    private @Nullable StepPlan plan;
    private @Nullable FloatMatrix logits;
    private @Nullable FloatMatrix vectors;

    TokenVerifier(StepLimits limits, SamplerTeam samplers) {
        this.samplers = samplers;
        ids = new int[limits.logitRows()];
        logprobs = new Logprobs[limits.logitRows()];
        counts = new int[limits.sequences()];
        accepted = new int[limits.sequences()];
        failures = new RuntimeException[limits.sequences()];
    }

    /**
     * Chooses the next token of every sequence that has caught up, and one more for each accepted draft token. Each
     * chosen token is added to its sequence's {@link TokenHistory} at once. If choosing fails for one sequence, the
     * others are not affected. Sequences that want a vector get their positions of this step added to it.
     *
     * @param modelVectors {@link quire.model.Model#vectors}; null if the model has none
     */
    void choose(StepPlan done, FloatMatrix model, @Nullable FloatMatrix modelVectors) {
        plan = done;
        logits = model;
        vectors = modelVectors;
        samplers.choose(done.size(), verify);
        plan = null;
        logits = null;
        vectors = null;
    }

    private void verify(int index, Sampler sampler) {
        StepPlan done = plan;
        FloatMatrix model = logits;
        if (done == null || model == null) {
            throw new IllegalStateException("there is no step to choose tokens for");
        }
        counts[index] = 0;
        accepted[index] = 0;
        failures[index] = null;
        Sequence sequence = done.sequence(index);
        if (sequence.pooled != null && vectors != null) {
            pool(done, index, sequence, sequence.pooled, vectors);
            return;
        }
        int rows = done.logitRows(index);
        int scores = done.scores(index);
        if (rows + scores == 0) {
            return;
        }
        int first = done.firstLogitRow(index);
        int top = sequence.params.logprobs();
        try {
            for (int row = first - scores; row < first; row++) {
                int next = sequence.tokens()[sequence.firstUnscored() + 1];
                sequence.addScore(sampler.logprobs(model, row, next, sequence.params.promptLogprobs()));
            }
            if (sequence.beam != null && rows > 0) {
                continueBeam(sequence.beam, sampler, model, first, top);
                return;
            }
            for (int i = 0; i < rows; i++) {
                int position = sequence.length() + i;
                int token = sampler.choose(model, first + i, sequence.params, sequence.history, position);
                logprobs[first + i] = top < 0 ? null : sampler.logprobs(model, first + i, token, top);
                ids[first + i] = token;
                sequence.history.append(token);
                counts[index] = i + 1;
                if (i == rows - 1 || token != sequence.tokens()[position]) {
                    return;
                }
                accepted[index] = i + 1;
                if (sequence.isEnd(token)) {
                    return; // the answer ends here; the later rows do not count
                }
            }
        } catch (RuntimeException e) {
            failures[index] = e;
        }
    }

    /** A beam gets no token: its group chooses from the likeliest ones. */
    private static void continueBeam(BeamGroup.Beam beam, Sampler sampler, FloatMatrix model, int row, int top) {
        sampler.continuations(model, row, beam.group.endTokens(), beam.group.mayEnd(), beam.next);
        beam.top = top < 0 ? null : sampler.logprobs(model, row, 0, top);
        beam.ready = true;
    }

    private void pool(StepPlan done, int index, Sequence sequence, PooledVector pooled, FloatMatrix model) {
        try {
            pooled.add(model, done.batch().firstRow(index), sequence.computed, done.tokenCount(index));
        } catch (RuntimeException e) {
            failures[index] = e;
        }
    }

    /**
     * Sets what was chosen for a sequence in a recorded step, in place of {@link #choose}.
     *
     * @param failure why choosing failed after these tokens; null if it did not
     * @param scores in place of the log probabilities of its prompt
     */
    void set(StepPlan done, int index, int[] tokens, @Nullable RuntimeException failure, Logprobs scores) {
        for (int i = 0; i < done.scores(index); i++) {
            done.sequence(index).addScore(scores);
        }
        PooledVector pooled = done.sequence(index).pooled;
        if (pooled != null) {
            pooled.skip(done.sequence(index).computed, done.tokenCount(index));
        }
        int first = done.firstLogitRow(index);
        for (int i = 0; i < tokens.length; i++) {
            ids[first + i] = tokens[i];
            logprobs[first + i] = null;
        }
        counts[index] = tokens.length;
        accepted[index] = Math.min(tokens.length, done.draftCount(index));
        failures[index] = failure;
    }

    /** The same for a beam, of which the continuations are set if {@code ready}. */
    void setBeam(StepPlan done, int index, boolean ready, @Nullable RuntimeException failure, Logprobs scores) {
        set(done, index, NO_TOKENS, failure, scores);
        BeamGroup.Beam beam = done.sequence(index).beam;
        if (beam != null && ready) {
            beam.ready = true;
        }
    }

    /** Number of tokens chosen for a sequence: its accepted draft tokens, and one more unless the answer ended. */
    int count(int index) {
        return counts[index];
    }

    /** Number of accepted draft tokens of a sequence; they are the first ones of its draft. */
    public int accepted(int index) {
        return accepted[index];
    }

    /** The token chosen at a row of logits. */
    int id(int logitRow) {
        return ids[logitRow];
    }

    @Nullable
    Logprobs logprobs(int logitRow) {
        return logprobs[logitRow];
    }

    /** Why choosing failed after the first {@link #count} tokens; null if it did not. */
    @Nullable
    RuntimeException failure(int index) {
        return failures[index];
    }
}
