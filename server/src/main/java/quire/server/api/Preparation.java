package quire.server.api;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import quire.server.http.Exchange;
import quire.server.http.FairShare;
import quire.server.http.HttpException;

/**
 * Runs the work before an answer (JSON, chat template, tokens) on a few separate threads, which serve the clients in
 * turn.
 *
 * <p>This work takes processor time in proportion to the request, up to seconds. On the carrier threads of virtual
 * threads, it would delay the threads that write tokens of other answers. Platform threads delay them only as long as
 * the operating system's scheduler allows.
 *
 * <pre>
 *                   client a  ■ ■ ■ ┐
 *   small bodies    client b  ■     ├─ one request of each client in turn ──▶ prepare-1
 *                   client c  ■ ■   ┘                                    └──▶ prepare-2 … prepare-n
 *   large bodies    client d  ■ ■   ┐                                    ┌──▶   (small and large alternate)
 *                   client a  ■     ┴─ one request of each client in turn ┘
 * </pre>
 *
 * <ul>
 *   <li>A small request never waits for a large one: {@code prepare-1} takes small ones only.
 *   <li>Clients of one size take turns. A connection has one request at a time, so the connections of a client take turns
 *       too, in the order of arrival.
 *   <li>Clients share the places to wait ({@link FairShare}): one client gets at most half of them, and a client without a
 *       waiting request finds a place while there is one.
 * </ul>
 */
public final class Preparation implements AutoCloseable {
    /** Bodies up to this size are small. */
    static final int SMALL_BYTES = 64 << 10;

    private static final int RETRY_SECONDS = 1;

    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();

    // Guarded by the lock.
    private final Turns small = new Turns();
    private final Turns large = new Turns();
    private final FairShare places;
    private boolean lastWasLarge;
    private boolean closed;

    private Preparation(int maxWaiting) {
        this.places = new FairShare(maxWaiting);
    }

    /**
     * Starts the threads.
     *
     * @param threads number of threads, at least 2
     * @param maxWaiting requests that may wait, at least 1
     */
    public static Preparation start(int threads, int maxWaiting) {
        Preparation preparation = new Preparation(maxWaiting);
        for (int i = 1; i <= threads; i++) {
            boolean smallOnly = i == 1;
            Thread.ofPlatform().name("prepare-" + i).daemon().start(() -> preparation.work(smallOnly));
        }
        return preparation;
    }

    /** Work that waits, runs or has ended. */
    static final class Task<T> {
        private final String client;
        private final Turns turns;
        private final Supplier<T> work;
        private final CompletableFuture<T> result = new CompletableFuture<>();

        private Task(String client, Turns turns, Supplier<T> work) {
            this.client = client;
            this.turns = turns;
            this.work = work;
        }

        /**
         * Waits for the result.
         *
         * @throws ExecutionException with what the work threw
         * @throws java.util.concurrent.CancellationException if the task was cancelled or the threads have stopped
         */
        T result() throws InterruptedException, ExecutionException {
            return result.get();
        }

        private void run() {
            try {
                result.complete(work.get());
            } catch (Throwable e) { // the thread of the request handles every kind of failure
                result.completeExceptionally(e);
            }
        }
    }

    /**
     * Adds work.
     *
     * @param client the client that it belongs to
     * @param bodyBytes size of the request's body, which decides whether the work counts as small or large
     * @throws HttpException 429 if too many requests wait; 503 after {@link #close}
     */
    <T> Task<T> submit(String client, int bodyBytes, Supplier<T> work) {
        lock.lock();
        try {
            if (closed) {
                throw HttpException.unavailable("The server is shutting down and accepts no new requests.");
            }
            if (!places.take(client, 1)) {
                throw HttpException.overloaded("Too many requests wait to be read.", RETRY_SECONDS);
            }
            Task<T> task = new Task<>(client, bodyBytes <= SMALL_BYTES ? small : large, work);
            task.turns.add(task);
            if (task.turns == small) {
                changed.signal(); // any thread takes it
            } else {
                changed.signalAll(); // the first thread takes no large one
            }
            return task;
        } finally {
            lock.unlock();
        }
    }

