package quire.tensor;

import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * A fixed team of threads that execute one task together (SPMD). Every worker computes its own share, fixed or
 * {@linkplain #claim() claimed}, and waits for the others at each {@link #barrier}. Worker 0 is the thread that calls
 * {@link #run}.
 *
 * <p>A waiting worker first spins, then parks. At a barrier it spins for some tens of microseconds: about the usual
 * time between two barriers of a step, and about the cost of parking and waking. Between two steps it spins for some
 * hundred microseconds. A parked team uses no CPU time.
 *
 * <p>If there are fewer free cores than workers, a spinning worker uses a core that another worker needs. So after a
 * long spin that ended in parking, the next wait spins only briefly. If the long spin after it fails too, the next 3
 * waits spin only briefly, then 7, up to {@link #MAX_SKIPPED}. A successful long spin resets this.
 *
 * <p>Workers arrive at a barrier in groups of {@value #GROUP}; the last of each group arrives for it. Cores change a counter
 * one after another, and each of them has to fetch its cache line from the one before, so a counter for all workers would
 * bind a large team:
 *
 * <pre>
 *   worker    0 1 … 7    8 9 … 15    …    56 57 … 63
 *             └──┬──┘    └───┬──┘         └────┬───┘       eight counters, at the same time
 *                └───────────┴──────┬──────────┘           one counter of groups
 *                                 phase                    all wait for its next value
 * </pre>
 *
 * <p>Measured with two workers on two virtual cores of a Zen 4: a barrier takes 105 ns if both workers have a core, a
 * {@link #run} 200 ns. Nothing allocates after construction.
 */
public final class Workers implements AutoCloseable {
    /** Spins before parking. One spin takes 20 to 50 ns on current x86-64. */
    private static final int SPINS = 2_000;

    /**
     * Spins of a worker between two steps: some hundred microseconds, in which the next step of a busy engine starts.
     * Steps of fewer workers, such as those of a small draft model, do not restart the count.
     */
    private static final int IDLE_SPINS = 10_000;

    /** Spins of a wait that does not try a long spin: enough if the other workers are almost at the barrier. */
    private static final int FEW_SPINS = 50;

    /** Largest number of successive waits that do not try a long spin. */
    private static final int MAX_SKIPPED = 31;

    /** Workers that count their arrivals together. With 64 workers a larger or smaller group makes the longest way longer. */
    static final int GROUP = 8;

    /** In {@link #counts}: the workers that have ended the run, the units taken, the groups that have arrived. */
    private static final int FINISHED = 0;

    private static final int CLAIMED = 1;
    private static final int GROUPS = 2;

    /** In {@link #counts}: the workers of the first group that have arrived; the other groups follow. */
    private static final int FIRST_GROUP = 3;

    /** In {@link #counts}: distance of two counters, so that they are on separate pairs of cache lines. */
    private static final int COUNT_STRIDE = 32;

    /** In {@link #shares}: bits of the number of units taken. */
    private static final int TAKEN_BITS = 20;

    private static final long TAKEN_MASK = (1L << TAKEN_BITS) - 1;
    /** In {@link #shares}: distance of two workers' numbers, so that they are on separate pairs of cache lines. */
    private static final int SHARE_STRIDE = 16;

    private static final int TEAM_BITS = 16;
    private static final long TEAM_MASK = (1L << TEAM_BITS) - 1;

    private final Member[] members;
    private final AtomicIntegerArray counts;
    /**
     * Counts the barriers, and the runs, so that no unit of an earlier run counts as taken. It stays below 2⁴⁴ for years.
     */
    private volatile long phase;
    /** For each worker: the phase in which a unit of its share was last taken, and in the lowest bits how many were. */
    private final AtomicLongArray shares;
    /** The number of runs so far, and in the lowest {@value #TEAM_BITS} bits the number of workers of the last run. */
    private volatile long round;

    /** Number of workers of the current run; published by {@link #round}. */
    private int active;

    private volatile boolean closed;
    private volatile @Nullable Throwable failure;
    private @Nullable Task task;

    /**
     * Starts {@code count − 1} daemon threads named {@code worker-1}, {@code worker-2} ….
     *
     * @param count at least 1
     */
    public Workers(int count) {
        if (count < 1 || count > TEAM_MASK) {
            throw new IllegalArgumentException("a team has 1 to " + TEAM_MASK + " workers, not " + count);
        }
        members = new Member[count];
        counts = new AtomicIntegerArray((FIRST_GROUP + groups(count)) * COUNT_STRIDE);
        shares = new AtomicLongArray(count * SHARE_STRIDE);
        active = count;
        for (int i = 0; i < count; i++) {
            members[i] = new Member();
        }
        for (int i = 1; i < count; i++) {
            int worker = i;
            Thread.ofPlatform().daemon().name("worker-" + worker).start(() -> work(worker));
        }
    }

    /** The task that each worker runs. */
    @FunctionalInterface
    public interface Task {
        /** Computes this worker's share; {@code worker} is in {@code [0, active)}. */
        void run(int worker);
    }

    /** Number of workers, including the calling thread. */
    public int count() {
        return members.length;
    }

    /** Number of workers that run the current task; to be called inside a task. */
    public int active() {
        return active;
    }

    /** Runs {@code task} on every worker, as {@link #run(Task, int)}. */
    public void run(Task task) {
        run(task, members.length);
    }

    /**
     * Runs {@code task} on the first {@code team} workers and returns when all of them are done. The other workers are
     * not woken. If a worker throws, the others leave their barriers, and this method throws the first failure; the
     * workers stay usable. Not reentrant; one caller at a time.
     *
     * @param team number of workers, from 1 (only the calling thread) to {@link #count}
     */
    public void run(Task task, int team) {
        if (closed) {
            throw new IllegalStateException("the workers are closed");
        }
        if (team < 1 || team > members.length) {
            throw new IllegalArgumentException(team + " of " + members.length + " workers");
        }
        this.task = task;
        active = team;
        for (int i = 0; i < FIRST_GROUP + groups(team); i++) {
            counts.set(i * COUNT_STRIDE, 0); // a failed run leaves some
        }
        long last = phase; // no worker runs
        phase = last + 1;
        failure = null;
        long next = ((round >>> TEAM_BITS) + 1) << TEAM_BITS | team; // only run() writes it
        round = next; // publishes the lines above
        wakeAll();
        runGuarded(task, 0);
        int maxSpins = members[0].spins();
        int waited = 0;
        for (; counts.get(FINISHED * COUNT_STRIDE) < team - 1; waited++) {
            pause(0, waited, maxSpins, Wait.FINISH, 0);
        }
        members[0].recordWait(waited, maxSpins);
        this.task = null;
        Throwable thrown = failure;
        if (thrown != null) {
            switch (thrown) {
                case RuntimeException e -> throw e;
                case Error e -> throw e;
                default -> throw new IllegalStateException(thrown);
            }
        }
    }

    /**
     * Waits, inside a task, until every worker is here. Writes before the barrier are visible to all workers after it.
     */
    public void barrier(int worker) {
        long before = phase;
        if (active == 1) {
            counts.setPlain(CLAIMED * COUNT_STRIDE, 0);
            phase = before + 1;
            return;
        }
        if (isLast(worker)) {
            counts.setPlain(CLAIMED * COUNT_STRIDE, 0);
            phase = before + 1;
            wakeAll();
            return;
        }
        int maxSpins = members[worker].spins();
        int waited = 0;
        for (; phase == before; waited++) {
            if (failure != null) {
                throw new Abandoned();
            }
            pause(worker, waited, maxSpins, Wait.BARRIER, before);
        }
        members[worker].recordWait(waited, maxSpins);
    }

    private static int groups(int workers) {
        return (workers + GROUP - 1) / GROUP;
    }

    /** Counts the arrival of a worker. Returns whether all are there; the counters of arrivals are 0 then. */
    private boolean isLast(int worker) {
        int group = worker / GROUP;
        int counter = (FIRST_GROUP + group) * COUNT_STRIDE;
        if (counts.incrementAndGet(counter) < Math.min(GROUP, active - group * GROUP)) {
            return false;
        }
        counts.setPlain(counter, 0); // nobody of the group goes on before the phase changes, which publishes this
        int groups = groups(active);
        if (groups == 1) {
            return true;
        }
        if (counts.incrementAndGet(GROUPS * COUNT_STRIDE) < groups) {
            return false;
        }
        counts.setPlain(GROUPS * COUNT_STRIDE, 0);
        return true;
    }

    /**
     * Takes the next unit of work, inside a task. The workers together get 0, 1, 2 …, and every barrier restarts the
     * count. Use it for units that any worker can compute in any order. It balances the load if a core is shared with
     * other processes or units differ in cost.
     */
    public int claim() {
        return counts.getAndIncrement(CLAIMED * COUNT_STRIDE);
    }

    /**
     * Takes successive units of {@code units}, inside a task; each worker has a share of them. A worker takes half of what
     * is left of its own share, or the last unit, in ascending order; then in the same way what is left of the shares of
     * others. Every barrier restarts the count. Use it for units that follow each other in memory: a worker that reads on
     * where it has stopped keeps the processor's prefetchers going, and a claim costs a processor that reads ahead some
     * hundred nanoseconds, in which it reads nothing. The last claims are small, so that workers end together. All calls
     * between two barriers must have the same {@code units}.
     *
     * @param units total number of units, at most 2²⁰ for each worker
     * @return the units, see {@link #firstUnit} and {@link #endUnit}; −1 if all are taken
     */
    public long claim(int worker, int units) {
        long now = phase;
        for (int i = 0; i < active; i++) {
            int owner = worker + i < active ? worker + i : worker + i - active;
            int from = shareStart(units, 1, owner, active);
            long taken = take(owner, now, shareStart(units, 1, owner + 1, active) - from);
            if (taken >= 0) {
                return taken + ((long) from << Integer.SIZE | from);
            }
        }
        return -1;
    }

    /** The first of the units that {@link #claim(int, int)} has taken. */
    public static int firstUnit(long claimed) {
        return (int) (claimed >>> Integer.SIZE);
    }

    /** The end of the units that {@link #claim(int, int)} has taken. */
    public static int endUnit(long claimed) {
        return (int) claimed;
    }

    /** Takes half of what is left of the {@code count} units of a worker's share; −1 if all are taken. */
    private long take(int owner, long now, int count) {
        while (true) {
            long seen = shares.get(owner * SHARE_STRIDE);
            long taken = seen >>> TAKEN_BITS == now ? seen & TAKEN_MASK : 0;
            if (taken >= count) {
                return -1;
            }
            long end = taken + Math.max(1, (count - taken) / 2);
            if (shares.compareAndSet(owner * SHARE_STRIDE, seen, now << TAKEN_BITS | end)) {
                return taken << Integer.SIZE | end;
            }
        }
    }

    /**
     * Index of the first item of {@code worker}'s share if {@code items} are divided in units of {@code grain} items.
     * The share ends where the next worker's share starts.
     */
    public static int shareStart(int items, int grain, int worker, int workers) {
        long grains = (items + (long) grain - 1) / grain;
        return (int) Math.min(items, grains * worker / workers * grain);
    }

    /** Ends the threads. A task that is running is completed first. */
    @Override
    public void close() {
        closed = true;
        wakeAll();
    }

    private void work(int worker) {
        long seen = 0;
        int spins = 0;
        while (true) {
            long now = round;
            if (now == seen) {
                if (closed) {
                    return;
                }
                pause(worker, spins++, IDLE_SPINS, Wait.ROUND, seen);
                continue;
            }
            seen = now;
            // A run without this worker does not wait for it. So it must not access that run's state.
            if (worker < (now & TEAM_MASK)) {
                Task current = task;
                if (current != null) {
                    runGuarded(current, worker);
                }
                counts.incrementAndGet(FINISHED * COUNT_STRIDE);
                wake(0);
                spins = 0;
            }
        }
    }

    private void runGuarded(Task current, int worker) {
        try {
            current.run(worker);
        } catch (Abandoned e) {
            // another worker failed, and that failure is reported
        } catch (Throwable e) {
            synchronized (this) {
                if (failure == null) {
                    failure = e;
                }
            }
            wakeAll();
        }
    }

    /** The event that a worker waits for. */
    private enum Wait {
        ROUND,
        BARRIER,
        FINISH
    }

    private boolean isOver(Wait wait, long value) {
        return switch (wait) {
            case ROUND -> round != value || closed;
            case BARRIER -> phase != value || failure != null;
            case FINISH -> counts.get(FINISHED * COUNT_STRIDE) == active - 1;
        };
    }

    private void pause(int worker, int spins, int maxSpins, Wait wait, long value) {
        if (spins < maxSpins) {
            Thread.onSpinWait();
            return;
        }
        Member member = members[worker];
        member.parked = Thread.currentThread(); // before the last check, so that no wake-up is missed
        if (!isOver(wait, value)) {
            LockSupport.park(this);
        }
        member.parked = null;
    }

    private void wakeAll() {
        for (int i = 0; i < members.length; i++) {
            if (i < active || closed) {
                wake(i);
            }
        }
    }

    private void wake(int worker) {
        Thread parked = members[worker].parked;
        if (parked != null) {
            LockSupport.unpark(parked);
        }
    }

    /** The state of one worker. Other threads read only {@code parked}. */
    private static final class Member {
        volatile @Nullable Thread parked;
        /** Number of waits that spin only {@link #FEW_SPINS} before the next long spin, and its last start value. */
        private int toSkip;

        private int skipped;

        /** Number of spins of the next wait. */
        int spins() {
            return toSkip > 0 ? FEW_SPINS : SPINS;
        }

        /** Records a wait of {@code waited} pauses: the first {@code maxSpins} of them spun, the rest parked. */
        void recordWait(int waited, int maxSpins) {
            if (maxSpins < SPINS) {
                toSkip--;
            } else if (waited > SPINS) {
                skipped = Math.min(MAX_SKIPPED, 2 * skipped + 1);
                toSkip = skipped;
            } else {
                skipped = 0;
            }
        }
    }

    /** Ends the task of a worker after another worker failed. It has no stack trace, because it is never reported. */
    private static final class Abandoned extends RuntimeException {
        private static final long serialVersionUID = 1;

        Abandoned() {
            super(null, null, false, false);
        }
    }
}
