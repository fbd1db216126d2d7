package quire.server.models;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;
import quire.server.http.HttpException;

/**
 * Loads models when requests ask for them, within one memory budget, and unloads those that nobody uses.
 *
 * <pre>
 *              a request asks           loaded                another model needs the memory,
 *   ABSENT ──────────────────▶ LOADING ────────▶ READY ─────▶ or unused for long ──▶ DRAINING ──▶ ABSENT
 *                                 │ fails          ▲   a lease for each request        no new leases; the last one ends
 *                                 ▼                │
 *                               FAILED ── a request after the pause ──▶ LOADING
 * </pre>
 *
 * <p>A request holds a {@link Lease} for as long as it runs, and a model with leases is never unloaded. So an answer that
 * runs ends, whatever other requests ask for. Requests for a model that is not ready wait, and get their leases at the
 * moment when it is, so that it cannot leave in between.
 *
 * <p>One thread, {@code models}, loads and unloads, one model at a time: the one that was asked for first. While that one
 * waits for memory, others that have room are loaded. Room is made with models that nobody uses, the one unused for longest
 * first. If these are not enough, a busy model drains: no more requests begin, and it leaves when those that run have ended.
 * It does that only when it has been ready for a turn, {@link #TURNS_OF_LOADING} times as long as it took to load, so that
 * most of the time is spent on answers and not on loading. Requests in the background never make a model leave that others use or have just used.
 *
 * <p>A model's memory counts from the moment when it begins to load until it is freed. Thread-safe.
 *
 * @param <M> a loaded model
 */
public final class ModelPool<M> implements AutoCloseable {
    private static final Logger LOG = System.getLogger(ModelPool.class.getName());

    /** How long a busy model stays at least, in times of its loading. */
    static final int TURNS_OF_LOADING = 3;

    /** How long a busy model stays at least. */
    static final Duration LEAST_TURN = Duration.ofSeconds(5);

    /** The usual time that a model must have been without requests from clients before the background takes its memory. */
    public static final Duration BACKGROUND_IDLE = Duration.ofSeconds(10);

    /** The pause after a load that failed; it doubles with each failure in a row. */
    static final Duration FAILURE_PAUSE = Duration.ofSeconds(10);

    private static final int MOST_DOUBLINGS = 5;

    /** When to ask again for a model that waits for memory, which nobody can estimate. */
    private static final int RETRY_SECONDS = 5;

    private static final Duration FOREVER = Duration.ofDays(365);

    /** What a slot's model is doing. */
    public enum State {
        /** It takes no memory. */
        ABSENT,
        /** It waits for memory, or its weights are being read. */
        LOADING,
        /** It answers. */
        READY,
        /** It answers the requests that it has, and then leaves. */
        DRAINING,
        /** It could not be loaded, or broke while it answered. */
        FAILED;

        /** The state as clients read it. */
        public String word() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /**
     * What a slot's model is doing at a moment.
     *
     * @param bytes memory that it takes; 0 if none
     * @param requests that use it
     * @param waiting requests that wait until it is loaded
     * @param loads how often it was loaded
     * @param failure why it cannot be used; empty unless it has failed
     * @param idleLeft until it is unloaded if nobody asks for it; null if it stays or is not ready
     */
    public record View(
            State state,
            long bytes,
            int requests,
            int waiting,
            long loads,
            String failure,
            @Nullable Duration idleLeft) {}

    private final ModelSource.Need budget;
    private final Duration backgroundIdle;
    private final LongSupplier nanoClock;
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();
    private final Thread thread;

    // Guarded by the lock.
    private final List<Slot> slots = new ArrayList<>();
    private final LinkedHashSet<Slot> wanted = new LinkedHashSet<>();
    private ModelSource.Need used = ModelSource.Need.NONE;
    private ModelSource.Need mostUsed = ModelSource.Need.NONE;
    private boolean closed;

