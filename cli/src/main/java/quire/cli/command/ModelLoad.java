package quire.cli.command;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.function.Supplier;
import quire.engine.Engine;

/**
 * The load of a server's model, on a thread of its own. The model's files are opened, and their metadata and vocabulary are
 * read, while the server begins to listen; its weights when it does. So an address that is taken is told first, and then
 * nothing has been written.
 */
final class ModelLoad implements AutoCloseable {
    private final CompletableFuture<Boolean> listening = new CompletableFuture<>();
    private final CompletableFuture<Engine> engine = new CompletableFuture<>();

    /** Begins to load. What loads calls {@link #awaitListening} before it reads weights. */
    void start(Supplier<Engine> load) {
        Thread.ofPlatform().daemon().name("load").start(() -> run(load));
    }

    private void run(Supplier<Engine> load) {
        try {
            Engine loaded = load.get();
            if (listening.join()) {
                engine.complete(loaded);
            } else {
                loaded.close();
            }
        } catch (Throwable e) {
            engine.completeExceptionally(e);
        }
    }

    /** @throws IllegalStateException if the server does not come to listen: the engine then closes what it has opened */
    void awaitListening() {
        if (!listening.join()) {
            throw new IllegalStateException("the server does not listen");
        }
    }

    /** The server listens. Waits until the model is loaded; throws what the load throws. The caller closes the engine. */
    Engine finish() {
        listening.complete(true);
        try {
            return engine.join();
        } catch (CompletionException e) {
            switch (e.getCause()) {
                case RuntimeException cause -> throw cause;
                case Error cause -> throw cause;
                case null, default -> throw e;
            }
        }
    }

    /** Gives the load up, unless it was finished. */
    @Override
    public void close() {
        listening.complete(false);
    }
}
