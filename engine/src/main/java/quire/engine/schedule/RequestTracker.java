package quire.engine.schedule;

import java.math.BigDecimal;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import quire.engine.DiskTierStats;
import quire.engine.EngineConfig;
import quire.engine.EngineStats;
import quire.engine.FinishReason;
import quire.engine.OverloadedException;
import quire.engine.PrefixCacheStats;
import quire.engine.SavedStateStats;

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
    /** Client libraries ignore a longer time, and come back at once. */
    private static final int MAX_RETRY_SECONDS = 59;

    /** The queue is longer by 1/8 for the first request of each tenant, and by 1/8 for the background. */
    private static final int SPARE = 8;

    private static final double NANO = 1e-9;

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
    private final double maxQueueSeconds;
    private final KvPages pages;
    private final DraftSource drafts;
    private final @Nullable DiskTier disk;
    private final Map<FinishReason, Long> finished = new EnumMap<>(FinishReason.class);

    private Admission admission = Admission.OPEN;
    private int running;
    private int waiting;
    private final Map<String, Integer> tenantToWaiting = new HashMap<>();
    private long waitingTokens;
    // What of these is in the background.
    private int backgroundWaiting;
    private long backgroundTokens;
    // Of the pages and saved states, when the last step or request ended.
    private int usedPages;
    private int usedWindowPages;
    private int usedOverflowPages;
    private int cachedPages;
    private long evictedPages;
    private int usedStates;
    private long stateHits;
    private long writtenStates;
    private long unusedStates;
    private long started;
    private long preemptions;
    private long recomputedTokens;
    private long promptTokens;
    private long generationTokens;
    private long queriedTokens;
    private long hitTokens;
    private long steps;
    private final QueueSpeed queueSpeed = new QueueSpeed();
    /** The sum of {@link Sequence#queuedTokens} over the waiting requests that are not in the background. */
    private long queuedTokens;

    private volatile boolean closed;
    private volatile @Nullable Throwable failure;

    RequestTracker(EngineConfig config, KvPages pages, DraftSource drafts, @Nullable DiskTier disk) {
        this.disk = disk;
        this.drafts = drafts;
        maxQueuedRequests = config.maxQueuedRequests();
        maxQueuedTokens = config.maxQueuedTokens();
        maxQueueSeconds = config.maxQueueWait().toNanos() * NANO;
        this.pages = pages;
        for (FinishReason reason : FinishReason.values()) {
            finished.put(reason, 0L);
        }
    }

    /**
     * Accepts a request and puts it into the inbox. A prompt that is longer than the whole queue is accepted when no
     * other request waits; otherwise it could never be served. So is a request that would wait longer than allowed. A
     * tenant with nothing in the queue is accepted up to an eighth above the limits of requests and tokens, and however
     * long the others wait. The background has an eighth of the queue beside it, so that neither fills the queue of the other.
     *
     * @throws OverloadedException if the queue is full
     * @throws IllegalStateException if the engine is draining, closed or broken
     */
    void accept(Sequence sequence, Queue<Sequence> inbox) {
        accept(List.of(sequence), inbox);
    }

    /**
     * The same for the members of a beam search, of which the first one goes into the inbox.
     *
     * @throws OverloadedException if the queue has no room for all
     * @throws IllegalStateException if the engine is draining, closed or broken
     */
    void accept(List<Sequence> group, Queue<Sequence> inbox) {
        Sequence first = group.getFirst();
        Supplier<OverloadedException> refusal;
        lock.lock();
        try {
            switch (admission) {
                case OPEN -> {}
                case DRAINING -> throw new IllegalStateException("the engine is draining and takes no new requests");
                case CLOSED -> throw new IllegalStateException("the engine is closed");
                case BROKEN -> throw new IllegalStateException("the engine is broken: " + failure, failure);
            }
            refusal = first.isBackground()
                    ? refusalInBackground(group.size(), first.promptLength)
                    : refusal(first.tenantName, group.size(), first.promptLength);
            if (refusal == null) {
                for (Sequence sequence : group) {
                    started++;
                    sequence.queuedTokens = queueSpeed.tokens(sequence.promptLength, sequence.maxNewTokens);
                    sequence.expectedWait = queueSpeed.uncorrectedSeconds(queuedTokens);
                    enter(sequence);
                }
                inbox.add(first);
            }
        } finally {
            lock.unlock();
        }
        if (refusal != null) {
            throw refusal.get();
        }
    }

    /**
     * Refuses if {@link #accept} would refuse every request of a tenant now, however short.
     *
     * @throws OverloadedException if the queue is full
     */
    public void checkRoom(String tenant) {
        Supplier<OverloadedException> refusal;
        lock.lock();
        try {
            refusal = admission == Admission.OPEN ? refusal(tenant, 1, 1) : null;
        } finally {
            lock.unlock();
        }
        if (refusal != null) {
            throw refusal.get();
        }
    }

    /**
     * Why there is no room for a request; null if there is. The engine may wait for the lock, so the words are made
     * without it.
     */
    private @Nullable Supplier<OverloadedException> refusal(String tenant, int requests, int promptTokens) {
        // Who has nothing in the queue is served soon, however long others wait.
        boolean isNew = !tenantToWaiting.containsKey(tenant);
        int before = waiting - backgroundWaiting;
        long tokensBefore = waitingTokens - backgroundTokens;
        Supplier<OverloadedException> refusal = refusal(
                before,
                requests,
                limit(maxQueuedRequests, isNew),
                tokensBefore,
                promptTokens,
                limit(maxQueuedTokens, isNew));
        if (refusal != null) {
            return refusal;
        }
        double seconds = queueSpeed.seconds(queuedTokens);
        if (before > 0 && !isNew && maxQueueSeconds > 0 && seconds > maxQueueSeconds) {
            int retryAfter = retryAfterSeconds();
            return () -> new OverloadedException(
                    String.format(
                            Locale.ROOT,
                            "the queue is full: the requests in it need about %.1f s until they start, more than the %s s"
                                    + " that a request may wait",
                            seconds,
                            BigDecimal.valueOf(maxQueueSeconds)
                                    .stripTrailingZeros()
                                    .toPlainString()),
                    retryAfter);
        }
        return null;
    }

    private @Nullable Supplier<OverloadedException> refusalInBackground(int requests, int promptTokens) {
        return refusal(
                backgroundWaiting,
                requests,
                Math.max(1, maxQueuedRequests / SPARE),
                backgroundTokens,
                promptTokens,
                Math.max(1, maxQueuedTokens / SPARE));
    }

    /**
     * The same by the limits alone.
     *
     * @param before requests that wait
     * @param tokensBefore tokens of their prompts
     */
    private @Nullable Supplier<OverloadedException> refusal(
            int before, int requests, long limit, long tokensBefore, int promptTokens, long tokenLimit) {
        int more = before == 0 ? 1 : requests; // an empty queue has room for a whole beam search
        int retryAfter = retryAfterSeconds();
        if (before + more > limit) {
            return () -> new OverloadedException("the queue is full: " + before + " requests wait already", retryAfter);
        }
        if (tokensBefore > 0 && tokensBefore + promptTokens > tokenLimit) {
            return () -> new OverloadedException(
                    "the queue is full: " + tokensBefore + " prompt tokens wait already, and " + promptTokens
                            + " more would exceed its " + tokenLimit,
                    retryAfter);
        }
        return null;
    }

    /** A limit of the queue; a little more for the first request of a tenant in it. */
    private static long limit(long limit, boolean isNew) {
        return isNew ? limit + Math.max(1, limit / SPARE) : limit;
    }

    /** Seconds after which the requests that wait now have started. */
    private int retryAfterSeconds() {
        return (int) Math.clamp(Math.ceil(queueSpeed.seconds(queuedTokens)), 1, MAX_RETRY_SECONDS);
    }

    private void enter(Sequence sequence) {
        waiting++;
        tenantToWaiting.merge(sequence.tenantName, 1, Integer::sum);
        waitingTokens += sequence.promptLength;
        if (sequence.isBackground()) {
            backgroundWaiting++;
            backgroundTokens += sequence.promptLength;
        } else {
            queuedTokens += sequence.queuedTokens;
        }
    }

    private void leave(Sequence sequence) {
        waiting--;
        if (tenantToWaiting.merge(sequence.tenantName, -1, Integer::sum) == 0) {
            tenantToWaiting.remove(sequence.tenantName);
        }
        waitingTokens -= sequence.promptLength;
        if (sequence.isBackground()) {
            backgroundWaiting--;
            backgroundTokens -= sequence.promptLength;
        } else {
            queuedTokens -= sequence.queuedTokens;
        }
    }

    /** Waiting → running, at {@code now} in nanoseconds of the clock. */
    void run(Sequence sequence, long now) {
        lock.lock();
        try {
            leave(sequence);
            if (!sequence.isBackground()) {
                queueSpeed.started(sequence.queuedTokens);
            }
            if (!sequence.isBackground() && !sequence.wasStarted) {
                queueSpeed.waited(sequence.expectedWait, (now - sequence.acceptedNanos) * NANO);
            }
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
            enter(sequence);
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
                if (sequence.pooled == null) {
                    queueSpeed.ended(sequence.generated());
                }
            } else {
                leave(sequence);
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

    /** A plan had nothing to compute. A sequence that waits for pages of the KV file may have begun or got some. */
    void noStep() {
        lock.lock();
        try {
            countPages();
        } finally {
            lock.unlock();
        }
    }

    private void countPages() {
        usedPages = pages.used();
        usedWindowPages = pages.windowsUsed();
        usedOverflowPages = pages.overflowUsed();
        cachedPages = pages.cached();
        evictedPages = pages.evictions();
        SavedStates states = pages.states();
        if (states != null) {
            usedStates = states.saved();
            stateHits = states.hits();
            writtenStates = states.written();
            unusedStates = states.evictedUnused();
        }
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

    /**
     * A step was executed.
     *
     * @param againTokens tokens that had been computed before a preemption
     * @param waited whether requests that are not in the background waited during the step
     * @param begin of the step, in nanoseconds of the clock
     * @param end of the step
     */
    void step(int newPromptTokens, int newGenerationTokens, int againTokens, boolean waited, long begin, long end) {
        lock.lock();
        try {
            steps++;
            drafts.countStep();
            promptTokens += newPromptTokens;
            generationTokens += newGenerationTokens;
            recomputedTokens += againTokens;
            countPages();
            queueSpeed.step(waited, begin, end);
        } finally {
            lock.unlock();
        }
    }

    /** How many times a request was preempted. */
    long preemptions() {
        lock.lock();
        try {
            return preemptions;
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
        lock.lock(); // or requests arrive between the comparisons
        try {
            EngineStats stats = stats();
            if (stats.running() != runningNow || stats.waiting() < waitingNow || stats.usedPages() != pages.used()) {
                throw new IllegalStateException("the tracker has " + stats + ", but the scheduler has " + runningNow
                        + " running, " + waitingNow + " waiting and " + pages.used() + " pages in use");
            }
            if (tenantToWaiting.values().stream().mapToInt(Integer::intValue).sum() != stats.waiting()) {
                throw new IllegalStateException(
                        "the tenants wait with " + tenantToWaiting + ", but in all " + stats.waiting());
            }
            if (stats.started() != stats.finishedTotal() + stats.running() + stats.waiting()) {
                throw new IllegalStateException("started is not finished + running + waiting: " + stats);
            }
        } finally {
            lock.unlock();
        }
    }

    /** The statistics at this moment. */
    public EngineStats stats() {
        SavedStates states = pages.states();
        lock.lock();
        try {
            return new EngineStats(
                    running,
                    waiting,
                    usedPages,
                    pages.total(),
                    usedWindowPages,
                    pages.windowTotal(),
                    usedOverflowPages,
                    pages.overflowTotal(),
                    started,
                    finished,
                    preemptions,
                    recomputedTokens,
                    promptTokens,
                    generationTokens,
                    steps,
                    queueSpeed.seconds(queuedTokens),
                    drafts.stats(),
                    new PrefixCacheStats(queriedTokens, hitTokens, evictedPages, cachedPages),
                    states == null
                            ? SavedStateStats.NONE
                            : new SavedStateStats(states.total(), usedStates, stateHits, writtenStates, unusedStates),
                    disk == null ? DiskTierStats.NONE : disk.stats());
        } finally {
            lock.unlock();
        }
    }
}