    /**
     * A pool without models.
     *
     * @param budget memory that all models together may take
     * @param backgroundIdle how long a model must have been without requests from clients before one in the background takes
     *     its memory: {@link #BACKGROUND_IDLE}
     * @param nanoClock a monotonic clock
     */
    public ModelPool(ModelSource.Need budget, Duration backgroundIdle, LongSupplier nanoClock) {
        this.budget = budget;
        this.backgroundIdle = backgroundIdle;
        this.nanoClock = nanoClock;
        thread = Thread.ofPlatform().daemon().name("models").unstarted(this::work);
        thread.start();
    }

    /** A model of the pool, loaded or not. */
    public final class Slot {
        private final String name;
        private final @Nullable ModelSource<M> source;
        private final Duration idle;
        private final List<Waiter> waiters = new ArrayList<>();
        private State state = State.ABSENT;
        private @Nullable M model;
        private ModelSource.Need need = ModelSource.Need.NONE;
        private int leases;
        private int backgroundLeases;
        private long loads;
        /** Set when a request has given up waiting: it will ask again, and the model is to be there then. */
        private boolean keepWanted;

        private Duration stay;
        private long usedAt;
        private long usedByClientAt;
        private long readyAt;
        private long loadNanos;
        private String failure = "";
        private int failures;
        private long retryAt;

        private Slot(String name, @Nullable ModelSource<M> source, Duration idle) {
            this.name = name;
            this.source = source;
            this.idle = idle;
            this.stay = idle;
            this.usedByClientAt = nanoClock.getAsLong() - backgroundIdle.toNanos();
        }

        /** What the model is doing. */
        public View view() {
            lock.lock();
            try {
                boolean stays = stay.isZero() || source == null;
                Duration left = state != State.READY || stays
                        ? null
                        : leases > 0 ? stay : Duration.ofNanos(Math.max(0, stay.toNanos() - since(usedAt)));
                return new View(state, need.bytes(), leases, waiters.size(), loads, failure, left);
            } finally {
                lock.unlock();
            }
        }

        /** A lease if the model is ready; else null. Does not load it, does not count as use, and does not block. */
        public @Nullable Lease peek() {
            lock.lock();
            try {
                M loaded = model;
                return loaded == null || (state != State.READY && state != State.DRAINING)
                        ? null
                        : new Lease(this, loaded, true, false);
            } finally {
                lock.unlock();
            }
        }

        /**
         * A lease of the model, which is loaded if it is not ready. Blocks until then.
         *
         * @param wait how long at most
         * @param background whether nobody waits for the answer, so that no model leaves for it that clients use
         * @param onDeparture is given what to do when the client leaves, which may already have happened
         * @throws HttpException 503 if the model is not ready in time, cannot be loaded, or the pool closes
         */
        public Lease acquire(Duration wait, boolean background, Consumer<Runnable> onDeparture)
                throws InterruptedException {
            Waiter waiter;
            lock.lock();
            try {
                checkOpen();
                M loaded = model;
                if (loaded != null && state == State.READY) {
                    return new Lease(this, loaded, background);
                }
                if (state == State.FAILED && nanoClock.getAsLong() < retryAt) {
                    throw failed();
                }
                waiter = new Waiter(this, background, wait);
                waiters.add(waiter);
                want(this);
            } finally {
                lock.unlock();
            }
            onDeparture.accept(waiter::leave); // not under the lock: it may run at once
            return waiter.await();
        }

        /**
         * Says how long the model stays when nobody uses it, until it is unloaded the next time. Does nothing if it is not in
         * memory, and not being loaded.
         *
         * @param time null for the usual time; zero to unload it as soon as nobody uses it; negative for as long as the
         *     memory is not needed
         */
        public void stay(@Nullable Duration time) {
            lock.lock();
            try {
                if (state == State.ABSENT || state == State.FAILED) {
                    return; // else the next load would not last
                }
                stay = time == null
                        ? idle
                        : time.isNegative() ? Duration.ZERO : time.isZero() ? Duration.ofNanos(1) : time;
                changed.signalAll();
            } finally {
                lock.unlock();
            }
        }

