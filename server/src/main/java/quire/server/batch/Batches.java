package quire.server.batch;

import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.time.InstantSource;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;
import quire.server.http.Form;
import quire.server.http.HttpException;
import quire.server.http.LocalExchange;
import quire.server.http.RandomId;
import quire.server.http.Response;
import quire.server.http.Route;
import tools.jackson.databind.node.ObjectNode;

/**
 * All files and batches, and the threads that work on them.
 *
 * <pre>
 *   thread "batches"        checks input files, writes results, ends batches whose time is up, deletes old files
 *   virtual threads         each takes a line, waits for its answer and stores it: as many as the engine has sequences
 *     line  ─▶ LocalExchange ─▶ handler of the route ─▶ response ─▶ one commit
 *                                 429 and 503 are no results: the line waits and is sent again
 * </pre>
 *
 * <p>The lines of all batches that run are taken in turn: one of each owner, and of each batch of an owner. A line whose
 * result is not stored when the process ends is answered again by the next one. Since the database has at most one result
 * of a line, and the result of a batch is written from the database when no line is being answered, each line is in it once.
 *
 * <p>Thread-safe. What clients ask for is refused with an {@link HttpException}.
 */
public final class Batches implements AutoCloseable {
    private static final Logger LOG = System.getLogger(Batches.class.getName());

    /** The window in which a batch is answered, the only one that clients can ask for. */
    private static final long WINDOW_SECONDS = 24 * 60 * 60;

    /** Lines of one batch. */
    static final int MAX_LINES = 100_000;

    /** Wrong lines that are named. */
    private static final int MAX_FAULTS = 20;

    /** Files that are kept, shared fairly by owner. */
    private static final int MAX_FILES = 10_000;

    /** Batches of one owner that have not ended. */
    private static final int MAX_OPEN = 100;

    /** Batches of one owner that have ended; the oldest is forgotten. */
    private static final int MAX_ENDED = 1_000;

    /** Lines that are answered at a time have at most about this many times the largest line in memory. */
    private static final int LARGEST_LINES = 4;

    private static final int WRITE_BYTES = 64 << 10;
    private static final long RETRY_WRITE_MILLIS = 60_000;

    private static final int FIRST_ERROR_STATUS = 400;
    private static final int TOO_MANY_REQUESTS = 429;
    private static final int UNAVAILABLE = 503;
    private static final int SERVER_ERROR = 500;

    private final BatchStore store;
    private final int maxLineBytes;
    private final InstantSource clock;
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();
    private final List<Thread> threads = new ArrayList<>();

    // Guarded by the lock.
    private final LinkedHashMap<String, StoredFile> idToFile = new LinkedHashMap<>();
    private final LinkedHashMap<String, Batch> idToBatch = new LinkedHashMap<>();
    private final LinkedHashMap<String, ArrayDeque<Batch>> ownerToRunning = new LinkedHashMap<>();
    private long lastNumber;
    private long bytesUnderWay;
    private long linesEnded;
    private long linesAnswered;
    private boolean closed;
    private @Nullable String broken;

    private Batches(BatchStore store, int maxLineBytes, InstantSource clock) {
        this.store = store;
        this.maxLineBytes = maxLineBytes;
        this.clock = clock;
    }

    /**
     * Opens a folder of batches. Files are taken and checked from now on; lines are answered after {@link #start}.
     *
     * @param folder made if it is not there; one process at a time may use it
     * @param maxLineBytes the longest line of a file of requests
     * @param clock for the times of batches
     * @throws IllegalArgumentException if the folder cannot be used; the message says why
     */
    public static Batches open(Path folder, int maxLineBytes, InstantSource clock) {
        Batches batches = new Batches(BatchStore.open(folder), maxLineBytes, clock);
        batches.load();
        Thread keeper = Thread.ofPlatform().daemon().name("batches").unstarted(batches::keep);
        batches.threads.add(keeper);
        keeper.start();
        return batches;
    }

    private void load() {
        lock.lock();
        try {
            for (StoredFile file : store.files()) {
                add(file);
            }
            for (Batch batch : store.batches()) {
                idToBatch.put(batch.id, batch);
                lastNumber = Math.max(lastNumber, batch.number);
                if (batch.status() == Batch.Status.IN_PROGRESS) {
                    run(batch);
                }
            }
        } finally {
            lock.unlock();
        }
    }

