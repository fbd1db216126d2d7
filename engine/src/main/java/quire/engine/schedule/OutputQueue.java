package quire.engine.schedule;

import java.time.Duration;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;
import quire.engine.Logprobs;
import quire.engine.Output;
import quire.engine.SpeculationCounts;
import quire.engine.Timeline;
import quire.engine.TokenStream;

/**
 * Passes the tokens of one answer from the engine thread to its reader. The queue is unbounded, because a slow reader
 * must not delay the step of other requests; an answer has at most {@code maxTokens} tokens.
 *
 * <p>The reader parks while the queue is empty. The writer first publishes and then wakes the reader; the reader first
 * registers itself and then checks the queue again. So no wake-up is lost.
 */
final class OutputQueue implements TokenStream {
    private final ConcurrentLinkedQueue<Output> outputs = new ConcurrentLinkedQueue<>();
    private final Runnable cancel;
    private final Timeline timeline;
    private List<Logprobs> promptLogprobs = List.of(); // published by the first output
    private SpeculationCounts speculation = SpeculationCounts.NONE; // published by finish
    private int cachedTokens; // published by finish
    private float[] vector = NO_VECTOR; // published by finish
    private volatile @Nullable Finish finish;
    private volatile @Nullable Thread reader;

    /**
     * @param cancel asks the engine to cancel the request; does nothing when it has ended
     * @param timeline what happens to the request
     */
    OutputQueue(Runnable cancel, Timeline timeline) {
        this.cancel = cancel;
        this.timeline = timeline;
    }

    /** Engine thread: adds a token. Call {@link #wake} or {@link #end} afterwards. */
    void put(Output output) {
        outputs.add(output);
    }

    /** Engine thread: sets the log probabilities of the prompt, before the first token. */
    void setPromptLogprobs(List<Logprobs> logprobs) {
        promptLogprobs = logprobs;
    }

    /** Engine thread: sets the vector of the prompt, before the end. */
    void setVector(float[] numbers) {
        vector = numbers;
    }

    /** Engine thread: wakes the reader. Call it once a step, since waking a thread may take as long as a small step. */
    void wake() {
        LockSupport.unpark(reader);
    }

    /**
     * Engine thread: ends the answer, exactly once.
     *
     * @param cached prompt tokens that were found in the cache
     */
    void end(Finish end, SpeculationCounts counts, int cached) {
        if (finish != null) {
            throw new IllegalStateException("the answer ended twice: " + finish + ", then " + end);
        }
        speculation = counts;
        cachedTokens = cached;
        finish = end;
        LockSupport.unpark(reader);
    }

    boolean hasEnded() {
        return finish != null;
    }

    @Override
    public @Nullable Output next() throws InterruptedException {
        while (true) {
            Output output = outputs.poll();
            if (output != null) {
                return output;
            }
            if (finish != null) {
                return outputs.poll(); // may have been added after the poll above
            }
            park(Long.MAX_VALUE);
        }
    }

    @Override
    public boolean await(Duration timeout) throws InterruptedException {
        long end = System.nanoTime() + timeout.toNanos();
        while (outputs.isEmpty() && finish == null) {
            long left = end - System.nanoTime();
            if (left <= 0) {
                return false;
            }
            park(left);
        }
        return true;
    }

    /** Waits until the writer wakes the reader, or for a time; may also return for no reason. */
    private void park(long nanos) throws InterruptedException {
        if (Thread.interrupted()) {
            throw new InterruptedException("interrupted while waiting for a token");
        }
        reader = Thread.currentThread();
        if (outputs.isEmpty() && finish == null) {
            LockSupport.parkNanos(this, nanos);
        }
        reader = null;
    }

    @Override
    public @Nullable Output poll() {
        return outputs.poll();
    }

    @Override
    public Finish finish() {
        Finish end = finish;
        if (end == null || !outputs.isEmpty()) {
            throw new IllegalStateException("the answer has not ended: read until next() returns null");
        }
        return end;
    }

    @Override
    public List<Logprobs> promptLogprobs() {
        return promptLogprobs;
    }

    @Override
    public SpeculationCounts speculation() {
        return finish == null ? SpeculationCounts.NONE : speculation;
    }

    @Override
    public int cachedTokens() {
        return finish == null ? 0 : cachedTokens;
    }

    @Override
    public float[] vector() {
        return finish == null ? NO_VECTOR : vector;
    }

    @Override
    public Timeline timeline() {
        return timeline;
    }

    @Override
    public void close() {
        if (finish == null) {
            cancel.run();
        }
    }
}
