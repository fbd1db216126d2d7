package quire.engine;

import java.nio.file.Path;
import java.time.Duration;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;
import quire.model.Model;
import quire.model.text.ChatTemplate;
import quire.model.text.Tokenizer;

/** Many requests, one model: continuous batching over a paged KV cache. Thread-safe. */
@SuppressWarnings({"DoNotCallSuggester", "UnusedVariable"})
public final class Engine implements AutoCloseable {
    private Engine() {}

    /**
     * Loads a GGUF file, plans the memory and starts the engine thread.
     *
     * @throws quire.model.format.ModelFormatException if the file cannot be used
     */
    public static Engine open(Path file, EngineConfig config, EngineListener listener) {
        throw new UnsupportedOperationException();
    }

    /**
     * Starts an engine on a model that is already there. The engine owns it from now on.
     *
     * @param name for people and for the API's {@code model} field
     * @param nanoClock a monotonic clock, {@code System::nanoTime}
     */
    public static Engine of(
            Model model,
            Tokenizer tokenizer,
            @Nullable ChatTemplate chatTemplate,
            String name,
            EngineConfig config,
            EngineListener listener,
            LongSupplier nanoClock) {
        throw new UnsupportedOperationException();
    }

    /**
     * Queues a request.
     *
     * @throws InvalidRequestException if the request is at fault: empty prompt, unknown token id, prompt longer than
     *     the context …
     * @throws OverloadedException if the queue is full
     * @throws IllegalStateException if the engine is draining, closed or broken
     */
    public TokenStream submit(Request request) {
        throw new UnsupportedOperationException();
    }

    /** The model's tokenizer. */
    public Tokenizer tokenizer() {
        throw new UnsupportedOperationException();
    }

    /** The model's chat template; null when it has none, or none that can be rendered ({@link #chatTemplateError}). */
    public @Nullable ChatTemplate chatTemplate() {
        throw new UnsupportedOperationException();
    }

    /** Why there is no chat template, for people: names the construct. */
    public String chatTemplateError() {
        throw new UnsupportedOperationException();
    }

    /** The model's name. */
    public String modelName() {
        throw new UnsupportedOperationException();
    }

    /** Positions of one sequence, prompt and answer. */
    public int maxContext() {
        throw new UnsupportedOperationException();
    }

    /** A picture of the engine after its last step. */
    public EngineStats stats() {
        throw new UnsupportedOperationException();
    }

    /** What broke the engine; null while it is healthy. */
    public @Nullable Throwable failure() {
        throw new UnsupportedOperationException();
    }

    /**
     * Refuses new requests and waits until those accepted have ended; cancels what is left after {@code patience}.
     *
     * @return whether all ended by themselves
     */
    public boolean drain(Duration patience) throws InterruptedException {
        throw new UnsupportedOperationException();
    }

    /** Cancels everything, ends the engine thread and frees the model. */
    @Override
    public void close() {
        throw new UnsupportedOperationException();
    }
}
