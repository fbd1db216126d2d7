package quire.engine.schedule;

import java.util.EnumMap;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;
import quire.engine.EngineConfig;
import quire.engine.EngineStats;
import quire.engine.FinishReason;
import quire.engine.OverloadedException;

/**
 * The engine's books: who came, who waits, who runs, who ended how. Each change of state is one entry under the lock, so
 * at every moment
 *
 * <pre>started = finished (over all reasons) + running + waiting</pre>
 *
 * and whoever sees a stream end finds that end in the books. It also holds the door: a request is accepted, and put into
 * the inbox, or refused under the same lock, so that nobody slips in behind a closing engine.
 *
 * <p>Held for some dozen instructions a request and once a step; never while the model computes.
 */
public final class RequestTracker {
    /** Weight of the past in the measured speed, a step: some 30 steps count. */
    private static final double DECAY = 0.97;

    private static final int MAX_RETRY_SECONDS = 600;

    /** Whether requests are let in. */
    private enum Door {
        OPEN,
        DRAINING,
        CLOSED,
        BROKEN
    }

    private final ReentrantLock lock = new ReentrantLock();
    private final Condition empty = lock.newCondition();
    private final int maxQueuedRequests;
    private final long maxQueuedTokens;
    private final int totalPages;
    private final DraftSource drafts;
    private final Map<FinishReason, Long> finished = new EnumMap<>(FinishReason.class);

    private Door door = Door.OPEN;
    private int running;
    private int waiting;
    private long waitingTokens;
    private int usedPages;
    private long started;
    private long preemptions;
    private long promptTokens;
    private long generationTokens;
    private long steps;
    private double recentTokens;
    private double recentNanos;

    private volatile boolean closed;
    private volatile @Nullable Throwable failure;

    RequestTracker(EngineConfig config, int totalPages, DraftSource drafts) {
        this.drafts = drafts;
        maxQueuedRequests = config.maxQueuedRequests();
        maxQueuedTokens = config.maxQueuedTokens();
        this.totalPages = totalPages;
        for (FinishReason reason : FinishReason.values()) {
            finished.put(reason, 0L);
        }
    }

    /**
     * Lets a request in, or refuses it. A prompt longer than the whole queue may be is let in when nobody waits: it has
     * to be served at some time.
     *
     * @throws OverloadedException if the queue is full
     * @throws IllegalStateException if the engine is draining, closed or broken
     */
    void accept(Sequence sequence, Queue<Sequence> inbox) {
        lock.lock();
        try {
            switch (door) {
                case OPEN -> {}
                case DRAINING -> throw new IllegalStateException("the engine is draining and takes no new requests");
                case CLOSED -> throw new IllegalStateException("the engine is closed");
                case BROKEN -> throw new IllegalStateException("the engine is broken: " + failure, failure);
            }
            if (waiting >= maxQueuedRequests) {
                throw new OverloadedException(
                        waiting + " requests wait already, as many as the queue holds", retryAfterSeconds());
            }
            if (waitingTokens > 0 && waitingTokens + sequence.promptLength > maxQueuedTokens) {
                throw new OverloadedException(
                        waitingTokens + " prompt tokens wait already; " + sequence.promptLength
                                + " more are over the queue's " + maxQueuedTokens,
                        retryAfterSeconds());
            }
            inbox.add(sequence);
            started++;
            waiting++;
            waitingTokens += sequence.promptLength;
        } finally {
            lock.unlock();
        }
    }

    /** Time for the waiting prompts at the speed of the last steps. */
    private int retryAfterSeconds() {
        double seconds = recentTokens > 0 ? waitingTokens * recentNanos / recentTokens / 1e9 : 1;
        return (int) Math.clamp(Math.ceil(seconds), 1, MAX_RETRY_SECONDS);
    }

    /** Waiting → running. */
    void run(Sequence sequence) {
        lock.lock();
        try {
            waiting--;
            waitingTokens -= sequence.promptLength;
            running++;
        } finally {
            lock.unlock();
        }
    }