    private void add(StoredFile file) {
        idToFile.put(file.id(), file);
        lastNumber = Math.max(lastNumber, file.number());
    }

    private void run(Batch batch) {
        ownerToRunning.computeIfAbsent(batch.owner, owner -> new ArrayDeque<>()).add(batch);
    }

    /**
     * Answers lines from now on.
     *
     * @param urlToRoute the routes that answer, by the url of a line
     * @param together lines that are answered at a time
     * @param failed whether nothing can be answered any more; the lines then wait for the next process
     */
    public void start(Map<String, Route> urlToRoute, int together, BooleanSupplier failed) {
        lock.lock();
        try {
            for (int i = 1; i <= together; i++) {
                threads.add(Thread.ofVirtual().name("batch-" + i).start(() -> answerLines(urlToRoute, failed)));
            }
        } finally {
            lock.unlock();
        }
    }

    /** Gives up the lines that are being answered, and closes the database. */
    @Override
    public void close() {
        List<Thread> all;
        lock.lock();
        try {
            closed = true;
            for (Batch batch : idToBatch.values()) {
                cancelLines(batch);
            }
            changed.signalAll();
            all = List.copyOf(threads);
        } finally {
            lock.unlock();
        }
        boolean interrupted = false;
        for (Thread thread : all) {
            while (thread.isAlive()) {
                try {
                    thread.join();
                } catch (InterruptedException e) {
                    interrupted = true;
                }
            }
        }
        lock.lock();
        try {
            for (Batch batch : idToBatch.values()) {
                closeInput(batch);
            }
            store.close();
        } finally {
            lock.unlock();
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private long seconds() {
        return clock.millis() / 1000;
    }

    // ── what clients ask for ────────────────────────────────────────────────────────────────────────────────────────

    /** A change that a client asks for. */
    @FunctionalInterface
    private interface Request<T> {
        T answer() throws IOException;
    }

    /** Runs a client's request under the lock, after what is due at this time. */
    private <T> T ask(Request<T> request) {
        lock.lock();
        try {
            checkUsable();
            expire();
            T answer = request.answer();
            changed.signalAll();
            return answer;
        } catch (UncheckedIOException e) {
            breakDown(e);
            throw storage(String.valueOf(e.getMessage()));
        } catch (IOException e) {
            throw storage("a file of batches cannot be read or written: " + e.getMessage());
        } finally {
            lock.unlock();
        }
    }

    private static HttpException storage(String message) {
        return HttpException.refused(507, "insufficient_storage", message);
    }

    private void checkUsable() {
        if (closed) {
            throw HttpException.unavailable("The server is shutting down and accepts no new requests.");
        }
        if (broken != null) {
            throw storage(broken + ". Mend that and start the server again; no result that was stored is lost.");
        }
    }

    /** The database cannot be used any more. */
    private void breakDown(UncheckedIOException e) {
        if (broken == null) {
            broken = String.valueOf(e.getMessage());
            LOG.log(Level.ERROR, "batches have stopped: {0}", broken);
            idToBatch.values().forEach(Batches::cancelLines);
            changed.signalAll();
        }
    }

    /**
     * Where files are while they come in.
     *
     * @throws HttpException if none can be taken
     */
    Path uploads() {
        lock.lock();
        try {
            checkUsable();
            return store.uploads();
        } finally {
            lock.unlock();
        }
    }

    /**
     * Keeps a file.
     *
     * @param file moved from where it is
     * @param keepSeconds after which it is deleted; null for never
     */
    StoredFile addFile(String owner, Form.File file, @Nullable Long keepSeconds) {
        return ask(() -> {
            if (!hasRoom(owner)) {
                throw HttpException.refused(
                        429, "too_many_files", "There are too many files: delete some that you do not need any more.");
            }
            boolean kept = false;
            String id = "file-" + RandomId.next();
            try {
                long now = seconds();
                StoredFile stored = new StoredFile(
                        id,
                        ++lastNumber,
                        owner,
                        file.name(),
                        StoredFile.INPUT,
                        file.bytes(),
                        now,
                        keepSeconds == null ? null : (Long) (now + keepSeconds));
                Files.move(file.path(), store.path(id), StandardCopyOption.ATOMIC_MOVE);
                store.put(stored);
                idToFile.put(id, stored);
                kept = true;
                return stored;
            } finally {
                if (!kept) {
                    Files.deleteIfExists(store.path(id));
                }
            }
        });
    }

    /** Whether an owner has fewer files than there is room for others, as {@link quire.server.http.FairShare} has it. */
    private boolean hasRoom(String owner) {
        long own = idToFile.values().stream()
                .filter(file -> file.owner().equals(owner))
                .count();
        return own < MAX_FILES - idToFile.size();
    }

    /** A file of an owner. */
    StoredFile file(String owner, String id) {
        return ask(() -> ownFile(owner, id));
    }

    private StoredFile ownFile(String owner, String id) {
        StoredFile file = idToFile.get(id);
        if (file == null || !file.owner().equals(owner)) {
            throw HttpException.notFound("file_id", "file_not_found", "There is no file '" + shown(id) + "'.");
        }
        return file;
    }

    /** Opens the content of a file of an owner. */
    InputStream open(String owner, String id) {
        return ask(() -> Files.newInputStream(store.path(ownFile(owner, id).id())));
    }

    /** Deletes a file of an owner. */
    void deleteFile(String owner, String id) {
        ask(() -> {
            StoredFile file = ownFile(owner, id);
            Batch user = user(file);
            if (user != null) {
                throw HttpException.refused(
                        409,
                        "file_in_use",
                        "The file '" + shown(id) + "' is read by the batch '" + user.id
                                + "': wait for its end, or cancel it first.");
            }
            remove(file);
            return file;
        });
    }

    private void remove(StoredFile file) {
        store.removeFile(file.id());
        idToFile.remove(file.id());
    }

    /** The batch that still needs a file; null if none does. */
    private @Nullable Batch user(StoredFile file) {
        for (Batch batch : idToBatch.values()) {
            if (!batch.status().isEnd() && batch.inputFileId.equals(file.id())) {
                return batch;
            }
        }
        return null;
    }

    /**
     * A part of a list.
     *
     * @param more whether there are more behind it
     */
    record Page(List<ObjectNode> entries, boolean more) {}

    /**
     * A part of an owner's files.
     *
     * @param purpose of the files; null for all
     * @param after the id of the file before the part; null for the first part
     * @param newestFirst the order
     */
    Page files(String owner, @Nullable String purpose, @Nullable String after, int limit, boolean newestFirst) {
        return ask(() -> {
            List<StoredFile> all =
                    new ArrayList<>(newestFirst ? idToFile.sequencedValues().reversed() : idToFile.sequencedValues());
            all.removeIf(file -> !file.owner().equals(owner) || (purpose != null && !purpose.equals(file.purpose())));
            return page(all.stream().map(StoredFile::json).toList(), after, limit);
        });
    }

    /** A part of an owner's batches, the newest first. */
    Page batches(String owner, @Nullable String after, int limit) {
        return ask(() -> {
            List<Batch> all = new ArrayList<>(idToBatch.sequencedValues().reversed());
            all.removeIf(batch -> !batch.owner.equals(owner));
            return page(all.stream().map(Batch::json).toList(), after, limit);
        });
    }

    private static Page page(List<ObjectNode> all, @Nullable String after, int limit) {
        int from = 0;
        if (after != null) {
            while (from < all.size() && !all.get(from).get("id").stringValue().equals(after)) {
                from++;
            }
            if (from == all.size()) {
                throw HttpException.invalid(
                        "after", "invalid_value", "'after' is '" + shown(after) + "', which is not in the list.");
            }
            from++;
        }
        int to = Math.min(all.size(), from + limit);
        return new Page(all.subList(from, to), to < all.size());
    }

    /**
     * Creates a batch.
     *
     * @param endpoint the url of its lines
     * @param outputSeconds after which its result is deleted; null for never
     */
    ObjectNode create(
            String owner, String inputFileId, String endpoint, ObjectNode metadata, @Nullable Long outputSeconds) {
        return ask(() -> {
            StoredFile file = idToFile.get(inputFileId);
            if (file == null || !file.owner().equals(owner)) {
                throw HttpException.invalid(
                        "input_file_id",
                        "invalid_value",
                        "There is no file '" + shown(inputFileId) + "': send it to /v1/files first.");
            }
            if (!file.purpose().equals(StoredFile.INPUT)) {
                throw HttpException.invalid(
                        "input_file_id",
                        "invalid_value",
                        "The file '" + shown(inputFileId) + "' is the result of a batch: name a file of requests.");
            }
            if (count(owner, batch -> !batch.status().isEnd()) >= MAX_OPEN) {
                throw HttpException.refused(
                        429, "too_many_batches", MAX_OPEN + " batches have not ended: wait for one, or cancel one.");
            }
            forgetOldest(owner);
            long now = seconds();
            Batch batch = new Batch(
                    "batch_" + RandomId.next(),
                    ++lastNumber,
                    owner,
                    endpoint,
                    inputFileId,
                    metadata,
                    now,
                    now + WINDOW_SECONDS,
                    outputSeconds);
            store.put(batch);
            idToBatch.put(batch.id, batch);
            return batch.json();
        });
    }

    private int count(String owner, Predicate<Batch> filter) {
        return (int) idToBatch.values().stream()
                .filter(batch -> batch.owner.equals(owner) && filter.test(batch))
                .count();
    }

    private void forgetOldest(String owner) {
        if (count(owner, batch -> batch.status().isEnd()) < MAX_ENDED) {
            return;
        }
        for (Batch batch : idToBatch.values()) {
            if (batch.owner.equals(owner) && batch.status().isEnd()) {
                store.removeBatch(batch.id);
                idToBatch.remove(batch.id);
                return;
            }
        }
    }

    /** A batch of an owner. */
    ObjectNode batch(String owner, String id) {
        return ask(() -> own(owner, id).json());
    }

    private Batch own(String owner, String id) {
        Batch batch = idToBatch.get(id);
        if (batch == null || !batch.owner.equals(owner)) {
            throw HttpException.notFound("batch_id", "batch_not_found", "There is no batch '" + shown(id) + "'.");
        }
        return batch;
    }

    /** Cancels a batch of an owner. What is answered stays. */
    ObjectNode cancel(String owner, String id) {
        return ask(() -> {
            Batch batch = own(owner, id);
            switch (batch.status()) {
                case VALIDATING, IN_PROGRESS -> {
                    batch.outcome = Batch.Status.CANCELLED;
                    batch.become(Batch.Status.CANCELLING, seconds());
                    stopRunning(batch);
                    store.put(batch);
                }
                case CANCELLING -> {}
                case FINALIZING, COMPLETED, FAILED, EXPIRED, CANCELLED ->
                    throw HttpException.refused(
                            409,
                            "batch_ended",
                            "The batch '" + shown(id) + "' is " + batch.status().word()
                                    + ", so it cannot be cancelled any more.");
            }
            return batch.json();
        });
    }

    private static String shown(String text) {
        return text.length() > 60 ? text.substring(0, 60) + "…" : text;
    }

    /**
     * Counts for metrics.
     *
     * @param statusToBatches batches in each status, by its word
     * @param waiting lines without a result, of batches that have not ended
     * @param answered lines that were answered since the start of the process
     */
    public record Counts(Map<String, Long> statusToBatches, long waiting, long answered) {}

    /** Counts at this moment. */
    public Counts counts() {
        lock.lock();
        try {
            EnumMap<Batch.Status, Long> counts = new EnumMap<>(Batch.Status.class);
            long waiting = 0;
            for (Batch batch : idToBatch.values()) {
                counts.merge(batch.status(), 1L, Long::sum);
                waiting += batch.open();
            }
            Map<String, Long> words = new LinkedHashMap<>();
            for (Batch.Status status : Batch.Status.values()) {
                words.put(status.word(), counts.getOrDefault(status, 0L));
            }
            return new Counts(words, waiting, linesAnswered);
        } finally {
            lock.unlock();
        }
    }

    // ── the threads that answer ─────────────────────────────────────────────────────────────────────────────────────

    private void answerLines(Map<String, Route> urlToRoute, BooleanSupplier failed) {
        for (BatchLine line = take(); line != null; line = take()) {
            try {
                Route route = urlToRoute.get(line.request.url());
                if (route == null) {
                    throw new IllegalStateException("no route for " + line.request.url());
                }
                answer(line, route, failed);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt(); // nobody does; the thread ends
                return;
            } finally {
                end(line);
            }
        }
    }

    /** Answers a line until it has a result, or its batch is not in progress any more. */
    private void answer(BatchLine line, Route route, BooleanSupplier failed) throws InterruptedException {
        while (true) {
            LocalExchange exchange = new LocalExchange("req_" + RandomId.next(), route, line.batch.owner, line.body());
            long ended;
            lock.lock();
            try {
                if (!isRunning(line.batch)) {
                    return;
                }
                line.exchange = exchange;
                ended = linesEnded;
            } finally {
                lock.unlock();
            }
            Response response = exchange.answer();
            int status = response.status();
            boolean result = status != TOO_MANY_REQUESTS
                    && status != UNAVAILABLE
                    && !(status == SERVER_ERROR && failed.getAsBoolean());
            lock.lock();
            try {
                line.exchange = null;
                if (result) {
                    store(line, exchange.id(), response);
                    return;
                }
                String seconds = response.headers().getOrDefault("Retry-After", "1");
                awaitRetry(line.batch, ended, TimeUnit.SECONDS.toNanos(Long.parseLong(seconds)));
            } finally {
                lock.unlock();
            }
        }
    }

    private boolean isRunning(Batch batch) {
        return !closed && broken == null && batch.status() == Batch.Status.IN_PROGRESS;
    }

    /** Waits until the time is over or another line has ended, so that there may be room. */
    private void awaitRetry(Batch batch, long ended, long nanos) throws InterruptedException {
        long left = nanos;
        while (left > 0 && linesEnded == ended && isRunning(batch)) {
            left = changed.awaitNanos(left);
        }
    }

    private void store(BatchLine line, String requestId, Response response) {
        if (broken != null) {
            return;
        }
        Batch batch = line.batch;
        boolean failed = response.status() >= FIRST_ERROR_STATUS;
        byte[] answer = AnswerLine.of(line.request.id(), response.status(), requestId, response.body());
        if (failed) {
            batch.failed++;
        } else {
            batch.completed++;
        }
        try {
            store.addResult(batch, line.request.number(), failed, answer);
            linesAnswered++;
        } catch (UncheckedIOException e) {
            breakDown(e);
        }
    }

    /** The next line of the batches that run, in turn; waits for one. Null when the threads are to end. */
    private @Nullable BatchLine take() {
        lock.lock();
        try {
            while (true) {
                if (closed || broken != null) {
                    return null;
                }
                if (bytesUnderWay < (long) LARGEST_LINES * maxLineBytes) {
                    for (Map.Entry<String, ArrayDeque<Batch>> owner = ownerToRunning.pollFirstEntry();
                            owner != null;
                            owner = ownerToRunning.pollFirstEntry()) {
                        Batch batch = owner.getValue().remove();
                        BatchLine line = next(batch);
                        if (line != null) {
                            owner.getValue().add(batch);
                        }
                        if (!owner.getValue().isEmpty()) {
                            ownerToRunning.putLast(owner.getKey(), owner.getValue());
                        }
                        if (line != null) {
                            batch.underWay.add(line);
                            bytesUnderWay += line.request.line().length;
                            return line;
                        }
                    }
                }
                changed.awaitUninterruptibly();
            }
        } catch (UncheckedIOException e) {
            breakDown(e);
            return null;
        } finally {
            lock.unlock();
        }
    }

    /** The next line of a batch that has no result; null if there is none. */
    private @Nullable BatchLine next(Batch batch) {
        try {
            BatchInput input = batch.input;
            if (input == null) {
                input = input(batch);
                batch.input = input;
            }
            for (BatchInput.Request request = input.next(); request != null; request = input.next()) {
                if (!store.hasResult(batch, request.number())) {
                    return new BatchLine(batch, request);
                }
            }
            batch.exhausted = true;
            closeInput(batch);
            finishIfDone(batch);
        } catch (IOException | BatchInput.WrongLineException e) {
            fail(batch, List.of(unreadable(e)));
        }
        return null;
    }

    private static Batch.Fault unreadable(Exception e) {
        return new Batch.Fault("input_unreadable", "The input file cannot be read any more: " + e.getMessage(), 0);
    }

    private BatchInput input(Batch batch) throws IOException {
        return new BatchInput(store.path(batch.inputFileId), batch.inputFileId, maxLineBytes);
    }

    private static void closeInput(Batch batch) {
        BatchInput input = batch.input;
        batch.input = null;
        if (input != null) {
            try {
                input.close();
            } catch (IOException e) {
                LOG.log(Level.DEBUG, "an input file did not close: {0}", e);
            }
        }
    }

    private void end(BatchLine line) {
        lock.lock();
        try {
            line.batch.underWay.remove(line);
            bytesUnderWay -= line.request.line().length;
            linesEnded++;
            finishIfDone(line.batch);
            changed.signalAll();
        } catch (UncheckedIOException e) {
            breakDown(e);
        } finally {
            lock.unlock();
        }
    }

    private void finishIfDone(Batch batch) {
        if (isRunning(batch) && batch.exhausted && batch.underWay.isEmpty()) {
            batch.outcome = Batch.Status.COMPLETED;
            batch.become(Batch.Status.FINALIZING, seconds());
            store.put(batch);
            changed.signalAll();
        }
    }

    // ── the thread that keeps batches ───────────────────────────────────────────────────────────────────────────────

    private void keep() {
        while (true) {
            Batch batch;
            lock.lock();
            try {
                batch = await();
            } catch (UncheckedIOException e) {
                breakDown(e);
                return;
            } finally {
                lock.unlock();
            }
            if (batch == null) {
                return;
            }
            try {
                if (batch.outcome == null) {
                    validate(batch);
                } else {
                    finish(batch);
                }
            } catch (UncheckedIOException e) {
                lock.lock();
                try {
                    breakDown(e);
                } finally {
                    lock.unlock();
                }
            } catch (RuntimeException e) { // a bug: the batch ends, and the others go on
                LOG.log(Level.ERROR, "batch " + batch.id + " failed", e);
                failAfterBug(batch);
            }
        }
    }

    private void failAfterBug(Batch batch) {
        lock.lock();
        try {
            fail(
                    batch,
                    List.of(new Batch.Fault(
                            "internal_error", "The server failed on this batch. Its log has the details.", 0)));
        } catch (UncheckedIOException e) {
            breakDown(e);
        } finally {
            lock.unlock();
        }
    }

    /** Waits for a batch that is to be validated or finished; null when the thread is to end. */
    private @Nullable Batch await() {
        while (!closed && broken == null) {
            expire();
            long now = clock.millis();
            long next = Long.MAX_VALUE;
            for (Batch batch : idToBatch.values()) {
                boolean ready = batch.status() == Batch.Status.VALIDATING
                        || (batch.outcome != null && !batch.status().isEnd() && batch.underWay.isEmpty());
                if (ready && batch.retryAtMillis <= now) {
                    return batch;
                }
                if (ready) {
                    next = Math.min(next, batch.retryAtMillis);
                } else if (batch.status() == Batch.Status.IN_PROGRESS) {
                    next = Math.min(next, batch.expiresAt * 1000);
                }
            }
            for (StoredFile file : idToFile.values()) {
                Long expires = file.expiresAt();
                if (expires != null && user(file) == null) {
                    next = Math.min(next, expires * 1000);
                }
            }
            try {
                if (next == Long.MAX_VALUE) {
                    changed.await();
                } else {
                    var _ = changed.await(Math.max(1, next - now), TimeUnit.MILLISECONDS);
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt(); // nobody does; the thread ends
                return null;
            }
        }
        return null;
    }

    /** Ends batches whose time is up, and deletes files whose time is up. */
    private void expire() {
        long now = seconds();
        for (Batch batch : idToBatch.values()) {
            if (batch.status() == Batch.Status.IN_PROGRESS && batch.expiresAt <= now) {
                batch.outcome = Batch.Status.EXPIRED;
                batch.become(Batch.Status.FINALIZING, now);
                stopRunning(batch);
                store.put(batch);
            }
        }
        List<StoredFile> old = idToFile.values().stream()
                .filter(file -> file.expiresAt() != null && file.expiresAt() <= now && user(file) == null)
                .toList();
        old.forEach(this::remove);
    }

    /** Takes no more lines of a batch, and cancels those that are being answered. */
    private void stopRunning(Batch batch) {
        ArrayDeque<Batch> running = ownerToRunning.get(batch.owner);
        if (running != null && running.remove(batch) && running.isEmpty()) {
            ownerToRunning.remove(batch.owner);
        }
        closeInput(batch);
        cancelLines(batch);
    }

    private static void cancelLines(Batch batch) {
        for (BatchLine line : batch.underWay) {
            if (line.exchange != null) {
                line.exchange.cancel();
            }
        }
    }

    /** Checks all lines of a batch. */
    private void validate(Batch batch) {
        List<Batch.Fault> faults = new ArrayList<>();
        IdSet ids = new IdSet();
        try (BatchInput input = input(batch)) {
            while (faults.size() < MAX_FAULTS) {
                try {
                    BatchInput.Request request = input.next();
                    if (request == null || !isValidating(batch)) {
                        break;
                    }
                    if (!ids.add(request.id())) {
                        throw input.wrong("has the custom_id '" + shown(request.id())
                                + "' of an earlier line: give each line its own");
                    }
                    if (!request.url().equals(batch.endpoint)) {
                        throw input.wrong("has the url '" + request.url() + "', but the endpoint of the batch is '"
                                + batch.endpoint + "'");
                    }
                    if (ids.size() > MAX_LINES) {
                        throw input.wrong("is one too many: a batch has at most " + MAX_LINES + " requests");
                    }
                } catch (BatchInput.WrongLineException e) {
                    faults.add(new Batch.Fault("invalid_line", "Line " + e.line() + " " + e.fault() + ".", e.line()));
                    if (ids.size() > MAX_LINES) {
                        break;
                    }
                }
            }
        } catch (IOException e) {
            faults.add(unreadable(e));
        }
        if (faults.isEmpty() && ids.size() == 0) {
            faults.add(new Batch.Fault("empty_file", "The file has no request: give one in each line.", 0));
        }
        lock.lock();
        try {
            if (closed || batch.status() != Batch.Status.VALIDATING) {
                return; // the next process begins again; a cancelled batch is finished
            }
            if (!faults.isEmpty()) {
                fail(batch, faults);
                return;
            }
            batch.total = ids.size();
            batch.become(Batch.Status.IN_PROGRESS, seconds());
            store.put(batch);
            run(batch);
            changed.signalAll();
        } finally {
            lock.unlock();
        }
    }

    private boolean isValidating(Batch batch) {
        lock.lock();
        try {
            return !closed && batch.status() == Batch.Status.VALIDATING;
        } finally {
            lock.unlock();
        }
    }

    /** Ends a batch without a result. */
    private void fail(Batch batch, List<Batch.Fault> faults) {
        stopRunning(batch);
        batch.faults = List.copyOf(faults);
        batch.become(Batch.Status.FAILED, seconds());
        store.end(batch, List.of());
        changed.signalAll();
    }

    /** Writes the result of a batch whose lines are not answered any more, and ends it. */
    private void finish(Batch batch) {
        List<StoredFile> outputs;
        try (Output answers = new Output();
                Output errors = new Output()) {
            if (batch.total > 0 && !write(batch, answers, errors)) {
                return;
            }
            outputs = moveOutputs(batch, answers, errors);
        } catch (IOException e) {
            retryLater(batch, e);
            return;
        } catch (BatchInput.WrongLineException e) {
            failUnreadable(batch, e);
            return;
        }
        lock.lock();
        try {
            if (closed || batch.outcome == null) {
                return;
            }
            batch.faults = List.of();
            batch.failed = batch.total - batch.completed;
            batch.become(batch.outcome, seconds());
            store.end(batch, outputs);
            outputs.forEach(this::add);
            changed.signalAll();
        } finally {
            lock.unlock();
        }
    }

    private void failUnreadable(Batch batch, Exception e) {
        lock.lock();
        try {
            fail(batch, List.of(unreadable(e)));
        } finally {
            lock.unlock();
        }
    }

    private void retryLater(Batch batch, IOException e) {
        LOG.log(
                Level.ERROR,
                "the result of batch {0} cannot be written, and is tried again in a minute: {1}",
                batch.id,
                e.toString());
        lock.lock();
        try {
            batch.faults = List.of(new Batch.Fault(
                    "output_not_written",
                    "The result cannot be written to the server's disk, and is tried again: " + e.getMessage(),
                    0));
            batch.retryAtMillis = clock.millis() + RETRY_WRITE_MILLIS;
        } finally {
            lock.unlock();
        }
    }

    /** Writes all lines, in the order of the input. Returns false if the process ends. */
    private boolean write(Batch batch, Output answers, Output errors) throws IOException {
        boolean expired = batch.outcome == Batch.Status.EXPIRED;
        try (BatchInput input = input(batch)) {
            for (BatchInput.Request request = input.next(); request != null; request = input.next()) {
                BatchStore.Result result = store.result(batch, request.number());
                if (result == null) {
                    byte[] line = AnswerLine.unanswered(
                            request.id(),
                            RandomId.next(),
                            expired ? "batch_expired" : "batch_cancelled",
                            expired
                                    ? "This request was not answered before the end of the batch's 24 hours."
                                    : "The batch was cancelled before this request was answered.");
                    errors.write(line, 0);
                } else {
                    (result.failed() ? errors : answers).write(result.bytes(), BatchStore.Result.START);
                }
                if (isClosed()) {
                    return false;
                }
            }
        }
        return true;
    }

    private boolean isClosed() {
        lock.lock();
        try {
            return closed;
        } finally {
            lock.unlock();
        }
    }

    /** Moves what was written to where files are. */
    private List<StoredFile> moveOutputs(Batch batch, Output answers, Output errors) throws IOException {
        List<StoredFile> outputs = new ArrayList<>();
        lock.lock();
        try {
            if (answers.bytes > 0) {
                StoredFile file = output(batch, answers, "output");
                outputs.add(file);
                batch.outputFileId = file.id();
            }
            if (errors.bytes > 0) {
                StoredFile file = output(batch, errors, "error");
                outputs.add(file);
                batch.errorFileId = file.id();
            }
            return outputs;
        } finally {
            lock.unlock();
        }
    }

    private StoredFile output(Batch batch, Output output, String kind) throws IOException {
        String id = "file-" + RandomId.next();
        output.moveTo(store.path(id));
        long now = seconds();
        Long keepSeconds = batch.outputSeconds;
        return new StoredFile(
                id,
                ++lastNumber,
                batch.owner,
                String.format(Locale.ROOT, "%s_%s.jsonl", batch.id, kind),
                StoredFile.OUTPUT,
                output.bytes,
                now,
                keepSeconds == null ? null : (Long) (now + keepSeconds));
    }

    /** A file of a result while it is written. Without a line there is no file. */
    private final class Output implements AutoCloseable {
        private final Path path = store.uploads().resolve(RandomId.next() + ".part");
        private @Nullable FileChannel channel;
        private @Nullable OutputStream to;
        private long bytes;

        void write(byte[] line, int from) throws IOException {
            OutputStream out = to;
            if (out == null) {
                channel = FileChannel.open(path, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
                out = new BufferedOutputStream(Channels.newOutputStream(channel), WRITE_BYTES);
                to = out;
            }
            out.write(line, from, line.length - from);
            bytes += line.length - from;
        }

        void moveTo(Path place) throws IOException {
            if (to != null && channel != null) {
                to.flush();
                channel.force(true);
                channel.close();
                Files.move(path, place, StandardCopyOption.ATOMIC_MOVE);
            }
        }

        @Override
        public void close() throws IOException {
            if (channel != null) {
                channel.close();
                Files.deleteIfExists(path);
            }
        }
    }
}
