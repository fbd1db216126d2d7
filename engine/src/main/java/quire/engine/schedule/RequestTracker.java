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
import quire.engine.PrefixCacheStats;

/**
 * Accepts or refuses requests, counts them by state, and collects the engine's statistics. Every change happens under
 * one lock, so at every moment
 *
 * <pre>started = finished (over all reasons) + running + waiting</pre>
 *
 * A request's end is counted before its stream ends. A request is checked and put into the inbox under the same lock,
 * so none is accepted after the engine closes.
 *
 * <p>Thread-safe. The lock is held for some dozen instructions, a few times a request and once a step, and never while
 * the model computes.
 */
public final class RequestTracker {
    /**
     * Factor by which each step reduces the weight of earlier steps in the measured speed: about the last 30 steps
     * count.
     */
    private static final double DECAY = 0.97;

    private static final int MAX_RETRY_SECONDS = 600;

    /** Whether requests are accepted. */
    private enum Admission {
        OPEN,
        DRAINING,
        CLOSED,
        BROKEN
    }

    private final ReentrantLock lock = new ReentrantLock();
    private final Condition empty = lock.newCondition();
    private final int maxQueuedRequests;
    private final long maxQueuedTokens;
    private final KvPages pages;
    private final DraftSource drafts;
    private final Map<FinishReason, Long> finished = new EnumMap<>(FinishReason.class);

    private Admission admission = Admission.OPEN;
    private int running;
    private int waiting;
    private long waitingTokens;
    // Of the pages, when the last step or request ended.
    private int usedPages;
    private int cachedPages;
    private long evictedPages;
    private long started;
    private long preemptions;
    private long promptTokens;
    private long generationTokens;
    private long queriedTokens;
    private long hitTokens;
    private long steps;
    private double recentTokens;
    private double recentNanos;

    private volatile boolean closed;
    private volatile @Nullable Throwable failure;

    RequestTracker(EngineConfig config, KvPages pages, DraftSource drafts) {
        this.drafts = drafts;
        maxQueuedRequests = config.maxQueuedRequests();
        maxQueuedTokens = config.maxQueuedTokens();
        this.pages = pages;
        for (FinishReason reason : FinishReason.values()) {
            finished.put(reason, 0L);
        }
    }

    /**
     * Accepts a request and puts it into the inbox. A prompt that is longer than the whole queue is accepted when no
     * other request waits; otherwise it could never be served.
     *
     * @throws OverloadedException if the queue is full
     * @throws IllegalStateException if the engine is draining, closed or broken
     */
    void accept(Sequence sequence, Queue<Sequence> inbox) {
        lock.lock();
        try {
            switch (admission) {
                case OPEN -> {}
                case DRAINING -> throw new IllegalStateException("the engine is draining and takes no new requests");
                case CLOSED -> throw new IllegalStateException("the engine is closed");
                case BROKEN -> throw new IllegalStateException("the engine is broken: " + failure, failure);
            }
            if (waiting >= maxQueuedRequests) {
                throw new OverloadedException(
                        "the queue is full: " + waiting + " requests wait already", retryAfterSeconds());
            }
            if (waitingTokens > 0 && waitingTokens + sequence.promptLength > maxQueuedTokens) {
                throw new OverloadedException(
                        "the queue is full: " + waitingTokens + " prompt tokens wait already, and "
                                + sequence.promptLength + " more would exceed its " + maxQueuedTokens,
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

    /** How long the waiting prompts will take at the speed of the last steps. */
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
    void finish(Sequence sequence, boolean wasRunning, FinishReason reason) {
        lock.lock();
        try {
            if (wasRunning) {
                running--;
            } else {
                waiting--;
                waitingTokens -= sequence.promptLength;
            }
            finished.merge(reason, 1L, Long::sum);
            countPages();
            if (running + waiting == 0) {
                empty.signalAll();
            }
        } finally {
            lock.unlock();
        }
    }

    private void countPages() {
        usedPages = pages.used();
        cachedPages = pages.cached();
        evictedPages = pages.evictions();
    }

    /** Prompt tokens were looked up in the prefix cache for the first time, and some were found. */
    void lookUp(int queried, int hit) {
        lock.lock();
        try {
            queriedTokens += queried;
            hitTokens += hit;
        } finally {
            lock.unlock();
        }
    }

    /** A step was executed. */
    void step(int tokens, int newPromptTokens, int newGenerationTokens, long nanos) {
        lock.lock();
        try {
            steps++;
            drafts.countStep();
            promptTokens += newPromptTokens;
            generationTokens += newGenerationTokens;
            countPages();
            recentTokens = recentTokens * DECAY + tokens;
            recentNanos = recentNanos * DECAY + nanos;
        } finally {
            lock.unlock();
        }
    }

    /** Refuses requests from now on. */
    public void drain() {
        lock.lock();
        try {
            if (admission == Admission.OPEN) {
                admission = Admission.DRAINING;
            }
        } finally {
            lock.unlock();
        }
    }

    /** Refuses requests from now on, and makes the engine thread end. */
    public void close() {
        lock.lock();
        try {
            if (admission != Admission.BROKEN) {
                admission = Admission.CLOSED;
            }
            closed = true;
        } finally {
            lock.unlock();
        }
    }

    /** Refuses requests from now on, because the engine failed. */
    void fail(Throwable cause) {
        lock.lock();
        try {
            failure = cause;
            admission = Admission.BROKEN;
            empty.signalAll();
        } finally {
            lock.unlock();
        }
    }

    /** Whether {@link #close} was called. */
    boolean isClosed() {
        return closed;
    }

    /** The failure that stopped the engine; null if it has not failed. */
    public @Nullable Throwable failure() {
        return failure;
    }

    /**
     * Waits until all requests have ended or the engine has failed; false if that takes longer than {@code nanos}.
     *
     * @throws InterruptedException if interrupted while waiting
     */
    public boolean awaitEmpty(long nanos) throws InterruptedException {
        long left = nanos;
        lock.lockInterruptibly();
        try {
            while (running + waiting > 0 && admission != Admission.BROKEN) {
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

    /**
     * Waits until all requests have ended or the engine has failed.
     *
     * @throws InterruptedException if interrupted while waiting
     */
    public void awaitEmpty() throws InterruptedException {
        while (!awaitEmpty(TimeUnit.DAYS.toNanos(1))) {
            // wait for another day
        }
    }

    /**
     * Compares the counts with what the scheduler has. A request in the inbox counts as waiting here, and the scheduler
     * does not have it yet.
     *
     * @throws IllegalStateException if they differ
     */
    void checkIntegrity(int runningNow, int waitingNow) {
        EngineStats stats = stats();
        if (stats.running() != runningNow || stats.waiting() < waitingNow || stats.usedPages() != pages.used()) {
            throw new IllegalStateException("the tracker has " + stats + ", but the scheduler has " + runningNow
                    + " running, " + waitingNow + " waiting and " + pages.used() + " pages in use");
        }
        if (stats.started() != stats.finishedTotal() + stats.running() + stats.waiting()) {
            throw new IllegalStateException("started is not finished + running + waiting: " + stats);
        }
    }

    /** The statistics at this moment. */
    public EngineStats stats() {
        lock.lock();
        try {
            return new EngineStats(
                    running,
                    waiting,
                    usedPages,
                    pages.total(),
                    started,
                    finished,
                    preemptions,
                    promptTokens,
                    generationTokens,
                    steps,
                    drafts.stats(),
                    new PrefixCacheStats(queriedTokens, hitTokens, evictedPages, cachedPages));
        } finally {
            lock.unlock();
        }
    }
}