        /**
         * Takes a model out of use that broke: it is unloaded when its requests have ended, and loaded again for a request
         * after a pause. Does nothing if the slot has another model by now.
         */
        public void broke(M broken, String why) {
            lock.lock();
            try {
                if (broken.equals(model) && source != null) {
                    failWith(why);
                    state = State.DRAINING;
                    changed.signalAll();
                }
            } finally {
                lock.unlock();
            }
        }

        private HttpException failed() {
            int seconds = (int) TimeUnit.NANOSECONDS.toSeconds(retryAt - nanoClock.getAsLong()) + 1;
            return HttpException.unavailable(
                    "The model '" + name + "' cannot be used: " + failure + ". It is tried again for a request after "
                            + seconds + (seconds == 1 ? " second." : " seconds."),
                    seconds);
        }

        private void failWith(String why) {
            failure = why.endsWith(".") ? why.substring(0, why.length() - 1) : why;
            retryAt = nanoClock.getAsLong() + (FAILURE_PAUSE.toNanos() << Math.min(failures, MOST_DOUBLINGS));
            failures++;
        }

        private boolean wantedByClient() {
            return keepWanted || waiters.stream().anyMatch(waiter -> !waiter.background);
        }

        private long since(long nanos) {
            return nanoClock.getAsLong() - nanos;
        }

        @Override
        public String toString() {
            return name;
        }
    }

    /** The right to use a model. It stays loaded until the lease is closed. */
    public final class Lease implements AutoCloseable {
        private final Slot slot;
        private final M model;
        private final boolean background;
        private final boolean counts;
        private boolean over;

        private Lease(Slot slot, M model, boolean background) {
            this(slot, model, background, true);
        }

        /** @param counts whether the model counts as used */
        private Lease(Slot slot, M model, boolean background, boolean counts) {
            this.slot = slot;
            this.model = model;
            this.background = background;
            this.counts = counts;
            slot.leases++;
            slot.backgroundLeases += background ? 1 : 0;
        }

        /** The model. */
        public M model() {
            return model;
        }

        /** Ends the use. May be called more than once. */
        @Override
        public void close() {
            lock.lock();
            try {
                if (over) {
                    return;
                }
                over = true;
                slot.leases--;
                slot.backgroundLeases -= background ? 1 : 0;
                if (counts) {
                    slot.usedAt = nanoClock.getAsLong();
                    slot.usedByClientAt = background ? slot.usedByClientAt : slot.usedAt;
                }
                if (slot.leases == 0) {
                    changed.signalAll();
                }
            } finally {
                lock.unlock();
            }
        }
    }

    /** A request that waits for a model. */
    private final class Waiter {
        private final Slot slot;
        private final boolean background;
        private final Duration wait;
        private final long deadline;
        private final Condition told = lock.newCondition();

        // Guarded by the lock.
        private @Nullable Lease lease;
        private @Nullable HttpException refusal;
        private boolean gone;

        Waiter(Slot slot, boolean background, Duration wait) {
            this.slot = slot;
            this.background = background;
            this.wait = wait;
            deadline = nanoClock.getAsLong() + wait.toNanos();
        }

        Lease await() throws InterruptedException {
            lock.lock();
            try {
                while (lease == null && refusal == null && !gone) {
                    long left = deadline - nanoClock.getAsLong();
                    if (left <= 0) {
                        slot.keepWanted |= !background;
                        ModelSource<M> source = slot.source;
                        int seconds = source != null && slot.need.bytes() > 0 ? source.secondsLeft() : RETRY_SECONDS;
                        throw HttpException.unavailable(
                                "The model '" + slot.name + "' was not loaded within " + wait.toSeconds()
                                        + " s: it waits for memory that others use, or is being loaded. Try again later.",
                                seconds);
                    }
                    var _ = told.awaitNanos(left);
                }
                if (refusal != null) {
                    throw refusal;
                }
                Lease got = lease;
                if (got == null) {
                    throw HttpException.unavailable("The client has closed its connection.");
                }
                lease = null; // it is the caller's now
                return got;
            } finally {
                forget(this);
                lock.unlock();
            }
        }

