package quire.engine;

import org.jspecify.annotations.Nullable;
import quire.tensor.FloatMatrix;

/** What was chosen in one step, in the plan's order. Reused every step. */
final class Tokens {
    private final Sampler sampler;
    private final int[] ids;
    private final @Nullable Logprobs[] logprobs;
    private final @Nullable RuntimeException[] failures;

    Tokens(int maxSequences, int vocabularySize) {
        sampler = new Sampler(vocabularySize);
        ids = new int[maxSequences];
        logprobs = new Logprobs[maxSequences];
        failures = new RuntimeException[maxSequences];
    }

    /** Chooses the next token of every sequence that has caught up. One request's failure is its own. */
    Tokens choose(StepPlan plan, FloatMatrix logits) {
        int logitRow = 0;
        for (int i = 0; i < plan.size(); i++) {
            logprobs[i] = null;
            failures[i] = null;
            if (!plan.wantsToken(i)) {
                continue;
            }
            Sequence sequence = plan.sequence(i);
            try {
                int position = sequence.length();
                int token = sampler.choose(logits, logitRow, sequence.params, sequence.history, position);
                ids[i] = token;
                int top = sequence.params.logprobs();
                if (top >= 0) {
                    logprobs[i] = sampler.logprobs(logits, logitRow, token, top);
                }
            } catch (RuntimeException e) {
                failures[i] = e;
            }
            logitRow++;
        }
        return this;
    }

    int id(int index) {
        return ids[index];
    }

    @Nullable Logprobs logprobs(int index) {
        return logprobs[index];
    }

    /** Why no token could be chosen; null when one was. */
    @Nullable RuntimeException failure(int index) {
        return failures[index];
    }
}