    /** Running → waiting. */
    void preempt(Sequence sequence) {
        lock.lock();
        try {
            running--;
            waiting++;
            waitingTokens += sequence.promptLength;
            preemptions++;
        } finally {
            lock.unlock();
        }
    }

    /** Waiting or running → finished. */
    void finish(Sequence sequence, boolean wasRunning, FinishReason reason, int usedPagesNow) {
        lock.lock();
        try {
            if (wasRunning) {
                running--;
            } else {
                waiting--;
                waitingTokens -= sequence.promptLength;
            }
            finished.merge(reason, 1L, Long::sum);
            usedPages = usedPagesNow;
            if (running + waiting == 0) {
                empty.signalAll();
            }
        } finally {
            lock.unlock();
        }
    }

    /** A step was executed. */
    void step(int tokens, int newPromptTokens, int newGenerationTokens, int usedPagesNow, long nanos) {
        lock.lock();
        try {
            steps++;
            drafts.countStep();
            promptTokens += newPromptTokens;
            generationTokens += newGenerationTokens;
            usedPages = usedPagesNow;
            recentTokens = recentTokens * DECAY + tokens;
            recentNanos = recentNanos * DECAY + nanos;
        } finally {
            lock.unlock();
        }
    }

    /** Lets nobody in any more. */
    public void drain() {
        lock.lock();
        try {
            if (door == Door.OPEN) {
                door = Door.DRAINING;
            }
        } finally {
            lock.unlock();
        }
    }

    /** Lets nobody in any more and tells the engine thread to end. */
    public void close() {
        lock.lock();
        try {
            if (door != Door.BROKEN) {
                door = Door.CLOSED;
            }
            closed = true;
        } finally {
            lock.unlock();
        }
    }

    /** Lets nobody in any more and says why. */
    void breakDown(Throwable cause) {
        lock.lock();
        try {
            failure = cause;
            door = Door.BROKEN;
            empty.signalAll();
        } finally {
            lock.unlock();
        }
    }

    boolean isClosed() {
        return closed;
    }

    public @Nullable Throwable failure() {
        return failure;
    }

    /** Waits until nobody runs or waits, or the engine broke; false if that takes longer than {@code nanos}. */
    public boolean awaitEmpty(long nanos) throws InterruptedException {
        long left = nanos;
        lock.lockInterruptibly();
        try {
            while (running + waiting > 0 && door != Door.BROKEN) {
                if (left <= 0) {
                    return false;
                }
                left = empty.awaitNanos(left);
            }
            return true;
        } finally {
            lock.unlock();
        }
    }

    /** Waits until nobody runs or waits, or the engine broke. */
    public void awaitEmpty() throws InterruptedException {
        while (!awaitEmpty(TimeUnit.DAYS.toNanos(1))) {
            // A day is a pause for breath.
        }
    }

    /**
     * Compares the books with what the engine thread sees. Who sits in the inbox waits in the books alone.
     *
     * @throws IllegalStateException if they differ
     */
    void checkIntegrity(int runningNow, int waitingNow, int usedPagesNow) {
        EngineStats stats = stats();
        if (stats.running() != runningNow || stats.waiting() < waitingNow || stats.usedPages() != usedPagesNow) {
            throw new IllegalStateException("the books say " + stats + ", but " + runningNow + " run, " + waitingNow
                    + " wait and " + usedPagesNow + " pages are held");
        }
        if (stats.started() != stats.finishedTotal() + stats.running() + stats.waiting()) {
            throw new IllegalStateException("started is not finished + running + waiting: " + stats);
        }
    }

    public EngineStats stats() {
        lock.lock();
        try {
            return new EngineStats(
                    running,
                    waiting,
                    usedPages,
                    totalPages,
                    started,
                    finished,
                    preemptions,
                    promptTokens,
                    generationTokens,
                    steps,
                    drafts.stats());
        } finally {
            lock.unlock();
        }
    }
}