    /**
     * Reads a request's body in its client's turn, then frees the body's memory.
     *
     * @throws HttpException that {@code reader} throws; 429 if too many requests wait; 503 if the server stops
     */
    public <T> T read(Exchange exchange, Function<Fields, T> reader) throws InterruptedException {
        try {
            return run(exchange, () -> reader.apply(Fields.parse(exchange.body())));
        } finally {
            exchange.releaseBody();
        }
    }

    /**
     * Runs work on a request's body in its client's turn. The client's departure cancels it.
     *
     * @throws HttpException that the work throws; 429 if too many requests wait; 503 if the server stops
     */
    public <T> T run(Exchange exchange, Supplier<T> work) throws InterruptedException {
        Task<T> task = submit(exchange.client(), exchange.bodyBytes(), work);
        exchange.onDeparture(() -> cancel(task));
        try {
            return task.result();
        } catch (CancellationException e) {
            throw HttpException.unavailable("The server is shutting down and did not read this request.");
        } catch (ExecutionException e) {
            switch (e.getCause()) {
                case RuntimeException cause -> throw cause;
                case Error cause -> throw cause;
                case null, default -> throw new IllegalStateException(e);
            }
        }
    }

    /**
     * Cancels work: removes it from the queue if it waits, and discards its result if it runs. May be called any number
     * of times.
     */
    void cancel(Task<?> task) {
        lock.lock();
        try {
            if (task.turns.remove(task)) {
                leave(task);
            }
        } finally {
            lock.unlock();
        }
        task.result.cancel(false);
    }

    /** Cancels the work that waits, and stops each thread after the work that it runs. */
    @Override
    public void close() {
        List<Task<?>> left = new ArrayList<>();
        lock.lock();
        try {
            closed = true;
            for (Task<?> task = poll(false); task != null; task = poll(false)) {
                left.add(task);
            }
            changed.signalAll();
        } finally {
            lock.unlock();
        }
        left.forEach(task -> task.result.cancel(false));
    }

    private void work(boolean smallOnly) {
        boolean more = true;
        while (more) {
            more = runNext(smallOnly);
        }
    }

    /**
     * Runs the next task; returns false if there are no more. Its frame ends with the task: a thread that waits would keep the
     * task, and with it a model that was unloaded meanwhile.
     */
    private boolean runNext(boolean smallOnly) {
        Task<?> task = take(smallOnly);
        if (task == null) {
            return false;
        }
        task.run();
        return true;
    }

    /** Waits for the next task; null after {@link #close}. */
    private @Nullable Task<?> take(boolean smallOnly) {
        lock.lock();
        try {
            while (true) {
                Task<?> task = poll(smallOnly);
                if (task != null || closed) {
                    return task;
                }
                changed.awaitUninterruptibly();
            }
        } finally {
            lock.unlock();
        }
    }

    private @Nullable Task<?> poll(boolean smallOnly) {
        Turns first = smallOnly || lastWasLarge ? small : large;
        Task<?> task = first.poll();
        if (task == null && !smallOnly) {
            task = (first == small ? large : small).poll();
        }
        if (task != null) {
            lastWasLarge = smallOnly ? lastWasLarge : task.turns == large;
            leave(task);
        }
        return task;
    }

    private void leave(Task<?> task) {
        places.give(task.client, 1);
    }

    /** Waiting tasks by client. The first client is served next. */
    private static final class Turns {
        private final LinkedHashMap<String, ArrayDeque<Task<?>>> clientToTasks = new LinkedHashMap<>();

        void add(Task<?> task) {
            clientToTasks
                    .computeIfAbsent(task.client, client -> new ArrayDeque<>())
                    .add(task);
        }

        @Nullable
        Task<?> poll() {
            Map.Entry<String, ArrayDeque<Task<?>>> next = clientToTasks.pollFirstEntry();
            if (next == null) {
                return null;
            }
            Task<?> task = next.getValue().remove();
            if (!next.getValue().isEmpty()) {
                clientToTasks.putLast(next.getKey(), next.getValue());
            }
            return task;
        }

        boolean remove(Task<?> task) {
            ArrayDeque<Task<?>> tasks = clientToTasks.get(task.client);
            boolean removed = tasks != null && tasks.remove(task);
            if (tasks != null && tasks.isEmpty()) {
                clientToTasks.remove(task.client);
            }
            return removed;
        }
    }
}
