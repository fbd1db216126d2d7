package quire.tensor;

import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * A fixed team of threads that run one program together (SPMD): every worker runs the same task over its own static
 * share, or over the units that it {@linkplain #claim claims}, and meets the others at {@link #barrier}. Worker 0 is the thread
 * that calls {@link #run}.
 *
 * <p>Whoever waits for a colleague spins for some tens of microseconds, the usual distance of two barriers in a step and about
 * what it costs to park and be woken, and for the next step a few hundred; then it parks, so that an idle team costs nothing.
 * Where there are fewer free cores than workers, a spin only keeps a colleague from its core. So a spin that ended in parking is not repeated for the next
 * wait, and when it fails again not for the next 3, 7, … up to {@link #MOST_SKIPPED}; one that pays ends that.
 *
 * <p>Measured with two workers on two virtual cores of a Zen 4: a barrier that finds both on their cores takes 105 ns, a
 * {@link #run} 200 ns. Nothing here allocates after construction.
 */
public final class Workers implements AutoCloseable {
    /** Spins before parking; a spin is 20 to 50 ns on current x86-64. */
    private static final int SPINS = 2_000;

    /**
     * Spins of a worker that is out of work: some hundred microseconds, in which the next step comes when there is any. Steps by
     * fewer workers, such as those of a small draft model, do not begin the count anew.
     */
    private static final int IDLE_SPINS = 10_000;

    /** Spins where spinning did not pay of late: a colleague that is almost here is met. */
    private static final int FEW_SPINS = 50;

    /** Waits after which a spin is tried again at the latest. */
    private static final int MOST_SKIPPED = 31;

    private static final int TEAM_BITS = 16;
    private static final long TEAM_MASK = (1L << TEAM_BITS) - 1;

    private final Member[] members;
    private final AtomicInteger arrived = new AtomicInteger();
    private final AtomicInteger finished = new AtomicInteger();
    private final AtomicInteger claimed = new AtomicInteger();
    private volatile int phase;
    /** How many runs there were, above {@value #TEAM_BITS} bits that say how many workers the last of them has. */
    private volatile long round;

    /** Workers of the run under way; published by {@link #round}. */
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
        active = count;
        for (int i = 0; i < count; i++) {
            members[i] = new Member();
        }
        for (int i = 1; i < count; i++) {
            int worker = i;
            Thread.ofPlatform().daemon().name("worker-" + worker).start(() -> work(worker));
        }
    }

    /** What each worker runs. */
    @FunctionalInterface
    public interface Task {
        /** Runs this worker's share; {@code worker} is in {@code [0, count)}. */
        void run(int worker);
    }

    /** Number of workers, the calling thread included. */
    public int count() {
        return members.length;
    }

    /** Inside a task: number of workers that run it. */
    public int active() {
        return active;
    }

    /** Runs {@code task} on every worker: {@link #run(Task, int)}. */
    public void run(Task task) {
        run(task, members.length);
    }

    /**
     * Runs {@code task} on the first {@code team} workers and returns when all are done; the others sleep on. If a worker
     * throws, the others are released from their barriers and the first failure is thrown here; the team stays usable. Not
     * reentrant, one caller at a time.
     *
     * @param team from 1, which is the calling thread alone, to {@link #count}
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
        arrived.set(0);
        finished.set(0);
        claimed.set(0);
        failure = null;
        long next = ((round >>> TEAM_BITS) + 1) << TEAM_BITS | team; // only run() writes it
        round = next; // publishes the lines above
        wakeAll();
        runGuarded(task, 0);
        int most = members[0].spins();
        int waited = 0;
        for (; finished.get() < team - 1; waited++) {
            pause(0, waited, most, Wait.FINISH, 0);
        }
        members[0].learn(waited, most);
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

    /** Waits, inside a task, until every worker has come here; what was written before is visible after. */
    public void barrier(int worker) {
        if (active == 1) {
            claimed.setPlain(0);
            return;
        }
        int before = phase;
        if (arrived.incrementAndGet() == active) {
            arrived.set(0);
            claimed.set(0);
            phase = before + 1;
            wakeAll();
            return;
        }
        int most = members[worker].spins();
        int waited = 0;
        for (; phase == before; waited++) {
            if (failure != null) {
                throw new Abandoned();
            }
            pause(worker, waited, most, Wait.BARRIER, before);
        }
        members[worker].learn(waited, most);
    }

    /**
     * Takes the next unit of work, inside a task: 0, 1, 2 … over all workers, beginning anew at every barrier. Units that can be
     * computed in any order and by anyone are dealt out so where one worker may be slower than another, because a core is
     * shared with strangers or one unit is more work than the next.
     */
    public int claim() {
        return claimed.getAndIncrement();
    }

    /**
     * First item of {@code worker}'s share when {@code items} are split in whole grains of {@code grain}; its end is the
     * next worker's start.
     */
    public static int shareStart(int items, int grain, int worker, int workers) {
        long grains = (items + (long) grain - 1) / grain;
        return (int) Math.min(items, grains * worker / workers * grain);
    }

    /** Ends the threads; a task under way is finished first by its caller. */
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
            // Runs without this worker do not wait for it, so it touches nothing of them, and soon sleeps through them.
            if (worker < (now & TEAM_MASK)) {
                Task current = task;
                if (current != null) {
                    runGuarded(current, worker);
                }
                finished.incrementAndGet();
                wake(0);
                spins = 0;
            }
        }
    }

    private void runGuarded(Task current, int worker) {
        try {
            current.run(worker);
        } catch (Abandoned e) {
            // Another worker's failure brought this one home; that failure is the one to report.
        } catch (Throwable e) {
            synchronized (this) {
                if (failure == null) {
                    failure = e;
                }
            }
            wakeAll();
        }
    }

    /** What a waiter waits for. */
    private enum Wait {
        ROUND,
        BARRIER,
        FINISH
    }

    private boolean isOver(Wait wait, long value) {
        return switch (wait) {
            case ROUND -> round != value || closed;
            case BARRIER -> phase != value || failure != null;
            case FINISH -> finished.get() == active - 1;
        };
    }

    private void pause(int worker, int spins, int most, Wait wait, long value) {
        if (spins < most) {
            Thread.onSpinWait();
            return;
        }
        Member member = members[worker];
        member.parked = Thread.currentThread(); // before the last look, so that no wake-up is missed
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

    /** One worker; all but {@code parked} is its own affair. */
    private static final class Member {
        volatile @Nullable Thread parked;
        /** Waits that spin little before a long spin is tried again, and how many they were last time. */
        private int toSkip;

        private int skipped;

        /** How long to spin now. */
        int spins() {
            return toSkip > 0 ? FEW_SPINS : SPINS;
        }

        /** After a wait of {@code waited} turns of which at most {@code most} were spins, the rest parking. */
        void learn(int waited, int most) {
            if (most < SPINS) {
                toSkip--;
            } else if (waited > SPINS) {
                skipped = Math.min(MOST_SKIPPED, 2 * skipped + 1);
                toSkip = skipped;
            } else {
                skipped = 0;
            }
        }
    }

    /** Unwinds a worker whose colleague failed; carries no trace, for nobody reads it. */
    private static final class Abandoned extends RuntimeException {
        private static final long serialVersionUID = 1;

        Abandoned() {
            super(null, null, false, false);
        }
    }
}
