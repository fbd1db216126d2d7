package quire.server.api;

import java.time.Duration;
import java.util.List;
import org.jspecify.annotations.Nullable;
import quire.engine.FinishReason;
import quire.engine.Logprobs;
import quire.engine.Output;
import quire.engine.SpeculationCounts;
import quire.engine.Timeline;
import quire.engine.TokenStream;

/** The answer to a request for no tokens: the engine computes the prompt, and what it chooses then is left out. */
final class PromptOnly implements TokenStream {
    private final TokenStream computed;

    /** @param computed an answer of at most one token */
    PromptOnly(TokenStream computed) {
        this.computed = computed;
    }

    @Override
    public @Nullable Output next() throws InterruptedException {
        Output left = computed.next();
        while (left != null) {
            left = computed.next();
        }
        return null;
    }

    @Override
    public boolean await(Duration timeout) throws InterruptedException {
        return computed.await(timeout); // the answer ends in the step that computes the token
    }

    @Override
    public @Nullable Output poll() {
        return null;
    }

    @Override
    public Finish finish() {
        Finish finish = computed.finish();
        return switch (finish.reason()) {
            case STOP, LENGTH -> new Finish(FinishReason.LENGTH, "", null, finish.promptTokens(), 0, null);
            case CANCELLED, TIMEOUT, ERROR, BROKEN_LOGITS, CONSTRAINT -> finish;
        };
    }

    @Override
    public List<Logprobs> promptLogprobs() {
        return computed.promptLogprobs();
    }

    @Override
    public SpeculationCounts speculation() {
        return computed.speculation();
    }

    @Override
    public int cachedTokens() {
        return computed.cachedTokens();
    }

    @Override
    public Timeline timeline() {
        return computed.timeline();
    }

    @Override
    public void close() {
        computed.close();
    }
}
