package quire.engine.schedule;

import org.jspecify.annotations.Nullable;
import quire.engine.Logprobs;
import quire.engine.sample.Sampler;
import quire.engine.sample.SamplerTeam;
import quire.engine.sample.TokenHistory;
import quire.tensor.FloatMatrix;

/**
 * What was chosen in one step, in the plan's order, draft tokens verified. Reused every step.
 *
 * <p><b>Verification by coupling.</b> Behind a sequence's last token the plan may have put draft tokens, and the model has
 * computed logits for each of them. At every position the model makes its own choice, exactly as it would without a
 * draft; as long as that is what the draft says, the row behind it was computed for the right history and the next
 * choice counts too. So the output is by construction what it is without drafts, whatever the parameters; a draft model
 * that draws with the same Gumbel noise merely agrees more often (Daliri, Musco, Suresh, <i>Coupling without
 * Communication and Drafter-Invariant Speculative Decoding</i>, 2024).
 *
 * <pre>
 *   row computed     x      d0     d1     d2        x: the last token; d0 d1 d2: draft tokens
 *   model chooses    d0     d1     y      ·         row by row, each after the history that came before
 *                    =d0    =d1    ≠d2              first disagreement: the model's own y is kept, the rest is nothing
 *   kept             d0     d1     y                2 accepted, 1 rejected, 3 new tokens in one step
 * </pre>
 */
public final class TokenVerifier {
    private final SamplerTeam team;
    private final SamplerTeam.Unit verify = this::verify;
    private final int[] ids; // by row of logits
    private final @Nullable Logprobs[] logprobs;
    private final int[] counts; // by index in the plan
    private final int[] agreed;
    private final @Nullable RuntimeException[] failures;
    private @Nullable StepPlan plan;
    private @Nullable FloatMatrix logits;

    TokenVerifier(StepLimits limits, SamplerTeam team) {
        this.team = team;
        ids = new int[limits.logitRows()];
        logprobs = new Logprobs[limits.logitRows()];
        counts = new int[limits.sequences()];
        agreed = new int[limits.sequences()];
        failures = new RuntimeException[limits.sequences()];
    }

    /**
     * Chooses the next token of every sequence that has caught up, and those behind it that its draft allows. What is
     * chosen enters the sequence's {@link TokenHistory} at once. One request's failure is its own.
     */
    TokenVerifier choose(StepPlan done, FloatMatrix model) {
        plan = done;
        logits = model;
        team.choose(done.size(), verify);
        plan = null;
        logits = null;
        return this;
    }

    private void verify(int index, Sampler sampler) {
        StepPlan done = plan;
        FloatMatrix model = logits;
        if (done == null || model == null) {
            throw new IllegalStateException("nothing to choose from");
        }
        counts[index] = 0;
        agreed[index] = 0;
        failures[index] = null;
        int rows = done.logitRows(index);
        if (rows == 0) {
            return;
        }
        Sequence sequence = done.sequence(index);
        int first = done.firstLogitRow(index);
        int top = sequence.params.logprobs();
        try {
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
                agreed[index] = i + 1;
                if (sequence.isEnd(token)) {
                    return; // the rows behind it were computed for an answer that has ended
                }
            }
        } catch (RuntimeException e) {
            failures[index] = e;
        }
    }

    /** Tokens chosen for a sequence: the draft tokens that the model agrees with, and one of its own. */
    int count(int index) {
        return counts[index];
    }

    /** How many of a sequence's draft tokens the model agrees with: a beginning of them. */
    public int agreed(int index) {
        return agreed[index];
    }

    /** The token chosen at a row of logits. */
    int id(int logitRow) {
        return ids[logitRow];
    }

    @Nullable
    Logprobs logprobs(int logitRow) {
        return logprobs[logitRow];
    }

    /** Why no further token could be chosen behind the {@link #count} there are; null when nothing failed. */
    @Nullable
    RuntimeException failure(int index) {
        return failures[index];
    }
}