        /** The client has left. */
        void leave() {
            lock.lock();
            try {
                gone = true;
                told.signalAll();
            } finally {
                lock.unlock();
            }
        }
    }

    private void forget(Waiter waiter) {
        waiter.slot.waiters.remove(waiter);
        if (waiter.lease != null) {
            waiter.lease.close();
        }
        changed.signalAll(); // perhaps nobody wants the model any more
    }

    private void checkOpen() {
        if (closed) {
            throw HttpException.unavailable("The server is shutting down and accepts no new requests.");
        }
    }

    private void want(Slot slot) {
        if (slot.state != State.DRAINING && slot.state != State.LOADING) {
            wanted.add(slot);
        }
        changed.signalAll();
    }

    /**
     * Adds a model that is loaded when a request asks for it.
     *
     * @param name for messages
     * @param idle how long it stays when nobody uses it; zero for as long as the memory is not needed
     */
    public Slot add(String name, ModelSource<M> source, Duration idle) {
        return add(new Slot(name, source, idle));
    }

    /** Adds a model that is there, takes nothing of the budget and stays. */
    public Slot addLoaded(String name, M model) {
        Slot slot = new Slot(name, null, Duration.ZERO);
        slot.model = model;
        slot.state = State.READY;
        return add(slot);
    }

    private Slot add(Slot slot) {
        lock.lock();
        try {
            slots.add(slot);
            return slot;
        } finally {
            lock.unlock();
        }
    }

    /** Memory that all models together may take. */
    public ModelSource.Need budget() {
        return budget;
    }

    /** Memory that all models together take now. */
    public ModelSource.Need used() {
        lock.lock();
        try {
            return used;
        } finally {
            lock.unlock();
        }
    }

    /** The most memory that all models together have taken at a time. */
    public ModelSource.Need mostUsed() {
        lock.lock();
        try {
            return mostUsed;
        } finally {
            lock.unlock();
        }
    }

    /** Looks at the clock again, which a test has turned. */
    void wake() {
        lock.lock();
        try {
            changed.signalAll();
            slots.forEach(slot -> slot.waiters.forEach(waiter -> waiter.told.signalAll()));
        } finally {
            lock.unlock();
        }
    }

    /** Loads no more models, and refuses requests that wait for one. Those that have a lease go on. */
    public void stop() {
        lock.lock();
        try {
            if (closed) {
                return;
            }
            closed = true;
            HttpException refusal =
                    HttpException.unavailable("The server is shutting down and did not load the model.");
            for (Slot slot : slots) {
                slot.waiters.forEach(waiter -> refuse(waiter, refusal));
                if (slot.state == State.LOADING && slot.source != null) {
                    slot.source.cancel();
                }
            }
            changed.signalAll();
        } finally {
            lock.unlock();
        }
    }

