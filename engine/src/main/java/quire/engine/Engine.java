package quire.engine;

import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;
import quire.model.Model;
import quire.model.text.ChatTemplate;
import quire.model.text.Tokenizer;

/** Many requests, one model: continuous batching over a paged KV cache. Thread-safe. */
public final class Engine implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger("quire.engine");

    private final Model model;
    private final Tokenizer tokenizer;
    private final @Nullable ChatTemplate chatTemplate;
    private final String chatTemplateError;
    private final String name;
    private final EngineLoop loop;
    private final Thread thread;
    private final AtomicBoolean modelClosed = new AtomicBoolean();

    private Engine(
            Model model,
            Tokenizer tokenizer,
            @Nullable ChatTemplate chatTemplate,
            String chatTemplateError,
            String name,
            EngineConfig config,
            EngineListener listener,
            LongSupplier nanoClock) {
        this.model = model;
        this.tokenizer = tokenizer;
        this.chatTemplate = chatTemplate;
        this.chatTemplateError = chatTemplateError;
        this.name = name;
        loop = new EngineLoop(model, tokenizer, config, listener, nanoClock);
        thread = Thread.ofPlatform().daemon().name("engine").unstarted(loop);
    }

    /**
     * Starts an engine on a model that is already there. The engine owns it from now on. What shapes a model
     * ({@code kvCacheBytes}, {@code pageTokens}, {@code kvType}, {@code threads}) has shaped this one already and is not
     * looked at.
     *
     * @param name for people and for the API's {@code model} field
     * @param nanoClock a monotonic clock, {@code System::nanoTime}
     * @throws IllegalArgumentException if the configuration asks for more than the model can do in a step
     */
    public static Engine of(
            Model model,
            Tokenizer tokenizer,
            @Nullable ChatTemplate chatTemplate,
            String name,
            EngineConfig config,
            EngineListener listener,
            LongSupplier nanoClock) {
        String error = chatTemplate == null ? "the model has no chat template" : "";
        Engine engine = new Engine(model, tokenizer, chatTemplate, error, name, config, listener, nanoClock);
        engine.start(config);
        return engine;
    }

    private void start(EngineConfig config) {
        LOG.log(
                Level.INFO,
                name + ": context " + maxContext() + " tokens (" + loop.contextLimit() + "), " + model.pageCount() + " KV pages of "
                        + model.pageTokens() + " tokens, at most " + config.maxSequences() + " sequences and "
                        + config.maxBatchedTokens() + " tokens a step");
        thread.start();
    }

    /**
     * Queues a request. The answer ends with {@link FinishReason#LENGTH} after {@code maxTokens} tokens or at the end of
     * the context, whichever comes first.
     *
     * @throws InvalidRequestException if the request is at fault: empty prompt, unknown token id, prompt that leaves no
     *     room for an answer in the context
     * @throws OverloadedException if the queue is full
     * @throws IllegalStateException if the engine is draining, closed or broken
     */
    public TokenStream submit(Request request) {
        return loop.submit(request);
    }

    /** The model's tokenizer. */
    public Tokenizer tokenizer() {
        return tokenizer;
    }

    /** The model's chat template; null when it has none, or none that can be rendered ({@link #chatTemplateError}). */
    public @Nullable ChatTemplate chatTemplate() {
        return chatTemplate;
    }

    /** Why there is no chat template, for people: names the construct. Empty when there is one. */
    public String chatTemplateError() {
        return chatTemplateError;
    }

    /** The model's name. */
    public String modelName() {
        return name;
    }

    /** Positions of one sequence, prompt and answer: what the model, the configuration and the KV pages all allow. */
    public int maxContext() {
        return loop.maxContext();
    }

    /** A picture of the engine. It knows of every request that was accepted and of every end that was told. */
    public EngineStats stats() {
        return loop.ledger().stats();
    }

    /** What broke the engine; null while it is healthy. */
    public @Nullable Throwable failure() {
        return loop.ledger().failure();
    }

    /**
     * Refuses new requests and waits until those accepted have ended; cancels what is left after {@code patience}.
     *
     * @return whether all ended by themselves; false if some had to be cancelled or the engine broke
     * @throws InterruptedException if interrupted while waiting; the engine stays draining
     */
    public boolean drain(Duration patience) throws InterruptedException {
        loop.ledger().drain();
        boolean ended = loop.ledger().awaitEmpty(patience.toNanos());
        if (!ended) {
            loop.cancelAll();
            loop.ledger().awaitEmpty();
        }
        return ended && failure() == null;
    }

    /** Cancels everything, waits for the step under way, ends the engine thread and frees the model. */
    @Override
    public void close() {
        loop.ledger().close();
        loop.wake();
        boolean interrupted = false;
        while (thread.isAlive()) {
            try {
                thread.join();
            } catch (InterruptedException e) {
                interrupted = true; // the model must not be freed under the engine thread
            }
        }
        if (modelClosed.compareAndSet(false, true)) {
            model.close();
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