    /** Stops, and unloads all models. The caller has ended the requests that use them: it waits for their leases. */
    @Override
    public void close() {
        stop();
        boolean interrupted = false;
        while (thread.isAlive()) {
            try {
                thread.join();
            } catch (InterruptedException e) {
                interrupted = true; // keep waiting: requests still use the models
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private static void refuse(ModelPool<?>.Waiter waiter, HttpException refusal) {
        if (waiter.refusal == null) { // a load that is cancelled for this reason fails, too
            waiter.refusal = refusal;
        }
        waiter.told.signalAll();
    }

    // ── the thread "models"; it holds the lock except while it reads files, loads and unloads
    // ──────────────────────────

    private void work() {
        lock.lock();
        try {
            while (!closed) {
                wanted.removeIf(slot -> slot.waiters.isEmpty() && !slot.keepWanted);
                if (!leaveDrained() && !loadNext()) {
                    var _ = changed.awaitNanos(untilIdle());
                }
            }
            for (Slot slot : slots) {
                while (slot.model != null && slot.source != null) {
                    if (slot.leases == 0) {
                        unload(slot);
                    } else {
                        changed.await();
                    }
                }
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt(); // nobody does; the thread ends
        } finally {
            lock.unlock();
        }
    }

    /** Unloads a model that nobody uses and that has been idle for long, or broke. Returns whether there was one. */
    private boolean leaveDrained() {
        for (Slot slot : slots) {
            boolean idle =
                    slot.state == State.READY && !slot.stay.isZero() && slot.since(slot.usedAt) >= slot.stay.toNanos();
            if (slot.model != null
                    && slot.source != null
                    && slot.leases == 0
                    && (idle || slot.state == State.DRAINING)) {
                unload(slot);
                return true;
            }
        }
        return false;
    }

    /** Nanoseconds until the next model has been idle for long. */
    private long untilIdle() {
        long least = FOREVER.toNanos();
        for (Slot slot : slots) {
            if (slot.state == State.READY && slot.source != null && slot.leases == 0 && !slot.stay.isZero()) {
                least = Math.min(least, slot.stay.toNanos() - slot.since(slot.usedAt));
            }
        }
        return least;
    }

    /** The model that is to be loaded next: the first that a client waits for, else the first; null if there is none. */
    private @Nullable Slot next() {
        for (Slot slot : wanted) {
            if (slot.wantedByClient()) {
                return slot;
            }
        }
        return wanted.isEmpty() ? null : wanted.getFirst();
    }

    /** Loads a model that is wanted. Returns whether there was one. */
    private boolean loadNext() throws InterruptedException {
        Slot slot = next();
        if (slot == null) {
            return false;
        }
        slot.state = State.LOADING;
        ModelSource.Need need;
        try {
            need = need(slot);
        } catch (RuntimeException | Error e) { // of any kind: the waiting requests are told, and other models go on
            fail(slot, e);
            return true;
        }
        if (makeRoom(slot, need)) {
            load(slot, need);
        } else {
            slot.state = slot.failure.isEmpty() ? State.ABSENT : State.FAILED;
        }
        return true;
    }

    private ModelSource<M> source(Slot slot) {
        ModelSource<M> source = slot.source;
        if (source == null) {
            throw new IllegalStateException("a model that is always there is wanted");
        }
        return source;
    }

    /**
     * The memory that a model will take.
     *
     * @throws RuntimeException if it cannot be used
     */
    private ModelSource.Need need(Slot slot) {
        ModelSource<M> source = source(slot);
        ModelSource.Need need = unlocked(source::need);
        if (!need.fits(budget)) {
            throw new IllegalArgumentException("it takes " + need.bytes() + " bytes, and " + need.heapBytes()
                    + " of the Java heap, but all models"
                    + " together may take " + budget.bytes() + " bytes, and " + budget.heapBytes()
                    + " of the heap: give it fewer KV pages or a shorter context, or raise the memory");
        }
        return need;
    }

    /** Loads a model that has room. */
    private void load(Slot slot, ModelSource.Need need) {
        ModelSource<M> source = source(slot);
        slot.state = State.LOADING;
        slot.need = need;
        used = used.plus(need);
        mostUsed = new ModelSource.Need(
                Math.max(mostUsed.bytes(), used.bytes()), Math.max(mostUsed.heapBytes(), used.heapBytes()));
        long began = nanoClock.getAsLong();
        try {
            slot.model = unlocked(source::load);
        } catch (RuntimeException | Error e) { // of any kind, as above
            used = used.minus(need);
            slot.need = ModelSource.Need.NONE;
            fail(slot, e);
            return;
        }
        wanted.remove(slot);
        slot.keepWanted = false;
        slot.state = State.READY;
        slot.loads++;
        slot.failures = 0;
        slot.failure = "";
        slot.readyAt = nanoClock.getAsLong();
        slot.usedAt = slot.readyAt;
        slot.loadNanos = slot.readyAt - began;
        LOG.log(
                Level.INFO,
                "the model {0} is loaded: all models take {1} of {2} bytes",
                slot.name,
                Long.toString(used.bytes()),
                Long.toString(budget.bytes()));
        grant(slot);
    }

    /** Tells the requests that wait for a model that it cannot be loaded. */
    private void fail(Slot slot, Throwable fault) {
        wanted.remove(slot);
        slot.keepWanted = false;
        String why = fault.getMessage() == null ? fault.toString() : fault.getMessage();
        LOG.log(Level.WARNING, "the model {0} cannot be loaded: {1}", slot.name, why);
        slot.state = State.FAILED;
        slot.failWith(why);
        slot.waiters.forEach(waiter -> refuse(waiter, slot.failed()));
    }

    /** Gives each request that waits for a model its lease. */
    private void grant(Slot slot) {
        M loaded = slot.model;
        if (loaded == null) {
            return;
        }
        for (Waiter waiter : slot.waiters) {
            if (!waiter.gone && waiter.refusal == null && waiter.lease == null) {
                waiter.lease = new Lease(slot, loaded, waiter.background);
                waiter.told.signalAll();
            }
        }
    }

    /**
     * Unloads others until a model has room.
     *
     * @return false if it need not be loaded now: nobody waits for it any more, or a client waits for another one
     */
    private boolean makeRoom(Slot slot, ModelSource.Need need) throws InterruptedException {
        Slot draining = null;
        Overtaking overtaking = new Overtaking(slot);
        try {
            while (!closed && wanted.contains(slot)) {
                if (used.plus(need).fits(budget)) {
                    return true;
                }
                if (slot.waiters.isEmpty() && !slot.keepWanted) {
                    return false;
                }
                if (!slot.wantedByClient() && wanted.stream().anyMatch(Slot::wantedByClient)) {
                    return false;
                }
                if (leaveDrained()) {
                    draining = draining != null && draining.model == null ? null : draining;
                    continue;
                }
                Slot victim = victim(slot.wantedByClient(), true);
                if (victim != null) {
                    unload(victim);
                    continue;
                }
                if (draining == null) {
                    draining = victim(slot.wantedByClient(), false);
                    if (draining != null) {
                        draining.state = State.DRAINING;
                    }
                }
                if (overtaking.loadOne()) {
                    continue;
                }
                var _ = changed.awaitNanos(
                        draining != null ? untilIdle() : Math.min(untilIdle(), untilTurnEnds(slot.wantedByClient())));
            }
            return false;
        } finally {
            if (draining != null
                    && draining.state == State.DRAINING
                    && draining.failure.isEmpty()
                    && draining.model != null) {
                draining.state = State.READY; // it need not leave
                grant(draining);
            }
        }
    }

    /**
     * Loads other models that have room while one waits for memory. Each may do so once, and only if it was not there when the
     * wait began: else two models that others use in turn could keep the memory from the one that waits.
     */
    private final class Overtaking {
        private final Slot waiting;
        private final Set<Slot> over = new HashSet<>();
        private final Map<Slot, ModelSource.Need> slotToNeed = new HashMap<>();

        Overtaking(Slot waiting) {
            this.waiting = waiting;
            over.add(waiting);
            slots.stream().filter(slot -> slot.model != null).forEach(over::add);
        }

        /** Loads a model that has room. Returns whether there was one, or one that failed. */
        boolean loadOne() {
            for (Slot slot : List.copyOf(wanted)) {
                boolean mayOvertake = slot.wantedByClient() || !waiting.wantedByClient();
                if (over.contains(slot) || !mayOvertake || slot.waiters.isEmpty()) {
                    continue;
                }
                ModelSource.Need known = slotToNeed.get(slot);
                if (known != null && !used.plus(known).fits(budget)) {
                    continue;
                }
                try {
                    ModelSource.Need need = need(slot); // without the lock, so all may have changed
                    slotToNeed.put(slot, need);
                    if (!closed && wanted.contains(slot) && used.plus(need).fits(budget)) {
                        over.add(slot);
                        load(slot, need);
                    }
                } catch (RuntimeException | Error e) { // of any kind: the waiting requests are told
                    over.add(slot);
                    fail(slot, e);
                }
                return true;
            }
            return false;
        }
    }

    /**
     * A model that leaves for another one: of those that nobody uses the one unused for longest, or of those in use the one
     * that has been ready for longest. Null if there is none now.
     */
    private @Nullable Slot victim(boolean forClient, boolean idle) {
        Slot best = null;
        for (Slot slot : slots) {
            if (slot.state != State.READY || slot.source == null || idle != (slot.leases == 0)) {
                continue;
            }
            if (untilVictim(slot, forClient) > 0) {
                continue;
            }
            if (best == null
                    || (idle
                            ? slot.since(slot.usedAt) > best.since(best.usedAt)
                            : slot.since(slot.readyAt) > best.since(best.readyAt))) {
                best = slot;
            }
        }
        return best;
    }

    /** Nanoseconds until a ready model may be asked to leave; not positive if it may now. */
    private long untilVictim(Slot slot, boolean forClient) {
        boolean usedByClients = slot.leases > slot.backgroundLeases;
        if (forClient) {
            return usedByClients ? turn(slot) - slot.since(slot.readyAt) : 0;
        }
        if (usedByClients) {
            return FOREVER.toNanos();
        }
        long turn = slot.leases == 0 ? 0 : turn(slot) - slot.since(slot.readyAt);
        return Math.max(turn, backgroundIdle.toNanos() - slot.since(slot.usedByClientAt));
    }

    private long turn(Slot slot) {
        return Math.max(LEAST_TURN.toNanos(), TURNS_OF_LOADING * slot.loadNanos);
    }

    private long untilTurnEnds(boolean forClient) {
        long least = FOREVER.toNanos();
        for (Slot slot : slots) {
            if (slot.state == State.READY && slot.source != null) {
                least = Math.min(least, Math.max(1, untilVictim(slot, forClient)));
            }
        }
        return least;
    }

    /** Frees a model without leases. */
    private void unload(Slot slot) {
        M model = slot.model;
        ModelSource<M> source = slot.source;
        if (model == null || source == null) {
            throw new IllegalStateException("nothing to unload: " + slot);
        }
        slot.state = State.DRAINING;
        slot.model = null; // nobody gets it from now on
        try {
            unlocked(() -> {
                source.unload(model);
                return true;
            });
        } catch (RuntimeException | Error e) { // the thread goes on: other models need it
            LOG.log(Level.ERROR, "the model " + slot.name + " did not unload cleanly", e);
        }
        used = used.minus(slot.need);
        slot.need = ModelSource.Need.NONE;
        slot.stay = slot.idle;
        slot.state = slot.failure.isEmpty() ? State.ABSENT : State.FAILED;
        LOG.log(
                Level.INFO,
                "the model {0} is unloaded: all models take {1} of {2} bytes",
                slot.name,
                Long.toString(used.bytes()),
                Long.toString(budget.bytes()));
        if (slot.state == State.FAILED) {
            slot.waiters.forEach(waiter -> refuse(waiter, slot.failed()));
        } else if (!slot.waiters.isEmpty()) {
            wanted.add(slot);
        }
    }

    /** Work without the lock. */
    @FunctionalInterface
    private interface Work<T> {
        T run();
    }

    private <T> T unlocked(Work<T> work) {
        lock.unlock();
        try {
            return work.run();
        } finally {
            lock.lock();
        }
    }
}
